"""The Decision Transformer: what it learns of data whose answers are known, and what its policy sees while it acts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.random_mdps import random_graph
from jaxrl.algorithms.offline import decision_transformer
from jaxrl.algorithms.offline.decision_transformer import Config, acting, first_memory, inputs, loss, remember, transformer
from jaxrl.blocks import datasets
from jaxrl.blocks.dataset_layouts import from_minari
from jaxrl.core import rollout
from jaxrl.core.rollout import LastStep
from jaxrl.core.spaces import Box, Discrete, MultiDiscrete
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.evaluation.episodes import evaluate
from jaxrl.training.runner import run
from tests.marks import slow

KEY = jax.random.key(0)
SMALL = {"context": 3, "width": 16, "num_layers": 1, "hidden": (16,)}
FAST = SMALL | {"batch_size": 32, "learning_rate": 1e-2, "num_gradient_steps": 150}


def episodes(actions, rewards, space):
    """Episodes of as many steps as there are columns, in which nothing but the time is seen. Both [N, T, ...]."""
    length = np.shape(rewards)[1]
    one = {
        "observations": np.linspace(0, 1, length + 1)[:, None],
        "terminations": np.arange(length) == length - 1,
        "truncations": np.zeros(length),
    }
    pairs = zip(np.asarray(actions, space.dtype), np.asarray(rewards, np.float64), strict=True)
    return from_minari([one | {"actions": action, "rewards": reward} for action, reward in pairs], Box(0.0, 1.0, (1,)), space)


def learned(data, **changes):
    """The configuration, and the state of its only seed."""
    config = Config(**(FAST | changes))
    done = run(decision_transformer.make, data, config, num_updates=2)
    assert not done.summary.failed_seeds
    return config, jax.tree.map(lambda leaf: leaf[0], done.state)


def played(data, config, state, env, requests, greedy=True):
    """The outcomes of one episode for each requested return."""

    def one(request):
        algorithm = decision_transformer.make(data, config.replace(requested_return=request))
        found = evaluate(KEY, env, algorithm.policy(state, greedy), 1, memory=algorithm.memory)
        return found.return_[0], found.length[0]

    return jax.jit(jax.vmap(one))(jnp.asarray(requests, jnp.float32))


# ---- what a policy sees


def test_acting_shows_the_windows_of_the_data():
    """Along an episode of the data whose return is requested, the network sees what windows of these data show."""
    env = envs.make("random_graph")
    data = datasets.collect(KEY, env, rollout.uniform_policy(env), 5)
    config, to_go, take_in = Config(**SMALL), datasets.returns_to_go(data), jax.jit(remember)
    for episode in range(5):
        memory = first_memory(data.observation_space, data.action_space, config.context)
        for t in range(int(data.lengths[episode])):
            memory, seen = take_in(memory, data.obs[episode, t], to_go[episode, 0])
            place = np.arange(t - 2, t + 1)
            valid = place >= 0
            np.testing.assert_array_equal(seen.valid, valid)
            np.testing.assert_array_equal(seen.t, np.maximum(place, 0))
            np.testing.assert_array_equal(seen.obs[valid], data.obs[episode, place[valid]])
            np.testing.assert_array_equal(seen.return_to_go[valid], to_go[episode, place[valid]])
            np.testing.assert_array_equal(seen.action[valid][:-1], data.action[episode, place[valid][:-1]])
            assert int(memory.t) == t + 1
            memory = memory._replace(last=LastStep(data.action[episode, t], data.reward[episode, t]))


def test_the_rollout_fills_the_memory_and_empties_it_with_the_episode():
    env = envs.make("corridor", length=3)
    data = datasets.collect(KEY, env, rollout.uniform_policy(env), 2, 4)
    config = Config(**SMALL, requested_return=5.0)
    algorithm = decision_transformer.make(data, config)
    policy = algorithm.policy(jax.jit(algorithm.init)(KEY), False)
    under_way, ended = rollout.start(KEY, env, 4, algorithm.memory), False

    @jax.jit
    def step(key, before):
        decision = policy(key, rollout.view(env, before))
        return decision, *rollout.advance_all(key, env, before, decision)

    for key in jax.random.split(KEY, 12):
        before = under_way
        decision, under_way, seen = step(key, before)
        np.testing.assert_allclose(decision.memory.to_go[:, -1], 5.0 - before.return_, atol=1e-5)
        np.testing.assert_array_equal(decision.memory.obs[:, -1], before.obs)
        np.testing.assert_array_equal(under_way.memory.t, np.where(seen.done, 0, before.memory.t + 1))
        ended |= bool(seen.done.any())
    assert ended


# ---- what is learned


def test_the_loss_by_hand():
    """The mean over valid steps of minus the log-probability among legal actions."""
    env = envs.make("random_graph", num_nodes=5, edge_probability=0.5)
    data = datasets.collect(KEY, env, rollout.uniform_policy(env), 6)
    config = Config(**SMALL, return_scale=2.0)
    network = transformer(data, config)
    batch = datasets.windows(KEY, data, 4, config.context)
    assert not batch.valid.all()
    arguments = inputs(config, data.action_space, batch)
    np.testing.assert_array_equal(arguments[0], batch.return_to_go / 2)
    params = jax.jit(network.init)(KEY, *arguments)
    logits = np.where(batch.mask, jax.jit(network.apply)(params, *arguments), -np.inf).astype(np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    taken = np.take_along_axis(log_probs, np.asarray(batch.action)[..., None], -1)[..., 0]
    value, metrics = jax.jit(partial(loss, network, config, data.action_space))(params, batch)
    np.testing.assert_allclose(value, -taken[np.asarray(batch.valid)].mean(), rtol=1e-5)
    assert metrics == {"loss": value}


@pytest.mark.slow
@pytest.mark.parametrize("request_", [slow(0.0), 1.0, slow(2.0)])
def test_the_policy_of_two_steps_is_that_of_the_data_with_this_return(request_):
    """Each of two steps pays its action; four episodes hold every choice. A return of 1 has two ways."""
    actions = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    data = episodes(actions, actions, Discrete(2))
    config, state = learned(data)
    network = transformer(data, config)
    batch = datasets.windows(KEY, data, 64, 3)
    chosen = batch._replace(return_to_go=batch.return_to_go.at[:].set(request_))
    outputs = network.apply(state.params, *inputs(config, data.action_space, chosen))
    first = np.asarray(jax.nn.softmax(outputs))[np.asarray(batch.valid & (batch.t == 0))][0]
    np.testing.assert_allclose(first[1], request_ / 2, atol=0.07)


@pytest.mark.slow
@pytest.mark.parametrize("space", [Box(-2.0, 6.0, (1,)), slow(Box(-np.inf, np.inf, (1,)))])
def test_real_actions_come_to_the_requested_return(space):
    """One step pays its action: the action that was asked for is taken, in the units of the environment."""
    actions = np.linspace(-1.0, 3.0, 9)[:, None, None]
    data = episodes(actions, actions[..., 0], space)
    config, state = learned(data, learning_rate=3e-3, num_gradient_steps=300)
    view = rollout.View(jnp.zeros((1, 1)), None, jax.tree.map(lambda leaf: leaf[None], first_memory(*spaces_of(data), 3)))
    network = transformer(data, config)
    for request in (-0.5, 1.0, 2.5):
        policy = acting(network, config.replace(requested_return=request), space, state.params, False)
        np.testing.assert_allclose(policy(KEY, view).action, [[request]], atol=0.2)


def spaces_of(data):
    return data.observation_space, data.action_space


def test_walks_on_a_graph_are_as_short_as_they_are_asked_to_be():
    """On a ring of five nodes the goal is one step away or four: in data of random walks, what is asked for is done."""
    ring = np.roll(np.eye(5, dtype=bool), 1, 0) | np.roll(np.eye(5, dtype=bool), -1, 0)
    params = random_graph.Params(jnp.asarray(ring), jnp.int32(0), jnp.eye(5)[1])
    env = random_graph.of(params)
    anywhere = env.replace(params=params.replace(initial=jnp.float32([0, 0.25, 0.25, 0.25, 0.25])))
    data = datasets.collect(KEY, anywhere, rollout.uniform_policy(env), 400)
    config, state = learned(data, return_scale=10.0, context=4, batch_size=64, num_gradient_steps=200)
    returns, lengths = played(data, config, state, env, [-1.0, -4.0])
    np.testing.assert_array_equal(returns, [-1.0, -4.0])
    np.testing.assert_array_equal(lengths, [1, 4])


def test_a_sweep_over_requests_compiles_nothing_again():
    env = envs.make("corridor", length=3)
    data = datasets.collect(KEY, env, rollout.uniform_policy(env), 4, 6)
    traced = []

    @jax.jit
    def act(config, state, view):
        traced.append(config)
        return decision_transformer.make(data, config).policy(state, True)(KEY, view).memory.to_go[:, -1]

    config = Config(**SMALL)
    algorithm = decision_transformer.make(data, config)
    state, view = jax.jit(algorithm.init)(KEY), rollout.view(env, rollout.start(KEY, env, 2, algorithm.memory))
    for request in (1.0, 2.5, -3.0):
        np.testing.assert_array_equal(act(config.replace(requested_return=request), state, view), [request] * 2)
    assert len(traced) == 1


# ---- refusals


def test_what_is_refused():
    data = episodes([[0, 1]], [[0.0, 1.0]], Discrete(2))
    several = episodes([[[0, 1]]], [[0.0]], MultiDiscrete((2, 3)))
    with pytest.raises(SpaceError, match="decision_transformer: the action_space must be Discrete or a Box, got MultiDiscrete"):
        Config().validate(several)
    with pytest.raises(ConfigError, match=r"width \(128\) must be divisible by num_heads, got 3. Try num_heads=2"):
        Config(num_heads=3).validate(data)
    with pytest.raises(ConfigError, match="return_scale must be positive"):
        Config(return_scale=0.0).validate(data)
    with pytest.raises(ConfigError, match="requested_return must be"):
        Config(requested_return=float("inf")).validate(data)
    with pytest.raises(ConfigError, match="context must be an integer of at least 1"):
        Config(context=0).validate(data)
    with pytest.raises(ConfigError, match="the task must be a Dataset"):
        Config().validate(envs.make("corridor"))
