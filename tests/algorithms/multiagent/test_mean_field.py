"""Mean-field Q-learning and actor-critic: neighbours, updates by hand, Boltzmann fixpoints, order in the Ising model, growth."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.markov_games import gaussian_squeeze, ising
from jaxrl.algorithms.multiagent import mean_field_ac, mean_field_q
from jaxrl.blocks import mean_field
from jaxrl.core.rollout import View
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.training.runner import run

BOARD = {"gamma": 0.0, "learning_rate": 1.0, "neighbourhood": "torus", "levels": 5, "num_steps": 50}
SPINS = mean_field_q.Config(**BOARD, inertia=0.5)


@pytest.mark.parametrize("neighbourhood", ["all", "torus"])
def test_mean_of_neighbours(neighbourhood):
    value = np.random.default_rng(0).random((2, 16)).astype(np.float32)
    expected = np.zeros_like(value)
    for agent in range(16):
        row, column = divmod(agent, 4)
        beside = {(row + 1) % 4 * 4 + column, (row - 1) % 4 * 4 + column, row * 4 + (column + 1) % 4, row * 4 + (column - 1) % 4}
        near = sorted(beside if neighbourhood == "torus" else set(range(16)) - {agent})
        expected[:, agent] = value[:, near].mean(1)
    np.testing.assert_allclose(mean_field.neighbour_mean(jnp.asarray(value), neighbourhood), expected, atol=1e-6)


def test_neighbours_of_the_ising_model_are_those_it_pays_for():
    """What an agent observes is how many of its neighbours point up: four times their mean action."""
    env = ising.make(size=4)
    _, spin = env.reset(jax.random.key(0))
    action = jax.random.randint(jax.random.key(1), (16,), 0, 2, jnp.int32)
    seen = env.step(jax.random.key(0), spin, action).obs
    np.testing.assert_array_equal(mean_field.level(mean_field.mean_action(action, 2, "torus"), 5), seen)


@pytest.mark.parametrize("shared", [True, False])
def test_an_update_by_hand(shared):
    """Three agents contribute once; every entry moves by alpha towards the mean reward of those who visited it."""
    env = gaussian_squeeze.make(num_agents=3, mu=10.0, sigma=8.0)
    config = mean_field_q.Config(learning_rate=0.5, levels=19, num_steps=1, shared_parameters=shared)
    algorithm = mean_field_q.make(env, config)
    state, metrics = jax.jit(algorithm.update)(jax.jit(algorithm.init)(jax.random.key(0)), jax.random.key(1))
    visits, q = np.asarray(state.visits), np.asarray(state.q)
    assert q.shape == (1 if shared else 3, 1, 19, 10)
    places = np.argwhere(visits)
    total = round(float(metrics["mean_action"]) * 9 * 3)
    reward = total * np.exp(-(((total - 10) / 8) ** 2))
    for table, _, level, action in places:
        assert level + action == total  # two neighbours of 0 .. 9: the level is their sum
        assert q[table, 0, level, action] == pytest.approx(0.5 * reward, rel=1e-5)
    assert np.count_nonzero(q) == len(places)
    assert float(metrics["reward"]) == pytest.approx(reward, rel=1e-5)
    assert float(state.opening.sum()) == pytest.approx(total / 9, rel=1e-5)  # every contribution is in two of the means


def test_the_value_of_what_follows_is_the_boltzmann_mean():
    """With alpha 1 and one step: Q = r + gamma sum_a pi(a | s', m) Q(s', a, m), from a table that is known."""
    env = ising.make(size=3)
    config = mean_field_q.Config(**{**BOARD, "gamma": 0.5, "num_steps": 1, "shared_parameters": False}, temperature=2.0)
    algorithm = mean_field_q.make(env, config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    table = np.random.default_rng(0).normal(size=state.q.shape).astype(np.float32)
    before = np.asarray(state.episodes.obs)[0]
    after, _ = jax.jit(algorithm.update)(state.replace(q=jnp.asarray(table)), jax.random.key(1))
    spin = np.asarray(after.episodes.state)[0]
    up = (np.asarray(ising.neighbour_sum(jnp.asarray(spin))).reshape(-1) + 4) // 2
    action = (spin.reshape(-1) + 1) // 2
    for agent in range(9):
        onward = table[agent, up[agent], up[agent]]
        weight = np.exp(onward / 2.0)
        reward = 0.5 * (2 * action[agent] - 1) * (2 * up[agent] - 4)
        target = reward + 0.5 * (weight * onward).sum() / weight.sum()
        assert after.q[agent, before[agent], up[agent], action[agent]] == pytest.approx(target, rel=1e-4, abs=1e-5)


def test_learned_values_of_the_ising_model_are_its_pay():
    state = run(mean_field_q.make, ising.make(size=6, max_steps=1_000), SPINS.replace(temperature=50.0), num_updates=6).state
    q, visits = np.asarray(state.q)[0, 0], np.asarray(state.visits)[0, 0]
    pay = 0.5 * np.outer(2 * np.arange(5) - 4, [-1, 1])  # whatever was observed before
    np.testing.assert_allclose(q, np.where(visits > 0, pay, 0.0), atol=1e-5)
    assert (visits > 0).mean() > 0.9


def test_policies_are_boltzmann_in_the_expected_mean_action():
    """At the first step the estimate, afterwards the last mean action; an agent repeats itself as often as it should."""
    env = ising.make(size=4)
    algorithm = mean_field_q.make(env, SPINS.replace(inertia=0.25, temperature=1.5))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    q = jnp.asarray(np.random.default_rng(1).normal(size=state.q.shape), jnp.float32)
    state = state.replace(q=q, opening=jnp.full(16, 0.75))
    rows, obs = 20_000, jnp.full((20_000, 16), 2, jnp.int32)
    for t, last, level in ((0, 1, 3), (5, 1, 4), (5, 0, 0)):
        view = View(obs, None, None, t=jnp.full(rows, t), action=jnp.full((rows, 16), last, jnp.int32))
        drawn = np.asarray(jax.jit(lambda view: algorithm.policy(state, False)(jax.random.key(2), view).action)(view))
        weight = np.exp(np.asarray(q)[0, 2, level] / 1.5)
        expected = weight[1] / weight.sum()
        if t:
            expected = 0.75 * expected + 0.25 * last
        assert drawn.mean() == pytest.approx(expected, abs=0.005)
        best = algorithm.policy(state, True)(jax.random.key(2), view).action
        assert (np.asarray(best) == np.asarray(q)[0, 2, level].argmax()).all()


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("module", [mean_field_q, mean_field_ac])
def test_all_tables_and_the_agents_apart_have_their_shapes(module, size):
    env = ising.make(size=size)
    algorithm = module.make(env, module.Config(**BOARD, shared_parameters=False))
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    assert state.q.shape == (size**2, 5, 5, 2)
    if module is mean_field_q:
        assert state.opening.shape == (size**2,)
    else:
        assert state.theta.shape == (size**2, 5, 2)


def test_the_actor_settles_where_the_boltzmann_policy_is():
    """One-shot, two actions, a critic that is given: theta's softmax goes to exp(Q / tau)."""
    env = gaussian_squeeze.make(num_agents=4, mu=18.0, sigma=30.0)
    config = mean_field_ac.Config(gamma=0.0, learning_rate=1.0, levels=28, temperature=2.0, actor_learning_rate=0.05)
    state = run(mean_field_ac.make, env, config.replace(num_steps=500), num_updates=10).state
    q, visits = np.asarray(state.q)[0, 0, 0], np.asarray(state.visits)[0, 0, 0]
    level, action = np.nonzero(visits)
    total = level + action
    np.testing.assert_allclose(q[level, action], total * np.exp(-(((total - 18) / 30) ** 2)), rtol=1e-4)
    policy = np.asarray(jax.nn.softmax(state.theta[0, 0, 0]))
    weight = np.bincount(level, visits.sum(1)[level], minlength=28)  # how often each mean action was met
    mean_q = (weight[:, None] * np.where(visits > 0, q, np.nan))[visits.all(1)].sum(0) / weight[visits.all(1)].sum()
    target = np.exp((mean_q - mean_q.max()) / 2.0)
    np.testing.assert_allclose(policy, target / target.sum(), atol=0.05)


@pytest.mark.slow
def test_order_falls_with_temperature_as_in_the_physicists_model():
    """An agent at temperature T is a spin at 2 T: ordered below 1.13, disordered above."""
    env = ising.make(size=12, max_steps=100_000, up=0.9)
    orders = []
    for temperature in (0.8, 2.0):
        done = run(mean_field_q.make, env, SPINS.replace(temperature=temperature, num_steps=500), seeds=4, num_updates=6)
        orders.append(done.metrics["alignment"][:, 2:].mean(1))
    assert orders[0].min() > 0.9
    assert orders[1].max() < 0.3


def test_memory_grows_with_the_number_of_agents_alone():
    def bytes_of(agents):
        env = envs.make("gaussian_squeeze", num_agents=agents)
        algorithm = mean_field_q.make(env, mean_field_q.Config(levels=9, num_steps=4, shared_parameters=False))
        shapes = jax.eval_shape(algorithm.init, jax.random.key(0))
        analysis = jax.jit(algorithm.update).lower(shapes, jax.eval_shape(partial(jax.random.key, 0))).compile().memory_analysis()
        return analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes

    small, middle, large = (bytes_of(agents) for agents in (250, 500, 1_000))
    assert (large - middle) / (middle - small) == pytest.approx(2, rel=0.1)
    assert large < 10e6


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        ("corridor", {}, ConfigError, "must have an agent axis"),
        ("climb", {"neighbourhood": "torus"}, ConfigError, "a torus must have a square number of agents"),
        ("ising", {"neighbourhood": "ring"}, UnknownNameError, "neighbourhood"),
        ("ising", {"inertia": 1.0}, ConfigError, r"inertia must lie in \[0, 1\)"),
        ("ising", {"temperature": 0.0}, ConfigError, "temperature must be positive"),
        ("ising", {"levels": 0}, ConfigError, "levels must be an integer of at least 1"),
    ],
)
@pytest.mark.parametrize("module", [mean_field_q, mean_field_ac])
def test_what_cannot_run_is_refused_before_tracing(module, env, changes, error, message):
    with pytest.raises(error, match=message):
        run(module.make, envs.make(env), module.Config(**changes), num_updates=1)
