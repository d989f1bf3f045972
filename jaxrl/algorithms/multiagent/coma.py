"""Actor-critics of several agents: each beside a critic of its own, by a central critic, or by counterfactual credit (COMA).

    repeat
        collect T steps in each of E environments, agent i by a_i ~ pi_i(. | o_i)
        of every step and agent
            own             v_i = V_i(o_i)
            central         v_i = V_i(s)
            counterfactual  v_i = sum_b pi_i(b | o_i) Q_i(s, (a_-i, b))
            G_i = lambda-return of agent i, continued by v_i
            own, central    A_i = G_i - v_i
            counterfactual  A_i = Q_i(s, a) - v_i
        K times: one Adam step on the critic     1/2 E[(V_i - G_i)^2], counterfactual 1/2 E[(Q_i(s, a) - G_i)^2]
        one Adam step on the actor              -E_active[A_i log pi_i(a_i | o_i) + c_e entropy]

All agents may be paid the same. Then G_i says how the team did, and an agent must find out by chance what its own part in that
was. v_i of a counterfactual critic is what the team would have earned on average had this agent alone drawn anew: the rest is
its own doing. Its critic answers for all actions b of one agent at once, shown those of the others.

E_active is the mean over the steps at which an agent had a choice: its row of the action mask leaves several actions. The global
state s is ``env.global_obs`` or, where the environment has none, the observations of all agents. The agents share one actor and
one critic, or each has its own. A shared critic that sees the global state is told whose value is asked for.

Two things differ from the paper. All estimates are made by the critic that has not seen the block: one that was just fitted to
these actions gives them their own noise as credit, and targets stay as they are while it is fitted, so that none of the networks
needs a copy. And a return is continued by v_i rather than by Q of the action that was taken, which is less noisy.

With one agent, a critic of its own and K = 1 this is A2C (``jaxrl.algorithms.deep.ppo.A2C``).

Source: Foerster et al. (2018), "Counterfactual Multi-Agent Policy Gradients", equations 2 to 4, algorithm 1, and its baselines
IAC and central-V.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree

from jaxrl.blocks import advantages, agents, distributions, networks, optimisers, policies, value_heads
from jaxrl.blocks.advantages import masked_mean
from jaxrl.blocks.losses import policy_gradient_loss, squared_value_loss
from jaxrl.blocks.networks import Actor, QNetwork
from jaxrl.blocks.returns import generalized_advantage
from jaxrl.blocks.successors import successor_values
from jaxrl.core import masks, rollout, spaces
from jaxrl.core.algorithm import Algorithm, require_policy
from jaxrl.core.averages import average
from jaxrl.core.config import require_agents, require_discrete_actions
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode, Transition
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box, Space
from jaxrl.errors import require_between, require_counts, require_numbers, require_positive, unknown_name

CRITICS = "own", "central", "counterfactual"


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 5e-4  # of the actor's Adam, at the first update; 0 leaves the policies as they are
    critic_learning_rate: float = 5e-4  # of the critic's Adam, at the first update
    anneal_updates: float = jnp.inf  # updates over which both fall linearly to 0; infinite keeps them
    gamma: float = 0.99  # discount, in [0, 1]
    gae_lambda: float = 0.8  # lambda of the returns, in [0, 1]
    ent_coef: float = 0.01  # weight of the entropy, at least 0
    max_grad_norm: float = 10.0  # the global norm of each gradient is cut to this
    critic: str = static(default="counterfactual")  # or own, or central
    shared_parameters: bool = static(default=True)  # one actor and one critic for all agents; False: each its own
    # A role for each agent, or "environment": those that it names. Agents of one role share, others do not. None: see above.
    roles: tuple[int, ...] | str | None = static(default=None)
    agent_ids: bool = static(default=False)  # append the agent's number, one-hot, to its observation (shared parameters)
    num_envs: int = static(default=16)  # E, environments side by side (count)
    num_steps: int = static(default=32)  # T, of each environment in one update (count)
    num_critic_steps: int = static(default=4)  # K, Adam steps of the critic on each block (count)
    hidden: tuple[int, ...] = static(default=(64, 64))  # layer sizes of actor and critic
    activation: str = static(default="tanh")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    # A network of your own in place of these layers, one each for actor and critic: (observation_space, num_outputs) -> flax
    # module; see jaxrl.blocks.networks. That of a critic which sees the global state is shown a vector.
    network: Callable | None = static(default=None)

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_agents("coma", env, "Use jaxrl.algorithms.deep.ppo with its preset A2C.")
        require_discrete_actions("coma", env, "Use jaxrl.algorithms.multiagent.mappo, or discretise it.")
        if self.critic not in CRITICS:
            raise unknown_name("coma", "critic", self.critic, CRITICS)
        networks.require_layers("coma", self, env.observation_space)
        require_counts("coma", self, "num_envs", "num_steps", "num_critic_steps")
        require_numbers("coma", self, "anneal_updates", "max_grad_norm")
        require_between("coma", self, 0, 1, "gamma", "gae_lambda")
        require_between("coma", self, 0, float("inf"), "ent_coef", "learning_rate")
        require_positive("coma", self, "critic_learning_rate", "anneal_updates", "max_grad_norm")
        agents.require_ids("coma", self)
        agents.require_roles("coma", env, self)
        agents.require_appendable("coma", self, "agent_ids")


@struct.dataclass
class State:
    """actor, critic: parameters; of R networks every leaf has a leading axis R. actor_opt, critic_opt: of Adam.

    episodes: E environments under way.
    """

    actor: PyTree
    critic: PyTree
    actor_opt: PyTree
    critic_opt: PyTree
    episodes: Episode


class Experience(NamedTuple):
    """Steps to be trained on, leaves [T, E, N, ...]. judged: what the critic sees. active: None if all have a choice."""

    obs: PyTree
    judged: PyTree
    action: jax.Array
    mask: jax.Array | None
    active: jax.Array | None
    target: jax.Array
    advantage: jax.Array


class Team(NamedTuple):
    """The actors and critics of N agents. Arrays have leading axes [T, E, N], T steps of E environments."""

    env: Environment
    config: Config

    @property
    def num_agents(self) -> int:
        return self.env.num_agents or 1

    @property
    def num_actions(self) -> int:
        return spaces.flat_size(self.env.action_space)

    @property
    def roles(self) -> tuple[int, ...] | None:
        return agents.roles_of(self.env, self.config)

    @property
    def numbers_critic(self) -> bool:
        """Whether a critic that sees the global state has to be told whom it judges."""
        return not agents.all_differ(self.roles)

    @property
    def seen_space(self) -> Space:
        """The space of what an agent acts on."""
        space = self.env.observation_space
        return Box(-jnp.inf, jnp.inf, (spaces.flat_size(space) + self.num_agents,)) if self.config.agent_ids else space

    @property
    def judged_space(self) -> Any:
        """The space of what a critic sees: a Box of one axis, unless it sees what the agent does."""
        if self.config.critic == "own":
            return self.seen_space
        (size,) = agents.global_space(self.env).shape
        size += self.num_agents * self.num_actions * (self.config.critic == "counterfactual")
        return Box(-jnp.inf, jnp.inf, (size + self.num_agents * self.numbers_critic,))

    @property
    def actor(self) -> Any:
        config = self.config
        return Actor(self.seen_space, self.num_actions, config.hidden, config.activation, config.channels, config.network)

    @property
    def critic(self) -> Any:
        config, own = self.config, self.config.critic == "own"
        outputs = self.num_actions if config.critic == "counterfactual" else 1
        layers = config.hidden, config.activation, config.channels if own else ()
        return QNetwork(self.judged_space, outputs, *layers, network=config.network)

    def init(self, network: Any, key: jax.Array, inputs: PyTree) -> PyTree:
        """Returns first parameters of a network, for all agents or for each. inputs: PyTree[T, E, N, ...]."""
        return agents.first_parameters(network, key, inputs, 2, self.roles)

    def apply(self, network: Any, params: PyTree, inputs: PyTree) -> jax.Array:
        """Returns the outputs of a network for every agent, float32[T, E, N, ...]."""
        return agents.outputs(network, params, inputs, 2, self.roles)

    def seen(self, obs: PyTree) -> PyTree:
        """Returns what the agents act on."""
        return agents.numbered(spaces.flatten(self.env.observation_space, obs)) if self.config.agent_ids else obs

    def judged(self, obs: PyTree, global_obs: jax.Array | None, action: jax.Array) -> PyTree:
        """Returns what the critics see. global_obs: float32[T, E, G], None for critics of the agents' own."""
        if global_obs is None:
            return self.seen(obs)
        parts = [agents.for_every_agent(global_obs, self.num_agents)]
        if self.config.critic == "counterfactual":
            parts.append(agents.actions_of_others(action, self.num_actions))
        features = jnp.concatenate(parts, axis=-1)
        return agents.numbered(features) if self.numbers_critic else features

    def policy(self, params: PyTree, obs: PyTree, mask: jax.Array | None) -> Any:
        """Returns the distributions of the agents' actions."""
        return distributions.of_space(self.env.action_space, self.apply(self.actor, params, self.seen(obs)), mask)

    def values(self, params: PyTree, judged: PyTree) -> jax.Array:
        """Returns V_i, float32[T, E, N, 1], or Q_i(s, (a_-i, .)), float32[T, E, N, A]."""
        return self.apply(self.critic, params, judged)

    def of_action(self, values: jax.Array, action: jax.Array) -> jax.Array:
        """Returns V_i, or Q_i(s, a), float32[T, E, N]."""
        return value_heads.chosen(values, action) if self.config.critic == "counterfactual" else values[..., 0]

    def of_state(self, values: jax.Array, probability: jax.Array) -> jax.Array:
        """Returns v_i, float32[T, E, N]. probability: float32[T, E, N, A], pi_i."""
        if self.config.critic == "counterfactual":
            return advantages.counterfactual_baseline(values, probability)
        return values[..., 0]


def make(env: Environment, config: Config) -> Algorithm:
    """Builds an actor-critic on an environment with agents and discrete actions. The policy's actions are int32[E, N]."""
    team = Team(env, config)
    gradient_steps = config.anneal_updates * config.num_critic_steps
    actor_adam, critic_adam = (
        optimisers.adam(optimisers.annealed(rate, steps), config.max_grad_norm, eps=1e-5)
        for rate, steps in ((config.learning_rate, config.anneal_updates), (config.critic_learning_rate, gradient_steps))
    )

    def init(key):
        actor_key, critic_key, episode_key = jax.random.split(key, 3)
        episodes = rollout.start(episode_key, env, config.num_envs)
        obs = jax.tree.map(lambda leaf: leaf[None], episodes.obs)
        judged = seen = team.seen(obs)
        if config.critic != "own":
            judged = jnp.zeros((1, config.num_envs, team.num_agents, *team.judged_space.shape), jnp.float32)
        actor, critic = team.init(team.actor, actor_key, seen), team.init(team.critic, critic_key, judged)
        return State(actor, critic, actor_adam.init(actor), critic_adam.init(critic), episodes)

    def act(state, obs, first, memory):
        return team.apply(team.actor, state.actor, team.seen(obs)), memory

    def policy(state, greedy):
        choose: Any = policies.mode if greedy else policies.sample
        return policies.behaviour(partial(act, state), env.action_space, choose)

    def update(state, key):
        rollout_key, successor_key = jax.random.split(key)
        # Collect T steps in each of E environments.
        episodes, batch = rollout.unroll(rollout_key, env, policy(state, False), state.episodes, config.num_steps)
        # Of every step and agent: G and A.
        experience = estimate(team, state, batch, successor_key)
        # K times one Adam step on the critic.
        step = optimisers.gradient_step(partial(critic_loss, team), critic_adam)
        carry, times = (state.critic, state.critic_opt), jnp.arange(config.num_critic_steps)
        (critic, critic_opt), critic_metrics = scan(lambda carry, _: step(carry, experience), carry, times)
        # One Adam step on the actor.
        step = optimisers.gradient_step(partial(actor_loss, team), actor_adam)
        (actor, actor_opt), metrics = step((state.actor, state.actor_opt), experience)
        metrics |= jax.tree.map(jnp.mean, critic_metrics)
        return State(actor, critic, actor_opt, critic_opt, episodes), metrics | rollout.episode_metrics(batch)

    def probabilities(state, view):
        return policies.action_probabilities(partial(act, state), env.action_space, view)

    return Algorithm(init, update, policy, probabilities=probabilities)


def estimate(team: Team, state: State, batch: Transition, key: jax.Array) -> Experience:
    """Estimates the returns and the advantages of all agents in a block.

    Args:
        team: the networks.
        state: as it was when the block was collected.
        batch: Transition[T, E, N, ...].
        key: for the actions after the last step of the block, and after a time limit, which were never taken.
    """
    env, config = team.env, team.config
    global_obs = next_global_obs = None
    if config.critic != "own":
        global_obs, next_global_obs = agents.global_observations(env, batch)
    judged = team.judged(batch.obs, global_obs, batch.action)
    values = team.values(state.critic, judged)
    probability = distributions.of_space(env.action_space, batch.extras["outputs"], batch.mask).probs
    value = team.of_state(values, probability)

    def critic(successors):
        obs, global_obs, mask = jax.tree.map(lambda leaf: leaf[None], successors)
        policy = team.policy(state.actor, obs, mask)
        following = team.values(state.critic, team.judged(obs, global_obs, policy.sample(seed=key)))
        return team.of_state(following, policy.probs)[0]

    successors = batch.next_obs, next_global_obs, batch.next_mask
    next_value = successor_values(value, successors, critic, batch.truncated, env.max_steps)
    terminated, truncated = (agents.of_every_agent(ends, batch.reward) for ends in (batch.terminated, batch.truncated))
    gain = generalized_advantage(batch.reward, value, next_value, terminated, truncated, config.gamma, config.gae_lambda)
    advantage = team.of_action(values, batch.action) - value if config.critic == "counterfactual" else gain
    active = masks.active(env.action_space, batch.mask)
    return Experience(batch.obs, judged, batch.action, batch.mask, active, gain + value, advantage)


def critic_loss(team: Team, params: PyTree, steps: Experience) -> tuple[jax.Array, dict]:
    """Returns half the mean squared difference between a critic and the returns, float32[], and metrics of it."""
    value = team.of_action(team.values(params, steps.judged), steps.action)
    loss = squared_value_loss(value, steps.target).mean()
    return loss, {"value_loss": loss, "value": value.mean()}


def actor_loss(team: Team, params: PyTree, steps: Experience) -> tuple[jax.Array, dict]:
    """Returns the loss whose gradient is minus the policy gradient and that of the entropy, float32[], and metrics of it."""
    policy = team.policy(params, steps.obs, steps.mask)
    loss, entropy = policy_gradient_loss(policy.log_prob(steps.action), steps.advantage), policy.entropy()
    total = masked_mean(loss, steps.active) - team.config.ent_coef * masked_mean(entropy, steps.active)
    return total, {"policy_loss": average(loss, steps.active), "entropy": average(entropy, steps.active)}


def gradient_variance(env: Environment, config: Config, state: State, keys: jax.Array) -> jax.Array:
    """Returns the variance of the actor's gradient over blocks of experience, added up over its parameters, float32[].

    Args:
        env, config: of the learner.
        state: whose policies act and whose critics judge; nothing is learned.
        keys: [B], one for each block of T steps in each of E environments, which begin anew.
    """
    team, policy = Team(env, config), require_policy("gradient_variance", make(env, config))

    def gradient(key):
        start_key, rollout_key, successor_key = jax.random.split(key, 3)
        episodes = rollout.start(start_key, env, config.num_envs)
        _, batch = rollout.unroll(rollout_key, env, policy(state, False), episodes, config.num_steps)
        steps = estimate(team, state, batch, successor_key)
        return ravel_pytree(jax.grad(lambda params: actor_loss(team, params, steps)[0])(state.actor))[0]

    return jax.lax.map(gradient, keys).var(0, ddof=1).sum()
