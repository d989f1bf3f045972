"""Measures of codes: closed forms, bounds that hold for every code, and the evaluator on policies that are known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import envs
from envs.extensive_games import lewis
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.rollout import Decision
from jaxrl.errors import ConfigError, EnvError
from jaxrl.evaluation import Signalling
from jaxrl.evaluation.signalling import mutual_information, topographic_similarity

HAMMING = np.array([[(i ^ j).bit_count() for j in range(4)] for i in range(4)], float)
UNIFORM = jnp.full(4, 0.25)
information, similarity = jax.jit(mutual_information), jax.jit(topographic_similarity)


def test_the_information_of_known_codes():
    assert float(information(UNIFORM, jnp.eye(4))) == pytest.approx(2.0)
    assert float(information(UNIFORM, jnp.full((4, 4), 0.25))) == 0.0
    # A binary symmetric channel with error 0.1: 1 - H(0.1).
    noisy = jnp.array([[0.9, 0.1], [0.1, 0.9]])
    assert float(information(jnp.full(2, 0.5), noisy)) == pytest.approx(1 + 0.9 * np.log2(0.9) + 0.1 * np.log2(0.1), abs=1e-6)
    # Two of three states pool: the entropy of (2/3, 1/3).
    pooled = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(information(jnp.full(3, 1 / 3), pooled)) == pytest.approx(np.log2(3) - 2 / 3, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_information_is_between_zero_and_the_entropies(seed):
    """Against the entropies of both and of the pair, in float64."""
    generator = np.random.default_rng(seed)
    prior, code = generator.dirichlet(np.ones(4)), generator.dirichlet(np.full(4, 0.3), 4)
    joint = prior[:, None] * code

    def entropy(p):
        return -(p[p > 0] * np.log2(p[p > 0])).sum()

    expected = entropy(prior) + entropy(joint.sum(0)) - entropy(joint)
    found = float(information(jnp.asarray(prior, jnp.float32), jnp.asarray(code, jnp.float32)))
    assert found == pytest.approx(expected, abs=1e-5)
    assert 0 <= found <= min(entropy(prior), entropy(joint.sum(0))) + 1e-5


def test_one_to_one_codes_of_two_attributes():
    """Of 24 codes the 8 symmetries of the square are compositional; all others exchange a diagonal for a side: -1/2."""
    found = np.array(
        [float(similarity(jnp.eye(4)[jnp.array(order)], HAMMING, HAMMING)) for order in itertools.permutations(range(4))]
    )
    np.testing.assert_allclose(np.sort(found), [-0.5] * 16 + [1.0] * 8, atol=1e-6)
    assert found.mean() == pytest.approx(0.0, abs=1e-6)


def test_codes_that_do_not_vary_are_like_nothing():
    assert float(similarity(jnp.full((4, 4), 0.25), HAMMING, HAMMING)) == 0.0
    assert float(similarity(jnp.eye(4)[jnp.zeros(4, jnp.int32)], HAMMING, HAMMING)) == 0.0


def test_the_expected_distance_of_random_signals_is_correlated():
    """By the correlation of NumPy."""
    code = np.random.default_rng(0).dirichlet(np.ones(4), 4)
    first, second = np.triu_indices(4, 1)
    expected = np.corrcoef(HAMMING[first, second], (code @ HAMMING @ code.T)[first, second])[0, 1]
    assert float(similarity(jnp.asarray(code, jnp.float32), HAMMING, HAMMING)) == pytest.approx(expected, abs=1e-5)


def fixed(signals, chances):
    """An algorithm whose sender has a known code, and whose receiver sees what it says."""

    def policy(state, greedy):
        def act(key, view):
            sent = jnp.asarray(signals)[view.obs[:, 0] - 1]
            return Decision(jnp.stack([sent, jnp.zeros_like(sent)], -1))

        return act

    def probabilities(state, view):
        sent = jnp.asarray(chances, jnp.float32)[view.obs[:, 0] - 1]
        return jnp.stack([sent, jnp.zeros_like(sent)], 1)

    return Algorithm(None, None, policy, probabilities=probabilities)


def test_the_evaluator_reads_the_code_of_the_sender():
    evaluator = Signalling.of(lewis.make(4), meanings=HAMMING, signals=HAMMING)
    noisy = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    found = evaluator(jax.random.key(0), fixed([3, 2, 1, 0], noisy), None)
    expected = {
        "greedy_information": 2.0,
        "greedy_topographic_similarity": 1.0,
        "sampled_information": 2 + 0.7 * np.log2(0.7) + 0.3 * np.log2(0.1),
        "sampled_topographic_similarity": 1.0,
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, abs=1e-5)
    assert set(Signalling.of(lewis.make(4))(jax.random.key(0), fixed([0] * 4, noisy), None)) == {
        "greedy_information",
        "sampled_information",
    }


@pytest.mark.parametrize(
    ("env", "options", "error", "message"),
    [
        (lambda: envs.make("simple_spread"), {}, EnvError, "Signalling: the environment must be finite"),
        (lambda: envs.make("lewis"), {"sender": 2}, EnvError, "sender must be one of the 2 agents"),
        (lambda: envs.make("lewis"), {"meanings": np.eye(2)}, ConfigError, "must be given together"),
        (lambda: envs.make("lewis"), {"meanings": np.eye(3), "signals": np.eye(2)}, ConfigError, r"meanings must have shape"),
        (lambda: lewis.make(4), {"meanings": np.zeros((4, 4)), "signals": HAMMING}, ConfigError, "must not all be the same"),
        (lambda: lewis.make(4), {"meanings": HAMMING * np.nan, "signals": HAMMING}, ConfigError, "must"),
    ],
)
def test_what_cannot_be_measured_is_refused(env, options, error, message):
    with pytest.raises(error, match=message):
        Signalling.of(env(), **options)
