"""Dealers who are paid what they trade: equilibria of large and small dealers, and learners who find them.

Dealers of bounded inventories meet at random and offer to buy or to sell; a large one may hold 6 units, a small one 2. Each knows
its own inventory alone. By a best response it buys if it holds little and sells if not: all pure Bayes-Nash equilibria are found
by looking at all profiles of thresholds. Regret matching plays the game of thresholds, Q-learners play by inventory.

Source: Vidler and Walsh (2024), Non-cooperative Liquidity Games; matching, clients and numbers are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from envs.markov_games import liquidity_game
from jaxrl.algorithms.games import dynamics
from jaxrl.algorithms.multiagent import iql
from jaxrl.experiment import Arm, Claim, Quantity, Results, every, final, largest
from jaxrl.report import game_figures
from jaxrl.solvers.random_matching import pure_equilibria

BOUNDS = LARGE, SMALL = 6, 2
PAIRS, SIXES = ((2, 0), (1, 1), (0, 2)), ((6, 0), (3, 3), (0, 6))  # how many large and how many small dealers
EQUILIBRIUM, MATCHING, Q_LEARNING = "equilibrium", "regret matching", "Q-learning"
LEARNER = iql.Config(epsilon=0.1, learning_rate=0.2, learning_rate_half_life=500.0, learning_rate_min=0.005, num_envs=4)


@dataclass(frozen=True)
class Config:
    """Two or six dealers who learn what to offer."""

    seeds: int = 32
    """Groups of learners in each market (count)."""
    env_steps: int = 100_000
    """Rounds of Q-learners (count)."""
    plays: int = 10_000
    """Plays of regret matching (count), a multiple of 100."""


QUICK = Config(seeds=2, env_steps=400, plays=100)


def arms(config: Config) -> Iterator[Arm]:
    """Regret matching between two dealers, and Q-learning between two and six."""
    for dealers in PAIRS:
        table = liquidity_game.of_thresholds(*bounds(dealers))
        room = [(0, 2 * LARGE + 2 - count) for count in table.shape]  # repeats of the last threshold: one program for all
        game = np.stack([np.pad(table, room, "edge")] * 2)  # both are paid what they trade
        matching, updates = dynamics.Config(), config.plays // 100
        factors = market(dealers, MATCHING)
        yield Arm(factors, dynamics.make, game, matching, config.seeds, num_updates=updates, show=("average_nash_conv",))
    for dealers in PAIRS + SIXES:
        env = liquidity_game.make(bounds(dealers))
        yield Arm(market(dealers, Q_LEARNING), iql.make, env, LEARNER, config.seeds, config.env_steps, show=("reward",))


def bounds(dealers: tuple[int, int]) -> tuple[int, ...]:
    """Returns the bounds of so many large and small dealers."""
    return (LARGE,) * dealers[0] + (SMALL,) * dealers[1]


def market(dealers: tuple[int, int], learner: str) -> dict[str, int | str]:
    """Returns the factors of an arm."""
    return {"learner": learner, "large": dealers[0], "small": dealers[1]}


def played(q: np.ndarray, dealers: tuple[int, int]) -> tuple[float, float]:
    """Returns what a dealer trades in a round on average, and the most that one could gain, exactly, of greedy Q-learners.

    q: float[N, X, A], values by inventory, counted from -10.
    """
    held = bounds(dealers)
    policies = [table[liquidity_game.MOST - bound :][: 2 * bound + 1].argmax(-1) for bound, table in zip(held, q, strict=True)]
    volume, gain = [], []
    for bound, policy, table in zip(held, policies, liquidity_game.expected_units(held, policies), strict=True):
        taken = np.take_along_axis(table, policy[:, None], 1)[:, 0]
        volume.append(liquidity_game.law(bound) @ taken)
        gain.append(liquidity_game.law(bound) @ (table.max(1) - taken))
    return float(np.mean(volume)), float(np.max(gain))


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Enumerates equilibria, and looks at what Q-learners do in the end.

    ``volume``: units that a dealer trades in a round on average, in equilibrium the largest; ``least``: the smallest in any
    equilibrium; ``equilibria``: how many. ``gain``: the most that a Q-learner could gain by another policy.
    """
    tables = [[liquidity_game.of_thresholds(own, other) for other in BOUNDS] for own in BOUNDS]
    for dealers in PAIRS + SIXES:
        found = pure_equilibria(tables, dealers)
        values = {"volume": found.mean.max(), "least": found.mean.min(), "equilibria": len(found.mean)}
        yield market(dealers, EQUILIBRIUM), values
        factors = market(dealers, Q_LEARNING)
        ends = np.array([played(q, dealers) for q in np.asarray(results.run(**factors).state.q)])
        yield factors, {"volume": ends[:, :1], "gain": ends[:, 1:]}


def figures(results: Results) -> None:
    """Draws what is traded in each market."""
    markets = {f"{large} large, {small} small": {"large": large, "small": small} for large, small in PAIRS + SIXES}
    shown = {
        learner: [float(results.final("volume", learner=learner, **dealers).mean()) for dealers in markets.values()]
        for learner in (EQUILIBRIUM, Q_LEARNING)
    }
    title, text = (
        "Trade of large and small dealers",
        "Means over seeds. Equilibrium: the pure Bayes-Nash equilibrium in which most is traded.",
    )
    options = {"x_label": "Dealers", "title": title, "text": text}
    game_figures.bars(results.directory, "volume", shown, list(markets), "Units a dealer and round", **options)


def volume(dealers: tuple[int, int], learner: str = Q_LEARNING) -> Quantity:
    """The units that a dealer trades in a round."""
    return final("volume", **market(dealers, learner))


def share(dealers: tuple[int, int]) -> Quantity:
    """The trade of Q-learners, as a share of the equilibrium's."""
    return volume(dealers) / volume(dealers, EQUILIBRIUM)


PAPER = "Vidler and Walsh (2024)"
HALF, ALL_LARGE, ALL_SMALL = (3, 3), (6, 0), (0, 6)
CLAIMS = (
    Claim(
        "Two dealers who match regrets between thresholds could gain less than 0.01 units a round together after 10,000 plays, "
        "by their average strategies, from each of 32 starts, whether large or small",
        "Hart and Mas-Colell (2000); the bar is ours",
        every(largest(final("average_nash_conv", **market(dealers, MATCHING))) < 0.01 for dealers in PAIRS),
    ),
    *(
        Claim(
            f"{'Two' if sum(markets[0]) == 2 else 'Six'} Q-learners trade what dealers trade in equilibrium, up to 5 %, whether "
            "all are large, half of them, or none",
            "the bar is ours",
            every(share(dealers).within(0.95, 1.05) for dealers in markets),
        )
        for markets in (PAIRS, SIXES)
    ),
    *(
        Claim(
            f"Three large and three small {who} trade more than six large ones, and more than six small ones",
            PAPER,
            every(volume(HALF, learner) > volume(other, learner) for other in (ALL_LARGE, ALL_SMALL)),
        )
        for who, learner in (("dealers in equilibrium", EQUILIBRIUM), ("Q-learners", Q_LEARNING))
    ),
)
