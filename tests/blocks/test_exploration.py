"""Action selection: goldens, frequencies against the stated probabilities, and illegal actions that are never chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxrl.blocks import exploration
from jaxrl.errors import ConfigError

VALUES = jnp.array([1.0, 3.0, 2.0, 3.0])
MASK = jnp.array([True, False, True, True])
COUNTS = jnp.array([1, 4, 2, 0])
DRAWS = 20_000


def test_greedy_by_hand():
    assert int(exploration.greedy(VALUES)) == 1
    assert int(exploration.greedy(VALUES, MASK)) == 3
    batch = exploration.greedy(jnp.stack([VALUES, -VALUES]), jnp.stack([MASK, MASK]))
    np.testing.assert_array_equal(batch, [3, 0])
    assert batch.dtype == jnp.int32


def test_probabilities_by_hand():
    np.testing.assert_allclose(exploration.greedy_probabilities(VALUES), [0, 1, 0, 0])
    np.testing.assert_allclose(exploration.greedy_probabilities(VALUES, random_ties=True), [0, 0.5, 0, 0.5])
    np.testing.assert_allclose(exploration.greedy_probabilities(VALUES, MASK, random_ties=True), [0, 0, 0, 1])
    np.testing.assert_allclose(exploration.epsilon_greedy_probabilities(VALUES, 0.2), [0.05, 0.85, 0.05, 0.05], rtol=1e-6)
    masked = exploration.epsilon_greedy_probabilities(VALUES, 0.3, MASK)
    np.testing.assert_allclose(masked, [0.1, 0, 0.1, 0.8], rtol=1e-6)
    weights = np.exp([0.5, 1.5, 1.0, 1.5])
    np.testing.assert_allclose(exploration.boltzmann_probabilities(VALUES, 2.0), weights / weights.sum(), rtol=1e-6)
    weights = weights * [1, 0, 1, 1]
    np.testing.assert_allclose(exploration.boltzmann_probabilities(VALUES, 2.0, MASK), weights / weights.sum(), rtol=1e-6)


def test_upper_confidence_bound_by_hand():
    bound = exploration.upper_confidence_bound(VALUES, COUNTS, 8, 2.0)
    log_step = np.log(8)
    expected = [1 + 2 * np.sqrt(log_step), 3 + 2 * np.sqrt(log_step / 4), 2 + 2 * np.sqrt(log_step / 2), np.inf]
    np.testing.assert_allclose(bound, expected, rtol=1e-6)
    assert int(exploration.ucb(VALUES, COUNTS, 8, 2.0)) == 3
    without_new = jnp.array([True, True, True, False])
    assert int(exploration.ucb(VALUES, COUNTS, 8, 2.0, without_new)) == int(np.argmax(expected[:3]))
    np.testing.assert_allclose(exploration.ucb_probabilities(VALUES, COUNTS, 8, 2.0), [0, 0, 0, 1])


def test_ucb_tries_every_legal_action_before_any_twice():
    counts = jnp.zeros(4, jnp.int32)
    chosen = []
    for step in (1, 2, 3):
        action = exploration.ucb(VALUES, counts, step, 1.0, MASK)
        counts = counts.at[action].add(1)
        chosen.append(int(action))
    assert sorted(chosen) == [0, 2, 3]


TIED = jnp.array([2.0, 2.0, 2.0, 0.0])
CHOICES = {
    "greedy, random ties": (
        lambda key, values, mask: exploration.greedy(values, mask, key),
        lambda values, mask: exploration.greedy_probabilities(values, mask, random_ties=True),
    ),
    "epsilon-greedy": (
        lambda key, values, mask: exploration.epsilon_greedy(key, values, 0.4, mask),
        lambda values, mask: exploration.epsilon_greedy_probabilities(values, 0.4, mask),
    ),
    "epsilon-greedy, random ties": (
        lambda key, values, mask: exploration.epsilon_greedy(key, values, 0.4, mask, random_ties=True),
        lambda values, mask: exploration.epsilon_greedy_probabilities(values, 0.4, mask, random_ties=True),
    ),
    "boltzmann": (
        lambda key, values, mask: exploration.boltzmann(key, values, 1.5, mask),
        lambda values, mask: exploration.boltzmann_probabilities(values, 1.5, mask),
    ),
    "ucb, random ties": (
        lambda key, values, mask: exploration.ucb(values, jnp.zeros_like(values), 1, 1.0, mask, key),
        lambda values, mask: exploration.ucb_probabilities(values, jnp.zeros_like(values), 1, 1.0, mask, random_ties=True),
    ),
}
JITTED_GREEDY = jax.jit(exploration.greedy)
JITTED_EPSILON_GREEDY = jax.jit(exploration.epsilon_greedy)
JITTED = {name: (jax.jit(choose), jax.jit(probability)) for name, (choose, probability) in CHOICES.items()}


@pytest.mark.parametrize("mask", [None, MASK], ids=["all legal", "masked"])
@pytest.mark.parametrize("name", CHOICES)
def test_frequencies_match_the_probabilities(name, mask):
    choose, probability = JITTED[name]
    rows = np.broadcast_to(TIED, (DRAWS, 4))
    actions = choose(jax.random.key(3), rows, None if mask is None else np.broadcast_to(mask, (DRAWS, 4)))
    count = np.bincount(actions, minlength=4)
    expected = np.asarray(probability(TIED, mask), np.float64)
    possible = expected > 0
    assert count[~possible].sum() == 0
    if possible.sum() > 1:
        expected = DRAWS * expected[possible] / expected.sum()
        assert stats.chisquare(count[possible], expected).pvalue > 1e-3


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.sampled_from([-jnp.inf, -1e30, -1.0, 0.0, 0.5, 1e30, jnp.nan]), min_size=5, max_size=5),
    mask=st.lists(st.booleans(), min_size=5, max_size=5).filter(any),
    seed=st.integers(0, 2**31 - 1),
)
def test_illegal_actions_are_never_chosen(values, mask, seed):
    values, mask = jnp.array(values, jnp.float32), jnp.array(mask)
    for choose, _ in JITTED.values():
        assert bool(mask[choose(jax.random.key(seed), values, mask)])
    assert bool(mask[JITTED_GREEDY(values, mask)])
    if not bool(jnp.isnan(jnp.where(mask, values, 0)).any()):
        for _, probability in JITTED.values():
            found = probability(values, mask)
            np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)
            assert not bool(found[~mask].any())


def test_all_legal_actions_equally_bad_are_equally_likely():
    worst = jnp.array([-jnp.inf, 5.0, -jnp.inf, -jnp.inf])
    for name in ("greedy, random ties", "boltzmann", "epsilon-greedy, random ties"):
        np.testing.assert_allclose(JITTED[name][1](worst, MASK), [1 / 3, 0, 1 / 3, 1 / 3], rtol=1e-6)


def test_draws_depend_on_the_key_alone():
    """Where the choice is exploratory it is the same whatever the values are: the noise can be drawn ahead."""
    prefers_first, prefers_second = np.zeros((2, 500, 4), np.float32)
    prefers_first[:, 0], prefers_second[:, 1] = 1, 1
    for mask in (None, np.ones((500, 4), bool)):
        first = np.asarray(JITTED_EPSILON_GREEDY(jax.random.key(0), prefers_first, 0.5, mask))
        second = np.asarray(JITTED_EPSILON_GREEDY(jax.random.key(0), prefers_second, 0.5, mask))
        explored = first >= 2
        assert 0.15 < explored.mean() < 0.35
        np.testing.assert_array_equal(explored, second >= 2)
        np.testing.assert_array_equal(first[explored], second[explored])


def test_epsilon_at_its_ends_and_per_row():
    rows = np.broadcast_to(VALUES, (2000, 4))
    np.testing.assert_array_equal(JITTED_EPSILON_GREEDY(jax.random.key(1), rows, 0.0), 1)
    per_row = np.where(np.arange(2000) < 1000, 0.0, 1.0)
    actions = JITTED_EPSILON_GREEDY(jax.random.key(1), rows, per_row)
    np.testing.assert_array_equal(actions[:1000], 1)
    assert stats.chisquare(np.bincount(actions[1000:], minlength=4)).pvalue > 1e-3
    probability = exploration.epsilon_greedy_probabilities(rows[:2], jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(probability, [[0, 1, 0, 0], [0.25] * 4])


def test_temperature_at_its_ends():
    huge = jnp.array([1e30, 2e30, -1e30])
    np.testing.assert_allclose(exploration.boltzmann_probabilities(huge, 1e-3), [0, 1, 0])
    np.testing.assert_allclose(exploration.boltzmann_probabilities(VALUES, 1e6), [0.25] * 4, atol=1e-5)
    per_row = exploration.boltzmann_probabilities(jnp.stack([VALUES, VALUES]), jnp.array([1.0, 1e6]))
    np.testing.assert_allclose(per_row[0], jax.nn.softmax(VALUES), rtol=1e-6)
    np.testing.assert_allclose(per_row[1], [0.25] * 4, atol=1e-5)


def test_boltzmann_probabilities_have_the_gradient_of_softmax():
    gradient = jax.jacobian(exploration.boltzmann_probabilities)(VALUES, 1.0)
    np.testing.assert_allclose(gradient, jax.jacobian(jax.nn.softmax)(VALUES), rtol=1e-5, atol=1e-7)


def test_one_mask_for_all_rows():
    with jax.numpy_rank_promotion("allow"):
        actions = JITTED_EPSILON_GREEDY(jax.random.key(2), np.zeros((4000, 4), np.float32), 1.0, MASK)
    count = np.bincount(actions, minlength=4)
    assert count[1] == 0
    assert stats.chisquare(count[[0, 2, 3]]).pvalue > 1e-3


def test_harmonic_schedule_by_hand():
    schedule = exploration.harmonic_schedule(0.5, 200, 0.01)
    found = schedule(jnp.array([0, 200, 600, 1_000_000]))
    np.testing.assert_allclose(found, [0.5, 0.25, 0.125, 0.01], rtol=1e-6)
    swept = jax.jit(jax.vmap(lambda initial: exploration.harmonic_schedule(initial, 200.0)(200)))(jnp.array([0.2, 1.0]))
    np.testing.assert_allclose(swept, [0.1, 0.5], rtol=1e-6)


def test_optax_schedules_serve_for_epsilon():
    """The documented way to decay epsilon: from 1 to 0.1 over 100 steps, then constant, as a traced number."""
    decay = optax.linear_schedule(1.0, 0.1, 100)

    @jax.jit
    def act(count, key):
        return exploration.epsilon_greedy(key, VALUES, decay(count))

    assert int(act(10_000, jax.random.key(0))) in range(4)
    np.testing.assert_allclose([decay(0), decay(50), decay(10_000)], [1.0, 0.55, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exploration.epsilon_greedy(jax.random.key(0), VALUES, 1.5), r"epsilon must lie in \[0, 1\], got 1.5"),
        (lambda: exploration.epsilon_greedy_probabilities(VALUES, -0.1), r"epsilon must lie in \[0, 1\], got -0.1"),
        (lambda: exploration.boltzmann(jax.random.key(0), VALUES, 0.0), "temperature must be positive, got 0.0"),
        (lambda: exploration.ucb(VALUES, COUNTS, 0, 1.0), "step must be at least 1, got 0"),
        (lambda: exploration.harmonic_schedule(0.0, 10), "initial must be positive, got 0.0"),
        (lambda: exploration.harmonic_schedule(0.5, -1), "half_life must be positive, got -1"),
        (lambda: exploration.harmonic_schedule(0.5, 10, -1.0), "minimum must not be negative, got -1.0"),
        (lambda: exploration.harmonic_schedule(0.01, 10, 0.5), r"minimum must not exceed initial \(0.01\), got 0.5"),
    ],
)
def test_plain_numbers_out_of_range_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
