"""Lewis signalling games: how often urns and policy gradients find a code, and how often some states share a signal.

Source: Lewis (1969); Skyrms (2010), Signals; Roth and Erev (1995); Argiento, Pemantle, Skyrms and Volkov (2009), Learning to
signal; Barrett (2006), Numerical simulations of the Lewis signaling game.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from envs.extensive_games import lewis
from jaxrl.algorithms.multiagent import independent_reinforce, roth_erev
from jaxrl.evaluation import Signalling, TeamReturn
from jaxrl.experiment import Arm, Claim, Results, draw, final, share
from jaxrl.report import game_figures

ROTH_EREV, REINFORCE = "Roth-Erev urns", "REINFORCE"
LEARNERS = {
    ROTH_EREV: (roth_erev.make, roth_erev.Config()),
    REINFORCE: (independent_reinforce.make, independent_reinforce.Config(learning_rate=0.1, gamma=1.0)),
}
STATES = (2, 3, 4)
PAIRS = (*((ROTH_EREV, states) for states in STATES), (REINFORCE, 3))
STEPS_OF_A_PLAY = 2  # first the signal, then the act
# Four states are two attributes of two values each, and so are four signals: how many of the two differ.
HAMMING = np.array([[(i ^ j).bit_count() for j in range(4)] for i in range(4)], float)


@dataclass(frozen=True)
class Config:
    """Pairs of sender and receiver in games of two, three and four states."""

    seeds: int = 2000
    """Pairs of each kind in each game (count)."""
    plays: int = 20_000
    """Plays of each pair (count)."""


QUICK = Config(seeds=8, plays=400)


def arms(config: Config) -> Iterator[Arm]:
    """Urns in each game, and policy gradients in that of three states."""
    for learner, states in PAIRS:
        env, (make, algorithm) = lewis.make(states), LEARNERS[learner]
        distances = {"meanings": HAMMING, "signals": HAMMING} if states == 4 else {}
        yield Arm(
            {"learner": learner, "states": states},
            make,
            env,
            algorithm,
            config.seeds,
            env_steps=config.plays * STEPS_OF_A_PLAY,
            evaluators=(TeamReturn.of(env), Signalling.of(env, **distances)),
            show=("sampled_exact_return", "sampled_information"),
        )


def figures(results: Results) -> None:
    """Draws success over time, where the pairs end, and how the codes are."""
    draw.curves(results, "sampled_exact_return", {"title": "Expected success of pairs of sender and receiver"})
    edges, heights = np.linspace(0.2, 1, 17), {}
    for learner, states in PAIRS:
        ends = np.clip(results.final("sampled_exact_return", learner=learner, states=states), 0.2, 1)
        heights[f"{learner}, {states} states"] = np.histogram(ends, edges)[0] / len(ends)
    game_figures.bars(
        results.directory,
        "success",
        heights,
        [f"{edge:.2f}" for edge in edges[:-1]],
        "Share of pairs",
        x_label="Expected success at the end, from this number on",
        title="Where pairs of sender and receiver end",
        text="Exact success of the present pair of policies; partly pooling codes of three states earn 2/3.",
    )
    draw.ends(results, "sampled_information", {"title": "Bits about the state in a signal"})
    draw.ends(results, "greedy_topographic_similarity", {"title": "Topographic similarity of codes of four states"}, states=4)


CLAIMS = (
    Claim(
        "With two states Roth-Erev urns succeed in at least 97 % of plays, the mean of all pairs after 20,000 plays",
        "500 runs of another program: 0.991; with probability 1 in the limit, Argiento et al. (2009)",
        final("sampled_exact_return", learner=ROTH_EREV, states=2) >= 0.97,
    ),
    Claim(
        "With three states between 75 and 97 % of pairs of Roth-Erev urns succeed in more than 90 % of plays after 20,000 plays",
        "500 runs of another program: 85 %; Barrett (2006)",
        share(final("sampled_exact_return", learner=ROTH_EREV, states=3) > 0.9).within(0.75, 0.97),
    ),
    Claim(
        "The codes of Roth-Erev urns for two attributes have a mean topographic similarity within 0.05 of 0",
        "symmetry: no urn knows of attributes",
        final("greedy_topographic_similarity", learner=ROTH_EREV, states=4).within(-0.05, 0.05),
    ),
)
