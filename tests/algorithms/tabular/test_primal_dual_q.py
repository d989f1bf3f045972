"""Primal-dual Q-learning: every step against the equations, a choice that must be mixed, and the hazard grid's exact optimum."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gridworlds import hazard_grid
from jaxrl.algorithms.tabular import primal_dual_q
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers.mdp.occupancy import occupancy_program
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation
from jaxrl.training.runner import run
from tests import probes

GAMMA = 0.9
CONFIG = primal_dual_q.Config(gamma=GAMMA, num_steps=100, multiplier_rate=0.05, averaging_rate=0.01)


def learned(env, num_updates=60, seeds=4, **changes):
    return run(primal_dual_q.make, env, CONFIG.replace(**changes), seeds=seeds, num_updates=num_updates)


@dataclasses.dataclass(frozen=True)
class Costly:
    """Action 1 costs 1, in whatever state."""

    step: object

    def __call__(self, key, state, action, params):
        return self.step(key, state, action, params)._replace(info={"cost": (action == 1).astype(jnp.float32)})


def costly(probe):
    return dataclasses.replace(probe, step_fn=Costly(probe.step_fn))


def test_the_probes():
    """One program for all of them, with a budget that does not bind."""
    free = {"budget": 100.0}
    q = learned(costly(probes.constant_reward()), **free).state
    np.testing.assert_allclose(q.rewards[:, 0], 1.0, atol=0.05)
    np.testing.assert_allclose(q.costs[:, 0], np.broadcast_to([0.0, 1.0], (4, 2)), atol=0.05)
    q = learned(costly(probes.delayed_reward()), **free).state
    np.testing.assert_allclose(q.rewards[:, :2], np.broadcast_to([[GAMMA] * 2, [1.0] * 2], (4, 2, 2)), atol=0.05)
    q = learned(costly(probes.limit_or_end()), num_updates=120, **free).state
    np.testing.assert_allclose(q.rewards[:, 0], 1 / (1 - GAMMA), rtol=0.05)
    np.testing.assert_allclose(q.rewards[:, 1], 1.0, rtol=0.02)
    np.testing.assert_allclose(q.multiplier, 0.0)


def test_a_choice_that_must_be_mixed():
    """One step; action 1 pays 1 more in state 1 and costs 1: with a budget of 0.25 for states of equal chance, p = 1/2 there."""
    done = learned(costly(probes.action_dependent_reward()), num_updates=200, budget=0.25, num_envs=4, epsilon=0.3)
    np.testing.assert_allclose(done.state.multiplier, 1.0, atol=0.15)
    np.testing.assert_allclose(done.state.average[:, 1, 1], 0.5, atol=0.1)
    assert (np.asarray(done.state.average)[:, 0, 0] > 0.95).all()


def test_every_step_moves_the_tables_by_the_equations():
    env = envs.make("hazard_grid", max_steps=100_000)
    constant = {"learning_rate": 0.3, "learning_rate_half_life": np.inf, "learning_rate_min": 0.0}
    config = CONFIG.replace(num_steps=1, budget=0.1, epsilon=0.4, **constant)
    algorithm = primal_dual_q.make(env, config)
    state, update = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.update)
    world = jax.jit(lambda state: jax.vmap(lambda action: env.step(jax.random.key(0), state, action))(jnp.arange(4)))
    rewards, costs, pi, price, ends = np.zeros((25, 4)), np.zeros((25, 4)), np.full((25, 4), 0.25), 0.0, 0
    for key in jax.random.split(jax.random.key(1), 600):
        before = state
        state, _ = update(state, key)
        obs = int(before.episodes.obs[0])
        if int(before.episodes.t[0]) == 0:
            price = max(0.0, price + 0.05 * (costs[obs, np.argmax(rewards[obs] - price * costs[obs])] - 0.1))
        pi[obs] += 0.01 * (np.eye(4)[np.argmax(rewards[obs] - price * costs[obs])] - pi[obs])
        (action,) = np.flatnonzero(np.asarray(state.visits - before.visits)[obs])
        step = jax.tree.map(lambda leaf: leaf[action], world(before.episodes.state[0]))  # noqa: B023
        after, terminated = int(step.obs), bool(step.terminated)
        best = np.argmax(rewards[after] - price * costs[after])
        for table, paid in ((rewards, float(step.reward)), (costs, float(step.info["cost"]))):
            target = paid + (0.0 if terminated else GAMMA * table[after, best])
            table[obs, action] += 0.3 * (target - table[obs, action])
        for found, expected in ((state.rewards, rewards), (state.costs, costs), (state.average, pi), (state.multiplier, price)):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        ends += terminated
    assert ends > 5
    assert price > 0.01


@pytest.mark.slow
def test_the_hazard_grid_is_crossed_as_often_as_the_budget_allows():
    env, gamma = envs.make("hazard_grid"), 0.99
    model = tabulate(env)
    cost = hazard_grid.cost_table(model, env.params)
    optimum = occupancy_program(model, gamma, [cost], [1.0])
    done = learned(env, 1000, seeds=8, gamma=gamma, budget=1.0, multiplier_rate=0.01, averaging_rate=0.001)
    policy = np.asarray(done.state.average)[:, model.observation]
    value, spent = (
        np.array([policy_evaluation(dataclasses.replace(model, reward=paid), one, gamma).start_value(model) for one in policy])
        for paid in (model.reward, cost)
    )
    np.testing.assert_allclose(value.mean(), optimum.value, rtol=0.05)
    np.testing.assert_allclose(spent.mean(), 1.0, atol=0.1)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"multiplier_rate": -1.0}, ConfigError, "multiplier_rate must be at least 0"),
        ({"averaging_rate": 1.5}, ConfigError, "averaging_rate must lie in"),
        ({"budget": float("nan")}, ConfigError, "budget"),
        ({"exploration": "ucb"}, ConfigError, "must be epsilon_greedy"),
        ({"cost": "damage"}, EnvError, "must report 'damage' in Step.info"),
    ],
)
def test_what_cannot_run_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        learned(envs.make("hazard_grid"), **changes)


def test_an_environment_without_a_cost_is_refused():
    with pytest.raises(EnvError, match="must report 'cost'"):
        learned(envs.make("corridor"))
