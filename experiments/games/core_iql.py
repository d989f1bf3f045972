"""Independent Q-learning: the joint actions with which learners who ignore each other end, and deep networks that hunt together.

Source: Tan (1993), Multi-agent reinforcement learning: independent vs. cooperative agents; Claus and Boutilier (1998), The
dynamics of reinforcement learning in cooperative multiagent systems; Matignon, Laurent and Le Fort-Piat (2007), Hysteretic
Q-learning; Wei and Luke (2016), Lenient learning; Foerster et al. (2017), Stabilising experience replay for deep multi-agent
reinforcement learning, on the fingerprint.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import envs
from envs.matrix_games import matrix_game, named
from jaxrl.algorithms.multiagent import iql, madqn
from jaxrl.evaluation import Episodes, GreedyActions, NashConv
from jaxrl.experiment import Arm, Claim, Results, Statement, draw, every, final, largest, share
from jaxrl.report import game_figures

TWO_BY_TWO = (
    "prisoners_dilemma",
    "stag_hunt",
    "chicken",
    "battle_of_the_sexes",
    "matching_pennies",
    "pure_coordination",
)
IQL = iql.Config(epsilon=0.1)
ALGORITHMS = {
    "IQL": IQL,
    "hysteretic IQL": replace(IQL, beta=0.1),
    "lenient IQL": replace(IQL, leniency=50.0),
    # A step size of 1 / (n + 1) makes every entry the plain average of its rewards.
    "averaging IQL": replace(IQL, epsilon=1.0, learning_rate=1.0, learning_rate_half_life=1.0, learning_rate_min=0.0),
}
HUNTERS = {
    "MADQN": madqn.Config(agent_ids=True, epsilon_steps=100_000.0),
    "MADQN with fingerprint": madqn.Config(agent_ids=True, epsilon_steps=100_000.0, fingerprint=True),
}
FASTEST = 3.121267  # mean steps to the capture of the best two predators, by dynamic programming


@dataclass(frozen=True)
class Config:
    """Independent Q-learning on all 2x2 games and on climb, and deep on pursuit."""

    seeds: int = 1024
    """Independent pairs of learners in each game, trained side by side (count)."""
    env_steps: int = 5_000
    """Plays of each pair (count)."""
    hunters: int = 16
    """Pairs of predators of each kind (count)."""
    hunts: int = 300_000
    """Environment steps of each pair of predators (count)."""


QUICK = Config(seeds=8, env_steps=200, hunters=2, hunts=1_800)


def arms(config: Config) -> Iterator[Arm]:
    """Plain learners in every game, all kinds of learners on climb, and predators whose networks share their parameters."""
    for game, algorithm in [*product(TWO_BY_TWO, ["IQL"]), *product(["climb"], ALGORITHMS)]:
        payoff = named.TABLES[game]
        yield Arm(
            {"game": game, "algorithm": algorithm},
            iql.make,
            matrix_game.make(payoff),
            ALGORITHMS[algorithm],
            seeds=config.seeds,
            env_steps=config.env_steps,
            evaluators=(NashConv(payoff), GreedyActions(payoff)),
            show=("sampled_nash_conv", "greedy_nash_conv"),
        )
    pursuit = envs.make("pursuit")
    for algorithm, learner in HUNTERS.items():
        arm = Arm(
            {"game": "pursuit", "algorithm": algorithm},
            madqn.make,
            pursuit,
            learner,
            seeds=config.hunters,
            env_steps=config.hunts,
            evaluators=(Episodes(pursuit, num_episodes=256, modes=("greedy",)),),
            show=("greedy_length", "loss"),
        )
        yield replace(arm, chunk_length=max(1, arm.updates // 25))


def ends_in(row: int, column: int, **factors: str) -> Statement:
    """The statement that the greedy policies of a pair end in a joint action."""
    actions = {"greedy_action_0": row, "greedy_action_1": column}
    both = every(final(metric, **factors).equals(action, 0) for metric, action in actions.items())
    return replace(both, text=f"greedy actions ({row}, {column}) in {', '.join(factors.values())}")


def figures(results: Results) -> None:
    """Draws NashConv over time, how often each joint action is where the learners end, and how long hunts take."""
    draw.curves(results, "greedy_length", {"optimum": FASTEST, "title": "Steps to the capture in pursuit"}, game="pursuit")
    curves = {game: results.curves("sampled_nash_conv", game=game) for game in TWO_BY_TWO}
    lines = {game.replace("_", " "): (curve.env_steps, curve.values) for game, curve in curves.items()}
    title = "How far the sampled policies are from equilibrium"
    draw.relation(results, "sampled_nash_conv", lines, "Plays", "NashConv (reward units)", title=title)
    games = {game.replace("_", " "): {"game": game} for game in TWO_BY_TWO}
    climbers = {algorithm: {"game": "climb", "algorithm": algorithm} for algorithm in ALGORITHMS}
    for name, pairs, actions, where in (("two_by_two", games, "ab", "2x2 games"), ("climb", climbers, "abc", "climb")):
        joint = list(product(range(len(actions)), repeat=2))
        game_figures.bars(
            results.directory,
            f"joint_actions_{name}",
            {label: [share(ends_in(*two, **pair)).read(results).mean() for two in joint] for label, pair in pairs.items()},
            [actions[row] + actions[column] for row, column in joint],
            "Share of seeds",
            x_label="Greedy actions of the row and the column player",
            title=f"Where independent learners end, {where}",
            text="Share of seeds whose greedy policies end in each joint action; a is the first action.",
        )


CLAIMS = (
    Claim(
        "In the prisoner's dilemma at least 95 % of pairs of independent Q-learners end in mutual defection",
        "Tan (1993) on independent learners; the game's only equilibrium",
        share(ends_in(1, 1, game="prisoners_dilemma")) >= 0.95,
    ),
    Claim(
        "On climb fewer than half of the pairs of independent Q-learners end in the best joint action, worth 11",
        "Claus and Boutilier (1998), section 4",
        share(ends_in(0, 0, game="climb", algorithm="IQL")) < 0.5,
    ),
    Claim(
        "On climb at least 95 % of pairs that average their rewards under uniform exploration end in the joint action worth 5",
        "the averages over the other's actions: -6.33, -5.67, 1.67 for the rows",
        share(ends_in(2, 2, game="climb", algorithm="averaging IQL")) >= 0.95,
    ),
    Claim(
        "On climb hysteretic Q-learners (beta 0.1) end in the best joint action more often than plain ones",
        "Matignon, Laurent and Le Fort-Piat (2007)",
        share(ends_in(0, 0, game="climb", algorithm="hysteretic IQL")) > share(ends_in(0, 0, game="climb", algorithm="IQL")),
    ),
    Claim(
        "On climb lenient Q-learners (50, falling by 0.995) end in the best joint action more often than plain ones",
        "Panait, Sullivan and Luke (2006); Wei and Luke (2016)",
        share(ends_in(0, 0, game="climb", algorithm="lenient IQL")) > share(ends_in(0, 0, game="climb", algorithm="IQL")),
    ),
    *(
        Claim(
            f"On the 5x5 torus every pair of {algorithm} catches the prey in fewer than 8 steps on average",
            "Tan (1993); Foerster et al. (2017)",
            largest(final("greedy_length", game="pursuit", algorithm=algorithm)) < 8.0,
        )
        for algorithm in HUNTERS
    ),
)
