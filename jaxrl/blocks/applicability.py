"""Applicability: a classifier that learns from replay which actions do nothing.

    m(s, a) = P(o' = o | s, a), the probability that the observation stays as it is
    repeat, for each block of steps
        store (s, a, [o' = o and not terminated]) in the replay memory
        G times: a minibatch of it, and one Adam step on the cross-entropy of m(s, a) and the label

The classifier sees the observation, or features of the environment's state (``features``): features that mean the same in every
task carry m over to another one. An action whose effect no observation shows counts as one that does nothing.

Source: Ardon (2022), "Inapplicable Actions Learning for Knowledge Transfer in Reinforcement Learning".
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import networks, optimisers, replay, value_heads
from jaxrl.blocks.networks import QNetwork
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import rollout, spaces
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Transition
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box, Discrete, Space
from jaxrl.errors import EnvError, SpaceError, require, require_at_most, require_between, require_counts, require_numbers


class Example(NamedTuple):
    """A stored step: seen, PyTree, before it; action, int32; unchanged, bool, it did nothing."""

    seen: PyTree
    action: jax.Array
    unchanged: jax.Array


@struct.dataclass
class State:
    """params, opt_state: of the network. buffer: Example[C], the newest steps."""

    params: PyTree
    opt_state: PyTree
    buffer: ReplayBuffer


@struct.dataclass
class Classifier:
    """A network with a logit of m(s, a) for each action."""

    space: Space = static()  # of what is seen
    num_actions: int = static()  # A (count)
    # (state, params) -> float32[F], of the environment's own state and parameters; None for the observation
    features: Callable | None = static(default=None)
    # Of Adam, at least 0; 0 keeps the classifier as it is. A fast one rules out, in rare states, what is idle in all others.
    learning_rate: float = 1e-3
    batch_size: int = static(default=128)  # steps in one gradient step (count)
    num_gradient_steps: int = static(default=4)  # G, after each block (count)
    buffer_size: int = static(default=20_000)  # steps that are kept (count)
    hidden: tuple[int, ...] = static(default=(64,))  # layer sizes
    activation: str = static(default="relu")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    # A network of your own in place of these layers: (space, num_outputs) -> flax module; see jaxrl.blocks.networks.
    network: Any = static(default=None)

    @classmethod
    def of(cls, env: Environment, features: Callable | None = None, **options: Any) -> "Classifier":
        """Builds the classifier for an environment with discrete actions; options are the other fields."""
        space, actions = seen_space(env, features), env.action_space
        require(isinstance(actions, Discrete), "Classifier", "the action_space must be Discrete", actions, "Use PPO.", SpaceError)
        assert isinstance(actions, Discrete)
        return cls(space, actions.n, features, **options)

    def validate(self, env: Environment) -> None:
        """Raises ConfigError, EnvError or SpaceError where the classifier cannot learn on ``env``."""
        found = seen_space(env, self.features), spaces.flat_size(env.action_space)
        must = "the classifier must be built for what the environment shows and its actions"
        same, fix = found == (self.space, self.num_actions), "Build it by Classifier.of(env)."
        require(same, "applicability", must, (self.space, self.num_actions), fix, EnvError)
        networks.require_layers("applicability", self, self.space)
        require_counts("applicability", self, "batch_size", "num_gradient_steps", "buffer_size")
        require_at_most("applicability", self, "batch_size", "buffer_size")
        require_numbers("applicability", self)
        require_between("applicability", self, 0, float("inf"), "learning_rate")

    def init(self, key: jax.Array) -> State:
        """Draws the network."""
        seen = spaces.example(self.space)
        params = self._network.init(key, jax.tree.map(lambda leaf: leaf[None], seen))
        example = Example(seen, jnp.int32(0), jnp.bool_(False))
        return State(params, self._adam.init(params), replay.create(example, self.buffer_size))

    def __call__(self, params: PyTree, seen: PyTree) -> jax.Array:
        """Returns m(s, a) of every action, float32[..., A], in [0, 1]. seen: PyTree[..., ...]."""
        return jax.nn.sigmoid(self._logits(params, seen))

    def update(self, key: jax.Array, state: State, block: Transition, seen: PyTree) -> tuple[State, dict[str, Any]]:
        """Stores a block Transition[T, E, ...] and learns from the memory. seen: PyTree[T, E, ...], before each step.

        Metrics: ``mask_loss``, the mean cross-entropy (nats), and ``idle``, the share of the block's steps that did nothing.
        """
        idle = unchanged(block)
        buffer = replay.add(state.buffer, rollout.flattened(Example(seen, block.action, idle)))
        step = optimisers.gradient_step(self._loss, self._adam)
        keys = jax.random.split(key, self.num_gradient_steps)
        carry = state.params, state.opt_state
        (params, opt_state), loss = scan(lambda c, key: step(c, replay.sample(key, buffer, self.batch_size)), carry, keys)
        metrics = jax.tree.map(jnp.mean, loss) | {"idle": idle.mean(dtype=jnp.float32)}
        return replace(state, params=params, opt_state=opt_state, buffer=buffer), metrics

    def _loss(self, params: PyTree, batch: Example) -> tuple[jax.Array, dict[str, jax.Array]]:
        logit = value_heads.chosen(self._logits(params, batch.seen), batch.action)
        mean = optax.sigmoid_binary_cross_entropy(logit, batch.unchanged.astype(jnp.float32)).mean()
        return mean, {"mask_loss": mean}

    def _logits(self, params: PyTree, seen: PyTree) -> Any:
        return self._network.apply(params, seen)

    @property
    def _network(self) -> QNetwork:
        """A network from what is seen to a number for each action, which is all that a Q-network is."""
        return QNetwork(self.space, self.num_actions, self.hidden, self.activation, self.channels, network=self.network)

    @property
    def _adam(self) -> Any:
        return optimisers.adam(self.learning_rate, jnp.inf, eps=1e-8)


def seen_space(env: Environment, features: Callable | None) -> Space:
    """Returns the space of what a classifier sees: that of the observation, or of float32[F] features.

    Raises:
        EnvError: the features have another form.
    """
    if features is None:
        return env.observation_space
    found: Any = jax.eval_shape(lambda key, env: features(env.reset(key)[1], env.params), jax.random.key(0), env)
    vector = isinstance(found, jax.ShapeDtypeStruct) and found.dtype == jnp.float32 and len(found.shape) == 1
    must, shown = (
        "the features of a state must be float32[F]",
        jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", found),
    )
    require(vector, "applicability", must, shown, "Join them.", EnvError)
    return Box(-jnp.inf, jnp.inf, found.shape)


def unchanged(block: Transition) -> jax.Array:
    """Returns which steps of a block left the observation as it was and ended nothing, bool[T, E]."""
    lead = block.terminated.shape

    def same(before: jax.Array, after: jax.Array) -> jax.Array:
        return (before == after).reshape(*lead, -1).all(-1)

    return jax.tree.reduce(jnp.logical_and, jax.tree.map(same, block.obs, block.next_obs)) & ~block.terminated
