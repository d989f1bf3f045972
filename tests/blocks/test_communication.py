"""CommNet: its equations by hand, agents that are renumbered, alone, or not there, and its place in MAPPO."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import levers
from jaxrl.algorithms.multiagent import mappo
from jaxrl.blocks.networks import CommNet
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.training.runner import run

SPACE = Box(-10.0, 10.0, (4,))


def built(**changes):
    """Returns a network's apply function, its parameters and two teams of three, float32[6, 4]."""
    module = CommNet(**({"num_agents": 3, "size": 5, "activation": "tanh"} | changes))(SPACE, 2)
    obs = jax.random.normal(jax.random.key(0), (6, 4))
    return jax.jit(module.apply), module.init(jax.random.key(1), obs), obs


def by_hand(params, obs, rounds=2):
    """The equations for one team, float64[N, K]."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    h = np.tanh(np.asarray(obs, np.float64) @ p["MLP_0"]["Dense_0"]["kernel"] + p["MLP_0"]["Dense_0"]["bias"])
    for k in range(rounds):
        means = np.stack([np.delete(h, i, 0).mean(0) for i in range(len(h))])
        own = h @ p[f"own_{k}"]["kernel"] + p[f"own_{k}"]["bias"]
        h = np.tanh(own + means @ p[f"heard_{k}"]["kernel"])
    return h @ p["outputs"]["kernel"] + p["outputs"]["bias"]


def test_the_outputs_by_hand():
    apply, params, obs = built()
    expected = np.concatenate([by_hand(params, obs[:3]), by_hand(params, obs[3:])])
    np.testing.assert_allclose(apply(params, obs), expected, rtol=1e-4, atol=1e-6)


def test_outputs_move_with_the_agents_and_teams_do_not_hear_each_other():
    apply, params, obs = built()
    order = jnp.array([2, 0, 1, 3, 4, 5])
    np.testing.assert_allclose(apply(params, obs[order]), apply(params, obs)[order], rtol=1e-5, atol=1e-6)
    other = obs.at[4].add(1.0)
    changed = np.asarray(jnp.abs(apply(params, other) - apply(params, obs)).max(-1))
    assert (changed[:3] == 0).all()
    assert (changed[3:] > 1e-5).all()


def test_agents_that_do_not_talk_are_alone():
    apply, params, obs = built(talks=False)
    assert not [name for name in params["params"] if name.startswith("heard")]
    changed = np.asarray(jnp.abs(apply(params, obs.at[4].add(1.0)) - apply(params, obs)).max(-1))
    assert (changed > 0).tolist() == [False, False, False, False, True, False]


def test_an_agent_that_sees_nothing_is_left_out_of_the_means():
    """The other two hear each other alone, as in a team of two; one who is alone hears nothing."""
    apply, params, obs = built()
    found = apply(params, obs.at[2].set(0.0))
    np.testing.assert_allclose(found[:2], by_hand(params, obs[:2]), rtol=1e-4, atol=1e-6)
    alone = apply(params, obs.at[1:3].set(0.0))
    assert np.isfinite(alone).all()
    means = by_hand(params, jnp.stack([obs[0], obs[0]]))
    assert np.abs(np.asarray(alone[0]) - means[0]).max() > 1e-4, "not what it would hear of its like"


def test_mappo_trains_it():
    config = mappo.Config(network=CommNet(3, size=8), centralized=False, num_envs=4, num_steps=2, num_minibatches=2, num_epochs=1)
    env = levers.make(num_agents=3, population=6)
    done = run(mappo.make, env, config, seeds=2, num_updates=2)
    assert np.isfinite(done.metrics["value_loss"]).all()
    with pytest.raises(ConfigError, match="whole teams"):
        run(mappo.make, env, config.replace(network=CommNet(5, size=8)), seeds=2, num_updates=2)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"num_agents": 0}, ConfigError, "num_agents must be an integer"),
        ({"num_agents": 2, "rounds": 0}, ConfigError, "rounds must be an integer"),
        ({"num_agents": 2, "size": 1.5}, ConfigError, "size must be an integer"),
        ({"num_agents": 2, "activation": "softest"}, UnknownNameError, "softest"),
    ],
)
def test_what_cannot_be_built_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        CommNet(**fields)(Discrete(3), 2)
