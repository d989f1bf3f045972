"""Returns and advantages: values by hand, the definitions written as sums, and rlax as an oracle."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from envs.random_mdps import random_mdp
from jaxrl.blocks import returns
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.taylor import taylor_expansion

with warnings.catch_warnings():
    # tfp-nightly, which rlax imports, reads a name that jax has deprecated.
    warnings.filterwarnings("ignore", message="jax.core.pytype_aval_mappings", category=DeprecationWarning)
    import rlax

GAMMA, LAMBDA = 0.9, 0.8
REWARD = jnp.array([1.0, 2.0, 3.0])
VALUE = jnp.array([0.5, 1.0, 1.5])
NEXT_VALUE = jnp.array([1.0, 4.0, 2.0])  # step 1 leads to a state worth 4, which is not the state of step 2
NEVER = jnp.zeros(3, bool)
MIDDLE = jnp.array([False, True, False])


def random_sequence(seed, length=12):
    """A block with several episodes, cut in both ways; within an episode next_value[t] is value[t + 1]."""
    random = np.random.default_rng(seed)
    reward, value, beyond = random.normal(size=(3, length)).astype(np.float32)
    end = random.choice(3, size=length, p=[0.6, 0.2, 0.2])
    terminated, truncated = end == 1, end == 2
    next_value = np.where(end > 0, beyond, np.append(value[1:], beyond[-1]))
    return reward, value, next_value.astype(np.float32), terminated, truncated


def n_step_by_definition(reward, next_value, terminated, truncated, gamma, num_steps, t):
    """Sums rewards forward from step t, and stops at the first end."""
    total, discount = 0.0, 1.0
    for i in range(t, len(reward)):
        total += discount * reward[i]
        discount *= gamma
        if terminated[i]:
            return total
        if truncated[i] or i == t + num_steps - 1 or i == len(reward) - 1:
            return total + discount * next_value[i]
    raise AssertionError("unreachable: the last step always ends the sum")


def lambda_by_definition(reward, next_value, terminated, truncated, gamma, trace_decay, t):
    """Averages the n-step returns from step t; the longest one takes the weight that is left."""
    ends = np.flatnonzero((terminated | truncated)[t:])
    longest = ends[0] + 1 if ends.size else len(reward) - t
    steps = [n_step_by_definition(reward, next_value, terminated, truncated, gamma, n + 1, t) for n in range(longest)]
    weights = [(1 - trace_decay) * trace_decay**n for n in range(longest - 1)] + [trace_decay ** (longest - 1)]
    return float(np.dot(weights, steps))


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        # errors 1.4, 4.6, 3.3; decay 0.72
        (NEVER, NEVER, [1.4 + 0.72 * (4.6 + 0.72 * 3.3), 4.6 + 0.72 * 3.3, 3.3]),
        (NEVER, MIDDLE, [1.4 + 0.72 * 4.6, 4.6, 3.3]),
        (MIDDLE, NEVER, [1.4 + 0.72 * 1.0, 1.0, 3.3]),
    ],
    ids=["onward", "truncated", "terminated"],
)
def test_advantage_by_hand(terminated, truncated, expected):
    advantage = returns.generalized_advantage(REWARD, VALUE, NEXT_VALUE, terminated, truncated, GAMMA, LAMBDA)
    np.testing.assert_allclose(advantage, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        (NEVER, NEVER, [1 + 0.9 * 2 + 0.81 * 4, 2 + 0.9 * 3 + 0.81 * 2, 3 + 0.9 * 2]),
        (NEVER, MIDDLE, [1 + 0.9 * 2 + 0.81 * 4, 2 + 0.9 * 4, 3 + 0.9 * 2]),
        (MIDDLE, NEVER, [1 + 0.9 * 2, 2, 3 + 0.9 * 2]),
    ],
    ids=["onward", "truncated", "terminated"],
)
def test_two_step_returns_by_hand(terminated, truncated, expected):
    found = returns.n_step_returns(REWARD, NEXT_VALUE, terminated, truncated, GAMMA, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_discounted_returns_by_hand():
    continued = returns.discounted_returns(REWARD, NEXT_VALUE, NEVER, MIDDLE, GAMMA)
    np.testing.assert_allclose(continued, [1 + 0.9 * (2 + 0.9 * 4), 2 + 0.9 * 4, 3 + 0.9 * 2], rtol=1e-6)
    ended = returns.discounted_returns(REWARD, NEXT_VALUE, MIDDLE, NEVER, GAMMA)
    np.testing.assert_allclose(ended, [1 + 0.9 * 2, 2, 3 + 0.9 * 2], rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.9, 0.99])
@pytest.mark.parametrize("gae_lambda", [0.0, 0.95, 1.0])
def test_a_time_limit_is_no_death(gamma, gae_lambda):
    """With reward 1 for ever the value is 1 / (1 - gamma): exact values leave no advantage, unless the episode terminated."""
    ones, value = jnp.ones(6), jnp.full(6, 1 / (1 - gamma))
    ends = jnp.arange(6) == 3
    advantage = jax.jit(returns.generalized_advantage)
    through = advantage(ones, value, value, jnp.zeros(6, bool), ends, gamma, gae_lambda)
    np.testing.assert_allclose(through, 0, atol=1e-4)
    dead = advantage(ones, value, value, ends, jnp.zeros(6, bool), gamma, gae_lambda)
    np.testing.assert_allclose(dead[3], 1 - 1 / (1 - gamma), rtol=1e-5)
    np.testing.assert_allclose(dead[4:], 0, atol=1e-4)
    np.testing.assert_allclose(returns.discounted_returns(ones, value, jnp.zeros(6, bool), ends, gamma), value, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_advantage_limits_and_identity(seed):
    reward, value, next_value, terminated, truncated = random_sequence(seed)
    advantage = partial(returns.generalized_advantage, reward, value, next_value, terminated, truncated, GAMMA)
    one_step = returns.td_error(reward, value, next_value, terminated, GAMMA)
    np.testing.assert_allclose(advantage(0.0), one_step, atol=1e-5)
    monte_carlo = returns.discounted_returns(reward, next_value, terminated, truncated, GAMMA)
    np.testing.assert_allclose(advantage(1.0), monte_carlo - value, atol=1e-5)
    averaged = returns.lambda_returns(reward, next_value, terminated, truncated, GAMMA, LAMBDA)
    np.testing.assert_allclose(advantage(LAMBDA) + value, averaged, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_returns_equal_their_definitions(seed):
    reward, _, next_value, terminated, truncated = random_sequence(seed)
    for num_steps in (1, 3, 50):
        found = returns.n_step_returns(reward, next_value, terminated, truncated, GAMMA, num_steps)
        expected = [n_step_by_definition(reward, next_value, terminated, truncated, GAMMA, num_steps, t) for t in range(12)]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for trace_decay in (0.0, 0.5, 1.0):
        found = returns.lambda_returns(reward, next_value, terminated, truncated, GAMMA, trace_decay)
        expected = [lambda_by_definition(reward, next_value, terminated, truncated, GAMMA, trace_decay, t) for t in range(12)]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_rlax_agrees():
    reward, value, next_value, terminated, truncated = random_sequence(7)
    discount = np.where(terminated, 0.0, GAMMA).astype(np.float32)
    decay = np.where(truncated, 0.0, LAMBDA).astype(np.float32)  # rlax has no truncation: a lambda of 0 bootstraps there
    found = returns.lambda_returns(reward, next_value, terminated, truncated, GAMMA, LAMBDA)
    np.testing.assert_allclose(found, rlax.lambda_returns(reward, discount, next_value, decay), rtol=1e-5, atol=1e-6)

    never = np.zeros(12, bool)
    found = returns.n_step_returns(reward, next_value, terminated, never, GAMMA, 3)
    expected = rlax.n_step_bootstrapped_returns(reward, discount, next_value, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    found = returns.discounted_returns(reward, next_value, terminated, never, GAMMA)
    np.testing.assert_allclose(found, rlax.discounted_returns(reward, discount, next_value), rtol=1e-5, atol=1e-6)

    values = np.append(value, next_value[-1])
    found = returns.generalized_advantage(reward, value, values[1:], terminated, never, GAMMA, LAMBDA)
    expected = rlax.truncated_generalized_advantage_estimation(reward, discount, LAMBDA, values)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip_rho", [0.8, 1.0, 2.0])
def test_vtrace_agrees_with_rlax(clip_rho):
    reward, value, next_value, terminated, truncated = random_sequence(9)
    log_ratio = np.random.default_rng(0).normal(size=12).astype(np.float32)
    found = returns.vtrace(reward, value, next_value, terminated, truncated, log_ratio, GAMMA, clip_rho)
    errors = rlax.vtrace(
        value,
        next_value,
        reward,
        np.where(terminated, 0.0, GAMMA).astype(np.float32),
        np.exp(log_ratio),
        lambda_=np.where(truncated, 0.0, 1.0).astype(np.float32),
        clip_rho_threshold=clip_rho,
        stop_target_gradients=False,
    )
    np.testing.assert_allclose(found, value + errors, rtol=1e-5, atol=1e-6)


def test_vtrace_on_policy_is_the_discounted_return():
    reward, value, next_value, terminated, truncated = random_sequence(11)
    found = returns.vtrace(reward, value, next_value, terminated, truncated, jnp.zeros(12), GAMMA)
    expected = returns.discounted_returns(reward, next_value, terminated, truncated, GAMMA)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_vtrace_clips_each_weight_by_its_own_bound():
    """One weight of 4: it multiplies the error up to clip_rho and the trace up to clip_c."""
    log_ratio = jnp.log(jnp.array([4.0, 1.0]))
    zeros, never = jnp.zeros(2), jnp.zeros(2, bool)
    found = returns.vtrace(jnp.array([1.0, 10.0]), zeros, zeros, never, never, log_ratio, 1.0, clip_rho=3.0, clip_c=2.0)
    np.testing.assert_allclose(found, [3.0 * 1.0 + 2.0 * 10.0, 10.0], rtol=1e-6)


ALL = {
    "lambda_returns": lambda r, v, n, te, tr: returns.lambda_returns(r, n, te, tr, GAMMA, LAMBDA),
    "discounted_returns": lambda r, v, n, te, tr: returns.discounted_returns(r, n, te, tr, GAMMA),
    "n_step_returns": lambda r, v, n, te, tr: returns.n_step_returns(r, n, te, tr, GAMMA, 3),
    "generalized_advantage": lambda r, v, n, te, tr: returns.generalized_advantage(r, v, n, te, tr, GAMMA, LAMBDA),
    "vtrace": lambda r, v, n, te, tr: returns.vtrace(r, v, n, te, tr, v, GAMMA),
}


@pytest.mark.parametrize("function", ALL.values(), ids=ALL)
def test_batches_compile_and_keep_float32(function):
    sequences = [random_sequence(seed) for seed in range(3)]
    batch = [jnp.stack(parts, axis=1) for parts in zip(*sequences, strict=True)]
    found = jax.jit(jax.vmap(function, in_axes=1, out_axes=1))(*batch)
    assert found.dtype == jnp.float32
    assert found.shape == (12, 3)
    for number, sequence in enumerate(sequences):
        np.testing.assert_allclose(found[:, number], function(*(jnp.asarray(part) for part in sequence)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", ALL.values(), ids=ALL)
def test_nothing_leaks_from_beyond_a_termination(function):
    """Neither the value there nor the next episode reaches a step before it, even if they are infinite."""
    reward, value, next_value, _, _ = random_sequence(3)
    terminated, truncated = np.arange(12) == 5, np.zeros(12, bool)
    plain = function(reward, value, next_value, jnp.asarray(terminated), jnp.asarray(truncated))
    reward, next_value = reward.copy(), next_value.copy()
    next_value[5], reward[6:] = np.inf, 100.0
    changed = function(reward, value, next_value, jnp.asarray(terminated), jnp.asarray(truncated))
    np.testing.assert_array_equal(changed[:6], plain[:6])


def test_a_sequence_of_one_step():
    one = [jnp.array([2.0]), jnp.array([1.0]), jnp.array([3.0]), jnp.array([False]), jnp.array([False])]
    for name, function in ALL.items():
        expected = 2 + 0.9 * 3 - (1 if name == "generalized_advantage" else 0)
        np.testing.assert_allclose(function(*one), [expected], rtol=1e-6)


SEQUENCE = (REWARD, NEXT_VALUE, NEVER, MIDDLE)
CRITIC = (REWARD, VALUE, NEXT_VALUE, NEVER, MIDDLE)
EMPTY = (jnp.zeros(0), jnp.zeros(0), jnp.zeros(0, bool), jnp.zeros(0, bool))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: returns.n_step_returns(*SEQUENCE, GAMMA, 0), "num_steps must be an integer of at least 1, got 0"),
        (lambda: returns.n_step_returns(*SEQUENCE, GAMMA, -2), "num_steps must be an integer of at least 1, got -2"),
        (lambda: returns.generalized_advantage(*CRITIC, 2.0, LAMBDA), r"gamma must lie in \[0, 1\], got 2.0"),
        (lambda: returns.generalized_advantage(*CRITIC, GAMMA, -1.0), r"gae_lambda must lie in \[0, 1\], got -1.0"),
        (lambda: returns.lambda_returns(*SEQUENCE, GAMMA, 1.5), r"trace_decay must lie in \[0, 1\], got 1.5"),
        (lambda: returns.discounted_returns(*SEQUENCE, jnp.nan), "gamma must lie in"),
        (lambda: returns.td_error(REWARD, VALUE, NEXT_VALUE, NEVER, 2.0), "gamma must lie in"),
        (lambda: returns.vtrace(*CRITIC, REWARD, GAMMA, clip_rho=-1.0), "clip_rho must be a positive number, got -1.0"),
        (lambda: returns.vtrace(*CRITIC, REWARD[:2], GAMMA), "the shapes must broadcast, got .*'log_ratio': .2,."),
        (lambda: returns.lambda_returns(*EMPTY, GAMMA, LAMBDA), r"one shape, \[T, ...\] with T at least 1"),
        (lambda: returns.lambda_returns(*SEQUENCE[:3], MIDDLE[:1], GAMMA, LAMBDA), "must have one shape"),
        (lambda: returns.td_error(REWARD, VALUE[:2], NEXT_VALUE, NEVER, GAMMA), "the shapes must broadcast"),
        (lambda: returns.lambda_returns(["a"] * 3, *SEQUENCE[1:], GAMMA, LAMBDA), "reward must be an array of real numbers"),
        (lambda: returns.clipped_ratio(REWARD, np.inf), "largest must be a positive number, got inf"),
        (lambda: returns.one_step_target(REWARD, VALUE, REWARD, GAMMA), "terminated must be bool, got 'float32'"),
        (lambda: returns.generalized_advantage(*CRITIC[:4], REWARD, GAMMA, LAMBDA), "truncated must be bool"),
    ],
)
def test_sequences_and_numbers_without_a_return_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
    with pytest.raises(ConfigError, match=message):  # and in a compiled function, where the numbers are not its arguments
        jax.jit(call)()


def test_a_traced_discount_is_not_checked():
    found = jax.jit(lambda gamma: returns.generalized_advantage(*CRITIC, gamma, LAMBDA))(2.0)
    assert found.shape == (3,)


def test_the_weights_of_an_expansion_by_hand():
    """0.5 expanded towards 0.75: 1, then 1/2 + 1/4, then 1/4 + 2 (1/4)(1/2) + 1/16, cut after the order."""
    t = jnp.arange(3)
    for order, expected in ((0, [1.0, 0.5, 0.25]), (1, [1.0, 0.75, 0.5]), (2, [1.0, 0.75, 0.5625]), (9, [1.0, 0.75, 0.5625])):
        np.testing.assert_allclose(returns.taylor_weights(t, 0.5, 0.75, order), expected, rtol=1e-6)


@pytest.mark.parametrize("order", [0, 1, 4])
def test_the_weights_are_chances_of_a_binomial_law(order):
    """g'^t times the chance of at most K among t tosses; scipy is the oracle."""
    t, gamma, to = np.arange(200), 0.95, 0.99
    expected = to**t * scipy.stats.binom.cdf(order, t, 1 - gamma / to)
    np.testing.assert_allclose(returns.taylor_weights(jnp.asarray(t), gamma, to, order), expected, rtol=1e-4, atol=1e-7)


def test_weighted_sums_are_the_exact_expansion_of_a_value():
    """In a random process, sum_t w_K(t) P^t r is what the solver expands by matrices."""
    with jax.enable_x64(True):
        model = random_mdp.table(random_mdp.dense(jax.random.key(0), 5, 2))
        policy, gamma, to = np.full((5, 2), 0.5), 0.8, 0.9
        exact = taylor_expansion(model, policy, gamma, to, 6).value
        chain = (policy[..., None] * np.asarray(model.probability)).sum(1)
        paid = (policy[..., None] * np.asarray(model.probability) * np.asarray(model.reward)).sum((1, 2))
        rewards = [paid]
        for _ in range(400):
            rewards.append(chain @ rewards[-1])  # successor b of every state is state b
        for order in (0, 1, 2, 6):
            weight = np.asarray(returns.taylor_weights(jnp.arange(401), gamma, to, order))
            np.testing.assert_allclose(weight @ np.array(rewards), exact[order], rtol=1e-9)


def test_expansions_that_need_not_converge_are_refused():
    for arguments, message in (
        ((0.9, 0.8, 1), "gamma must not exceed to"),
        ((0.0, 0.8, 1), "gamma must lie in"),
        ((0.9, 1.1, 1), "to must lie in"),
        ((0.9, 0.99, -1), "order must be an integer of at least 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            returns.taylor_weights(jnp.arange(3), *arguments)
