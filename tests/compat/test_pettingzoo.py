"""Our games as PettingZoo's: its own tests, trajectories bit for bit, masks, states and ends."""

import functools
import importlib
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence

import envs
from envs.rendering import render
from jaxrl.compat.pettingzoo import to_pettingzoo
from jaxrl.core.spaces import joint
from jaxrl.core.transforms import with_time_limit
from jaxrl.errors import ConfigError, EnvError, SpaceError
from tests import probes
from tests.copies import copies

with warnings.catch_warnings():  # PettingZoo's tests import an environment in the way that it has deprecated
    warnings.filterwarnings("ignore", "The old environment creation API", DeprecationWarning)
    from pettingzoo.test import parallel_api_test, parallel_seed_test

GAMES = [
    "coin_game",
    "connect_four",  # image, mask; turns
    "leduc",  # mask, terminates
    "prisoners_dilemma",  # a matrix game: one step
    "pursuit",  # terminates
    "simple_spread",  # unbounded, info, global_obs
    "soccer",  # Discrete
    "speaker_listener",  # unequal agents
    "switch_riddle",  # mask, global_obs
]
SEED = 11


@jax.jit
def reset(env, key):
    return env.reset(key)


@jax.jit
def step(env, key, state, action):
    return env.step(key, state, action)


@pytest.mark.parametrize("name", GAMES)
def test_pettingzoo_finds_no_fault(name, capsys):
    """``parallel_api_test`` plays unmasked actions, too: an illegal one must not break anything."""
    build = functools.partial(to_pettingzoo, envs.make(name))
    parallel_api_test(build(), num_cycles=200)
    parallel_seed_test(build, num_cycles=50)
    assert "Passed Parallel API test" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["coin_game", "leduc", "pursuit", "simple_spread", "switch_riddle"])
def test_episodes_are_those_of_the_game(name):
    """Three episodes of one stream of legal play, bit for bit, each agent with its row of the arrays."""
    env = with_time_limit(envs.make(name), 7)
    adapted, key = to_pettingzoo(env), jax.random.key(SEED)
    for episode in range(3):
        key, now = jax.random.split(key)
        observations, infos = adapted.reset(seed=SEED if episode == 0 else None)
        true_obs, state = reset(env, now)
        agents = list(adapted.agents)
        assert agents == [f"agent_{i}" for i in range(env.num_agents)]
        t = 0
        while adapted.agents:
            assert list(observations) == list(infos) == agents
            mask = env.action_mask(state)
            for i, agent in enumerate(agents):
                np.testing.assert_array_equal(observations[agent], true_obs[i])
                assert adapted.observation_space(agent).contains(observations[agent])
                assert ("action_mask" in infos[agent]) == (mask is not None)
                if mask is not None:
                    np.testing.assert_array_equal(infos[agent]["action_mask"], mask[i])
            together = joint(env.observation_space, true_obs) if env.global_obs_fn is None else env.global_obs(state)
            np.testing.assert_array_equal(adapted.state(), together)
            assert adapted.state_space.contains(adapted.state())
            actions = {agent: adapted.action_space(agent).sample(infos[agent].get("action_mask")) for agent in agents}
            backwards = dict(reversed(actions.items()))  # the names count, not their order
            observations, rewards, terminations, truncations, infos = adapted.step(backwards)
            key, now = jax.random.split(key)
            true = step(env, now, state, jnp.asarray(list(actions.values())))
            true_obs, state, t = true.obs, true.state, t + 1
            assert [rewards[agent] for agent in agents] == [float(reward) for reward in true.reward]
            assert terminations == dict.fromkeys(agents, bool(true.terminated))
            assert truncations == dict.fromkeys(agents, t == 7 and not true.terminated)
            for agent in agents:
                assert set(infos[agent]) - {"action_mask"} == set(true.info)
                for part, value in true.info.items():
                    np.testing.assert_array_equal(infos[agent][part], value)
        with pytest.raises(ResetNeeded):
            adapted.step(dict.fromkeys(agents, 0))


def test_nested_actions_and_masks(capsys):
    build = functools.partial(to_pettingzoo, copies(probes.nested_action(), 2))
    parallel_api_test(build(), num_cycles=50)
    assert "Passed Parallel API test" in capsys.readouterr().out
    adapted = build()
    for seed in range(10):
        _, infos = adapted.reset(seed=seed)
        actions = {agent: adapted.action_space(agent).sample(infos[agent]["action_mask"]) for agent in adapted.agents}
        _, rewards, *_ = adapted.step(actions)
        assert max(rewards.values()) <= 2  # an illegal action is worth 10


def test_whole_episodes_follow_from_the_seed():
    """``parallel_seed_test`` of PettingZoo looks at one step; this plays to the end."""

    def play(seed):
        adapted = to_pettingzoo(envs.make("pursuit"))
        told = [adapted.reset(seed=seed)]
        while adapted.agents:
            told.append(adapted.step(dict.fromkeys(adapted.agents, len(told) % 5)))
        return told

    one, again, other = play(1), play(1), play(2)
    assert len(one) > 10
    assert all(data_equivalence(a, b, exact=True) for a, b in zip(one, again, strict=True))
    assert not data_equivalence(one[0], other[0])


def test_agents_draw_from_spaces_of_their_own():
    adapted = to_pettingzoo(envs.make("beauty_contest"))
    for i, agent in enumerate(adapted.possible_agents):
        adapted.action_space(agent).seed(i)
    assert len({adapted.action_space(agent).sample() for agent in adapted.possible_agents}) > 1


def test_what_is_returned_belongs_to_the_reader():
    adapted = to_pettingzoo(envs.make("simple_spread"))
    observations, _ = adapted.reset(seed=0)
    kept = observations["agent_0"].copy()
    second, _, _, _, infos = adapted.step(dict.fromkeys(adapted.agents, 1))
    second["agent_0"][:] = np.nan
    infos["agent_0"].clear()
    assert np.array_equal(observations["agent_0"], kept)
    assert np.isfinite(second["agent_1"]).all()
    assert set(infos["agent_1"]) == {"touching_pairs"}


def test_pictures_are_those_of_the_renderer():
    env = envs.make("coin_game")
    draw = functools.partial(render, env)
    adapted = to_pettingzoo(env, render_mode="rgb_array", render=draw)
    with pytest.raises(ResetNeeded, match="before its state is looked at"):
        adapted.render()
    adapted.reset(seed=SEED)
    _, now = jax.random.split(jax.random.key(SEED))
    np.testing.assert_array_equal(adapted.render(), draw(reset(env, now)[1]))
    assert to_pettingzoo(env).render() is None


def test_wrong_use_is_named():
    with pytest.raises(EnvError, match=r"an agent axis, got None. .*to_gymnasium"):
        to_pettingzoo(envs.make("cartpole"))
    with pytest.raises(ConfigError, match="render must be given"):
        to_pettingzoo(envs.make("soccer"), render_mode="rgb_array")
    adapted = to_pettingzoo(envs.make("soccer"))
    with pytest.raises(ResetNeeded, match="before its state is looked at"):
        adapted.state()
    with pytest.raises(ResetNeeded, match="under way"):
        adapted.step({})
    adapted.reset()
    for actions in ({}, {"agent_0": 0}, {"agent_0": 0, "agent_1": 0, "agent_2": 0}):
        with pytest.raises(SpaceError, match=r"an action for each of \['agent_0', 'agent_1'\]"):
            adapted.step(actions)
    with pytest.raises(SpaceError, match="an integer from 0 to 4, got 5"):
        adapted.step({"agent_0": 0, "agent_1": 5})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "jaxrl.compat.pettingzoo")
    with pytest.raises(ConfigError, match=r"the package pettingzoo must be installed.*pip install 'jaxrl\[pettingzoo\]'"):
        importlib.import_module("jaxrl.compat.pettingzoo")
