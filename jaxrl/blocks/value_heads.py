"""Value heads: the form in which a network says how much an action is worth, and how that is learned.

    Mean         one number, the expected return: squared or Huber loss
    Categorical  a law of the return on N fixed atoms: projected targets and cross-entropy (C51)
    Quantile     N quantiles of the return: quantile regression (QR-DQN)

A head turns outputs of a network into action values, and the outputs at the next step into a target and a loss. Algorithms say
which action is taken and which one is backed up, whatever the head; "event" axes are () for Mean and (N,) for the others.

Source: Bellemare, Dabney and Munos (2017), "A Distributional Perspective on Reinforcement Learning"; Dabney et al. (2018),
"Distributional Reinforcement Learning with Quantile Regression".
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks import two_hot
from jaxrl.blocks.losses import huber_loss
from jaxrl.blocks.returns import one_step_target
from jaxrl.core.environment import static
from jaxrl.errors import require, require_count, unknown_name

HEADS = ("mean", "categorical", "quantile")
# Of one law, in one turn of a loop over them; measured on a CPU, where 1 and 16 are slower.
SAMPLES_AT_ONCE = 4


class Head(Protocol):
    """Outputs, targets and losses of action values; all functions take any batch axes."""

    @property
    def num_atoms(self) -> int:
        """N, outputs for each action; 0 for one number without an axis of its own."""
        ...

    def mean(self, outputs: jax.Array) -> jax.Array:
        """Returns the expected return of each, float32[...], from outputs float32[..., *event]."""
        ...

    def target(self, reward: jax.Array, next_outputs: jax.Array, terminated: jax.Array, gamma: jax.Array | float) -> jax.Array:
        """Returns the target of outputs, float32[..., *event], a constant to the gradient.

        reward: float32[...]. next_outputs: float32[..., *event], of the action that is backed up. terminated: bool[...].
        gamma: the discount of what follows, in [0, 1]: float32[...].
        """
        ...

    def loss(self, outputs: jax.Array, target: jax.Array) -> jax.Array:
        """Returns the loss of each, float32[...]. outputs, target: float32[..., *event]."""
        ...

    def error(self, outputs: jax.Array, target: jax.Array) -> jax.Array:
        """Returns how far outputs are from their target, float32[...], at least 0: the priority of a stored step."""
        ...

    def mean_of_target(self, target: jax.Array) -> jax.Array:
        """Returns the expected return of targets, float32[...]."""
        ...

    def law(self, outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns atoms and their probabilities, which broadcast to float32[..., N]; of Mean all mass on one, the mean."""
        ...


def chosen(outputs: jax.Array, action: jax.Array) -> jax.Array:
    """Returns the outputs of one action each, float32[..., *event].

    outputs: float32[..., A, *event]. action: int32[...].
    """
    axis = action.ndim
    index = action.reshape(*action.shape, *[1] * (outputs.ndim - axis))
    return jnp.take_along_axis(outputs, index, axis=axis).squeeze(axis)


@struct.dataclass
class Mean:
    """One number. huber_delta: the error beyond which the loss is linear, positive; infinite squares all."""

    huber_delta: jax.Array | float = jnp.inf

    @property
    def num_atoms(self) -> int:
        return 0

    def mean(self, outputs):
        return outputs

    def target(self, reward, next_outputs, terminated, gamma):
        return jax.lax.stop_gradient(one_step_target(reward, next_outputs, terminated, gamma))

    def loss(self, outputs, target):
        return huber_loss(outputs, target, self.huber_delta)

    def error(self, outputs, target):
        return jnp.abs(target - outputs)

    def mean_of_target(self, target):
        return target

    def law(self, outputs):
        return outputs[..., None], jnp.ones(1, jnp.float32)


@struct.dataclass
class Categorical:
    """A law on N atoms from ``low`` to ``high``, evenly spaced; outputs are logits. Returns beyond count as the nearest end.

    Source: Bellemare et al. (2017), algorithm 1 and equation 7.
    """

    low: jax.Array | float
    high: jax.Array | float
    num_atoms: int = static(default=51)

    @property
    def atoms(self) -> jax.Array:
        """The returns that have probability, float32[N]."""
        return jnp.linspace(self.low, self.high, self.num_atoms, dtype=jnp.float32)

    def mean(self, outputs):
        return self.mean_of_target(jax.nn.softmax(outputs))

    def target(self, reward, next_outputs, terminated, gamma):
        """As ``Head.target``: probabilities."""
        reward, terminated = jnp.asarray(reward)[..., None], jnp.asarray(terminated)[..., None]
        moved = one_step_target(reward, self.atoms, terminated, jnp.asarray(gamma, jnp.float32)[..., None])
        return jax.lax.stop_gradient(project(self.atoms, moved, jax.nn.softmax(next_outputs)))

    def loss(self, outputs, target):
        return -(target * jax.nn.log_softmax(outputs)).sum(-1)

    def error(self, outputs, target):
        """As ``Head.error``: the Kullback-Leibler divergence of the law from its target (Hessel et al. 2018)."""
        entropy = -jax.scipy.special.xlogy(target, target).sum(-1)
        return jnp.maximum(self.loss(outputs, target) - entropy, 0.0)

    def mean_of_target(self, target):
        return (target * self.atoms).sum(-1)

    def law(self, outputs):
        return self.atoms, jax.nn.softmax(outputs)


@struct.dataclass
class Quantile:
    """The N quantiles at the midpoints (i + 1/2) / N.

    huber_delta: kappa, the error below which the loss is quadratic, positive and finite.
    Source: Dabney et al. (2018), algorithm 1 and equation 10, divided by kappa so that it tends to the quantile loss as kappa
    tends to 0.
    """

    huber_delta: jax.Array | float = 1.0
    num_atoms: int = static(default=51)

    def mean(self, outputs):
        return outputs.mean(-1)

    def target(self, reward, next_outputs, terminated, gamma):
        parts: Any = reward, terminated, gamma
        reward, terminated, gamma = (jnp.asarray(part)[..., None] for part in parts)
        return jax.lax.stop_gradient(one_step_target(reward, next_outputs, terminated, gamma))

    def loss(self, outputs, target):
        return quantile_loss(outputs, target, self.huber_delta)

    def error(self, outputs, target):
        """As ``Head.error``: the difference of the means."""
        return jnp.abs(target.mean(-1) - outputs.mean(-1))

    def mean_of_target(self, target):
        return self.mean(target)

    def law(self, outputs):
        return outputs, jnp.full(self.num_atoms, 1.0 / self.num_atoms, jnp.float32)


@jax.custom_vjp
def quantile_loss(outputs: jax.Array, target: jax.Array, huber_delta: jax.Array | float) -> jax.Array:
    """Returns the loss of N quantiles to M samples, sum_i E_j[|tau_i - 1{u_ij < 0}| huber(u_ij)] / kappa with u_ij = z_j - q_i.

    Value and slope are summed in one pass over the samples: the N * M pairs are never stored, which is some ten times as fast on
    a CPU.

    Args:
        outputs: float32[..., N], q, at the levels tau_i = (i + 1/2) / N.
        target: float32[..., M], z, constants to the gradient.
        huber_delta: kappa, positive and finite, a constant to the gradient.

    Returns:
        float32[...].

    Source: Dabney et al. (2018), equation 10, divided by kappa.
    """
    return _quantile_loss_and_slope(outputs, target, huber_delta)[0]


def _quantile_loss_and_slope(outputs, target, huber_delta):
    """Also returns the derivative by each output, float32[..., N]."""
    count, samples = outputs.shape[-1], target.shape[-1]
    level = (jnp.arange(count, dtype=jnp.float32) + 0.5) / count

    def add(sums, sample):
        loss, slope = sums
        error = sample[..., None] - outputs
        cut = jnp.clip(error, -huber_delta, huber_delta)
        weighted = jnp.where(error < 0, 1 - level, level) * cut
        return (loss + weighted * (error - cut / 2), slope - weighted), None

    shape = jnp.broadcast_shapes(outputs.shape, (*target.shape[:-1], 1))
    zeros = jnp.zeros(shape, jnp.result_type(outputs, target))
    (loss, slope), _ = jax.lax.scan(add, (zeros, zeros), jnp.moveaxis(target, -1, 0), unroll=SAMPLES_AT_ONCE)
    scale = samples * huber_delta
    return loss.sum(-1) / scale, slope / scale


def _slope_times(slope, cotangent):
    return cotangent[..., None] * slope, None, None


quantile_loss.defvjp(_quantile_loss_and_slope, _slope_times)


def project(atoms: jax.Array, moved: jax.Array, probability: jax.Array) -> jax.Array:
    """Returns a law on given atoms: each mass goes to the two nearest ones, so that total and, inside, mean are kept.

    Args:
        atoms: float32[N], rising.
        moved: float32[..., M], where the masses lie; beyond the atoms they count as the nearest end.
        probability: float32[..., M], the masses.

    Returns:
        float32[..., N]. The masses come one after another: the N * M weights are never stored.

    Source: Bellemare et al. (2017), equation 7.
    """

    def add(law, mass):
        place, chance = mass
        return law + chance[..., None] * two_hot.encode(place, atoms), None

    masses = jnp.moveaxis(moved, -1, 0), jnp.moveaxis(probability, -1, 0)
    shape = (*jnp.broadcast_shapes(moved.shape, probability.shape)[:-1], atoms.shape[0])
    nothing = jnp.zeros(shape, jnp.result_type(atoms, moved, probability))
    return jax.lax.scan(add, nothing, masses, unroll=SAMPLES_AT_ONCE)[0]


def require_head(where: str, config: Any) -> None:
    """Raises UnknownNameError or ConfigError unless the head that a configuration names can be made; fields as for ``make``."""
    if config.head not in HEADS:
        raise unknown_name(where, "head", config.head, HEADS)
    if config.head == "mean":
        return
    require_count(where, "num_atoms", config.num_atoms, 2)
    if config.head == "categorical":
        must = f"value_min must lie below value_max ({config.value_max})"
        require(bool(np.all(np.less(config.value_min, config.value_max))), where, must, config.value_min, "Try -10 and 10.")
    else:
        must = "huber_delta must be finite for quantiles: squared errors would give expectiles"
        require(bool(np.all(np.isfinite(config.huber_delta))), where, must, config.huber_delta, "Try huber_delta=1.0.")


def make(config: Any) -> Head:
    """Returns the head that a configuration names.

    config: has ``head``, ``num_atoms``, ``value_min``, ``value_max`` and ``huber_delta``.
    """
    if config.head == "categorical":
        return Categorical(config.value_min, config.value_max, config.num_atoms)
    if config.head == "quantile":
        return Quantile(config.huber_delta, config.num_atoms)
    return Mean(config.huber_delta)
