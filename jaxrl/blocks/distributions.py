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

from jaxrl.core.spaces import Box, Discrete, MultiDiscrete, Space, is_nested, map_parts, parts, split_key
from jaxrl.errors import SpaceError, nan_unless, require

# Finite, so that differences of log-probabilities stay finite; a softmax turns it into exactly 0.
MASKED_LOGIT = -1e9
# Bounds of the logarithm of a standard deviation, within which no density overflows; the lower one is that of Haarnoja et al.
LOG_STD_BOUND = 20.0


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


def of_space(space: Space, outputs: Any, mask: Any = None) -> Any:
    """Returns the distribution over the actions of a space that a policy's head describes.

    The parts of a nested action are independent given the observation.

    Args:
        space: of the actions.
        outputs: for every part, in the structure of an action: logits float32[..., A] for Discrete, float32[..., sum(nvec)] for
            MultiDiscrete, ``(mean, log_std)``, each float32[..., D], for Box.
        mask: the legal actions, see ``jaxrl.core.masks``, or None.
    """
    found = map_parts(_of_part, space, outputs, mask)
    return Joint(found, space) if is_nested(space) else found


def _of_part(space: Any, outputs: Any, mask: jax.Array | None) -> Any:
    if isinstance(space, Discrete):
        return categorical(outputs, mask)
    return multi_categorical(space.nvec, outputs, mask) if isinstance(space, MultiDiscrete) else diagonal_gaussian(*outputs)


def require_action_space(where: str, space: Space) -> None:
    """Raises SpaceError unless ``of_space`` has a distribution over the actions of a space. where: who asks."""
    for part in parts(space):
        if isinstance(part, Box):
            whole = part.bounded or bool(np.isinf(part.low).all() and np.isinf(part.high).all())
            require(whole, where, "a Box action must be bounded or unbounded as a whole", part, "Bound every entry.", SpaceError)


def diagonal_gaussian(mean: jax.Array, log_std: jax.Array) -> Any:
    """Returns independent normal distributions over the last axis; ``log_prob`` and ``entropy`` sum over it.

    Args:
        mean: float32[..., D].
        log_std: float32, broadcasts to mean; kept in [-20, 20], beyond which densities leave float32.
    """
    import distrax

    log_std = jnp.clip(log_std, -LOG_STD_BOUND, LOG_STD_BOUND)
    return distrax.Independent(distrax.Normal(mean, jnp.exp(jnp.broadcast_to(log_std, mean.shape))), 1)


@struct.dataclass
class TanhGaussian:
    """A normal distribution squashed by tanh into (-1, 1)^D. Its entropy has no closed form.

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

    def mode(self) -> jax.Array:
        """Returns the squashed mean, float32[..., D]: what a deterministic policy does. The density may be higher elsewhere."""
        return jnp.tanh(self.normal.mode())

    def _log_prob_of_raw(self, raw: jax.Array) -> jax.Array:
        # log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x)), which is exact for every x.
        log_slope = 2.0 * (math.log(2.0) - raw - jax.nn.softplus(-2.0 * raw))
        return self.normal.log_prob(raw) - log_slope.sum(-1)


def tanh_gaussian(mean: jax.Array, log_std: jax.Array) -> TanhGaussian:
    """Returns ``diagonal_gaussian`` squashed by tanh into (-1, 1)^D."""
    return TanhGaussian(diagonal_gaussian(mean, log_std))
