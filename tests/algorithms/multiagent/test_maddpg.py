"""MADDPG: one agent is DDPG and TD3, each agent is paid for its own, and the critic tells what others do from chance."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import td3
from jaxrl.algorithms.multiagent import maddpg
from jaxrl.core.environment import Step
from jaxrl.core.rollout import View
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.evaluation import Episodes
from jaxrl.training.runner import run
from tests import probes
from tests.copies import copies
from tests.marks import slow
from tests.own_networks import Residual

SIZES = {
    "num_envs": 2,
    "num_steps": 2,
    "num_rounds": 3,
    "batch_size": 8,
    "buffer_size": 64,
    "learning_starts": 16,
    "hidden": (8,),
}
TWINS = {"num_critics": 2, "policy_interval": 2, "target_noise": 0.2}
SMALL = maddpg.Config(
    learning_rate=3e-3,
    critic_learning_rate=3e-3,
    exploration_noise=0.3,
    num_envs=4,
    num_rounds=50,
    batch_size=64,
    buffer_size=2048,
    learning_starts=64,
    hidden=(16,),
)


@pytest.mark.parametrize("changes", [{}, slow(TWINS)], ids=["DDPG", "TD3"])
def test_one_agent_is_ddpg_and_td3(changes):
    """The same parameters, targets and stored steps after two updates from the same ones."""
    env = envs.make("pendulum")
    shared = SIZES | {"gamma": 0.9, "num_critics": 1, "policy_interval": 1, "target_noise": 0.0} | changes
    single, team = (
        td3.make(env, td3.Config(**shared)),
        maddpg.make(copies(env, 1), maddpg.Config(**shared, target_step_size=0.005)),
    )
    alone, other = (jax.jit(algorithm.init)(jax.random.key(0)) for algorithm in (single, team))

    def own(state, like):
        episodes = state.episodes.replace(state=state.episodes.state.states)
        parts = episodes, like.episodes
        return jax.tree.map(lambda leaf, like: leaf.reshape(like.shape), *parts)

    names = "actor", "critics", "target_actor", "target_critics", "actor_opt", "critic_opt", "buffer"
    alone = alone.replace(episodes=own(other, alone))
    given = {
        name: jax.tree.map(lambda leaf, like: leaf.reshape(like.shape), getattr(alone, name), getattr(other, name))
        for name in names
    }
    first, beside = alone, other.replace(**given)
    update, update_team = jax.jit(single.update), jax.jit(team.update)
    for key in jax.random.split(jax.random.key(1), 2):
        alone, beside = update(alone, key)[0], update_team(beside, key)[0]
    for name in names:
        for one, several in zip(jax.tree.leaves(getattr(alone, name)), jax.tree.leaves(getattr(beside, name)), strict=True):
            np.testing.assert_allclose(several.reshape(one.shape), one, rtol=1e-4, atol=1e-6, err_msg=name)
    moved = (np.abs(np.subtract(*two)).max() for two in zip(*map(jax.tree.leaves, (alone.actor, first.actor)), strict=True))
    assert max(moved) > 1e-3


def trained(env, num_updates=30, evaluators=(), **changes):
    config = SMALL.replace(**changes)
    return run(maddpg.make, env, config, seeds=2, num_updates=num_updates, chunk_length=num_updates, evaluators=evaluators)


@pytest.mark.parametrize("changes", [{}, slow(TWINS), slow({"network": Residual})], ids=str)
def test_continuous_actions(changes):
    """The reward is minus the squared distance to the observation; an agent that ignores it gets -1/3 at best."""
    env = copies(probes.continuous_action(2.0), 2)
    done = trained(env, evaluators=(Episodes(env, modes=("greedy",)),), **changes)
    assert (done.evaluations["greedy_return"][:, -1] > -0.1).all()


def _nothing(key, params):
    return jnp.zeros((2, 1), jnp.float32), jnp.int32(0)


def _against_each_other(key, state, action, params):
    """The first agent wants to be half of the second, and the second at 0.8: each is paid for its own."""
    first, second = action[:, 0]
    reward = -jnp.stack([jnp.square(first - 0.5 * second), jnp.square(second - 0.8)])
    return Step(jnp.zeros((2, 1), jnp.float32), state, reward, jnp.bool_(True))


def chasers():
    """Returns a game of one step in which the agents are paid for different things."""
    env = copies(probes.continuous_action(1.0), 2)
    return dataclasses.replace(env, reset_fn=_nothing, step_fn=_against_each_other)


def test_each_agent_is_paid_for_its_own():
    env = chasers()
    done = trained(env)
    algorithm = maddpg.make(env, SMALL)
    view = View(jnp.zeros((1, 2, 1), jnp.float32), None, ())
    acts = jax.vmap(lambda state: algorithm.policy(state, True)(jax.random.key(0), view).action)(done.state)
    np.testing.assert_allclose(acts[:, 0, :, 0], [[0.4, 0.8]] * 2, atol=0.1)


def test_critics_see_what_all_agents_do():
    """The pay of the first agent depends on both: its critic knows it for every pair of actions."""
    env = chasers()
    config = SMALL.replace(exploration_noise=1.0)
    done = trained(env, exploration_noise=1.0)
    critics = maddpg.critic_network(env, config)
    actions = jnp.array([[0.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.5, 1.0], [-0.5, 1.0]])
    of_first = jax.tree.map(lambda leaf: leaf[:, 0], done.state.critics)
    found = jax.vmap(lambda params: critics.apply(params, jnp.zeros((5, 2)), actions)[0])(of_first)
    np.testing.assert_allclose(found, [[0.0, -0.25, -0.25, 0.0, -1.0]] * 2, atol=0.12)


def test_agents_learn_to_spread_by_forces_of_any_size():
    """One agent and one landmark, where standing still earns about -26."""
    env = envs.make("simple_spread", num_agents=1, num_landmarks=1, continuous=True)
    done = trained(env, 60, (Episodes(env, modes=("greedy",)),), num_steps=5, num_gradient_steps=2)
    assert (done.evaluations["greedy_return"][:, -1] > -10).all()


@pytest.mark.parametrize(
    ("env", "changes", "kind", "message"),
    [
        ("pendulum", {}, ConfigError, "maddpg: the environment must have an agent axis"),
        ("climb", {}, SpaceError, "maddpg: the action_space must be a bounded Box"),
    ],
)
def test_wrong_arguments(env, changes, kind, message):
    with pytest.raises(kind, match=message):
        SMALL.replace(**changes).validate(envs.make(env))
