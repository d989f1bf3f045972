"""Offline learners: what they learn of data whose best answers are known in closed form, and tasks that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.offline import behaviour_cloning, cql, fitted_q_evaluation, implicit_q_learning, td3_bc
from jaxrl.blocks import datasets
from jaxrl.blocks.dataset_layouts import from_minari
from jaxrl.core import rollout
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Box, Discrete, MultiDiscrete
from jaxrl.errors import ConfigError, DataError, SpaceError
from jaxrl.evaluation import off_policy
from jaxrl.solvers.mdp import host
from jaxrl.training.runner import run

KEY = jax.random.key(0)
FAST = {"hidden": (32,), "batch_size": 64, "learning_rate": 3e-3, "num_gradient_steps": 100}


def bandit(actions, rewards, space=Discrete(3), masks=None):  # noqa: B008
    """Episodes of one step in one state: what each action pays is what was recorded."""
    return from_minari(
        [
            {
                "observations": np.ones((2, 1)),
                "actions": np.asarray([action], space.dtype),
                "rewards": np.asarray([reward]),
                "terminations": np.ones(1),
                "truncations": np.zeros(1),
            }
            | ({} if masks is None else {"masks": masks})
            for action, reward in zip(actions, rewards, strict=True)
        ],
        Box(0.0, 1.0, (1,)),
        space,
    )


def view(data, count=1):
    """What a policy sees in the first states of the data."""
    obs, mask = (jax.tree.map(lambda leaf: leaf[:count, 0], part) for part in (data.obs, data.mask))
    return View(obs, mask, ())


def learned(module, data, num_updates=10, seeds=2, **changes):
    """The algorithm, and the state of its first seed."""
    config = module.Config(**(FAST | changes))
    done = run(module.make, data, config, seeds=seeds, num_updates=num_updates)
    assert not done.summary.failed_seeds
    return module.make(data, config), jax.tree.map(lambda leaf: leaf[0], done.state), done


# ---- behaviour cloning


def test_cloning_has_the_frequencies_of_the_data():
    data = bandit([0] * 6 + [1] * 3 + [2], np.zeros(10))
    algorithm, state, done = learned(behaviour_cloning, data)
    np.testing.assert_allclose(algorithm.probabilities(state, view(data))[0], [0.6, 0.3, 0.1], atol=0.05)
    entropy = -(0.6 * np.log(0.6) + 0.3 * np.log(0.3) + 0.1 * np.log(0.1))
    np.testing.assert_allclose(done.metrics["loss"][:, -1], entropy, atol=0.05)
    assert int(algorithm.policy(state, True)(KEY, view(data)).action[0]) == 0


def test_cloning_leaves_illegal_actions_alone():
    data = bandit([0, 1], [0.0, 0.0], masks=np.array([[True, True, False]] * 2))
    algorithm, state, _ = learned(behaviour_cloning, data, num_updates=2)
    np.testing.assert_allclose(algorithm.probabilities(state, view(data))[0, 2], 0.0)


@pytest.mark.parametrize("space", [Box(-2.0, 6.0, (1,)), Box(-np.inf, np.inf, (1,))])
def test_cloning_has_the_mean_and_the_deviation_of_real_actions(space):
    """In the units of the data: a bounded Box is scaled, an unbounded one is not."""
    actions = np.array([[1.0], [1.4], [0.6], [1.0]])
    data = bandit(actions, np.zeros(4), space)
    algorithm, state, _ = learned(behaviour_cloning, data, num_updates=20)
    np.testing.assert_allclose(algorithm.policy(state, True)(KEY, view(data)).action, [[1.0]], atol=0.06)
    many = View(jnp.ones((2000, 1)), None, ())
    drawn = np.asarray(algorithm.policy(state, False)(KEY, many).action)
    np.testing.assert_allclose(drawn.std(), actions.std(), rtol=0.15)
    assert algorithm.probabilities is None


def test_cloning_of_several_choices():
    data = bandit([[0, 2]] * 3 + [[1, 2]], np.zeros(4), MultiDiscrete((2, 3)))
    algorithm, state, _ = learned(behaviour_cloning, data)
    np.testing.assert_array_equal(algorithm.policy(state, True)(KEY, view(data)).action, [[0, 2]])


# ---- conservative Q-learning


def test_cql_without_penalty_has_the_mean_rewards():
    data = bandit([0, 0, 1, 2], [1.0, 2.0, 3.0, -1.0])
    _, state, _ = learned(cql, data, alpha=0.0, num_updates=15)
    network = cql.q_network(data, cql.Config(**FAST))
    np.testing.assert_allclose(network.apply(state.params, jnp.ones((1, 1))), [[1.5, 3.0, -1.0]], atol=0.1)


def test_cql_comes_to_the_minimum_of_its_loss():
    """The gradient of the expected loss at Q is alpha (softmax Q - b) + b (Q - r): its root, found in float64."""
    alpha, chance, reward = 0.5, np.array([0.5, 0.25, 0.25]), np.array([1.5, 3.0, -1.0])
    q = np.zeros(3)
    for _ in range(20_000):
        soft = np.exp(q) / np.exp(q).sum()
        q -= 0.1 * (alpha * (soft - chance) + chance * (q - reward))
    data = bandit([0, 0, 1, 2], [1.0, 2.0, 3.0, -1.0])
    _, state, _ = learned(cql, data, alpha=alpha, num_updates=15)
    network = cql.q_network(data, cql.Config(**FAST))
    np.testing.assert_allclose(network.apply(state.params, jnp.ones((1, 1)))[0], q, atol=0.1)


def test_cql_pushes_an_action_down_that_is_not_in_the_data():
    """Action 2 never occurs: with the penalty it is worth less than both others, whatever the network says without it."""
    data = bandit([0, 1] * 4, [0.0, 0.5] * 4)
    algorithm, state, _ = learned(cql, data, alpha=1.0)
    network = cql.q_network(data, cql.Config(**FAST))
    values = np.asarray(network.apply(state.params, jnp.ones((1, 1))))[0]
    assert values[2] < values[:2].min() - 1.0
    assert int(algorithm.policy(state, True)(KEY, view(data)).action[0]) == 1
    np.testing.assert_allclose(algorithm.probabilities(state, view(data)), [[0.0, 1.0, 0.0]])


@pytest.mark.parametrize("double", [False, True])
def test_targets_of_cql_by_hand(double):
    data = bandit([0, 1], [1.0, 2.0], masks=np.array([[True, True, False]] * 2))
    config = cql.Config(hidden=(4,), double=double, gamma=0.5)
    network = cql.q_network(data, config)
    params, target = (jax.jit(network.init)(jax.random.key(n), jnp.ones((1, 1))) for n in (0, 1))
    batch = datasets.at(data, (jnp.int32([0, 1]), jnp.int32([0, 0])))._replace(terminated=jnp.bool_([False, True]))
    online, slow = (np.asarray(network.apply(one, batch.next_obs))[0, :2] for one in (params, target))
    chosen = online.argmax() if double else slow.argmax()
    found = cql.targets(network, config, params, target, batch)
    np.testing.assert_allclose(found, [1.0 + 0.5 * slow[chosen], 2.0], rtol=1e-6)


# ---- implicit Q-learning


@pytest.mark.parametrize("expectile", [0.5, 0.9])
def test_the_value_of_implicit_q_learning_is_an_expectile(expectile):
    """Of the mean rewards 1.5, 3 and -1, which occur with probabilities 1/2, 1/4, 1/4: found by bisection in float64."""
    chance, reward = np.array([0.5, 0.25, 0.25]), np.array([1.5, 3.0, -1.0])
    low, high = -1.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        slope = (chance * np.where(reward > middle, expectile, 1 - expectile) * (reward - middle)).sum()
        low, high = (middle, high) if slope > 0 else (low, middle)
    data = bandit([0, 0, 1, 2], [1.0, 2.0, 3.0, -1.0])
    algorithm, state, done = learned(
        implicit_q_learning, data, 20, expectile=expectile, critic_learning_rate=3e-3, target_step_size=0.05
    )
    np.testing.assert_allclose(done.metrics["value"][:, -1], middle, atol=0.15)
    weight = chance * np.minimum(np.exp(3.0 * (reward - middle)), 100.0)
    np.testing.assert_allclose(algorithm.probabilities(state, view(data))[0], weight / weight.sum(), atol=0.1)


def test_implicit_q_learning_of_real_actions_prefers_the_better_ones():
    actions = np.array([[-0.5], [0.5]] * 4)
    data = bandit(actions, [0.0, 1.0] * 4, Box(-1.0, 1.0, (1,)))
    changes = {"critic_learning_rate": 3e-3, "inverse_temperature": 10.0, "target_step_size": 0.05}
    algorithm, state, _ = learned(implicit_q_learning, data, 15, **changes)
    assert float(algorithm.policy(state, True)(KEY, view(data)).action[0, 0]) > 0.3


# ---- TD3+BC


@pytest.mark.parametrize(("alpha", "low", "high"), [(0.0, -0.15, 0.15), (20.0, 0.3, 1.0)])
def test_td3_bc_clones_the_mean_or_prefers_the_better_actions(alpha, low, high):
    actions = np.linspace(-0.8, 0.8, 9)[:, None]
    data = bandit(actions, actions[:, 0], Box(-1.0, 1.0, (1,)))
    algorithm, state, _ = learned(td3_bc, data, alpha=alpha, critic_learning_rate=3e-3)
    assert low < float(algorithm.policy(state, True)(KEY, view(data)).action[0, 0]) < high


# ---- the grid: everything together


@pytest.mark.parametrize("module", [cql, implicit_q_learning])
def test_learners_find_the_way_in_random_data(module):
    """In a corridor of random walks every learner comes to the optimal policy; cloning does not."""
    env = envs.make("corridor", length=4)
    data = datasets.collect(KEY, env, rollout.uniform_policy(env), 100, 30)
    own = {"alpha": 0.1} if module is cql else {"inverse_temperature": 20.0, "critic_learning_rate": 3e-3, "expectile": 0.9}
    algorithm, state, _ = learned(module, data, 20, gamma=0.9, target_step_size=0.05, **own)
    model = tabulate(env)
    action = algorithm.policy(state, True)(KEY, View(jnp.asarray(model.observation), None, ())).action
    greedy = np.eye(model.num_actions)[np.asarray(action)]
    assert float(host.evaluate(model, greedy, 0.9).start_value(model)) == pytest.approx(
        float(host.solve(model, 0.9).start_value(model))
    )


def test_fitted_q_evaluation_by_a_network_comes_near_the_table():
    env = envs.make("corridor", length=4)
    data = datasets.collect(KEY, env, rollout.uniform_policy(env), 60, 30)
    actions = env.action_space.n
    table = np.full((env.observation_space.n, actions), 1 / actions, np.float32)
    exact = off_policy.fitted_q_evaluation(data, table, 0.9)
    task = fitted_q_evaluation.Evaluated.of_table(table, data)
    _, _, done = learned(fitted_q_evaluation, task, 20, gamma=0.9, target_step_size=0.05)
    np.testing.assert_allclose(done.metrics["value"][:, -1], exact.value, atol=0.03 + 0.05 * abs(exact.value))


def test_the_task_of_an_algorithm_that_is_evaluated():
    data = bandit([0, 1, 2], [0.0, 1.0, 2.0])
    cloning = behaviour_cloning.make(data, behaviour_cloning.Config(hidden=(4,)))
    state = jax.jit(cloning.init)(KEY)
    task = fitted_q_evaluation.Evaluated.of(cloning, state, data)
    np.testing.assert_allclose(task.first, np.asarray(cloning.probabilities(state, view(data, 3))), rtol=1e-6)
    assert task.after.shape == (3, 1, 3)
    fitted_q_evaluation.Config().validate(task)


# ---- data of one's own, and refusals


def test_every_seed_may_draw_its_own_data():
    task = datasets.Collected(envs.make("frozen_lake"), jnp.full((1, 16, 4), 0.25, jnp.float32), 5, 10)
    _, _, done = learned(behaviour_cloning, task, 1, seeds=2)
    first, second = (jax.tree.map(lambda leaf, n=n: leaf[n], done.state.data) for n in (0, 1))
    assert not np.array_equal(first.obs, second.obs)
    first.validate("test")


@pytest.mark.parametrize("module", [behaviour_cloning, cql, implicit_q_learning])
def test_tasks_that_are_no_data_are_refused(module):
    with pytest.raises(ConfigError, match="the task must be a Dataset, or draw one from a key, got 'Environment'"):
        module.Config().validate(envs.make("corridor"))
    sound = bandit([0, 1], [0.0, 1.0])
    with pytest.raises(DataError, match="reward must be finite"):
        module.Config().validate(sound.replace(reward=jnp.full((2, 1), jnp.nan)))
    with pytest.raises(ConfigError, match="batch_size must be an integer of at least 1"):
        module.Config(batch_size=0).validate(sound)


def test_action_spaces_that_are_refused():
    real = bandit([[0.5]], [0.0], Box(-1.0, 1.0, (1,)))
    with pytest.raises(SpaceError, match="cql: the action_space must be Discrete"):
        cql.Config().validate(real)
    with pytest.raises(SpaceError, match="td3_bc: the action_space must be a bounded Box of reals"):
        td3_bc.Config().validate(bandit([0], [0.0]))
    several = bandit([[0, 1]], [0.0], MultiDiscrete((2, 3)))
    with pytest.raises(SpaceError, match="implicit_q_learning: the action_space must be Discrete, or a Box of reals"):
        implicit_q_learning.Config().validate(several)
    with pytest.raises(ConfigError, match=r"expectile must lie in \[0, 1\)"):
        implicit_q_learning.Config(expectile=1.0).validate(real)
    with pytest.raises(ConfigError, match="the task must be an Evaluated"):
        fitted_q_evaluation.Config().validate(real)
