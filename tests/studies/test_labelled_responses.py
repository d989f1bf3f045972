"""Labelled responses: labels follow gold, every response is in the pool once, and worlds differ."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.algorithms.preferences import ensembles
from jaxrl.algorithms.preferences.labellers import Labeller
from jaxrl.algorithms.preferences.reward_models import Linear
from jaxrl.algorithms.preferences.segments import scores, single_steps
from jaxrl.core.spaces import Box, Discrete
from jaxrl.studies.labelled_responses import LabelledResponses

TASK = LabelledResponses(Labeller(rationality=jnp.inf), jnp.float32(1.0), num_responses=12, num_pairs=30, num_features=3)


def test_a_perfect_judge_prefers_the_response_of_more_gold():
    data = TASK(jax.random.key(0))
    gold = np.asarray(data.segments.reward)[:, 0]
    np.testing.assert_array_equal(np.asarray(data.segments.action)[:, 0], np.arange(12))
    np.testing.assert_array_equal(data.label, gold[data.first] > gold[data.second])
    assert data.label.shape == (30,)
    features = np.asarray(data.segments.obs)[:, 0]
    np.testing.assert_allclose(features @ np.linalg.lstsq(features, gold, rcond=None)[0], gold, atol=1e-5)  # all of it is linear
    assert not np.allclose(gold, np.asarray(TASK(jax.random.key(1)).segments.reward)[:, 0])


def test_the_ensembles_of_seeds_score_pools_of_their_own():
    model = Linear(Box(-np.inf, np.inf, (3,)), Discrete(12), reads=("obs",), init_scale=1.0)
    reward = ensembles.Aggregated(model, "worst_case")
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 3)), jnp.float32)
    pools = jax.vmap(single_steps, in_axes=(0, None))(features, jnp.arange(12, dtype=jnp.int32))
    params = jax.vmap(jax.vmap(model.init))(jax.random.split(jax.random.key(3), (2, 4)))
    found = ensembles.scores_of_seeds(reward, params, pools)
    assert found.shape == (2, 12)
    second = jax.tree.map(lambda leaf: leaf[1], (params, pools))
    np.testing.assert_allclose(found[1], scores(reward, *second), rtol=1e-5)
