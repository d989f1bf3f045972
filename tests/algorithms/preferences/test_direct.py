"""The DPO family: values written out in NumPy, gradients at the reference, exact optima, and what each loss does not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxrl.algorithms.preferences import direct
from jaxrl.algorithms.preferences.direct import Config, Pairs
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.solvers.kl_optimal import kl_optimal

NUMBERS = Config(
    beta=0.4, flip_rate=0.2, tau=0.3, target_margin=0.7, sft=0.6, odds=0.25, drop=3.0, length=0.05, desirable=1.2,
    undesirable=0.8, eta=0.9, beta_gain=0.5, margin_average=0.1, smoothing=0.05,
)  # fmt: skip


@pytest.fixture
def pairs():
    random = np.random.default_rng(0)
    log_probabilities = -random.uniform(0.5, 6.0, size=(4, 6))
    return Pairs(*log_probabilities, *random.integers(1, 9, size=(2, 6)).astype(np.float64))


def the_other_way_round(pairs):
    return Pairs(*(pairs[i] for i in (1, 0, 3, 2, 5, 4)))


def logistic(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def by_hand(name, pairs):
    """Every loss written out from its formula."""
    lw, ll, rw, rl, nw, nl = pairs
    b, e = 0.4, 0.2
    w, l = lw - rw, ll - rl  # noqa: E741
    h = w - l
    if name == "dpo":
        return softplus(-b * h)
    if name == "cdpo":
        return 0.8 * softplus(-b * h) + 0.2 * softplus(b * h)
    if name == "robust":
        return ((1 - e) * softplus(-b * h) - e * softplus(b * h)) / 0.6
    if name == "ipo":
        return (h - 1 / 0.6) ** 2
    if name == "slic":
        return np.maximum(0, 0.7 - lw + ll) - 0.6 * lw
    if name == "rrhf":
        return np.maximum(0, ll / nl - lw / nw) - 0.6 * lw
    if name == "kto":
        z = max(0, np.mean(np.concatenate([w, l])))
        return 1.2 * (1 - logistic(b * (w - z))) + 0.8 * (1 - logistic(b * (z - l)))
    if name == "simpo":
        return softplus(-(b * (lw / nw - ll / nl) - 0.7))
    if name == "cpo":
        return softplus(-b * (lw - ll)) - 0.6 * lw
    if name == "orpo":
        p, q = np.exp(lw / nw), np.exp(ll / nl)
        return -lw / nw + 0.25 * softplus(-np.log((p / (1 - p)) / (q / (1 - q))))
    if name == "dpop":
        return softplus(-b * (h - 3.0 * np.maximum(0, rw - lw)))
    if name == "rpo":
        return softplus(-b * h) - 0.6 * lw
    if name == "r_dpo":
        return softplus(-(b * h + 0.05 * (nw - nl)))
    if name == "beta_dpo":
        beta = max(1e-3, b * (1 + 0.5 * (h.mean() - 0.1)))
        return softplus(-beta * h)
    if name == "sppo":
        return (w - 0.45) ** 2 + (l + 0.45) ** 2
    if name == "nca":
        return softplus(-b * w) + 0.5 * softplus(b * w) + 0.5 * softplus(b * l)
    if name == "apo_zero":
        return 1 - logistic(b * w) + logistic(b * l)
    if name == "bco":
        d = np.mean(np.concatenate([b * w, b * l]))
        return softplus(-(b * w - d)) + softplus(b * l - d)
    if name == "exo":
        p = logistic(b * h)
        return p * np.log(p / 0.95) + (1 - p) * np.log((1 - p) / 0.05)
    raise AssertionError(name)


@pytest.mark.parametrize("name", direct.LOSSES)
def test_values_by_hand(name, pairs):
    with jax.enable_x64(True):
        found = direct.loss(name)(jax.tree.map(jnp.asarray, pairs), NUMBERS)
    assert found.shape == (6,)
    np.testing.assert_allclose(found, by_hand(name, pairs), rtol=1e-10)


@pytest.mark.parametrize("name", direct.LOSSES)
def test_the_preferred_response_is_pulled_up(name, pairs):
    """Near the reference, descent raises the log-probability of w, or lowers that of l, and never the reverse."""
    with jax.enable_x64(True):
        tiny = jnp.full(6, 1e-6)
        near = pairs._replace(chosen=jnp.asarray(pairs.reference_chosen) - tiny, rejected=jnp.asarray(pairs.reference_rejected))

        def total(chosen, rejected):
            return direct.loss(name)(near._replace(chosen=chosen, rejected=rejected), NUMBERS.replace(target_margin=30.0)).sum()

        chosen, rejected = jax.grad(total, argnums=(0, 1))(near.chosen, near.rejected)
        assert bool((chosen <= 1e-12).all())
        assert bool((rejected >= -1e-12).all())
        assert bool(((chosen < 0) | (rejected > 0)).all())


@pytest.mark.parametrize("name", direct.LOSSES)
def test_gradients_are_those_of_finite_differences(name, pairs):
    """Losses that hold part of the batch constant (kto, beta_dpo, bco) are checked with that part held constant."""
    if name in ("kto", "beta_dpo", "bco"):
        pytest.skip("the derivative leaves out a part that the value contains")
    with jax.enable_x64(True):
        pairs = jax.tree.map(jnp.asarray, pairs)
        direction = jnp.asarray(np.random.default_rng(1).normal(size=6))

        def total(step):
            return direct.loss(name)(pairs._replace(chosen=pairs.chosen + step * direction), NUMBERS).sum()

        np.testing.assert_allclose(jax.grad(total)(0.0), (total(1e-6) - total(-1e-6)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_the_batch_statistics_are_constants_to_the_gradient():
    """With a single pair beta-DPO's gradient is DPO's at the beta of that batch, and KTO's that at the z of that batch."""
    one = Pairs(*(jnp.full(1, x) for x in (-1.0, -2.0, -1.5, -1.2, 3.0, 4.0)))

    def gradient(loss, numbers):
        return jax.grad(lambda chosen: loss(one._replace(chosen=chosen), numbers).sum())(one.chosen)

    h = float(one.margin[0])
    beta = 0.4 * (1 + 0.5 * (h - 0.1))
    np.testing.assert_allclose(gradient(direct.beta_dpo, NUMBERS), gradient(direct.dpo, Config(beta=beta)), rtol=1e-5)
    z = max(0.0, (float(one.chosen_ratio[0]) + float(one.rejected_ratio[0])) / 2)
    p = logistic(0.4 * (float(one.chosen_ratio[0]) - z))
    np.testing.assert_allclose(gradient(direct.kto, NUMBERS), -1.2 * 0.4 * p * (1 - p), rtol=1e-5)


def test_dpo_optimum_is_the_tilted_reference():
    """Over all pairs of four responses with Bradley-Terry probabilities, found by scipy."""
    gold, log_reference = np.array([0.0, 1.0, -0.5, 2.0]), np.log([0.4, 0.3, 0.2, 0.1])
    first, second = np.nonzero(~np.eye(4, dtype=bool))
    with jax.enable_x64(True):
        weight = jax.nn.sigmoid(jnp.asarray(gold[first] - gold[second]))

        def objective(logits):
            policy = jax.nn.log_softmax(logits)
            pairs = direct.pairs_of(policy, jnp.asarray(log_reference), jnp.ones(4), first, second)
            return jnp.sum(weight * direct.dpo(pairs, Config(beta=0.5)))

        gradient = jax.jit(jax.grad(objective))
        best = optimize.minimize(objective, np.zeros(4), jac=lambda x: np.asarray(gradient(x)), options={"gtol": 1e-9})
        found = jax.nn.softmax(jnp.asarray(best.x))
        np.testing.assert_allclose(found, np.exp(kl_optimal(jnp.asarray(log_reference), jnp.asarray(gold), 0.5)), atol=1e-7)


def margin_at_optimum(name, numbers, wins=1.0):
    """Returns the margin at which the loss of one pair is least, whose first response is preferred with this probability."""

    def objective(margin):
        policy = jax.nn.log_softmax(jnp.stack([margin, jnp.zeros_like(margin)]))
        half = jnp.log(jnp.full(1, 0.5))
        pairs = Pairs(policy[:1], policy[1:], half, half, jnp.ones(1), jnp.ones(1))
        loss, turned = direct.loss(name), the_other_way_round(pairs)
        return (wins * loss(pairs, numbers) + (1 - wins) * loss(turned, numbers)).sum()

    with jax.enable_x64(True):
        bracket = optimize.minimize_scalar(lambda x: float(objective(jnp.float64(x))), bounds=(-50, 50), method="bounded")
    return bracket.x


def test_finite_margins_of_ipo_and_cdpo():
    for tau in (0.1, 0.5, 1.0):
        assert margin_at_optimum("ipo", Config(tau=tau)) == pytest.approx(1 / (2 * tau), rel=1e-4)
    for beta, e in ((0.5, 0.2), (1.0, 0.05)):
        expected = np.log((1 - e) / e) / beta
        assert margin_at_optimum("cdpo", Config(beta=beta, flip_rate=e)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("beta", "e", "wins"), [(0.5, 1e-3, 1.0), (1.0, 0.1, 1.0), (0.7, 0.02, 0.75), (0.7, 0.02, 0.5)])
def test_margin_of_exo(beta, e, wins):
    """KL(policy || labels) is least where logit(p) is the mean of the labels' logits, +-logit(1 - e)."""
    expected = (2 * wins - 1) * np.log((1 - e) / e) / beta
    assert margin_at_optimum("exo", Config(beta=beta, smoothing=e), wins) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_exo_and_cdpo_are_the_two_divergences(pairs):
    """Both are a KL of the same two distributions, one each way; the other way round differs from cDPO by the labels' entropy."""
    numbers = NUMBERS.replace(flip_rate=0.05)
    with jax.enable_x64(True):
        pairs = jax.tree.map(jnp.asarray, pairs)
        p = np.asarray(jax.nn.sigmoid(0.4 * pairs.margin))
        policy, labels = np.stack([p, 1 - p]), np.array([[0.95], [0.05]])
        np.testing.assert_allclose(direct.exo(pairs, numbers), (policy * np.log(policy / labels)).sum(0), rtol=1e-10)
        entropy = -(labels * np.log(labels)).sum()
        np.testing.assert_allclose(direct.cdpo(pairs, numbers) - entropy, (labels * np.log(labels / policy)).sum(0), rtol=1e-10)


@pytest.mark.parametrize("name", ["dpo", "dpop", "robust", "kto", "rpo", "apo_zero"])
def test_others_have_no_finite_margin(name):
    """DPOP's penalty is gone once the preferred response is likelier than under the reference."""
    assert margin_at_optimum(name, Config(beta=0.5, flip_rate=0.2)) > 49


def test_robust_loss_is_unbiased_under_flips(pairs):
    with jax.enable_x64(True):
        pairs = jax.tree.map(jnp.asarray, pairs)
        mean = 0.8 * direct.robust(pairs, NUMBERS) + 0.2 * direct.robust(the_other_way_round(pairs), NUMBERS)
        np.testing.assert_allclose(mean, direct.dpo(pairs, NUMBERS), rtol=1e-12)


@pytest.mark.parametrize("name", direct.LOSSES)
def test_who_needs_a_reference(name, pairs):
    moved = pairs._replace(reference_chosen=pairs.reference_chosen - 1.0, reference_rejected=pairs.reference_rejected + 0.5)
    unchanged = np.array_equal(direct.loss(name)(pairs, NUMBERS), direct.loss(name)(moved, NUMBERS))
    assert unchanged == (name in direct.WITHOUT_REFERENCE)


def test_beta_dpo_running_mean_and_filter():
    margin = jnp.array([1.0, 3.0])
    assert float(direct.updated_margin_average(jnp.float32(0.5), margin)) == pytest.approx(0.9 * 0.5 + 0.1 * 2.0)
    np.testing.assert_allclose(direct.keep_probability(margin, 1.0, 2.0), [1.0, np.exp(-0.5)], rtol=1e-6)
    np.testing.assert_array_equal(direct.keep_probability(margin, 1.0, 0.0), [1.0, 0.0])


@pytest.mark.parametrize(("name", "numbers"), direct.PUBLISHED.items())
def test_the_defaults_are_those_of_each_paper(name, numbers, pairs):
    """SimPO with DPO's beta of 0.1 is another loss than its authors'."""
    pairs = jax.tree.map(jnp.asarray, pairs)
    np.testing.assert_array_equal(direct.loss(name)(pairs, Config()), direct.loss(name)(pairs, Config(**numbers)))
    assert set(numbers) <= {"beta", "target_margin", "sft"}


def test_simpo_is_its_authors():
    """Meng et al. (2024): beta 2 to 2.5, and half of beta as the target margin to begin with."""
    assert direct.PUBLISHED["simpo"] == {"beta": 2.0}
    chosen, rejected, length = jnp.array([-4.0]), jnp.array([-9.0]), jnp.array([4.0])
    one = Pairs(chosen, rejected, chosen, rejected, length, length)
    np.testing.assert_allclose(direct.simpo(one, Config()), softplus(-(2.0 * (-1.0 + 9 / 4) - 1.0)), rtol=1e-6)
    np.testing.assert_allclose(direct.simpo(one, Config(beta=1.0)), softplus(-(1.0 * (-1.0 + 9 / 4) - 0.5)), rtol=1e-6)
    np.testing.assert_allclose(direct.simpo(one, Config(target_margin=0.2)), softplus(-(2.0 * (-1.0 + 9 / 4) - 0.2)), rtol=1e-6)


def test_kto_takes_responses_that_are_in_no_pairs():
    """Three desirable responses and one undesirable one, written out; one side may be empty."""
    desirable, undesirable = np.array([0.5, -1.0, 3.0]), np.array([1.5])
    numbers = Config(beta=0.4, desirable=1.2, undesirable=0.8)
    z = max(0.0, np.concatenate([desirable, undesirable]).mean())
    for given, expected in ((None, z), (0.7, 0.7), (-2.0, 0.0)):
        up, down = direct.unpaired_kto(jnp.asarray(desirable), jnp.asarray(undesirable), numbers, given)
        np.testing.assert_allclose(up, 1.2 * (1 - logistic(0.4 * (desirable - expected))), rtol=1e-5)
        np.testing.assert_allclose(down, 0.8 * (1 - logistic(0.4 * (expected - undesirable))), rtol=1e-5)
    up, down = direct.unpaired_kto(jnp.zeros(0), jnp.asarray(undesirable), numbers)
    assert up.shape == (0,)
    np.testing.assert_allclose(down, 0.4, rtol=1e-6)
    slope = jax.grad(lambda x: sum(part.sum() for part in direct.unpaired_kto(x, jnp.zeros(1), Config(), 0.0)))(jnp.zeros(2))
    np.testing.assert_allclose(slope, -0.1 / 4, rtol=1e-5)


def test_unknown_names_and_wrong_numbers():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'simpo'.*Known: apo_zero, bco, beta_dpo"):
        direct.loss("sympo")
    for changes in ({"beta": 0.0}, {"tau": -1.0}, {"flip_rate": 0.5}, {"drop": -1.0}, {"smoothing": 0.0}):
        with pytest.raises(ConfigError, match="direct"):
            Config(**changes).validate()
