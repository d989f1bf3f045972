"""Meta-strategies: equilibria of meta-games whatever stands where no policy is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import named
from jaxrl.solvers import equilibria, meta_strategies

SOLVERS = {
    "linear_program": (meta_strategies.linear_program, 1e-5),
    "regret_matching": (lambda table, present: meta_strategies.regret_matching(table, present, 2_000), 1e-3),
    "projected_replicator": (
        lambda table, present: meta_strategies.projected_replicator(table, present, 20_000, 0.02, 1e-6),
        0.02,
    ),
}


def padded(payoff, fill):
    """Returns a meta-game with two more places for each player, which hold nothing, and which policies are there."""
    table = np.full((2, *(count + 2 for count in payoff.shape[1:])), fill, np.float32)
    table[:, : payoff.shape[1], : payoff.shape[2]] = payoff
    present = np.zeros(table.shape[:2], bool)
    present[:, : payoff.shape[1]] = True
    return jnp.asarray(table), jnp.asarray(present)


@pytest.mark.parametrize("fill", [0.0, 100.0])
@pytest.mark.parametrize("name", SOLVERS)
def test_weighted_rock_paper_scissors_among_absent_policies(name, fill):
    payoff = np.asarray(named.WEIGHTED_ROCK_PAPER_SCISSORS, np.float32)
    solver, tolerance = SOLVERS[name]
    table, present = padded(payoff, fill)
    mixes = jax.jit(solver)(table, present)
    np.testing.assert_allclose(mixes[0, :3], equilibria.minimax(payoff).row, atol=max(10 * tolerance, 1e-5))
    assert (np.asarray(mixes)[:, 3:] == 0).all()
    np.testing.assert_allclose(mixes.sum(-1), 1.0, rtol=1e-5)
    assert float(meta_strategies.gap(table, present, mixes)) <= 4 * tolerance


def test_projected_replicator_keeps_its_least_shares():
    """Where one policy dominates, the others keep gamma / (K + 1)."""
    payoff = np.zeros((2, 3, 3), np.float32)
    payoff[0, 0], payoff[1, :, 0] = 1.0, 1.0
    table, present = padded(payoff, 0.0)
    mixes = jax.jit(lambda t, p: meta_strategies.projected_replicator(t, p, 5_000, 0.1, 0.2))(table, present)
    np.testing.assert_allclose(mixes[0, :3], [0.9, 0.05, 0.05], atol=5e-3)


def test_regret_matching_of_three_players():
    """Three players who are paid alike come to the joint action that pays most from where it is the best answer to chance."""
    payoff = np.zeros((3, 2, 2, 2), np.float32)
    payoff[:, 1, 1, 1] = 1.0
    mixes = jax.jit(lambda t, p: meta_strategies.regret_matching(t, p, 500))(jnp.asarray(payoff), jnp.ones((3, 2), bool))
    assert (np.asarray(mixes)[:, 1] > 0.99).all()
