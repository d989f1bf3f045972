"""People as labellers: what they are asked, what their answers become, and that a run may wait for them."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.rendering import render
from jaxrl.algorithms.preferences import people, reward_fitting, rlhf
from jaxrl.algorithms.preferences.people import People, Scripted, judgement
from jaxrl.algorithms.preferences.reward_models import Tabular
from jaxrl.algorithms.preferences.segments import Preferences, collect
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.rollout import uniform_policy
from jaxrl.core.transforms import with_reported_states
from jaxrl.errors import ConfigError, DataError
from jaxrl.results import questions
from jaxrl.results.questions import Answer
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.runner import run

SEGMENTS, QUERIES, ROUNDS, LENGTH = 4, 3, 2, 3


@functools.cache
def env():
    return envs.make("reward_grid", rows=2, columns=3, max_steps=5)


def loop(**changes):
    model = Tabular.of(env(), reads=("next_obs",))
    fitting = reward_fitting.Config(model, learning_rate=0.05, weight_decay=1e-3, num_epochs=3, num_minibatches=1)
    learner = q_learning.Config(gamma=0.9, num_steps=8)
    sizes = {"num_rounds": ROUNDS, "num_segments": SEGMENTS, "segment_length": LENGTH, "num_queries": QUERIES}
    return rlhf.Config(fitting, learner, q_learning.make, None, learner_updates=2, **sizes).replace(**changes)


train = functools.partial(run, rlhf.make, num_updates=4, chunk_length=1, vmap_width=1)


def test_states_are_reported_from_the_first_to_the_last():
    """Cell numbers are the states of this grid: what was left and what was reached, also where an episode ended."""
    shown = with_reported_states(env())
    pool = collect(jax.random.key(0), shown, uniform_policy(env()), 3, 7)  # episodes end after 5 steps
    assert pool.mask.sum(1).tolist() == [5, 5, 5]
    cells = np.asarray(jax.tree.leaves(pool.state)[0])
    assert cells.shape == (3, 8)
    np.testing.assert_array_equal(cells[:, :5], pool.obs[:, :5])
    np.testing.assert_array_equal(cells[:, 1:6], pool.next_obs[:, :5])
    assert collect(jax.random.key(0), env(), uniform_policy(env()), 3, 7).state is None


def test_nothing_is_learned_before_the_first_answer():
    algorithm = rlhf.make(env(), loop())
    first = algorithm.init(jax.random.key(0))
    after, metrics = jax.jit(algorithm.update)(first, jax.random.key(1))
    chex.assert_trees_all_equal(after.reward, first.reward)
    chex.assert_trees_all_equal(after.learner, first.learner)
    assert (float(metrics["labelled"]), int(after.round)) == (0.0, 1)
    np.testing.assert_array_equal(after.preferences.weight, 0)
    told = people.answered(after, {"label": jnp.ones(QUERIES), "weight": jnp.full(QUERIES, 2.0)})
    np.testing.assert_array_equal(told.preferences.weight, [2.0] * QUERIES + [0.0] * QUERIES)
    learned, metrics = jax.jit(algorithm.update)(told, jax.random.key(2))
    assert float(metrics["labelled"]) == QUERIES
    assert not np.array_equal(learned.reward.params, told.reward.params)
    assert not np.array_equal(learned.learner.q, told.learner.q)
    # The next round's answers go to the next place, then the first place is used again.
    for place, key in ((1, 3), (0, 4)):
        learned = people.answered(learned, {"label": jnp.zeros(QUERIES), "weight": jnp.full(QUERIES, 5.0)})
        np.testing.assert_array_equal(learned.preferences.weight[place * QUERIES :][:QUERIES], 5.0)
        learned, _ = jax.jit(algorithm.update)(learned, jax.random.key(key))


@pytest.mark.parametrize(("given", "expected"), [("fsef", (0.625, 4)), ("ff_", (1.0, 2)), ("__", (0.5, 0)), ("", (0.5, 0))])
def test_the_mean_of_several_raters(given, expected):
    words = {"f": "first", "s": "second", "e": "equal", "_": "skip"}
    answers = {
        f"rater {place}": {"q": Answer("q", "a", "b", words[letter], questions.LABELS[words[letter]], f"rater {place}", "", None)}
        for place, letter in enumerate(given)
    }
    assert judgement("q", answers) == expected


def test_a_mean_label_is_worth_a_row_for_each_rater():
    """Cross-entropy is linear in the label: the fits agree but for the rounding of sums."""
    pool = collect(jax.random.key(0), env(), uniform_policy(env()), 4, LENGTH)
    config = loop().fitting.replace(num_epochs=20)
    first, second = jnp.array([0, 1, 2]), jnp.array([1, 2, 3])
    labels = [[1.0, 1.0, 0.0], [0.5], []]  # of three raters, one, and none
    rows = [(place, label) for place, given in enumerate(labels) for label in given]
    place, label = jnp.array([row[0] for row in rows]), jnp.array([row[1] for row in rows])
    apart = Preferences(pool, first[place], second[place], label, jnp.ones(len(rows)))
    mean = jnp.array([np.mean(given) if given else 0.5 for given in labels], jnp.float32)
    together = Preferences(pool, first, second, mean, jnp.array([3.0, 1.0, 0.0]))
    fits = [
        reward_fitting.fit(jax.random.key(1), reward_fitting.begin(jax.random.key(0), config, data.count), data, config)
        for data in (apart, together)
    ]
    np.testing.assert_allclose(fits[0][0].params, fits[1][0].params, atol=1e-5)
    np.testing.assert_allclose(fits[0][1]["largest_difference"], fits[1][1]["largest_difference"], atol=1e-5)


def answer_all(folder, rater="ada", choose=lambda place: ("first", "second", "equal", "skip")[place % 4], most=None):
    """Answers the open questions of a run, in their order; returns how many."""
    asked = questions.read(folder, open_only=True)
    own = [
        Answer(
            query, question.first, question.second, choose(place), questions.LABELS[choose(place)], rater, questions.now(), 1.0
        )
        for place, (query, (question, _)) in enumerate(asked.items())
    ][:most]
    questions.append(folder / "labels", own)
    return len(own)


def test_a_run_waits_for_people_and_in_parts_is_what_it_is_at_once(tmp_path):
    """Two seeds, two raters, three visits; again in a folder in which all answers lie from the beginning."""
    picture = functools.partial(render, env())
    parts = tmp_path / "parts"
    go_on = functools.partial(train, env(), loop(), seeds=2)

    def visit(folder):
        between = People(folder, "loop", picture, raters=2)
        return go_on(between=between, checkpoints=Checkpoints(folder / "checkpoints", seconds_between=1e9))

    for update in (1, 2, 3):
        waits = visit(parts)
        assert waits.summary.wanted == (f"{2 * QUERIES} pairs wait for answers, {4 * QUERIES} answers in all",)
        asked = questions.read(parts, open_only=True)
        assert len(asked) == 2 * QUERIES
        assert all(f"/before-{update}/" in query for query in asked)
        answer_all(parts, "ada", most=2)
        assert visit(parts).summary.wanted == (f"{2 * QUERIES} pairs wait for answers, {4 * QUERIES - 2} answers in all",)
        answer_all(parts, "ada")
        answer_all(parts, "bo", lambda place: "first")
    last = visit(parts)
    assert not last.summary.interrupted
    at_once = tmp_path / "at_once"
    for folder in ("questions", "labels"):
        (at_once / folder).parent.mkdir(exist_ok=True)
        (parts / folder).rename(at_once / folder)
    whole = visit(at_once)
    chex.assert_trees_all_equal(last.state.learner.q, whole.state.learner.q)
    chex.assert_trees_all_equal(last.state.reward.params, whole.state.reward.params)
    chex.assert_trees_all_equal(last.state.preferences, whole.state.preferences)
    np.testing.assert_array_equal(last.metrics["reward_loss"][:, -1], whole.metrics["reward_loss"][:, -1])
    # Of both raters: first and first, second and first, equal and first, and one alone where the other skipped.
    oldest_round = 3 % ROUNDS  # the last update wrote pairs of its own over those of the round before the last
    label, weight = (np.asarray(getattr(whole.state.preferences, name)) for name in ("label", "weight"))
    kept = slice((1 - oldest_round) * QUERIES, (1 - oldest_round) * QUERIES + QUERIES)
    np.testing.assert_array_equal(label[0, kept], [1.0, 0.5, 0.75])
    np.testing.assert_array_equal(weight[0, kept], 2.0)
    np.testing.assert_array_equal(label[1, kept], [1.0, 1.0, 0.5])
    np.testing.assert_array_equal(weight[1, kept], [1.0, 2.0, 2.0])


def test_films_show_every_step_of_a_segment(tmp_path):
    for folder, picture in (("pictures", functools.partial(render, env())), ("curves", None)):
        done = train(env(), loop(), between=People(tmp_path / folder, picture=picture))
        assert done.summary.wanted == (f"{QUERIES} pairs wait for answers",)
        (path,) = {path for _, path in questions.read(tmp_path / folder).values()}
        films = questions.films(path)
        assert len(films) == SEGMENTS
        for film in films.values():
            assert len(film.pictures) == (0 if picture is None else LENGTH + 1)
            assert {name: len(values) for name, values in film.numbers.items()} == (
                {"obs": LENGTH, "action": LENGTH} if picture is None else {}
            )


def test_a_rehearsal_learns_from_the_environments_reward():
    done = train(env(), loop(), seeds=2, between=Scripted())
    data = done.state.preferences
    place = slice(0, QUERIES)  # of the third round, whose answers the last update was told; the fourth has none yet
    score = np.where(data.segments.mask, data.segments.reward, 0.0).sum(-1)
    for seed in range(2):
        first, second = (score[seed][np.asarray(side[seed, place])] for side in (data.first, data.second))
        np.testing.assert_array_equal(data.label[seed, place], np.heaviside(first - second, 0.5))
    np.testing.assert_array_equal(done.metrics["labelled"], [[0, 3, 6, 6]] * 2)


def test_what_cannot_be_asked(tmp_path):
    with pytest.raises(ConfigError, match=r"one round between two visits, got 'the first before update 2'. Set chunk_length=1"):
        train(env(), loop(), chunk_length=2, between=People(tmp_path))
    with pytest.raises(ConfigError, match="rlhf must be without a labeller"):
        train(env(), loop(labeller=rlhf.Labeller()), between=People(tmp_path))
    with pytest.raises(ConfigError, match="raters must be an integer of at least 1"):
        People(tmp_path, raters=0)
    train(env(), loop(), between=People(tmp_path))
    with pytest.raises(DataError, match="they must be those of this run"):
        train(env(), loop(), root=1, between=People(tmp_path))
