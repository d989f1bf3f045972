"""Decision Transformer: acting as the data did where they came to the return that is asked for.

    initialise a causal transformer pi_theta over the tokens R_1, s_1, a_1, ..., R_K, s_K, a_K
    repeat
        sample windows of K steps of the data, with R_t = r_t + r_t+1 + ... to the end of the episode
        one Adam step on the mean over all steps of  -log pi_theta(a_t | R_1, s_1, a_1, ..., R_t, s_t)     (Discrete actions)
                                                 or  |a_t - pi_theta(R_1, s_1, a_1, ..., R_t, s_t)|^2       (a Box)

    to act, R_1 = the requested return
    for t = 1, 2, ...
        a_t from pi_theta on the last K steps
        R_t+1 = R_t - r_t

Nothing is bootstrapped, and returns are not discounted. Illegal actions have no probability. Real actions are predicted in units
of half the range of their Box, and cut to it.

Source: Chen et al. (2021), "Decision Transformer: Reinforcement Learning via Sequence Modeling", algorithm 1. Of the paper's
training, dropout, weight decay and the warm-up of the learning rate are left out.
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import datasets, distributions, offline, optimisers, policies
from jaxrl.blocks.datasets import Dataset, Windows
from jaxrl.blocks.networks import DecisionTransformer
from jaxrl.blocks.offline import OfflineConfig
from jaxrl.core import spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_divisor
from jaxrl.core.environment import PyTree, static
from jaxrl.core.rollout import Decision, LastStep, Policy, View
from jaxrl.core.spaces import Box, Discrete, Space
from jaxrl.errors import SpaceError, require, require_counts, require_numbers, require_positive


@struct.dataclass
class Config(OfflineConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do.

    ``hidden``, ``channels`` and ``network`` are the layers between an observation and its token.
    """

    requested_return: float = 0.0  # undiscounted, of an episode: what the policy is asked for, in units of the reward
    return_scale: float = 1.0  # by which returns to go are divided before the network sees them; positive
    learning_rate: float = 1e-4  # of Adam
    max_grad_norm: float = 0.25  # the global norm of the gradient is cut to this
    batch_size: int = static(default=64)  # windows in one gradient step (count)
    hidden: tuple[int, ...] = static(default=(128,))  # layer sizes between an observation and its token
    activation: str = static(default="gelu")  # between layers: tanh, relu, swish or gelu
    context: int = static(default=20)  # K, the steps that the policy sees (count)
    width: int = static(default=128)  # of a token (count)
    num_layers: int = static(default=3)  # blocks of the transformer (count)
    num_heads: int = static(default=1)  # of its attention; divides the width (count)

    def validate(self, task: Any) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``task``, DataError where its data are unsound."""
        where = "decision_transformer"
        space, fix = self.require_data(where, task).action_space, "Use jaxrl.algorithms.offline.behaviour_cloning."
        known = isinstance(space, Discrete | Box)
        require(known, where, "the action_space must be Discrete or a Box", space, fix, SpaceError)
        distributions.require_action_space(where, space)
        require_counts(where, self, "context", "width", "num_layers", "num_heads")
        require_divisor(where, "width", self.width, "num_heads", self.num_heads)
        require_numbers(where, self, "max_grad_norm")
        require_positive(where, self, "return_scale", "learning_rate", "max_grad_norm")


@struct.dataclass
class State:
    """params, opt_state: of the transformer.

    data: this seed's own data set, None where all seeds share one.
    """

    params: PyTree
    opt_state: PyTree
    data: Dataset | None = None


class Memory(NamedTuple):
    """The last K steps, the newest at the end. Batched: every leaf has a leading axis E.

    obs: PyTree[K, ...]. action: PyTree[K, ...], as the environment received them; the newest is written a step later.
    to_go: float32[K], what was left of the requested return before each step. t: int32[], steps taken in the episode.
    last: the action and the reward of the step before, which the rollout writes.
    """

    obs: PyTree
    action: PyTree
    to_go: jax.Array
    t: jax.Array
    last: LastStep


def make(task: Any, config: Config) -> Algorithm:
    """Builds the Decision Transformer on a data set, or on a pytree that draws one from a key."""
    given = offline.data_of("decision_transformer", task)
    network = transformer(given, config)
    adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)
    step = optimisers.gradient_step(partial(loss, network, config, given.action_space), adam)

    def begin(key, data):
        window_key, key = jax.random.split(key)
        one = datasets.windows(window_key, data, 1, config.context)
        params = network.init(key, *inputs(config, data.action_space, one))
        return State(params, adam.init(params))

    def prepare(data):
        return data, datasets.returns_to_go(data)

    def learn(state, prepared, key):
        data, to_go = prepared
        batch = datasets.windows(key, data, config.batch_size, config.context, to_go=to_go)
        (params, opt_state), metrics = step((state.params, state.opt_state), batch)
        return replace(state, params=params, opt_state=opt_state), metrics

    def policy(state, greedy):
        return acting(network, config, given.action_space, state.params, greedy)

    algorithm = offline.learner(task, config, begin, learn, policy, prepare=prepare)
    return algorithm._replace(memory=first_memory(given.observation_space, given.action_space, config.context))


def transformer(data: Dataset, config: Config) -> DecisionTransformer:
    """Returns the network for the spaces of some data. It knows as many places in time as their episodes can have steps."""
    outputs = spaces.flat_size(data.action_space)
    layers = {name: getattr(config, name) for name in ("hidden", "activation", "channels", "network")}
    layers |= {name: getattr(config, name) for name in ("width", "num_layers", "num_heads")}
    return DecisionTransformer(data.observation_space, outputs, **layers, num_positions=data.length)


def inputs(config: Config, action_space: Space, window: Windows) -> tuple:
    """Returns windows [B, K] as the arguments of the network."""
    action = window.action
    features = spaces.to_unit(action_space, action) if isinstance(action_space, Box) else spaces.flatten(action_space, action)
    return window.return_to_go / config.return_scale, window.obs, features, window.t, window.valid


def loss(
    network: DecisionTransformer, config: Config, action_space: Space, params: PyTree, batch: Windows
) -> tuple[jax.Array, dict]:
    """Returns the mean loss over the valid steps of windows [B, K], and metrics: see the head of this file."""
    outputs: Any = network.apply(params, *inputs(config, action_space, batch))
    if isinstance(action_space, Box):
        each = jnp.square(outputs - spaces.to_unit(action_space, batch.action)).sum(-1)
    else:
        each = -distributions.of_space(action_space, outputs, batch.mask).log_prob(batch.action)
    value = each.mean(where=batch.valid)
    return value, {"loss": value}


# ---- acting


def first_memory(observation_space: Space, action_space: Space, context: int) -> Memory:
    """Returns the memory of one environment at the start of an episode: all zeros."""
    action = spaces.example(action_space)

    def steps(tree):
        return jax.tree.map(lambda leaf: jnp.zeros((context, *leaf.shape), leaf.dtype), tree)

    last = LastStep(action, jnp.float32(0.0))
    return Memory(steps(spaces.example(observation_space)), steps(action), steps(last.reward), jnp.int32(0), last)


def acting(network: DecisionTransformer, config: Config, action_space: Space, params: PyTree, greedy: bool) -> Policy:
    """Returns the policy that asks for the requested return. The actions of a Box are predicted: no noise is added to them."""

    def act(key: jax.Array, view: View) -> Decision:
        memory, window = jax.vmap(remember, (0, 0, None))(view.memory, view.obs, config.requested_return)
        found: Any = network.apply(params, *inputs(config, action_space, window))
        outputs = found[:, -1]
        if isinstance(action_space, Box):
            return Decision(spaces.from_unit(action_space, outputs), memory=memory)
        choose = policies.mode if greedy else policies.sample
        return Decision(choose(distributions.of_space(action_space, outputs, view.mask), key), memory=memory)

    return act


def remember(memory: Memory, obs: PyTree, requested_return: jax.Array | float) -> tuple[Memory, Windows]:
    """Takes in an observation, in one environment. Returns the memory with it, and what the network sees, [K].

    The return to go of the first step is the requested one, and every later one is smaller by the reward of the step before.
    """
    last = memory.last
    to_go = jnp.where(memory.t == 0, requested_return, memory.to_go[-1] - last.reward)

    def append(steps, new):
        return jnp.concatenate([steps[1:], jnp.asarray(new, steps.dtype)[None]])

    done = jax.tree.map(lambda steps, action: steps.at[-1].set(action), memory.action, last.action)
    shown = jax.tree.map(append, memory.obs, obs), jax.tree.map(lambda steps: append(steps, jnp.zeros_like(steps[0])), done)
    memory = Memory(*shown, append(memory.to_go, to_go), memory.t + 1, last)
    t = memory.t + jnp.arange(-memory.to_go.shape[0], 0, dtype=jnp.int32)
    unseen: Any = None  # rewards, masks and ends are not looked at
    t, valid = jnp.maximum(t, 0), t >= 0
    return memory, Windows(memory.obs, memory.action, unseen, unseen, unseen, unseen, memory.to_go, t, valid)
