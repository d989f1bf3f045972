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

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl import distributions, moments, rollout
from jaxrl.algorithm import Algorithm, epochs_of_minibatches
from jaxrl.env import Environment, PyTree, static
from jaxrl.errors import ConfigError, SpaceError, require, require_between, require_counts, require_positive
from jaxrl.losses import clipped_surrogate_loss, clipped_value_loss, kl_k3, squared_value_loss
from jaxrl.moments import Moments, RewardScaling
from jaxrl.networks import ActorCritic, activation
from jaxrl.returns import generalized_advantage
from jaxrl.rollout import Decision, Episode
from jaxrl.spaces import Box, Discrete


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers and names set shapes: they do."""

    learning_rate: float = 2.5e-4  # of Adam, falling linearly to 0 over anneal_updates
    anneal_updates: float = jnp.inf  # updates until the learning rate is 0; infinite keeps it constant
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

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require(
            isinstance(env.action_space, (Discrete, Box)),
            "ppo",
            "the action space must be Discrete or Box",
            env.action_space,
            "Flatten it.",
            SpaceError,
        )
        if isinstance(env.action_space, Box):
            limits = env.action_space
            one_sided = not limits.bounded and not (jnp.isinf(limits.low).all() and jnp.isinf(limits.high).all())
            require(
                not one_sided,
                "ppo",
                "a Box action must be bounded or unbounded as a whole",
                limits,
                "Bound every entry.",
                SpaceError,
            )
        require(
            env.num_agents is None,
            "ppo",
            "the environment must have no agent axis",
            env.num_agents,
            "Use a multi-agent algorithm.",
        )
        if self.channels:
            image = isinstance(env.observation_space, Box) and len(env.observation_space.shape) == 3
            require(
                image,
                "ppo",
                "channels need observations of shape [H, W, C]",
                env.observation_space,
                "Set channels=().",
                SpaceError,
            )
        require_counts("ppo", self, "num_envs", "num_steps", "num_epochs", "num_minibatches")
        require_between("ppo", self, 0, 1, "gamma", "gae_lambda")
        require_positive("ppo", self, "learning_rate", "anneal_updates", "clip_eps", "max_grad_norm")
        require(len(self.hidden) >= 1, "ppo", "hidden must name at least one layer", self.hidden, "(64, 64) is common.")
        activation(self.activation)
        count, unit = (self.num_envs, "num_envs") if self.memory_size else (self.steps_per_update, "num_envs * num_steps")
        if count % self.num_minibatches:
            fits = max(d for d in range(1, self.num_minibatches + 1) if count % d == 0)
            raise ConfigError(
                f"ppo: {unit} ({count}) must be divisible by num_minibatches, got {self.num_minibatches}. Try {fits}."
            )


@struct.dataclass
class State:
    """params, opt_state: of actor and critic. episodes: E environments under way.

    observations: running moments of what was observed, or None. rewards: running scale of the discounted return, or None.
    """

    params: PyTree
    opt_state: PyTree
    episodes: Episode
    observations: Moments | None
    rewards: RewardScaling | None


@struct.dataclass
class Sequences:
    """Training data: B sequences of L steps; L is the whole block for a recurrent policy and 1 otherwise. Leaves [B, L, ...].

    memory: PyTree[B, ...], before the first step.
    """

    obs: PyTree
    raw_action: jax.Array
    mask: jax.Array | None
    first: jax.Array
    log_prob: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array
    memory: PyTree


def make(env: Environment, config: Config) -> Algorithm:
    """Builds PPO on an environment."""
    network = ActorCritic(
        env.observation_space, env.action_space, config.hidden, config.activation, config.channels, config.memory_size
    )
    memory = network.initial_memory()
    features: Any = partial(network.apply, method="features")
    head: Any = partial(network.apply, method="head")
    value_of: Any = partial(network.apply, method="value")

    steps_per_anneal = config.anneal_updates * config.num_epochs * config.num_minibatches
    # One vector instead of a tree of small arrays: Adam then is a handful of kernels, which makes PPO on CartPole 6 % faster.
    optimiser = optax.flatten(
        optax.chain(
            optax.clip_by_global_norm(config.max_grad_norm),
            optax.adam(lambda count: config.learning_rate * jnp.maximum(0.0, 1.0 - count / steps_per_anneal), eps=1e-5),
        )
    )

    def distribution(outputs, mask) -> Any:
        if isinstance(env.action_space, Discrete):
            return distributions.categorical(outputs, mask)
        return distributions.diagonal_gaussian(*outputs)

    def to_action(raw):
        """What the environment is given: a bounded Box takes the raw action cut to [-1, 1] and scaled to its bounds."""
        space = env.action_space
        if not isinstance(space, Box):
            return raw
        raw = raw.reshape(*raw.shape[:-1], *space.shape)
        if not space.bounded:
            return raw
        low, high = jnp.asarray(space.low, jnp.float32), jnp.asarray(space.high, jnp.float32)
        return low + (jnp.clip(raw, -1.0, 1.0) + 1.0) / 2.0 * (high - low)

    def behaviour(state, choose):
        """The policy of ``state`` for a batch of environments: one step of a sequence."""

        def act(key, view):
            obs = jax.tree.map(lambda leaf: leaf[None], normalised(state, view.obs))
            # The rollout zeroes the memory itself where an episode ends, so no step is a first one here.
            first = jnp.zeros((1, jax.tree.leaves(view.obs)[0].shape[0]), bool)
            hidden, memories = features(state.params, obs, first, view.memory)
            outputs = head(state.params, hidden[0])
            raw = choose(distribution(outputs, view.mask), key)
            after = jax.tree.map(lambda leaf: leaf[0], memories) if config.memory_size else ()
            return Decision(to_action(raw), {"raw_action": raw, "outputs": outputs}, after)

        return act

    def sample(distribution, key):
        return distribution.sample(seed=key)

    def normalised(state, obs):
        """Discrete parts of an observation are classes, not quantities: they stay as they are."""
        if not config.normalize_observation:
            return obs
        scaled = moments.normalize(state.observations, obs)
        return jax.tree.map(lambda raw, new: new if jnp.issubdtype(raw.dtype, jnp.floating) else raw, obs, scaled)

    def init(key):
        network_key, episode_key = jax.random.split(key)
        episodes = rollout.start(episode_key, env, config.num_envs, memory)
        obs = jax.tree.map(lambda leaf: leaf[None], episodes.obs)
        params = network.init(network_key, obs, jnp.zeros((1, config.num_envs), bool), episodes.memory)
        return State(
            params,
            optimiser.init(params),
            episodes,
            moments.init(jax.tree.map(lambda leaf: leaf[0], episodes.obs)) if config.normalize_observation else None,
            moments.init_reward_scaling(config.num_envs) if config.normalize_reward else None,
        )

    def loss(params, batch):
        time_major = partial(jax.tree.map, lambda leaf: jnp.swapaxes(leaf, 0, 1))
        hidden, _ = features(params, time_major(batch.obs), time_major(batch.first), batch.memory)
        policy = distribution(head(params, hidden), time_major(batch.mask))
        log_ratio = policy.log_prob(time_major(batch.raw_action)) - time_major(batch.log_prob)
        advantage = time_major(batch.advantage)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        value, target = value_of(params, hidden), time_major(batch.target)
        policy_loss = clipped_surrogate_loss(log_ratio, advantage, config.clip_eps).mean()
        if config.clip_value:
            value_loss = clipped_value_loss(value, time_major(batch.value), target, config.clip_eps).mean()
        else:
            value_loss = squared_value_loss(value, target).mean()
        entropy = policy.entropy().mean()
        total = policy_loss + config.vf_coef * value_loss - config.ent_coef * entropy
        return total, {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approximate_kl": kl_k3(log_ratio).mean(),
            "clip_fraction": (jnp.abs(jnp.expm1(log_ratio)) > config.clip_eps).mean(),
        }

    def gradient_step(carry, batch):
        params, opt_state = carry
        gradient, metrics = jax.grad(loss, has_aux=True)(params, batch)
        updates, opt_state = optimiser.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), metrics

    def update(state, key):
        rollout_key, order_key = jax.random.split(key)
        memory_before = state.episodes.memory
        episodes, batch = rollout.unroll(rollout_key, env, behaviour(state, sample), state.episodes, config.num_steps)

        # What the old policy and critic say of the block.
        raw_action, outputs = batch.extras["raw_action"], batch.extras["outputs"]
        log_prob = distribution(outputs, batch.mask).log_prob(raw_action)
        obs, first = normalised(state, batch.obs), batch.t == 0
        hidden, memories = features(state.params, obs, first, memory_before)
        value = value_of(state.params, hidden)
        next_value = successor_value(state, batch, value, memories)

        # The moments of this block are used from the next one on: the policy is trained on what it acted on.
        observations, rewards, reward = state.observations, state.rewards, batch.reward
        if config.normalize_observation:
            observations = moments.update(observations, batch.obs)
        if config.normalize_reward:
            rewards, reward = moments.scale_rewards(rewards, reward, batch.done, config.gamma)

        advantage = jax.vmap(generalized_advantage, in_axes=(1, 1, 1, 1, 1, None, None), out_axes=1)(
            reward, value, next_value, batch.terminated, batch.truncated, config.gamma, config.gae_lambda
        )
        data = Sequences(obs, raw_action, batch.mask, first, log_prob, value, advantage, advantage + value, memory_before)
        (params, opt_state), metrics = epochs_of_minibatches(
            order_key,
            gradient_step,
            (state.params, state.opt_state),
            as_sequences(data),
            config.num_epochs,
            config.num_minibatches,
        )
        metrics = jax.tree.map(jnp.mean, metrics) | rollout.episode_metrics(batch)
        return State(params, opt_state, episodes, observations, rewards), metrics

    def successor_value(state, batch, value, memories):
        """V(next_obs) [T, E], each from the memory that has taken in the observation before.

        Within an episode that is the value of the next step. The critic must look again only at the last step, and where the
        time limit cut an episode: in one environment that can happen only once in max_steps.
        """
        last = config.num_steps - 1
        cuts = min(1 + last // env.max_steps, last)
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
        obs = jax.tree.map(lambda leaf: leaf[None], normalised(state, flat(batch.next_obs)))
        memory = flat(memories) if config.memory_size else ()
        hidden, _ = features(state.params, obs, jnp.zeros((1, index.size), bool), memory)
        return jnp.roll(value, -1, axis=0).at[place].set(value_of(state.params, hidden).reshape(index.shape))

    def as_sequences(data):
        """Cuts the block [T, E, ...] into sequences [B, L, ...]: whole ones for a recurrent policy, else single steps."""
        if config.memory_size:
            by_time = data.replace(memory=())
            return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), by_time).replace(memory=data.memory)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), data)

    def policy(state, greedy):
        return behaviour(state, (lambda distribution, key: distribution.mode()) if greedy else sample)

    def probabilities(state, view):
        obs = jax.tree.map(lambda leaf: leaf[None], normalised(state, view.obs))
        hidden, _ = features(state.params, obs, None, view.memory)
        return distribution(head(state.params, hidden[0]), view.mask).probs

    exact = isinstance(env.action_space, Discrete) and not config.memory_size
    return Algorithm(init, update, policy, memory, probabilities if exact else None)
