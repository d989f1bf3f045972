"""Off-policy evaluation against exact values: closed forms, dynamic programming, and thousands of data sets at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.offline import behaviour_cloning
from jaxrl.blocks import datasets
from jaxrl.blocks.dataset_layouts import from_minari
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.finite import tabulate
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import AlgorithmError, ConfigError, DataError, SpaceError, UnknownNameError
from jaxrl.evaluation.off_policy import (
    KINDS,
    EpisodeTerms,
    doubly_robust,
    empirical_model,
    episode_terms,
    fitted_q_evaluation,
    importance_sampling,
    log_probs,
    probabilities,
    robust_terms,
)
from jaxrl.solvers.mdp import host

GAMMA, STEPS = 0.9, 5
ENV = envs.make("reward_grid", rows=2, columns=2, max_steps=STEPS)
BEHAVIOUR = np.float32([[0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25], [0.1, 0.2, 0.3, 0.4], [0.3, 0.2, 0.2, 0.3]])
TARGET = np.float32([[0.1, 0.3, 0.3, 0.3], [0.4, 0.1, 0.25, 0.25], [0.25, 0.25, 0.4, 0.1], [0.1, 0.4, 0.3, 0.2]])


def drawn(episodes, number=0):
    return datasets.Collected(ENV, jnp.asarray(BEHAVIOUR)[None], episodes)(jax.random.key(number))


def finite_horizon(policy):
    """The exact values of a policy with 1 .. T steps to go, float64[T, X], and action values [T, X, A]: by hand."""
    model = tabulate(ENV)
    value, values, action_values = np.zeros(model.num_states), [], []
    for _ in range(STEPS):
        beyond = GAMMA * np.where(model.terminated, 0, value[model.next_state])
        q = (model.probability * (model.reward + beyond)).sum(-1)
        value = (policy * q).sum(-1)
        values.append(value)
        action_values.append(q)
    return np.array(values), np.array(action_values)


def exact():
    return float(tabulate(ENV).initial @ finite_horizon(TARGET)[0][-1])


def by_table(table, data):
    return log_probs(jnp.asarray(table)[data.obs], data)


def two_episodes(**changes):
    """Rewards 1 and 2, then 4; the behaviour takes each action with probability 1/2."""
    half = np.log(0.5)
    given = [
        {"observations": np.array([0, 1, 0]), "actions": np.array([0, 1]), "rewards": np.array([1.0, 2.0])},
        {"observations": np.array([0, 0]), "actions": np.array([1]), "rewards": np.array([4.0])},
    ]
    ends = [np.array([False, True]), np.array([True])]
    episodes = [
        one | {"terminations": end, "truncations": end, "log_probs": np.full(len(end), half)} | changes
        for one, end in zip(given, ends, strict=True)
    ]
    return from_minari(episodes, Discrete(2), Discrete(2))


TABLE = np.array([[0.75, 0.25], [0.1, 0.9]])


def test_importance_sampling_by_hand():
    """Ratios 1.5 and 1.8, then 0.5."""
    data = two_episodes()
    returns, weights = np.array([1 + 0.5 * 2, 4.0]), np.array([1.5 * 1.8, 0.5])
    expected = {
        "ordinary": (weights * returns).mean(),
        "weighted": (weights * returns).sum() / weights.sum(),
        "per_decision": (1.5 * 1 + 2.7 * 0.5 * 2 + 0.5 * 4) / 2,
    }
    for kind in KINDS:
        found = importance_sampling(data, by_table(TABLE, data), 0.5, kind)
        np.testing.assert_allclose(found.value, expected[kind], rtol=1e-7)
        np.testing.assert_allclose(found.effective_sample_size, weights.sum() ** 2 / (weights**2).sum(), rtol=1e-7)
        assert found.low <= found.value <= found.high


def test_the_behaviour_itself_has_its_mean_return():
    data = drawn(20)
    returns = np.asarray(datasets.returns_to_go(data, GAMMA))[:, 0]
    for kind in KINDS:
        found = importance_sampling(data, data.log_prob, GAMMA, kind)
        np.testing.assert_allclose(found.value, returns.mean(), rtol=1e-5)
        assert found.effective_sample_size == pytest.approx(20)


def many(count=2000, episodes=20):
    """Estimates from many data sets at once: ordinary, per decision, and doubly robust with poor values; float[count] each."""
    task = datasets.Collected(ENV, jnp.asarray(BEHAVIOUR)[None], episodes)
    action_value = jnp.asarray(finite_horizon(BEHAVIOUR)[1][-1], jnp.float32)

    def estimates(key):
        data = task(key)
        log_prob = by_table(TARGET, data)
        terms = episode_terms(data, log_prob, GAMMA)
        robust = robust_terms(data, jnp.asarray(TARGET)[data.obs], action_value[data.obs], GAMMA)
        return *(terms.estimate(kind) for kind in KINDS), robust.mean()

    return [np.asarray(part, np.float64) for part in jax.jit(jax.vmap(estimates))(jax.random.split(jax.random.key(1), count))]


def test_estimators_have_no_bias():
    """Over 2000 data sets the mean of ordinary, per-decision and doubly robust estimates is the exact value, by 4 deviations."""
    ordinary, weighted, per_decision, robust = many()
    for found in (ordinary, per_decision, robust):
        assert abs(found.mean() - exact()) < 4 * found.std() / np.sqrt(len(found)), (found.mean(), exact())
    assert ordinary.std() > per_decision.std() > robust.std()
    assert weighted.std() < ordinary.std()


def test_the_weighted_estimate_converges():
    data = drawn(20_000)
    found = importance_sampling(data, by_table(TARGET, data), GAMMA, "weighted", resamples=200)
    assert abs(found.value - exact()) < 2 * (found.high - found.low)
    assert found.high - found.low < 0.1 * abs(exact())


def test_values_that_are_exact_leave_the_noise_of_the_environment_alone():
    """With the values of the time that is left, a deterministic world would have no variance at all."""
    data = drawn(200)
    action_values, chances = finite_horizon(TARGET)[1][::-1], TARGET[data.obs]
    robust = doubly_robust(data, chances, action_values[np.arange(STEPS), data.obs], GAMMA)
    plain = importance_sampling(data, by_table(TARGET, data), GAMMA)
    assert robust.low <= exact() <= robust.high
    assert robust.high - robust.low < 0.5 * (plain.high - plain.low)
    zero = doubly_robust(data, chances, np.zeros((*data.valid.shape, 4)), GAMMA)
    np.testing.assert_allclose(zero, plain, rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_the_effective_sample_size_does_not_depend_on_the_size_of_the_weights(unit):
    """In float32 their squares under- or overflow."""
    weight = unit * jnp.array([2.7, 0.5])
    found = EpisodeTerms(weight, weight, weight).effective_sample_size
    assert float(found) == pytest.approx((2.7 + 0.5) ** 2 / (2.7**2 + 0.5**2), rel=1e-6)
    assert float(EpisodeTerms(0 * weight, weight, weight).effective_sample_size) == 0.0


def test_unsound_questions_are_refused():
    data = two_episodes()
    log_prob = by_table(TABLE, data)
    with pytest.raises(
        DataError, match="importance_sampling: the data must have log-probabilities of the behaviour policy, got None"
    ):
        importance_sampling(data.replace(log_prob=None), log_prob, 0.9)
    with pytest.raises(DataError, match="there must be two episodes or more, got 1"):
        importance_sampling(datasets.take(data, np.array([0])), log_prob[:1], 0.9)
    with pytest.raises(DataError, match="an episode must be possible under the evaluated policy"):
        importance_sampling(data, np.full((2, 2), -np.inf), 0.9)
    with pytest.raises(DataError, match="the weights of all episodes must be finite"):
        importance_sampling(data, np.full((2, 2), 1e5), 0.9, "ordinary")
    with pytest.raises(ConfigError, match=r"log_prob must have shape \[2, 2\], got \[2\]"):
        importance_sampling(data, np.zeros(2), 0.9)
    with pytest.raises(ConfigError, match="log_prob must be below infinity"):
        importance_sampling(data, np.full((2, 2), np.nan), 0.9)
    with pytest.raises(ConfigError, match=r"gamma must lie in \[0, 1\]"):
        importance_sampling(data, log_prob, 1.1)
    with pytest.raises(UnknownNameError, match=r"no kind is named .magic."):
        importance_sampling(data, log_prob, 0.9, "magic")
    chances = TABLE[data.obs]
    with pytest.raises(ConfigError, match=r"doubly_robust: action_value must have shape \[2, 2, A\], got \[2, 2\]"):
        doubly_robust(data, chances, np.zeros((2, 2)), 0.9)
    with pytest.raises(ConfigError, match="doubly_robust: action_value must be finite"):
        doubly_robust(data, chances, np.full((2, 2, 2), np.nan), 0.9)
    with pytest.raises(ConfigError, match="doubly_robust: chances must sum to 1"):
        doubly_robust(data, 2 * chances, np.zeros((2, 2, 2)), 0.9)


def test_an_impossible_action_gives_its_episode_no_weight():
    data = two_episodes()
    found = importance_sampling(data, by_table(np.array([[1.0, 0.0], [0.0, 1.0]]), data), 1.0, "weighted", resamples=100)
    assert found == (3.0, 3.0, 3.0, 1.0)


# ---- fitted Q evaluation


def test_fitted_q_evaluation_by_hand():
    """State 0: action 0 pays 1 and leads to 1, action 1 pays 4 and ends. State 1: action 1 pays 2 and ends, 0 is unseen."""
    found = fitted_q_evaluation(two_episodes(), TABLE, 0.5)
    np.testing.assert_allclose(found.action_value, [[1 + 0.5 * 0.9 * 2, 4], [0, 2]])
    np.testing.assert_allclose(found.value, 0.75 * 1.9 + 0.25 * 4)
    np.testing.assert_allclose(found.unseen, 0.75 * 0.5 * 0.1)
    assert found.error_bound < 1e-12


def test_fitted_q_evaluation_is_exact_on_the_model_itself():
    """With much data it comes near the exact value of the infinite horizon, by dynamic programming on the true model."""
    data, model = drawn(4000), tabulate(ENV)
    found, truth = fitted_q_evaluation(data, TARGET, GAMMA), host.evaluate(model, TARGET, GAMMA)
    assert found.unseen == 0
    assert abs(found.value - float(truth.start_value(model))) < 0.02 * abs(truth.value).max()


def test_the_empirical_model_is_a_model():
    data = drawn(30)
    model = empirical_model("test", data)
    np.testing.assert_allclose(model.probability.sum(-1), 1.0)
    np.testing.assert_allclose(model.initial, np.bincount(data.obs[:, 0], minlength=4) / 30)
    valid = np.asarray(data.valid)
    first = (np.asarray(data.obs) == 0) & (np.asarray(data.action) == 0) & valid
    share = (np.asarray(data.next_obs)[first] == 0).mean()
    there = model.probability[0, 0][(model.next_state[0, 0] == 0)].sum()
    np.testing.assert_allclose(there, share)
    masked = datasets.collect(
        jax.random.key(0), envs.make("maximisation_bias"), rollout.uniform_policy(envs.make("maximisation_bias")), 20
    )
    np.testing.assert_array_equal(empirical_model("test", masked).action_mask[0], masked.mask[0, 0])


def test_fitted_q_evaluation_refuses():
    with pytest.raises(ConfigError, match=r"the policy must have shape \[2, 2\], got \[2, 3\]"):
        fitted_q_evaluation(two_episodes(), np.ones((2, 3)) / 3, 0.9)
    with pytest.raises(ConfigError, match="the policy must sum to 1"):
        fitted_q_evaluation(two_episodes(), np.ones((2, 2)), 0.9)
    place = from_minari(
        [
            {
                "observations": np.zeros((2, 1)),
                "actions": np.zeros(1, int),
                "rewards": np.zeros(1),
                "terminations": np.ones(1),
                "truncations": np.zeros(1),
            }
        ],
        Box(0.0, 1.0, (1,)),
        Discrete(2),
    )
    with pytest.raises(SpaceError, match="the observation_space must be Discrete"):
        fitted_q_evaluation(place, np.ones((1, 2)) / 2, 0.9)


def test_the_probabilities_of_an_algorithm():
    """Those of its own function, shown every step of the data or its successor."""
    data = drawn(3)
    algorithm = behaviour_cloning.make(data, behaviour_cloning.Config(hidden=(4,)))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    chances = probabilities(algorithm, state, data)
    assert chances.shape == (3, STEPS, 4)
    np.testing.assert_allclose(chances.sum(-1), 1.0, rtol=1e-5)
    after = probabilities(algorithm, state, data, successors=True)
    np.testing.assert_allclose(after[:, :-1], chances[:, 1:], rtol=1e-5)
    with pytest.raises(AlgorithmError, match="the algorithm must say its probabilities, got None"):
        probabilities(Algorithm(algorithm.init, algorithm.update), state, data)
