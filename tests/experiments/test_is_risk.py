"""The referee of the hedge: what planning says, against all paths of the tree."""

import itertools

import numpy as np
import pytest

from experiments.markets import is_risk
from jaxrl.core.finite import tabulate
from jaxrl.experiment.arms import programs


@pytest.mark.parametrize("aversion", [0.5, 10.0])
def test_the_planned_hedge_earns_its_certainty_equivalent(aversion):
    """Follows the choices over all 16 paths: every observation is listed, and the profits have the planned value."""
    value, observations, choices = is_risk.solution("hedge", aversion)
    model = tabulate(is_risk.environment("hedge", aversion))
    choice = dict(zip(observations.tolist(), choices.tolist(), strict=True))
    seen, weights, profits = set(), [], []
    for path in itertools.product((0, 1), repeat=is_risk.STEPS["hedge"]):
        state, weight, profit = int(model.initial.argmax()), 1.0, 0.0
        for move in path:
            seen.add(int(model.observation[state]))
            taken = state, choice[int(model.observation[state])], move
            weight, profit = weight * model.probability[taken], profit + model.reward[taken]
            state = model.next_state[taken]
        weights.append(weight)
        profits.append(profit)
    assert seen == set(choice)
    assert observations[0] == model.observation[model.initial.argmax()]
    assert -np.log(np.array(weights) @ np.exp(-aversion * np.array(profits))) / aversion == pytest.approx(value, rel=1e-9)


def test_without_costs_the_referee_finds_the_price():
    assert is_risk.hedge_without_costs() < 1e-6


def test_fifty_and_more_arms_are_six_programs():
    arms = list(is_risk.arms(is_risk.QUICK))
    assert (len(arms), len(programs(arms))) == (70, 6)
