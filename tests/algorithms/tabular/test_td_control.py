"""SARSA, n-step SARSA, SARSA(lambda) and double Q-learning: the probes, references step by step, and what they converge to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import double_q_learning, n_step_sarsa, q_learning, sarsa, sarsa_lambda
from jaxrl.blocks import tables
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError
from jaxrl.solvers.mdp.backups import action_values
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation
from jaxrl.training.runner import run
from tests import probes
from tests.algorithms.tabular.trajectories import follow
from tests.marks import rest_is_slow, slow

GAMMA = 0.9
COMMON = {"gamma": GAMMA, "num_steps": 100, "epsilon": 0.5}
LEARNERS = {
    "sarsa": (sarsa, {}),
    "expected_sarsa": (sarsa, {"expected": True}),
    "double_q_learning": (double_q_learning, {}),
    "n_step_sarsa": (n_step_sarsa, {"n": 3}),
    "n_step_expected_sarsa": (n_step_sarsa, {"n": 2, "expected": True}),
    "sarsa_lambda": (sarsa_lambda, {"lambda_": 0.5}),
    "sarsa_lambda_accumulating": (sarsa_lambda, {"lambda_": 0.5, "replacing": False}),
    "watkins": (sarsa_lambda, {"lambda_": 0.5, "watkins": True}),
}
CONSTANT = {"learning_rate": 0.3, "learning_rate_half_life": np.inf, "learning_rate_min": 0.0}


def config_of(name, **changes):
    module, options = LEARNERS[name]
    return module.Config(**COMMON | options | changes)


def learned(name, env, num_updates=60, seeds=4, **changes):
    """Returns the tables of several seeds, [S, X, A]."""
    module, _ = LEARNERS[name]
    state = run(module.make, env, config_of(name, **changes), seeds=seeds, num_updates=num_updates).state
    return np.asarray(jax.vmap(lambda state: state.q)(state))


@pytest.mark.parametrize("name", rest_is_slow(LEARNERS, ("double_q_learning", "watkins")))
def test_the_probes(name):
    """One program for all of them: they differ in numbers alone."""
    np.testing.assert_allclose(learned(name, probes.constant_reward())[:, 0], 1.0, atol=0.05)
    q = learned(name, probes.observation_dependent_reward())
    np.testing.assert_allclose(q[:, :2], np.broadcast_to([[-1.0] * 2, [1.0] * 2], (4, 2, 2)), atol=0.05)
    q = learned(name, probes.delayed_reward())
    np.testing.assert_allclose(q[:, :2], np.broadcast_to([[GAMMA] * 2, [1.0] * 2], (4, 2, 2)), atol=0.05)
    q = learned(name, probes.action_dependent_reward())
    np.testing.assert_allclose(q[:, :2], np.broadcast_to(np.eye(2), (4, 2, 2)), atol=0.05)
    q = learned(name, probes.limit_or_end(), num_updates=120)
    np.testing.assert_allclose(q[:, 0], 1 / (1 - GAMMA), rtol=0.05)
    np.testing.assert_allclose(q[:, 1], 1.0, rtol=0.02)


@pytest.mark.parametrize("name", ["sarsa", "n_step_sarsa"])
def test_masked_actions_are_neither_taken_nor_valued(name):
    q = learned(name, probes.masked_action())
    assert (q[:, 0, 2] == 0).all()
    np.testing.assert_allclose(q[:, 0, 0], 0.5, atol=0.02)


# ---- references step by step, on a corridor without chance


@pytest.fixture(scope="module")
def grid():
    return envs.make("corridor").replace(max_steps=100_000)


def assert_tables(module, options, grid, reference, num_steps=400):
    config = module.Config(gamma=GAMMA, epsilon=0.3, **CONSTANT, **options)
    steps, found = follow(module.make, grid, config, num_steps)
    assert any(step.terminated for step in steps)
    expected = np.zeros(found[0].shape)
    for step, table in zip(reference(steps, expected), found, strict=True):
        np.testing.assert_allclose(table, step, atol=1e-5)


def test_sarsa_by_its_equation(grid):
    def reference(steps, q):
        for s, a, r, s2, end, a2 in steps:
            q[s, a] += 0.3 * (r + (0 if end else GAMMA * q[s2, a2]) - q[s, a])
            yield q

    assert_tables(sarsa, {}, grid, reference)


def test_expected_sarsa_by_its_equation(grid):
    def reference(steps, q):
        for s, a, r, s2, end, _ in steps:
            best = np.isclose(q[s2], q[s2].max(), rtol=0, atol=1e-7)
            policy = 0.3 / q.shape[1] + 0.7 * best / best.sum()
            q[s, a] += 0.3 * (r + (0 if end else GAMMA * policy @ q[s2]) - q[s, a])
            yield q

    assert_tables(sarsa, {"expected": True}, grid, reference)


def test_n_step_sarsa_by_its_equation(grid):
    """Section 7.2 of Sutton and Barto, pair by pair; the pairs of one moment have their targets from the same table."""
    n = 3

    def reference(steps, q):
        episode = []
        for step in steps:
            episode.append(step)
            before, total = q.copy(), len(episode)
            due = range(max(total - n, 0), total) if step.terminated else range(total - n, max(total - n, -1) + 1)
            for t in (t for t in due if t >= 0):
                rewards = [step.reward for step in episode[t : t + n]]
                target = sum(GAMMA**i * reward for i, reward in enumerate(rewards))
                if not step.terminated:
                    target += GAMMA**n * before[step.next_obs, step.next_action]
                pairs = [(e.obs, e.action) for e in (episode[t] for t in due)]
                at = episode[t].obs, episode[t].action
                q[at] += 0.3 * (target - before[at]) / pairs.count(at)
            episode = [] if step.terminated else episode
            yield q

    assert_tables(n_step_sarsa, {"n": n}, grid, reference)


@pytest.mark.parametrize(("replacing", "watkins"), [(False, False), (True, True), slow(False, True), slow(True, False)])
def test_sarsa_lambda_by_its_equation(grid, replacing, watkins):
    def reference(steps, q):
        e = np.zeros_like(q)
        for s, a, r, s2, end, a2 in steps:
            onward = q[s2].max() if watkins else q[s2, a2]
            delta = r + (0 if end else GAMMA * onward) - q[s, a]
            e *= GAMMA * 0.8
            e[s, a] = 1.0 if replacing else e[s, a] + 1.0
            greedy = q[s2, a2] >= q[s2].max() - 1e-7
            q += 0.3 * delta * e
            if end or (watkins and not greedy):
                e[:] = 0.0
            yield q

    assert_tables(sarsa_lambda, {"lambda_": 0.8, "replacing": replacing, "watkins": watkins}, grid, reference)


def test_without_reach_the_traces_are_sarsa(grid):
    config = {"gamma": GAMMA, "epsilon": 0.3}
    plain = follow(sarsa.make, grid, sarsa.Config(**config), 200)
    for module, options in ((sarsa_lambda, {"lambda_": 0.0}), (n_step_sarsa, {"n": 1})):
        steps, found = follow(module.make, grid, module.Config(**config, **options), 200)
        assert steps == plain[0]
        np.testing.assert_allclose(found[-1], plain[1][-1], atol=1e-6)


def test_double_q_learning_by_its_equation(grid):
    """Which table learned, and from which action, is read from the visits; the rest follows from the grid."""
    config = double_q_learning.Config(gamma=GAMMA, epsilon=0.3, num_steps=1, **CONSTANT)
    algorithm = double_q_learning.make(grid, config)
    state, update = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.update)
    world = jax.jit(lambda state, action: grid.step(jax.random.key(0), state, action))
    q, learned_by = np.zeros(state.tables.shape), set()
    for key in jax.random.split(jax.random.key(1), 300):
        before, visits = jax.tree.map(lambda leaf: leaf[0], state.episodes), state.visits
        state, _ = update(state, key)
        ((one, obs, action),) = np.argwhere(np.asarray(state.visits != visits))
        assert obs == int(before.obs)
        step = world(before.state, jnp.int32(action))
        best = q[one, int(step.obs)].argmax()
        onward = 0.0 if bool(step.terminated) else GAMMA * q[1 - one, int(step.obs), best]
        q[one, obs, action] += 0.3 * (float(step.reward) + onward - q[one, obs, action])
        np.testing.assert_allclose(state.tables, q, atol=1e-5)
        learned_by.add(int(one))
    assert learned_by == {0, 1}
    assert q.max() > 0


# ---- what they converge to


@pytest.mark.parametrize("name", rest_is_slow(("sarsa", "expected_sarsa", "n_step_sarsa", "sarsa_lambda"), ("sarsa",)))
@pytest.mark.slow
def test_on_policy_learners_find_the_values_of_the_policy_that_explores(name):
    """With every action uniform, these are the values of the uniform policy, not the best ones."""
    env = envs.make("frozen_lake", slip=0.3)
    changes = {"epsilon": 1.0, "num_envs": 8, "learning_rate": 1.0, "learning_rate_half_life": 10.0, "learning_rate_min": 0.0}
    q = learned(name, env, num_updates=200, seeds=16, **changes)
    model = tabulate(env)
    numbers = np.asarray(model.observation)
    with jax.enable_x64(True):
        value = policy_evaluation(model, np.full((numbers.size, 4), 0.25), GAMMA).value
        exact = np.asarray(action_values(model, value, GAMMA))
    error = q[:, numbers] - exact
    assert np.abs(error).mean() < 0.01
    assert (np.abs(error.mean(0)) < 4 * error.std(0) / np.sqrt(16) + 0.01).all()  # in the mean over seeds, only noise is left


@pytest.mark.slow
def test_double_q_learning_does_not_overestimate():
    """Of ten actions worth 0 each with noisy rewards, the largest estimate of Q-learning is above 0, that of double Q is not."""
    env = envs.make("gaussian_bandit", means=(0.0,) * 10)
    constant = {"learning_rate": 0.2, "learning_rate_half_life": np.inf, "learning_rate_min": 0.0, "epsilon": 1.0}
    single = run(q_learning.make, env, q_learning.Config(gamma=0.0, **constant), seeds=64, num_updates=30).state.q
    assert np.asarray(single).max(-1).mean() > 0.3
    state = run(double_q_learning.make, env, double_q_learning.Config(gamma=0.0, **constant), seeds=64, num_updates=30).state
    both = np.asarray(state.tables)[:, :, 0]
    chosen = both[:, 0].argmax(-1)
    other = np.take_along_axis(both[:, 1], chosen[:, None], axis=-1)
    assert abs(other.mean()) < 0.15


# ---- tables


@pytest.mark.parametrize("exploration", tables.EXPLORATIONS)
def test_actions_are_chosen_as_often_as_is_said(exploration):
    config = sarsa.Config(exploration=exploration, epsilon=0.3, temperature=0.5, uncertainty=1.0)
    values, visits = jnp.array([0.5, 0.5, -1.0, 9.0]), jnp.array([4, 4, 60, 1], jnp.int32)
    mask = jnp.array([True, True, True, False])
    chances = tables.chances(config, values, visits, mask)
    keys = jax.random.split(jax.random.key(0), 4000)
    chosen = jax.vmap(lambda key: tables.choose(key, config, values, visits, mask))(keys)
    np.testing.assert_allclose(np.bincount(chosen, minlength=4) / 4000, chances, atol=0.03)
    assert float(chances[3]) == 0.0


def test_what_was_never_tried_comes_first_under_ucb():
    config = sarsa.Config(exploration="ucb")
    found = tables.chances(config, jnp.array([5.0, 0.0, 0.0]), jnp.array([9, 0, 0], jnp.int32), None)
    np.testing.assert_allclose(found, [0.0, 0.5, 0.5])


def test_learners_explore_as_they_are_told():
    """UCB tries every arm, and pulls the best one of three most."""
    env = envs.make("gaussian_bandit", means=(0.0, 0.5, 1.0))
    averages = {"gamma": 0.0, "learning_rate": 1.0, "learning_rate_half_life": 1.0, "learning_rate_min": 0.0}
    for exploration in ("ucb", "boltzmann"):
        config = q_learning.Config(exploration=exploration, temperature=0.3, **averages)
        visits = np.asarray(run(q_learning.make, env, config, seeds=8, num_updates=10).state.visits)[:, 0]
        assert (visits > 0).all()
        assert (visits.argmax(-1) == 2).mean() >= 0.75


def test_pairs_that_are_not_due_change_nothing():
    q, visits = jnp.ones((2, 2)), jnp.zeros((2, 2), jnp.int32)
    taken = jnp.array([[0, 0], [1, 0]]), jnp.array([[1, 1], [1, 0]])
    error, due = jnp.array([[1.0, 3.0], [5.0, 7.0]]), jnp.array([[True, True], [False, True]])
    q, visits = tables.learn(q, visits, taken, error, lambda visits: 0.5 + 0.0 * visits, due)
    np.testing.assert_allclose(q, [[1 + 3.5, 1 + 0.5 * 2], [1, 1]])
    np.testing.assert_array_equal(visits, [[1, 2], [0, 0]])


def test_environments_share_what_they_change():
    weights = jnp.array([1.0, 1.0, 0.0])[:, None, None] * jnp.ones((3, 1, 1))
    np.testing.assert_allclose(tables.shared(jnp.array([2.0, 4.0, 0.0])[:, None, None], weights), [[3.0]])
    np.testing.assert_allclose(tables.shared(jnp.zeros((3, 1, 1)), jnp.zeros((3, 1, 1))), [[0.0]])


# ---- bad input


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sarsa", {"gamma": 1.5}, "gamma"),
        ("n_step_sarsa", {"n": 0}, "n must be"),
        ("sarsa_lambda", {"lambda_": 1.1}, "lambda_"),
        ("double_q_learning", {"learning_rate": float("nan")}, "learning_rate"),
        ("sarsa", {"temperature": 0.0}, "temperature"),
        ("sarsa", {"uncertainty": -1.0}, "uncertainty"),
    ],
)
def test_a_bad_value_is_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        config_of(name, **changes).validate(envs.make("corridor"))


@pytest.mark.parametrize("name", ["sarsa", "n_step_sarsa", "sarsa_lambda", "double_q_learning"])
def test_a_bad_environment_is_refused(name):
    with pytest.raises(SpaceError, match="observation_space must be Discrete"):
        config_of(name).validate(envs.make("cartpole"))
    with pytest.raises(ConfigError, match="no agent axis"):
        config_of(name).validate(envs.make("climb"))


def test_a_mistyped_exploration_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'boltzmann'"):
        config_of("sarsa", exploration="boltzman").validate(envs.make("corridor"))
