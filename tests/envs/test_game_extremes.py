"""Games at the edges of their parameters keep the protocol, and find the compiled program of other numbers of the same shape."""

import jax
import numpy as np
import pytest

from envs.board_games import connect_four
from envs.extensive_games import kuhn, leduc, lewis
from envs.matrix_games import bayesian_game, beauty_contest, cournot, iterated, matrix_game, public_goods, travellers_dilemma
from envs.token_mdps import token_mdp
from jaxrl.testing.conformance import check_environment

pytestmark = pytest.mark.slow  # the defaults are checked by the tests of the registry

CORNERS = {
    "kuhn": (kuhn.make, dict(cards=2), dict(cards=2)),
    "leduc": (leduc.make, dict(ante=0.0, raises=(0.0, 100.0)), dict()),
    "lewis, one signal": (lewis.make, dict(states=3, signals=1), dict(states=3, signals=1, probability=(0.2, 0.3, 0.5))),
    "lewis, a state that never comes": (
        lewis.make,
        dict(states=2, signals=4, probability=(0.0, 1.0)),
        dict(states=2, signals=4),
    ),
    "connect four, one column": (connect_four.make, dict(rows=5, columns=1, length=5), dict(rows=5, columns=1, length=5)),
    "traveller's dilemma": (travellers_dilemma.make, dict(low=-5, high=-5, bonus=1e4), dict(low=3, high=3)),
    "beauty contest": (beauty_contest.make, dict(agents=1, highest=1, factor=0.0), dict(agents=1, highest=1, factor=3.0)),
    "public goods": (public_goods.make, dict(agents=1, endowment=1, multiplier=0.0), dict(agents=1, endowment=1)),
    "cournot": (cournot.make, dict(firms=12, highest=50, unit=1e3, slope=1e-3, cost=1e3), dict(firms=12, highest=50)),
    "matrix game of one player": (matrix_game.make, dict(payoff=np.full((1, 3), -1e6)), dict(payoff=np.zeros((1, 3)))),
    "iterated game of three": (iterated.make, dict(payoff=np.full((3, 2, 1, 3), 1e6)), dict(payoff=np.zeros((3, 2, 1, 3)))),
    "bayesian game": (
        bayesian_game.make,
        dict(payoff=np.full((3, 2, 1, 2, 2, 3, 1), 1e5), prior=np.array([[[0.0, 0.0]], [[1.0, 0.0]]])),
        dict(payoff=np.zeros((3, 2, 1, 2, 2, 3, 1)), prior=np.full((2, 1, 2), 0.25)),
    ),
    "token MDP": (token_mdp.make, dict(vocabulary=1, length=1), dict(vocabulary=1, length=1, seed=3)),
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners_keep_the_protocol(name):
    make, parameters, others = CORNERS[name]
    check_environment(make(**parameters), jax.random.key(0), rebuilt=make(**others))
