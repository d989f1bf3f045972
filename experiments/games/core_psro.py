"""Policy-space response oracles: double oracle, fictitious play, self-play, and answers learned from samples.

Blotto: two players spread ten coins over three fields; the more coins win a field, and the more fields win 1.

Source: Lanctot et al. (2017); McMahan, Gordon and Blum (2003); Heinrich, Lanctot and Silver (2015).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from envs.extensive_games import kuhn
from envs.matrix_games import named
from jaxrl.algorithms.games import psro
from jaxrl.experiment import Arm, Claim, Results, at, draw, every, final, largest, share, smallest
from jaxrl.solvers import extensive

DOUBLE_ORACLE, LEARNED, REGRETS = "double oracle", "learned double oracle", "regret matching"
REPLICATOR, FICTITIOUS, SELF_PLAY = "projected replicator", "fictitious play", "self-play"
VARIANTS = {
    DOUBLE_ORACLE: psro.Config(),
    LEARNED: psro.Config(oracle="monte_carlo", episodes=5_000),
    REGRETS: psro.Config(meta_solver="regret_matching"),
    REPLICATOR: psro.Config(meta_solver="projected_replicator"),
    FICTITIOUS: psro.Config(meta_solver="uniform"),
    SELF_PLAY: psro.Config(meta_solver="latest"),
}


RPS, KUHN, BLOTTO = "rock, paper, scissors", "Kuhn poker", "Blotto"
GAMES = {
    RPS: extensive.from_table(named.ROCK_PAPER_SCISSORS),
    KUHN: extensive.from_environment(kuhn.make()),
    BLOTTO: extensive.from_table(named.TABLES["blotto"]),
}
PLAYED = {RPS: tuple(VARIANTS), KUHN: tuple(VARIANTS), BLOTTO: (DOUBLE_ORACLE, FICTITIOUS, SELF_PLAY)}


@dataclass(frozen=True)
class Config:
    """PSRO with six ways to mix and to answer, in three games."""

    seeds: int = 1024
    """Runs of each variant, each from other policies (count)."""
    learners: int = 64
    """Runs with learned answers (count)."""
    iterations: int = 40
    """Answers of each player (count)."""


QUICK = Config(seeds=4, learners=2, iterations=3)


def arms(config: Config) -> Iterator[Arm]:
    """Every variant in the games that it is played in."""
    for game, variants in PLAYED.items():
        for variant in variants:
            yield Arm(
                {"game": game, "variant": variant},
                psro.make,
                GAMES[game],
                replace(VARIANTS[variant], capacity=4 if game == RPS else config.iterations + 1),
                seeds=config.learners if variant == LEARNED else config.seeds,
                num_updates=config.iterations,
                show=("meta_exploitability",),
            )


def figures(results: Results) -> None:
    """Draws exploitability over answers in each game, and how the populations of Blotto grow."""
    for game, variants in PLAYED.items():
        lines = {variant: {"game": game, "variant": variant} for variant in variants}
        labels, name = ("Answers of each player", "Exploitability (reward units)"), game.split(",")[0].replace(" ", "_").lower()
        draw.lines(results, f"exploitability_{name}", "meta_exploitability", lines, *labels, title=game.capitalize())
    lines = {variant: {"game": BLOTTO, "variant": variant} for variant in PLAYED[BLOTTO]}
    title = "Blotto: policies of the first player, of 66"
    draw.lines(results, "population_blotto", "population/0", lines, "Answers of each player", "Policies (count)", title=title)


CLAIMS = (
    Claim(
        "From one policy, double oracle in rock, paper, scissors ends with all three, in equilibrium",
        "McMahan, Gordon and Blum (2003)",
        every(
            [
                smallest(final("population/0", game=RPS, variant=DOUBLE_ORACLE)) >= 3,
                largest(final("meta_exploitability", game=RPS, variant=DOUBLE_ORACLE)) <= 1e-6,
            ]
        ),
    ),
    Claim(
        "In Blotto double oracle ends in equilibrium, with an exploitability of less than 1e-6, in every run",
        "McMahan, Gordon and Blum (2003); float32 carries payoffs of 1 no further",
        largest(final("meta_exploitability", game=BLOTTO, variant=DOUBLE_ORACLE)) < 1e-6,
    ),
    Claim(
        "There it needs 23 to 26 of 66 policies in at least half of the runs",
        "an independent implementation, from three starts",
        share(final("population/0", game=BLOTTO, variant=DOUBLE_ORACLE).within(23, 26)) >= 0.5,
    ),
    Claim(
        "Self-play in rock, paper, scissors is never less exploitable than 1",
        "Lanctot et al. (2017): it cycles",
        smallest("meta_exploitability", game=RPS, variant=SELF_PLAY) >= 1,
    ),
    Claim(
        "Fictitious play in rock, paper, scissors comes down to an exploitability of 0.2 in 40 answers",
        "Brown (1951)",
        final("meta_exploitability", game=RPS, variant=FICTITIOUS) <= 0.2,
    ),
    *(
        Claim(
            f"In Kuhn poker {variant} has an exploitability of less than 0.01 after 12 answers",
            "Lanctot et al. (2017)",
            at("meta_exploitability", 11, game=KUHN, variant=variant) < 0.01,
        )
        for variant in (DOUBLE_ORACLE, REGRETS, REPLICATOR, LEARNED)
    ),
    Claim(
        "In Kuhn poker self-play stays more exploitable than fictitious play, which stays more exploitable than double oracle",
        "Lanctot et al. (2017)",
        every(
            final("meta_exploitability", game=KUHN, variant=worse) > final("meta_exploitability", game=KUHN, variant=better)
            for worse, better in ((SELF_PLAY, FICTITIOUS), (FICTITIOUS, DOUBLE_ORACLE))
        ),
    ),
)
