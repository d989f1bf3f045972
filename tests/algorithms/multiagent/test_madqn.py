"""Deep Q-learning of several agents: one agent is DQN, targets by hand, mixers, and what teams can and cannot represent."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.markov_games import two_step
from envs.matrix_games import matrix_game, named
from jaxrl.algorithms.deep import dqn
from jaxrl.algorithms.multiagent import madqn
from jaxrl.blocks.stored_steps import Experience, Sample
from jaxrl.core.spaces import joint
from jaxrl.core.transforms import with_action_mask
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.evaluation import GreedyActions, TeamReturn
from jaxrl.training.runner import run
from tests import probes
from tests.copies import copies
from tests.marks import slow

SMALL = madqn.Config(
    learning_rate=3e-3,
    num_envs=4,
    num_rounds=50,
    batch_size=32,
    buffer_size=1024,
    learning_starts=64,
    hidden=(16,),
    mixing_size=8,
    target_interval=20,
    epsilon_end=1.0,
    agent_ids=True,
)


def trained(env, num_updates=20, evaluators=(), **changes):
    config = SMALL.replace(**changes)
    return config, run(madqn.make, env, config, seeds=2, num_updates=num_updates, evaluators=evaluators)


def stored(env, config, seed=0):
    """Returns a team with random parameters and target parameters, and what its replay memory holds at first."""
    team, algorithm = madqn.Team(env, config), madqn.make(env, config)
    keys = jax.random.split(jax.random.key(seed))
    one, other = (jax.jit(algorithm.init)(key) for key in keys)
    batch = jax.tree.map(lambda leaf: leaf[:8], one.buffer.items)
    return team, one.params, other.params, batch


def test_one_agent_is_dqn():
    """The targets and the loss of the same parameters and steps, to the last bit."""
    single, env = envs.make("cartpole"), copies(envs.make("cartpole"), 1)
    config = SMALL.replace(agent_ids=False, double=True)
    team, params, target_params, batch = stored(env, config)
    deep = dqn.Config(hidden=config.hidden, gamma=config.gamma, double=True)
    network, head = dqn.q_network(single, deep), dqn.value_heads.make(deep)
    own = jax.tree.map(lambda leaf: leaf[:, 0], (batch.obs, batch.action, batch.reward, batch.next_obs))
    steps = Experience(*own, batch.terminated, None, None, None, ())
    expected = dqn.targets(network, head, deep, params.agents, target_params.agents, Sample(steps, deep.gamma))
    found = madqn.targets(team, params, target_params, batch)
    np.testing.assert_array_equal(found[:, 0], expected)
    total = dqn.loss(network, head, deep, params.agents, (Sample(steps, deep.gamma), expected))[0]
    np.testing.assert_array_equal(madqn.loss(team, params, (batch, found))[0], total)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("mixer", madqn.MIXERS)
def test_targets_by_hand(mixer, double):
    env = two_step.make()
    config = SMALL.replace(mixer=mixer, double=double)
    team, params, target_params, batch = stored(env, config)
    following, selector = (team.values(one, batch.next_obs, None) for one in (target_params, params if double else target_params))
    found = madqn.targets(team, params, target_params, batch)
    for row in range(8):
        chosen = jnp.stack([following[row, i, int(selector[row, i].argmax())] for i in range(2)])
        value = team.mixed(target_params, chosen[None], None if batch.next_state is None else batch.next_state[row : row + 1])[0]
        expected = batch.reward[row] + 0.99 * jnp.where(batch.terminated[row], 0.0, value)
        np.testing.assert_allclose(found[row], expected, rtol=1e-5)


def of_one_legal_action(state, params):
    """A mask: the second agent waits in game A and game B."""
    return jnp.array([[True, True], [True, False]]) | (state == two_step.FIRST)


@pytest.mark.parametrize("mixer", ["none", "sum"])
def test_an_agent_that_waits_is_valued_by_its_one_action(mixer):
    env = with_action_mask(two_step.make(), of_one_legal_action)
    team, params, target_params, batch = stored(env, SMALL.replace(mixer=mixer))
    going_on = ~np.asarray(batch.terminated)
    assert 0 < going_on.sum() < 8
    following, selector = (np.asarray(team.values(one, batch.next_obs, None)) for one in (target_params, params))
    first = np.take_along_axis(following[:, 0], selector[:, 0].argmax(-1)[:, None], 1)[:, 0]
    expected = 0.99 * np.stack([first, following[:, 1, 0]], -1)
    expected = expected if mixer == "none" else expected.sum(-1)
    np.testing.assert_allclose(madqn.targets(team, params, target_params, batch)[going_on], expected[going_on], rtol=1e-5)


def test_a_team_is_paid_the_mean_and_sees_all_observations():
    env = envs.make("speaker_listener")
    _, _, _, alone = stored(env, SMALL)
    _, _, _, team = stored(env, SMALL.replace(mixer="monotonic"))
    np.testing.assert_allclose(team.reward, alone.reward.mean(-1), rtol=1e-6)
    assert alone.state is None
    assert team.state.shape[1] == jax.vmap(env.global_obs)(jax.vmap(env.reset)(jax.random.split(jax.random.key(0)))[1]).shape[1]
    game = two_step.make()  # has no global observation
    _, _, _, team = stored(game, SMALL.replace(mixer="monotonic"))
    np.testing.assert_array_equal(team.state, joint(game.observation_space, team.obs))
    np.testing.assert_array_equal(team.next_state, joint(game.observation_space, team.next_obs))


def test_a_fingerprint_is_epsilon_as_of_then():
    config = SMALL.replace(fingerprint=True, epsilon_start=0.8, epsilon_end=0.1, epsilon_steps=1_000.0)
    env = two_step.make()
    algorithm = madqn.make(env, config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    noted = np.asarray(state.buffer.items.epsilon)[: int(state.buffer.size)]
    np.testing.assert_allclose(noted, 0.8)
    after, _ = jax.jit(algorithm.update)(state, jax.random.key(1))
    noted = np.asarray(after.buffer.items.epsilon)[: int(after.buffer.size)]
    np.testing.assert_allclose(np.unique(noted)[[0, -1]], [0.8 - 0.7 * 49 * 4 / 1_000, 0.8], rtol=1e-5)
    inputs = madqn.Team(env, config).inputs(jnp.zeros((1, 2), jnp.int32), jnp.array([0.3]))
    np.testing.assert_allclose(inputs[0], [[1, 0, 0, 0, 1, 0, 0.3], [1, 0, 0, 0, 0, 1, 0.3]], rtol=1e-6)


@pytest.mark.parametrize(("mixer", "expected"), [("none", 7.0), ("sum", 7.0), ("monotonic", 8.0)])
def test_the_two_step_game(mixer, expected):
    """From uniform data a sum of values prefers the safe 7, and a monotonic mixture finds the 8."""
    env = two_step.make()
    config, done = trained(env, num_updates=40, evaluators=[TeamReturn.of(env)], mixer=mixer)
    np.testing.assert_allclose(done.evaluations["greedy_exact_return"][:, -1], expected)
    if mixer == "sum":
        team, obs = madqn.Team(env, config), jnp.full((1, 2), two_step.B)
        values = jax.vmap(lambda params: team.values(params, obs, None)[0])(done.state.params)
        fit = values[:, 0, :, None] + values[:, 1, None, :]
        np.testing.assert_allclose(fit, [[[-1.5, 2.5], [2.5, 6.5]]] * 2, atol=0.8)


def table(space, num_actions):
    """A network of numbers, one for each observation and action."""
    return nn.Embed(space.n, num_actions)


@pytest.mark.parametrize(
    ("payoff", "best", "worth"),
    [(two_step.RISKY, (1, 1), 6.5), (named.TABLES["climb"][0], (2, 2), None), (named.TABLES["penalty"][0], (1, 1), None)],
    ids=["game B", "climb", "penalty"],
)
def test_what_a_sum_fits_in_closed_form(payoff, best, worth):
    """To all joint actions once: row mean + column mean - mean, where the loss is half the mean square of what is left."""
    payoff = np.asarray(payoff, np.float32)
    env = matrix_game.make(np.stack([payoff, payoff]))
    team, params, _, batch = stored(env, SMALL.replace(mixer="sum", shared_parameters=False, agent_ids=False, network=table))
    joint = np.array(list(np.ndindex(payoff.shape)))
    steps = batch._replace(obs=jnp.zeros_like(joint), action=jnp.asarray(joint), state=None)
    mean = payoff.mean() / 2
    own = np.stack([payoff.mean(1) - mean, payoff.mean(0) - mean])  # of the agents
    fit = own[0][:, None] + own[1]
    assert np.unravel_index(fit.argmax(), fit.shape) == best
    assert worth is None or fit.max() == worth
    params = params._replace(agents=jax.tree.map(lambda leaf: jnp.zeros_like(leaf).at[:, 0].set(own), params.agents))
    found, slope = jax.value_and_grad(lambda one: madqn.loss(team, one, (steps, payoff.ravel()))[0])(params)
    np.testing.assert_allclose(found, np.square(fit - payoff).mean() / 2, rtol=1e-5)
    for leaf in jax.tree.leaves(slope):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-5 * np.abs(payoff).max())


def test_values_of_each_agent_are_its_own():
    """Networks of their own, one step, unequal rewards: every agent's mean reward over the other's uniform actions."""
    payoff = np.array([[[1.0, 2.0], [3.0, 5.0]], [[0.0, 4.0], [-1.0, 1.0]]])
    env = matrix_game.make(payoff)
    config, done = trained(env, shared_parameters=False, agent_ids=False, num_updates=30)
    team = madqn.Team(env, config)
    values = jax.vmap(lambda params: team.values(params, jnp.zeros((1, 2), jnp.int32), None)[0])(done.state.params)
    expected = np.stack([payoff[0].mean(1), payoff[1].mean(0)])
    np.testing.assert_allclose(values, [expected] * 2, atol=0.35)


@pytest.mark.parametrize("mixer", ["none", "sum"])
def test_permuted_agents_have_permuted_values(mixer):
    env = two_step.make()
    config = SMALL.replace(shared_parameters=False, agent_ids=False, mixer=mixer)
    team, params, target_params, batch = stored(env, config)
    batch = batch._replace(reward=jax.random.normal(jax.random.key(2), batch.reward.shape))

    def swapped(tree, axis):
        return jax.tree.map(lambda leaf: jnp.flip(leaf, axis), tree)

    other = batch._replace(obs=swapped(batch.obs, 1), action=swapped(batch.action, 1), next_obs=swapped(batch.next_obs, 1))
    exchanged = [one._replace(agents=swapped(one.agents, 0)) for one in (params, target_params)]
    target = madqn.targets(team, params, target_params, batch)
    if mixer == "none":  # of a team there is one target, and one reward
        other, target = other._replace(reward=swapped(batch.reward, 1)), swapped(target, 1)
    np.testing.assert_allclose(madqn.targets(team, *exchanged, other), target, rtol=1e-6)
    losses = [
        madqn.loss(team, one, (steps, madqn.targets(team, one, later, steps)))[0]
        for one, later, steps in ((params, target_params, batch), (*exchanged, other))
    ]
    np.testing.assert_allclose(*losses, rtol=1e-6)


@pytest.mark.parametrize("mixer", ["none", slow("sum"), slow("monotonic")])
def test_masked_actions_are_neither_taken_nor_valued(mixer):
    """Of two actions, the second one is illegal for the second agent, who would be paid for it."""
    table = np.zeros((2, 2, 2))
    table[:, :, 1] = 10.0
    env = with_action_mask(matrix_game.make(table), lambda state, params: jnp.array([[True, True], [True, False]]))
    _, done = trained(env, num_updates=4, mixer=mixer)
    taken = np.asarray(done.state.buffer.items.action)[:, :, 1]
    assert (taken == 0).all()
    assert float(np.abs(done.metrics["value"]).max()) < 1.0


@pytest.mark.slow
def test_a_sum_takes_the_safe_actions_of_climb_and_penalty():
    """The largest entry of a uniform least-squares fit: row means plus column means minus the mean."""
    for table, action in ((named.TABLES["climb"], 2), (named.TABLES["penalty"], 1)):
        env = matrix_game.make(table)
        _, done = trained(env, mixer="sum", evaluators=[GreedyActions(table)], num_updates=60)
        for player in (0, 1):
            np.testing.assert_array_equal(done.evaluations[f"greedy_action_{player}"][:, -1], action)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mixer": "add"}, UnknownNameError, "no mixer is named 'add'"),
        ({"shared_parameters": False}, ConfigError, "agent_ids need shared_parameters"),
        ({"mixer": "sum", "fingerprint": True}, ConfigError, "a fingerprint must come without a mixer"),
        ({"batch_size": 2048}, ConfigError, "buffer_size must be at least batch_size"),
        ({"gamma": 1.5}, ConfigError, "gamma"),
        ({"mixing_size": 0}, ConfigError, "mixing_size must be an integer of at least 1"),
    ],
)
def test_what_cannot_run_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        dataclasses.replace(SMALL, **changes).validate(two_step.make())


def test_one_agent_without_an_axis_is_refused():
    with pytest.raises(ConfigError, match=r"Use jaxrl\.algorithms\.deep\.dqn"):
        SMALL.validate(envs.make("cartpole"))
    with pytest.raises(ConfigError, match="Put it into the observation"):
        SMALL.replace(network=probes.constant_reward).validate(two_step.make())
