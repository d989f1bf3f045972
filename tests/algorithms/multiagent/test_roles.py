"""Roles: who shares what, equal to sharing and to networks of the agents' own at both ends, and unequal agents."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.multiagent import coma, dial, madqn, mappo, mean_field_ac, mean_field_q
from jaxrl.algorithms.population import self_play
from jaxrl.algorithms.tabular import q_learning
from jaxrl.blocks import agents
from jaxrl.core.contracts import require_record
from jaxrl.core.rollout import View
from jaxrl.errors import ConfigError, EnvError
from jaxrl.training.runner import run
from tests.marks import slow

MAPPO: Any = mappo.Config(num_envs=2, num_steps=4, num_epochs=1, num_minibatches=1, hidden=(4,), learning_rate=0.05)
COMA: Any = coma.Config(num_envs=2, num_steps=4, num_critic_steps=2, hidden=(4,))
MADQN: Any = madqn.Config(num_envs=2, num_steps=2, num_rounds=2, batch_size=4, buffer_size=16, learning_starts=8, hidden=(4,))
FIELD: Any = mean_field_q.Config(num_envs=2, num_steps=4)
RECURRENT = MAPPO.replace(memory_size=3, normalize_observation=True, normalize_reward=True)
CLAIMING = [
    (mappo, MAPPO),
    slow(mappo, MAPPO.replace(centralized=False)),
    slow(mappo, RECURRENT),
    slow(coma, COMA),
    slow(coma, COMA.replace(critic="own")),
    (madqn, MADQN),
    slow(madqn, MADQN.replace(mixer="monotonic")),
    slow(mean_field_q, FIELD),
]


def trained(module, env, config, **changes):
    return jax.tree.map(np.asarray, run(module.make, env, config.replace(**changes), seeds=1, num_updates=2).state)


def game(module):
    """Returns an environment of two agents."""
    return envs.make("stag_hunt") if module is mean_field_q else envs.make("two_step")


# ---- both ends


@pytest.mark.parametrize(("module", "config"), CLAIMING)
def test_one_role_is_sharing_and_a_role_for_each_is_a_network_for_each(module, config):
    """Bit for bit."""
    env = game(module)
    for roles, shared in (((7, 7), True), ((3, 1), False)):
        found = trained(module, env, config, roles=roles)
        jax.tree.map(np.testing.assert_array_equal, found, trained(module, env, config, shared_parameters=shared))


@pytest.mark.parametrize(
    ("module", "config"),
    [(mappo, MAPPO), slow(mappo, RECURRENT), slow(coma, COMA.replace(critic="own")), (madqn, MADQN.replace(mixer="monotonic"))],
)
def test_roles_are_computed_as_networks_of_the_agents_own_are(module, config, monkeypatch):
    """The way of unequal numbers, taken by agents with a role each: the same up to rounding."""
    env = game(module)
    expected = trained(module, env, config, shared_parameters=False)
    monkeypatch.setattr(agents, "all_differ", lambda roles: roles is None)
    config = config.replace(roles=(0, 1))
    algorithm = module.make(env, config)
    state: Any = jax.jit(algorithm.init)(jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), 0))
    for index in range(2):
        state, _ = jax.jit(algorithm.update)(state, jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), index + 1))
    learned, alone = (one.params if hasattr(one, "params") else one.actor for one in (state, expected))
    if isinstance(learned, tuple) and module is mappo:
        learned = jax.tree.map(lambda *leaves: jnp.stack(leaves), *learned)
    for one, other in zip(jax.tree.leaves(learned), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one, np.reshape(other, one.shape), rtol=1e-4, atol=1e-5)


# ---- in between


@pytest.mark.parametrize("module", [mappo, slow(coma), madqn])
def test_agents_of_a_role_share_and_others_do_not(module):
    """The same observation: agents 0 and 2 act alike, agent 1 does not. A network of each role has learned."""
    env = envs.make("simple_spread", num_agents=3)
    config = {mappo: MAPPO, coma: COMA, madqn: MADQN.replace(learning_rate=0.1)}[module].replace(roles=(0, 1, 0))
    done = run(module.make, env, config, seeds=1, num_updates=3)
    algorithm, state = module.make(env, config), jax.tree.map(lambda leaf: leaf[0], done.state)
    same = jnp.broadcast_to(jnp.linspace(-1, 1, 14), (1, 3, 14))[..., : env.observation_space.shape[0]]
    if module is madqn:
        found: Any = madqn.Team(env, config).values(state.params, same, None)
    else:
        found = algorithm.probabilities(state, View(same, None, ()))
    np.testing.assert_allclose(found[0, 0], found[0, 2], rtol=1e-5)
    assert np.abs(found[0, 0] - found[0, 1]).max() > 1e-3


@pytest.mark.parametrize("name", ["tag", "speaker_listener"])
@pytest.mark.parametrize(
    ("module", "config"),
    [(mappo, MAPPO), slow(mappo, RECURRENT), slow(mappo, MAPPO.replace(agent_ids=True)), slow(coma, COMA), slow(madqn, MADQN)],
)
def test_unequal_agents_run(module, config, name):
    """Of other observations and other numbers of actions, padded and masked."""
    done = run(module.make, envs.make(name), config.replace(roles="environment"), seeds=2, num_updates=2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(done.state) if np.issubdtype(leaf.dtype, np.floating))


def test_a_table_for_each_role():
    env = envs.make("ising", size=3)
    config = FIELD.replace(roles=(0, 1, 1, 0, 1, 1, 0, 1, 1))
    state = trained(mean_field_q, env, config)
    assert state.q.shape[1] == 2
    assert mean_field_ac.Config(roles=config.roles).validate(env) is None


# ---- what is a role


def test_roles_are_numbered_as_they_appear():
    tag, config = envs.make("tag"), MAPPO
    assert tag.roles == (0, 0, 0, 1)
    assert agents.roles_of(tag, config) is None
    assert agents.roles_of(tag, config.replace(shared_parameters=False)) == (0, 1, 2, 3)
    assert agents.roles_of(tag, config.replace(roles="environment")) == (0, 0, 0, 1)
    assert agents.roles_of(tag, config.replace(roles=(5, 2, 5, 9))) == (0, 1, 0, 2)
    assert agents.roles_of(tag, config.replace(roles=(4, 4, 4, 4))) is None


@pytest.mark.parametrize(
    ("name", "roles", "message"),
    [
        ("two_step", "environment", r"with roles='environment' the environment must name the roles.*Give a tuple"),
        (
            "two_step",
            (0, 1, 2),
            r"roles must be 2 integers of at least 0, one for each agent, got \(0, 1, 2\). Set roles=\(0, 0\)",
        ),
        ("two_step", (0, -1), "roles must be 2 integers"),
        ("two_step", "hunters", "roles must be 2 integers"),
    ],
)
@pytest.mark.parametrize("config", [MAPPO, COMA, MADQN], ids=["mappo", "coma", "madqn"])
def test_wrong_roles(config, name, roles, message):
    with pytest.raises(ConfigError, match=message):
        config.replace(roles=roles).validate(envs.make(name))
    with pytest.raises(ConfigError, match="roles need shared_parameters"):
        config.replace(roles=(0, 1), shared_parameters=False).validate(envs.make("two_step"))


def test_who_shares_with_everybody_refuses_unequal_agents():
    unequal = envs.make("speaker_listener")
    with pytest.raises(ConfigError, match=r"dial: all agents must have one role.*got \(0, 1\). Use .*mappo with roles="):
        dial.Config(num_steps=unequal.max_steps).validate(unequal)
    two = replace(envs.make("soccer"), roles=(0, 1))
    config = self_play.Config(q_learning.Config(), q_learning.make)
    with pytest.raises(ConfigError, match=r"self_play: all agents must have one role.*Set shared_parameters=False"):
        config.validate(two)
    config.replace(shared_parameters=False).validate(two)


def test_an_environment_with_wrong_roles_is_refused():
    for roles in ((0,), (0, -1), [0, 1], (0, 1.0)):
        with pytest.raises(EnvError, match="roles must be None or an integer of at least 0 for each agent"):
            require_record("test", replace(envs.make("two_step"), roles=roles))
