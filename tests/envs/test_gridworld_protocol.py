"""The protocol at the edges: extreme parameters of every gridworld, and parameters under vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.core.environment import Environment
from jaxrl.testing.conformance import check_environment

pytestmark = pytest.mark.slow  # the defaults are checked by the tests of the registry

EXTREMES = [
    ("blocking_maze", dict(opening="both", then="left", switch_at=1)),
    ("blocking_maze", dict(opening="left", max_steps=1)),
    ("doorkey", dict(size=6, view="all", timed=False)),
    ("dyna_maze", dict(slip=1.0)),
    ("empty_room", dict(size=4, view="all", anywhere=True, timed=False)),
    ("empty_room", dict(size=16, max_steps=1)),
    ("frozen_lake", dict(map=("S#H", "FFG"), slip=1.0)),
    ("frozen_lake", dict(slip=0.0, max_steps=1)),
    ("gridworld", dict(map=("SG",))),
    ("gridworld", dict(map=("S.^.b", "..#2L", "CC>.a", "..+.G"), rewards={"a": 0.5, "b": -0.5}, slip=0.4, slips="scatter")),
    ("hazard_grid", dict(slip=1.0)),
    ("random_maze", dict(size=5)),
    ("random_maze", dict(size=7, carve="prim", max_steps=1)),
    ("reward_grid", dict(rows=1, columns=2, slip=1.0)),
    ("windy_grid", dict(moves="king_and_stay", gust=1.0)),
]


@pytest.mark.parametrize(("name", "parameters"), EXTREMES)
def test_extremes_keep_the_protocol(name, parameters):
    check_environment(envs.make(name, **parameters), jax.random.key(0), rebuilt=envs.make(name, **parameters))


@pytest.mark.slow
def test_large_doorkey_keeps_the_protocol():
    check_environment(envs.make("doorkey", size=8, timed=False), jax.random.key(0), tabulated=False)


FAMILIES = [
    ("blocking_maze", [dict(), dict(opening="left"), dict(switch_at=2)]),
    ("cliff_walking", [dict(slip=slip) for slip in (0.0, 0.5)]),
    ("doorkey", [dict(), dict(max_steps=50)]),
    ("dyna_maze", [dict(slip=slip) for slip in (0.0, 1.0)]),
    ("empty_room", [dict(), dict(max_steps=50)]),
    ("four_rooms", [dict(), dict(goal=(6, 2), slip=1 / 3)]),
    ("frozen_lake", [dict(slip=slip) for slip in (0.0, 0.5, 1.0)] + [dict(map=("FFFG", "HFFF", "SFFF", "FFHH"))]),
    ("gridworld", [dict(), dict(step=-1.0, slip=0.5)]),
    ("hazard_grid", [dict(slip=slip) for slip in (0.0, 0.5)]),
    ("reward_grid", [dict(seed=seed) for seed in (0, 1)]),
    ("windy_grid", [dict(gust=gust) for gust in (0.0, 1.0)]),
]


@jax.jit
def _played(env: Environment, key: jax.Array):
    """Eight steps of random play: everything that the environment returns, and the states."""
    reset_key, action_key, step_key = jax.random.split(key, 3)
    obs, state = env.reset(reset_key)
    actions = jax.random.randint(action_key, (8,), 0, env.action_space.n)

    def step(state, inputs):
        after = env.step(inputs[0], state, inputs[1])
        return after.state, after

    return obs, jax.lax.scan(step, state, (jax.random.split(step_key, 8), actions))[1]


@pytest.mark.parametrize(("name", "family"), FAMILIES, ids=[name for name, _ in FAMILIES])
def test_parameters_can_be_vmapped(name, family):
    """One program plays environments with different numbers, and plays each as its own program does."""
    members = [envs.make(name, **parameters) for parameters in family]
    stacked = members[0].replace(params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *(each.params for each in members)))
    keys = jax.random.split(jax.random.key(0), 16)
    together = jax.jit(jax.vmap(jax.vmap(_played, in_axes=(None, 0))))(stacked, jnp.stack([keys] * len(members)))
    for index, member in enumerate(members):
        alone = jax.vmap(_played, in_axes=(None, 0))(member, keys)
        for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_array_equal(one, other[index])
