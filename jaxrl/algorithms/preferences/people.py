"""People as labellers: the loop of ``rlhf`` waits for their answers between two updates.

    after an update       the pairs of its round are written into the folder of the run, with the pictures of their segments
    jaxrl label RUN       people answer, whenever they like, as many as like to
    before the next one   label = mean of their labels, weight = how many did not skip

A pair with the mean of several labels, weighted by their number, has the same cross-entropy as a row for each label. Until all
answers are there the run ends with ``AnswersWanted`` and all it has; resumed, it ends as if they had been there at once.

Source: Christiano et al. (2017), section 2.2.2, the interface and its four answers; the synchronous form is ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.algorithms.preferences.labellers import Labeller
from jaxrl.algorithms.preferences.rlhf import State
from jaxrl.core.environment import PyTree
from jaxrl.errors import AnswersWanted, DataError, require, require_count
from jaxrl.results import questions
from jaxrl.results.questions import Answer, Film, Question

PERFECT = Labeller(rationality=float("inf"))


class People:
    """Asks people; a ``jaxrl.training.trainer.Between`` for ``rlhf`` without a labeller.

    In an arm of an experiment: ``between=functools.partial(People, picture=functools.partial(render, env))``.
    """

    def __init__(self, folder: Path, name: str = "run", picture: Callable[[PyTree], np.ndarray] | None = None, raters: int = 1):
        """
        Args:
            folder: of the run.
            name: of the arm; its questions lie below a folder of this name.
            picture: of a state of the environment, uint8[H, W, 3]. By default people see curves of observations and actions.
            raters: how many people are to answer each pair, at least (count).
        """
        require_count("people", "raters", raters)
        self._run, self._name, self._picture, self._raters = Path(folder), name, picture, raters

    def ask(self, update: int, seeds: np.ndarray, states: State) -> dict[str, np.ndarray]:
        """Writes the questions that are new, and returns the labels and weights of the last round, float32[B, num_queries] each.

        Raises:
            AnswersWanted: some are missing.
            DataError: an answer is unsound, or the questions in the folder are others.
            ConfigError: more than one round was made since it was last asked.
        """
        require(states.shown is not None, "people", "rlhf must be without a labeller", "one", "Set labeller=None.")
        asked = self._run / "questions" / self._name
        before = asked / f"before-{update - 1:010}"
        must = "there must be one round between two visits"
        require(update == 1 or before.is_dir(), "people", must, f"the first before update {update}", "Set chunk_length=1.")
        path = asked / f"before-{update:010}" / f"seeds-{seeds.min()}-{seeds.max()}"
        pairs = [self._pairs(update, int(seed), _of(states, place)) for place, seed in enumerate(seeds)]
        own = {question.query: question for of_seed in pairs for question in of_seed}
        known = {query: question for query, (question, _) in questions.read(self._run).items()}
        if not own.keys() <= known.keys():
            films: dict[str, Film] = {}
            for place, seed in enumerate(seeds):
                films |= self._films(update, int(seed), _of(states, place))
            questions.write(path, films, list(own.values()))
            known |= own
        changed = [query for query, question in own.items() if known[query][:3] != question[:3]]
        fix = "Label another run, or remove the folder questions."
        require(not changed, f"questions {asked}", "they must be those of this run", changed[:3], fix, DataError)
        answers = questions.read_answers(self._run / "labels", known)
        lacking = questions.missing(own, answers)
        if lacking:
            wait = sum(questions.missing({query: question}, answers) > 0 for query, question in own.items())
            more = f", {lacking} answers in all" if self._raters > 1 else ""
            one = wait == 1
            raise AnswersWanted(f"{wait} pair{'' if one else 's'} wait{'s' if one else ''} for answers{more}")
        judged = [[judgement(question.query, answers) for question in of_seed] for of_seed in pairs]
        label, weight = np.moveaxis(np.array(judged, np.float32), 2, 0)
        return {"label": label, "weight": weight}

    def apply(self, state: State, answers: dict[str, jax.Array]) -> State:
        """Writes the answers into the preferences of the last round."""
        return answered(state, answers)

    def _pairs(self, update: int, seed: int, state: Any) -> list[Question]:
        stem = f"{self._name}/seed-{seed}/before-{update}"
        pairs = zip(
            *(column[_last(state)[1]].tolist() for column in (state.preferences.first, state.preferences.second)), strict=True
        )
        shift = _last(state)[0].start
        named = [[f"{stem}/segment-{number - shift}" for number in pair] for pair in pairs]
        return [Question(f"{stem}/pair-{place}", first, second, self._raters) for place, (first, second) in enumerate(named)]

    def _films(self, update: int, seed: int, state: Any) -> dict[str, Film]:
        pool = jax.tree.map(lambda leaf: leaf[_last(state)[0]], state.preferences.segments)
        found = {}
        for number in range(pool.count):
            length = int(np.asarray(pool.mask[number]).sum())
            name = f"{self._name}/seed-{seed}/before-{update}/segment-{number}"
            if self._picture is None:
                found[name] = Film(numbers=_numbers(pool, number, length))
            else:
                states = [jax.tree.map(lambda leaf, t=t, n=number: leaf[n, t], state.shown) for t in range(length + 1)]
                found[name] = Film(tuple(questions.png(self._picture(state)) for state in states))
        return found


class Scripted:
    """Answers at once as a labeller does that sees the environment's reward: rehearses a run that people are to answer."""

    def __init__(self, folder: Path = Path(), name: str = "run", labeller: Labeller = PERFECT):
        """labeller: who judges. folder, name: not used; see ``People``."""
        self._labeller = labeller

    def ask(self, update: int, seeds: np.ndarray, states: State) -> dict[str, np.ndarray]:
        """Returns the labels and weights of the last round, float32[B, num_queries] each."""
        found = []
        for place, seed in enumerate(seeds):
            state = _of(states, place)
            pairs = _last(state)[1]
            pool = state.preferences.segments
            score = np.where(pool.mask, pool.reward, 0.0).sum(-1)
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(update), seed), 0)
            found.append(self._labeller(key, *(score[getattr(state.preferences, side)[pairs]] for side in ("first", "second"))))
        return {name: np.stack([np.asarray(getattr(one, name)) for one in found]) for name in ("label", "weight")}

    def apply(self, state: State, answers: dict[str, jax.Array]) -> State:
        """Writes the answers into the preferences of the last round."""
        return answered(state, answers)


def answered(state: State, answers: Mapping[str, jax.Array]) -> State:
    """Returns the state in which the pairs of the last round have these labels and weights, float32[num_queries] each."""
    preferences, (_, pairs) = state.preferences, _places(state)
    written = {
        name: jax.lax.dynamic_update_slice_in_dim(getattr(preferences, name), answers[name].astype(jnp.float32), pairs, axis=0)
        for name in ("label", "weight")
    }
    return replace(state, preferences=replace(preferences, **written))


def judgement(query: str, answers: Mapping[str, Mapping[str, Answer]]) -> tuple[float, float]:
    """Returns the mean label of the raters who did not skip a question, 1/2 if all did, and how many these are."""
    labels: Sequence[float] = [
        label for of_rater in answers.values() if query in of_rater and (label := of_rater[query].label) is not None
    ]
    return (sum(labels) / len(labels), float(len(labels))) if labels else (0.5, 0.0)


def _of(states: State, place: int) -> Any:
    """Returns on the host what is shown of the seed at a place of a batch."""
    wanted = states.preferences, states.shown, states.round
    preferences, shown, round_ = jax.tree.map(lambda leaf: np.asarray(leaf[place]), wanted)
    return State(None, None, None, preferences, round_, shown)  # type: ignore[arg-type]


def _places(state: State) -> tuple[Any, Any]:
    """Returns where the segments and the pairs of the last round begin."""
    of_round = jax.tree.leaves(state.shown)[0].shape[0]
    rounds = state.preferences.segments.count // of_round
    place = (state.round - 1) % rounds
    return place * of_round, place * (state.preferences.count // rounds)


def _last(state: State) -> tuple[slice, slice]:
    """Returns the segments and the pairs of the last round; on the host."""
    segments, pairs = (int(begin) for begin in _places(state))
    of_round = jax.tree.leaves(state.shown)[0].shape[0]
    per_round = state.preferences.count // (state.preferences.segments.count // of_round)
    return slice(segments, segments + of_round), slice(pairs, pairs + per_round)


def _numbers(pool: Any, number: int, length: int) -> dict[str, np.ndarray]:
    """Returns the curves of the observations and actions of a segment."""
    found: dict[str, np.ndarray] = {}
    for name, tree in (("obs", pool.obs), ("action", pool.action)):
        leaves = [np.asarray(leaf[number, :length]).reshape(length, -1) for leaf in jax.tree.leaves(tree)]
        columns = np.concatenate(leaves, axis=1).astype(np.float64).T
        found |= {name if len(columns) == 1 else f"{name}/{place}": column for place, column in enumerate(columns)}
    return found
