"""Sequential causal games: whether players gain by a choice between instinct, intervention and counterfactual.

A coin U is hidden; each of two players has an instinct that shows it, but for an error of 20 %. A player chooses a layer: to
observe (it does what its instinct says), to intervene (it chooses an action and does not ask its instinct), or the counterfactual
(it sees its instinct, then chooses). The leader commits to a layer and to what it does there. The follower knows that, sees the
leader's action, and then chooses a layer. The classical leader and follower see the same and choose actions alone.

Source: Thumm (2025), Sequential Causal Normal Form Games; the layers are ours where the paper leaves them open.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from jaxrl.experiment import Claim, Results, draw, final, largest, share, smallest
from jaxrl.report import game_figures
from jaxrl.solvers import stackelberg

ERROR = 0.2
SEES = np.array([[1 - ERROR, ERROR], [ERROR, 1 - ERROR]])  # [u, x], the probability of an instinct
OBSERVE, INTERVENE = [np.eye(2)], [np.eye(2)[[action, action]] for action in (0, 1)]  # plans: [x, a]
COUNTERFACTUAL = [np.eye(2)[list(actions)] for actions in product((0, 1), repeat=2)]
LAYERS = OBSERVE, INTERVENE, COUNTERFACTUAL
SLACKS, ROUNDING = (0.0, 0.01, 0.03, 0.1, 0.3), 1e-12
BLIND = {"no player": (True, True), "leader": (False, True), "follower": (True, False), "both": (False, False)}


@dataclass(frozen=True)
class Config:
    """Leaders and followers with causal layers, and without."""

    seeds: int = 200
    """Games with payoffs drawn uniformly from [-1, 1] for each coin and pair of actions (count)."""


QUICK = Config(seeds=4)


def best_within(after: np.ndarray, plans: list[np.ndarray]) -> np.ndarray:
    """Returns what both get by the follower's best plan of a layer, float64[2]; after: [2, x, b], by instinct and action."""
    return max((np.einsum("ixb,xb->i", after, plan) for plan in plans), key=lambda payoffs: payoffs[1])


def causal(payoff: np.ndarray, slack: float = 0.0) -> tuple[np.ndarray, int]:
    """Solves a game backwards, over actions, layers and plans.

    Args:
        payoff: float64[2, U, A, A].
        slack: the follower is content with the first layer that is worth at most so much less than the best.

    Returns:
        The payoffs that both expect, float64[2], and the leader's layer, the first among equals.
    """
    # How likely coin, leader's action and follower's instinct are, by the leader's plan: [k, u, a, x].
    reached = 0.5 * np.einsum("uy,kya,ux->kuax", SEES, np.concatenate(LAYERS), SEES)
    worth = np.einsum("kuax,iuab->kaixb", reached, payoff)  # of the follower's action b
    expected = np.zeros((len(worth), 2))
    for number, action in np.ndindex(worth.shape[:2]):
        answers = np.array([best_within(worth[number, action], plans) for plans in LAYERS])
        enough = answers[:, 1] >= answers[:, 1].max() - slack - ROUNDING
        expected[number] += answers[enough.argmax()]
    first = int((expected[:, 0] >= expected[:, 0].max() - ROUNDING).argmax())
    return expected[first], int(np.repeat(range(3), [len(plans) for plans in LAYERS])[first])


def classical(payoff: np.ndarray, leader_sees: bool = True, follower_sees: bool = True) -> np.ndarray:
    """Returns what both expect in the Stackelberg equilibrium of the normal form, float64[2].

    Args:
        payoff: float64[2, U, A, A].
        leader_sees, follower_sees: whether they see their instincts.
    """
    leads, answers = (np.array(COUNTERFACTUAL if sees else INTERVENE) for sees in (leader_sees, follower_sees))
    follows = np.array(list(product(answers, repeat=2)))  # an answer to each action of the leader: [l, a, x, b]
    table = 0.5 * np.einsum("uy,kya,ux,laxb,iuab->ikl", SEES, leads, SEES, follows, payoff, optimize=True)
    return stackelberg.pure_commitment(table).payoffs


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Solves all games both ways, a row for each.

    ``leader``: what the leader expects, ``welfare``: the sum of both. ``more``: by how much the welfare is above the classical
    one where both see their instincts; ``apart``: how far the two payoffs are from those. ``observes``: whether the leader does.
    """
    games = np.random.default_rng(results.root).uniform(-1, 1, (config.seeds, 2, 2, 2, 2))
    known = np.array([classical(game) for game in games])

    def compared(payoffs: np.ndarray) -> dict[str, np.ndarray]:
        change = payoffs - known
        measures = {"leader": payoffs[:, 0], "welfare": payoffs.sum(1), "more": change.sum(1), "apart": np.abs(change).max(1)}
        return {name: values[:, None] for name, values in measures.items()}

    for slack in SLACKS:
        expected, layer = map(np.array, zip(*(causal(game, slack) for game in games), strict=True))
        yield {"solution": "causal", "slack": slack}, compared(expected) | {"observes": (layer == 0)[:, None]}
    for blind, sees in BLIND.items():
        yield {"solution": "classical", "blind": blind}, compared(np.array([classical(game, *sees) for game in games]))


def figures(results: Results) -> None:
    """Draws what a follower who is soon content changes, and what it is worth to see instincts."""
    line = {"": results.along("more", "slack", solution="causal")}
    axes = "Slack of the follower (reward units)", "Change of welfare (reward units)"
    draw.relation(results, "slack", line, *axes, title="A follower who takes the first layer that will do")
    heights = {
        label: [float(results.final(metric, blind=blind).mean()) for blind in BLIND]
        for label, metric in (("leader", "leader"), ("sum of both", "welfare"))
    }
    options = {"x_label": "Players who do not see their instincts", "title": "Classical Stackelberg equilibria"}
    game_figures.bars(results.directory, "information", heights, tuple(BLIND), "Mean payoff (reward units)", **options)


CLAIMS = (
    Claim(
        "In 200 random games leaders and followers with causal layers expect the payoffs of classical Stackelberg equilibrium "
        "with the same information, to 1e-9",
        "Thumm (2025), a negative result",
        largest("apart", solution="causal", slack=0.0) <= 1e-9,
    ),
    Claim(
        "A classical leader who does not see its instinct never expects more than one who does",
        "Blackwell (1953): to a player who commits, information is worth something",
        smallest(final("leader", blind="no player") - final("leader", blind="leader")) >= -1e-9,
    ),
    Claim(
        "If neither player sees its instinct, welfare changes by more than 0.01 in at least a quarter of the games: a difference "
        "of information, not of causality",
        "the bar is ours",
        share(abs(final("more", blind="both")) > 0.01) >= 0.25,
    ),
)
