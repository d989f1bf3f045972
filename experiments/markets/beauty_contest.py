"""Guessing against machines: what a belief in rational opponents does to guesses, whether it can be told from them, and learning.

A subject names a number from 0 to 100, and the one nearest to 2/3 of the mean wins. Subjects reason 0 to 3 levels deep, up to
noise, or name 0 as in equilibrium. Each plays twice: against people, and against machines, which some subjects believe to be
rational, more of those at levels 2 and 3 than of the others: these name 0. All data are simulated.

Source: Barak (2025), Humans expect rationality and cooperation from LLM opponents in strategic games; Nagel (1995); Stahl and
Wilson (1995); Camerer and Ho (1999) on learning. The direction of the shift is assumed, its identification is tested.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

import envs
from envs.matrix_games import beauty_contest
from jaxrl.experiment import Claim, Quantity, Results, derived, draw, every, final
from jaxrl.solvers.experience_weighted import Experience, weigh

FACTOR, NOISE, HIGHEST = 2 / 3, 4.0, 100
GUESS = jnp.array([50.0, *(50 * FACTOR**level for level in (1, 2, 3)), 0.0])  # of levels 0 to 3 and of equilibrium
MIX = np.array([0.15, 0.3, 0.3, 0.15, 0.1])  # their shares
HIGH = np.array([0.0, 0.0, 1.0, 1.0, 0.0])  # levels 2 and 3; those in equilibrium cannot shift
SHIFT = {"none": (0.0, 0.0), "belief": (0.05, 0.3)}  # of low and high levels
BORDER = (50 * FACTOR + 50 * FACTOR**2) / 2  # guesses below it are nearer to level 2 than to level 1
PLAYERS, ROUNDS, SENSITIVITY = 8, 12, 20.0  # of choices to attractions, per prize
LEARNERS = {"best replies": {"phi": 0.0, "delta": 1.0, "rho": 0.0}, "EWA": {"phi": 0.9, "delta": 0.6, "rho": 0.9}}


@dataclass(frozen=True)
class Config:
    """Subjects who guess against people and machines, and players who learn."""

    seeds: int = 32
    """Samples of subjects, and groups of learners (count)."""
    subjects: int = 1000
    """Subjects of each sample (count)."""


QUICK = Config(seeds=4, subjects=100)


def guesses(key: jax.Array, shift: jax.Array, subjects: int) -> tuple[jax.Array, jax.Array]:
    """Draws guesses against people and against machines, float[M] each; shift: float[2], of low and high levels."""
    level_key, shift_key, *keys = jax.random.split(key, 4)
    level = jax.random.categorical(level_key, jnp.log(MIX), shape=(subjects,))
    moves = jax.random.bernoulli(shift_key, jnp.where(jnp.asarray(HIGH)[level] > 0, shift[1], shift[0]))

    def named(key, level):
        any_key, noise_key = jax.random.split(key)
        near = jnp.clip(GUESS[level] + NOISE * jax.random.normal(noise_key, (subjects,)), 0, HIGHEST)
        anywhere = jax.random.uniform(any_key, (subjects,), maxval=float(HIGHEST))
        return jnp.where(level == 0, anywhere, jnp.where(level == 4, 0.0, near))

    return named(keys[0], level), named(keys[1], jnp.where(moves, 4, level))


def likelihoods(guess: jax.Array) -> jax.Array:
    """Returns how likely a guess is at each level, a density or, of 0, a probability, float[5]."""
    zero = guess == 0
    near = jnp.where(zero, norm.cdf(-GUESS / NOISE), norm.pdf(guess, GUESS, NOISE))
    return near.at[0].set(jnp.where(zero, 0.0, 1 / HIGHEST)).at[4].set(zero.astype(near.dtype))


def maximum_likelihood(people: jax.Array, machines: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the shares of levels, float[5], and the shifts of low and high levels, float[2], by expectation maximisation."""
    first, second = jax.vmap(likelihoods)(people), jax.vmap(likelihoods)(machines)
    groups = jnp.stack([(1 - HIGH) * (jnp.arange(5) < 4), jnp.asarray(HIGH)])  # who may shift, [2, 5]

    def improve(carry, _):
        mix, shift = carry
        moving = shift @ groups
        stays, moves = mix * first * second * (1 - moving), mix * first * second[:, 4:] * moving
        total = (stays + moves).sum(1, keepdims=True)
        stays, moves = (stays / total).mean(0), (moves / total).mean(0)
        return (stays + moves, (groups @ moves) / (groups @ (stays + moves))), None

    start = jnp.full(5, 0.2), jnp.full(2, 0.2)
    return jax.lax.scan(improve, start, length=300)[0]


def sample(key: jax.Array, shift: jax.Array, subjects: int) -> dict[str, jax.Array]:
    """Returns the measures of one sample."""
    people, machines = guesses(key, shift, subjects)
    high = people <= BORDER
    zeros = (machines == 0).astype(people.dtype) - (people == 0)
    by_group = [(zeros * group).sum() / jnp.maximum(group.sum(), 1) for group in (high, ~high)]
    mix, found = maximum_likelihood(people, machines)
    return {
        "people": people.mean(),
        "machines": machines.mean(),
        "more_zeros": zeros.mean(),
        "interaction": by_group[0] - by_group[1],
        "mix_error": jnp.abs(mix - MIX).max(),
        "shift_error": jnp.abs(found - shift).max(),
    }


def learn(key: jax.Array, phi: float, delta: float, rho: float) -> jax.Array:
    """Returns the mean guesses of a group that learns from round to round, float[ROUNDS]; it begins with uniform guesses."""
    game, numbers = envs.make("beauty_contest", agents=PLAYERS, highest=HIGHEST, factor=FACTOR).params, jnp.arange(HIGHEST + 1)

    def play(minds, key):
        guess = jax.random.categorical(key, SENSITIVITY * minds.attraction).astype(jnp.int32)
        forgone = beauty_contest.forgone(guess, game, numbers)
        return weigh(minds, forgone, guess, phi=phi, delta=delta, rho=rho), guess.mean(dtype=jnp.float32)

    nothing = Experience(jnp.zeros((PLAYERS, HIGHEST + 1)), jnp.zeros(PLAYERS))
    return jax.lax.scan(play, nothing, jax.random.split(key, ROUNDS))[1]


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Draws samples and lets groups learn; a row for each.

    ``people``, ``machines``: mean guesses against these; ``more_zeros``: how much more often 0 is named against machines;
    ``interaction``: by how much this is more for guesses near levels 2 and 3. ``mix_error``, ``shift_error``: the largest errors
    of the estimated shares of levels and shifts. ``guess``: the mean guess of a group, by round.
    """
    sample_key, learn_key = jax.random.split(jax.random.key(results.root))
    keys = jax.random.split(sample_key, config.seeds)
    for belief, shift in SHIFT.items():
        found = jax.jit(jax.vmap(partial(sample, subjects=config.subjects), (0, None)))(keys, jnp.array(shift))
        yield {"belief": belief}, {name: np.asarray(values)[:, None] for name, values in found.items()}
    for learner, weights in LEARNERS.items():
        mean = jax.jit(jax.vmap(partial(learn, **weights)))(jax.random.split(learn_key, config.seeds))
        yield {"learner": learner}, {"guess": np.asarray(mean)}


def figures(results: Results) -> None:
    """Draws the mean guesses of learners."""
    rounds = np.arange(1, ROUNDS + 1)
    lines = {learner: (rounds, results.values("guess", learner=learner)) for learner in LEARNERS}
    lines |= {"50 p^t": (rounds, 50 * FACTOR ** (rounds[None] - 1))}
    draw.relation(results, "learning", lines, "Round", "Mean guess", y_scale="log", floor=0.1, title="Eight players, p = 2/3")


def decay(learner: str) -> Quantity:
    """The factor by which the mean guess falls in a round, over the first five; a guess below 0.1 counts as 0.1."""

    def fall(results: Results) -> np.ndarray:
        guess = np.maximum(results.values("guess", learner=learner), 0.1)
        return (guess[:, 4] / guess[:, 0]) ** 0.25

    return derived(f"fall of the guess in a round (learner={learner})", fall)


CLAIMS = (
    Claim(
        "A belief in rational machines lowers the mean guess against them and raises the share of zeros, without it neither "
        "changes by 1 or by 0.01",
        "Barak (2025); the control is ours",
        every(
            [
                final("machines", belief="belief") < final("people", belief="belief"),
                final("more_zeros", belief="belief") > 0,
                (final("machines", belief="none") - final("people", belief="none")).within(-1, 1),
                final("more_zeros", belief="none").within(-0.01, 0.01),
            ]
        ),
    ),
    Claim(
        "The share of zeros rises more among those whose guess against people is near level 2 or 3 than among the others",
        "Barak (2025): mainly subjects of high strategic reasoning",
        final("interaction", belief="belief") > 0,
    ),
    Claim(
        "Maximum likelihood from 1000 subjects recovers the shares of levels and both shifts, the largest error being at most "
        "0.05 on average",
        "the bar is ours",
        every([final("mix_error", belief="belief") <= 0.05, final("shift_error", belief="belief") <= 0.05]),
    ),
    *(
        Claim(
            f"The mean guess of eight players who learn by {learner} falls by a factor of 2/3 a round, up to 0.07, from the "
            "first to the fifth round",
            "Nagel (1995): each round is one more level; the tolerance is ours",
            decay(learner).within(FACTOR - 0.07, FACTOR + 0.07),
        )
        for learner in LEARNERS
    ),
)
