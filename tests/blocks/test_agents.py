"""Agents in a batch: who has a choice, what they share, and learners beside each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.blocks import agents
from jaxrl.core.rollout import Transition


def test_ends_are_repeated_for_every_agent():
    ends = jnp.array([[True, False]])
    np.testing.assert_array_equal(agents.of_every_agent(ends, jnp.zeros((1, 2, 3))), [[[True] * 3, [False] * 3]])
    np.testing.assert_array_equal(agents.of_every_agent(ends, jnp.zeros((1, 2))), ends)


def test_each_learner_is_given_its_own_column_and_what_all_share():
    """Of a block [T, E, N], with and without masks, extras and global observations."""
    own, common = jnp.arange(24.0).reshape(2, 4, 3), jnp.arange(8).reshape(2, 4)
    ends = common > 3, common > 5
    for mask, seen in ((None, None), (own[..., None] > 0, common[..., None])):
        batch = Transition(own, own, own, own, *ends, mask, mask, common, own, {"raw": own}, seen, seen, {"touching": common})
        found = jax.vmap(lambda one: one, in_axes=(agents.transition_axes(2),))(batch)
        np.testing.assert_array_equal(found.reward, jnp.moveaxis(own, 2, 0))
        np.testing.assert_array_equal(found.extras["raw"], jnp.moveaxis(own, 2, 0))
        np.testing.assert_array_equal(found.t, jnp.stack([common] * 3))
        assert (found.global_obs is None) == (seen is None)
        np.testing.assert_array_equal(found.info["touching"], jnp.stack([common] * 3))


def test_each_agent_is_shown_what_the_others_do():
    """Its own action is hidden: values of all its actions must not depend on the one that it took."""
    found = agents.actions_of_others(jnp.array([[1, 0, 2]]), 3)
    np.testing.assert_array_equal(
        found[0], [[0, 0, 0, 1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0, 0, 1], [0, 1, 0, 1, 0, 0, 0, 0, 0]]
    )


def test_what_all_see_is_repeated_and_numbered():
    seen = agents.numbered(agents.for_every_agent(jnp.array([[7.0, 8.0]]), 2))
    np.testing.assert_array_equal(seen, [[[7, 8, 1, 0], [7, 8, 0, 1]]])


@pytest.mark.parametrize(("name", "size"), [("spread_grid", 12), ("climb", 2)])
def test_the_space_of_a_central_view(name, size):
    """What the environment names, else the observations of all agents."""
    assert agents.global_space(envs.make(name)).shape == (size,)
