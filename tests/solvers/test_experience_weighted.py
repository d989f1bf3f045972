"""Experience-weighted attraction: its special cases, and a play by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.solvers.dynamics import fictitious_play
from jaxrl.solvers.experience_weighted import Experience, weigh


def test_a_play_by_hand():
    before = Experience(jnp.array([1.0, 2.0]), jnp.float32(3.0))
    found = weigh(before, jnp.array([4.0, 6.0]), 1, phi=0.5, delta=0.25, rho=0.8)
    np.testing.assert_allclose(found.amount, 3.4)
    np.testing.assert_allclose(found.attraction, [(1.5 + 1.0) / 3.4, (3.0 + 6.0) / 3.4], rtol=1e-6)
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), before)
    both = weigh(several, jnp.full((2, 2), jnp.array([4.0, 6.0])), jnp.array([1, 0]), phi=0.5, delta=0.25, rho=0.8)
    np.testing.assert_allclose(both.attraction[0], found.attraction)
    np.testing.assert_allclose(both.attraction[1], [(1.5 + 4.0) / 3.4, (3.0 + 1.5) / 3.4], rtol=1e-6)


def test_players_who_imagine_all_payoffs_and_forget_nothing_are_fictitious_players():
    steps, games = 60, np.random.default_rng(0).normal(size=(4, 2, 3, 3))
    with jax.enable_x64(True):
        for table in jnp.asarray(games):
            known = np.stack(fictitious_play(table, steps, num_records=steps).history.profile).argmax(-1)
            # The first play is that of both's first actions, and the history notes what is played next.
            np.testing.assert_array_equal(followed(table, steps)[1:], known.T[:-1])


def followed(table, steps):
    """int[steps, 2]: the actions that both choose."""

    def play(minds, _):
        chosen = minds.attraction.argmax(-1)
        payoffs = jnp.stack([table[0][:, chosen[1]], table[1][chosen[0]]])
        return weigh(minds, payoffs, chosen, phi=1.0, delta=1.0, rho=1.0), chosen

    return np.asarray(jax.lax.scan(play, Experience(jnp.zeros((2, 3)), jnp.zeros(2)), length=steps)[1])


@pytest.mark.parametrize("name", ["phi", "delta", "rho"])
def test_unsound_arguments_are_refused(name):
    options = {"phi": 0.5, "delta": 0.5, "rho": 0.5, name: 1.5}
    with pytest.raises(ConfigError, match=f"{name} must lie in"):
        weigh(Experience(jnp.zeros(2), jnp.float32(0)), jnp.ones(2), 0, **options)
