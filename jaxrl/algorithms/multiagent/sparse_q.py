"""Sparse cooperative Q-learning: a team learns a value for each edge of a coordination graph, and acts by their best sum.

    Q(s, a) = sum over edges (i, j) of Q_ij(s_ij, a_i, a_j),    Q_k = half of the sum over the edges of agent k
    for every step (s, a, r, s')
        a* = argmax_a Q(s', a), by variable elimination or max-plus
        delta_k = r_k + gamma Q_k(s', a*) - Q_k(s, a)    for every agent k
        Q_ij <- Q_ij + alpha_n [delta_i / |edges of i| + delta_j / |edges of j|]    for every edge

with a*, mixed with uniform exploration of each agent, as behaviour, and step sizes alpha_n as in
``jaxrl.algorithms.tabular.q_learning``, n counting the visits of an edge's entry. A table for all joint actions has A^N entries
for a state, E edges have E A^2. The team maximises the sum of its rewards. With two agents and one edge this is Q-learning over
joint actions; a graph says who has to coordinate with whom, and where payoffs do not add up over its edges it errs.

An edge is told the observations of both its agents or, if all agents observe the same number, that of one (``edge_observes``).
Agents choose together: to act, they talk along the edges.

Source: Kok and Vlassis (2006), "Collaborative multiagent reinforcement learning by payoff propagation", equation 17 (edge-based
decomposition, agent-based update distributed over edges); Guestrin, Lagoudakis and Parr (2002) for the graph.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.tables import TableConfig
from jaxrl.core import counters, masks, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_agents
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Decision, Episode, View
from jaxrl.errors import require, require_count, unknown_name
from jaxrl.solvers import coordination

WHERE = "sparse_q"
SOLVERS = "variable_elimination", "max_plus"
OBSERVES = "both", "one"


@struct.dataclass
class Config(TableConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    initial_value: float = 0.0  # of every entry of the tables
    edges: tuple[tuple[int, int], ...] = static(default=((0, 1),))  # pairs of agents that coordinate; every agent is in one
    solver: str = static(default="variable_elimination")  # or max_plus, of the best joint action
    max_iterations: int = static(default=20)  # of max_plus (count)
    edge_observes: str = static(default="both")  # what its two agents observe, or "one": they observe the same

    def validate(self, env: Environment) -> None:
        """Raises ConfigError, SpaceError or UnknownNameError where these values cannot run on ``env``."""
        require_agents(WHERE, env, "Use jaxrl.algorithms.tabular.q_learning.")
        self.validate_tables(WHERE, env)
        must, fix = "exploration must be epsilon_greedy: agents choose together", "Set exploration='epsilon_greedy'."
        require(self.exploration == "epsilon_greedy", WHERE, must, self.exploration, fix)
        for kind, name, known in (("solver", self.solver, SOLVERS), ("edge_observes", self.edge_observes, OBSERVES)):
            if name not in known:
                raise unknown_name(WHERE, kind, name, known)
        require_count(WHERE, "max_iterations", self.max_iterations)
        agents = env.num_agents or 0
        edges = coordination.require_edges(WHERE, self.edges, agents)
        alone = set(range(agents)) - {agent for edge in edges for agent in edge}
        require(not alone, WHERE, "every agent must be in an edge", alone, "Add edges, or leave these agents out.")
        must, fix = "no action may be illegal", "Use jaxrl.algorithms.multiagent.iql, or give illegal actions an effect."
        require(env.action_mask_fn is None, WHERE, must, "an environment with an action mask", fix)
        width = coordination.elimination_order(edges, agents)[1]
        entries, limit = tables.shape(env)[1] ** (width + 1), coordination.LARGEST_TABLE
        fits, must = self.solver == "max_plus" or entries <= limit, f"a table of elimination must have at most {limit:,} entries"
        require(fits, WHERE, must, entries, "Set solver='max_plus'.")


@struct.dataclass
class State:
    """q: float32[E, X, A * A], of each edge, ``a_i * A + a_j``; X is squared where an edge observes both. visits: int32, as q.

    episodes: environments under way.
    """

    q: jax.Array
    visits: jax.Array
    episodes: Episode


def make(env: Environment, config: Config) -> Algorithm:
    """Builds sparse cooperative Q-learning on an environment with N agents, discrete observations and discrete actions."""
    agents, (observations, actions) = env.num_agents or 1, tables.shape(env)
    edges = tuple((int(first), int(second)) for first, second in config.edges)
    first, second = (np.array([edge[end] for edge in edges]) for end in (0, 1))
    number = np.arange(len(edges))
    degree = np.bincount(np.concatenate([first, second]), minlength=agents)
    keys = observations**2 if config.edge_observes == "both" else observations
    shape = (len(edges), keys, actions * actions)

    def seen(obs):
        """Returns what the edges observe, int32[B, E], of int32[B, N]."""
        return obs[:, first] * observations + obs[:, second] if config.edge_observes == "both" else obs[:, first]

    def pair(action):
        """Returns what the agents of each edge do, int32[B, E], of int32[B, N]."""
        return action[:, first] * actions + action[:, second]

    def best(q, obs):
        """Returns a*, int32[B, N]."""
        payoffs = q[number, seen(obs)].reshape(-1, len(edges), actions, actions)
        nothing = jnp.zeros((agents, actions), jnp.float32)

        def solve(pair):
            if config.solver == "max_plus":
                return coordination.propagated(edges, nothing, pair, config.max_iterations).action
            return coordination.variable_elimination(edges, nothing, pair).action

        return jax.vmap(solve)(payoffs)

    def of_agents(of_edges):
        """Returns Q_k of every agent, float32[B, N], of float32[B, E]."""
        return jnp.zeros((of_edges.shape[0], agents), jnp.float32).at[:, first].add(of_edges).at[:, second].add(of_edges) / 2

    def init(key):
        q = jnp.zeros(shape, jnp.float32) + config.initial_value
        return State(q, counters.zeros(*shape), rollout.start(key, env, config.num_envs))

    def policy(state, greedy):
        def act(key, view: View):
            chosen = best(state.q, view.obs)
            if greedy:
                return Decision(chosen)
            explore_key, action_key = jax.random.split(key)
            uniform = masks.sample(action_key, env.action_space, None, chosen.shape)
            explores = jax.random.uniform(explore_key, chosen.shape, jnp.float32) < config.epsilon
            return Decision(jnp.where(explores, uniform, chosen))

        return act

    def probabilities(state, view):
        chosen = jax.nn.one_hot(best(state.q, view.obs), actions, dtype=jnp.float32)
        return (1 - config.epsilon) * chosen + config.epsilon / actions

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        decision = policy(state, False)(policy_key, rollout.view(env, state.episodes))
        episodes, batch = rollout.advance_all(env_key, env, state.episodes, decision)
        # a* = argmax_a Q(s', a), and delta_k of every agent.
        taken = number, seen(batch.obs), pair(batch.action)
        onward = state.q[number, seen(batch.next_obs), pair(best(state.q, batch.next_obs))]
        onward = jnp.where(batch.terminated[:, None], 0.0, of_agents(onward))
        delta = batch.reward + config.gamma * onward - of_agents(state.q[taken])
        # Every edge moves by what its two agents say.
        error = delta[:, first] / degree[first] + delta[:, second] / degree[second]
        taken = jnp.broadcast_to(number, taken[1].shape), *taken[1:]
        q, visits = tables.learn(state.q, state.visits, taken, error, config.step_size)
        return State(q, visits, episodes), (batch, jnp.abs(delta))

    return Algorithm(init, tables.updates(step, config.num_steps), policy, probabilities=probabilities)
