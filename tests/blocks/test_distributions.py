"""Action distributions against scipy, and the edges where others return NaN."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxrl.blocks.distributions import (
    LARGEST_CONCENTRATION,
    POLICY_HEADS,
    Beta,
    Categorical,
    beta,
    categorical,
    diagonal_gaussian,
    kl_divergence,
    multi_categorical,
    num_outputs,
    of_space,
    require_action_space,
    tanh_gaussian,
)
from jaxrl.core.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from jaxrl.errors import SpaceError, UnknownNameError

LOGITS = jnp.array([[0.5, -1.0, 2.0, 0.0], [3.0, 0.0, 0.0, -3.0]])
MASK = jnp.array([[True, False, True, False], [False, False, False, True]])


def test_masked_categorical_is_the_softmax_over_legal_actions():
    policy = categorical(LOGITS, MASK)
    expected = np.where(MASK, np.exp(LOGITS), 0)
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(policy.probs, expected, rtol=1e-6)
    np.testing.assert_allclose(policy.entropy(), [stats.entropy(expected[0]), 0.0], atol=1e-6)
    samples = policy.sample(seed=jax.random.key(0), sample_shape=(500,))
    assert MASK[jnp.arange(2), samples].all()


def test_entropy_of_a_masked_categorical_has_a_finite_gradient():
    gradient = jax.grad(lambda logits: categorical(logits, MASK).entropy().sum())(LOGITS)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[~MASK], 0.0)


def test_diagonal_gaussian():
    mean, log_std = jnp.array([[0.5, -1.0]]), jnp.array([0.3, -0.2])
    policy, value = diagonal_gaussian(mean, log_std), jnp.array([[0.1, 0.4]])
    expected = stats.norm.logpdf(np.asarray(value), np.asarray(mean), np.exp(log_std)).sum(-1)
    np.testing.assert_allclose(policy.log_prob(value), expected, rtol=1e-5)
    np.testing.assert_allclose(policy.entropy(), stats.norm.entropy(scale=np.exp(log_std)).sum(), rtol=1e-5)
    np.testing.assert_allclose(policy.mode(), mean)


@pytest.mark.parametrize("raw", [0.3, -2.0, 5.0])
def test_tanh_gaussian_has_the_change_of_variables(raw):
    mean, log_std = jnp.array([0.5]), jnp.array([0.3])
    policy = tanh_gaussian(mean, log_std)
    expected = stats.norm.logpdf(raw, 0.5, np.exp(0.3)) - np.log(1 - np.tanh(raw) ** 2)
    np.testing.assert_allclose(policy.log_prob(jnp.tanh(jnp.array([raw]))), expected, rtol=2e-2 if raw == 5.0 else 1e-4)
    samples, log_prob = policy.sample_and_log_prob(seed=jax.random.key(0), sample_shape=(1000,))
    assert (jnp.abs(samples) <= 1).all()
    assert jnp.isfinite(log_prob).all()


def test_categorical_agrees_with_distrax():
    import distrax

    masked = jnp.where(MASK, LOGITS, -1e9)
    for logits, mask, theirs in ((LOGITS, None, distrax.Categorical(LOGITS)), (LOGITS, MASK, distrax.Categorical(masked))):
        ours, value = categorical(logits, mask), jnp.array([0, 3])
        np.testing.assert_allclose(ours.log_prob(value), theirs.log_prob(value), rtol=1e-6)
        np.testing.assert_allclose(ours.entropy(), theirs.entropy(), atol=1e-6)
        np.testing.assert_allclose(ours.probs, theirs.probs, atol=1e-7)
        np.testing.assert_array_equal(ours.mode(), theirs.mode())
        gradient = jax.grad(lambda logits, mask=mask, value=value: categorical(logits, mask).log_prob(value).sum())(logits)
        np.testing.assert_allclose(gradient, jax.nn.one_hot(value, 4) - ours.probs, atol=1e-6)


def test_categorical_samples_with_its_probabilities():
    policy = categorical(LOGITS)
    counts = np.stack(
        [np.bincount(column, minlength=4) for column in policy.sample(seed=jax.random.key(0), sample_shape=(4000,)).T]
    )
    for found, expected in zip(counts, np.asarray(policy.probs, np.float64), strict=True):
        assert stats.chisquare(found, expected / expected.sum() * found.sum()).pvalue > 1e-3


def test_kl_of_masked_categoricals_is_distraxs():
    import distrax

    other, half = LOGITS[:, ::-1] * 0.5, jnp.array([[True, False, True, False], [False, True, True, True]])
    for mask in (None, half):
        ours = categorical(LOGITS, mask).kl_divergence(categorical(other, mask))
        one, two = (distrax.Categorical(x if mask is None else jnp.where(mask, x, -1e9)) for x in (LOGITS, other))
        np.testing.assert_allclose(ours, one.kl_divergence(two), rtol=1e-5)


def test_kl_against_a_reference_of_the_same_support():
    """The given case: what is masked here has log-probability -1e9, and minus infinity in the reference."""
    policy = categorical(jnp.array([1.0, 2.0, 3.0]), jnp.array([True, True, False]))
    reference = np.array([0.5, 0.5, 0.0])
    expected = stats.entropy([1 / (1 + np.e), np.e / (1 + np.e)], reference[:2])
    assert expected == pytest.approx(0.111, abs=5e-4)
    gradient = jax.grad(lambda log_p: kl_divergence(log_p, jnp.log(reference)))(policy.log_probs)
    np.testing.assert_allclose(kl_divergence(policy.log_probs, jnp.log(reference)), expected, rtol=1e-5)
    assert np.isfinite(gradient).all()
    same = Categorical(jnp.log(jnp.array(reference)))
    np.testing.assert_allclose(policy.kl_divergence(same), expected, rtol=1e-5)
    np.testing.assert_allclose(same.kl_divergence(policy), stats.entropy([0.5, 0.5], np.asarray(policy.probs)[:2]), rtol=1e-5)


def test_kl_is_infinite_where_the_reference_excludes_what_is_done():
    narrow, wide = categorical(jnp.zeros(3), jnp.array([True, False, True])), categorical(jnp.zeros(3))
    assert float(wide.kl_divergence(narrow)) == np.inf
    np.testing.assert_allclose(narrow.kl_divergence(wide), np.log(1.5), rtol=1e-6)
    assert np.isnan(kl_divergence(jnp.array([np.nan, 0.0]), jnp.zeros(2)))


@pytest.mark.parametrize("value", [-1, 4, 99])
def test_what_is_no_action_has_no_probability(value):
    """-1 had log-probability 0: that it is certain."""
    policy = categorical(LOGITS, jnp.ones((2, 4), bool))
    np.testing.assert_array_equal(policy.log_prob(jnp.full(2, value)), -np.inf)
    gradient = jax.grad(lambda logits: jnp.exp(categorical(logits).log_prob(jnp.full(2, value))).sum())(LOGITS)
    np.testing.assert_array_equal(gradient, 0.0)


def test_a_row_without_a_legal_action_has_no_distribution():
    policy = categorical(LOGITS, jnp.array([[True, True, False, True], [False] * 4]))
    for found in (policy.probs, policy.log_probs, policy.log_prob(jnp.zeros(2, jnp.int32)), policy.entropy()):
        assert np.isfinite(found[0]).all()
        assert np.isnan(found[1]).all()


def test_saturated_samples_of_a_tanh_gaussian():
    """tanh reaches 1 in float32: the sample's own log-probability was NaN."""
    policy = tanh_gaussian(jnp.array([3.0, -8.0]), jnp.array([1.5, 0.5]))
    samples, log_prob = policy.sample_and_log_prob(seed=jax.random.key(0), sample_shape=(500,))
    saturated = np.abs(samples) > 1 - 1e-6  # how near to 1 tanh comes depends on how it is compiled
    assert saturated.any()
    assert np.isfinite(policy.log_prob(samples)).all()
    assert np.isfinite(policy.log_prob(jnp.array([1.0, -1.0]))).all()
    assert np.isfinite(log_prob).all()
    plain = (np.abs(samples) < 0.99).all(-1) if ((np.abs(samples) < 0.99).all(-1)).any() else ~saturated.any(-1)
    np.testing.assert_allclose(policy.log_prob(samples)[plain], log_prob[plain], rtol=0.1, atol=0.1)
    np.testing.assert_array_equal(policy.sample(seed=jax.random.key(0), sample_shape=(500,)), samples)


def test_tanh_gaussian_is_distraxs_and_has_a_mode():
    import distrax

    mean, log_std = jnp.array([[0.5, -0.3]]), jnp.array([0.2, -0.4])
    ours = tanh_gaussian(mean, log_std)
    theirs = distrax.Transformed(diagonal_gaussian(mean, log_std), distrax.Block(distrax.Tanh(), 1))
    value = jnp.array([[0.2, -0.9]])
    np.testing.assert_allclose(ours.log_prob(value), theirs.log_prob(value), rtol=1e-5)
    found, expected = (d.sample_and_log_prob(seed=jax.random.key(3)) for d in (ours, theirs))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    np.testing.assert_allclose(ours.mode(), np.tanh(mean), rtol=1e-6)


@pytest.mark.parametrize("lowest", [-1e4, -2e9, -1e30])
def test_a_mask_wins_whatever_the_logits_are(lowest):
    probabilities = categorical(jnp.array([lowest, 0.0, lowest]), jnp.array([True, False, True])).probs
    np.testing.assert_array_equal(probabilities, [0.5, 0.0, 0.5])


def test_what_lies_outside_has_no_density():
    distribution = tanh_gaussian(jnp.zeros(1), jnp.zeros(1))
    assert distribution.log_prob(jnp.array([1.7])) == -jnp.inf
    assert np.isfinite(distribution.log_prob(jnp.array([1.0])))


NVEC = (2, 3)
FLAT = jnp.array([[0.5, -1.0, 2.0, 0.0, 1.0], [3.0, 0.0, 0.0, -3.0, 0.2]])
FLAT_MASK = jnp.array([[True, True, True, False, True], [False, True, True, True, False]])


def enumerated(logits, mask):
    """Returns the probabilities of all pairs of levers, float[2, 3], in float64 by enumeration."""
    weights = np.where(mask, np.exp(np.asarray(logits, np.float64)), 0.0)
    joint = np.outer(weights[:2], weights[2:])
    return joint / joint.sum()


@pytest.mark.parametrize("mask", [None, FLAT_MASK], ids=["free", "masked"])
def test_several_choices_are_the_product_of_their_distributions(mask):
    policy, other = multi_categorical(NVEC, FLAT, mask), multi_categorical(NVEC, 0.3 * FLAT, mask)
    given = jnp.ones((2, 5), bool) if mask is None else mask
    for row in range(2):
        p, q = enumerated(FLAT[row], given[row]), enumerated(0.3 * FLAT[row], given[row])
        for pair in np.ndindex(*NVEC):
            found = np.exp(policy.log_prob(jnp.broadcast_to(jnp.array(pair), (2, 2)))[row])
            np.testing.assert_allclose(found, p[pair], rtol=1e-5)
        np.testing.assert_allclose(policy.entropy()[row], stats.entropy(p.ravel()), rtol=1e-5)
        np.testing.assert_allclose(policy.kl_divergence(other)[row], stats.entropy(p.ravel(), q.ravel()), rtol=1e-4)
        assert p[tuple(policy.mode()[row])] == p.max()
    drawn = np.asarray(policy.sample(seed=jax.random.key(0), sample_shape=(4000,)))[:, 0]
    expected = enumerated(FLAT[0], given[0]).ravel()
    found = np.bincount(np.ravel_multi_index(drawn.T, NVEC), minlength=6)
    assert (found[expected == 0] == 0).all()
    assert stats.chisquare(found[expected > 0], 4000 * expected[expected > 0]).pvalue > 1e-3


def test_an_integer_beyond_the_end_of_a_choice_has_no_probability():
    """The rows of shorter choices are padded: 2 is an integer of the second lever alone."""
    policy = multi_categorical(NVEC, FLAT)
    np.testing.assert_array_equal(policy.log_prob(jnp.array([[2, 0], [0, -1]])), -np.inf)
    np.testing.assert_array_equal(policy.probs[:, 0, 2], 0.0)


JOINT = Dict.of(move=Tuple.of(Discrete(4), MultiDiscrete(NVEC)), amount=Box(-1.0, 1.0, (2,)))
MEAN, LOG_STD = jnp.array([[0.5, -1.0], [0.0, 2.0]]), jnp.array([0.3, -0.2])


def joint(scale=1.0):
    outputs = {"move": (scale * LOGITS, scale * FLAT), "amount": (scale * MEAN, LOG_STD)}
    return of_space(JOINT, outputs, {"move": (MASK, FLAT_MASK), "amount": None})


def test_a_joint_distribution_is_the_sum_of_its_parts():
    value = {"move": (jnp.array([2, 3]), jnp.array([[0, 2], [1, 1]])), "amount": jnp.array([[0.1, 0.4], [-1.0, 1.0]])}
    categories = np.where(MASK, np.exp(np.asarray(LOGITS, np.float64)), 0)
    categories /= categories.sum(-1, keepdims=True)
    scale = np.exp(np.asarray(LOG_STD, np.float64))
    density = stats.norm.logpdf(np.asarray(value["amount"]), np.asarray(MEAN), scale).sum(-1)
    levers = [enumerated(FLAT[row], FLAT_MASK[row]) for row in range(2)]
    expected = [np.log(categories[0, 2]) + np.log(levers[0][0, 2]), np.log(categories[1, 3]) + np.log(levers[1][1, 1])]
    np.testing.assert_allclose(joint().log_prob(value), np.array(expected) + density, rtol=1e-5)
    entropy = stats.norm.entropy(scale=scale).sum() + np.array([stats.entropy(row.ravel()) for row in levers])
    np.testing.assert_allclose(joint().entropy(), entropy + stats.entropy(categories, axis=-1), rtol=1e-5)
    gaussian = ((0.5 * np.asarray(MEAN)) ** 2 / (2 * scale**2)).sum(-1)
    other, parts = joint(0.5), np.zeros(2)
    for row in range(2):
        halved = np.where(MASK[row], np.exp(0.5 * np.asarray(LOGITS[row], np.float64)), 0)
        parts[row] = stats.entropy(categories[row][MASK[row]], halved[MASK[row]])
        half, legal = enumerated(0.5 * FLAT[row], FLAT_MASK[row]), levers[row] > 0
        parts[row] += stats.entropy(levers[row][legal], half[legal])
    np.testing.assert_allclose(joint().kl_divergence(other), gaussian + parts, rtol=1e-4)
    np.testing.assert_allclose(joint().kl_divergence(joint()), 0.0, atol=1e-6)
    mode = joint().mode()
    np.testing.assert_array_equal(mode["move"][0], [2, 3])
    np.testing.assert_array_equal(mode["amount"], MEAN)


def test_parts_are_drawn_independently_and_within_the_mask():
    drawn = jax.jit(lambda key: joint().sample(seed=key, sample_shape=(3000,)))(jax.random.key(0))
    direction, levers = map(np.asarray, drawn["move"])
    assert np.asarray(MASK)[np.arange(2), direction].all()
    assert (levers[:, 0, 1] != 1).all()
    assert (levers[:, 1] == levers[0, 1]).all(-1).mean() < 1.0
    assert (levers[:, 1, 0] == 1).all()
    assert drawn["amount"].shape == (3000, 2, 2)
    for one, other in itertools.combinations((direction[:, 0], levers[:, 0, 0], np.asarray(drawn["amount"])[:, 0, 0]), 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.08


def test_a_squashed_value_that_is_nan_has_no_density():
    distribution = tanh_gaussian(jnp.zeros(2), jnp.zeros(2))
    found = distribution.log_prob(jnp.array([[jnp.nan, 0.5], [0.5, 0.5], [1.5, 0.5], [-jnp.inf, 0.5]]))
    assert jnp.isnan(found).tolist() == [True, False, False, False]
    assert jnp.isneginf(found).tolist() == [False, False, True, True]


# ---- distributions over a bounded Box

ALPHA, BETA = np.array([[1.2, 3.0], [1.0, 40.0]]), np.array([[2.5, 1.1], [1.0, 25.0]])
INSIDE = np.array([[-0.7, 0.9], [0.2, 0.25]])


def scipy_beta(alpha=ALPHA, beta=BETA):
    return stats.beta(alpha, beta, loc=-1.0, scale=2.0)


def ours(alpha=ALPHA, beta=BETA):
    return Beta(jnp.asarray(alpha, jnp.float32), jnp.asarray(beta, jnp.float32))


def test_beta_is_scipys_and_distraxs():
    import distrax

    value = jnp.asarray(INSIDE, jnp.float32)  # terms of about 40 cancel in the densities
    np.testing.assert_allclose(ours().log_prob(value), scipy_beta().logpdf(INSIDE).sum(-1), atol=3e-5)
    np.testing.assert_allclose(ours().entropy(), scipy_beta().entropy().sum(-1), atol=5e-5)
    theirs = distrax.Beta(ours().alpha, ours().beta)
    np.testing.assert_allclose(ours().log_prob(value), (theirs.log_prob((value + 1) / 2) - np.log(2)).sum(-1), atol=3e-5)
    np.testing.assert_allclose(ours().entropy(), (theirs.entropy() + np.log(2)).sum(-1), atol=5e-5)
    other = ours(ALPHA + 1, 2 * BETA)
    expected = theirs.kl_divergence(distrax.Beta(other.alpha, other.beta)).sum(-1)
    np.testing.assert_allclose(ours().kl_divergence(other), expected, rtol=1e-4)
    np.testing.assert_allclose(ours().kl_divergence(ours()), 0.0, atol=1e-6)


def test_beta_samples_with_its_density():
    drawn = np.asarray(jax.jit(lambda key: ours().sample(seed=key, sample_shape=(2000,)))(jax.random.key(0)))
    assert drawn.shape == (2000, 2, 2)
    for row, column in np.ndindex(2, 2):
        law = scipy_beta(ALPHA[row, column], BETA[row, column])
        assert stats.kstest(drawn[:, row, column], law.cdf).pvalue > 1e-3


def test_the_mode_of_beta_is_where_its_density_is_largest():
    grid = np.linspace(-1, 1, 20_001)
    found = np.asarray(ours().mode())
    for row, column in ((0, 0), (0, 1), (1, 1)):
        density = scipy_beta(ALPHA[row, column], BETA[row, column]).pdf(grid)
        assert found[row, column] == pytest.approx(grid[density.argmax()], abs=1e-4)
    assert found[1, 0] == 0.0  # uniform


def test_gradients_of_beta_are_the_differences_of_scipys():
    """By the outputs of a network, through 1 + softplus."""
    outputs = np.array([0.3, -1.2])

    def log_prob(x):
        return stats.beta(*(1 + np.log1p(np.exp(x))), loc=-1.0, scale=2.0).logpdf(0.4)

    def entropy(x):
        return stats.beta(*(1 + np.log1p(np.exp(x))), loc=-1.0, scale=2.0).entropy()

    def policy(x):
        return beta(x[:1], x[1:])

    for mine, theirs in (
        (lambda x: policy(x).log_prob(jnp.array([0.4])), log_prob),
        (lambda x: policy(x).entropy(), entropy),
    ):
        steps = 1e-5 * np.eye(2)
        expected = [(theirs(outputs + step) - theirs(outputs - step)) / 2e-5 for step in steps]
        np.testing.assert_allclose(jax.grad(mine)(jnp.asarray(outputs, jnp.float32)), expected, rtol=2e-4)


@pytest.mark.parametrize("policy_head", ["tanh_gaussian", "beta"])
def test_gradients_at_the_borders_are_finite(policy_head):
    """Also where outputs are so large that samples are saturated."""
    box = Box(-2.0, 2.0, (1,))

    def measured(outputs, value):
        policy = of_space(box, (outputs[:1], outputs[1:]), policy_head=policy_head)
        return policy.log_prob(value), policy.entropy(), policy.mode().sum()

    outputs = jnp.array(list(itertools.product((0.0, 4.0, -30.0, 30.0, 1e4, -1e4), repeat=2)))
    for border in (-1.0, 1.0, 1.0 - 1e-7, 0.0):
        value = jnp.full((len(outputs), 1), border)
        for part in jax.tree.leaves((jax.vmap(measured)(outputs, value), jax.vmap(jax.jacrev(measured))(outputs, value))):
            assert np.isfinite(part).all()


def test_beta_outside_and_at_nan():
    found = beta(jnp.zeros(2), jnp.zeros(2)).log_prob(jnp.array([[1.5, 0.0], [jnp.nan, 0.0], [1.0, -1.0]]))
    assert found[0] == -np.inf
    assert np.isnan(found[1])
    assert np.isfinite(found[2])


def test_concentrations_are_bounded():
    """By outputs of any size; the density at its mode is still that of scipy to three digits."""
    policy = beta(jnp.array([1e30, -1e30]), jnp.array([1e30, -1e30]))
    np.testing.assert_allclose(policy.alpha, [LARGEST_CONCENTRATION, 1.0])
    expected = scipy_beta([LARGEST_CONCENTRATION, 1.0], [LARGEST_CONCENTRATION, 1.0]).logpdf(0.0).sum()
    np.testing.assert_allclose(policy.log_prob(jnp.zeros(2)), expected, atol=0.02)


@pytest.mark.parametrize("deviation", [0.05, 0.5, 1.0, 3.0])
def test_the_entropy_of_a_squashed_normal_is_the_integral(deviation):
    means = np.array([-4.0, -0.3, 0.0, 1.5])

    def integral(mean):
        def slope(z):
            raw = mean + deviation * z
            return stats.norm.pdf(z) * 2 * (np.log(2) - raw - np.logaddexp(0.0, -2 * raw))

        return stats.norm.entropy(scale=deviation) + integrate.quad(slope, -12, 12, epsabs=1e-10, limit=500)[0]

    def entropy(mean):
        return tanh_gaussian(mean[None], jnp.log(jnp.full(1, deviation, jnp.float32))).entropy()

    found, slopes = jax.vmap(jax.value_and_grad(entropy))(jnp.asarray(means, jnp.float32))
    np.testing.assert_allclose(found, [integral(mean) for mean in means], atol=1e-4)
    expected = [(integral(mean + 1e-4) - integral(mean - 1e-4)) / 2e-4 for mean in means]
    np.testing.assert_allclose(slopes, expected, atol=1e-3)


def test_the_divergence_of_squashed_normals_is_that_of_samples():
    one, other = tanh_gaussian(jnp.array([0.3]), jnp.array([-0.5])), tanh_gaussian(jnp.array([-0.2]), jnp.array([0.1]))
    value, log_prob = one.sample_and_log_prob(seed=jax.random.key(0), sample_shape=(20_000,))
    ratio = np.asarray(log_prob - other.log_prob(value))
    assert ratio.mean() == pytest.approx(float(one.kl_divergence(other)), abs=4 * ratio.std() / np.sqrt(len(ratio)))


def test_how_many_outputs_describe_a_distribution():
    assert [num_outputs(Box(-1.0, 1.0, (2, 3)), head) for head in POLICY_HEADS] == [6, 6, 12]
    assert [num_outputs(JOINT, head) for head in POLICY_HEADS] == [11, 11, 13]


UNBOUNDED = Box(-np.inf, np.inf, (2,))


@pytest.mark.parametrize("policy_head", ["tanh_gaussian", "beta"])
@pytest.mark.parametrize("space", [Discrete(3), UNBOUNDED, Dict.of(a=Box(-1.0, 1.0), b=UNBOUNDED)], ids=str)
def test_a_head_that_needs_bounds_is_refused_without_them(policy_head, space):
    require_action_space("here", space)
    with pytest.raises(SpaceError, match=f"here: policy_head='{policy_head}' needs actions in a Box.*Set policy_head='gaussian'"):
        require_action_space("here", space, policy_head)
    require_action_space("here", JOINT, policy_head)


def test_an_unknown_head():
    with pytest.raises(UnknownNameError, match="Did you mean 'beta'"):
        require_action_space("here", JOINT, "betta")
