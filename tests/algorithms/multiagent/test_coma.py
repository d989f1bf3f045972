"""Actor-critics of several agents: one agent is A2C, no baseline moves a gradient, credit in closed form, and probes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.matrix_games import matrix_game, named
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.multiagent import coma
from jaxrl.blocks import advantages
from jaxrl.core.rollout import View
from jaxrl.core.transforms import with_action_mask, with_reward
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError
from jaxrl.training.runner import run
from tests import probes
from tests.copies import copies
from tests.marks import slow
from tests.own_networks import Residual

GAMMA = 0.8
SMALL = coma.Config(
    learning_rate=1e-2,
    critic_learning_rate=1e-2,
    gamma=GAMMA,
    num_envs=8,
    num_steps=16,
    hidden=(16,),
    activation="relu",
)
KINDS = [
    {},
    {"critic": "central", "shared_parameters": False},
    {"critic": "own", "agent_ids": True},
    slow({"critic": "own", "shared_parameters": False}),
    slow({"critic": "central"}),
    slow({"shared_parameters": False}),
]


def trained(env, num_updates=150, **changes):
    config = SMALL.replace(anneal_updates=float(num_updates), **changes)
    return config, run(coma.make, env, config, seeds=2, num_updates=num_updates, chunk_length=num_updates)


def probabilities(env, config, done, obs, mask=None):
    """Returns the probabilities of the actions where all N agents see the same, obs[B]: [2, B, N, A]."""
    algorithm = coma.make(env, config)
    view = View(jnp.stack([obs] * env.num_agents, axis=1), mask, ())
    return np.asarray(jax.vmap(lambda state: algorithm.probabilities(state, view))(done.state))


def values(env, config, done, obs, action):
    """Returns what the critics say of states in which all N agents see obs[B] and do action[B]: [2, B, N]."""
    team = coma.Team(env, config)
    obs, action = (jnp.stack([one] * env.num_agents, axis=1)[None] for one in (obs, action))
    features = jax.nn.one_hot(obs, env.observation_space.n)
    global_obs = None if config.critic == "own" else features.reshape(*features.shape[:2], -1)

    def value(state):
        return team.of_action(team.values(state.critic, team.judged(obs, global_obs, action)), action)[0]

    return np.asarray(jax.vmap(value)(done.state))


# ---- one agent


def test_one_agent_with_a_critic_of_its_own_is_a2c():
    """The same parameters after three updates from the same ones; sums run in another order."""
    env, gae_lambda = envs.make("cartpole"), 0.9
    sizes = {"num_envs": 4, "num_steps": 8, "hidden": (8,), "gamma": GAMMA, "ent_coef": 0.1, "max_grad_norm": np.inf}
    single = ppo.make(env, ppo.A2C.replace(**sizes, learning_rate=3e-3, vf_coef=1.0, gae_lambda=gae_lambda))
    rates = {"learning_rate": 3e-3, "critic_learning_rate": 3e-3, "num_critic_steps": 1, "gae_lambda": gae_lambda}
    team = coma.make(copies(env, 1), coma.Config(**sizes, **rates, critic="own"))
    one, other = (jax.jit(algorithm.init)(jax.random.key(0)) for algorithm in (single, team))
    layers = one.params["params"]
    actor, critic = {"params": {"MLP_0": layers["actor"]}}, {"params": {"values": layers["critic"]}}
    assert jax.tree.map(jnp.shape, (actor, critic)) == jax.tree.map(jnp.shape, (other.actor, other.critic))
    own = other.episodes.replace(state=other.episodes.state.states)
    alone = one.replace(episodes=jax.tree.map(lambda leaf, like: leaf.reshape(like.shape), own, one.episodes))
    beside = other.replace(actor=actor, critic=critic)
    update, update_team = jax.jit(single.update), jax.jit(team.update)
    for key in jax.random.split(jax.random.key(1), 3):
        alone, beside = update(alone, key)[0], update_team(beside, key)[0]
    found = beside.actor["params"]["MLP_0"], beside.critic["params"]["values"]
    expected = alone.params["params"]["actor"], alone.params["params"]["critic"]
    assert not np.allclose(expected[0]["Dense_1"]["kernel"], layers["actor"]["Dense_1"]["kernel"], atol=1e-3)
    for first, second in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


# ---- credit


def wild(params):
    """Returns parameters of the same shapes, standard normal."""
    leaves, tree = jax.tree.flatten(params)
    return jax.tree.unflatten(tree, [jax.random.normal(jax.random.key(i), leaf.shape) for i, leaf in enumerate(leaves)])


def expected_gradient(team, params, joint, credit):
    """Returns sum_a pi(a) sum_i credit_i(a) grad log pi_i(a_i), over all joint actions int32[K, N] of the first state.

    credit: ``(pi float32[K, N, A]) -> float32[K, N]``.
    """
    obs = jnp.zeros((1, *joint.shape), jnp.int32)

    def total(params):
        policy = team.policy(params, obs, None)
        log_prob = policy.log_prob(joint[None])[0]
        chance = jnp.exp(log_prob.sum(-1, keepdims=True))
        return (jax.lax.stop_gradient(chance * credit(policy.probs[0])) * log_prob).sum()

    return jax.tree.leaves(jax.jit(jax.grad(total))(params))


@pytest.mark.parametrize("shared", [True, slow(False)])
def test_the_baseline_has_no_policy_gradient(shared):
    """Over all joint actions of three agents: what Q has and the counterfactual baseline has not, whatever the networks say."""
    env = copies(probes.constant_reward(), 3)
    team = coma.Team(env, SMALL.replace(shared_parameters=shared))
    state = jax.jit(coma.make(env, team.config).init)(jax.random.key(0))
    actor, critic = wild(state.actor), wild(state.critic)
    joint = jnp.array(list(itertools.product(range(2), repeat=3)), jnp.int32)
    features = jnp.ones((1, 8, 9), jnp.float32)
    values = team.values(critic, team.judged(None, features, joint[None]))[0]
    of_action = expected_gradient(team, actor, joint, lambda pi: team.of_action(values, joint))
    baseline = expected_gradient(team, actor, joint, lambda pi: advantages.counterfactual_baseline(values, pi))
    assert max(np.abs(leaf).max() for leaf in of_action) > 0.1
    for leaf in baseline:
        np.testing.assert_allclose(leaf, 0, atol=1e-5)


def test_credit_for_a_known_value_is_the_policy_gradient():
    """Agents of climb whose critic knows the payoffs ascend the expected payoff, and A_i is the advantage against the other."""
    team = coma.Team(matrix_game.make(named.TABLES["climb"]), SMALL)
    state = jax.jit(coma.make(team.env, SMALL).init)(jax.random.key(0))
    params, payoff = wild(state.actor), jnp.asarray(named.TABLES["climb"], jnp.float32)[0]
    joint = jnp.array(list(itertools.product(range(3), repeat=2)), jnp.int32)
    values = jnp.stack([payoff[:, joint[:, 1]].T, payoff[joint[:, 0]]], axis=1)

    def expected(params):
        first, second = team.policy(params, jnp.zeros((1, 1, 2), jnp.int32), None).probs[0, 0]
        return first @ payoff @ second

    def credit(pi):
        return team.of_action(values, joint) - team.of_state(values, pi)

    found, exact = expected_gradient(team, params, joint, credit), jax.tree.leaves(jax.grad(expected)(params))
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    uniform = credit(jnp.full((9, 2, 3), 1 / 3))
    np.testing.assert_allclose(uniform[1], [-30 - (-30 + 7 + 0) / 3, -30 - (11 - 30 + 0) / 3], rtol=1e-5)


# ---- probes


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_a_time_limit_is_not_an_end(changes):
    """Q and V -> r / (1 - gamma) through time limits, and r where the episode really ends, of whatever actions."""
    env = copies(probes.limit_or_end(), 2)
    config, done = trained(env, **changes)
    found = values(env, config, done, jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 0, 1]))
    np.testing.assert_allclose(found[:, :2], 1 / (1 - GAMMA), rtol=0.1)
    np.testing.assert_allclose(found[:, 2:], 1.0, rtol=0.1)


@pytest.mark.parametrize(
    "changes", KINDS[:1] + [slow(kind) for kind in ({"critic": "central"}, {"shared_parameters": False})], ids=str
)
def test_action_dependent_reward(changes):
    env = copies(probes.action_dependent_reward(), 2)
    config, done = trained(env, **changes)
    chosen = probabilities(env, config, done, jnp.array([0, 1]))
    assert (chosen[:, [0, 1], :, [0, 1]] > 0.9).all()


def _by_rank(pay, obs, action, next_obs):
    return pay


@pytest.mark.parametrize("changes", KINDS[:3] + [slow({"critic": "central"})], ids=str)
def test_agents_are_valued_by_what_each_is_paid(changes):
    env = with_reward(copies(probes.constant_reward(), 3), _by_rank, jnp.array([1.0, -2.0, 5.0]))
    config, done = trained(env, **changes)
    np.testing.assert_allclose(values(env, config, done, jnp.array([0]), jnp.array([1])), [[[1.0, -2.0, 5.0]]] * 2, atol=0.2)


def test_masked_actions_are_never_taken():
    env = copies(probes.masked_action(), 2)
    config, done = trained(env)
    chosen = probabilities(env, config, done, jnp.array([0]), jnp.array([[[True, True, False]] * 2]))
    assert (chosen[..., 2] == 0).all()
    assert (chosen[..., 0] > 0.9).all()


def _waits(state, params):
    return jnp.array([True, False]) | (state == 0)


@pytest.mark.parametrize("changes", [{}, slow({"critic": "own"})], ids=str)
def test_what_an_inactive_agent_is_paid_counts(changes):
    """In the second state the agents have one action, and earn 1: the first is worth gamma."""
    env = copies(with_action_mask(probes.delayed_reward(), _waits), 2)
    config, done = trained(env, **changes)
    found = values(env, config, done, jnp.array([0, 1]), jnp.array([0, 0]))
    np.testing.assert_allclose(found[..., 0], [[GAMMA, 1.0]] * 2, atol=0.1)


@pytest.mark.each
@pytest.mark.parametrize("changes", [{}, {"critic": "own"}, {"shared_parameters": False}], ids=str)
def test_a_network_of_the_users_learns(changes):
    env = copies(probes.action_dependent_reward(), 2)
    config, done = trained(env, network=Residual, **changes)
    chosen = probabilities(env, config, done, jnp.array([0, 1]))
    assert (chosen[:, [0, 1], :, [0, 1]] > 0.9).all()


@pytest.mark.each
@pytest.mark.parametrize("critic", coma.CRITICS)
def test_images(critic):
    env = copies(probes.image_observation(), 2)
    _, done = trained(env, channels=(4,), critic=critic)
    assert (done.metrics["episode_return"][:, -1] > 1.7).all()


# ---- arguments


@pytest.mark.parametrize(
    ("env", "changes", "kind", "message"),
    [
        ("cartpole", {}, ConfigError, "an agent axis"),
        ("climb", {"critic": "V"}, UnknownNameError, "counterfactual"),
        ("climb", {"agent_ids": True, "shared_parameters": False}, ConfigError, "agent_ids need shared_parameters"),
        ("climb", {"agent_ids": True, "network": Residual}, ConfigError, "agent_ids must be False"),
        ("climb", {"channels": (4,)}, SpaceError, "channels need observations"),
        ("climb", {"num_critic_steps": 0}, ConfigError, "num_critic_steps"),
        ("climb", {"gae_lambda": 1.5}, ConfigError, "gae_lambda"),
        ("climb", {"critic_learning_rate": 0.0}, ConfigError, "critic_learning_rate"),
    ],
)
def test_wrong_arguments(env, changes, kind, message):
    with pytest.raises(kind, match=message):
        SMALL.replace(**changes).validate(envs.make(env))


def test_continuous_actions_are_refused():
    with pytest.raises(SpaceError, match="mappo"):
        SMALL.validate(copies(envs.make("pendulum"), 2))
