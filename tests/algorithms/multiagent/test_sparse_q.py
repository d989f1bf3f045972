"""Sparse cooperative Q-learning: updates by hand, joint actions of two, and a team that independent learners do not make up."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from jaxrl.algorithms.multiagent import iql, sparse_q
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.environment import Environment, Step
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Discrete
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.evaluation import Episodes, TeamReturn
from jaxrl.training.runner import run
from tests.marks import slow

KEY = jax.random.key(0)
RING = ((0, 1), (1, 2), (2, 3), (3, 0))
STATES, ACTIONS = 2, 3


@struct.dataclass
class Params:
    pair: jax.Array  # float32[X, E, A, A], what each edge pays in each state


def outcomes(state, action, params):
    """Pays half of every edge to each of its agents; the next state is drawn uniformly."""
    first, second = np.array(RING).T
    paid = params.pair[state, np.arange(4), action[first], action[second]] / 2
    reward = jnp.zeros(4).at[first].add(paid).at[second].add(paid)
    share = jnp.full(STATES, 1 / STATES, jnp.float32)
    return Outcomes(share, jnp.arange(STATES, dtype=jnp.int32), jnp.stack([reward] * STATES), jnp.zeros(STATES, bool))


def initial(params):
    return Initial(jnp.full(STATES, 1 / STATES, jnp.float32), jnp.arange(STATES, dtype=jnp.int32))


def observe(state, params):
    return jnp.full(4, state, jnp.int32)


def ring():
    """Builds a team of four in a ring; each edge pays as climb does, in the second state with actions of other names."""
    climb = np.array([[1.1, -3.0, 0], [-3.0, 0.7, 0.6], [0, 0, 0.5]], np.float32)
    pair = np.stack([[climb] * 4, [np.roll(climb, (1, 1), (0, 1))] * 4])
    params = Params(jnp.asarray(pair))
    return finite(params, outcomes, initial, Discrete(STATES), Discrete(ACTIONS), 4, observe=observe, num_agents=4)


@dataclass(frozen=True)
class OfAll:
    """A team as one agent, which chooses a joint action and is paid the sum of all rewards."""

    function: Any
    agents: int

    def __call__(self, key, *arguments):
        if len(arguments) == 1:
            obs, state = self.function(key, *arguments)
            return obs[0], state
        state, action, params = arguments
        each = action // ACTIONS ** jnp.arange(self.agents) % ACTIONS
        step = self.function(key, state, each.astype(jnp.int32), params)
        return Step(step.obs[0], step.state, step.reward.sum(), step.terminated)


def as_one(env):
    space = Discrete(ACTIONS**env.num_agents)
    reset, step = OfAll(env.reset_fn, env.num_agents), OfAll(env.step_fn, env.num_agents)
    return Environment(env.params, reset, step, env.observation_space, space, env.max_steps)


def config(**changes):
    return sparse_q.Config(**({"edges": RING, "gamma": 0.5, "edge_observes": "one", "num_envs": 2, "num_steps": 5} | changes))


def test_an_update_by_hand():
    """Three agents in a line, one step: delta of the middle one counts half for each of its two edges."""
    env = envs.make("simple_spread", num_agents=3).replace(observation_space=Discrete(1), action_space=Discrete(2))
    env = env.replace(reset_fn=_nothing, step_fn=_pay, global_obs_fn=None, max_steps=5)
    chosen = config(
        edges=((0, 1), (1, 2)), num_envs=1, num_steps=1, learning_rate=0.5, learning_rate_half_life=np.inf, epsilon=0.0
    )
    algorithm = sparse_q.make(env, chosen)
    q = jnp.array([[[0.0, 0.0, 2.0, 0.0]], [[0.0, 4.0, 0.0, 0.0]]])  # best: 1, 0 and 0, 1
    state: Any = jax.jit(algorithm.init)(KEY)
    after, metrics = jax.jit(algorithm.update)(state.replace(q=q), KEY)
    # Q of the agents is 1, 3, 2, now and then; rewards are 1, 2, 3, so that delta is r - Q / 2.
    delta = np.array([0.5, 0.5, 2.0])
    np.testing.assert_allclose(after.q[0, 0], [0, 0, 2 + 0.5 * (delta[0] + delta[1] / 2), 0])
    np.testing.assert_allclose(after.q[1, 0], [0, 4 + 0.5 * (delta[1] / 2 + delta[2]), 0, 0])
    np.testing.assert_allclose(metrics["td_error"], delta.mean())
    np.testing.assert_array_equal(after.visits.sum(-1), [[1], [1]])


def _nothing(key, params):
    return jnp.zeros(3, jnp.int32), jnp.int32(0)


def _pay(key, state, action, params):
    return Step(jnp.zeros(3, jnp.int32), state, jnp.arange(1.0, 4.0), jnp.bool_(False))


def test_two_agents_are_q_learning_over_joint_actions():
    """Of the sum of both rewards: climb pays 11 + 11 at best, and its table is learned exactly under uniform exploration."""
    settings = {"learning_rate": 1.0, "learning_rate_half_life": 1.0, "learning_rate_min": 0.0, "epsilon": 1.0}
    env = envs.make("climb")
    done = run(sparse_q.make, env, sparse_q.Config(**settings, num_steps=400), seeds=2, num_updates=1)
    payoff = np.array([[11, -30, 0], [-30, 7, 6], [0, 0, 5]], np.float32)
    np.testing.assert_allclose(done.state.q[:, 0, 0].reshape(2, 3, 3), [2 * payoff] * 2, rtol=1e-5)


def test_the_policy_is_the_best_joint_action_with_exploration():
    env = ring()
    for solver in sparse_q.SOLVERS:
        algorithm = sparse_q.make(env, config(solver=solver, epsilon=0.3))
        state: Any = jax.jit(algorithm.init)(KEY)
        state = state.replace(q=env.params.pair.reshape(STATES, 4, -1).swapaxes(0, 1))
        view = View(jnp.array([[0] * 4, [1] * 4]), None, ())
        policy: Any = algorithm.policy
        action = policy(state, True)(KEY, view).action
        joint = np.indices((ACTIONS,) * 4).reshape(4, -1).T
        first, second = np.array(RING).T
        for row in range(2):
            value = np.asarray(env.params.pair)[row, np.arange(4), joint[:, first], joint[:, second]].sum(1)
            np.testing.assert_array_equal(action[row], joint[value.argmax()])
        found: Any = algorithm.probabilities
        np.testing.assert_allclose(found(state, view), 0.7 * jax.nn.one_hot(action, ACTIONS) + 0.1, rtol=1e-6)
        many = View(jnp.zeros((4000, 4), jnp.int32), None, ())
        share = jax.nn.one_hot(policy(state, False)(KEY, many).action, ACTIONS).mean(0)
        np.testing.assert_allclose(share, found(state, view)[0], atol=0.025)


@pytest.mark.parametrize("solver", ["variable_elimination", slow("max_plus")])
def test_a_team_learns_what_independent_learners_do_not_and_joint_ones_learn_late(solver):
    """Four agents in a ring, 1,000 steps of epsilon-greedy play, 16 seeds: how much less than the best team they earn."""
    env, measure = ring(), TeamReturn.of(ring())
    settings = {"gamma": 0.5, "epsilon": 0.3, "num_steps": 100}
    done = run(
        sparse_q.make,
        env,
        config(**(settings | {"num_envs": 1}), solver=solver),
        seeds=16,
        num_updates=10,
        evaluators=(measure,),
    )
    sparse = done.evaluations["greedy_return_gap"][:, -1]
    done = run(iql.make, env, iql.Config(**settings), seeds=16, num_updates=10, evaluators=(measure,))
    independent = done.evaluations["greedy_return_gap"][:, -1]
    np.testing.assert_allclose(measure.optimum, 4.4, rtol=1e-5)
    assert sparse.mean() < 0.3
    assert independent.mean() > sparse.mean() + 1.0
    episodes = Episodes(as_one(env), num_episodes=256, modes=("greedy",))
    done = run(q_learning.make, as_one(env), q_learning.Config(**settings), seeds=16, num_updates=10, evaluators=(episodes,))
    joint = measure.optimum - done.evaluations["greedy_return"][:, -1] / 4
    assert joint.mean() > sparse.mean() + 0.2


@pytest.mark.parametrize(
    ("name", "changes", "kind", "message"),
    [
        ("corridor", {}, ConfigError, "sparse_q: the environment must have an agent axis"),
        ("climb", {"edges": ()}, ConfigError, r"every agent must be in an edge, got \{0, 1\}"),
        ("climb", {"edges": ((0, 2),)}, ConfigError, "edges must be pairs of two different agents of 0 .. 1"),
        ("climb", {"solver": "max_sum"}, UnknownNameError, "max_plus"),
        ("climb", {"edge_observes": "all"}, UnknownNameError, "both"),
        ("climb", {"exploration": "boltzmann"}, ConfigError, "exploration must be epsilon_greedy"),
        ("climb", {"max_iterations": 0}, ConfigError, "max_iterations"),
        ("kuhn", {}, ConfigError, "no action may be illegal"),
    ],
)
def test_wrong_inputs(name, changes, kind, message):
    with pytest.raises(kind, match=message):
        config(**({"edges": ((0, 1),)} | changes)).validate(envs.make(name))
