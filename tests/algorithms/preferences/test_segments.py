"""Segments, pairs and labellers: where segments end, who acts, what is summed, and with which probability labels are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.preferences import ensembles, reward_fitting
from jaxrl.algorithms.preferences.labellers import LabelledSegments, Labeller, ask
from jaxrl.algorithms.preferences.metrics import HeldOut
from jaxrl.algorithms.preferences.reward_models import MLP, Tabular
from jaxrl.algorithms.preferences.segments import (
    Preferences,
    Segments,
    boltzmann_policies,
    collect,
    sample_pairs,
    scores,
    single_steps,
    summed,
    take,
)
from jaxrl.blocks.policies import mixture
from jaxrl.core import rollout
from jaxrl.core.spaces import Box, Dict, Discrete
from jaxrl.errors import ConfigError, DataError, EnvError, SpaceError
from jaxrl.training.runner import run
from tests import probes

KEY = jax.random.key(0)


def test_a_segment_ends_with_its_episode():
    """The delayed probe terminates after two steps and pays 1 on the second: of five steps two belong to the segment."""
    env = probes.delayed_reward()
    segments = collect(KEY, env, rollout.uniform_policy(env), 3, 5)
    np.testing.assert_array_equal(segments.mask, [[True, True, False, False, False]] * 3)
    np.testing.assert_array_equal(segments.obs[:, :2], [[0, 1]] * 3)
    np.testing.assert_array_equal(segments.next_obs[:, :2], [[1, 2]] * 3)
    np.testing.assert_array_equal(summed(segments.reward, segments.mask), 1.0)


def test_a_segment_ends_with_the_time_limit():
    env = probes.time_limit_loop()
    segments = collect(KEY, env, rollout.uniform_policy(env), 2, 7)
    np.testing.assert_array_equal(segments.mask.sum(1), 2)
    np.testing.assert_array_equal(summed(segments.reward, segments.mask), 2.0)


def test_segments_of_an_environment_with_vectors():
    env = envs.make("cartpole")
    segments = collect(KEY, env, rollout.uniform_policy(env), 4, 6)
    assert segments.obs.shape == (4, 6, 4)
    assert segments.count == 4
    assert take(segments, jnp.array([2, 2])).obs.shape == (2, 6, 4)


def test_a_mixture_acts_by_its_tables():
    env = envs.make("reward_grid", slip=0.0)
    tables = jnp.stack([jnp.broadcast_to(jax.nn.one_hot(action, 4), (36, 4)) for action in (0, 2)])
    segments = collect(KEY, env, mixture(tables), 6, 5)
    np.testing.assert_array_equal(segments.action, np.tile([[0] * 5, [2] * 5], (3, 1)))


def test_boltzmann_policies_lie_between_random_and_optimal():
    """On two cells of which the right one pays, moving right is best everywhere; the values are those of a linear solve."""
    env = envs.make("reward_grid", rows=1, columns=2, slip=0.0, rewards=(0.0, 1.0))
    random, best, known = np.asarray(boltzmann_policies(env, 0.5, (1e6, 0.01, 1.0)))
    np.testing.assert_allclose(random, 0.25, atol=1e-5)
    np.testing.assert_allclose(best[0], [0, 0, 1, 0], atol=1e-6)  # left, down, right, up
    np.testing.assert_allclose(best[1], [0, 1 / 3, 1 / 3, 1 / 3], atol=1e-6)
    left, right = 1.0, 2.0  # the best values are 2 at either cell: of entering the left one half of it, of the right one 1 more
    np.testing.assert_allclose(known[0], np.exp([left, left, right, left]) / np.exp([left, left, right, left]).sum(), rtol=1e-5)
    with pytest.raises(SpaceError, match="boltzmann_policies: the observation_space must be Discrete"):
        boltzmann_policies(envs.make("cartpole"), 0.9, (1.0,))
    with pytest.raises(EnvError, match="every observation must belong to one state"):
        boltzmann_policies(env.replace(observe_fn=lambda state, params: jnp.int32(0)), 0.9, (1.0,))


def test_labelled_segments_share_a_program_whatever_their_number():
    env = envs.make("reward_grid", rows=2, columns=3)
    task = LabelledSegments(env, boltzmann_policies(env, 0.9, (1.0, 0.1)), Labeller(rationality=np.inf), jnp.int32(20), 20, 4)
    whole, part = task(KEY), task.replace(num_labels=jnp.int32(7))(KEY)
    assert whole.segments.obs.shape == (20, 4)
    np.testing.assert_array_equal(whole.weight, 1.0)
    np.testing.assert_array_equal(part.weight, [1.0] * 7 + [0.0] * 13)
    score = summed(whole.segments.reward, whole.segments.mask)
    np.testing.assert_array_equal(whole.label, np.heaviside(score[whole.first] - score[whole.second], 0.5))
    for name in ("first", "second", "label"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(part, name))


def test_discounted_sum_by_hand():
    """The last step counts fully, the one before by the discount; masked steps not at all."""
    rewards = jnp.array([[1.0, 2.0, 4.0], [1.0, 2.0, 99.0]])
    mask = jnp.array([[True, True, True], [True, True, False]])
    np.testing.assert_allclose(summed(rewards, mask), [7.0, 3.0])
    np.testing.assert_allclose(summed(rewards, mask, 0.5), [0.25 + 1.0 + 4.0, 0.5 + 2.0])
    np.testing.assert_allclose(summed(rewards, mask, 0.0), [4.0, 2.0])


def test_scores_sum_a_reward_function():
    segments = single_steps(jnp.array([3, 5]), jnp.array([1, 0]))
    assert segments.mask.shape == (2, 1)
    np.testing.assert_allclose(scores(lambda params, obs, action, next_obs: params * obs + action, 10.0, segments), [31.0, 50.0])


def test_pairs_are_different_and_uniform():
    first, second = sample_pairs(KEY, 4, 40_000)
    assert not bool((first == second).any())
    counts = np.zeros((4, 4))
    np.add.at(counts, (np.asarray(first), np.asarray(second)), 1)
    expected = 40_000 / 12
    statistic = ((counts[~np.eye(4, dtype=bool)] - expected) ** 2 / expected).sum()
    assert statistic < 31.3  # chi-square with 11 degrees of freedom, 0.1 %


@pytest.mark.parametrize(
    ("labeller", "difference", "probability"),
    [
        (Labeller(), 1.0, 1 / (1 + np.exp(-1.0))),
        (Labeller(rationality=3.0), -0.5, 1 / (1 + np.exp(1.5))),
        (Labeller(flip_rate=0.2), 1.0, 0.8 / (1 + np.exp(-1.0)) + 0.2 / (1 + np.exp(1.0))),
        (Labeller(rationality=np.inf), 1e-6, 1.0),
        (Labeller(rationality=np.inf), 0.0, 0.5),
        (Labeller(rationality=np.inf, flip_rate=0.1), -2.0, 0.1),
        (Labeller(equal_within=0.5), 0.4, 0.5),
        (Labeller(flip_rate=0.5), 7.0, 0.5),
    ],
)
def test_probability_of_a_label(labeller, difference, probability):
    np.testing.assert_allclose(labeller.probability(jnp.float32(difference), jnp.float32(0.0)), probability, rtol=1e-5)


def test_labels_are_drawn_with_that_probability():
    first, second = jnp.full(20_000, 0.7), jnp.zeros(20_000)
    labeller = Labeller(rationality=2.0, flip_rate=0.1)
    judged = labeller(KEY, first, second)
    assert set(np.unique(judged.label)) == {0.0, 1.0}
    expected = 0.9 / (1 + np.exp(-1.4)) + 0.1 / (1 + np.exp(1.4))
    assert abs(float(judged.label.mean()) - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000)
    np.testing.assert_allclose(labeller.replace(soft=True)(KEY, first, second).label, expected, rtol=1e-5)


def test_ties_and_skips():
    first, second = jnp.array([0.0, 1.0, 5.0, -3.0]), jnp.array([0.1, 3.0, 0.0, -4.0])
    judged = Labeller(rationality=np.inf, equal_within=0.5, skip_below=0.5)(KEY, first, second)
    np.testing.assert_allclose(judged.label, [0.5, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(judged.weight, [0.0, 1.0, 1.0, 0.0])
    perfect = Labeller(rationality=np.inf)(KEY, jnp.ones(3), jnp.ones(3))
    np.testing.assert_allclose(perfect.label, 0.5)


def test_asking_uses_the_environments_reward_or_a_score():
    pool = Segments(None, None, None, jnp.ones((3, 2), bool), jnp.array([[0.0, 1.0], [2.0, 2.0], [0.0, 0.0]]))
    first, second = jnp.array([0, 1]), jnp.array([1, 2])
    perfect = Labeller(rationality=np.inf)
    np.testing.assert_allclose(ask(KEY, perfect, pool, first, second).label, [0.0, 1.0])
    np.testing.assert_allclose(ask(KEY, perfect, pool, first, second, jnp.array([9.0, 1.0, 2.0])).label, [1.0, 0.0])


@pytest.mark.parametrize("changes", [{"rationality": 0.0}, {"flip_rate": 1.5}, {"equal_within": -1.0}])
def test_wrong_labellers(changes):
    with pytest.raises(ConfigError, match="labeller"):
        Labeller(**changes).validate()


POOL = single_steps(jnp.arange(8) % 5, jnp.zeros(8, jnp.int32))
MODEL = Tabular(Discrete(5), Discrete(1), ("obs",), init_scale=1.0)


def preferences(**changes):
    whole = dict(first=jnp.array([0, 1, 2]), second=jnp.array([3, 4, 5]), label=jnp.ones(3), weight=jnp.ones(3)) | changes
    return Preferences(whole.pop("segments", POOL), **whole)


WRONG = [
    ({"first": jnp.array([0, 99, 2])}, "comparison 1: first 99 is none of the 8 segments"),
    ({"second": jnp.array([3, 4, -1])}, "comparison 2: second -1 is none of the 8 segments"),
    ({"label": jnp.array([1.0, 2.0, 0.5])}, r"comparison 1: label 2 is not in \[0, 1\]"),
    ({"label": jnp.array([jnp.nan, 1.0, 0.5])}, "comparison 0: label is NaN"),
    ({"weight": jnp.array([1.0, 1.0, -1.0])}, "comparison 2: weight -1 is not finite and at least 0"),
    ({"weight": jnp.array([jnp.inf, 1.0, 1.0])}, "comparison 0: weight inf is not finite"),
    ({"second": jnp.array([3, 1, 5])}, "comparison 1: first and second are the same segment '1'"),
    ({"first": jnp.array([9, 9, 9]), "label": jnp.array([2.0, 0.0, 0.0])}, r"segments, label 2 is not.*; comparison 2: first 9"),
    ({"first": jnp.array([0.0, 1.0, 2.0])}, "first must hold the numbers of segments, integers, got 'float32'"),
    ({"label": jnp.ones(3), "weight": jnp.ones(2)}, r"weight must have one number for each of the 3 comparisons, got \(2,\)"),
    (
        {"segments": POOL._replace(obs=POOL.obs.at[6, 0].set(5))},
        r"obs of step 0 of segment 6 must lie in Discrete\(n=5\), got 5. Correct it",
    ),
    ({"segments": POOL._replace(action=POOL.action - 1)}, r"action of step 0 of segment 0 must lie in Discrete\(n=1\), got -1"),
    ({"segments": POOL._replace(obs=POOL.obs[:5])}, r"obs must begin with the axes of the mask, \(8, 1\)"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_preferences_built_in_memory_are_checked_at_every_door(changes, message):
    """Index 99 in a pool of 8 gave a plausible loss, and label 2, weight -1, self-pairs and strange states passed."""
    wrong = preferences(**changes)
    fitting = reward_fitting.Config(MODEL, num_minibatches=1, bootstrap=True)
    doors = (
        lambda: wrong.validate("here", Discrete(5), Discrete(1)),
        lambda: run(reward_fitting.make, wrong, fitting, seeds=1, num_updates=1),
        lambda: run(ensembles.make, wrong, ensembles.Config(fitting), seeds=1, num_updates=1),
        lambda: reward_fitting.fit(KEY, reward_fitting.begin(KEY, fitting, 3), wrong, fitting),
        lambda: run(reward_fitting.make, preferences(), fitting, seeds=1, num_updates=1, evaluators=(HeldOut(wrong, MODEL),)),
        lambda: HeldOut(wrong, MODEL)(KEY, None, None),
    )
    for door in doors:
        with pytest.raises(DataError, match=message):
            door()


def test_sound_preferences_pass():
    preferences().validate("here", Discrete(5), Discrete(1))
    skipped = preferences(second=jnp.array([3, 1, 5]), weight=jnp.array([1.0, 0.0, 1.0]))
    skipped.validate("here")  # nobody compared the segment with itself
    space = Dict.of(place=Box(-1.0, 1.0, (2,)), cell=Discrete(3))
    seen = {"place": jnp.zeros((8, 2, 2)).at[3, 1].set(jnp.nan), "cell": jnp.zeros((8, 2), jnp.int32)}
    mask = jnp.ones((8, 2), bool).at[3, 1].set(False)
    pool = Segments(seen, jnp.zeros((8, 2), jnp.int32), seen, mask)
    pool.validate("here", space, Discrete(1))
    with pytest.raises(DataError, match=r"obs of step 1 of segment 3 must lie in .*'place': \[nan, nan\]"):
        pool._replace(mask=mask.at[3, 1].set(True)).validate("here", space, Discrete(1))
    assert MLP(space, Discrete(1)).observation_space is space


def test_asking_about_segments_that_are_not_there():
    pool = POOL._replace(reward=jnp.zeros((8, 1)))
    with pytest.raises(DataError, match=r"ask: .*comparison 1: second 8 is none of the 8 segments"):
        ask(KEY, Labeller(), pool, jnp.array([0, 1]), jnp.array([1, 8]))


@pytest.mark.parametrize("labeller", [Labeller(), Labeller(rationality=np.inf), Labeller(equal_within=0.5), Labeller(soft=True)])
def test_a_score_that_is_no_number_has_no_label(labeller):
    """NaN fell through the comparison and was labelled as the second one's victory."""
    judged = labeller(KEY, jnp.array([jnp.nan, 1.0, jnp.inf]), jnp.array([0.0, jnp.nan, jnp.inf]))
    assert np.isnan(judged.label).all()
    assert np.isnan(judged.weight[:2]).all()
