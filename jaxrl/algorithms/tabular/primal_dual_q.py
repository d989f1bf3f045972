"""Primal-dual Q-learning: the most reward whose expected discounted cost stays within a budget.

    repeat
        where an episode begins in s_0
            lambda <- [lambda + eta (Q_c(s_0, a*) - d)]+          with a* = argmax_a (Q_r - lambda Q_c)(s_0, a)
        choose a in s, epsilon-greedy in Q_r - lambda Q_c; take it, observe r, the cost c and s'
        pi(. | s) <- pi(. | s) + zeta [1{a*} - pi(. | s)]          with a* = argmax_a (Q_r - lambda Q_c)(s, a)
        a' <- argmax_a (Q_r - lambda Q_c)(s', a)
        Q_r(s, a) <- Q_r(s, a) + alpha_n [r + gamma Q_r(s', a') - Q_r(s, a)]
        Q_c(s, a) <- Q_c(s, a) + alpha_n [c + gamma Q_c(s', a') - Q_c(s, a)]

For a fixed price lambda this is Q-learning for the reward r - lambda c: the difference Q_r - lambda Q_c moves as its table. In
two parts the table knows at once what another price makes of it, and what the greedy policy costs. The price moves slowly.

A best policy may have to randomise, which no greedy policy does: near the right price the greedy ones go to and fro. The learned
policy is pi, their average over the visits of each state, which forgets at the rate zeta.

Source: Altman (1999), "Constrained Markov Decision Processes", chapter 3 (the Lagrangian); Borkar (2005), "An Actor-Critic
Algorithm for Constrained Markov Decision Processes" (the two time scales), here with Q-learning as the faster one.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import exploration, lagrangian, tables
from jaxrl.blocks.losses import sarsa_target
from jaxrl.blocks.tables import TableConfig
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import average
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.finite import sample_index
from jaxrl.core.rollout import Decision, Episode
from jaxrl.core.scan import scan
from jaxrl.core.transforms import cost_shape
from jaxrl.errors import EnvError, require, require_between


@struct.dataclass
class Config(TableConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    budget: float = 1.0  # d, of the expected discounted cost of an episode, in units of the cost
    multiplier_rate: float = 0.01  # eta, at least 0; much less than what the tables learn between two episodes
    averaging_rate: float = 0.001  # zeta, in [0, 1]: the policy averages over some 1 / zeta visits of a state
    cost: str = static(default="cost")  # which entry of ``Step.info`` is the cost, one number

    def validate(self, env: Environment) -> None:
        """Raises ConfigError, EnvError or SpaceError where these values cannot run on ``env``."""
        where = "primal_dual_q"
        require_single_agent(where, env)
        self.validate_tables(where, env)
        require_between(where, self, 0, float("inf"), "multiplier_rate")
        require_between(where, self, 0, 1, "averaging_rate")
        must, fix = "the exploration must be epsilon_greedy", "Set exploration='epsilon_greedy'."
        require(self.exploration == "epsilon_greedy", where, must, self.exploration, fix)
        shape = cost_shape(where, env, self.cost)
        fix = "Name another entry by cost=..., or use jaxrl.algorithms.constrained.lagrangian."
        require(shape == (), where, f"the cost {self.cost!r} must be one number", shape, fix, EnvError)


@struct.dataclass
class State:
    """rewards, costs: float32[X, A], Q_r and Q_c. visits: int32[X, A]. multiplier: float32[], lambda.

    average: float32[X, A], pi, the average of the greedy policies. episodes: E environments under way.
    """

    rewards: jax.Array
    costs: jax.Array
    visits: jax.Array
    multiplier: jax.Array
    average: jax.Array
    episodes: Episode


def make(env: Environment, config: Config) -> Algorithm:
    """Builds primal-dual Q-learning on an environment with discrete observations and actions that reports a cost."""
    shape = tables.shape(env)

    def of_average(state, obs, mask):
        """Returns pi, float32[E, A]; of an illegal action 0."""
        if mask is None:
            return state.average[obs]
        chances = jnp.where(mask, state.average[obs], 0.0)
        return chances / chances.sum(-1, keepdims=True)

    def policy(state, greedy):
        def act(key, view):
            chances = of_average(state, view.obs, view.mask)
            if greedy:
                return Decision(exploration.greedy(chances, view.mask))
            return Decision(jax.vmap(sample_index)(jax.random.split(key, chances.shape[0]), chances))

        return act

    def init(key):
        zeros, uniform = jnp.zeros(shape, jnp.float32), jnp.full(shape, 1.0 / shape[1], jnp.float32)
        episodes = rollout.start(key, env, config.num_envs)
        return State(zeros, zeros, counters.zeros(*shape), lagrangian.init(), uniform, episodes)

    def best(state, multiplier, obs, mask):
        """Returns argmax_a (Q_r - lambda Q_c)(s, a) and the values, int32[E] and float32[E, A]."""
        values = lagrangian.penalised(state.rewards[obs], state.costs[obs], multiplier)
        return exploration.greedy(values, mask), values

    def priced(state, view):
        """lambda <- [lambda + eta (Q_c(s_0, a*) - d)]+, where an episode begins; also returns the estimates of the cost."""
        begins = view.t == 0
        first, _ = best(state, state.multiplier, view.obs, view.mask)
        cost = state.costs[view.obs, first]
        mean = jnp.where(begins, cost, 0.0).sum() / jnp.maximum(begins.sum(), 1)
        multiplier = lagrangian.updated(state.multiplier, mean, config.budget, config.multiplier_rate, begins.any())
        return multiplier, average(cost, begins)

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        view = rollout.view(env, state.episodes)
        multiplier, estimate = priced(state, view)
        # Choose a in s, epsilon-greedy in Q_r - lambda Q_c; take it, observe r, the cost c and s'.
        favoured, values = best(state, multiplier, view.obs, view.mask)
        action = tables.choose(policy_key, config, values, state.visits[view.obs], view.mask)
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, Decision(action))
        # pi(. | s) <- pi(. | s) + zeta [1{a*} - pi(. | s)].
        chances = state.average[view.obs]
        moved = config.averaging_rate * (jax.nn.one_hot(favoured, shape[1], dtype=jnp.float32) - chances)
        together = jnp.zeros(shape[0], jnp.float32).at[view.obs].add(1.0)[view.obs]
        mean_policy = state.average.at[view.obs].add(moved / together[:, None])
        # Q_r and Q_c, both towards what the greedy action in s' is worth.
        following, _ = best(state, multiplier, seen.next_obs, seen.next_mask)
        taken = seen.obs, seen.action

        def error(table, paid):
            targets = jax.vmap(sarsa_target, in_axes=(0, 0, 0, 0, None))
            return targets(paid, table[seen.next_obs], following, seen.terminated, config.gamma) - table[taken]

        of_rewards = error(state.rewards, seen.reward)
        of_costs = error(state.costs, seen.info[config.cost].astype(jnp.float32))
        rewards, visits = tables.learn(state.rewards, state.visits, taken, of_rewards, config.step_size)
        costs, _ = tables.learn(state.costs, state.visits, taken, of_costs, config.step_size)
        measured = jnp.abs(lagrangian.penalised(of_rewards, of_costs, multiplier)), estimate
        return State(rewards, costs, visits, multiplier, mean_policy, episodes), (seen, *measured)

    def update(state, key):
        state, (batch, error, estimate) = scan(step, state, jax.random.split(key, config.num_steps))
        state = replace(state, average=state.average / state.average.sum(-1, keepdims=True))  # less the rounding of all steps
        measured = {"td_error": error.mean(), "reward": batch.reward.mean(), "multiplier": state.multiplier}
        return state, rollout.episode_metrics(batch) | measured | {"cost_estimate": estimate.pooled()}

    return Algorithm(init, update, policy, probabilities=lambda state, view: of_average(state, view.obs, view.mask))
