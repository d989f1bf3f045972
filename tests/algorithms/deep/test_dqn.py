"""DQN: the probes with exact values, its target by hand, the target network, options, and refusal of what it cannot do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import dqn
from jaxrl.blocks import value_heads
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Discrete
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError
from jaxrl.training.runner import run, scan_updates
from tests import probes
from tests.in_place import assert_buffer_in_place
from tests.own_networks import Residual

GAMMA = 0.8
CONFIG = dqn.Config(
    learning_rate=3e-3,
    gamma=GAMMA,
    epsilon_end=0.5,
    epsilon_steps=500.0,
    target_interval=20,
    num_envs=4,
    num_steps=1,
    num_rounds=40,
    batch_size=32,
    buffer_size=302,  # not a multiple of the 4 steps that are written at once
    learning_starts=50,
    hidden=(16,),
)
# Every kind passes the two probes that know most; compiling is what takes the time.
RAINBOW = {
    "double": True,
    "dueling": True,
    "hidden": (16, 16),
    "n_steps": 3,
    "prioritised": True,
    "head": "categorical",
    "num_atoms": 31,
    "value_min": -1.0,
    "value_max": 6.0,
}
KINDS = [
    RAINBOW,
    *(
        pytest.param(changes, marks=pytest.mark.slow)
        for changes in (
            {},
            {"double": True, "dueling": True, "hidden": (16, 16)},
            {"n_steps": 2, "num_steps": 3},
            {"prioritised": True, "priority_exponent": 1.0, "importance_exponent": 1.0},
            {"head": "categorical", "num_atoms": 31, "value_min": -1.0, "value_max": 6.0},
            {"head": "quantile", "num_atoms": 5, "huber_delta": 1.0, "n_steps": 2},
            {"replay": False, "num_envs": 16, "batch_size": 16, "buffer_size": 0, "learning_starts": 0},
            {"double": True},
            {"dueling": True},
            {"target_interval": 1, "target_step_size": 0.05},
            {"num_steps": 4, "num_gradient_steps": 4, "num_rounds": 10},
            {"num_envs": 1, "num_rounds": 160},
        )
    ),
]


def trained(env, num_updates=50, **changes):
    config = CONFIG.replace(**changes)
    return config, run(dqn.make, env, config, seeds=4, num_updates=num_updates, chunk_length=num_updates)


def values(env, config, done, obs):
    """Returns the action values of a batch of observations, [4, B, A]."""
    network, head = dqn.q_network(env, config), value_heads.make(config)
    return np.asarray(jax.vmap(lambda params: head.mean(network.apply(params, obs)))(done.state.params))


@pytest.mark.slow
@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_delayed_reward(changes):
    env = probes.delayed_reward()
    config, done = trained(env, **changes)
    expected = np.broadcast_to([[GAMMA, GAMMA], [1.0, 1.0]], (4, 2, 2))
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), expected, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_a_time_limit_is_not_an_end(changes):
    """Q -> r / (1 - gamma) through time limits, and r where the episode really ends."""
    env = probes.limit_or_end()
    config, done = trained(env, **changes)
    expected = np.broadcast_to([[1 / (1 - GAMMA)] * 2, [1.0] * 2], (4, 2, 2))
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), expected, rtol=0.1)


def test_constant_reward():
    env = probes.constant_reward()
    config, done = trained(env)
    np.testing.assert_allclose(values(env, config, done, jnp.array([0])), 1.0, atol=0.05)


def test_observation_dependent_reward():
    env = probes.observation_dependent_reward()
    config, done = trained(env)
    expected = np.broadcast_to([[-1.0, -1.0], [1.0, 1.0]], (4, 2, 2))
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), expected, atol=0.1)


def test_action_dependent_reward():
    env = probes.action_dependent_reward()
    config, done = trained(env)
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), [np.eye(2)] * 4, atol=0.1)


def test_masked_actions_are_never_taken():
    env = probes.masked_action()
    config, done = trained(env, epsilon_end=1.0)
    assert set(np.unique(done.state.buffer.items.action)) == {0, 1}
    np.testing.assert_allclose(values(env, config, done, jnp.array([0]))[:, 0, :2], [[0.5, 0.0]] * 4, atol=0.05)
    view = View(jnp.array([0]), jnp.array([[True, True, False]]), ())
    algorithm = dqn.make(env, config.replace(epsilon_end=0.2))
    chosen = jax.vmap(lambda state: algorithm.probabilities(state, view))(done.state)
    np.testing.assert_allclose(chosen[:, 0], [[0.9, 0.1, 0.0]] * 4, rtol=1e-6)


@pytest.mark.parametrize("double", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_value_of_an_illegal_action_never_enters_a_target(double):
    """The illegal action is given a huge value before training; it is never taken, so nothing else can bring it down."""
    masked = probes.masked_action()
    env = probes.delayed_reward().replace(action_space=Discrete(3), action_mask_fn=masked.action_mask_fn)
    config = CONFIG.replace(double=double, epsilon_end=0.2)
    algorithm = dqn.make(env, config)

    def prejudiced(params):
        return jax.tree.map(lambda leaf: leaf.at[2].add(1000.0) if leaf.shape == (3,) else leaf, params)

    def learn(key):
        state = jax.jit(algorithm.init)(key)
        state = state.replace(params=prejudiced(state.params), target_params=prejudiced(state.target_params))
        return scan_updates(algorithm, state, key, jnp.arange(20))[0]

    state = jax.jit(learn)(jax.random.key(0))
    found = dqn.q_network(env, config).apply(state.params, jnp.array([0, 1]))
    np.testing.assert_allclose(found[:, :2], [[GAMMA] * 2, [1.0] * 2], atol=0.1)
    assert (found[:, 2] > 900).all()


def test_what_was_drawn_is_drawn_again_by_its_error():
    """Priorities are (|y - Q(s, a)| + 1e-6)^alpha; what was not drawn keeps its own."""
    config = CONFIG.replace(prioritised=True, priority_exponent=0.7, num_rounds=1, learning_rate=1e-9)
    env = envs.make("cartpole")
    algorithm = dqn.make(env, config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    size = int(state.buffer.size)
    assert (dense(state)[:size] == 1.0).all()
    assert not dense(state)[size:].any()
    after, _ = jax.jit(algorithm.update)(state, jax.random.key(1))
    stored, total = after.buffer.items, int(after.buffer.size)
    network = dqn.q_network(env, config)
    q, following = network.apply(state.params, stored.obs), network.apply(state.target_params, stored.next_obs).max(-1)
    target = stored.reward + GAMMA * np.where(stored.terminated, 0.0, following)
    error = np.abs(target - np.take_along_axis(np.asarray(q), np.asarray(stored.action)[:, None], 1)[:, 0])
    found = dense(after)[:total]
    drawn = found != 1.0
    assert 8 < drawn.sum() <= config.batch_size
    np.testing.assert_allclose(found[drawn], (error[:total] + 1e-6)[drawn] ** 0.7, rtol=1e-4)


def dense(state):
    return np.asarray(state.buffer.priorities.levels[-1]).reshape(-1)


def test_the_weights_correct_fully_at_last():
    config = CONFIG.replace(prioritised=True, importance_exponent=0.4, importance_steps=100.0)
    found = [float(dqn.beta(config, jnp.int32(steps))) for steps in (0, 50, 100, 1000)]
    np.testing.assert_allclose(found, [0.4, 0.7, 1.0, 1.0], rtol=1e-6)


def test_the_learning_rate_falls_to_nothing():
    """Over the updates that are named; later ones learn nothing."""
    config = CONFIG.replace(anneal_updates=2.0, num_rounds=5)
    algorithm = dqn.make(probes.delayed_reward(), config)
    update, state = jax.jit(algorithm.update), algorithm.init(jax.random.key(0))
    moved = []
    for number in range(3):
        after, _ = update(state, jax.random.key(number))
        moved.append(
            sum(float(jnp.abs(a - b).sum()) for a, b in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True))
        )
        state = after
    assert moved[0] > moved[1] > moved[2] == 0.0


@pytest.mark.each
def test_nested_observations():
    env = probes.nested_observation()
    config, done = trained(env)
    obs = {"side": jnp.array([0, 1]), "vector": jnp.array([[0.0, 1.0], [1.0, 0.0]])}
    np.testing.assert_allclose(values(env, config, done, obs), [np.eye(2)] * 4, atol=0.1)


@pytest.mark.each
@pytest.mark.parametrize("dueling", [pytest.param(False, marks=pytest.mark.slow), True])
def test_images(dueling):
    env = probes.image_observation()
    config, done = trained(env, channels=(4,), dueling=dueling)
    obs = jnp.zeros((2, 4, 4, 1)).at[0, 0, 0].set(1.0).at[1, 3, 3].set(1.0)
    np.testing.assert_allclose(values(env, config, done, obs), [np.eye(2)] * 4, atol=0.1)


@pytest.mark.parametrize("double", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_network_of_the_users_learns(double):
    env = probes.nested_observation()
    config, done = trained(env, network=Residual, double=double)
    obs = {"side": jnp.array([0, 1]), "vector": jnp.array([[0.0, 1.0], [1.0, 0.0]])}
    np.testing.assert_allclose(values(env, config, done, obs), [np.eye(2)] * 4, atol=0.1)


def numpy_target(config, item, online, target):
    """r + gamma max Q_target, or with the action that the online network selects; nothing beyond a termination."""
    best = target[online.argmax()] if config.double else target.max()
    return item.reward + config.gamma * (0.0 if item.terminated else best)


@pytest.mark.parametrize("double", [False, True])
def test_the_loss_is_that_of_the_paper(double):
    """With room for one step only, the step that is learned from is known."""
    env, delta = envs.make("cartpole"), 0.5
    config = CONFIG.replace(double=double, huber_delta=delta, num_envs=1, num_rounds=1)
    config = config.replace(batch_size=1, buffer_size=1, learning_starts=1)
    algorithm, network = dqn.make(env, config), dqn.q_network(env, config)
    update, q = jax.jit(algorithm.update), jax.jit(network.apply)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    # Another target network, so that the two disagree on the best action.
    state = state.replace(target_params=jax.jit(algorithm.init)(jax.random.key(1)).target_params)
    disagreed = 0
    for i in range(60):
        before = state
        state, metrics = update(before, jax.random.key(i))
        item = jax.tree.map(lambda leaf: np.asarray(leaf)[0], state.buffer.items)
        online, target = (np.asarray(q(params, item.next_obs)) for params in (before.params, before.target_params))
        error = numpy_target(config, item, online, target) - np.asarray(q(before.params, item.obs))[item.action]
        disagreed += online.argmax() != target.argmax()
        np.testing.assert_allclose(metrics["td_error"], np.abs(error), rtol=1e-4, atol=1e-5)
        huber = 0.5 * error**2 if np.abs(error) <= delta else delta * (np.abs(error) - 0.5 * delta)
        np.testing.assert_allclose(metrics["loss"], huber, rtol=1e-4, atol=1e-5)
    assert disagreed


@functools.cache
def one_step(**changes):
    """States before and after 1, 2, 3, 4 gradient steps."""
    env = envs.make("cartpole")
    algorithm = dqn.make(env, CONFIG.replace(num_rounds=1, **changes))
    update, states = jax.jit(algorithm.update), [algorithm.init(jax.random.key(0))]
    for i in range(4):
        states.append(update(states[-1], jax.random.key(i))[0])
    return [(leaves(state.params), leaves(state.target_params)) for state in states]


def leaves(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_a_hard_target_is_copied_every_interval():
    states = one_step(target_interval=3)
    for _, target in states[:3]:
        np.testing.assert_array_equal(target, states[0][0])
    np.testing.assert_array_equal(states[3][1], states[3][0])
    np.testing.assert_array_equal(states[4][1], states[3][0])
    assert (states[4][0] != states[3][0]).any()


def test_a_soft_target_moves_by_its_step_size():
    states = one_step(target_interval=2, target_step_size=0.1)
    np.testing.assert_array_equal(states[1][1], states[0][1])
    for before, after in ((0, 2), (2, 4)):
        expected = 0.9 * states[before][1] + 0.1 * states[after][0]
        np.testing.assert_allclose(states[after][1], expected, rtol=1e-5, atol=1e-7)


def test_without_a_target_network():
    for params, target in one_step(target_interval=1, target_step_size=1.0):
        np.testing.assert_array_equal(params, target)


def test_the_greedy_policy_goes_by_averages_and_learning_does_not_change():
    env = envs.make("cartpole")
    plain, averaging = (CONFIG.replace(num_rounds=1, averaging=on, averaging_step_size=0.3) for on in (False, True))
    algorithm = dqn.make(env, averaging)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    other, average = jax.jit(dqn.make(env, plain).init)(jax.random.key(0)), leaves(state.params)
    update, update_plain = jax.jit(algorithm.update), jax.jit(dqn.make(env, plain).update)
    for i in range(4):
        state, other = update(state, jax.random.key(i))[0], update_plain(other, jax.random.key(i))[0]
        average = 0.7 * average + 0.3 * leaves(state.params)
        np.testing.assert_allclose(leaves(state.average_params), average, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(leaves(state.params), leaves(other.params))
    # On 100 observations: the greedy policy maximises the average's Q, the sampled one that of the newest parameters.
    flipped = state.replace(average_params=jax.tree.map(jnp.negative, state.params))
    obs = jax.random.normal(jax.random.key(5), (100, 4))
    values = dqn.q_network(env, averaging).apply(flipped.average_params, obs)
    view = View(obs, jnp.ones((100, 2), bool), ())
    act = functools.partial(algorithm.policy(flipped, True), jax.random.key(6))
    np.testing.assert_array_equal(jax.jit(act)(view).action, np.asarray(values).argmax(-1))
    sampled = algorithm.probabilities(flipped, view)
    np.testing.assert_array_equal(sampled.argmax(-1), dqn.q_network(env, averaging).apply(flipped.params, obs).argmax(-1))


def test_epsilon_falls_linearly_and_then_stays():
    config = CONFIG.replace(epsilon_start=0.9, epsilon_end=0.1, epsilon_steps=640.0)
    done = run(dqn.make, envs.make("cartpole"), config, seeds=2, num_updates=6, chunk_length=6)
    np.testing.assert_allclose(done.metrics["epsilon"], [[0.7, 0.5, 0.3, 0.1, 0.1, 0.1]] * 2, rtol=1e-5)


def test_probabilities_are_those_of_epsilon_greedy():
    env = envs.make("cartpole")
    algorithm = dqn.make(env, CONFIG.replace(epsilon_start=0.4, epsilon_end=0.4))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    view = View(state.episodes.obs, None, ())
    greedy = np.asarray(algorithm.policy(state, True)(jax.random.key(1), view).action)
    expected = 0.2 + 0.6 * np.eye(2)[greedy]
    np.testing.assert_allclose(algorithm.probabilities(state, view), expected, rtol=1e-5)
    sample = jax.vmap(lambda key: algorithm.policy(state, False)(key, view).action)
    taken = np.asarray(sample(jax.random.split(jax.random.key(2), 4000)))
    np.testing.assert_allclose((taken == greedy).mean(0), 0.8, atol=0.03)


def test_the_first_steps_are_random_and_stored():
    env = envs.make("corridor")
    state = dqn.make(env, CONFIG).init(jax.random.key(0))
    assert int(state.buffer.size) == 52  # 13 steps in each of 4 environments
    items = jax.tree.map(lambda leaf: np.asarray(leaf)[:52], state.buffer.items)
    moves = 2 * items.action - 1
    np.testing.assert_array_equal(items.next_obs, np.maximum(items.obs + moves, 0))
    np.testing.assert_array_equal(items.reward, items.terminated)
    assert 0.25 < items.action.mean() < 0.75


def test_dueling_advantages_sum_to_zero():
    env = envs.make("cartpole")
    network = dqn.q_network(env, CONFIG.replace(dueling=True, hidden=(32, 16)))
    obs = jax.random.normal(jax.random.key(0), (100, 4))
    params = jax.jit(network.init)(jax.random.key(1), obs)
    value, advantage = network.apply(params, obs, method="streams")
    np.testing.assert_allclose(advantage.mean(-1), 0.0, atol=1e-6)
    np.testing.assert_allclose(network.apply(params, obs).mean(-1), value[:, 0], atol=1e-6)
    assert advantage.std() > 0.1
    assert value.std() > 0.1


@pytest.mark.optimised
@pytest.mark.parametrize(
    "changes", [{"num_envs": 1}, {}, {"memory_size": 8, "sequence_length": 8}, {"prioritised": True, "n_steps": 3}], ids=str
)
def test_the_buffer_is_updated_in_place(changes):
    config = CONFIG.replace(buffer_size=100_000, **changes)
    assert_buffer_in_place(dqn.make, envs.make("cartpole"), config)


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        ("prisoners_dilemma", {}, ConfigError, "no agent axis, got 2"),
        ("pendulum", {}, SpaceError, "must be Discrete"),
        ("cartpole", {"gamma": 1.1}, ConfigError, r"gamma must lie in \[0, 1\], got 1.1"),
        ("cartpole", {"target_step_size": 1.5}, ConfigError, "target_step_size must lie in"),
        ("cartpole", {"epsilon_steps": 0.0}, ConfigError, "epsilon_steps must be positive"),
        ("cartpole", {"n_steps": 0}, ConfigError, "n_steps must be an integer of at least 1"),
        ("cartpole", {"n_steps": 80}, ConfigError, r"n_steps \* num_envs = 320\), got 302. Try buffer_size=320, or n_steps=75"),
        ("cartpole", {"n_steps": 20, "num_envs": 4}, ConfigError, r"needs n_steps \(20\).*got 14. Try learning_starts=76"),
        ("cartpole", {"priority_exponent": 1.5}, ConfigError, r"priority_exponent must lie in \[0, 1\]"),
        ("cartpole", {"head": "median"}, UnknownNameError, "no head is named 'median'"),
        ("cartpole", {"target_interval": 0}, ConfigError, "target_interval must be an integer of at least 1"),
        ("cartpole", {"buffer_size": 31}, ConfigError, r"at least batch_size \(32\), got 31. Try buffer_size=32"),
        ("cartpole", {"learning_starts": 303}, ConfigError, r"at least learning_starts \(304\), got 302"),
        ("cartpole", {"num_steps": 100}, ConfigError, r"num_envs \* num_steps \(400\), got 302"),
        ("cartpole", {"activation": "reluu"}, UnknownNameError, "Did you mean 'relu'"),
        ("cartpole", {"hidden": ()}, ConfigError, "at least one layer"),
        ("cartpole", {"network": Residual, "dueling": True}, ConfigError, "dqn: a network of your own .* without dueling"),
        ("cartpole", {"channels": (4,)}, SpaceError, r"shape \[H, W, C\]"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(env, changes, error, message):
    with pytest.raises(error, match=message):
        run(dqn.make, envs.make(env), CONFIG.replace(**changes), seeds=2, num_updates=2)
