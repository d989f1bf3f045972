"""Proximal policy optimisation with the clipped objective: discrete or continuous actions, feed-forward or recurrent.

    repeat
        collect T steps in each of E environments with the current policy
        estimate advantages by generalised advantage estimation
        for K epochs, for each minibatch: one Adam step on
            L(theta) = E[min(r A, clip(r, 1 - eps, 1 + eps) A)] - c_v (V - V_target)^2 + c_e entropy

with r the probability ratio of the new to the old policy.

Source: Schulman et al. (2017), equations 7 and 9, algorithm 1; advantages: Schulman et al. (2016), equation 16.
The defaults are those of the Atari experiments as commonly applied to control (Huang et al. 2022, "37 implementation details").
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import distributions, moments, policies
from jaxrl.blocks.losses import clipped_surrogate_loss, clipped_value_loss, kl_k3, squared_value_loss
from jaxrl.blocks.moments import Moments, RewardScaling
from jaxrl.blocks.networks import ActorCritic, activation
from jaxrl.blocks.returns import generalized_advantage
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm, epochs_of_minibatches
from jaxrl.core.averages import average, pooled
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode
from jaxrl.core.spaces import Box, Dict, Discrete, Space
from jaxrl.errors import ConfigError, SpaceError, require, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers and names set shapes: they do."""

    learning_rate: float = 2.5e-4  # of Adam, falling linearly to 0 over anneal_updates
    anneal_updates: float = jnp.inf  # updates until the learning rate is 0 and stays there; infinite keeps it constant
    gamma: float = 0.99  # discount, in [0, 1]
    gae_lambda: float = 0.95  # in [0, 1]: 0 trusts the critic, 1 the sampled return
    clip_eps: float = 0.2  # the ratio's distance from 1 beyond which nothing is gained
    ent_coef: float = 0.01  # weight of the entropy bonus
    vf_coef: float = 0.5  # weight of the value loss
    max_grad_norm: float = 0.5  # the global norm of the gradient is cut to this
    num_envs: int = static(default=4)  # environments side by side (count)
    num_steps: int = static(default=128)  # of each environment in one update (count)
    num_epochs: int = static(default=4)  # passes over the collected steps (count)
    num_minibatches: int = static(default=4)  # in each pass (count); must divide the steps, or num_envs with memory
    hidden: tuple[int, ...] = static(default=(64, 64))  # layer sizes of the actor and of the critic
    activation: str = static(default="tanh")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    memory_size: int = static(default=0)  # of a GRU shared by actor and critic; 0 for a feed-forward policy
    # Whether the change of the value estimate is limited as well. Where values are large (CartPole's are near 100), an
    # unclipped critic's gradient fills the gradient norm that actor and critic share, and the policy stops improving.
    clip_value: bool = static(default=True)  # by clip_eps, as the ratio
    normalize_observation: bool = static(default=False)  # by the running mean and deviation of what was observed
    normalize_reward: bool = static(default=False)  # by the running deviation of the discounted return
    normalize_value: bool = static(default=False)  # the critic is fitted to targets in units of their running moments

    name: ClassVar[str] = "ppo"  # in messages

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def annealed(self, env_steps: int) -> "Config":
        """Returns these values with a learning rate that falls to 0 over this many environment steps."""
        return self.replace(anneal_updates=float(max(1, env_steps // self.steps_per_update)))  # pyright: ignore

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        alone = env.num_agents is None
        require(alone, self.name, "the environment must have no agent axis", env.num_agents, "Use a multi-agent algorithm.")
        self.validate_learner(env)

    def validate_learner(self, env: Environment) -> None:
        """As ``validate``, whatever the number of agents."""
        where, actions, observations = self.name, env.action_space, env.observation_space
        known = isinstance(actions, (Discrete, Box))
        require(known, where, "the action space must be Discrete or Box", actions, "Flatten it.", SpaceError)
        if isinstance(actions, Box):
            whole = actions.bounded or bool(jnp.isinf(actions.low).all() and jnp.isinf(actions.high).all())
            must = "a Box action must be bounded or unbounded as a whole"
            require(whole, where, must, actions, "Bound every entry.", SpaceError)
        if self.channels:
            image = isinstance(observations, Box) and len(observations.shape) == 3
            must = "channels need observations of shape [H, W, C]"
            require(image, where, must, observations, "Set channels=().", SpaceError)
        require_counts(where, self, "num_envs", "num_steps", "num_epochs", "num_minibatches")
        require_numbers(where, self, "anneal_updates", "clip_eps", "max_grad_norm")
        require_between(where, self, 0, 1, "gamma", "gae_lambda")
        require_between(where, self, 0, float("inf"), "vf_coef")
        require_positive(where, self, "learning_rate", "anneal_updates", "clip_eps", "max_grad_norm")
        require(len(self.hidden) >= 1, where, "hidden must name at least one layer", self.hidden, "(64, 64) is common.")
        activation(self.activation)
        must = "num_envs * num_steps must be at least 2: an advantage is good or bad beside others"
        require(self.steps_per_update >= 2, where, must, self.steps_per_update, "Set num_steps=128.")
        count, unit = (self.num_envs, "num_envs") if self.memory_size else (self.steps_per_update, "num_envs * num_steps")
        if count % self.num_minibatches:
            fits = max(d for d in range(1, self.num_minibatches + 1) if count % d == 0)
            raise ConfigError(
                f"{where}: {unit} ({count}) must be divisible by num_minibatches, got {self.num_minibatches}. Try {fits}."
            )


# For continuous control: more passes over the data, no entropy bonus, rewards scaled since their size is arbitrary.
CONTINUOUS = Config(
    learning_rate=1e-3,
    ent_coef=0.0,
    num_envs=16,
    num_epochs=10,
    num_minibatches=8,
    normalize_reward=True,
    clip_value=False,
)


@struct.dataclass
class Learner:
    """What is trained.

    params, opt_state: of actor and critic.
    observations, global_observations: running moments of what actor and central critic observed, or None.
    rewards: running scale of the discounted return, or None. values: running moments of the value targets, or None.
    critic_memory: PyTree[E, ...], what a central recurrent critic remembers; () where there is none.
    """

    params: PyTree
    opt_state: PyTree
    observations: Moments | None
    global_observations: Moments | None
    rewards: RewardScaling | None
    values: Moments | None
    critic_memory: PyTree


@struct.dataclass
class State:
    """learner: what is trained. episodes: E environments under way."""

    learner: Learner
    episodes: Episode

    @property
    def params(self) -> PyTree:
        """The parameters of actor and critic."""
        return self.learner.params


@struct.dataclass
class Sequences:
    """Training data: B sequences of L steps; L is the whole block for a recurrent policy and 1 otherwise. Leaves [B, L, ...].

    value, target: in the units of the critic.
    memory, critic_memory: PyTree[B, ...], before the first step.
    """

    obs: PyTree
    global_obs: jax.Array | None
    raw_action: jax.Array
    mask: jax.Array | None
    first: jax.Array
    log_prob: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array
    memory: PyTree
    critic_memory: PyTree


class Learning(NamedTuple):
    """The parts of PPO that do not know where the experience comes from. Multi-agent PPO has the same (``mappo``).

    init: ``(key, episodes, global_obs) -> Learner``, with global_obs float32[E, G] or None.
    act: ``(learner, obs, first, memory) -> (outputs, memories)``, as ``ActorCritic.act``.
    learn: ``(learner, batch, memory, key) -> (learner, metrics)``: one update from the Transition [T, E, ...] that followed the
        memory [E, ...].
    """

    init: Callable
    act: Callable
    learn: Callable


def make(env: Environment, config: Config) -> Algorithm:
    """Builds PPO on an environment."""
    network = ActorCritic(
        env.observation_space, env.action_space, config.hidden, config.activation, config.channels, config.memory_size
    )
    learning = learner(network, config, env.max_steps)
    memory = network.initial_memory()

    def init(key):
        network_key, episode_key = jax.random.split(key)
        episodes = rollout.start(episode_key, env, config.num_envs, memory)
        return State(learning.init(network_key, episodes), episodes)

    def update(state, key):
        rollout_key, order_key = jax.random.split(key)
        explore = policies.behaviour(partial(learning.act, state.learner), env.action_space, policies.sample)
        episodes, batch = rollout.unroll(rollout_key, env, explore, state.episodes, config.num_steps)
        trained, metrics = learning.learn(state.learner, batch, state.episodes.memory, order_key)
        return State(trained, episodes), metrics | rollout.episode_metrics(batch)

    def policy(state, greedy):
        return policies.behaviour(
            partial(learning.act, state.learner), env.action_space, policies.mode if greedy else policies.sample
        )

    def probabilities(state, view):
        return policies.action_probabilities(partial(learning.act, state.learner), env.action_space, view)

    exact = isinstance(env.action_space, Discrete) and not config.memory_size
    return Algorithm(init, update, policy, memory, probabilities if exact else None)


def learner(network: ActorCritic, config: Config, max_steps: int, multi_agent: bool = False) -> Learning:
    """Builds what PPO does with experience.

    Args:
        network: actor and critic. The axes of its values are those of the rewards.
        config: hyper-parameters.
        max_steps: the time limit of the environment.
        multi_agent: whether a step at which the mask leaves an agent no choice counts as one at which it was inactive: its
            policy has nothing to learn from it. The critic learns from it as from any other, since the agent is still paid.
    """
    outputs_and_values: Any = network.apply
    outputs_of: Any = partial(network.apply, method="act")
    assess: Any = partial(network.apply, method="assess")
    steps_per_anneal = config.anneal_updates * config.num_epochs * config.num_minibatches
    # One vector instead of a tree of small arrays: Adam then is a handful of kernels, which makes PPO on CartPole 6 % faster.
    optimiser = optax.flatten(
        optax.chain(
            optax.clip_by_global_norm(config.max_grad_norm),
            optax.adam(lambda count: config.learning_rate * jnp.maximum(0.0, 1.0 - count / steps_per_anneal), eps=1e-5),
        )
    )

    def init(key, episodes, global_obs: Any = None):
        obs, reward = episodes.obs, episodes.return_
        critic_memory = ()
        if network.centralized:
            critic_memory = jnp.zeros((config.num_envs, config.memory_size), jnp.float32) if config.memory_size else ()
        block = partial(jax.tree.map, lambda leaf: leaf[None])
        first = jnp.zeros((1, config.num_envs), bool)
        params = network.init(key, block(obs), first, episodes.memory, block(global_obs), critic_memory)
        single = partial(jax.tree.map, lambda leaf: leaf[(0,) * reward.ndim])
        return Learner(
            params,
            optimiser.init(params),
            moments.init(single(obs)) if config.normalize_observation else None,
            moments.init(global_obs[0]) if config.normalize_observation and network.centralized else None,
            moments.init_reward_scaling(*reward.shape) if config.normalize_reward else None,
            moments.init(jnp.float32(0.0)) if config.normalize_value else None,
            critic_memory,
        )

    def act(learner, obs, first, memory):
        return outputs_of(learner.params, normalised(learner.observations, obs, network.observation_space), first, memory)

    def chooses(mask):
        """Returns where agents have a choice, shaped as the rewards, or None where they always have."""
        return mask.sum(-1) > 1 if multi_agent and mask is not None else None

    def loss(params, batch, whole):
        batch = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), batch.replace(memory=(), critic_memory=())).replace(
            memory=batch.memory, critic_memory=batch.critic_memory
        )
        seen = batch.obs, batch.first, batch.memory, batch.global_obs, batch.critic_memory
        outputs, value = outputs_and_values(params, *seen)
        policy = distributions.of_space(network.action_space, outputs, batch.mask)
        chose = chooses(batch.mask)
        log_ratio = policy.log_prob(batch.raw_action) - batch.log_prob
        advantage = standardised(batch.advantage, chose, whole)
        policy_losses = clipped_surrogate_loss(log_ratio, advantage, config.clip_eps)
        if config.clip_value:
            value_loss = clipped_value_loss(value, batch.value, batch.target, config.clip_eps).mean()
        else:
            value_loss = squared_value_loss(value, batch.target).mean()
        entropy = policy.entropy()
        total = mean(policy_losses, chose) + config.vf_coef * value_loss - config.ent_coef * mean(entropy, chose)
        return total, {
            "policy_loss": average(policy_losses, chose),
            "value_loss": value_loss,
            "entropy": average(entropy, chose),
            "approximate_kl": average(kl_k3(log_ratio), chose),
            "clip_fraction": average(jnp.abs(jnp.expm1(log_ratio)) > config.clip_eps, chose),
        }

    def gradient_step(whole, carry, batch):
        params, opt_state = carry
        gradient, metrics = jax.grad(loss, has_aux=True)(params, batch, whole)
        updates, opt_state = optimiser.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), metrics

    def learn(learner, batch, memory, key):
        # What the old policy and critic say of the block.
        raw_action, outputs = batch.extras["raw_action"], batch.extras["outputs"]
        log_prob = distributions.of_space(network.action_space, outputs, batch.mask).log_prob(raw_action)
        obs = normalised(learner.observations, batch.obs, network.observation_space)
        global_obs = normalised(learner.global_observations, batch.global_obs)
        first, critic_memory = batch.t == 0, learner.critic_memory if network.centralized else memory
        output, memories = assess(learner.params, obs, first, critic_memory, global_obs)
        value = in_units_of_reward(learner, output)
        next_value = successor_value(learner, batch, value, memories)

        # The moments of this block are used from the next one on: the policy is trained on what it acted on.
        observations, global_observations = learner.observations, learner.global_observations
        if observations is not None:
            observations = moments.update(observations, batch.obs)
        if global_observations is not None:
            global_observations = moments.update(global_observations, batch.global_obs)
        terminated, truncated = of_every_agent(batch.terminated, batch.reward), of_every_agent(batch.truncated, batch.reward)
        rewards, reward = learner.rewards, batch.reward
        if rewards is not None:
            rewards, reward = moments.scale_rewards(rewards, reward, terminated | truncated, config.gamma)

        estimate = generalized_advantage
        for _ in reward.shape[1:]:  # environments, and agents where there are any
            estimate = jax.vmap(estimate, in_axes=(1, 1, 1, 1, 1, None, None), out_axes=1)
        advantage = estimate(reward, value, next_value, terminated, truncated, config.gamma, config.gae_lambda)
        target, values = advantage + value, learner.values
        if values is not None:
            values = moments.update(values, target)
            target = moments.normalize(values, target, clip=jnp.inf)

        own_memory = learner.critic_memory  # () where the critic remembers what the actor does
        data = Sequences(obs, global_obs, raw_action, batch.mask, first, log_prob, output, advantage, target, memory, own_memory)
        (params, opt_state), metrics = epochs_of_minibatches(
            key,
            partial(gradient_step, Spread.of(advantage, chooses(batch.mask))),
            (learner.params, learner.opt_state),
            as_sequences(data),
            config.num_epochs,
            config.num_minibatches,
        )
        if network.centralized:
            own_memory = jax.tree.map(lambda leaf: leaf[-1], memories)
        trained = Learner(params, opt_state, observations, global_observations, rewards, values, own_memory)
        return trained, pooled(metrics)

    def in_units_of_reward(learner, output):
        return output if learner.values is None else moments.denormalize(learner.values, output)

    def successor_value(learner, batch, value, memories):
        """V(next_obs) [T, E], each from the memory that has taken in the observation before.

        Within an episode that is the value of the next step. The critic must look again only at the last step, and where the
        time limit cut an episode: in one environment that can happen only once in max_steps.
        """
        last = config.num_steps - 1
        cuts = min(1 + last // max_steps, last)
        if not cuts:
            index = jnp.zeros((1, config.num_envs), jnp.int32)
        else:
            # Steps are told apart by their distance from the end, which is 0 for the last step and fills up the places.
            distance = jnp.where(batch.truncated, last - jnp.arange(config.num_steps, dtype=jnp.int32)[:, None], 0)
            farthest = distance.max(0)[None] if cuts == 1 else jax.lax.top_k(distance.T, cuts)[0].T  # top_k always sorts
            index = last - farthest
            index = jnp.concatenate([index, jnp.full((1, config.num_envs), last, jnp.int32)])
        place = (index, jnp.arange(config.num_envs))
        flat = partial(jax.tree.map, lambda leaf: leaf[place].reshape(-1, *leaf.shape[2:]))
        block = partial(jax.tree.map, lambda leaf: leaf[None])
        obs = block(normalised(learner.observations, flat(batch.next_obs), network.observation_space))
        global_obs = block(normalised(learner.global_observations, flat(batch.next_global_obs)))
        memory = flat(memories) if config.memory_size else ()
        output, _ = assess(learner.params, obs, jnp.zeros((1, index.size), bool), memory, global_obs)
        found = in_units_of_reward(learner, output).reshape(*index.shape, *value.shape[2:])
        return jnp.roll(value, -1, axis=0).at[place].set(found)

    def as_sequences(data):
        """Cuts the block [T, E, ...] into sequences [B, L, ...]: whole ones for a recurrent policy, else single steps."""
        if not config.memory_size:
            return jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), data)
        by_time = data.replace(memory=(), critic_memory=())
        by_sequence = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), by_time)
        return by_sequence.replace(memory=data.memory, critic_memory=data.critic_memory)

    return Learning(init, act, learn)


def normalised(seen: Moments | None, obs: PyTree, space: Space | None = None) -> PyTree:
    """Scales observations by their running moments, or leaves them where there are none.

    Args:
        seen: moments of single observations, or None.
        obs: PyTree[..., *shape of an observation].
        space: of the observations; None for a vector of quantities. Its Discrete parts are classes, not quantities: they stay as
            they are. Integers in a Box (pixels, counts) are quantities.
    """
    if seen is None:
        return obs
    return _quantities(space, moments.normalize(seen, obs), obs)


def _quantities(space: Space | None, scaled: PyTree, raw: PyTree) -> PyTree:
    if isinstance(space, Dict):
        return {name: _quantities(part, scaled[name], raw[name]) for name, part in space.items}
    return raw if isinstance(space, Discrete) else scaled


def of_every_agent(flag: jax.Array, reward: jax.Array) -> jax.Array:
    """Repeats what holds of an environment [T, E] for the agents in it, where the reward is [T, E, N]."""
    return jnp.broadcast_to(flag.reshape(*flag.shape, *(1,) * (reward.ndim - flag.ndim)), reward.shape)


def mean(x: jax.Array, where: jax.Array | None) -> jax.Array:
    """Returns the mean of the entries where ``where`` holds (all, if it is None), 0 if there is none."""
    return x.mean() if where is None else jnp.sum(x, where=where) / jnp.maximum(where.sum(), 1)


class Spread(NamedTuple):
    """Mean and standard deviation of the advantages of a whole batch, float32[] each."""

    mean: jax.Array
    deviation: jax.Array

    @classmethod
    def of(cls, advantage: jax.Array, where: jax.Array | None) -> "Spread":
        """Measures the entries where ``where`` holds, all if it is None."""
        centre = mean(advantage, where)
        return cls(centre, jnp.sqrt(mean(jnp.square(advantage - centre), where)))


def standardised(advantage: jax.Array, where: jax.Array | None, whole: Spread) -> jax.Array:
    """Subtracts the mean and divides by the standard deviation, both of the minibatch and over the entries where ``where`` holds.

    A minibatch in which a single step counts would have advantages of 0 alone, so that nothing is learned from it: it is
    standardised by the whole batch, as Yu et al. (2022) do throughout.

    Args:
        advantage: float32[L, B], or float32[L, B, N] with agents.
        where: bool, shaped as advantage, or None for all entries.
        whole: of the batch that the minibatch was taken from.
    """
    by_batch = (advantage - whole.mean) / (whole.deviation + 1e-8)
    if where is None:
        several = advantage.shape[0] * advantage.shape[1] > 1
        return (advantage - advantage.mean()) / (advantage.std() + 1e-8) if several else by_batch
    centred = advantage - mean(advantage, where)
    by_minibatch = centred / (jnp.sqrt(mean(jnp.square(centred), where)) + 1e-8)
    steps = where.reshape(*advantage.shape[:2], -1).any(-1).sum()
    return jnp.where(steps > 1, by_minibatch, by_batch)
