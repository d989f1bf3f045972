"""Multi-agent proximal policy optimisation: PPO for N agents, with a central critic (MAPPO) or each with its own (IPPO).

    repeat
        collect T steps in each of E environments, every agent acting on its own observation
        estimate every agent's advantages, by a critic that sees the global observation (IPPO: the agent's own)
        train actor and critic as PPO does; the critic's targets are in units of their running moments

Acting is decentralised: only the critic sees more, and only while training. The agents share one network (``agent_ids`` tells
them apart), or each has its own, trained on its own rewards beside the others.

The central critic sees ``env.global_obs`` or, where the environment has none, the observations of all agents, one after another.
With shared parameters it looks once and gives one value for each agent, so that agents may be paid differently.

An agent that has no choice, because its row of the action mask leaves one action, is inactive: dead, waiting, or not to move.
Such steps are left out of its policy's loss, entropy and advantage statistics. They stay in the value loss: whatever the agent
is still paid counts. An environment says that an agent is inactive by leaving it one action; continuous actions know no masks.

With one agent, and without value normalisation, this is PPO, bit for bit.

Source: Yu et al. (2022), "The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games", algorithm 1; de Witt et al.
(2020) for independent critics.
"""

import dataclasses
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.algorithms.deep import ppo
from jaxrl.blocks import policies
from jaxrl.blocks.networks import ActorCritic
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import pooled
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Transition
from jaxrl.core.spaces import Discrete, joint
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
    agent_ids: bool = static(default=False)  # append the agent's number, one-hot, to its observation (shared parameters)
    normalize_value: bool = static(default=True)  # the critic is fitted to targets in units of their running moments

    name: ClassVar[str] = "mappo"

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        agents, fix = env.num_agents is not None, "Use jaxrl.algorithms.deep.ppo."
        require(agents, self.name, "the environment must have an agent axis (num_agents)", env.num_agents, fix)
        useful, must = self.shared_parameters or not self.agent_ids, "agent_ids need shared_parameters"
        require(useful, self.name, must, "agent_ids=True", "Networks of their own know who they belong to.")
        self.validate_learner(env)


# Where the agents' axis is in a Transition [T, E, ...]; what happens to the environment has none.
_AXES: dict[str, Any] = {"obs": 2, "action": 2, "reward": 2, "next_obs": 2, "terminated": None, "truncated": None, "t": None}
_AXES |= {"mask": 2, "next_mask": 2, "return_": 2, "extras": {"raw_action": 2, "outputs": 2}}
AGENT_AXES = Transition(**_AXES)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds MAPPO or IPPO on an environment with agents. The policy's actions are [E, N, ...]."""
    agents, shared, central = env.num_agents or 1, config.shared_parameters, config.centralized
    network, learning = learners(env, config)
    memory = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (agents, *leaf.shape)), network.initial_memory())

    def init(key):
        network_key, episode_key = jax.random.split(key)
        episodes = rollout.start(episode_key, env, config.num_envs, memory)
        keys = network_key if shared else jax.random.split(network_key, agents)
        global_obs = jax.vmap(env.global_obs)(episodes.state) if env.global_obs_fn else joint(env.observation_space, episodes.obs)
        learner = learning.init(keys, dataclasses.replace(episodes, state=()), global_obs if central else None)
        return ppo.State(learner, episodes)

    def update(state, key):
        rollout_key, order_key = jax.random.split(key)
        explore = policies.behaviour(partial(learning.act, state.learner), env.action_space, policies.sample)
        episodes, batch = rollout.unroll(rollout_key, env, explore, state.episodes, config.num_steps)
        seen = seen_by_critic(batch)
        learner, metrics = learning.learn(state.learner, seen, state.episodes.memory, order_key)
        return ppo.State(learner, episodes), pooled(metrics) | rollout.episode_metrics(batch)

    def seen_by_critic(batch):
        if not central:
            return batch._replace(global_obs=None, next_global_obs=None)
        if env.global_obs_fn:
            return batch
        now, later = (joint(env.observation_space, obs) for obs in (batch.obs, batch.next_obs))
        return batch._replace(global_obs=now, next_global_obs=later)

    def policy(state, greedy):
        choose: Any = policies.mode if greedy else policies.sample
        return policies.behaviour(partial(learning.act, state.learner), env.action_space, choose)

    def probabilities(state, view):
        return policies.action_probabilities(partial(learning.act, state.learner), env.action_space, view)

    exact = isinstance(env.action_space, Discrete) and not config.memory_size
    return Algorithm(init, update, policy, memory, probabilities if exact else None)


def learners(env: Environment, config: Config) -> tuple[ActorCritic, ppo.Learning]:
    """Builds the network and what PPO does with experience: for all agents at once, or for each agent beside the others."""
    agents = env.num_agents or 1
    network = ActorCritic(
        env.observation_space,
        env.action_space,
        config.hidden,
        config.activation,
        config.channels,
        config.memory_size,
        agent_ids=agents if config.agent_ids else 0,
        centralized=config.centralized,
        num_values=agents if config.centralized and config.shared_parameters else None,
    )
    learning = ppo.learner(network, config, env.max_steps, multi_agent=True)
    if config.shared_parameters:
        return network, learning
    axes: dict[str, Any] = {"state": None, "obs": 1, "t": None, "return_": 1, "memory": 1}
    episodes = rollout.Episode(**axes)
    return network, ppo.Learning(
        init=jax.vmap(learning.init, in_axes=(0, episodes, None)),
        act=jax.vmap(learning.act, in_axes=(0, 2, None, 1), out_axes=2),
        learn=jax.vmap(learning.learn, in_axes=(0, AGENT_AXES, 1, None)),
    )
