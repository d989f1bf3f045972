"""Model-predictive control: the values of plans by hand, the best action, plans that are remembered, the true model, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.planning import cem_mpc
from jaxrl.algorithms.planning.cem_mpc import Config
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Box
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.evaluation.episodes import evaluate
from jaxrl.training.runner import run
from tests import probes
from tests.in_place import assert_buffer_in_place

SMALL = Config(
    learning_rate=1e-2,
    horizon=2,
    num_candidates=32,
    num_best=4,
    num_members=2,
    num_steps=20,
    num_gradient_steps=300,
    batch_size=32,
    buffer_size=600,
    learning_starts=200,
    hidden=(16,),
)


def counting(key, node, action):
    """Pays the action plus the state; adds the action to the state; ends beyond 1. Row r pays r more."""
    row = jnp.arange(node.shape[0], dtype=jnp.float32)[:, None]
    moved = node + action[..., 0]
    return moved, action[..., 0] + node + row, moved > 1.0


def test_values_of_plans_by_hand():
    plans = jnp.array([[[0.5], [0.25], [1.0]], [[1.5], [2.0], [jnp.inf]]])
    found = cem_mpc.plan_values(jax.random.key(0), counting, jnp.float32(0.25), plans, 0.5, rows=2, num_particles=1)
    # The first plan: states 0.25, 0.75, 1; rewards 0.75, 1, 2. The second ends after 1.75. Half a unit more by row and step.
    expected = [0.75 + 0.5 * 1.0 + 0.25 * 2.0 + 0.5 * (1 + 0.5 + 0.25), 1.75 + 0.5]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_particles_of_a_plan_are_averaged():
    def noisy(key, node, action):
        return node, action[..., 0] + jax.random.normal(key, node.shape), jnp.zeros(node.shape, bool)

    def values(particles):
        return cem_mpc.plan_values(jax.random.key(0), noisy, jnp.float32(0.0), plans, 1.0, 1, particles)

    plans = jnp.linspace(-1, 1, 50)[:, None, None]
    alone, many = (np.asarray(values(particles)) - plans[:, 0, 0] for particles in (1, 100))
    assert 0.7 < alone.std() < 1.3
    np.testing.assert_allclose(many, 0.0, atol=0.4)


@pytest.mark.slow
def test_the_best_action_is_found_with_a_learned_model():
    env, obs = probes.continuous_action(), jnp.linspace(-0.8, 0.8, 5)[:, None]
    done = run(cem_mpc.make, env, SMALL, seeds=2, num_updates=2, chunk_length=2)
    assert not done.summary.failed_seeds
    algorithm = cem_mpc.make(env, SMALL)
    view = View(obs, None, jnp.zeros((5, *algorithm.memory.shape)))
    found = jax.vmap(lambda state: algorithm.policy(state, True)(jax.random.key(0), view).action)(done.state)
    np.testing.assert_allclose(found, np.broadcast_to(obs, (2, 5, 1)), atol=0.2)


def test_a_plan_is_shifted_and_the_sampled_policy_explores_within_bounds():
    env = probes.continuous_action()
    algorithm = cem_mpc.make(env, SMALL.replace(num_iterations=1, num_candidates=2, num_best=2, deviation=1e-6))
    state, memory = jax.jit(algorithm.init)(jax.random.key(0)), jnp.full((3, 2, 1), 0.5).at[:, 1].set(0.25)
    decision = algorithm.policy(state, True)(jax.random.key(1), View(jnp.zeros((3, 1)), None, memory))
    np.testing.assert_allclose(decision.action, 1.0, atol=1e-4)  # half of the range of 2
    np.testing.assert_allclose(decision.memory, [[[0.25], [0.0]]] * 3, atol=1e-4)
    wide = cem_mpc.make(env, SMALL.replace(num_iterations=1, num_best=32, deviation=2.0))
    noisy = wide.policy(state, False)(jax.random.key(1), View(jnp.zeros((200, 1)), None, jnp.zeros((200, 2, 1)))).action
    assert float(jnp.abs(noisy).max()) == 2.0
    assert float(noisy.std()) > 0.5


def test_planning_on_the_true_model_needs_no_learning():
    """Random torques cost about 1200 on Pendulum; a plan of twenty steps on the true model swings it up."""
    env, config = envs.make("pendulum"), Config(num_candidates=64, num_best=8, num_iterations=3)
    memory = cem_mpc.plan_memory(env, config)
    play = jax.jit(lambda key: evaluate(key, env, cem_mpc.planner(env, config), 4, memory=memory).return_)
    assert play(jax.random.key(0)).mean() > -250.0


@pytest.mark.optimised
def test_the_buffer_is_written_in_place():
    assert_buffer_in_place(cem_mpc.make, envs.make("pendulum"), SMALL.replace(buffer_size=100_000))


@pytest.mark.parametrize(
    ("env", "changes", "kind", "message"),
    [
        ("cartpole", {}, SpaceError, r"the action_space must be a Box of reals.*Use jaxrl.algorithms.planning.muzero"),
        ("frozen_lake", {}, SpaceError, "the observation_space must be a Box of reals"),
        ("pendulum", {"channels": (2,)}, SpaceError, "channels"),
        ("pendulum", {"horizon": 0}, ConfigError, "horizon must be an integer of at least 1"),
        ("pendulum", {"num_best": 101}, ConfigError, r"num_best must not exceed num_candidates \(100\), got 101"),
        ("pendulum", {"momentum": 1.0}, ConfigError, r"momentum must lie in \[0, 1\)"),
        ("pendulum", {"deviation": 0.0}, ConfigError, "deviation must be positive"),
        ("pendulum", {"learning_starts": 4, "batch_size": 4}, ConfigError, "learning_starts must be at least 5"),
        ("pendulum", {"batch_size": 20_000}, ConfigError, "buffer_size must be at least batch_size"),
    ],
)
def test_tasks_and_values_that_do_not_fit_are_refused(env, changes, kind, message):
    with pytest.raises(kind, match=message):
        Config(**changes).validate(envs.make(env))


def test_integer_actions_are_refused():
    env = envs.make("pendulum").replace(action_space=Box(-2, 2, (1,), jnp.int32))
    with pytest.raises(SpaceError, match="cem_mpc: the action_space must be"):
        Config().validate(env)
    with pytest.raises(SpaceError, match="cem_mpc: the action_space must be a Box of reals"):
        cem_mpc.planner(env, Config())
