"""Graph drawing: eigenvectors from the transitions of a random walk, against the exact ones."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.solvers.graph_drawing import graph_drawing
from jaxrl.solvers.mdp.laplacian import laplacian

STATES = 6


def walk(num_steps):
    """Transitions of a walk on a path, which stays where it would leave it."""
    generator = np.random.default_rng(0)
    here = generator.integers(STATES, size=num_steps)
    there = np.clip(here + generator.choice((-1, 1), size=num_steps), 0, STATES - 1)
    return np.stack([here, there], 1)


def test_the_slowest_eigenvectors_are_learned_in_their_order():
    joins = np.eye(STATES, k=1) + np.eye(STATES, k=-1)
    exact = laplacian(joins).eigenvector * np.sqrt(STATES)
    learn = partial(graph_drawing, num_states=STATES, num_features=3, num_steps=4000, learning_rate=0.03, penalty=1.0)
    found = np.asarray(jax.jit(jax.vmap(learn, in_axes=(0, None)))(jax.random.split(jax.random.key(0), 4), walk(20_000)))
    overlap = np.abs(np.einsum("nxk,xl->nkl", found, exact[:, :3])) / STATES
    # The penalty is finite: each is shorter than an eigenvector, by a factor that its eigenvalue says.
    size = np.einsum("nkk->nk", overlap)
    assert (overlap - size[:, :, None] * np.eye(3)).max() < 0.1
    length = np.sqrt(1 - (1 - np.cos(np.pi * np.arange(3) / STATES)))
    np.testing.assert_allclose(size, np.broadcast_to(length, size.shape), rtol=0, atol=0.06)


def test_transitions_must_be_pairs_of_states():
    for transitions, must in (
        (np.zeros(4, int), "shape"),
        (np.zeros((4, 2)), "whole numbers"),
        (np.full((4, 2), STATES), "whole numbers"),
        (np.zeros((0, 2), int), "shape"),
    ):
        with pytest.raises(ConfigError, match=must):
            graph_drawing(jax.random.key(0), transitions, STATES, 2, 3)
