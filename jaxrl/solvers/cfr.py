"""Counterfactual regret minimisation: every information set runs its own regret matching on counterfactual values.

    repeat
        for every player, one after the other
            add the strategy to the average, weighted by the player's own probability of getting there
            regret, for every action of every information set, what it would have earned more than the strategy
            play actions in proportion to their positive regrets

In a two-player zero-sum game the average converges to equilibrium. Regrets live on all information sets at once, so an iteration
is a few gathers and sums; the whole run is one scan, which compiles, and vmaps over games.

Variants differ in how the past counts: CFR+ cuts regrets at 0 and counts iteration t with weight t in the average; discounted CFR
multiplies positive regrets by t^alpha / (t^alpha + 1) after iteration t, negative ones with beta in place of alpha, and counts
iteration t with weight t^averaging. Monte Carlo CFR replaces counterfactual values by estimates from a sample of the game, which
are right on average: see ``jaxrl.solvers.sampled_play``. The average is exact in all of them. On arrays a sampled iteration costs
about as much as a full one: it is there for what it shows of learning from samples.

Source: Zinkevich et al. (2007), Regret minimization in games with incomplete information; for CFR+ Tammelin (2014) and Tammelin
et al. (2015); Brown and Sandholm (2019), Solving imperfect-information games via discounted regret minimization, section 4;
Lanctot et al. (2009), Monte Carlo sampling for regret minimization in extensive games.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import ConfigError, is_traced, require, require_count, require_finite, require_real, unknown_name
from jaxrl.solvers import extensive, sampled_play
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


class Rule(NamedTuple):
    """The variant of an iteration; numbers may be traced.

    plus: CFR+: a regret that turns negative is forgotten.
    alternating: each player answers what those before it have just chosen; otherwise all what was played last.
    averaging: iteration t counts with weight ``t ** averaging`` in the average.
    positive_power, negative_power: alpha and beta: after iteration t, positive regrets are multiplied by
        ``t ** alpha / (t ** alpha + 1)``, and negative ones with beta likewise; infinite keeps them as they are.
    sampling: which part of the game an iteration sees; one of ``sampled_play.SAMPLING``, or "full".
    exploration: of outcome sampling, in (0, 1]; see ``sampled_play.counterfactual_values``.
    """

    plus: bool = False
    alternating: bool = True
    averaging: jax.Array | float = 0.0
    positive_power: jax.Array | float = jnp.inf
    negative_power: jax.Array | float = jnp.inf
    sampling: str = "full"
    exploration: jax.Array | float = 0.6


# The variants of the papers. DISCOUNTED has the numbers that Brown and Sandholm (2019) recommend, LINEAR counts all by t.
PLAIN = Rule()
PLUS = Rule(plus=True, averaging=1.0)
DISCOUNTED = Rule(averaging=2.0, positive_power=1.5, negative_power=0.0)
LINEAR = Rule(averaging=1.0, positive_power=1.0, negative_power=1.0)


def iterate(game: ExtensiveGame, play: Play, rule: Rule = PLAIN, key: jax.Array | None = None) -> Play:
    """Makes one iteration, in which every player moves once. key: for a rule that samples."""
    uniform = extensive.uniform_strategy(game).astype(play.strategy.dtype)
    seen, regret = play.strategy, play.regret
    for player in range(game.num_players):
        strategies = seen if rule.alternating else play.strategy
        if rule.sampling == "full":
            value = extensive.counterfactual_values(game, strategies, player)
        else:
            if key is None:
                raise ConfigError("cfr.iterate: a rule that samples must have a key, got None. Give jax.random.key(0).")
            own_key = jax.random.fold_in(key, player)
            value = sampled_play.counterfactual_values(own_key, game, strategies, player, rule.sampling, rule.exploration)
        own = play.strategy[player]
        gained = jnp.where(game.legal[player], value - (value * own).sum(-1, keepdims=True), 0)
        accumulated = regret[player] + gained
        kept = (
            jnp.where(accumulated > 0, _kept(play.iteration, rule.positive_power), _kept(play.iteration, rule.negative_power))
            * accumulated
        )
        regret = regret.at[player].set(jnp.maximum(kept, 0) if rule.plus else kept)
        seen = seen.at[player].set(_in_proportion(regret[player], uniform[player]))
    weight = play.iteration**rule.averaging * _own_reach(game, play.strategy)
    total = play.total + weight[..., None] * play.strategy
    return Play(play.iteration + 1, regret, seen, total)


def _kept(iteration: jax.Array, power: jax.Array | float) -> jax.Array:
    """Returns t^power / (t^power + 1), float[], and 1 at an infinite power."""
    finite = jnp.where(jnp.isinf(power), 0.0, power)
    return jnp.where(jnp.isinf(power), 1.0, jax.nn.sigmoid(finite * jnp.log(iteration))).astype(iteration.dtype)


def average_strategy(game: ExtensiveGame, play: Play) -> jax.Array:
    """Returns the average of what was played, float[N, I, A], uniform where its player never came."""
    return _in_proportion(play.total, extensive.uniform_strategy(game).astype(play.total.dtype))


def cfr(
    game: ExtensiveGame, num_iterations: int, rule: Rule = PLAIN, *, num_records: int = 1, key: jax.Array | None = None
) -> Course:
    """Minimises regret.

    Args:
        game: from ``extensive.from_environment``.
        num_iterations: in which every player moves once.
        rule: the variant; plain CFR by default. ``PLUS``, ``DISCOUNTED`` and ``LINEAR`` are those of the papers.
        num_records: C, how often the average is examined; a divisor of ``num_iterations``.
        key: for a rule that samples.

    Raises:
        ConfigError: a number is out of range, or a rule that samples has no key.
    """
    require_count("cfr", "num_iterations", num_iterations)
    require_count("cfr", "num_records", num_records)
    must = f"num_records must divide num_iterations ({num_iterations})"
    require(num_iterations % num_records == 0, "cfr", must, num_records, "1 examines the end alone.")
    require_rule("cfr", rule)
    sampled = rule.sampling != "full"
    require(key is not None or not sampled, "cfr", "a rule that samples must have a key", None, "Give jax.random.key(0).")
    uniform = extensive.uniform_strategy(game)
    require_countable("cfr", "num_iterations", num_iterations, uniform.dtype)

    def step(play: Play, number):
        return iterate(game, play, rule, jax.random.fold_in(key, number) if key is not None else None), None

    def part(play: Play, numbers):
        play = jax.lax.scan(step, play, numbers)[0]
        average = average_strategy(game, play)
        return play, (extensive.exploitability(game, average), extensive.expected_payoffs(game, average))

    numbers = jnp.arange(num_iterations).reshape(num_records, -1)
    last, (exploitability, value) = jax.lax.scan(part, begin(uniform), numbers)
    return Course(average_strategy(game, last), last.strategy, exploitability, value)


def require_rule(where: str, rule: Rule) -> None:
    """Raises ConfigError or UnknownNameError where a rule has a number out of range. where: who asks."""
    if rule.sampling not in ("full", *sampled_play.SAMPLING):
        raise unknown_name(where, "sampling", rule.sampling, ("full", *sampled_play.SAMPLING))
    if not is_traced(rule.averaging):
        require_finite(where, "averaging", rule.averaging, "0 counts all iterations the same.")
    for name in ("positive_power", "negative_power"):
        power, fix = getattr(rule, name), "inf keeps regrets as they are."
        if not is_traced(power):
            sound = bool((require_real(where, name, power, fix) > -np.inf).all())
            require(sound, where, f"{name} must be a number, or infinite", power, fix)
    if not is_traced(rule.exploration):
        share = require_finite(where, "exploration", rule.exploration, "Set exploration=0.6.")
        sound = bool(((share > 0) & (share <= 1)).all())
        require(sound, where, "exploration must be in (0, 1]", rule.exploration, "Set exploration=0.6.")


def _own_reach(game: ExtensiveGame, strategy: jax.Array) -> jax.Array:
    """Returns the probability that a player comes to its information set, if the others let it, float[N, I]."""
    return jnp.take_along_axis(extensive.realizations(game, strategy), jnp.asarray(game.parent), axis=1)


def _in_proportion(weight: jax.Array, otherwise: jax.Array) -> jax.Array:
    """Returns probabilities in proportion to the positive part, float[..., A]; ``otherwise`` where nothing is positive."""
    positive = jnp.maximum(weight, 0)
    total = positive.sum(-1, keepdims=True)
    return jnp.where(total > 0, positive / jnp.where(total > 0, total, 1), otherwise)
