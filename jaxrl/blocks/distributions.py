"""Action distributions. All follow distrax: ``sample(seed=key)``, ``log_prob(value)``, ``entropy()``, ``mode()``; batch axes
are free.

The Gaussian ones come from distrax, imported late: it brings a second of import. This is the only file that imports it. The
categorical one is our own: it stands in the innermost loops, where distrax's checks of every sample and its repeated
normalisation cost PPO on CartPole a tenth of its speed. The tests hold it against distrax.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.spaces import Box, Discrete, MultiDiscrete, Space, flat_size, is_nested, map_parts, parts, split_key
from jaxrl.errors import SpaceError, nan_unless, require, unknown_name

# Finite, so that differences of log-probabilities stay finite; a softmax turns it into exactly 0.
MASKED_LOGIT = -1e9
# Bounds of the logarithm of a standard deviation, within which no density overflows; the lower one is that of Haarnoja et al.
LOG_STD_BOUND = 20.0
# The largest concentration of a Beta distribution, whose deviation is 0.007 then: beyond it float32 loses ratios of densities.
LARGEST_CONCENTRATION = 1e4
POLICY_HEADS = ("gaussian", "tanh_gaussian", "beta")  # distributions over the actions of a Box


@struct.dataclass
class Categorical:
    """A distribution over 0 .. A-1. logits: float32[..., A], log-probabilities up to a constant."""

    logits: jax.Array

    @property
    def log_probs(self) -> jax.Array:
        """float32[..., A]."""
        return jax.nn.log_softmax(self.logits)

    @property
    def probs(self) -> jax.Array:
        """float32[..., A]."""
        return jax.nn.softmax(self.logits)

    def sample(self, *, seed: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Returns independent draws, int32[*sample_shape, ...]."""
        shape = (*sample_shape, *self.logits.shape[:-1])
        return jax.random.categorical(seed, self.logits, shape=shape).astype(jnp.int32)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Returns the log-probability of int32[...], float32[...]: about ``MASKED_LOGIT`` for an illegal action, minus infinity
        for a number that is no action at all.
        """
        # A sum over the few actions, not a gather: the gradient of a gather is a scatter.
        chosen = value[..., None] == jnp.arange(self.logits.shape[-1], dtype=value.dtype)
        return jnp.where(chosen, self.log_probs, 0.0).sum(-1) + jnp.where(chosen.any(-1), 0.0, -jnp.inf)

    def entropy(self) -> jax.Array:
        """Returns the entropy in nats, float32[...]."""
        log_probs = self.log_probs
        probs = jnp.exp(log_probs)
        return -(probs * jnp.where(probs == 0, 0.0, log_probs)).sum(-1)

    def kl_divergence(self, other: "Categorical") -> jax.Array:
        """Returns KL(self || other) in nats, float32[...]; infinite where ``other`` excludes an action that this one takes."""
        log_other = other.log_probs
        return kl_divergence(self.log_probs, jnp.where(log_other <= 0.5 * MASKED_LOGIT, -jnp.inf, log_other))

    def mode(self) -> jax.Array:
        """Returns the most likely value, the first among equals, int32[...]."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)


def kl_divergence(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """Returns KL(p || q) in nats, float[...], from log-probabilities float[..., K].

    An action that p never takes adds nothing, whatever q assigns to it; infinite where q excludes (minus infinity) one of p.
    """
    probability = jnp.exp(log_p)
    never = probability == 0
    return jnp.sum(probability * (jnp.where(never, 0.0, log_p) - jnp.where(never, 0.0, log_q)), axis=-1)


def categorical(logits: jax.Array, mask: jax.Array | None = None) -> Categorical:
    """Returns a categorical distribution over the legal actions.

    Args:
        logits: float32[..., A].
        mask: bool[..., A], True = legal, or None. Illegal actions have probability 0 and are never drawn. A row without a legal
            action has no distribution: its probabilities are NaN.
    """
    if mask is None:
        return Categorical(logits)
    # Relative to the best legal action, so that a mask wins whatever the logits are.
    best = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True, where=mask, initial=-jnp.inf))
    return Categorical(nan_unless(mask.any(-1, keepdims=True), jnp.where(mask, logits - best, MASKED_LOGIT)))


@struct.dataclass
class MultiCategorical:
    """Independent distributions over the D choices of a MultiDiscrete space; log-probabilities and entropies are their sums.

    choices: logits float32[..., D, max(nvec)]. Numbers beyond the end of a choice are excluded.
    nvec: how many integers each choice has.
    """

    choices: Categorical
    nvec: tuple[int, ...] = struct.field(pytree_node=False)

    @property
    def probs(self) -> jax.Array:
        """float32[..., D, max(nvec)], 0 beyond the end of a choice."""
        return self.choices.probs

    def sample(self, *, seed: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Returns independent draws, int32[*sample_shape, ..., D]."""
        return self.choices.sample(seed=seed, sample_shape=sample_shape)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Returns the log-probability of int32[..., D], float32[...]; as for ``Categorical``."""
        beyond = value >= jnp.asarray(self.nvec, value.dtype)
        return jnp.where(beyond, -jnp.inf, self.choices.log_prob(value)).sum(-1)

    def entropy(self) -> jax.Array:
        """Returns the entropy in nats, float32[...]."""
        return self.choices.entropy().sum(-1)

    def kl_divergence(self, other: "MultiCategorical") -> jax.Array:
        """Returns KL(self || other) in nats, float32[...]; as for ``Categorical``."""
        return self.choices.kl_divergence(other.choices).sum(-1)

    def mode(self) -> jax.Array:
        """Returns the most likely value, int32[..., D]."""
        return self.choices.mode()


def multi_categorical(nvec: tuple[int, ...], logits: jax.Array, mask: jax.Array | None = None) -> MultiCategorical:
    """Returns independent categorical distributions over the legal integers of several choices.

    Args:
        nvec: how many integers each choice has.
        logits: float32[..., sum(nvec)], those of the first choice, then those of the second, and so on.
        mask: bool[..., sum(nvec)], True = legal, or None. A choice without a legal integer has probabilities of NaN.
    """
    rows = MultiDiscrete(nvec).rows
    if mask is None and len(set(nvec)) > 1:
        mask = jnp.ones(logits.shape[-1], bool)
    return MultiCategorical(categorical(rows(logits, 0.0), None if mask is None else rows(mask, False)), nvec)


@struct.dataclass
class Joint:
    """Independent distributions over the parts of a nested space. Values have the structure of its actions.

    parts: a distribution for every part, in that structure.
    space: the space.
    """

    parts: Any
    space: Space = struct.field(pytree_node=False)

    def sample(self, *, seed: jax.Array, sample_shape: tuple[int, ...] = ()) -> Any:
        """Returns independent draws, PyTree[*sample_shape, ...]."""

        def draw(_, part, key):
            return part.sample(seed=key, sample_shape=sample_shape)

        return map_parts(draw, self.space, self.parts, split_key(seed, self.space))

    def log_prob(self, value: Any) -> jax.Array:
        """Returns the log-probability (density, of continuous parts) of PyTree[...], float32[...]: the sum over the parts."""
        return _sum(map_parts(lambda _, part, value: part.log_prob(value), self.space, self.parts, value))

    def entropy(self) -> jax.Array:
        """Returns the entropy in nats, float32[...]: the sum over the parts."""
        return _sum(map_parts(lambda _, part: part.entropy(), self.space, self.parts))

    def kl_divergence(self, other: "Joint") -> jax.Array:
        """Returns KL(self || other) in nats, float32[...]: the sum over the parts."""
        return _sum(map_parts(lambda _, part, other: part.kl_divergence(other), self.space, self.parts, other.parts))

    def mode(self) -> Any:
        """Returns the most likely value of every part."""
        return map_parts(lambda _, part: part.mode(), self.space, self.parts)


def _sum(tree: Any) -> jax.Array:
    return jax.tree.reduce(jnp.add, tree)


def of_space(space: Space, outputs: Any, mask: Any = None, policy_head: str = "gaussian") -> Any:
    """Returns the distribution over the actions of a space that a policy's head describes.

    The parts of a nested action are independent given the observation.

    Args:
        space: of the actions.
        outputs: for every part, in the structure of an action: logits float32[..., A] for Discrete, float32[..., sum(nvec)] for
            MultiDiscrete, and for Box a pair, each float32[..., D]: ``(mean, log_std)``, or the two arguments of ``beta``.
        mask: the legal actions, see ``jaxrl.core.masks``, or None.
        policy_head: the distribution over the actions of a Box, one of ``POLICY_HEADS``.
    """

    def one(space, outputs, mask):
        if isinstance(space, Discrete):
            return categorical(outputs, mask)
        return multi_categorical(space.nvec, outputs, mask) if isinstance(space, MultiDiscrete) else over_box(*outputs)

    over_box = {"gaussian": diagonal_gaussian, "tanh_gaussian": tanh_gaussian, "beta": beta}[policy_head]
    found = map_parts(one, space, outputs, mask)
    return Joint(found, space) if is_nested(space) else found


def num_outputs(space: Space, policy_head: str = "gaussian") -> int:
    """Returns how many outputs of a network describe a distribution over the actions of a space.

    For a Box these are the means, whose deviations depend on no observation, or both arguments of ``beta``.
    """
    return sum(flat_size(part) * (2 if isinstance(part, Box) and policy_head == "beta" else 1) for part in parts(space))


def require_action_space(where: str, space: Space, policy_head: str = "gaussian") -> None:
    """Raises an error unless ``of_space`` has a distribution over the actions of a space.

    Args:
        where: who asks.
        space: of the actions.
        policy_head: one of ``POLICY_HEADS``; all but the Gaussian one need a Box, and bounds.

    Raises:
        UnknownNameError: there is no such head.
        SpaceError: the head does not fit the space.
    """
    if policy_head not in POLICY_HEADS:
        raise unknown_name(where, "policy_head", policy_head, POLICY_HEADS)
    boxes = [part for part in parts(space) if isinstance(part, Box)]
    for part in boxes:
        whole = part.bounded or bool(np.isinf(part.low).all() and np.isinf(part.high).all())
        require(whole, where, "a Box action must be bounded or unbounded as a whole", part, "Bound every entry.", SpaceError)
    if policy_head != "gaussian":
        must = f"policy_head={policy_head!r} needs actions in a Box, every entry of it bounded"
        fits = bool(boxes) and all(part.bounded for part in boxes)
        require(fits, where, must, space, "Set policy_head='gaussian', or bound the actions.", SpaceError)


def diagonal_gaussian(mean: jax.Array, log_std: jax.Array) -> Any:
    """Returns independent normal distributions over the last axis; ``log_prob`` and ``entropy`` sum over it.

    Args:
        mean: float32[..., D].
        log_std: float32, broadcasts to mean; kept in [-20, 20], beyond which densities leave float32.
    """
    import distrax

    log_std = jnp.clip(log_std, -LOG_STD_BOUND, LOG_STD_BOUND)
    return distrax.Independent(distrax.Normal(mean, jnp.exp(jnp.broadcast_to(log_std, mean.shape))), 1)


# Points of a normal distribution, in deviations from its mean, and their weights: the trapezoidal rule.
_POINTS = np.linspace(-5.0, 5.0, 32)
_WEIGHTS = np.exp(-0.5 * np.square(_POINTS))
_WEIGHTS /= _WEIGHTS.sum()


@struct.dataclass
class TanhGaussian:
    """A normal distribution squashed by tanh into (-1, 1)^D.

    normal: what is squashed; see ``diagonal_gaussian``.

    Source: Haarnoja et al. (2018), "Soft Actor-Critic", appendix C.
    """

    normal: Any

    def sample(self, *, seed: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Returns independent draws, float32[*sample_shape, ..., D]."""
        return jnp.tanh(self.normal.sample(seed=seed, sample_shape=sample_shape))

    def sample_and_log_prob(self, *, seed: jax.Array, sample_shape: tuple[int, ...] = ()) -> tuple[jax.Array, jax.Array]:
        """Returns independent draws and their log-probabilities, exact also where tanh has reached 1."""
        raw = self.normal.sample(seed=seed, sample_shape=sample_shape)
        return jnp.tanh(raw), self._log_prob_of_raw(raw)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Returns the log-probability of float32[..., D], float32[...]; minus infinity if an entry lies outside [-1, 1],
        NaN if one is NaN.

        A value nearer to -1 or 1 than the precision of float32 (1.2e-7) is taken to be as far away as that: which normal draw
        was rounded to it cannot be known. ``sample_and_log_prob`` knows it.
        """
        largest = 1.0 - jnp.finfo(jnp.result_type(value)).eps
        outside = jnp.any(jnp.abs(value) > 1, axis=-1)
        return jnp.where(outside, -jnp.inf, self._log_prob_of_raw(jnp.arctanh(jnp.clip(value, -largest, largest))))

    def entropy(self) -> jax.Array:
        """Returns the differential entropy in nats, float32[...].

        It has no closed form: it is that of the normal distribution plus the mean logarithm of the slope of tanh, which the
        trapezoidal rule finds with 32 points within 5 deviations. The error of an entry is below 3e-5 up to a deviation of 3 and
        0.02 at 8. No sample is drawn, so that the gradient has no noise.
        """
        mean, deviation = self.normal.mean()[..., None], self.normal.stddev()[..., None]
        points, weights = jnp.asarray(_POINTS, jnp.float32), jnp.asarray(_WEIGHTS, jnp.float32)
        expected = (weights * _log_slope(mean + deviation * points)).sum(-1)
        return self.normal.entropy() + expected.sum(-1)

    def kl_divergence(self, other: "TanhGaussian") -> jax.Array:
        """Returns KL(self || other) in nats, float32[...]: that of the normal distributions, since tanh is invertible."""
        return self.normal.kl_divergence(other.normal)

    def mode(self) -> jax.Array:
        """Returns the squashed mean, float32[..., D]: what a deterministic policy does. The density may be higher elsewhere."""
        return jnp.tanh(self.normal.mode())

    def _log_prob_of_raw(self, raw: jax.Array) -> jax.Array:
        return self.normal.log_prob(raw) - _log_slope(raw).sum(-1)


def _log_slope(raw: jax.Array) -> jax.Array:
    """Returns log(1 - tanh(x)^2) as 2 (log 2 - x - softplus(-2 x)), which is exact for every x."""
    return 2.0 * (math.log(2.0) - raw - jax.nn.softplus(-2.0 * raw))


def tanh_gaussian(mean: jax.Array, log_std: jax.Array) -> TanhGaussian:
    """Returns ``diagonal_gaussian`` squashed by tanh into (-1, 1)^D."""
    return TanhGaussian(diagonal_gaussian(mean, log_std))


@struct.dataclass
class Beta:
    """Independent Beta distributions on (-1, 1)^D: 2 x - 1 with x from Beta(alpha, beta), each entry with one mode.

    alpha, beta: float32[..., D], the concentrations at 1 and at -1, at least 1.

    Source: Chou, Maturana and Scherer (2017), "Improving Stochastic Policy Gradients in Continuous Control with Deep
    Reinforcement Learning using the Beta Distribution", section 3.
    """

    alpha: jax.Array
    beta: jax.Array

    def sample(self, *, seed: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Returns independent draws, float32[*sample_shape, ..., D]."""
        share = jax.random.beta(seed, self.alpha, self.beta, (*sample_shape, *self.alpha.shape), jnp.float32)
        return 2.0 * share - 1.0

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Returns the log-probability of float32[..., D], float32[...]; minus infinity if an entry lies outside [-1, 1],
        NaN if one is NaN.

        A value nearer to -1 or 1 than the precision of float32 (1.2e-7) is taken to be as far away as that, so that densities
        and their gradients are finite at the borders.
        """
        largest = 1.0 - jnp.finfo(jnp.result_type(value)).eps
        outside = jnp.any(jnp.abs(value) > 1, axis=-1)
        value = jnp.clip(value, -largest, largest)
        above, below = jnp.log((1.0 + value) / 2.0), jnp.log((1.0 - value) / 2.0)
        log_prob = (self.alpha - 1.0) * above + (self.beta - 1.0) * below - self._log_normaliser()
        return jnp.where(outside, -jnp.inf, log_prob.sum(-1))

    def entropy(self) -> jax.Array:
        """Returns the differential entropy in nats, float32[...]: the closed form, at most log 2 for each entry."""
        above, below = self._mean_logs()
        return (self._log_normaliser() - (self.alpha - 1.0) * above - (self.beta - 1.0) * below).sum(-1)

    def kl_divergence(self, other: "Beta") -> jax.Array:
        """Returns KL(self || other) in nats, float32[...]: the closed form."""
        above, below = self._mean_logs()
        tilt = (self.alpha - other.alpha) * above + (self.beta - other.beta) * below
        return (other._log_normaliser() - self._log_normaliser() + tilt).sum(-1)

    def mode(self) -> jax.Array:
        """Returns the most likely value, float32[..., D]; 0 where all are equally likely."""
        excess = self.alpha + self.beta - 2.0
        uniform = excess <= 0.0
        return jnp.where(uniform, 0.0, (self.alpha - self.beta) / jnp.where(uniform, 1.0, excess))

    def _log_normaliser(self) -> jax.Array:
        """Returns the logarithm of the integral of the density's kernel over (-1, 1), float32[..., D]."""
        return jax.scipy.special.betaln(self.alpha, self.beta) + math.log(2.0)

    def _mean_logs(self) -> tuple[jax.Array, jax.Array]:
        """Returns the means of the logarithms of a share x and of 1 - x, float32[..., D] each."""
        digamma = jax.scipy.special.digamma
        both = digamma(self.alpha + self.beta)
        return digamma(self.alpha) - both, digamma(self.beta) - both


def beta(alpha_output: jax.Array, beta_output: jax.Array) -> Beta:
    """Returns the Beta distributions that any two outputs of a network describe: concentrations of 1 + softplus, at most 1e4.

    Args:
        alpha_output, beta_output: float32[..., D] each.

    Source: Chou, Maturana and Scherer (2017), section 3.2.
    """

    def concentration(output):
        return jnp.minimum(1.0 + jax.nn.softplus(output), LARGEST_CONCENTRATION)

    return Beta(concentration(alpha_output), concentration(beta_output))
