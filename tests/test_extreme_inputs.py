"""Every loss and log-probability at extreme finite inputs: value and gradient are finite, and near those of float64.

The inputs are all combinations of a few numbers of very different size. What is documented to be infinite is left out by name.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.algorithms.preferences import beyond_pairs, direct
from jaxrl.algorithms.preferences.losses import bradley_terry_loss
from jaxrl.blocks import distributions, losses, returns
from jaxrl.blocks.exploration import boltzmann_probabilities
from jaxrl.solvers import kl_optimal

LOG_RATIOS = (0.0, 1e-8, -1e-8, 1.0, -1.0, 19.0, 21.0, 89.0, -89.0, 1e4, -1e4, 1e9, -1e9)
NUMBERS = (0.0, 1e-8, 1.0, -1.0, 1e4, -1e4)
LOG_PROBABILITIES = (0.0, -1e-9, -1e-3, -1.1, -20.0, -90.0, -1e4)
AVERSIONS = (0.01, 1.0, 100.0)

FUNCTIONS = {
    "clipped_surrogate_loss": (functools.partial(losses.clipped_surrogate_loss, clip_eps=0.2), (LOG_RATIOS, NUMBERS)),
    "policy_gradient_loss": (losses.policy_gradient_loss, (LOG_PROBABILITIES, NUMBERS)),
    "squared_value_loss": (losses.squared_value_loss, (NUMBERS, NUMBERS)),
    "clipped_value_loss": (functools.partial(losses.clipped_value_loss, clip_eps=0.2), (NUMBERS, NUMBERS, NUMBERS)),
    "huber_loss": (losses.huber_loss, (NUMBERS, NUMBERS, (1e-8, 1.0, np.inf))),
    "kl_k1": (losses.kl_k1, (LOG_RATIOS,)),
    "kl_k3": (losses.kl_k3, (LOG_RATIOS,)),
    "itakura_saito_loss": (losses.itakura_saito_loss, (NUMBERS, NUMBERS, AVERSIONS)),
    # Infinite where a value times the risk aversion is below -44, as documented.
    "exponential_squared_loss": (losses.exponential_squared_loss, ((0.0, -40.0, 1e4), (0.0, -40.0, 1e4), (0.01, 1.0))),
    "softplus_loss": (losses.softplus_loss, (NUMBERS, NUMBERS, AVERSIONS)),
    "mean_variance_loss": (losses.mean_variance_loss, (NUMBERS, NUMBERS, AVERSIONS)),
    "clipped_ratio": (returns.clipped_ratio, (LOG_RATIOS, (0.5, 1.0, 100.0))),
    "bradley_terry_loss": (bradley_terry_loss, (LOG_RATIOS, (0.0, 0.5, 1.0), (0.0, 0.05))),
}


def grid(*axes, dtype=np.float32):
    return tuple(np.array(column, dtype) for column in zip(*itertools.product(*axes), strict=True))


@functools.partial(jax.jit, static_argnames="function")
def swept(function, arguments):
    """Returns values and gradients in the first argument, for each combination of arguments."""
    return jax.vmap(jax.value_and_grad(function))(*arguments)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_losses_of_one_item(name):
    function, axes = FUNCTIONS[name]
    value, gradient = (np.asarray(part) for part in swept(function, grid(*axes)))
    for found, kind in ((value, "value"), (gradient, "gradient")):
        bad = ~np.isfinite(found)
        assert not bad.any(), f"{kind} of {name} at {[tuple(column[bad][0] for column in grid(*axes))]}"
    with jax.enable_x64(True):
        exact = [np.asarray(part) for part in swept(function, grid(*axes, dtype=np.float64))]
    if name == "exponential_squared_loss":  # near the target it is the rounding of two exponentials
        far = np.abs(np.subtract(*grid(*axes)[:2])) > 1e-3
        value, gradient, exact = value[far], gradient[far], [part[far] for part in exact]
    np.testing.assert_allclose(value, exact[0], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(gradient, exact[1], rtol=1e-3, atol=1e-5)


def test_ratios_far_beyond_the_bound_are_pulled_back_or_left_alone():
    """The given case: exp(89) is infinite in float32, and 0 times infinity was the gradient."""
    gradient = jax.grad(losses.clipped_surrogate_loss)
    assert float(gradient(89.0, 1.0, 0.2)) == 0.0
    assert float(gradient(89.0, -1.0, 0.2)) == pytest.approx(np.exp(20.0), rel=1e-5)
    assert float(gradient(-200.0, -1.0, 0.2)) == 0.0
    for x in (0.0, 3.0, 19.9, -5.0):  # below e^20 nothing has changed
        np.testing.assert_allclose(losses.exponential(x), np.exp(x), rtol=1e-5)
        np.testing.assert_allclose(losses.kl_k3(x), np.expm1(x) - x, rtol=1e-5, atol=1e-6)


def test_importance_ratios_of_vtrace():
    """Value and gradient where the ratio overflows are those of any ratio beyond the bounds."""

    def total(log_ratio):
        flags = jnp.zeros(3, bool)
        rewards, values = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 0.4, 0.3])
        return returns.vtrace(rewards, values, values, flags, flags, log_ratio, 0.9).sum()

    for middle in (89.0, 1e4, 1e9):
        found = jax.value_and_grad(total)(jnp.array([-0.5, middle, -200.0]))
        expected = jax.value_and_grad(total)(jnp.array([-0.5, 2.0, -200.0]))
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)
        assert float(found[1][1]) == 0.0


def test_what_lies_beyond_a_termination_may_be_infinite():
    """Neither the returns nor their gradients see it."""
    ended, cut = jnp.array([False, True, False, True]), jnp.zeros(4, bool)
    beyond, value = jnp.array([1.0, jnp.inf, 2.0, jnp.nan]), jnp.array([0.5, 1.0, -1.0, 2.0])
    functions = (
        lambda reward, value: returns.generalized_advantage(reward, value, beyond, ended, cut, 0.9, 0.8).sum(),
        lambda reward, value: returns.lambda_returns(reward, beyond, ended, cut, 0.9, 0.8).sum() + value.sum(),
        lambda reward, value: returns.n_step_returns(reward, beyond, ended, cut, 0.9, 2).sum() + value.sum(),
        lambda reward, value: returns.vtrace(reward, value, beyond, ended, cut, value, 0.9).sum(),
    )
    for function in functions:
        found, gradient = jax.value_and_grad(function, argnums=(0, 1))(jnp.ones(4), value)
        assert np.isfinite(found)
        assert np.isfinite(gradient).all()


def pairs_of_all_sizes(dtype):
    sizes = LOG_PROBABILITIES
    chosen, rejected, reference_chosen, reference_rejected, length = grid(
        sizes, sizes, sizes[1:], sizes[1:], (1.0, 500.0), dtype=dtype
    )
    return direct.Pairs(chosen, rejected, reference_chosen, reference_rejected, length, length[::-1])


@jax.jit
def direct_losses(pairs):
    """Returns value and gradients of every loss, each with the numbers of its paper."""
    config = direct.Config(eta=1.0)

    def all_of(pairs, function):
        def total(chosen, rejected):
            values = function(pairs._replace(chosen=chosen, rejected=rejected), config)
            return values.sum(), values

        gradients, values = jax.grad(total, argnums=(0, 1), has_aux=True)(pairs.chosen, pairs.rejected)
        return values, *gradients

    return {name: all_of(pairs, function) for name, function in direct.LOSSES.items()}


def test_direct_losses():
    found = direct_losses(pairs_of_all_sizes(np.float32))
    with jax.enable_x64(True):
        exact = direct_losses(pairs_of_all_sizes(np.float64))
    rounded = pairs_of_all_sizes(np.float32).rejected == 0.0  # what a log-probability of 0 stands for depends on the precision
    for name in direct.LOSSES:
        for one, other in zip(found[name], exact[name], strict=True):
            assert np.isfinite(one).all(), name
            same = ~rounded if name == "orpo" else np.ones_like(rounded)
            np.testing.assert_allclose(np.asarray(one)[same], np.asarray(other)[same], rtol=2e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", direct.LOSSES)
def test_a_response_that_is_impossible_leaves_the_other_pairs_alone(name):
    """The policy gives the last pair's rejected response probability 0; means over the batch used to be NaN then."""
    numbers = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    pairs = direct.Pairs(*(-1 - np.abs(numbers)), *(-1 - np.abs(numbers[::-1])), *np.full((2, 5), 3, np.float32))
    without = direct.Pairs(*(leaf[:-1] for leaf in pairs))

    def losses(chosen, rejected, pairs):
        values = direct.LOSSES[name](pairs._replace(chosen=chosen, rejected=rejected), direct.Config(eta=1.0))
        return values[:4].sum(), values

    of_all = jax.grad(losses, argnums=(0, 1), has_aux=True)
    impossible = jnp.asarray(pairs.rejected).at[-1].set(-jnp.inf)
    found, values = of_all(jnp.asarray(pairs.chosen), impossible, pairs)
    expected, alone = of_all(jnp.asarray(without.chosen), jnp.asarray(without.rejected), without)
    if name not in ("kto", "bco"):  # their mean is over the chosen response of that pair, too
        np.testing.assert_allclose(values[:4], alone, rtol=1e-5)
        np.testing.assert_allclose(np.stack(found)[:, :4], np.stack(expected), rtol=1e-4, atol=1e-7)
    assert np.isfinite(values[:4]).all()
    average = direct.updated_margin_average(jnp.float32(0.5), jnp.array([1.0, jnp.inf]))
    assert float(average) == pytest.approx(0.9 * 0.5 + 0.1 * 1.0)
    regressed = name in ("ipo", "sppo")  # onto a number: an infinite log-ratio is infinitely far from it
    assert np.isfinite(np.stack(found)[:, :4] if regressed else np.stack(found)).all()


def test_orpo_at_every_gap_of_two_logits():
    """The odds ratio of two responses that share all probability is that of the logits, twice the gap."""
    gaps = np.array([0.0, 1.0, 10.0, 16.6, 20.0, 40.0, 80.0, 200.0], np.float32)

    def loss(gap, log_softmax):
        table = log_softmax(jnp.stack([gap, jnp.zeros_like(gap)]))
        ones = jnp.ones_like(gap)
        return direct.orpo(direct.Pairs(table[0], table[1], ones, ones, ones, ones), direct.Config(odds=1.0))

    exactly = jax.vmap(
        jax.value_and_grad(lambda gap: loss(gap, lambda x: jnp.stack([jax.nn.log_sigmoid(x[0]), jax.nn.log_sigmoid(-x[0])])))
    )
    by_softmax = jax.vmap(jax.value_and_grad(lambda gap: loss(gap, jax.nn.log_softmax)))
    for sign in (1.0, -1.0):
        d = sign * gaps.astype(np.float64)
        expected = np.logaddexp(0, -d) + np.logaddexp(0, -2 * d)
        slope = -1 / (1 + np.exp(np.minimum(d, 700))) - 2 / (1 + np.exp(np.minimum(2 * d, 700)))
        value, gradient = exactly(sign * gaps)
        # Beyond a gap of 100 the log-probability of the likelier response is no float32.
        known = gaps < 80
        np.testing.assert_allclose(np.asarray(value)[known], expected[known], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.asarray(gradient)[known], slope[known], rtol=1e-4, atol=1e-6)
        for part in (*exactly(sign * gaps), *by_softmax(sign * gaps)):
            assert np.isfinite(part).all()


def test_losses_beyond_pairs():
    pairs = pairs_of_all_sizes(np.float32)
    size = pairs.chosen.size
    divergences = np.resize(np.array([0.0, 1e-8, 1.0, 1e4], np.float32), size)
    config = beyond_pairs.Config()

    def total(chosen):
        both = pairs._replace(chosen=chosen)
        first = beyond_pairs.tdpo1(both, divergences, divergences[::-1], config)
        second = beyond_pairs.tdpo2(both, divergences, divergences[::-1], config)
        unpaired = jnp.concatenate(direct.unpaired_kto(chosen, chosen[: size // 3], direct.Config()))
        return first.sum() + second.sum() + unpaired.sum() + beyond_pairs.pmpo(chosen, pairs.rejected, divergences, config)

    for part in jax.value_and_grad(total)(pairs.chosen):
        assert np.isfinite(part).all()


def test_padding_and_impossible_tokens_do_not_reach_the_divergence():
    """NaN behind the mask, and a token that the reference never says, count nothing, in the gradient either."""
    reference = jnp.log(jnp.array([[[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]]))
    policy = jnp.log(jnp.array([[[0.25, 0.5, 0.25], [1.0, 1.0, 1.0]]])).at[0, 1].set(jnp.nan)
    mask = jnp.array([[True, False]])
    found, gradient = jax.value_and_grad(lambda policy: beyond_pairs.sequential_divergence(policy, reference, mask).sum())(policy)
    np.testing.assert_allclose(found, 0.5 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(gradient, [[[-0.5, -0.5, 0.0], [0.0, 0.0, 0.0]]], atol=1e-6)


def test_spin_with_responses_that_the_opponent_never_gives():
    policy, opponent = jnp.log(jnp.array([0.2, 0.5, 0.3])), jnp.log(jnp.array([0.4, 0.6, 0.0]))
    both = beyond_pairs.Config(beta=0.5)
    demonstrated = jnp.array([0, 1])
    found, gradient = jax.value_and_grad(lambda policy: beyond_pairs.spin(policy, opponent, demonstrated, both).sum())(policy)
    smaller = beyond_pairs.spin(policy[:2], opponent[:2], demonstrated, both).sum()
    np.testing.assert_allclose(found, smaller, rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert float(gradient[2]) == 0.0


@pytest.mark.parametrize("beta", [1e-30, 1e-3, 1.0, 1e30])
def test_tilted_policies(beta):
    log_reference = jnp.array([-1.0, -1e4, -jnp.inf, -0.5])
    reward = jnp.array([1e4, -1e4, 1e30, 1e4])

    def objective(reward):
        policy = kl_optimal.kl_optimal(log_reference, reward, beta)
        return kl_optimal.optimal_value(log_reference, reward, beta), policy

    (value, policy), gradient = jax.value_and_grad(objective, has_aux=True)(reward)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient, np.exp(policy), atol=1e-6)  # the envelope theorem
    np.testing.assert_allclose(np.exp(policy).sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.exp(policy[0] - policy[3]), np.exp(-0.5), rtol=1e-5)


def test_a_certain_preference_takes_all():
    """The limit of preferences that become certain together: 1 - e with e to 0, in float64."""
    behaviour, log_reference = jnp.array([0.4, 0.3, 0.3]), jnp.log(jnp.array([0.2, 0.3, 0.5]))
    cases = (
        [[0.5, 1.0, 0.7], [0.0, 0.5, 0.6], [0.3, 0.4, 0.5]],  # one response is sure of beating another
        [[0.5, 0.7, 0.6], [0.3, 0.5, 0.0], [0.4, 1.0, 0.5]],
        [[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]],  # a circle: infinity less infinity in every row
        [[0.5, 0.7, 1.0], [0.3, 0.5, 1.0], [0.0, 0.0, 0.5]],  # two are equally sure: their other preferences decide
    )
    for preference in cases:
        preference = np.array(preference)
        found = kl_optimal.psi_optimal(log_reference, jnp.asarray(preference, jnp.float32), behaviour, 0.5, kl_optimal.logit)
        e = 1e-300
        almost = np.where(preference == 0.0, np.log(e), np.where(preference == 1.0, -np.log(e), 0.0))
        inside = np.clip(preference, 0.1, 0.9)
        certain = (preference == 0.0) | (preference == 1.0)
        value = np.where(certain, almost, np.log(inside / (1 - inside))) @ np.asarray(behaviour, np.float64)
        tilted = np.asarray(log_reference, np.float64) + value / 0.5
        expected = np.exp(tilted - tilted.max()) / np.exp(tilted - tilted.max()).sum()
        np.testing.assert_allclose(np.exp(found), expected, atol=1e-4)


LOGITS = (0.0, 1.0, -40.0, 1e4, -1e4, 1e8, -1e8)


@jax.jit
def of_categorical(logits, mask):
    def each(logits, mask, value):
        policy = distributions.categorical(logits, mask)
        return policy.log_prob(value), policy.entropy(), policy.kl_divergence(distributions.categorical(-logits, mask))

    def gradients(logits, mask, value):
        return jax.jacrev(each)(logits, mask, value)

    actions = jnp.argmax(mask, -1)
    return jax.vmap(each)(logits, mask, actions), jax.vmap(gradients)(logits, mask, actions)


def test_categorical_at_extreme_logits():
    logits = np.stack(grid(LOGITS, LOGITS, LOGITS), -1)
    for mask in (np.ones_like(logits, bool), np.broadcast_to([True, False, True], logits.shape)):
        for part in jax.tree.leaves(of_categorical(logits, mask)):
            assert np.isfinite(part).all()
    huge = (0.0, 1e30, -1e30, 3e38, -3e38)
    entropy = jax.vmap(lambda x: distributions.Categorical(x).entropy())(np.stack(grid(huge, huge), -1))
    assert np.isfinite(entropy).all()
    assert float(distributions.Categorical(jnp.array([0.0, -jnp.inf])).entropy()) == 0.0


def test_gaussians_at_extreme_inputs():
    values, means, log_stds = grid((0.0, 1.0, 1e4), NUMBERS, (0.0, 5.0, -15.0, -1e4, 1e4))

    def log_prob(mean, log_std, value):
        return distributions.diagonal_gaussian(mean[None], log_std[None]).log_prob(value[None])

    def squashed(mean, log_std, value):
        return distributions.tanh_gaussian(mean[None], log_std[None]).log_prob(value[None])

    inside = np.clip(values, -1.0, 1.0)
    for function, point in ((log_prob, values), (squashed, inside), (squashed, -inside)):
        for part in jax.tree.leaves(jax.vmap(jax.value_and_grad(function, argnums=(0, 1, 2)))(means, log_stds, point)):
            assert np.isfinite(part).all()


@pytest.mark.parametrize("temperature", [1e-30, 1.0, 1e30])
def test_boltzmann_at_extreme_values(temperature):
    values = np.stack(grid((*LOGITS, 1e30), (*LOGITS, -1e30)), -1)
    found = boltzmann_probabilities(values, temperature)
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)
    gradient = jax.grad(lambda values: jnp.sum(boltzmann_probabilities(values, temperature)[:, 0] ** 2))(values)
    assert not np.isnan(gradient).any()


def test_the_value_of_an_illegal_action_reaches_no_gradient():
    mask, values = jnp.array([True, False, True, False]), jnp.array([1.0, jnp.nan, 2.0, jnp.inf])
    found = jax.grad(lambda values, t: boltzmann_probabilities(values, t, mask)[0], argnums=(0, 1))(values, 0.7)
    legal = jax.grad(lambda values, t: boltzmann_probabilities(values, t)[0], argnums=(0, 1))(values[::2], 0.7)
    np.testing.assert_allclose(found[0][::2], legal[0], rtol=1e-5)
    np.testing.assert_array_equal(found[0][1::2], 0.0)
    np.testing.assert_allclose(found[1], legal[1], rtol=1e-5)
