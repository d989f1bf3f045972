"""Iterated games between strategies with memory one: exact values, simulation, and the environment they are played in."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import iterated, named
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers import memory_one
from tests.oracles import policy_values

GAMMA = 0.96
STRATEGIES = {
    "tit_for_tat": (1.0, (1, 0, 1, 0)),
    "defect": (0.0, (0, 0, 0, 0)),
    "cooperate": (1.0, (1, 1, 1, 1)),
    "win_stay_lose_shift": (1.0, (1, 0, 0, 1)),
    "random": (0.5, (0.5, 0.5, 0.5, 0.5)),
}


def values(names, dtype=jnp.float32):
    payoff = jnp.asarray(named.PRISONERS_DILEMMA, dtype)
    profile = [memory_one.of_cooperation(*STRATEGIES[name]) for name in names]
    return jax.jit(memory_one.values)(payoff, profile, GAMMA)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("tit_for_tat", "tit_for_tat"), (-1, -1)),
        (("defect", "defect"), (-2, -2)),
        (("tit_for_tat", "defect"), (-2.04, -1.92)),
        (("defect", "win_stay_lose_shift"), (-0.979592, -2.510204)),
        (("random", "random"), (-1.5, -1.5)),
        (("cooperate", "defect"), (-3, 0)),
    ],
)
def test_values_per_round(names, expected):
    np.testing.assert_allclose(values(names), expected, atol=2e-6)
    np.testing.assert_allclose(values(names[::-1]), expected[::-1], atol=2e-6)
    with jax.enable_x64(True):
        np.testing.assert_allclose(values(names, jnp.float64), expected, atol=5e-7)


def random_profile(players, actions, seed=0):
    weight = np.random.default_rng(seed).exponential(size=(players, 1 + actions**players, actions))
    return jnp.asarray(weight / weight.sum(-1, keepdims=True))


@pytest.mark.parametrize(("players", "actions"), [(1, 3), (2, 2), (2, 3), (3, 2)])
def test_against_the_table_of_the_environment(players, actions):
    """The linear solve of tests/oracles.py over the states of the environment, by what each player observes there."""
    payoff = np.random.default_rng(1).normal(size=(players, *(actions,) * players))
    model = tabulate(iterated.make(payoff))
    assert model.num_states == 1 + actions**players
    with jax.enable_x64(True):
        profile = random_profile(players, actions)
        found = memory_one.values(jnp.asarray(payoff), profile, 0.9)
        own = [np.asarray(strategy)[model.observation[:, player]] for player, strategy in enumerate(profile)]
    joint = np.stack([[np.prod(choice) for choice in itertools.product(*rows)] for rows in zip(*own, strict=True)])
    for player in range(players):
        expected = model.initial @ policy_values(model, joint, 0.9, reward=model.reward[..., player])
        assert float(found[player]) == pytest.approx(0.1 * expected, abs=1e-6)


def test_against_a_sum_over_rounds():
    """Discounted payoffs of 2000 rounds, round by round, on the joint distribution."""
    payoff = named.CHICKEN
    with jax.enable_x64(True):
        p, q = random_profile(2, 2, seed=3)
        found = memory_one.values(jnp.asarray(payoff), [p, q], GAMMA)
    p, q = np.asarray(p), np.asarray(q)
    law, total = np.outer(p[0], q[0]), np.zeros(2)
    for t in range(2000):
        total += GAMMA**t * (law * payoff).sum((1, 2))
        law = sum(law[a, b] * np.outer(p[1 + 2 * a + b], q[1 + 2 * b + a]) for a, b in itertools.product(range(2), repeat=2))
    np.testing.assert_allclose(found, (1 - GAMMA) * total, atol=1e-9)


def test_extortion():
    """Press and Dyson (2012), equation 12: the extortioner's surplus over mutual defection is chi times the other's.

    With hardly any discount, so that the first round does not count.
    """
    defection, chi, phi = -2.0, 3.0, 0.1
    own, other = np.array([-1, -3, 0, -2]) - defection, np.array([-1, 0, -3, -2]) - defection  # after CC, CD, DC, DD
    after = np.array([1, 1, 0, 0]) + phi * (own - chi * other)
    assert ((after >= 0) & (after <= 1)).all()
    with jax.enable_x64(True):
        extortion = memory_one.of_cooperation(0.5, after)
        play = jax.jit(lambda strategy: memory_one.values(jnp.asarray(named.PRISONERS_DILEMMA), [extortion, strategy], 1 - 1e-8))
        for seed in range(8):
            surplus = play(random_profile(2, 2, seed)[1]) - defection
            assert float(surplus[0]) == pytest.approx(chi * float(surplus[1]), abs=1e-6)


def test_gradients_are_those_of_finite_differences():
    """With respect to logits, as naive learners and LOLA need them."""
    with jax.enable_x64(True):
        payoff = jnp.asarray(named.PRISONERS_DILEMMA)
        logits = jnp.asarray(np.random.default_rng(5).normal(size=(2, 5)))

        @jax.jit
        def value(logits):
            cooperation = jax.nn.sigmoid(logits)
            return memory_one.values(payoff, [jnp.stack([c, 1 - c], axis=-1) for c in cooperation], GAMMA)[0]

        slope = jax.grad(value)(logits)
        for index in np.ndindex(2, 5):
            step = jnp.zeros((2, 5)).at[index].set(1e-5)
            numeric = (value(logits + step) - value(logits - step)) / 2e-5
            assert float(slope[index]) == pytest.approx(float(numeric), abs=1e-7)


def test_vmapped_over_profiles():
    payoff = jnp.asarray(named.STAG_HUNT, jnp.float32)
    profiles = jnp.stack([random_profile(2, 2, seed) for seed in range(4)]).astype(jnp.float32)
    batched = jax.jit(jax.vmap(partial(memory_one.values, payoff, gamma=0.9)))(profiles)
    for profile, expected in zip(profiles, batched, strict=True):
        np.testing.assert_allclose(memory_one.values(payoff, profile, 0.9), expected, atol=1e-5)


def test_without_discount_there_is_no_value():
    """It used to be 0 in float64 and NaN in float32."""
    payoff, profile = jnp.asarray(named.PRISONERS_DILEMMA), [random_profile(2, 2, 0)[i] for i in range(2)]
    with pytest.raises(ConfigError, match=r"gamma must lie in \[0, 1\), got 1.0"):
        memory_one.values(payoff, profile, 1.0)
    with jax.enable_x64(True):
        assert np.isnan(jax.jit(memory_one.values)(payoff, profile, 1.0)).all()


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.9999, 1 - 2.0**-20])
def test_single_precision_is_precise_at_every_discount(gamma):
    profile = random_profile(2, 3, 1)
    first, following = (np.asarray(part, np.float64) for part in memory_one.play([profile[0], profile[1]]))
    following /= following.sum(1, keepdims=True)
    exact = np.linalg.solve(np.eye(len(first)) - gamma * following.T, (1 - gamma) * first)
    found = memory_one.occupancy([jnp.asarray(part, jnp.float32) for part in profile], jnp.float32(gamma))
    np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_strategies_that_are_no_distributions_are_refused():
    strategy = np.full((5, 2), 0.45)
    with pytest.raises(ConfigError, match="every row of strategy 0 must sum to 1"):
        memory_one.occupancy([strategy, np.full((5, 2), 0.5)], 0.9)


@pytest.mark.parametrize(("slope", "baseline", "weight", "first"), [(3.0, -2.0, 0.1, 0.0), (2.0, -1.0, 0.1, 1.0)])
def test_zero_determinant_strategies_fix_a_line(slope, baseline, weight, first):
    """Extortion from the payoff of mutual defection, and generosity below that of cooperation, against 100 random opponents."""
    strategy = np.asarray(memory_one.zero_determinant(named.PRISONERS_DILEMMA, GAMMA, slope, baseline, weight, first))
    rng = np.random.default_rng(0)
    cooperates = rng.uniform(size=(100, 5))
    with jax.enable_x64(True):
        own = memory_one.zero_determinant(named.PRISONERS_DILEMMA, GAMMA, slope, baseline, weight, first)
        others = jnp.asarray(np.stack([cooperates, 1 - cooperates], -1))
        payoff = jnp.asarray(named.PRISONERS_DILEMMA, jnp.float64)
        value = np.asarray(jax.jit(jax.vmap(lambda other: memory_one.values(payoff, [own, other], GAMMA)))(others))
    np.testing.assert_allclose(value[:, 0] - baseline, slope * (value[:, 1] - baseline), atol=1e-12)
    assert strategy.shape == (5, 2)


def test_lines_that_no_strategy_fixes_are_refused():
    with pytest.raises(ConfigError, match="probabilities after each joint action"):
        memory_one.zero_determinant(named.PRISONERS_DILEMMA, GAMMA, 3.0, 0.0, 0.1)
    with pytest.raises(ConfigError, match="symmetric game of two actions"):
        memory_one.zero_determinant(named.MATCHING_PENNIES, GAMMA, 3.0, 0.0, 0.1)
    with pytest.raises(ConfigError, match="weight must not be 0"):
        memory_one.zero_determinant(named.PRISONERS_DILEMMA, GAMMA, 3.0, -2.0, 0.0)
