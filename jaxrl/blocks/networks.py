"""Neural networks. The only file of the library that imports flax.linen; algorithms see modules with ``init`` and ``apply``.

A network of your own takes the place of the layers that a configuration names: every deep algorithm has the field ``network``. It
is a function ``(observation_space, num_outputs) -> flax module``, and the module is called with a batch of observations
PyTree[B, ...] and returns float32[B, num_outputs]: logits, means or action values, or the values of states. A module class with
these two fields is such a function itself:

    class Residual(nn.Module):
        observation_space: Space
        num_outputs: int

        @nn.compact
        def __call__(self, obs):
            x = nn.Dense(64)(spaces.flatten(self.observation_space, obs))
            x = x + nn.Dense(64)(nn.relu(x))
            return nn.Dense(self.num_outputs)(nn.relu(x))

    ppo.Config(network=Residual)

Actor and critic get one each. The function stands at module level, or is a frozen dataclass that is called: made again, it must
be equal, so that its compiled program is found.

Initialisation uses no LAPACK: QR under vmap can hang on a CPU with two cores, and thousands of seeds are initialised at once.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxrl.core import spaces
from jaxrl.core.batch_axis import shard_batch
from jaxrl.core.config import require_image
from jaxrl.core.contracts import equal_when_rebuilt
from jaxrl.core.environment import Environment
from jaxrl.core.spaces import Box, Space
from jaxrl.errors import require, unknown_name

ACTIVATIONS: dict[str, Callable] = {"tanh": jnp.tanh, "relu": nn.relu, "swish": nn.swish, "gelu": nn.gelu}


def activation(name: str) -> Callable:
    """Returns the activation function with this name."""
    if name not in ACTIVATIONS:
        raise unknown_name("networks", "activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def require_layers(where: str, config: Any, observation_space: Space, *replaced: str) -> None:
    """Raises ConfigError or SpaceError unless the layers that a configuration names suit what is observed.

    Args:
        where: who asks.
        config: has ``hidden``, ``activation``, ``channels`` and ``network``.
        observation_space: what the network sees.
        replaced: further fields that shape the library's own layers, and say nothing to a network of the user's.
    """
    if config.network is not None:
        _require_factory(where, config.network)
        for name in ("channels", *replaced):
            must, found = f"a network of your own must come without {name}", getattr(config, name)
            require(not found, where, must, found, f"Leave {name} out, or set network=None.")
    if config.channels:
        require_image(where, "channels", observation_space, "Set channels=().")
    require(len(config.hidden) >= 1, where, "hidden must name at least one layer", config.hidden, "(64, 64) is common.")
    for name in ("hidden", "channels"):
        sizes = getattr(config, name)
        whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 1 for size in sizes)
        require(whole, where, f"{name} must be sizes of layers, integers of at least 1", sizes, "64 is common.")
    activation(config.activation)


def _require_factory(where: str, network: Any) -> None:
    must = "network must be a function (observation_space, num_outputs) -> flax module"
    fix = "Give the module class, or the function that builds the module, not the module itself."
    require(not isinstance(network, nn.Module), where, must, type(network).__name__, fix)
    require(callable(network), where, must, network, fix)
    must = "network must be a function or class at module level, or a frozen dataclass"
    fix = "A closure, lambda or partial that is made anew every time would be compiled again every time."
    require(equal_when_rebuilt(network), where, must, network, fix)


def orthonormal_columns(matrix: jax.Array) -> jax.Array:
    """Orthonormalises the columns of a tall matrix by Gram-Schmidt, each column projected twice.

    Once loses orthogonality in float32, twice is enough (Giraud, Langou and Rozloznik 2005).

    Args:
        matrix: float32[m, n] with m >= n, of full rank.

    Returns:
        float32[m, n] with orthonormal columns; uniformly distributed if the entries were standard normal.
    """

    def add_column(j, basis):
        column = matrix[:, j]
        for _ in range(2):
            column = column - basis @ (column @ basis)
        return basis.at[:, j].set(column / jnp.linalg.norm(column))

    return jax.lax.fori_loop(0, matrix.shape[1], add_column, jnp.zeros_like(matrix))


def orthogonal(scale: float = 1.0) -> Callable:
    """Returns an orthogonal initialiser ``(key, shape, dtype) -> array``; all axes but the last count as inputs.

    Source: Saxe, McClelland and Ganguli (2014).
    """

    def initialise(key, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None):
        columns = shape[-1]
        rows = functools.reduce(int.__mul__, shape[:-1], 1)
        tall = jax.random.normal(key, (max(rows, columns), min(rows, columns)), dtype)
        basis = orthonormal_columns(tall)
        return scale * (basis if rows >= columns else basis.T).reshape(shape)

    return initialise


def dense(size: int, scale: float, name: str | None = None) -> nn.Dense:
    """Returns a linear layer with orthogonal weights and zero bias."""
    return nn.Dense(size, kernel_init=orthogonal(scale), name=name)


class MLP(nn.Module):
    """Hidden layers of the given sizes and, if ``output`` is given, a linear head.

    Called with float32[..., F], returns float32[..., output] (or the last hidden size).
    """

    hidden: tuple[int, ...]
    activation: str = "tanh"
    output: int | None = None
    output_scale: float = 1.0

    @nn.compact
    def __call__(self, x):
        # As matrices: with more than one batch axis, XLA transposes what it multiplies for the gradient of the weights.
        batch, x = x.shape[:-1], shard_batch(x.reshape(-1, x.shape[-1]))
        for size in self.hidden:
            x = activation(self.activation)(dense(size, 2**0.5)(x))
        x = x if self.output is None else dense(self.output, self.output_scale)(x)
        return x.reshape(*batch, x.shape[-1])


class CNN(nn.Module):
    """3x3 convolutions over images float32[..., H, W, C], flattened: float32[..., H * W * channels[-1]]."""

    channels: tuple[int, ...]
    activation: str = "relu"

    @nn.compact
    def __call__(self, x):
        for size in self.channels:
            x = nn.Conv(size, (3, 3), kernel_init=orthogonal(2**0.5))(x)
            x = activation(self.activation)(x)
        return x.reshape(*x.shape[:-3], -1)


class Own(nn.Module):
    """A network of the user's, see the head of this file: called with observations of any batch axes PyTree[..., ...].

    network: ``(observation_space, num_outputs) -> flax module``.
    observation_space: of what it is shown; None for a vector float32[..., G] of whatever length.
    num_outputs: K. Returns float32[..., K].
    """

    network: Callable
    observation_space: Space | None
    num_outputs: int

    @nn.compact
    def __call__(self, obs):
        space = self.observation_space or Box(-jnp.inf, jnp.inf, (obs.shape[-1],))
        one = spaces.example(space)
        leaf, item = jax.tree.leaves(obs)[0], jax.tree.leaves(one)[0]
        batch = leaf.shape[: leaf.ndim - item.ndim]
        flat = jax.tree.map(lambda leaf, item: shard_batch(leaf.reshape(-1, *item.shape)), obs, one)
        module = self.network(space, self.num_outputs)
        must, fix = "network must return a flax module", "Build it inside the function."
        require(isinstance(module, nn.Module), "network", must, module, fix)
        outputs = module(flat)
        expected, found = (math.prod(batch), self.num_outputs), jnp.shape(outputs)
        must, fix = f"network must return outputs of shape {expected}", "End it with a layer of num_outputs."
        require(found == expected, "network", must, found, fix)
        return outputs.reshape(*batch, self.num_outputs)


class GRU(nn.Module):
    """A gated recurrent unit over a sequence (Cho et al. 2014). Its memory is zeroed where an episode starts.

    Called with memory float32[B, H] and (inputs float32[T, B, F], first bool[T, B]), returns the last memory and all
    memories float32[T, B, H]; entry t has taken in input t.
    """

    size: int

    @functools.partial(nn.scan, variable_broadcast="params", split_rngs={"params": False})
    @nn.compact
    def __call__(self, memory, inputs):
        x, first = inputs
        memory = jnp.where(first[..., None], 0.0, memory)
        cell = nn.GRUCell(self.size, kernel_init=orthogonal(), recurrent_kernel_init=orthogonal())
        memory, _ = cell(memory, x)
        return memory, memory


class Actor(nn.Module):
    """The outputs of a policy, float32[..., K] from observations PyTree[..., ...] of any batch axes; feed-forward.

    observation_space: what is seen. num_outputs: K.
    hidden, activation, channels, network: as in ``ActorCritic``.
    """

    observation_space: Space
    num_outputs: int
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    channels: tuple[int, ...] = ()
    network: Callable | None = None

    @nn.compact
    def __call__(self, obs):
        if self.network is not None:
            return Own(self.network, self.observation_space, self.num_outputs)(obs)
        x = _flattened(self.observation_space, self.channels, self.activation, obs)
        # A small last layer starts the policy in the middle of the actions (Andrychowicz et al. 2021, section 3.2).
        return MLP(self.hidden, self.activation, self.num_outputs, 0.01)(x)


class Critic(nn.Module):
    """The value of what is seen and done: float32[...] of an observation and an action of a Box, float32[..., A] of all
    Discrete actions.

    observation_space, action_space: what is seen and done.
    hidden, activation, channels: as in ``ActorCritic``.
    network: of the user's; for a Box, it sees the tuple of observation and action.
    """

    observation_space: Space
    action_space: Space
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    channels: tuple[int, ...] = ()
    network: Callable | None = None

    @nn.compact
    def __call__(self, obs, action=None):
        """obs: PyTree[..., ...]. action: float32[..., D] of a Box as the policy draws it, None of Discrete ones."""
        size = spaces.flat_size(self.action_space)
        if action is None:
            return self._outputs(size, self.observation_space, obs)
        seen = spaces.Tuple.of(self.observation_space, Box(-jnp.inf, jnp.inf, (size,)))
        return self._outputs(1, seen, (obs, action), obs, action)[..., 0]

    def _outputs(self, count, space, inputs, *parts):
        if self.network is not None:
            return Own(self.network, space, count)(inputs)
        obs, *action = parts or (inputs,)
        x = _flattened(self.observation_space, self.channels, self.activation, obs)
        return MLP(self.hidden, self.activation, count)(jnp.concatenate([x, *action], axis=-1))


def critics(count: int, *fields: Any) -> nn.Module:
    """Returns several critics side by side, with parameters of their own: called as ``Critic``, returns [N, ...].

    count: N. fields: of ``Critic``.
    """
    vmap: Any = nn.vmap  # its annotations know one axis of all inputs only
    side_by_side = vmap(
        Critic, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, out_axes=0, axis_size=count
    )
    return side_by_side(*fields)


def _flattened(space: Space, channels: tuple[int, ...], activation: str, obs: Any) -> jax.Array:
    """Returns the features float32[..., F] of observations: through convolutions if there are ``channels``, else as they are."""
    return CNN(channels, activation)(obs.astype(jnp.float32)) if channels else spaces.flatten(space, obs)


class ActorCritic(nn.Module):
    """An actor and a critic, on features that may come from a convolution and a recurrent core they share.

    observation_space, action_space: what is seen and done.
    hidden: sizes of the hidden layers of each of the two.
    channels: of a convolution over image observations (Box of shape [H, W, C]); empty for none.
    memory_size: of a GRU before the two; 0 for none.
    agent_ids: N, appends to the features of each of N agents (the last batch axis) its number, one-hot; 0 for none.
    centralized: whether the critic sees a global observation float32[..., G] in place of the features, with a GRU of its own.
    num_values: how many values the critic estimates, one for each of as many agents; None for one value without an axis.
    network: of the user's, for actor and critic each, in place of all layers; see the head of this file. Feed-forward.

    The head is float32[..., A] logits for Discrete actions, float32[..., sum(nvec)] for MultiDiscrete ones, and (mean, log_std),
    each float32[..., D], for Box actions; of a nested space, a head for every part. ``network`` has the outputs of all parts, one
    after another, without the deviations: these depend on no observation.
    """

    observation_space: Space
    action_space: Space
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    channels: tuple[int, ...] = ()
    memory_size: int = 0
    agent_ids: int = 0
    centralized: bool = False
    num_values: int | None = None
    network: Callable | None = None

    def setup(self):
        self.convolution = CNN(self.channels) if self.channels else None
        self.embedding = MLP(self.hidden[:1], self.activation) if self.memory_size else None
        self.core = GRU(self.memory_size) if self.memory_size else None
        if self.centralized and self.memory_size:
            self.global_embedding, self.global_core = MLP(self.hidden[:1], self.activation), GRU(self.memory_size)
        outputs = spaces.flat_size(self.action_space)
        continuous = any(isinstance(part, Box) for part in spaces.parts(self.action_space))
        self.log_std = self.param("log_std", _first_log_std, self.action_space) if continuous else None
        num_values = 1 if self.num_values is None else self.num_values
        if self.network is not None:
            self.actor = Own(self.network, self.observation_space, outputs)
            self.critic = Own(self.network, None if self.centralized else self.observation_space, num_values)
            return
        # A small last layer starts the policy near uniform (Andrychowicz et al. 2021, section 3.2).
        self.actor = MLP(self.hidden, self.activation, outputs, 0.01)
        self.critic = MLP(self.hidden, self.activation, num_values, 1.0)

    def features(self, obs, first, memory):
        """Turns observations PyTree[T, B, ...] into features float32[T, B, F] and the memories PyTree[T, B, ...].

        A network of the user's sees the observations themselves: they are its features.

        first: bool[T, B], an episode starts here: what came before is forgotten. memory: PyTree[B, ...], before step 0.
        """
        if self.network is not None:
            return obs, memory
        x = self.convolution(obs.astype(jnp.float32)) if self.convolution else spaces.flatten(self.observation_space, obs)
        if self.agent_ids:
            ids = jnp.eye(self.agent_ids, dtype=jnp.float32)
            x = jnp.concatenate([x, jnp.broadcast_to(ids, (*x.shape[:-1], self.agent_ids))], axis=-1)
        if self.core is None or self.embedding is None:
            return x, memory
        memories = _unroll(self.core, memory, self.embedding(x), first)
        return memories, memories

    def critic_features(self, obs, first, memory, global_obs=None):
        """As ``features``, of what the critic looks at. ``memory`` is the critic's: the actor's, unless it is central."""
        if not self.centralized:
            return self.features(obs, first, memory)
        if not self.memory_size:
            return global_obs, memory
        memories = _unroll(self.global_core, memory, self.global_embedding(global_obs), first)
        return memories, memories

    def head(self, features):
        """Returns the parameters of the action distribution; see ``jaxrl.blocks.distributions.of_space``."""

        def one(part, output, log_std):
            return (output, jnp.broadcast_to(log_std, output.shape)) if isinstance(part, Box) else output

        outputs = spaces.split_features(self.action_space, self.actor(features))
        return spaces.map_parts(one, self.action_space, outputs, self.log_std)

    def value(self, features):
        """Returns the value estimates float32[T, B], or float32[T, B, num_values]."""
        values = self.critic(features)
        return values[..., 0] if self.num_values is None else values

    def act(self, obs, first, memory):
        """Returns the parameters of the action distribution and the memories; arguments as for ``features``."""
        features, memories = self.features(obs, first, memory)
        return self.head(features), memories

    def assess(self, obs, first, memory, global_obs=None):
        """Returns the value estimates and the critic's memories; arguments as for ``critic_features``."""
        features, memories = self.critic_features(obs, first, memory, global_obs)
        return self.value(features), memories

    def assess_next(self, obs, memory, global_obs=None):
        """Returns the value estimates float32[B], or float32[B, num_values], of the next step of episodes under way.

        obs: PyTree[B, ...]. memory: PyTree[B, ...], the critic's, which has taken in the observations before.
        """
        obs, global_obs = jax.tree.map(lambda leaf: leaf[None], (obs, global_obs))
        first = jnp.zeros((1, jax.tree.leaves(obs)[0].shape[1]), bool)
        return self.assess(obs, first, memory, global_obs)[0][0]

    def __call__(self, obs, first, memory, global_obs=None, critic_memory=()):
        features, _ = self.features(obs, first, memory)
        seen = self.critic_features(obs, first, critic_memory, global_obs)[0] if self.centralized else features
        return self.head(features), self.value(seen)

    def initial_memory(self):
        """Returns the memory of one environment at the start of an episode: float32[H] zeros, or () without a core."""
        return jnp.zeros(self.memory_size, jnp.float32) if self.memory_size else ()


def actor_critic(env: Environment, config: Any, **agents: Any) -> ActorCritic:
    """Returns the actor and critic for an environment.

    Args:
        env: gives the spaces.
        config: has ``hidden``, ``activation``, ``channels``, ``memory_size`` and ``network``.
        agents: further fields of ``ActorCritic``.
    """
    layers = {name: getattr(config, name) for name in ("hidden", "activation", "channels", "memory_size", "network")}
    return ActorCritic(env.observation_space, env.action_space, **layers, **agents)


def _first_log_std(key: jax.Array, space: Space) -> Any:
    """Returns the logarithm of a deviation of 1 for every entry of an action, float32[D] at each Box, None at other parts."""

    def one(part):
        return jnp.zeros(spaces.flat_size(part), jnp.float32) if isinstance(part, Box) else None

    return spaces.map_parts(one, space)


def _unroll(core: GRU, memory, x, first):
    """Applies a core to float32[T, B, F], or with agents to [T, B, N, F] as if they were B * N sequences."""
    agents = x.shape[2:-1]
    first = jnp.broadcast_to(first.reshape(*first.shape, *(1,) * len(agents)), x.shape[:-1])
    flat = x.reshape(x.shape[0], -1, x.shape[-1]), first.reshape(x.shape[0], -1)
    _, memories = core(memory.reshape(-1, memory.shape[-1]), flat)
    return memories.reshape(*x.shape[:-1], memory.shape[-1])


class QNetwork(nn.Module):
    """Action values, on features that may come from a convolution and a recurrent core.

    observation_space: what is seen. num_actions: A.
    hidden: sizes of the hidden layers.
    channels: of a convolution over image observations (Box of shape [H, W, C]); empty for none.
    dueling: the last hidden layer is split into two streams, Q = V + A - mean A (Wang et al. 2016, eq. 9).
    network: of the user's, in place of all layers; see the head of this file. Feed-forward.
    memory_size: H, of a GRU before the hidden layers, as in ``ActorCritic``; 0 for none.

    Called with observations PyTree[..., ...] of any batch axes and, with a core, the memories float32[..., H] that came before
    them, returns float32[..., A].
    """

    observation_space: Space
    num_actions: int
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    channels: tuple[int, ...] = ()
    dueling: bool = False
    network: Callable | None = None
    memory_size: int = 0

    def setup(self):
        self.convolution = CNN(self.channels) if self.channels else None
        self.embedding = MLP(self.hidden[:1], self.activation) if self.memory_size else None
        self.core = GRU(self.memory_size) if self.memory_size else None
        if self.network is not None:
            self.values = Own(self.network, self.observation_space, self.num_actions)
        elif self.dueling:
            self.shared = MLP(self.hidden[:-1], self.activation)
            self.value_stream = MLP(self.hidden[-1:], self.activation, 1)
            self.advantage_stream = MLP(self.hidden[-1:], self.activation, self.num_actions)
        else:
            self.values = MLP(self.hidden, self.activation, self.num_actions)

    def inputs(self, obs):
        """Turns observations into what the first layer sees: float32[..., F], or themselves for a network of the user's."""
        if self.network is not None:
            return obs
        return self.convolution(obs.astype(jnp.float32)) if self.convolution else spaces.flatten(self.observation_space, obs)

    def features(self, obs, first, memory):
        """Turns a sequence into what the hidden layers see, float32[T, B, F], and the memories float32[T, B, H].

        obs: PyTree[T, B, ...]. first: bool[T, B], an episode starts here: what came before is forgotten. memory: float32[B, H],
        before step 0. Without a core, the batch axes are any, ``first`` is not read and the memories are what was given.
        """
        x = self.inputs(obs)
        if self.core is None or self.embedding is None:
            return x, memory
        memories = _unroll(self.core, memory, self.embedding(x), first)
        return memories, memories

    def next_features(self, obs, memory):
        """Turns the next observations PyTree[..., ...] of episodes under way into features float32[..., F] and memories.

        memory: float32[..., H], which has taken in the observations before; zeros where there are none, () without a core.
        """
        if self.core is None:
            return self.features(obs, None, memory)
        batch = memory.shape[:-1]
        obs = jax.tree.map(lambda leaf: leaf.reshape(1, -1, *leaf.shape[len(batch) :]), obs)
        flat = memory.reshape(-1, self.memory_size)
        memories, _ = self.features(obs, jnp.zeros((1, flat.shape[0]), bool), flat)
        memories = memories.reshape(*batch, self.memory_size)
        return memories, memories

    def head(self, features):
        """Returns the action values float32[..., A]."""
        if not self.dueling:
            return self.values(features)
        value, advantage = self._split(features)
        return value + advantage

    def _split(self, features):
        shared = self.shared(features)
        advantage = self.advantage_stream(shared)
        return self.value_stream(shared), advantage - advantage.mean(-1, keepdims=True)

    def streams(self, obs, memory=()):
        """Returns the two streams of the dueling network: the value float32[..., 1] and the advantages float32[..., A]."""
        return self._split(self.next_features(obs, memory)[0])

    def unroll(self, obs, first, memory):
        """Returns the action values float32[T, B, A] of a sequence and the memories; arguments as for ``features``."""
        features, memories = self.features(obs, first, memory)
        return self.head(features), memories

    def step(self, obs, memory):
        """Returns the action values float32[..., A] of next observations and the memories; see ``next_features``."""
        features, memory = self.next_features(obs, memory)
        return self.head(features), memory

    def __call__(self, obs, memory=()):
        return self.step(obs, memory)[0]

    def initial_memory(self):
        """Returns the memory of one environment at the start of an episode: float32[H] zeros, or () without a core."""
        return jnp.zeros(self.memory_size, jnp.float32) if self.memory_size else ()
