"""Reward models: linear, tabular, and a multilayer perceptron, as pure functions of what is seen and done.

A model is a frozen record with ``init(key) -> params`` that is itself the reward function
``(params, obs, action, next_obs) -> float32[...]`` for any leading axes. It can therefore be handed to
``jaxrl.core.transforms.with_reward`` as it is, and one that is built again finds its compiled program.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxrl.blocks.networks import MLP as Network
from jaxrl.blocks.networks import activation
from jaxrl.core import spaces
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.spaces import Discrete, Space
from jaxrl.errors import SpaceError, require, unknown_name

PARTS = ("obs", "action", "next_obs")


class RewardModel(Protocol):
    """The interface of every model."""

    def init(self, key: jax.Array) -> PyTree:
        """Draws parameters."""
        ...

    def __call__(self, params: PyTree, obs: PyTree, action: PyTree, next_obs: PyTree) -> jax.Array:
        """Returns the reward of each step, float32[...]."""
        ...


def has_one_optimum(model: RewardModel) -> bool:
    """Returns whether every fit of this model ends at the same parameters, wherever it begins: it is linear in them."""
    return isinstance(model, (Linear, Tabular))


def initial_scale(model: RewardModel) -> float:
    """Returns the standard deviation of the first parameters of a linear model; 1 for any other, which begins at random."""
    return model.init_scale if isinstance(model, (Linear, Tabular)) else 1.0


def spaces_of(model: RewardModel) -> tuple[Space | None, Space | None]:
    """Returns the spaces of the observations and actions that a model reads, None where a user's own model names none."""
    return (model.observation_space, model.action_space) if isinstance(model, _Reads) else (None, None)


@dataclass(frozen=True)
class _Reads:
    """The parts of a step that a model reads.

    observation_space, action_space: of the environment.
    reads: which of "obs", "action", "next_obs".
    """

    observation_space: Space
    action_space: Space
    reads: tuple[str, ...] = ("obs", "action")

    def __post_init__(self):
        where = type(self).__name__
        require(len(self.reads) >= 1, where, "reads must name at least one part of a step", self.reads, f"Choose of {PARTS}.")
        for name in self.reads:
            if name not in PARTS:
                raise unknown_name(where, "part of a step", name, PARTS)

    @classmethod
    def of(cls, env: Environment, **options: Any):
        """Builds the model for an environment's spaces; options are the other fields."""
        return cls(env.observation_space, env.action_space, **options)

    def _spaces(self) -> tuple[Space, ...]:
        space = {"obs": self.observation_space, "action": self.action_space, "next_obs": self.observation_space}
        return tuple(space[name] for name in self.reads)

    def _parts(self, obs: PyTree, action: PyTree, next_obs: PyTree) -> tuple[PyTree, ...]:
        part = {"obs": obs, "action": action, "next_obs": next_obs}
        return tuple(part[name] for name in self.reads)

    def features(self, obs: PyTree, action: PyTree, next_obs: PyTree) -> jax.Array:
        """Returns what is read as one vector, float32[..., F]; discrete parts become one-hot vectors."""
        parts = zip(self._spaces(), self._parts(obs, action, next_obs), strict=True)
        return jnp.concatenate([spaces.flatten(space, part) for space, part in parts], axis=-1)

    @property
    def num_features(self) -> int:
        """F."""
        return sum(spaces.flat_size(space) for space in self._spaces())


@dataclass(frozen=True)
class Linear(_Reads):
    """A weight for every feature; no intercept, which preferences between segments of one length cannot tell.

    init_scale: standard deviation of the first weights.
    """

    init_scale: float = 0.0

    def init(self, key: jax.Array) -> jax.Array:
        """Returns weights float32[F]."""
        return self.init_scale * jax.random.normal(key, (self.num_features,), jnp.float32)

    def __call__(self, params, obs, action, next_obs):
        return self.features(obs, action, next_obs) @ params


@dataclass(frozen=True)
class Tabular(_Reads):
    """A number for every combination of what is read; every part must be Discrete.

    init_scale: standard deviation of the first numbers. They stay where no comparison says otherwise, so a positive scale gives
        the members of an ensemble different opinions there.
    """

    init_scale: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        for space in self._spaces():
            must = "every part that is read must be Discrete"
            require(isinstance(space, Discrete), "Tabular", must, space, "Use Linear or MLP.", SpaceError)

    def init(self, key: jax.Array) -> jax.Array:
        """Returns a table float32[n, ...] with an axis per part."""
        shape = tuple(spaces.flat_size(space) for space in self._spaces())
        return self.init_scale * jax.random.normal(key, shape, jnp.float32)

    def __call__(self, params, obs, action, next_obs):
        return params[self._parts(obs, action, next_obs)]


@dataclass(frozen=True)
class MLP(_Reads):
    """A multilayer perceptron on the features.

    hidden: layer sizes. activation: between layers: tanh, relu, swish or gelu.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"

    def __post_init__(self):
        super().__post_init__()
        require(len(self.hidden) >= 1, "MLP", "hidden must name at least one layer", self.hidden, "(64, 64) is common.")
        activation(self.activation)

    @property
    def _network(self) -> Network:
        return Network(self.hidden, self.activation, output=1)

    def init(self, key: jax.Array) -> PyTree:
        """Returns the network's parameters."""
        return self._network.init(key, jnp.zeros((1, self.num_features), jnp.float32))

    def __call__(self, params, obs, action, next_obs):
        values: Any = self._network.apply(params, self.features(obs, action, next_obs))
        return values[..., 0]
