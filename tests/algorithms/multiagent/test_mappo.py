"""MAPPO and IPPO: one agent is PPO to the last bit, several pass the probes, whatever they share; who is left out of a loss."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.matrix_games import matrix_game, named
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.multiagent import mappo
from jaxrl.blocks import agents, moments
from jaxrl.core import rollout
from jaxrl.core.averages import is_sound
from jaxrl.core.environment import Step
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Discrete
from jaxrl.core.transforms import with_action_mask, with_reward, with_temperature
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.evaluation import Episodes, NashConv
from jaxrl.solvers.quantal_response import logit_equilibrium
from jaxrl.training.runner import run
from tests import probes
from tests.copies import copies
from tests.marks import slow
from tests.own_networks import Residual

GAMMA = 0.8
PPO: Any = ppo.Config(
    learning_rate=1e-2,
    gamma=GAMMA,
    num_envs=4,
    num_steps=32,
    hidden=(16,),
    num_minibatches=2,
    activation="relu",
    clip_value=False,
)
CONFIG: Any = mappo.Config(**{**vars(PPO), "normalize_value": True})
KINDS = [
    {},
    slow({"centralized": False, "agent_ids": True}),
    slow({"shared_parameters": False}),
    slow({"centralized": False, "shared_parameters": False, "normalize_value": False}),
]


def trained(env, num_updates=100, evaluators=(), **changes):
    config = CONFIG.replace(anneal_updates=float(num_updates), **changes)
    whole = num_updates
    return config, run(mappo.make, env, config, seeds=2, num_updates=whole, chunk_length=whole, evaluators=evaluators)


def values(env, config, done, obs):
    """Returns what the critic says of states in which all N agents see the same, obs[B], float[2, B, N]."""
    network, _ = mappo.learners(env, config)
    obs = jnp.stack([obs] * env.num_agents, axis=1)[None]
    features = jax.nn.one_hot(obs, env.observation_space.n)
    global_obs = features.reshape(*features.shape[:2], -1)

    def value(learner, obs):
        output, _ = network.apply(learner.params, obs, None, (), global_obs, method="assess")
        return (output if learner.values is None else moments.denormalize(learner.values, output))[0]

    if not config.shared_parameters:
        value = jax.vmap(value, in_axes=(0, 2), out_axes=1)
    return np.asarray(jax.vmap(value, in_axes=(0, None))(done.state.learner, obs))


def probabilities(env, config, done, obs, mask=None):
    """Returns the probabilities of the actions where all N agents see the same, obs[B]: [2, B, N, A]."""
    algorithm = mappo.make(env, config)
    view = View(jnp.stack([obs] * env.num_agents, axis=1), mask, ())
    return np.asarray(jax.vmap(lambda state: algorithm.probabilities(state, view))(done.state))


# ---- one agent


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cartpole", {}),
        slow("cartpole", {"normalize_value": True, "clip_value": True}),
        slow("pendulum", {"normalize_observation": True, "normalize_reward": True}),
        slow("cartpole", {"memory_size": 8}),
        slow("cartpole", {"memory_size": 8, "memory": "attention", "memory_length": 4}),
        slow("cartpole", {"target_kl": 1e-3, "normalize_advantage": False}),
        slow("pendulum", {"policy_head": "beta"}),
    ],
    ids=str,
)
def test_one_agent_is_ppo(name, changes):
    """The same parameters after several updates, whose critic is central or not. With a core, sums run in another order."""
    env = envs.make(name)
    alone = run(ppo.make, env, PPO.replace(**changes), seeds=2, num_updates=3)
    for centralized in (False,) if "memory_size" in changes else (False, True):
        config = CONFIG.replace(**{"normalize_value": False, "centralized": centralized, **changes})
        found = run(mappo.make, copies(env, 1), config, seeds=2, num_updates=3)
        tolerance = 1e-5 if "memory_size" in changes else 0
        for one, other in zip(jax.tree.leaves(alone.state.params), jax.tree.leaves(found.state.params), strict=True):
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
        assert not np.array_equal(alone.metrics["value_loss"][:, 0], alone.metrics["value_loss"][:, 1])


# ---- probes


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_a_time_limit_is_not_an_end(changes):
    """V -> r / (1 - gamma) through time limits, and r where the episode really ends."""
    env = copies(probes.limit_or_end(), 2)
    config, done = trained(env, **changes)
    found = values(env, config, done, jnp.array([0, 1]))
    np.testing.assert_allclose(found[:, 0], 1 / (1 - GAMMA), rtol=0.1)
    np.testing.assert_allclose(found[:, 1], 1.0, rtol=0.1)


@pytest.mark.parametrize("changes", [{}, slow({"centralized": False}), slow({"shared_parameters": False})], ids=str)
def test_action_dependent_reward(changes):
    env = copies(probes.action_dependent_reward(), 2)
    config, done = trained(env, **changes)
    chosen = probabilities(env, config, done, jnp.array([0, 1]))
    assert (chosen[:, [0, 1], :, [0, 1]] > 0.9).all()


@pytest.mark.parametrize("changes", KINDS[:1] + [slow({"shared_parameters": False}), slow({"centralized": False})], ids=str)
def test_a_network_of_the_users_learns(changes):
    env = copies(probes.action_dependent_reward(), 2)
    config, done = trained(env, 60, network=Residual, **changes)
    chosen = probabilities(env, config, done, jnp.array([0, 1]))
    assert (chosen[:, [0, 1], :, [0, 1]] > 0.9).all()


def _by_rank(pay, obs, action, next_obs):
    return pay


@pytest.mark.parametrize(
    "changes", [{}, slow({"centralized": False, "agent_ids": True}), slow({"shared_parameters": False})], ids=str
)
def test_agents_are_valued_by_what_each_is_paid(changes):
    env = with_reward(copies(probes.constant_reward(), 3), _by_rank, jnp.array([1.0, -2.0, 5.0]))
    config, done = trained(env, **changes)
    np.testing.assert_allclose(values(env, config, done, jnp.array([0])), [[[1.0, -2.0, 5.0]]] * 2, atol=0.2)


def test_masked_actions_are_never_taken():
    env = copies(probes.masked_action(), 2)
    config, done = trained(env)
    chosen = probabilities(env, config, done, jnp.array([0]), jnp.array([[[True, True, False]] * 2]))
    assert (chosen[..., 2] == 0).all()
    assert (chosen[..., 0] > 0.9).all()
    np.testing.assert_allclose(values(env, config, done, jnp.array([0])), 0.5, atol=0.05)


@pytest.mark.each
@pytest.mark.parametrize(
    "changes", [{}, slow({"normalize_observation": True, "shared_parameters": False}), slow({"memory_size": 8})], ids=str
)
def test_nested_observations(changes):
    env = copies(probes.nested_observation(), 2)
    _, done = trained(env, evaluators=(Episodes(env, modes=("greedy",)),), **changes)
    assert (done.evaluations["greedy_return"][:, -1] == 2).all()


@pytest.mark.each
@pytest.mark.parametrize("changes", [{}, slow({"shared_parameters": False}), slow({"centralized": False})], ids=str)
def test_nested_actions(changes):
    """As PPO's: what each agent earns is at most 2, unless a mask is ignored."""
    env = copies(probes.nested_action(), 2)
    _, done = trained(env, 150, ent_coef=0.0, **changes)
    assert done.metrics["episode_return"].max() <= 4.0
    assert (done.metrics["episode_return"][:, -5:].mean(1) > 3.5).all()


@pytest.mark.each
def test_images():
    env = copies(probes.image_observation(), 2)
    _, done = trained(env, channels=(4,), learning_rate=3e-3, evaluators=(Episodes(env, modes=("greedy",)),))
    assert (done.evaluations["greedy_return"][:, -1] == 2).all()


@pytest.mark.each
@pytest.mark.parametrize(
    "changes", [{}, slow({"shared_parameters": False}), slow({"shared_parameters": False, "policy_head": "beta"})], ids=str
)
def test_continuous_actions(changes):
    """The reward is minus the squared distance to the observation; an agent that ignores it gets -1/3 at best."""
    env = copies(probes.continuous_action(2.0), 2)
    _, done = trained(env, 150, ent_coef=0.0, **changes)
    assert (done.metrics["episode_return"][:, -5:].mean(1) > -0.2).all()


@pytest.mark.parametrize(("memory_size", "low", "high"), [slow(16, 1.9, 2.0), slow(0, 0.8, 1.2)])
def test_memory_brings_the_cue_to_the_junction(memory_size, low, high):
    env = copies(envs.make("t_maze", length=2), 2)
    evaluator = Episodes(env, num_episodes=256, modes=("greedy",))
    changes = {"num_envs": 16, "hidden": (16, 16), "learning_rate": 3e-3, "gamma": 0.95, "memory_size": memory_size}
    _, done = trained(env, 80, (evaluator,), **changes)
    found = done.evaluations["greedy_return"][:, -1]
    assert (found >= low).all()
    assert (found <= high).all()


@pytest.mark.slow
def test_the_prisoners_defect():
    env, evaluator = envs.make("prisoners_dilemma"), NashConv(named.PRISONERS_DILEMMA)
    _, done = trained(env, 60, (evaluator,), shared_parameters=False, centralized=False)
    np.testing.assert_array_equal(done.evaluations["greedy_nash_conv"][:, -1], 0)
    np.testing.assert_allclose(done.evaluations["sampled_nash_conv"][:, -1], 0, atol=0.2)


# ---- bounded rationality

# The second player has the same game with the roles exchanged, so that one policy serves both.
SYMMETRIC = np.array([[3.0, 0.0], [5.0, 1.0]])
BOUNDED: Any = {
    "bounded": True,
    "ent_coef": 1.0,
    "normalize_advantage": False,
    "centralized": False,
    "num_envs": 256,
    "num_steps": 1,
    "num_minibatches": 1,
}


def test_bounded_agents_are_in_the_logit_equilibrium_of_the_temperature_that_they_see():
    temperatures = np.array([0.5, 1.0, 4.0])
    game = np.stack([SYMMETRIC, SYMMETRIC.T])
    env = with_temperature(matrix_game.make(game), 0.25, 8.0)
    config, done = trained(env, 300, **BOUNDED)
    logs = jnp.broadcast_to(jnp.log(jnp.asarray(temperatures, jnp.float32))[:, None], (3, 2))
    view = View({"log_temperature": logs, "obs": jnp.zeros((3, 2), jnp.int32)}, None, ())
    algorithm = mappo.make(env, config)
    found = np.asarray(jax.vmap(lambda state: algorithm.probabilities(state, view))(done.state))
    for place, temperature in enumerate(temperatures):
        exact = logit_equilibrium(game, 1 / temperature).profile[0]
        np.testing.assert_allclose(found[:, place, 0], np.broadcast_to(exact, (2, 2)), atol=0.05)


@pytest.mark.parametrize(
    ("env", "changes", "message"),
    [
        (matrix_game.make(named.CHICKEN), {}, "bounded agents must observe their log_temperature"),
        (with_temperature(matrix_game.make(named.CHICKEN), 0.1, 1.0), {"normalize_observation": True}, "normalize_observation"),
    ],
)
def test_bounded_agents_that_cannot_be_are_refused(env, changes, message):
    with pytest.raises(ConfigError, match=message):
        CONFIG.replace(**BOUNDED, **changes).validate(env)


# ---- who is left out


def _waits(state, params):
    return jnp.array([True, False]) | (state == 0)


def test_what_an_inactive_agent_is_paid_counts():
    """In the second state the agents have one action, and earn 1: the first is worth gamma."""
    env = copies(with_action_mask(probes.delayed_reward(), _waits), 2)
    config, done = trained(env)
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1]))[..., 0], [[GAMMA, 1.0]] * 2, atol=0.1)


def experience(key, agents=3):
    """A block of random transitions [8, 4, N] with observations float32[4] and 2 actions."""
    keys = jax.random.split(key, 5)
    shape = (8, CONFIG.num_envs, agents)
    obs, next_obs = jax.random.normal(keys[0], (2, *shape, 4))
    raw, reward = jax.random.bernoulli(keys[1], 0.5, shape).astype(jnp.int32), jax.random.normal(keys[2], shape)
    outputs = jax.random.normal(keys[3], (*shape, 2))
    ends, t = jax.random.bernoulli(keys[4], 0.1, (2, *shape[:2])), jnp.zeros(shape[:2], jnp.int32)
    extras = {"raw_action": raw, "outputs": outputs}
    return rollout.Transition(obs, raw, reward, next_obs, ends[0], ends[1] & ~ends[0], None, None, t, reward, extras)


def learner_of(**changes):
    env = copies(envs.make("cartpole"), 3)
    _, learning = mappo.learners(env, CONFIG.replace(num_steps=8, centralized=False, **changes))
    batch = experience(jax.random.key(0))
    shared = changes.get("shared_parameters", True)
    key = jax.random.key(1)
    learner = learning.init(key if shared else jax.random.split(key, 3), batch.obs[0], (), None)
    return learner, batch, jax.jit(lambda learner, batch: learning.learn(learner, batch, (), jax.random.key(2))[0])


def test_the_steps_of_an_inactive_agent_do_not_move_the_policy():
    """What it did there, and what its network said, changes nothing at all; where it had a choice, it does."""
    learner, batch, learn = learner_of()
    mask = jnp.ones((8, 4, 3, 2), bool).at[3:, :, 1, 1].set(False)
    batch = batch._replace(mask=mask, extras=batch.extras | {"raw_action": jnp.where(mask[..., 1], batch.action, 0)})

    def changed(where):
        raw, outputs = batch.extras["raw_action"], batch.extras["outputs"]
        other = {"raw_action": jnp.where(where, 1 - raw, raw), "outputs": jnp.where(where[..., None], outputs[::-1], outputs)}
        return learn(learner, batch._replace(extras=other)).params

    expected, idle = learn(learner, batch).params, ~mask.all(-1)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(changed(idle)), strict=True):
        np.testing.assert_array_equal(one, other)
    elsewhere = changed(jnp.zeros_like(idle).at[0, 0, 1].set(True))
    assert any(not np.array_equal(one, other) for one, other in zip(*map(jax.tree.leaves, (expected, elsewhere)), strict=True))


@pytest.mark.parametrize("changes", [{}, slow({"shared_parameters": False})], ids=str)
@pytest.mark.parametrize("masked", [slow(False), True])
def test_minibatches_of_one_step_learn(changes, masked):
    """As many minibatches as joint steps; with masks, the agents have a choice in every second step alone."""
    env = copies(probes.action_dependent_reward(), 2)
    if masked:
        env = with_action_mask(env, _idle_in_one)
    changes = changes | {"num_envs": 4, "num_steps": 4, "num_minibatches": 16, "learning_rate": 3e-3}
    config, done = trained(env, 40, ent_coef=0.0, **changes)
    mask = None if not masked else jnp.array([[[True, True]] * 2, [[True, False]] * 2])[jnp.array([1, 0])]
    chosen = probabilities(env, config, done, jnp.array([0, 1]), mask)
    assert (chosen[:, 1, :, 1] > 0.9).all()


def _idle_in_one(state, params):
    """In state 0 the first action is the only one."""
    return jnp.stack([jnp.ones_like(state.states, bool), state.states == 1], axis=-1)


def test_entropy_of_separate_networks_is_that_of_the_agents_that_choose():
    """Agents that choose among four actions at one step of 32: log 4, in whichever of four minibatches that step is."""
    env = copies(with_action_mask(_rarely_chooses(), _one_of_many), 2)
    sizes = {"num_envs": 1, "num_steps": 32, "num_epochs": 1, "num_minibatches": 4}
    config = CONFIG.replace(**sizes, learning_rate=1e-8, shared_parameters=False)
    done = run(mappo.make, env, config, seeds=1, num_updates=1)
    np.testing.assert_allclose(done.metrics["entropy"], np.log(4), rtol=1e-3)


def _rarely_chooses():
    return dataclasses.replace(
        probes.time_limit_loop(), action_space=Discrete(4), max_steps=1000, step_fn=_count, reset_fn=_at_zero
    )


def _at_zero(key, params):
    return jnp.int32(0), jnp.int32(0)


def _count(key, state, action, params):
    return Step(jnp.int32(0), state + 1, jnp.float32(1.0), jnp.bool_(False))


def _one_of_many(state, params):
    return jnp.array([True, False, False, False]) | (state == 7)


# ---- symmetries


def permuted(batch, order):
    axes = agents.transition_axes(2)._asdict()
    leaves = {
        name: jax.tree.map(lambda leaf: leaf[:, :, order], leaf) if axes[name] else leaf for name, leaf in batch._asdict().items()
    }
    return rollout.Transition(**leaves)


@pytest.mark.parametrize("changes", [{}, slow({"agent_ids": True}), {"shared_parameters": False}], ids=str)
def test_permuted_agents_learn_permuted_things(changes):
    """Shared parameters do not notice the order unless agents are numbered; networks of their own change places."""
    order = jnp.array([2, 0, 1])
    learner, batch, learn = learner_of(**changes)
    expected, before = learn(learner, batch), learner
    if "shared_parameters" in changes:
        before, expected = jax.tree.map(lambda leaf: leaf[order], (before, expected))
    found = learn(before, permuted(batch, order))
    close = [
        np.allclose(one, other, atol=1e-4)
        for one, other in zip(jax.tree.leaves(expected.params), jax.tree.leaves(found.params), strict=True)
    ]
    assert all(close) != ("agent_ids" in changes)
    moved = [np.abs(one - other).max() for one, other in zip(*map(jax.tree.leaves, (before.params, found.params)), strict=True)]
    assert min(moved) > 1e-3


def _scaled(scale, obs, action, next_obs):
    return scale * jnp.where(action == obs, 1.0, 0.0)


def test_the_unit_of_the_reward_does_not_matter():
    """Rewards in another unit, and moments in that unit, make the same update."""
    env = copies(probes.action_dependent_reward(), 2)
    step = jax.jit(lambda env, state, key: mappo.make(env, CONFIG.replace(ent_coef=0.0)).update(state, key)[0])
    plain, scaled = (with_reward(env, _scaled, jnp.float32(scale)) for scale in (1.0, 1000.0))
    state = step(plain, mappo.make(plain, CONFIG).init(jax.random.key(0)), jax.random.key(1))
    seen = state.learner.values
    in_unit = seen.replace(origin=1000 * seen.origin, mean=1000 * seen.mean, variance=1e6 * seen.variance)
    other = state.replace(learner=state.learner.replace(values=in_unit))
    first, second = step(plain, state, jax.random.key(2)), step(scaled, other, jax.random.key(2))
    for one, other in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    np.testing.assert_allclose(1e6 * first.learner.values.variance, second.learner.values.variance, rtol=1e-3)


# ---- shapes and refusals


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("simple_spread", {}),
        slow("pursuit", {}),
        slow("simple_spread", {"shared_parameters": False, "memory_size": 8}),
        slow("pursuit", {"shared_parameters": False, "memory_size": 8}),
    ],
    ids=str,
)
def test_shapes_where_there_is_a_global_observation(name, changes):
    env = envs.make(name)
    algorithm = mappo.make(env, CONFIG.replace(**changes))
    state, metrics = jax.jit(algorithm.update)(jax.jit(algorithm.init)(jax.random.key(0)), jax.random.key(1))
    assert all(is_sound(value) for value in metrics.values())
    decision = algorithm.policy(state, True)(jax.random.key(1), View(state.episodes.obs, None, state.episodes.memory))
    assert decision.action.shape == (4, env.num_agents)
    if algorithm.probabilities is not None:
        chosen = algorithm.probabilities(state, View(state.episodes.obs, None, ()))
        assert chosen.shape == (4, env.num_agents, 5)
        np.testing.assert_array_equal(chosen.argmax(-1), decision.action)


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        ("cartpole", {}, ConfigError, r"mappo: the environment must have an agent axis \(num_agents\), got None"),
        ("pursuit", {"agent_ids": True, "shared_parameters": False}, ConfigError, "agent_ids need shared_parameters"),
        ("pursuit", {"network": Residual, "agent_ids": True}, ConfigError, "mappo: a network of your own .* without agent_ids"),
        ("pursuit", {"network": Residual, "memory_size": 4}, ConfigError, "mappo: a network of your own .* without memory_size"),
        ("pursuit", {"num_minibatches": 3}, ConfigError, r"mappo: num_envs \* num_steps \(128\) must be divisible"),
        ("pursuit", {"channels": (4,)}, SpaceError, r"mappo: channels need observations of shape \[H, W, C\]"),
        ("pursuit", {"gamma": 1.5}, ConfigError, r"mappo: gamma must lie in \[0, 1\]"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(env, changes, error, message):
    with pytest.raises(error, match=message):
        run(mappo.make, envs.make(env), CONFIG.replace(**changes), seeds=2, num_updates=2)
