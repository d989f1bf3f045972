"""Sink equilibria: which profiles improving players never leave, and how likely a walk of improvements is to end in each.

Source: Hakim et al. (2024), Swim till you sink: computing the limit of a game (arXiv 2408.11146). There the probabilities of
moves follow from noisy replicator dynamics; here all improving moves of a profile are equally likely.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import named
from jaxrl.experiment import Claim, Results, every, final, largest
from jaxrl.report import game_figures
from jaxrl.solvers import dynamics
from jaxrl.solvers.normal_form import joint_distribution
from jaxrl.solvers.sink_equilibria import response_graph, sink_equilibria, walks

GAMES = {"climb": named.CLIMB, "penalty": named.penalty_table(100), "shapley": named.SHAPLEY}
SOLVE, WALKS, REPLICATOR = "solve", "walks", "noisy replicator"
BETTER, BEST = "better responses", "best responses"
LONGEST = 128  # moves of a walk: all have ended long before


@dataclass(frozen=True)
class Config:
    """Sinks of three well-known games and of random games with three players."""

    walks: int = 100_000
    """Simulated walks in each game (count)."""
    populations: int = 1024
    """Runs of the noisy replicator in each game (count)."""
    noise: float = 0.05
    """Standard deviation of the noise of a logarithm of a share, per square root of time."""
    seeds: int = 256
    """Random games with independent standard normal payoffs (count)."""
    actions: int = 3
    """Actions of each of the three players of a random game (count)."""


QUICK = Config(walks=1000, populations=16, seeds=4)


def described(limit: np.ndarray) -> dict[str, float]:
    """Returns the probabilities of the joint actions of two players who do the same, and of all others together."""
    diagonal = np.diagonal(limit)
    named_apart = dict(zip(("first", "second", "third"), diagonal.tolist(), strict=True))
    return named_apart | {"apart": float(limit.sum() - diagonal.sum())}


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Solves and simulates.

    ``first``, ``second``, ``third``: the probabilities of both players choosing that action in the long run, ``apart`` of
    different ones. ``sinks``: how many there are, ``profiles`` in them; ``uneven``: the largest distance of the probability of a
    profile in a sink from 1 / ``profiles``. ``off``: the largest distance of the share of walks that ended in a sink from its
    probability.
    """
    key = jax.random.fold_in(jax.random.key(results.root), 0)
    for game, table in GAMES.items():
        for moves in (BETTER, BEST):
            with jax.enable_x64(True):
                found = jax.tree.map(np.asarray, sink_equilibria(table, best=moves == BEST))
            count = int(found.in_sink.sum())
            counts = {"sinks": len(np.unique(found.component[found.in_sink])), "profiles": count, "residual": found.residual}
            uneven = np.abs(found.limit[found.in_sink] - 1 / count).max()
            yield {"game": game, "method": SOLVE, "moves": moves}, described(found.limit) | counts | {"uneven": uneven}

            walk = jax.jit(partial(walks, num_walks=config.walks, num_steps=LONGEST))
            ends = np.bincount(walk(key, response_graph(table, moves == BEST)), minlength=table[0].size) / config.walks
            reached = np.bincount(found.component.ravel(), weights=ends, minlength=table[0].size)
            measures = {"off": np.abs(reached - found.hitting.ravel()).max()}
            yield {"game": game, "method": WALKS, "moves": moves}, described(ends.reshape(3, 3)) | measures
        joint = np.asarray(wander(key, jnp.asarray(table / np.ptp(table), jnp.float32), config.populations, config.noise))
        yield {"game": game, "method": REPLICATOR}, described(joint)

    games = np.random.default_rng(results.root).normal(size=(config.seeds, 3, *(config.actions,) * 3))
    found = jax.tree.map(np.asarray, jax.jit(jax.vmap(sink_equilibria))(games))
    first = (found.component == np.arange(found.hitting[0].size).reshape(found.hitting.shape[1:])) & found.in_sink
    sizes = {"sinks": first.sum((1, 2, 3))[:, None], "profiles": found.in_sink.sum((1, 2, 3))[:, None]}
    yield {"game": "random", "method": SOLVE, "moves": BETTER}, sizes | {"residual": found.residual[:, None]}


@partial(jax.jit, static_argnums=2)
def wander(key: jax.Array, payoff: jax.Array, populations: int, noise: float) -> jax.Array:
    """Returns the mean joint distribution of noisy replicator dynamics, float[A, A], 500 units of time after random starts."""
    step_size, rule = 0.1, dynamics.replication(payoff, 0.1)

    def run(key):
        first, rest = jax.random.split(key)
        start = tuple(
            jax.random.dirichlet(own, jnp.ones(n)) for own, n in zip(jax.random.split(first), payoff.shape[1:], strict=True)
        )

        def step(carry, key):
            logits, _ = rule.advance(*carry, None)
            drawn = [jax.random.normal(own, logit.shape) for own, logit in zip(jax.random.split(key), logits, strict=True)]
            logits = tuple(logit + noise * step_size**0.5 * one for logit, one in zip(logits, drawn, strict=True))
            return (logits, tuple(jax.nn.softmax(logit) for logit in logits)), None

        (_, shares), _ = jax.lax.scan(step, (rule.remember(start), start), jax.random.split(rest, 5000))
        return joint_distribution(shares)

    return jax.vmap(run)(jax.random.split(key, populations)).mean(0)


def figures(results: Results) -> None:
    """Draws for each game where the walks and the noisy replicator end."""
    outcomes = ("first", "second", "third", "apart")
    arms = {m: {"method": SOLVE, "moves": m} for m in (BETTER, BEST)} | {REPLICATOR: {"method": REPLICATOR}}
    for game in GAMES:
        heights = {label: [float(results.final(o, game=game, **arm).mean()) for o in outcomes] for label, arm in arms.items()}
        ticks = ("(a, a)", "(b, b)", "(c, c)", "different")
        options = {
            "x_label": "Joint action",
            "title": f"Where players of {game} end",
            "text": "Walks from uniform starts: exact.",
        }
        game_figures.bars(results.directory, game, heights, ticks, "Probability in the long run", **options)


OURS = "by hand; Hakim et al. (2024) with equal probabilities of all moves"


def ends(game: str, moves: str, **probabilities: float):
    """States the probabilities of the sinks of a game, to six digits."""
    return every(final(name, game=game, method=SOLVE, moves=moves).equals(p, 1e-6) for name, p in probabilities.items())


CLAIMS = (
    Claim(
        "In the climbing game better responses from a uniform start end in (a, a) with 0.282407 and in (b, b) with 0.717593",
        OURS,
        ends("climb", BETTER, first=0.282407, second=0.717593),
    ),
    Claim(
        "In the climbing game best responses from a uniform start end in (a, a) with 1/3 and in (b, b) with 2/3",
        OURS,
        ends("climb", BEST, first=1 / 3, second=2 / 3),
    ),
    Claim(
        "In the penalty game (k = 100) better responses end in the three equilibria with 0.305556, 0.388889 and 0.305556",
        OURS,
        ends("penalty", BETTER, first=0.305556, second=0.388889, third=0.305556),
    ),
    Claim(
        "In the penalty game (k = 100) best responses end in each of the three equilibria with 1/3",
        OURS,
        ends("penalty", BEST, first=1 / 3, second=1 / 3, third=1 / 3),
    ),
    Claim(
        "In Shapley's game the only sink is a cycle of six profiles, each visited with 1/6",
        "Shapley (1964), Some topics in two-person games",
        every(
            statement
            for moves in (BETTER, BEST)
            for statement in (
                final("sinks", game="shapley", method=SOLVE, moves=moves).equals(1, 0),
                final("profiles", game="shapley", method=SOLVE, moves=moves).equals(6, 0),
                final("uneven", game="shapley", method=SOLVE, moves=moves) <= 1e-6,
            )
        ),
    ),
    Claim(
        "The shares of 100,000 simulated walks that end in each sink are within 0.005 of the solved probabilities",
        OURS,
        largest("off") < 0.005,
    ),
)
