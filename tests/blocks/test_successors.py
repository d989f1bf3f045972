"""Values of successors: against a critic that looks at every step, wherever the time limit cuts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks.successors import open_steps, successor_values


def block(num_steps, max_steps, offsets):
    """Returns observations, successors and cuts of environments that count up to ``max_steps`` and begin anew at 100 e."""
    t = (np.arange(num_steps)[:, None] + np.asarray(offsets)) % max_steps
    obs = t + 100.0 * np.arange(len(offsets))
    return jnp.asarray(obs), jnp.asarray(obs + 1), jnp.asarray(t == max_steps - 1)


def value_of(obs):
    return 3.0 * obs + 1.0


@pytest.mark.parametrize(
    ("num_steps", "max_steps", "places"), [(8, 3, 4), (8, 8, 2), (8, 100, 2), (9, 8, 3), (1, 5, 1), (4, 1, 4)]
)
def test_every_successor_has_its_own_value(num_steps, max_steps, places):
    """Whether the limit falls often, once or never into a block; the critic is called for no more steps than that takes."""
    obs, next_obs, truncated = block(num_steps, max_steps, [0, 1, max_steps - 1])
    asked = []

    def critic(obs):
        asked.append(obs.shape)
        return value_of(obs)

    found = jax.jit(lambda *given: successor_values(value_of(given[0]), given[1], critic, given[2], max_steps))
    np.testing.assert_array_equal(found(obs, next_obs, truncated), value_of(next_obs))
    assert asked == [(places * 3,)]


def test_only_cuts_and_the_last_step_are_looked_at():
    truncated = jnp.zeros((6, 2), bool).at[1, 0].set(True).at[4, 0].set(True)
    found = np.asarray(open_steps(truncated, 3))
    assert set(found[:, 0]) == {1, 4, 5}
    assert set(found[:, 1]) == {5}


def test_agents_have_values_of_their_own_and_memories_come_along():
    """The critic adds what the memory of that very step says."""
    _, next_obs, truncated = block(6, 4, [0, 2])
    agents = jnp.array([0.0, 1.0, 2.0])
    memory = 10.0 * jnp.arange(12.0).reshape(6, 2)

    def critic(seen):
        return value_of(seen["obs"])[:, None] * agents + seen["memory"][:, None]

    found = successor_values(jnp.zeros((6, 2, 3)), {"obs": next_obs, "memory": memory}, critic, truncated, 4)
    cut = np.asarray(truncated.at[-1].set(True))
    np.testing.assert_allclose(found[cut], (value_of(next_obs)[..., None] * agents + memory[..., None])[cut])
    np.testing.assert_array_equal(found[~cut], 0)
