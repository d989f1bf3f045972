"""Soft actor-critic: an actor that maximises return and entropy, several critics, and a temperature that is learned.

    fill the replay memory with random steps; initialise the actor pi, the critics Q_i, and target critics as their copies
    repeat
        take T steps in each of E environments with pi, and store them in the replay memory
        G times
            sample a minibatch of transitions (s, a, r, s')
            y = r + gamma V_target(s'), or r where the episode terminated
            one Adam step on the critics:    sum_i 1/2 (Q_i(s, a) - y)^2
            one Adam step on the actor:      -V(s)
            one Adam step on log alpha:      alpha (H(pi(s)) - H_target)
            Q_target <- Q_target + tau (Q - Q_target)

with the soft value V(s) = E_{a ~ pi(s)}[min_i Q_i(s, a) - alpha log pi(a | s)]. The expectation is one draw where actions are a
Box, reparameterised so that the actor's gradient flows through it, and exact where they are Discrete.

Bounded actions are tanh of a normal draw, unbounded ones the draw itself.

Source: Haarnoja et al. (2018), "Soft Actor-Critic Algorithms and Applications", equations 3, 5, 7, 18 and algorithm 1, with the
actor's loss of equation 7 and tanh of appendix C; Discrete actions: Christodoulou (2019), "Soft Actor-Critic for Discrete Action
Settings", equations 10 to 12. One target critic with the minimum over both: Fujimoto et al. (2018), equation 10.
The defaults are those of Haarnoja et al. (2018), table 1, with a replay memory that suits small tasks.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import distributions, networks, off_policy, optimisers, policies, replay
from jaxrl.blocks.off_policy import OffPolicyConfig
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.blocks.returns import one_step_target
from jaxrl.core import spaces
from jaxrl.core.algorithm import Algorithm, PolicyOf, ProbabilitiesOf
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Decision, Episode
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import SpaceError, require, require_between, require_counts, require_numbers, require_positive

LOG_STD = (-20.0, 2.0)  # bounds of the logarithm of the deviation, before tanh


@struct.dataclass
class Config(OffPolicyConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 3e-4  # of the actor's Adam
    critic_learning_rate: float = 3e-4  # of the critics' Adam
    temperature_learning_rate: float = 3e-4  # of the temperature's Adam
    gamma: float = 0.99  # discount, in [0, 1]
    target_step_size: float = 0.005  # tau, in [0, 1]: how far the target critics move towards the critics
    temperature: float = 1.0  # alpha, in units of reward per nat: the first one, or the only one; positive
    target_entropy: float = -1.0  # H_target of a Box, for each entry of an action (nats)
    target_entropy_share: float = 0.98  # H_target of Discrete actions, in units of the log of how many are legal; in [0, 1]
    max_grad_norm: float = jnp.inf  # the global norm of each gradient is cut to this
    num_critics: int = static(default=2)  # of which the least is believed (count)
    learn_temperature: bool = static(default=True)  # False keeps ``temperature``

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        self.require_task("sac", env)

    def require_task(self, where: str, env: Environment) -> None:
        """As ``validate``, for an algorithm that is built on soft actor-critic. where: who asks."""
        require_single_agent(where, env)
        require_actions(where, env)
        networks.require_layers(where, self, env.observation_space)
        require_counts(where, self, "num_critics", "num_envs", "num_steps", "num_gradient_steps", "num_rounds")
        require_numbers(where, self, "max_grad_norm")
        require_between(where, self, 0, 1, "gamma", "target_step_size", "target_entropy_share")
        rates = "learning_rate", "critic_learning_rate", "temperature_learning_rate"
        require_positive(where, self, *rates, "temperature", "max_grad_norm")
        self.require_buffer(where)


def require_actions(where: str, env: Environment) -> None:
    """Raises SpaceError unless actions are Discrete or a Box of reals. where: who asks."""
    space = env.action_space
    known = isinstance(space, Discrete) or (isinstance(space, Box) and not space.integer)
    fix = "Use jaxrl.algorithms.deep.ppo."
    require(known, where, "the action_space must be Discrete, or a Box of reals", space, fix, SpaceError)
    distributions.require_action_space(where, space)


@struct.dataclass
class State:
    """The parameters, and the progress of the training.

    actor, critics, target_critics: parameters. log_temperature: float32[], log alpha.
    actor_opt, critic_opt, temperature_opt: of the three optimisers.
    episodes: E environments under way. buffer: the stored steps.
    """

    actor: PyTree
    critics: PyTree
    target_critics: PyTree
    log_temperature: jax.Array
    actor_opt: PyTree
    critic_opt: PyTree
    temperature_opt: PyTree
    episodes: Episode
    buffer: ReplayBuffer


def actor_network(env: Environment, config: Config) -> networks.Actor:
    """Returns the network whose parameters are ``State.actor``: the logits, or means and log-deviations side by side."""
    space = env.action_space
    outputs = space.n if isinstance(space, Discrete) else 2 * spaces.flat_size(space)
    return networks.Actor(env.observation_space, outputs, config.hidden, config.activation, config.channels, config.network)


def critic_network(env: Environment, config: Config) -> Any:
    """Returns the network whose parameters are ``State.critics``."""
    layers = config.hidden, config.activation, config.channels, config.network
    return networks.critics(config.num_critics, env.observation_space, env.action_space, *layers)


def distribution(space: Any, outputs: jax.Array, mask: jax.Array | None) -> Any:
    """Returns pi(s) from the outputs of the actor: of numbers, or of float32[..., D] before it is scaled to the bounds."""
    if isinstance(space, Discrete):
        return distributions.categorical(outputs, mask)
    mean, log_std = jnp.split(outputs, 2, axis=-1)
    build = distributions.tanh_gaussian if space.bounded else distributions.diagonal_gaussian
    return build(mean, jnp.clip(log_std, *LOG_STD))


class Parts(NamedTuple):
    """Soft actor-critic without its minibatches: ``make`` draws them from the stored steps, another algorithm from elsewhere.

    init: ``(key) -> State``, with the buffer filled.
    policy, probabilities: of the algorithm; they read the actor of a state alone.
    learn: ``(state, keys, batch) -> (state, metrics)``, one step of each optimiser on a minibatch Experience[B]; two keys. The
        state may have further fields: they stay.
    """

    init: Callable
    policy: PolicyOf
    probabilities: ProbabilitiesOf | None
    learn: Callable


def parts(env: Environment, config: Config) -> Parts:
    """Builds the parts of soft actor-critic on an environment with Discrete actions or a Box of them."""
    actor: Any = actor_network(env, config)
    critics = critic_network(env, config)
    actor_adam, critic_adam, temperature_adam = (
        optimisers.adam(rate, config.max_grad_norm, eps=1e-8)
        for rate in (config.learning_rate, config.critic_learning_rate, config.temperature_learning_rate)
    )
    value = partial(soft_value, env.action_space, actor, critics)

    def init(key):
        actor_key, critic_key, begin_key = jax.random.split(key, 3)
        episodes, buffer = off_policy.begin(begin_key, env, config)
        discrete = isinstance(env.action_space, Discrete)
        one = jax.tree.map(lambda leaf: leaf[:1], (buffer.items.obs, None if discrete else buffer.items.action))
        params, critic_params = actor.init(actor_key, one[0]), critics.init(critic_key, *one)
        log_temperature = jnp.log(jnp.asarray(config.temperature, jnp.float32))
        optimisers_ = actor_adam.init(params), critic_adam.init(critic_params), temperature_adam.init(log_temperature)
        return State(params, critic_params, critic_params, log_temperature, *optimisers_, episodes, buffer)

    def policy(state, greedy):
        def act(key, view):
            pi = distribution(env.action_space, actor.apply(state.actor, view.obs), view.mask)
            raw = policies.mode(pi, key) if greedy else policies.sample(pi, key)
            return Decision(spaces.from_unit(env.action_space, raw), {"raw_action": raw})

        return act

    def probabilities(state, view):
        return distribution(env.action_space, actor.apply(state.actor, view.obs), view.mask).probs

    def learn(state, keys, batch):
        next_key, actor_key = keys
        alpha = jnp.exp(state.log_temperature)
        # y = r + gamma V_target(s').
        next_value, _ = value(next_key, state.actor, state.target_critics, alpha, batch.next_obs, batch.next_mask)
        target = one_step_target(batch.reward, next_value, batch.terminated, config.gamma)
        # One Adam step on the critics, on the actor, and on log alpha.
        step = optimisers.gradient_step(partial(off_policy.critic_loss, env.action_space, critics), critic_adam)
        (critic_params, critic_opt), critic_metrics = step((state.critics, state.critic_opt), (batch, target))

        def actor_loss(params, batch):
            found, entropy = value(actor_key, params, critic_params, alpha, batch.obs, batch.mask)
            return -found.mean(), {"value": found.mean(), "entropy": entropy.mean()}

        step = optimisers.gradient_step(actor_loss, actor_adam)
        (params, actor_opt), actor_metrics = step((state.actor, state.actor_opt), batch)
        state = replace(state, actor=params, actor_opt=actor_opt, critics=critic_params, critic_opt=critic_opt)
        if config.learn_temperature:
            excess = actor_metrics["entropy"] - target_entropy(env.action_space, config, batch.mask)
            step = optimisers.gradient_step(temperature_loss, temperature_adam)
            (log_temperature, temperature_opt), _ = step((state.log_temperature, state.temperature_opt), excess)
            state = replace(state, log_temperature=log_temperature, temperature_opt=temperature_opt)
        # The target critics move.
        target_critics = optax.incremental_update(critic_params, state.target_critics, config.target_step_size)
        return replace(state, target_critics=target_critics), critic_metrics | actor_metrics | {"temperature": alpha}

    return Parts(init, policy, probabilities if isinstance(env.action_space, Discrete) else None, learn)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds soft actor-critic on an environment with Discrete actions or a Box of them."""
    init, policy, probabilities, learn = parts(env, config)

    def learn_from_replay(state, key):
        sample_key, *keys = jax.random.split(key, 3)
        return learn(state, keys, replay.sample(sample_key, state.buffer, config.batch_size))

    # Take T steps in each of E environments with pi, and store them; G times learn.
    update = off_policy.updates(env, config, policy, learn_from_replay)
    return Algorithm(init, update, policy, probabilities=probabilities)


def soft_value(
    space: Any,
    actor: Any,
    critics: Any,
    key: jax.Array,
    params: PyTree,
    critic_params: PyTree,
    alpha: jax.Array,
    obs: PyTree,
    mask: Any,
) -> tuple[jax.Array, jax.Array]:
    """Returns V(s) = E[min_i Q_i(s, a) - alpha log pi(a | s)] and the entropy of pi(s), each float32[B].

    Exact for Discrete actions; of one reparameterised draw for a Box, which also is what the entropy is estimated from.

    Args:
        space: of the actions.
        actor, critics: the networks, with ``params`` and ``critic_params``.
        key: of the draw.
        alpha: float32[], the temperature.
        obs: PyTree[B, ...]. mask: bool[B, A] or None.
    """
    pi = distribution(space, actor.apply(params, obs), mask)
    if isinstance(space, Discrete):
        least = critics.apply(critic_params, obs).min(0)
        entropy = pi.entropy()
        return jnp.where(pi.probs > 0, pi.probs * least, 0.0).sum(-1) + alpha * entropy, entropy
    action, log_prob = pi.sample_and_log_prob(seed=key)
    return critics.apply(critic_params, obs, action).min(0) - alpha * log_prob, -log_prob


def target_entropy(space: Any, config: Config, mask: jax.Array | None) -> jax.Array | float:
    """Returns H_target (nats): of a Box in proportion to its entries, else the mean over the batch of a share of the largest."""
    if isinstance(space, Box):
        return config.target_entropy * spaces.flat_size(space)
    largest = jnp.log(jnp.float32(space.n)) if mask is None else jnp.log(mask.sum(-1).astype(jnp.float32)).mean()
    return config.target_entropy_share * largest


def temperature_loss(log_temperature: jax.Array, excess: jax.Array) -> tuple[jax.Array, dict]:
    """Returns alpha (H(pi) - H_target), whose gradient raises alpha where the entropy is below its target.

    excess: float32[], H(pi) - H_target, a constant to the gradient.
    """
    return jnp.exp(log_temperature) * jax.lax.stop_gradient(excess), {}
