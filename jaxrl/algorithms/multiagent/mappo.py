"""Multi-agent proximal policy optimisation: PPO for N agents, with a central critic (MAPPO) or each with its own (IPPO).

    repeat
        collect T steps in each of E environments, every agent acting on its own observation
        estimate every agent's advantages, by a critic that sees the global observation (IPPO: the agent's own)
        for K epochs, for each minibatch of joint steps: one Adam step on
            L(theta) = E_active[min(r A, clip(r, 1 - eps, 1 + eps) A) + c_e entropy] - c_v E[(V - V_target)^2]

with r the probability ratio of the new to the old policy of an agent, V and V_target in units of the running moments of the
targets, and E_active the mean over the steps at which an agent had a choice.

Acting is decentralised: only the critic sees more, and only while training. The agents share one network (``agent_ids`` tells
them apart), or each has its own, trained on its own rewards beside the others. Unequal agents have ``roles``: those of one role
share actor and critic, and what they observe and do may be of another size than with other roles, padded and masked.

The central critic sees ``env.global_obs`` or, where the environment has none, the observations of all agents, one after another.
With shared parameters it looks once and gives one value for each agent, so that agents may be paid differently.

An agent that has no choice, because its row of the action mask leaves one action, is inactive: dead, waiting, or not to move.
Such steps are left out of its policy's loss, entropy and advantage statistics. They stay in the value loss: whatever the agent
is still paid counts. An environment says that an agent is inactive by leaving it one action, one integer for every choice of a
nested one; continuous actions have no masks, so that who takes them is always active.

With one agent, and without value normalisation, this is PPO, bit for bit.

Source: Yu et al. (2022), "The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games", algorithm 1; de Witt et al.
(2020) for independent critics; bounded rationality: Evans and Ganesh (2024), "Learning and Calibrating Heterogeneous Bounded
Rational Market Behaviour with Multi-Agent Reinforcement Learning".
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.algorithms.deep import ppo
from jaxrl.blocks import advantages, agents, moments, optimisers, policies, sequences
from jaxrl.blocks.advantages import Spread, masked_mean
from jaxrl.blocks.losses import clipped_surrogate_loss, clipped_value_loss, kl_k3, squared_value_loss
from jaxrl.blocks.moments import Moments, RewardScaling
from jaxrl.blocks.networks import ActorCritic, actor_critic
from jaxrl.blocks.returns import generalized_advantage
from jaxrl.blocks.sequences import Sequences
from jaxrl.blocks.successors import successor_values
from jaxrl.core import masks, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import average, pooled
from jaxrl.core.config import require_agents
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode, Transition
from jaxrl.core.spaces import Dict, Discrete, joint
from jaxrl.errors import require


@struct.dataclass
class Config(ppo.Config):
    """Those of PPO, and how the agents are related. ``num_minibatches`` cuts joint steps: all agents of a step stay together.

    Where the defaults differ from PPO's they are those of Yu et al. (2022) for the particle world, in fewer environments.
    """

    learning_rate: float = 7e-4  # of Adam, falling linearly to 0 over anneal_updates
    vf_coef: float = 1.0  # weight of the value loss, in units of the normalised return
    max_grad_norm: float = 10.0  # the global norm of the gradient is cut to this
    num_envs: int = static(default=16)  # environments side by side (count)
    centralized: bool = static(default=True)  # MAPPO: the critic sees the global observation; False: IPPO, its own
    shared_parameters: bool = static(default=True)  # one network for all agents; False: each its own
    # A role for each agent, or "environment": those that it names. Agents of one role share, others do not. None: see above.
    roles: tuple[int, ...] | str | None = static(default=None)
    agent_ids: bool = static(default=False)  # append the agent's number, one-hot, to its observation (shared parameters)
    normalize_value: bool = static(default=True)  # the critic is fitted to targets in units of their running moments

    # Bounded rationality: the entropy of an agent counts ent_coef times the temperature that it observes; see ``loss``.
    bounded: bool = static(default=False)

    name: ClassVar[str] = "mappo"

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_agents(self.name, env, "Use jaxrl.algorithms.deep.ppo.")
        agents.require_ids(self.name, self)
        agents.require_roles(self.name, env, self)
        known, must = self.network is None or not self.agent_ids, "a network of your own must come without agent_ids"
        require(known, self.name, must, "agent_ids=True", "Put the agent's number into the observation.")
        if self.bounded:
            space = env.observation_space
            seen = [name for name, _ in space.items] if isinstance(space, Dict) else []
            must, fix = "bounded agents must observe their log_temperature", "Use jaxrl.core.transforms.with_temperature."
            require("log_temperature" in seen, self.name, must, seen, fix)
            must = "normalize_observation must be False with bounded: the temperature is read from the observation"
            require(not self.normalize_observation, self.name, must, True, "Set normalize_observation=False.")
        must, fix = "taylor_order must be None: the steps of all agents count alike", "Set taylor_order=None."
        require(self.taylor_order is None, self.name, must, self.taylor_order, fix)
        self.validate_learner(env)


@struct.dataclass
class Learner:
    """The parameters: for all agents, or for one of them.

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
    """learner: of all agents; with networks of their own, every leaf has a leading axis N; with roles, a tuple of one for each.

    episodes: E environments under way.
    """

    learner: Any
    episodes: Episode

    @property
    def params(self) -> PyTree:
        """The parameters of actor and critic, with roles a tuple of those of each."""
        return tuple(one.params for one in self.learner) if isinstance(self.learner, tuple) else self.learner.params


class Experience(NamedTuple):
    """Steps to be trained on, leaves [T, E, ...] or [T, E, N, ...]. value, target: in the units of the critic."""

    obs: PyTree
    global_obs: jax.Array | None
    raw_action: PyTree
    mask: PyTree
    first: jax.Array
    log_prob: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array


class Learning(NamedTuple):
    """The functions of a learner, for all agents at once, or for each agent beside the others.

    init: ``(key, obs, memory, global_obs) -> Learner``, from the first observations [E, N, ...] and memories of the agents, and
        float32[E, G] or None; with networks of their own, the keys are key[N], with roles key[R].
    act: ``(learner, obs, first, memory) -> (outputs, memories)``, as ``ActorCritic.act``.
    learn: ``(learner, batch, memory, key) -> (learner, metrics)``: one update from the Transition [T, E, N, ...] that followed
        the memory [E, N, ...].
    """

    init: Callable
    act: Callable
    learn: Callable


def make(env: Environment, config: Config) -> Algorithm:
    """Builds MAPPO or IPPO on an environment with agents. The policy's actions are [E, N, ...]."""
    num_agents = env.num_agents or 1
    network, learning = learners(env, config)
    memory = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_agents, *leaf.shape)), network.initial_memory())

    def init(key):
        network_key, episode_key = jax.random.split(key)
        episodes = rollout.start(episode_key, env, config.num_envs, memory)
        roles = agents.roles_of(env, config)
        keys = network_key if roles is None else jax.random.split(network_key, len(set(roles)))
        global_obs = None
        if config.centralized and env.global_obs_fn:
            global_obs = jax.vmap(env.global_obs)(episodes.state)
        elif config.centralized:
            global_obs = joint(env.observation_space, episodes.obs)
        return State(learning.init(keys, episodes.obs, episodes.memory, global_obs), episodes)

    def policy(state, greedy):
        choose: Any = policies.mode if greedy else policies.sample
        return policies.behaviour(partial(learning.act, state.learner), env.action_space, choose, config.policy_head)

    def update(state, key):
        rollout_key, order_key = jax.random.split(key)
        # Collect T steps in each of E environments, every agent acting on its own observation.
        episodes, batch = rollout.unroll(rollout_key, env, policy(state, False), state.episodes, config.num_steps)
        # Estimate advantages and train actor and critic: for all agents at once, or for each agent beside the others.
        seen = seen_by_critic(env, config, batch)
        learner, metrics = learning.learn(state.learner, seen, state.episodes.memory, order_key)
        return State(learner, episodes), pooled(metrics) | rollout.episode_metrics(batch)

    def probabilities(state, view):
        return policies.action_probabilities(partial(learning.act, state.learner), env.action_space, view)

    exact = isinstance(env.action_space, Discrete) and not config.memory_size
    return Algorithm(init, update, policy, memory, probabilities if exact else None)


def seen_by_critic(env: Environment, config: Config, batch: Transition) -> Transition:
    """Gives a block the global observations that a central critic sees, or none."""
    if not config.centralized:
        return batch._replace(global_obs=None, next_global_obs=None)
    now, later = agents.global_observations(env, batch)
    return batch._replace(global_obs=now, next_global_obs=later)


def learners(env: Environment, config: Config) -> tuple[ActorCritic, Learning]:
    """Builds the network and what is done with it: for all agents at once, or for each agent beside the others."""
    num_agents, roles = env.num_agents or 1, agents.roles_of(env, config)
    if roles is None:
        return sharing(env, config, num_agents)
    if not agents.all_differ(roles):
        members = [np.flatnonzero(np.array(roles) == role) for role in range(len(set(roles)))]
        networks, learnings = zip(*(sharing(env, config, len(those)) for those in members), strict=True)
        return networks[0], by_role(learnings, members)
    network, alone = sharing(env, config, None)
    return network, Learning(
        init=jax.vmap(alone.init, in_axes=(0, 1, 1, None)),
        act=jax.vmap(alone.act, in_axes=(0, 2, None, 1), out_axes=2),
        learn=jax.vmap(alone.learn, in_axes=(0, agents.transition_axes(2), 1, None)),
    )


def sharing(env: Environment, config: Config, count: int | None) -> tuple[ActorCritic, Learning]:
    """Builds the network and learner of agents that share them. count: how many they are; None for one without an axis."""
    network = actor_critic(
        env,
        config,
        agent_ids=(count or 1) if config.agent_ids else 0,
        centralized=config.centralized,
        num_values=count if config.centralized else None,
    )
    first = partial(start, network, config, (config.num_envs,) if count is None else (config.num_envs, count))
    return network, Learning(first, partial(act, network), partial(learn, network, config, env.max_steps))


def by_role(learnings: Sequence[Learning], members: Sequence[np.ndarray]) -> Learning:
    """Returns the learning of all agents as that of each role beside the others: their learners in a tuple.

    members: int[n], the agents of each role.
    """
    back = np.argsort(np.concatenate(members))

    def of(tree: PyTree, those: np.ndarray, axis: int) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.take(leaf, those, axis), tree)

    def init(keys, obs, memory, global_obs):
        each = enumerate(zip(learnings, members, strict=True))
        return tuple(one.init(keys[role], of(obs, those, 1), of(memory, those, 1), global_obs) for role, (one, those) in each)

    def act(learners, obs, first, memory):
        each = zip(learnings, learners, members, strict=True)
        found = [one.act(learner, of(obs, those, 2), first, of(memory, those, 1)) for one, learner, those in each]
        return jax.tree.map(lambda *leaves: jnp.take(jnp.concatenate(leaves, 2), back, 2), *found)

    def learn(learners, batch, memory, key):
        each = zip(learnings, learners, members, strict=True)
        done = [one.learn(learner, agents.steps_of(batch, those, 2), of(memory, those, 1), key) for one, learner, those in each]
        return tuple(learner for learner, _ in done), jax.tree.map(lambda *leaves: jnp.stack(leaves), *(m for _, m in done))

    return Learning(init, act, learn)


def start(
    network: ActorCritic,
    config: Config,
    shape: tuple[int, ...],
    key: jax.Array,
    obs: PyTree,
    memory: PyTree,
    global_obs: jax.Array | None,
) -> Learner:
    """Returns a learner that has learned nothing. shape: of the rewards of a step. The other arguments: see ``Learning``."""
    critic_memory: Any = ()
    if config.centralized and config.memory_size:
        critic_memory = jax.tree.map(lambda leaf: jnp.stack([leaf] * config.num_envs), network.initial_memory())
    one_step = jax.tree.map(lambda leaf: leaf[None], (obs, global_obs))
    params = network.init(key, one_step[0], jnp.zeros((1, config.num_envs), bool), memory, one_step[1], critic_memory)
    one_obs = jax.tree.map(lambda leaf: leaf[(0,) * len(shape)], obs)
    return Learner(
        params,
        optimisers.annealed_adam(config).init(params),
        moments.init(one_obs) if config.normalize_observation else None,
        moments.init(global_obs[0]) if config.normalize_observation and global_obs is not None else None,
        moments.init_reward_scaling(*shape) if config.normalize_reward else None,
        moments.init(jnp.float32(0.0)) if config.normalize_value else None,
        critic_memory,
    )


def act(network: ActorCritic, learner: Learner, obs: PyTree, first: jax.Array, memory: PyTree) -> tuple[PyTree, PyTree]:
    """Returns the parameters of the action distributions and the memories; see ``ActorCritic.act``."""
    obs = moments.normalize_observation(learner.observations, obs, network.observation_space)
    return network.apply(learner.params, obs, first, memory, method="act")  # type: ignore[return-value]


def learn(
    network: ActorCritic, config: Config, max_steps: int, learner: Learner, batch: Transition, memory: PyTree, key: jax.Array
) -> tuple[Learner, dict]:
    """Makes one update from a block: advantages, then epochs of minibatches. Arguments: see ``Learning`` and ``estimate``."""
    critic_memory = learner.critic_memory  # () where the critic remembers what the actor does
    # Estimate every agent's advantages.
    learner, experience = estimate(network, config, max_steps, learner, batch, memory)
    # For K epochs, for each minibatch of joint steps: one Adam step on L(theta).
    spread = advantages.spread(experience.advantage, masks.active(network.action_space, experience.mask))
    data = sequences.cut(experience, (memory, critic_memory), recurrent=config.memory_size > 0)
    objective, carry = partial(loss, network, config, spread), (learner.params, learner.opt_state)
    (params, opt_state), metrics = ppo.optimise(key, config, objective, carry, data)
    return replace(learner, params=params, opt_state=opt_state), metrics


def estimate(
    network: ActorCritic, config: Config, max_steps: int, learner: Learner, batch: Transition, memory: PyTree
) -> tuple[Learner, Experience]:
    """Estimates every agent's advantages in a block, as PPO does, by a critic that may see the global observation.

    Args:
        network: actor and critic.
        config: hyper-parameters.
        max_steps: the time limit of the environment.
        learner: as it was when the block was collected.
        batch: Transition[T, E, N, ...], or [T, E, ...] of one agent.
        memory: of the actor before the block.

    Returns:
        The learner with its running moments and the memory of its critic moved on, and the training data.
    """
    space, first = network.observation_space, batch.t == 0
    raw_action, outputs = batch.extras["raw_action"], batch.extras["outputs"]
    log_prob = network.distribution(outputs, batch.mask).log_prob(raw_action)

    def normalized(obs, global_obs):
        own = moments.normalize_observation(learner.observations, obs, space)
        return own, moments.normalize(learner.global_observations, global_obs)

    obs, global_obs = normalized(batch.obs, batch.global_obs)
    critic_memory = learner.critic_memory if config.centralized else memory
    output, memories = network.apply(learner.params, obs, first, critic_memory, global_obs, method="assess")
    value = moments.denormalize(learner.values, output)

    def critic(successors):
        observed, memory = successors
        obs, global_obs = normalized(*observed)
        output = network.apply(learner.params, obs, memory, global_obs, method="assess_next")
        return moments.denormalize(learner.values, output)

    successors = (batch.next_obs, batch.next_global_obs), memories
    next_value = successor_values(value, successors, critic, batch.truncated, max_steps)
    terminated, truncated = (agents.of_every_agent(ends, batch.reward) for ends in (batch.terminated, batch.truncated))
    rewards, reward = moments.scale_rewards(learner.rewards, batch.reward, terminated | truncated, config.gamma)
    advantage = generalized_advantage(reward, value, next_value, terminated, truncated, config.gamma, config.gae_lambda)
    target = advantage + value
    values = moments.update(learner.values, target)
    learner = replace(
        learner,
        observations=moments.update(learner.observations, batch.obs),
        global_observations=moments.update(learner.global_observations, batch.global_obs),
        rewards=rewards,
        values=values,
        critic_memory=jax.tree.map(lambda leaf: leaf[-1], memories) if config.centralized else (),
    )
    target = moments.normalize(values, target, clip=jnp.inf)
    return learner, Experience(obs, global_obs, raw_action, batch.mask, first, log_prob, output, advantage, target)


def loss(
    network: ActorCritic, config: Config, batch_spread: Spread, params: PyTree, minibatch: Sequences
) -> tuple[jax.Array, dict]:
    """Returns minus L(theta) of a minibatch (Yu et al. 2022, appendix A) and metrics of it; see ``ppo.loss``.

    Steps at which an agent was inactive are left out of the policy's loss, its entropy and the statistics of the advantages, and
    stay in the value loss. Bounded agents maximise what they earn less a temperature, which they observe, times the divergence of
    their policy from the uniform one: up to a constant the temperature times the entropy. With ``ent_coef`` 1 and advantages in
    units of rewards, agents of one step who answer each other are in a logit equilibrium of precision 1 / temperature.
    """
    steps, (memory, critic_memory) = sequences.by_time(minibatch), minibatch.memory
    apply: Any = network.apply
    outputs, value = apply(params, steps.obs, steps.first, memory, steps.global_obs, critic_memory)
    policy = network.distribution(outputs, steps.mask)
    log_ratio, entropy = policy.log_prob(steps.raw_action) - steps.log_prob, policy.entropy()
    active = masks.active(network.action_space, steps.mask)
    advantage = steps.advantage
    if config.normalize_advantage:
        advantage = advantages.standardize(advantage, batch_spread, active)
    policy_loss = clipped_surrogate_loss(log_ratio, advantage, config.clip_eps)
    if config.clip_value:
        value_loss = clipped_value_loss(value, steps.value, steps.target, config.clip_eps).mean()
    else:
        value_loss = squared_value_loss(value, steps.target).mean()
    worth = jnp.exp(steps.obs["log_temperature"]) * entropy if config.bounded else entropy
    total = masked_mean(policy_loss, active) + config.vf_coef * value_loss - config.ent_coef * masked_mean(worth, active)
    return total, {
        "policy_loss": average(policy_loss, active),
        "value_loss": value_loss,
        "entropy": average(entropy, active),
        "approximate_kl": average(kl_k3(log_ratio), active),
        "clip_fraction": average(jnp.abs(jnp.expm1(log_ratio)) > config.clip_eps, active),
    }
