"""Counterfactual regret minimisation: every information set runs its own regret matching on counterfactual values.

    repeat
        for every player, one after the other
            add the strategy to the average, weighted by the player's own probability of getting there
            regret, for every action of every information set, what it would have earned more than the strategy
            play actions in proportion to their positive regrets

In a two-player zero-sum game the average converges to equilibrium. Regrets live on all information sets at once, so an iteration
is a few gathers and sums; the whole run is one scan, which compiles, and vmaps over games.

Source: Zinkevich et al. (2007), Regret minimization in games with incomplete information; for CFR+ Tammelin (2014) and Tammelin
et al. (2015): regrets are cut at 0, and iteration t counts with weight t.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.errors import is_traced, require, require_count, require_finite
from jaxrl.solvers import extensive
from jaxrl.solvers.dynamics import require_countable
from jaxrl.solvers.extensive import ExtensiveGame


class Course(NamedTuple):
    """The result of a run.

    average: float[N, I, A], the average strategy, uniform where its player never came. strategy: float[N, I, A], the last one.
    exploitability: float[C], of the average after each of C equal parts of the run. value: float[C, N], what it earns.
    """

    average: jax.Array
    strategy: jax.Array
    exploitability: jax.Array
    value: jax.Array


class Play(NamedTuple):
    """How far a run has come; ``jaxrl.algorithms.games.cfr`` trains with it, too.

    iteration: float[], number of the one to come, from 1; those beyond 2**24 count as that one in float32.
    regret: float[N, I, A], what each action would have earned more, added up. strategy: float[N, I, A], what is played next.
    total: float[N, I, A], weighted strategies, added up.
    """

    iteration: jax.Array
    regret: jax.Array
    strategy: jax.Array
    total: jax.Array


def begin(strategy: jax.Array) -> Play:
    """Returns the play before the first iteration, in which this strategy is played, float[N, I, A]."""
    nothing = jnp.zeros_like(strategy)
    return Play(jnp.ones((), strategy.dtype), nothing, strategy, nothing)


def iterate(
    game: ExtensiveGame, play: Play, *, plus: bool = False, alternating: bool = True, averaging: jax.Array | float = 0.0
) -> Play:
    """Makes one iteration, in which every player moves once.

    Args:
        game: what is played.
        play: before the iteration.
        plus, alternating, averaging: as for ``cfr``; here ``averaging`` is a number.
    """
    uniform = extensive.uniform_strategy(game).astype(play.strategy.dtype)
    seen, regret = play.strategy, play.regret
    for player in range(game.num_players):
        value = extensive.counterfactual_values(game, seen if alternating else play.strategy, player)
        own = play.strategy[player]
        gained = jnp.where(game.legal[player], value - (value * own).sum(-1, keepdims=True), 0)
        accumulated = regret[player] + gained
        regret = regret.at[player].set(jnp.maximum(accumulated, 0) if plus else accumulated)
        seen = seen.at[player].set(_in_proportion(regret[player], uniform[player]))
    weight = play.iteration**averaging * _own_reach(game, play.strategy)
    total = play.total + weight[..., None] * play.strategy
    return Play(play.iteration + 1, regret, seen, total)


def average_strategy(game: ExtensiveGame, play: Play) -> jax.Array:
    """Returns the average of what was played, float[N, I, A], uniform where its player never came."""
    return _in_proportion(play.total, extensive.uniform_strategy(game).astype(play.total.dtype))


def default_averaging(plus: bool) -> float:
    """Returns the power of t with which iteration t counts: 0, so that all count alike, and 1 for CFR+."""
    return float(plus)


def cfr(
    game: ExtensiveGame,
    num_iterations: int,
    *,
    plus: bool = False,
    alternating: bool = True,
    averaging: float | None = None,
    num_records: int = 1,
) -> Course:
    """Minimises regret.

    Args:
        game: from ``extensive.from_environment``.
        num_iterations: in which every player moves once.
        plus: CFR+: a regret that turns negative is forgotten.
        alternating: each player answers what those before it have just chosen; otherwise all what was played last.
        averaging: iteration t counts with weight ``t ** averaging``; by default 0, and 1 with ``plus``.
        num_records: C, how often the average is examined; a divisor of ``num_iterations``.

    Raises:
        ConfigError: a number is out of range.
    """
    require_count("cfr", "num_iterations", num_iterations)
    require_count("cfr", "num_records", num_records)
    must = f"num_records must divide num_iterations ({num_iterations})"
    require(num_iterations % num_records == 0, "cfr", must, num_records, "1 examines the end alone.")
    power = default_averaging(plus) if averaging is None else averaging
    if not is_traced(power):
        require_finite("cfr", "averaging", power, "0 counts all iterations the same.")
    uniform = extensive.uniform_strategy(game)
    require_countable("cfr", "num_iterations", num_iterations, uniform.dtype)

    def step(play: Play, _):
        return iterate(game, play, plus=plus, alternating=alternating, averaging=power), None

    def part(play: Play, _):
        play = jax.lax.scan(step, play, None, num_iterations // num_records)[0]
        average = average_strategy(game, play)
        return play, (extensive.exploitability(game, average), extensive.expected_payoffs(game, average))

    last, (exploitability, value) = jax.lax.scan(part, begin(uniform), None, num_records)
    return Course(average_strategy(game, last), last.strategy, exploitability, value)


def _own_reach(game: ExtensiveGame, strategy: jax.Array) -> jax.Array:
    """Returns the probability that a player comes to its information set, if the others let it, float[N, I]."""
    return jnp.take_along_axis(extensive.realizations(game, strategy), jnp.asarray(game.parent), axis=1)


def _in_proportion(weight: jax.Array, otherwise: jax.Array) -> jax.Array:
    """Returns probabilities in proportion to the positive part, float[..., A]; ``otherwise`` where nothing is positive."""
    positive = jnp.maximum(weight, 0)
    total = positive.sum(-1, keepdims=True)
    return jnp.where(total > 0, positive / jnp.where(total > 0, total, 1), otherwise)
