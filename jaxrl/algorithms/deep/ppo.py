"""Proximal policy optimisation with the clipped objective: discrete, continuous or nested actions, feed-forward or recurrent.

    repeat
        collect T steps in each of E environments with the current policy
        estimate advantages by generalised advantage estimation
        for K epochs, for each minibatch, while KL(old || new) of the minibatch is at most target_kl: one Adam step on
            L(theta) = E[min(r A, clip(r, 1 - eps, 1 + eps) A)] - c_v (V - V_target)^2 + c_e entropy

with r the probability ratio of the new to the old policy. With one step in each repetition, r is 1 and the gradient of r A is
A grad log pi: this is the advantage actor-critic (A2C), a preset here. On request the gain of step t of an episode is weighted
by gamma^t, or by its Taylor expansion in the discount towards a larger one.

Source: Schulman et al. (2017), equations 7 and 9, algorithm 1; advantages: Schulman et al. (2016), equation 16; A2C: Mnih et al.
(2016), algorithm S3, and Huang et al. (2022), "A2C is a special case of PPO"; Beta policies: Chou et al. (2017);
attention as memory: Parisotto et al. (2020); weights of steps: Tang et al. (2021), section 5.
The defaults are those of the Atari experiments as commonly applied to control (Huang et al. 2022, "37 implementation details").
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import advantages, distributions, losses, moments, networks, optimisers, policies, sequences
from jaxrl.blocks.returns import generalized_advantage, taylor_weights
from jaxrl.blocks.successors import successor_values
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm, epochs_of_minibatches
from jaxrl.core.averages import average, pooled
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.spaces import Discrete
from jaxrl.errors import (
    require,
    require_at_most,
    require_between,
    require_count,
    require_counts,
    require_numbers,
    require_positive,
)


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
    penalty_coef: float = 0.0  # weight of the penalty, where there is one
    # The divergence from the policy that collected the data beyond which an update makes no further step, in nats. None, not
    # infinity, is the default: it leaves the test out of the program, and numbers can still be swept without compiling again.
    target_kl: float | None = None
    taylor_gamma: float = 1.0  # g' in [gamma, 1], the discount towards which the weights of steps are expanded
    # K, the order of that expansion: what step t of an episode gains counts with ``returns.taylor_weights``; for K = 0 that is
    # gamma^t, as the gradient of the discounted return has it. None weighs all steps alike, as is common.
    taylor_order: int | None = static(default=None)
    num_envs: int = static(default=4)  # environments side by side (count)
    num_steps: int = static(default=128)  # of each environment in one update (count)
    num_epochs: int = static(default=4)  # passes over the collected steps (count)
    num_minibatches: int = static(default=4)  # in each pass (count); must divide the steps, or num_envs with memory
    hidden: tuple[int, ...] = static(default=(64, 64))  # layer sizes of the actor and of the critic
    activation: str = static(default="tanh")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    memory_size: int = static(default=0)  # of the memory that actor and critic share; 0 for a feed-forward policy
    memory: str = static(default="gru")  # what it is: gru, or attention (GTrXL) to the last steps of the episode
    memory_length: int = static(default=32)  # of attention: steps that a layer looks back (count)
    memory_heads: int = static(default=4)  # of attention: heads of a layer (count); must divide memory_size
    memory_layers: int = static(default=1)  # of attention: layers (count); each looks back from where the one before did
    policy_head: str = static(default="gaussian")  # over Box actions; with bounds also tanh_gaussian or beta
    # A network of your own in place of these layers, one each for actor and critic: (observation_space, num_outputs) -> flax
    # module; see jaxrl.blocks.networks.
    network: Callable | None = static(default=None)
    # A function of the parameters of actor and critic, (params) -> float32[], such as networks.relaxation_penalty: penalty_coef
    # times it is added to the loss.
    penalty: Callable | None = static(default=None)
    # Whether the change of the value estimate is limited as well. Where values are large (CartPole's are near 100), an
    # unclipped critic's gradient fills the gradient norm that actor and critic share, and the policy stops improving.
    clip_value: bool = static(default=True)  # by clip_eps, as the ratio
    normalize_advantage: bool = static(default=True)  # to mean 0 and deviation 1 in every minibatch
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
        require_single_agent(self.name, env)
        self.validate_learner(env)

    def validate_learner(self, env: Environment) -> None:
        """As ``validate``, whatever the number of agents."""
        where = self.name
        distributions.require_action_space(where, env.action_space, self.policy_head)
        networks.require_layers(where, self, env.observation_space, "memory_size")
        networks.require_memory(where, self)
        require_counts(where, self, "num_envs", "num_steps", "num_epochs", "num_minibatches")
        require_numbers(where, self, "anneal_updates", "clip_eps", "max_grad_norm", "target_kl")
        require_between(where, self, 0, 1, "gamma", "gae_lambda")
        require_between(where, self, 0, float("inf"), "vf_coef", "penalty_coef")
        if self.taylor_order is not None:
            require_count(where, "taylor_order", self.taylor_order, 0)
            require_between(where, self, 0, 1, "taylor_gamma")
            require_positive(where, self, "gamma")
            require_at_most(where, self, "gamma", "taylor_gamma")
        target = () if self.target_kl is None else ("target_kl",)
        require_positive(where, self, "learning_rate", "anneal_updates", "clip_eps", "max_grad_norm", *target)
        must = "num_envs * num_steps must be at least 2: an advantage is good or bad beside others"
        enough = self.steps_per_update >= 2 or not self.normalize_advantage
        require(enough, where, must, self.steps_per_update, "Set num_steps=128.")
        sequences.require_minibatches(where, self)


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

# Mnih et al. (2016): one step on the n-step returns of a short block. Adam takes the place of their RMSProp.
A2C = Config(
    learning_rate=7e-4,
    gae_lambda=1.0,
    clip_eps=jnp.inf,
    num_envs=16,
    num_steps=5,
    num_epochs=1,
    num_minibatches=1,
    clip_value=False,
    normalize_advantage=False,
)


@struct.dataclass
class State:
    """The parameters, and the progress of the training.

    params, opt_state: of actor and critic.
    observations: running moments of the observations, or None. rewards: running scale of the discounted return, or None.
    values: running moments of the value targets, or None.
    episodes: E environments under way.
    """

    params: PyTree
    opt_state: PyTree
    observations: moments.Moments | None
    rewards: moments.RewardScaling | None
    values: moments.Moments | None
    episodes: rollout.Episode


class Experience(NamedTuple):
    """Steps to be trained on, leaves [T, E, ...]. value, target: in the units of the critic. weight: None for 1."""

    obs: PyTree
    raw_action: PyTree
    mask: PyTree
    first: jax.Array
    log_prob: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array
    weight: jax.Array | None


def make(env: Environment, config: Config) -> Algorithm:
    """Builds PPO on an environment."""
    network = networks.actor_critic(env, config)
    memory = network.initial_memory()

    def init(key):
        network_key, episode_key = jax.random.split(key)
        episodes = rollout.start(episode_key, env, config.num_envs, memory)
        one_step, first = jax.tree.map(lambda leaf: leaf[None], episodes.obs), jnp.zeros((1, config.num_envs), bool)
        params = network.init(network_key, one_step, first, episodes.memory)
        one_obs = jax.tree.map(lambda leaf: leaf[0], episodes.obs)
        observations = moments.init(one_obs) if config.normalize_observation else None
        rewards = moments.init_reward_scaling(config.num_envs) if config.normalize_reward else None
        values = moments.init(jnp.float32(0.0)) if config.normalize_value else None
        return State(params, optimisers.annealed_adam(config).init(params), observations, rewards, values, episodes)

    def act(state, obs, first, memory):
        obs = moments.normalize_observation(state.observations, obs, env.observation_space)
        return network.apply(state.params, obs, first, memory, method="act")

    def policy(state, greedy):
        choose = policies.mode if greedy else policies.sample
        return policies.behaviour(partial(act, state), env.action_space, choose, config.policy_head)

    def update(state, key):
        rollout_key, order_key = jax.random.split(key)
        # Collect T steps in each of E environments with the current policy.
        episodes, batch = rollout.unroll(rollout_key, env, policy(state, False), state.episodes, config.num_steps)
        # Estimate advantages.
        state, experience = estimate(network, config, env.max_steps, state, batch)
        # For K epochs, for each minibatch: one Adam step on L(theta).
        objective = partial(loss, network, config, advantages.spread(experience.advantage))
        data = sequences.cut(experience, state.episodes.memory, recurrent=config.memory_size > 0)
        (params, opt_state), metrics = optimise(order_key, config, objective, (state.params, state.opt_state), data)
        state = replace(state, params=params, opt_state=opt_state, episodes=episodes)
        return state, metrics | rollout.episode_metrics(batch)

    def probabilities(state, view):
        return policies.action_probabilities(partial(act, state), env.action_space, view)

    exact = isinstance(env.action_space, Discrete) and not config.memory_size
    return Algorithm(init, update, policy, memory, probabilities if exact else None)


def estimate(
    network: networks.ActorCritic, config: Config, max_steps: int, state: State, batch: rollout.Transition
) -> tuple[State, Experience]:
    """Estimates the advantages of a block by generalised advantage estimation (Schulman et al. 2016, equation 16).

    Args:
        network: actor and critic.
        config: hyper-parameters.
        max_steps: the time limit of the environment.
        state: as it was when the block was collected.
        batch: Transition[T, E, ...].

    Returns:
        The state with its running moments moved on, and the training data. The moments of this block are used from the next one
        on: the policy is trained on what it acted on.
    """
    normalize, space, first = moments.normalize_observation, network.observation_space, batch.t == 0
    raw_action, outputs = batch.extras["raw_action"], batch.extras["outputs"]
    log_prob = network.distribution(outputs, batch.mask).log_prob(raw_action)
    obs = normalize(state.observations, batch.obs, space)
    output, memories = network.apply(state.params, obs, first, state.episodes.memory, method="assess")
    value = moments.denormalize(state.values, output)

    def critic(successors):
        next_obs, memory = successors
        next_obs = normalize(state.observations, next_obs, space)
        return moments.denormalize(state.values, network.apply(state.params, next_obs, memory, method="assess_next"))

    next_value = successor_values(value, (batch.next_obs, memories), critic, batch.truncated, max_steps)
    observations = moments.update(state.observations, batch.obs)
    rewards, reward = moments.scale_rewards(state.rewards, batch.reward, batch.done, config.gamma)
    ends = batch.terminated, batch.truncated
    advantage = generalized_advantage(reward, value, next_value, *ends, config.gamma, config.gae_lambda)
    target = advantage + value
    values = moments.update(state.values, target)
    target = moments.normalize(values, target, clip=jnp.inf)
    state = replace(state, observations=observations, rewards=rewards, values=values)
    order = config.taylor_order
    weight = None if order is None else taylor_weights(batch.t, config.gamma, config.taylor_gamma, order)
    return state, Experience(obs, raw_action, batch.mask, first, log_prob, output, advantage, target, weight)


def loss(
    network: networks.ActorCritic, config: Config, batch_spread: advantages.Spread, params: PyTree, minibatch: sequences.Sequences
) -> tuple[jax.Array, dict]:
    """Returns minus the objective of a minibatch (Schulman et al. 2017, equation 9) and metrics of it.

    Args:
        network: actor and critic.
        config: hyper-parameters.
        batch_spread: of the advantages of the batch that the minibatch was taken from.
        params: of the network.
        minibatch: of Experience.
    """
    steps = sequences.by_time(minibatch)
    apply: Any = network.apply
    outputs, value = apply(params, steps.obs, steps.first, minibatch.memory)
    policy = network.distribution(outputs, steps.mask)
    log_ratio, entropy = policy.log_prob(steps.raw_action) - steps.log_prob, policy.entropy()
    advantage = advantages.standardize(steps.advantage, batch_spread) if config.normalize_advantage else steps.advantage
    policy_loss = losses.clipped_surrogate_loss(log_ratio, advantage, config.clip_eps)  # equation 7
    policy_loss = policy_loss if steps.weight is None else steps.weight * policy_loss
    if config.clip_value:
        value_loss = losses.clipped_value_loss(value, steps.value, steps.target, config.clip_eps).mean()
    else:
        value_loss = losses.squared_value_loss(value, steps.target).mean()
    total = policy_loss.mean() + config.vf_coef * value_loss - config.ent_coef * entropy.mean()  # equation 9
    return total, {
        "policy_loss": average(policy_loss),
        "value_loss": value_loss,
        "entropy": average(entropy),
        "approximate_kl": average(losses.kl_k3(log_ratio)),
        "clip_fraction": average(jnp.abs(jnp.expm1(log_ratio)) > config.clip_eps),
    }


def optimise(
    key: jax.Array, config: Config, objective: Callable, carry: tuple[PyTree, PyTree], data: sequences.Sequences
) -> tuple[tuple[PyTree, PyTree], dict]:
    """Makes one Adam step for each minibatch of each epoch, as long as the policy is near the one that collected the data.

    Args:
        key: for the order of the data.
        config: hyper-parameters.
        objective: ``(params, minibatch) -> (loss, metrics)``, as ``loss``.
        carry: the parameters and the state of their optimiser.
        data: sequences of Experience.

    Returns:
        The carry after all steps, and the metrics over the minibatches; with ``target_kl`` over those up to the first that is
        too far, and ``gradient_steps``, float32[]: how many steps were made.
    """
    if config.penalty is not None:
        objective = optimisers.penalised(objective, config.penalty, config.penalty_coef)
    step = optimisers.gradient_step(objective, optimisers.annealed_adam(config))
    if config.target_kl is None:
        carry, metrics = epochs_of_minibatches(key, step, carry, data, config.num_epochs, config.num_minibatches)
        return carry, pooled(metrics)
    within = optimisers.steps_within(step, config.target_kl)
    start = carry, jnp.bool_(True)
    (carry, _), metrics = epochs_of_minibatches(key, within, start, data, config.num_epochs, config.num_minibatches)
    gradient_steps = metrics.pop("gradient_steps").sum()
    return carry, pooled(metrics) | {"gradient_steps": gradient_steps}
