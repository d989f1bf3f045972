"""Objectives rank members, and the score of the one that is chosen is not lucky."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.algorithm import Algorithm
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.statistics import final_values
from jaxrl.sweeps.halving import halve
from jaxrl.sweeps.members import (
    grid,
)
from jaxrl.sweeps.selection import Objective, held_out_seeds, interval, select
from jaxrl.sweeps.sweep import sweep
from jaxrl.training.runner import run
from tests.sweeps import learners
from tests.sweeps.learners import GRID, RATES, Nested, Q, drift, swept


def noise(task, config):
    """An algorithm that learns nothing: it shows standard normal noise, other noise for every seed and every rate."""
    draw = lambda key: jax.random.normal(jax.random.fold_in(key, config.rate.astype(jnp.int32)))  # noqa: E731
    return Algorithm(lambda key: jnp.float32(0.0), lambda state, key: (state, {"value": draw(key)}))


def test_an_objective_averages_the_last_updates():
    done = swept()
    for metric, tables in (("td_error", done.metrics), ("greedy_exact_value", done.evaluations)):
        expected = np.stack([final_values(table, 0.25) for table in tables[metric]])
        np.testing.assert_array_equal(Objective(metric, fraction=0.25).of(done), expected)
    with pytest.raises(UnknownNameError, match=r"no metric is named 'greedy_exact_valu'\. Did you mean 'greedy_exact_value'"):
        Objective("greedy_exact_valu").of(done)


def test_ranking():
    scores = np.array([[1.0, 3.0], [9.0, np.nan], [4.0, 0.5], [np.nan, np.nan]])
    assert Objective("x").ranking(scores).tolist() == [2, 0, 1, 3]
    assert Objective("x", maximize=False).ranking(scores).tolist() == [0, 2, 1, 3]


def measures_an_array(task, config):
    """Three numbers in each update, of which the second is the rate."""
    measured = {"each": jnp.stack([jnp.float32(0), config.rate, jnp.float32(2)])}
    return Algorithm(lambda key: jnp.float32(0), lambda state, key: (state, measured))


def test_an_entry_of_an_array_can_be_the_objective():
    members, objective = grid({"rate": [1.0, 5.0, 3.0]}), Objective("each/1")
    done = halve(measures_an_array, None, Nested(), members, objective=objective, seeds=2, rungs=[2])
    assert done.sweep.metrics["each/1"].shape == (3, 2, 2)
    assert objective.ranking(objective.of(done.sweep)).tolist() == [1, 2, 0]
    with pytest.raises(UnknownNameError, match=r"no metric is named 'each'.*Known: each/0, each/1, each/2"):
        halve(measures_an_array, None, Nested(), members, objective=Objective("each"), seeds=2, rungs=[2])


def test_an_unknown_metric_is_noticed_before_anything_runs():
    before = learners.traces
    with pytest.raises(UnknownNameError, match=r"no metric is named 'valve'\. Did you mean 'value'"):
        halve(drift, None, Nested(), [{"rate": 1.0}], objective=Objective("valve"), seeds=2, rungs=[2])
    assert learners.traces == before + 1


def test_selection_uses_other_seeds():
    members = grid({"learning_rate": RATES})
    scores = Objective("td_error", maximize=False).of(swept())
    held_out = held_out_seeds(4, 3)
    np.testing.assert_array_equal(held_out, [4, 5, 6])
    chosen = select(
        q_learning.make,
        GRID,
        Q,
        members,
        scores,
        Objective("td_error", maximize=False),
        seeds=4,
        held_out=held_out,
        num_updates=16,
        chunk_length=2,
        vmap_width=1,
    )
    best = int(scores.mean(1).argmin())
    assert chosen.values == members[best]
    assert chosen.selected == interval(scores[best])
    alone = run(q_learning.make, GRID, Q.replace(**members[best]), seeds=[4, 5, 6], num_updates=16, chunk_length=2, vmap_width=1)
    np.testing.assert_array_equal(chosen.scores, final_values(alone.metrics["td_error"]))
    assert chosen.held_out.estimate == chosen.scores.mean()
    with pytest.raises(ConfigError, match=r"no seed may be held out that was chosen on, got \[3\]"):
        select(q_learning.make, GRID, Q, members, scores, Objective("td_error"), seeds=4, held_out=[3, 9], num_updates=16)


@pytest.mark.slow
def test_the_held_out_score_has_no_winners_curse():
    """All members are pure noise of mean 0, so whatever is chosen is worth 0.

    The best of 16 means of 4 standard normal numbers each is 0.883 on average, half the expected largest of 16. Bars, set
    beforehand: both averages within four of their standard errors, over 100 sweeps.
    """
    objective, members, best = Objective("value"), grid({"rate": [float(i) for i in range(16)]}), 0.883
    options = {"seeds": 4, "num_updates": 1}
    selected, held_out = [], []
    for root in range(100):
        scores = objective.of(sweep(noise, None, Nested(), members, root=root, **options))
        chosen = select(noise, None, Nested(), members, scores, objective, held_out=held_out_seeds(4, 4), root=root, **options)
        selected.append(chosen.selected.estimate)
        held_out.append(chosen.held_out.estimate)
    assert abs(np.mean(held_out)) < 4 * np.std(held_out, ddof=1) / 10
    assert abs(np.mean(selected) - best) < 4 * np.std(selected, ddof=1) / 10
    assert np.mean(selected) > np.mean(held_out) + 0.5
