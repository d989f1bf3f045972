"""Convolutions that are equivariant under quarter turns (the group C4), exactly or as nearly as training wants it.

An image turned by a quarter has features that are turned alike and move on by one place of the group's axis. So a policy that is
made of them turns with the picture, and a value that is made of them does not change. Images are float32[..., H, H, C], square;
features of the group are float32[..., H, H, 4, C]: entry r belongs to r quarter turns counter-clockwise, as ``jnp.rot90`` turns.
Channels must not have a direction of their own: no channel may mean "faces up". Exact means up to rounding, which on accelerators
is that of their default products of float32.

With g = (t, r), a place t and a number of turns r, an exact layer is

    y(g) = sum_h x(h) psi(g^-1 h)                             (Cohen and Welling 2016, eq. 10 and 11)

where h runs over the places of an image (lifting), or over the places and turns of features. A relaxed layer has L filters

    y(g) = sum_h x(h) sum_l w_l(h) psi_l(g^-1 h)              (Wang, Walters and Yu 2022)

whose weights w_l depend on the turn alone: of h in a layer over features, of g in a lifting layer, where h has none. They
are 1 at first, where the layer is exact with the filter sum_l psi_l; ``relaxation_penalty`` holds them together.

``EquivariantNetwork`` is a ``network`` for every deep algorithm (``jaxrl.blocks.networks``):

    ppo.Config(network=EquivariantNetwork(channels=(8, 8), padding="circular", num_filters=2))

Source: Cohen and Welling (2016), "Group Equivariant Convolutional Networks"; Wang, Walters and Yu (2022), "Approximately
Equivariant Networks for Imperfectly Symmetric Dynamics"; Park et al. (2025), "Approximate Equivariance in Reinforcement
Learning", the same layers in policies and values.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxrl.blocks.networks.convolutional import PADDINGS, convolve
from jaxrl.blocks.networks.layers import MLP, activation, dense, orthogonal
from jaxrl.core import spaces
from jaxrl.core.config import require_image
from jaxrl.core.spaces import Space
from jaxrl.errors import SpaceError, require, require_count, unknown_name

ORDER = 4  # of the group
READOUTS = ("mean", "max", "full")
GROUP_POOLINGS = ("mean", "max")
HEADS = ("moves", "invariant")
RELAXATION = "relaxation"  # the name of w among the parameters


class LiftingConvolution(nn.Module):
    """A convolution of images float32[..., H, H, C] to features of the group, float32[..., H, H, 4, channels].

    channels: of the outputs. kernel_size: k, odd. padding: "zero", or "circular" for images whose edges meet.
    num_filters: L of a relaxed layer; 0 for an exact one.

    The parameters are the filters float32[max(L, 1), k, k, C, channels], a bias float32[channels] that all turns share, and the
    weights ``relaxation`` float32[L, 4] of a relaxed layer.
    """

    channels: int
    kernel_size: int = 3
    padding: str = "zero"
    num_filters: int = 0

    @nn.compact
    def __call__(self, x):
        filters, bias, weight = _parameters(self, x.shape[-1])
        turned = [jnp.einsum("lijco,l->ijco", jnp.rot90(filters, r, (1, 2)), weight[:, r]) for r in range(ORDER)]
        return _convolve(x, jnp.stack(turned, axis=-2), self.padding) + bias


class GroupConvolution(nn.Module):
    """A convolution over places and turns: features float32[..., H, H, 4, C] to float32[..., H, H, 4, channels].

    channels, kernel_size, padding, num_filters: as in ``LiftingConvolution``. Besides, padding "none" has outputs only where the
    filter lies within the image; of a filter as large as the image, these are float32[..., 1, 1, 4, channels].

    The parameters are those of ``LiftingConvolution``, with filters float32[max(L, 1), k, k, 4, C, channels]: a filter psi_l has
    an entry for each turn of the inputs relative to that of the output.
    """

    channels: int
    kernel_size: int = 3
    padding: str = "zero"
    num_filters: int = 0

    @nn.compact
    def __call__(self, x):
        filters, bias, weight = _parameters(self, ORDER, x.shape[-1])

        def turned(r):
            """Returns psi(g^-1 h) for the turn r of g: at turn q of h stands what the filter has at q - r."""
            return jnp.einsum("lijqco,lq->ijqco", jnp.roll(jnp.rot90(filters, r, (1, 2)), r, 3), weight)

        kernel = jnp.stack([turned(r) for r in range(ORDER)], axis=-2)
        kernel = kernel.reshape(*kernel.shape[:2], -1, ORDER, self.channels)
        return _convolve(x.reshape(*x.shape[:-2], -1), kernel, self.padding) + bias


def _parameters(module: Any, *inputs: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns filters float32[max(L, 1), k, k, *inputs, channels], a bias float32[channels], and the weights of the filters.

    The weights are float32[max(L, 1), 4], one for each turn: parameters of a relaxed layer, ones of an exact one.
    """
    count, size = module.num_filters, module.kernel_size
    filters = module.param("filters", orthogonal(2**0.5), (max(count, 1), size, size, *inputs, module.channels))
    bias = module.param("bias", nn.initializers.zeros, (module.channels,))
    return filters, bias, module.param(RELAXATION, nn.initializers.ones, (count, ORDER)) if count else jnp.ones((1, ORDER))


def _convolve(x: jax.Array, kernel: jax.Array, padding: str) -> jax.Array:
    """Returns the sums over places, float32[..., H', W', 4, O], of float32[..., H, W, C] and a kernel float32[k, k, C, 4, O]."""
    y = convolve(x, kernel.reshape(*kernel.shape[:3], -1), padding)
    return y.reshape(*y.shape[:-1], *kernel.shape[3:])


def pool_group(x: jax.Array, pooling: str = "max") -> jax.Array:
    """Returns what no turn changes: the "max" or the "mean" over the group, float32[..., C] from float32[..., 4, C]."""
    return x.max(-2) if pooling == "max" else x.mean(-2)


def relaxation_penalty(params: Any) -> jax.Array:
    """Returns how far relaxed layers are from exact ones, float32[]: 0 where they are, the sum over layers and filters of

        sum_h (w_l(h) - mean_h w_l(h))^2 = 1/8 sum_{h, h'} (w_l(h) - w_l(h'))^2

    Args:
        params: PyTree, the parameters of a network or of an algorithm's networks; leaves other than ``relaxation`` are left out.

    A loss with ``weight * relaxation_penalty(params)`` added prefers symmetry where it costs nothing, after the regulariser of
    Wang, Walters and Yu (2022), which penalises differences of w between places of the group. PPO and MAPPO add it:

        ppo.Config(network=..., penalty=relaxation_penalty, penalty_coef=0.1)
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    found = [leaf for path, leaf in leaves if jax.tree_util.keystr(path[-1:], simple=True) == RELAXATION]
    return sum((jnp.square(w - w.mean(-1, keepdims=True)).sum() for w in found), jnp.zeros((), jnp.float32))


@dataclass(frozen=True)
class EquivariantNetwork:
    """Builds networks of images that know quarter turns: ``(observation_space, num_outputs) -> flax module``.

    channels: of the convolutions: one that lifts the image, and those over the group. kernel_size: of each, odd.
    padding: "zero", or "circular" for a torus. num_filters: L of relaxed layers; 0 for exact ones.
    readout: "mean" or "max" over places, which forget them, or "full", a further convolution with a filter as large as the
        image and as many channels as the last.
    hidden: sizes of layers behind it, which every turn shares. activation: behind every layer but the last.
    group_pooling: over the group, for outputs that no turn changes: "max" or "mean".
    head: "moves" for a policy or action values that turn with the image, "invariant" for outputs of which none does. A single
        output, a value, is invariant with either head.
    num_actions: A. With head "moves", there are A k outputs, k for each action in turn.
    moves: the four actions that turns permute; each is the one before it turned counter-clockwise. The other actions have
        invariant outputs. By default 0, 1, 2, 3: left, down, right, up, as in ``envs.gridworlds``.
    output_scale: of the orthogonal weights of the outputs; 0.01 starts a policy near uniform.

    A critic of observation and action (of a Box) is refused: how its action turns is not known.

    Raises:
        ConfigError: sizes are no positive integers, kernel_size is even, or the outputs are not those of the actions.
        UnknownNameError: there is no such padding, readout, group_pooling, head or activation.
        SpaceError: the observations are no square images.
    """

    channels: tuple[int, ...] = (16, 16)
    kernel_size: int = 3
    padding: str = "zero"
    num_filters: int = 0
    readout: str = "full"
    hidden: tuple[int, ...] = (64,)
    activation: str = "relu"
    group_pooling: str = "max"
    head: str = "moves"
    num_actions: int = 4
    moves: tuple[int, ...] = (0, 1, 2, 3)
    output_scale: float = 1.0

    def __post_init__(self):
        where = "EquivariantNetwork"
        for name in ("channels", "hidden", "moves"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # a list would not be hashable
        for name in ("channels", "hidden"):
            for size in getattr(self, name):
                require_count(where, f"each of {name}", size)
        require(len(self.channels) >= 1, where, "channels must name at least one layer", self.channels, "(16, 16) is common.")
        require_count(where, "kernel_size", self.kernel_size)
        require(self.kernel_size % 2 == 1, where, "kernel_size must be odd", self.kernel_size, "Take 3 or 5.")
        require_count(where, "num_filters", self.num_filters, 0)
        require_count(where, "num_actions", self.num_actions, ORDER)
        sound = len(self.moves) == ORDER == len(set(self.moves)) and set(self.moves) <= set(range(self.num_actions))
        require(sound, where, f"moves must be {ORDER} different actions below num_actions", self.moves, "Count actions from 0.")
        choices = {"padding": PADDINGS, "readout": READOUTS, "group_pooling": GROUP_POOLINGS, "head": HEADS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise unknown_name(where, name, getattr(self, name), known)
        activation(self.activation)

    def __call__(self, observation_space: Space, num_outputs: int) -> "EquivariantLayers":
        where = "EquivariantNetwork"
        require_image(where, "quarter turns", observation_space, "Use another network.")
        shape = spaces.example(observation_space).shape
        require(shape[0] == shape[1], where, "images must be square", shape, "Pad them to the longer side.", SpaceError)
        if self.head == "moves":
            must = f"the number of outputs must be 1 or a multiple of num_actions ({self.num_actions})"
            fix = 'Set num_actions to those of the environment, or head="invariant".'
            require(num_outputs == 1 or num_outputs % self.num_actions == 0, where, must, num_outputs, fix)
        return EquivariantLayers(self, num_outputs)


class EquivariantLayers(nn.Module):
    """The module that ``EquivariantNetwork`` builds.

    settings: how. num_outputs: K.

    Called with square images [..., H, H, C] of any batch axes, returns float32[..., K].
    """

    settings: EquivariantNetwork
    num_outputs: int

    @nn.compact
    def __call__(self, obs):
        settings = self.settings
        after, fields = activation(settings.activation), (settings.kernel_size, settings.padding, settings.num_filters)
        x = after(LiftingConvolution(settings.channels[0], *fields)(obs.astype(jnp.float32)))
        for size in settings.channels[1:]:
            x = after(GroupConvolution(size, *fields)(x))
        if settings.readout == "full":
            whole = GroupConvolution(settings.channels[-1], x.shape[-3], "none", settings.num_filters)
            x = after(whole(x))[..., 0, 0, :, :]
        else:
            x = x.mean((-4, -3)) if settings.readout == "mean" else x.max((-4, -3))
        x = MLP(settings.hidden, settings.activation)(x)  # [..., 4, F]
        pooled = pool_group(x, settings.group_pooling)
        if settings.head == "invariant" or self.num_outputs == 1:
            return dense(self.num_outputs, settings.output_scale, "invariant")(pooled)
        each = self.num_outputs // settings.num_actions
        others = [action for action in range(settings.num_actions) if action not in settings.moves]
        outputs = dense(each, settings.output_scale, "moves")(x)  # [..., 4, k], one layer for all moves
        if others:
            fixed = dense(len(others) * each, settings.output_scale, "others")(pooled)
            outputs = jnp.concatenate([outputs, fixed.reshape(*fixed.shape[:-1], len(others), each)], axis=-2)
        place = np.argsort([*settings.moves, *others])
        return outputs[..., place, :].reshape(*outputs.shape[:-2], self.num_outputs)
