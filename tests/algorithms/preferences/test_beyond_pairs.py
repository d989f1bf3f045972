"""Losses beyond pairs: values in NumPy, the gradients that are cut, and exact optima found by scipy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxrl.algorithms.preferences import beyond_pairs, direct
from jaxrl.algorithms.preferences.beyond_pairs import Config
from jaxrl.algorithms.preferences.direct import Pairs
from jaxrl.errors import ConfigError

TOKENS, LENGTH = 3, 2
RESPONSES = np.array(list(itertools.product(range(TOKENS), repeat=LENGTH)))  # all of them, [9, 2]


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def minimiser(objective, size):
    value_and_grad = jax.jit(jax.value_and_grad(objective))

    def evaluate(x):
        value, gradient = value_and_grad(jnp.asarray(x))
        return float(value), np.asarray(gradient)

    return optimize.minimize(evaluate, np.zeros(size), jac=True, method="BFGS", options={"gtol": 1e-10}).x


def token_tables(logits):
    """Returns log-probabilities of the next token along every response, [9, 2, 3], from logits [4, 3] of the four prefixes."""
    table = jax.nn.log_softmax(jnp.asarray(logits))
    prefix = np.stack([np.zeros(len(RESPONSES), int), 1 + RESPONSES[:, 0]], 1)
    return table[prefix]


def of_responses(tables):
    """Returns the log-probability of every whole response, [9]."""
    return jnp.take_along_axis(tables, RESPONSES[..., None], -1)[..., 0].sum(-1)


def all_pairs(logits, reference_logits):
    """Returns the pairs of all different responses, their divergences, and who they are."""
    policy, reference = token_tables(logits), token_tables(reference_logits)
    first, second = (jnp.asarray(side) for side in np.nonzero(~np.eye(len(RESPONSES), dtype=bool)))
    pairs = direct.pairs_of(of_responses(policy), of_responses(reference), jnp.full(len(RESPONSES), 2.0), first, second)
    divergence = beyond_pairs.sequential_divergence(policy, reference, jnp.ones(policy.shape[:2], bool))
    return pairs, divergence[first], divergence[second], first, second


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(2, 4, TOKENS))


def test_sequential_divergence_by_hand_and_without_what_is_masked(logits):
    policy, reference = (np.asarray(token_tables(side)) for side in logits)
    mask = np.ones((9, 2), bool)
    mask[::2, 1] = False
    found = beyond_pairs.sequential_divergence(jnp.asarray(policy), jnp.asarray(reference), jnp.asarray(mask))
    expected = [
        sum(np.exp(r) @ (r - p) for p, r, kept in zip(*row, strict=True) if kept)
        for row in zip(policy, reference, mask, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (np.asarray(found) > 0).all()


def test_tdpo_by_hand(logits):
    pairs, chosen, rejected, *_ = all_pairs(*logits)
    h, w, l = (np.asarray(side) for side in (pairs.margin, chosen, rejected))  # noqa: E741
    config = Config(beta=0.4, alpha=0.3)
    np.testing.assert_allclose(
        beyond_pairs.tdpo1(pairs, chosen, rejected, config), np.logaddexp(0, -0.4 * (h - l + w)), rtol=1e-12
    )
    np.testing.assert_allclose(
        beyond_pairs.tdpo2(pairs, chosen, rejected, config), np.logaddexp(0, -0.4 * (h - 0.3 * (l - w))), rtol=1e-12
    )


def test_tdpo2_cuts_the_gradient_of_the_preferred_divergence():
    pairs = Pairs(*(jnp.full(1, x) for x in (-1.0, -2.0, -1.5, -1.2, 3.0, 4.0)))
    config = Config(beta=0.4, alpha=0.3)
    chosen, rejected = jnp.full(1, 0.7), jnp.full(1, 0.2)

    def slopes(loss):
        return jax.grad(lambda c, r: loss(pairs, c, r, config).sum(), argnums=(0, 1))(chosen, rejected)

    pull = 1 / (1 + np.exp(0.4 * (1.3 - 0.3 * (0.2 - 0.7))))  # sigmoid of minus the argument
    np.testing.assert_allclose(slopes(beyond_pairs.tdpo2), [[0.0], [0.4 * 0.3 * pull]], rtol=1e-12)
    pull = 1 / (1 + np.exp(0.4 * (1.3 - (0.2 - 0.7))))
    np.testing.assert_allclose(slopes(beyond_pairs.tdpo1), [[-0.4 * pull], [0.4 * pull]], rtol=1e-12)


def test_tdpo1_is_dpo_where_a_response_is_one_token():
    """Both responses then have the same divergence, which cancels, in value and gradient."""
    reference, first, second = jnp.log(jnp.array([0.5, 0.3, 0.2])), jnp.array([0, 2]), jnp.array([1, 1])

    def losses(logits):
        policy = jax.nn.log_softmax(logits)
        pairs = direct.pairs_of(policy, reference, jnp.ones(3), first, second)
        divergence = beyond_pairs.sequential_divergence(
            *(side[None, None] for side in (policy, reference)), jnp.ones((1, 1), bool)
        )
        ours = beyond_pairs.tdpo1(pairs, divergence, divergence, Config(beta=0.4))
        return ours.sum(), direct.dpo(pairs, direct.Config(beta=0.4)).sum()

    logits = jnp.array([0.3, -1.0, 0.7])
    ours, theirs = jax.jacobian(losses)(logits)
    np.testing.assert_allclose(*losses(logits), rtol=1e-12)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_tdpo1_optimum_tilts_every_token_by_its_value_under_the_reference(logits):
    """Labels are Bradley-Terry in a reward of whole responses; Q is its expectation if the reference writes the rest."""
    beta, reference = 0.5, logits[1]
    reward = jnp.asarray(np.random.default_rng(1).normal(size=9))
    log_reference = np.asarray(jax.nn.log_softmax(jnp.asarray(reference)))
    last = np.asarray(reward).reshape(TOKENS, TOKENS)  # first token, second token
    q = np.concatenate([(np.exp(log_reference[1:]) * last).sum(1)[None], last])
    expected = np.asarray(jax.nn.log_softmax(jnp.asarray(log_reference + q / beta)))

    def objective(flat):
        pairs, chosen, rejected, first, second = all_pairs(flat.reshape(4, TOKENS), reference)
        return jnp.mean(
            jax.nn.sigmoid(reward[first] - reward[second]) * beyond_pairs.tdpo1(pairs, chosen, rejected, Config(beta=beta))
        )

    found = jax.nn.log_softmax(minimiser(objective, 4 * TOKENS).reshape(4, TOKENS))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(np.asarray(of_responses(token_tables(found))) - whole_tilt(reference, reward, beta)).max() > 0.1


def whole_tilt(reference, reward, beta):
    """DPO's optimum, another one."""
    return np.asarray(jax.nn.log_softmax(of_responses(token_tables(reference)) + reward / beta))


OPPONENT = np.array([0.4, 0.3, 0.2, 0.1])
DATA = np.array([1, 2, 2, 3, 3, 3, 3, 0])  # demonstrations
P_DATA = np.bincount(DATA) / len(DATA)


def test_spin_is_the_mean_of_dpo_over_the_opponents_responses():
    random = np.random.default_rng(0)
    policy = jax.nn.log_softmax(jnp.asarray(random.normal(size=4)))
    found = beyond_pairs.spin(policy, jnp.log(OPPONENT), jnp.asarray(DATA), Config(beta=0.3))
    ratio = np.asarray(policy) - np.log(OPPONENT)
    expected = [sum(p * np.logaddexp(0, -0.3 * (ratio[y] - ratio[k])) for k, p in enumerate(OPPONENT)) for y in DATA]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def spin_optimum(opponent, beta):
    def objective(logits):
        return beyond_pairs.spin(jax.nn.log_softmax(logits), jnp.log(opponent), jnp.asarray(DATA), Config(beta=beta)).mean()

    return np.asarray(jax.nn.softmax(minimiser(objective, 4)))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_spin_optimum(beta):
    expected = OPPONENT * (P_DATA / OPPONENT) ** (1 / beta)
    np.testing.assert_allclose(spin_optimum(OPPONENT, beta), expected / expected.sum(), atol=1e-7)


def test_spin_iterates_to_the_data():
    opponent = OPPONENT
    for _ in range(12):
        opponent = spin_optimum(opponent, 2.0)
    np.testing.assert_allclose(opponent, P_DATA, atol=1e-3)
    np.testing.assert_allclose(spin_optimum(P_DATA, 0.1), P_DATA, atol=1e-7)


def test_spin_holds_the_opponent_constant():
    policy = jnp.log(OPPONENT)
    moved = jax.grad(lambda opponent: beyond_pairs.spin(policy, opponent, jnp.asarray(DATA), Config()).sum())(policy)
    np.testing.assert_array_equal(moved, 0.0)


ACCEPTED, REJECTED = np.array([0, 1, 1, 3]), np.array([2, 0])
P_ACCEPTED, P_REJECTED = np.bincount(ACCEPTED, minlength=4) / 4, np.bincount(REJECTED, minlength=4) / 2


def pmpo_of(logits, config):
    policy = jax.nn.log_softmax(logits)
    divergence = OPPONENT @ (np.log(OPPONENT) - policy)
    return beyond_pairs.pmpo(policy[ACCEPTED], policy[REJECTED], divergence, config)


@pytest.mark.parametrize(
    "config", [Config(beta=2.0, accepted=0.5), Config(beta=0.3, accepted=1.0), Config(beta=3.0, accepted=0.2)]
)
def test_pmpo_value_and_optimum(config):
    logits = jnp.array([0.1, -0.4, 0.2, 0.9])
    policy = np.asarray(jax.nn.log_softmax(logits))
    a, b = config.accepted, config.beta
    expected = -a * P_ACCEPTED @ policy + (1 - a) * P_REJECTED @ policy + b * OPPONENT @ (np.log(OPPONENT) - policy)
    assert float(pmpo_of(logits, config)) == pytest.approx(expected, rel=1e-12)
    weight = b * OPPONENT - (1 - a) * P_REJECTED + a * P_ACCEPTED
    assert (weight > 0).all()
    found = jax.nn.softmax(minimiser(lambda x: pmpo_of(x, config), 4))
    np.testing.assert_allclose(found, weight / weight.sum(), atol=1e-7)


def test_rejected_responses_alone_need_the_reference():
    """The critical beta is the largest p_rej / ref: above it there is a minimum, below it no bound."""
    critical = (P_REJECTED / OPPONENT).max()
    away = jnp.zeros(4).at[int((P_REJECTED / OPPONENT).argmax())].set(-1.0)

    def falls(beta):
        """Whether the loss still falls when the most rejected response is already very unlikely."""
        return float(pmpo_of(60 * away, Config(beta=beta, accepted=0.0))) < float(
            pmpo_of(30 * away, Config(beta=beta, accepted=0.0))
        )

    assert falls(0.9 * critical)
    assert not falls(1.1 * critical)
    weight = 1.1 * critical * OPPONENT - P_REJECTED
    found = jax.nn.softmax(minimiser(lambda x: pmpo_of(x, Config(beta=1.1 * critical, accepted=0.0)), 4))
    np.testing.assert_allclose(found, weight / weight.sum(), atol=1e-6)


def test_wrong_numbers():
    for changes in ({"beta": 0.0}, {"alpha": -1.0}, {"accepted": 1.1}):
        with pytest.raises(ConfigError, match="beyond_pairs"):
            Config(**changes).validate()
