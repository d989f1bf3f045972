"""The referee of the hedge: what planning says, against all paths of the tree."""

import itertools

import numpy as np
import pytest

from experiments.markets import is_risk
from jaxrl.core.finite import tabulate


@pytest.mark.parametrize("aversion", [0.5, 10.0])
def test_the_planned_hedge_earns_its_certainty_equivalent(aversion):
    """Follows the choices over all 16 paths: every observation is listed, and the profits have the planned value."""
    exact = is_risk.HEDGE.solve(aversion)
    model = tabulate(is_risk.HEDGE.build(aversion, 0.0))
    choice = dict(zip(exact.observations.tolist(), exact.choices.tolist(), strict=True))
    seen, weights, profits = set(), [], []
    for path in itertools.product((0, 1), repeat=is_risk.HEDGE.num_steps):
        state, weight, profit = int(model.initial.argmax()), 1.0, 0.0
        for move in path:
            seen.add(int(model.observation[state]))
            taken = state, choice[int(model.observation[state])], move
            weight, profit = weight * model.probability[taken], profit + model.reward[taken]
            state = model.next_state[taken]
        weights.append(weight)
        profits.append(profit)
    assert seen == set(choice)
    assert exact.observations[0] == model.observation[model.initial.argmax()]
    assert -np.log(np.array(weights) @ np.exp(-aversion * np.array(profits))) / aversion == pytest.approx(exact.value, rel=1e-9)


def test_without_costs_the_referee_finds_the_price():
    assert is_risk.hedge_without_costs() < 1e-6


def test_variants_have_different_names():
    names = [
        p.variant(loss, shift) for p in (is_risk.PORTFOLIO, is_risk.HEDGE) for loss, all_ in p.losses.items() for shift in all_
    ]
    assert len(names) == len(set(names)) == 14
    assert "itakura_saito +20" in names
    assert "hedging, exponential_squared -20" in names
