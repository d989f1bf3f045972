"""Learning dynamics in normal-form games: fictitious play, replicator dynamics, regret matching.

Each is one pure function of a payoff table, a scan over steps: jit it, vmap it over games or starts. All return the same
record, ``Course``. In two-player zero-sum games the averages converge to equilibrium; elsewhere they need not, and the joint
play of regret matching converges to the set of coarse correlated equilibria.

Payoff tables are float[N, A_0, ..., A_{N-1}] and profiles sequences of N strategies, as in ``jaxrl.games.normal_form``.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, require, require_count, require_finite, require_real
from jaxrl.games.normal_form import (
    Profile,
    action_payoffs,
    game,
    joint_distribution,
    nash_conv,
    profile_of,
    pure_profile,
    uniform_profile,
)


class History(NamedTuple):
    """What is noted down at C equally spaced steps, the last one included.

    profile, average: tuples of float[C, A_i], the current strategies and the averages so far.
    nash_conv: float[C], of the current strategies. average_nash_conv: float[C], of the averages.
    """

    profile: Profile
    average: Profile
    nash_conv: jax.Array
    average_nash_conv: jax.Array


class Course(NamedTuple):
    """What a dynamic returns.

    profile: N strategies, float[A_i], after the last step.
    average: N strategies, float[A_i]: the average of what was played.
    joint: float[A_0, ..., A_{N-1}], the average distribution of joint actions.
    history: see ``History``.
    """

    profile: Profile
    average: Profile
    joint: jax.Array
    history: History


def require_countable(where: str, name: str, count: int, dtype: Any) -> None:
    """Raises ConfigError unless floats of this type can count so far: beyond, adding 1 to a sum changes nothing."""
    most = 2 ** (jnp.finfo(dtype).nmant + 1)
    fix = "Use fewer, or float64 inside jax.enable_x64(True)."
    require(count <= most, where, f"{name} must be at most {most:,} in {jnp.dtype(dtype).name}", count, fix)


class _Play(NamedTuple):
    """step: float[], number of the step to come, from 1. total, joint: weighted sums. memory: what the dynamic remembers."""

    step: jax.Array
    profile: Profile
    total: Profile
    joint: jax.Array
    memory: Any


def _play(
    payoff: jax.Array,
    advance: Callable,
    memory: Any,
    start: Sequence[jax.Array],
    num_steps: int,
    num_records: int,
    averaging: float = 0.0,
) -> Course:
    """Plays ``num_steps`` times, step t counting with weight ``t ** averaging``.

    Args:
        payoff: the game.
        advance: ``(memory, profile, total) -> (memory, profile)``.
        memory, start: the first of each.
        num_steps, num_records, averaging: as for the public functions.
    """
    require_count("dynamics", "num_steps", num_steps)
    require_count("dynamics", "num_records", num_records)
    fits = num_steps % num_records == 0
    require(fits, "dynamics", f"num_records must divide num_steps ({num_steps})", num_records, "1 records the end alone.")
    if not is_traced(averaging):
        require_finite("dynamics", "averaging", averaging, "0 counts all steps the same.")
    dtype = payoff.dtype
    require_countable("dynamics", "num_steps", num_steps, dtype)
    profile = profile_of("dynamics", payoff, start, called="start")

    def step(play: _Play, _):
        weight = play.step**averaging
        total = tuple(total + weight * strategy for total, strategy in zip(play.total, play.profile, strict=True))
        joint = play.joint + weight * joint_distribution(play.profile)
        memory, profile = advance(play.memory, play.profile, total)
        return _Play(play.step + 1, profile, total, joint, memory), None

    def block(play: _Play, _):
        play = jax.lax.scan(step, play, None, num_steps // num_records)[0]
        average = tuple(total / total.sum() for total in play.total)
        return play, History(play.profile, average, nash_conv(payoff, play.profile), nash_conv(payoff, average))

    nothing = tuple(jnp.zeros_like(strategy) for strategy in profile)
    first = _Play(jnp.ones((), dtype), profile, nothing, jnp.zeros(payoff.shape[1:], dtype), memory)
    last, history = jax.lax.scan(block, first, None, num_records)
    return Course(last.profile, tuple(part[-1] for part in history.average), last.joint / last.joint.sum(), history)


def fictitious_play(
    payoff: jax.Array, num_steps: int, *, start: Sequence[jax.Array] | None = None, num_records: int = 1
) -> Course:
    """Every player answers, at the same time, what the others have played so far on average.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: plays, the first one ``start``.
        start: the profile of the first play, by default every player's first action.
        num_records: C, how often the history is noted; a divisor of ``num_steps``.

    Returns:
        A Course; of several best responses the first is played.

    Raises:
        ConfigError: the payoffs are no game or not finite, ``start`` does not fit them, or an argument is out of range. What is
            traced is not looked at.

    Source: Brown (1951), Iterative solution of games by fictitious play; Fudenberg and Levine (1998), chapter 2.
    """
    payoff = game("fictitious_play", payoff)
    players = range(payoff.shape[0])

    def advance(memory, profile, total):
        # Payoffs are linear in each strategy, so sums serve as well as averages, and ties between integer payoffs stay exact.
        answers = [action_payoffs(payoff, total, player).argmax() for player in players]
        return memory, tuple(jax.nn.one_hot(a, s.size, dtype=s.dtype) for a, s in zip(answers, profile, strict=True))

    first = pure_profile(payoff, [0] * payoff.shape[0]) if start is None else start
    return _play(payoff, advance, (), first, num_steps, num_records)


def replicator(
    payoff: jax.Array, num_steps: int, *, start: Sequence[jax.Array], step_size: jax.Array | float = 0.01, num_records: int = 1
) -> Course:
    """A population for each player, in which actions that earn more than the average spread.

        dx_ia / dt = x_ia [u_i(a, x_-i) - u_i(x)]

    integrated by the classical Runge-Kutta method of fourth order for the logarithms of the shares, which grow at the rates
    u_i(a, x_-i) up to a constant: shares then stay shares whatever the step. In a symmetric game with equal starts the
    populations stay equal, which is the dynamic of a single population.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: integration steps.
        start: the first profile; an action of probability 0 stays there.
        step_size: time in one step, positive. In a step the logarithms of two shares can move apart by ``step_size`` times the
            range of a player's payoffs, which must not exceed 1: beyond, the steps no longer follow the differential equation.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the step is too long for these payoffs, where both are known, or as for ``fictitious_play``.

    Source: Taylor and Jonker (1978); Weibull (1995), Evolutionary Game Theory, sections 3.1 and 5.1.
    """
    payoff = game("replicator", payoff)
    players = range(payoff.shape[0])
    if not is_traced(payoff, step_size):
        span = max(float(np.ptp(table)) for table in np.asarray(payoff, np.float64))
        must, fix = "step_size times the range of the payoffs must lie in (0, 1]", f"Use {0.9 / span if span else 1:.2g}, say."
        step = np.asarray(require_real("replicator", "step_size", step_size, fix), np.float64)
        require(bool(np.all((step > 0) & (step * span <= 1 + 1e-6))), "replicator", must, step_size, fix)

    def growth(shares):
        return tuple(action_payoffs(payoff, shares, player) for player in players)

    def shares_of(logits):
        return tuple(jax.nn.softmax(logit) for logit in logits)

    def move(logits, slope, time):
        return tuple(logit + time * change for logit, change in zip(logits, slope, strict=True))

    def advance(logits, shares, total):
        first = growth(shares)
        second = growth(shares_of(move(logits, first, step_size / 2)))
        third = growth(shares_of(move(logits, second, step_size / 2)))
        fourth = growth(shares_of(move(logits, third, step_size)))
        slope = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(first, second, third, fourth, strict=True))
        logits = tuple(logit - logit.max() for logit in move(logits, slope, step_size))
        return logits, shares_of(logits)

    shares = profile_of("replicator", payoff, start, called="start")
    present = tuple(jnp.where(share > 0, jnp.log(jnp.where(share > 0, share, 1)), -jnp.inf) for share in shares)
    return _play(payoff, advance, present, shares, num_steps, num_records)


def regret_matching(
    payoff: jax.Array,
    num_steps: int,
    *,
    start: Sequence[jax.Array] | None = None,
    plus: bool = False,
    predictive: bool = False,
    alternating: bool = False,
    averaging: float = 0.0,
    num_records: int = 1,
) -> Course:
    """Every player takes actions in proportion to how much it regrets not having taken them, if it does.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: plays, the first one ``start``.
        start: the profile of the first play, by default uniform; in games where that is an equilibrium it is never left.
        plus: regret matching plus: a regret that turns negative is forgotten.
        predictive: the last regret is counted twice, as a forecast of the next one.
        alternating: the players move one after the other, each knowing what those before it have just chosen.
        averaging: step t counts with weight ``t ** averaging`` in the averages: 0 all the same, 1 linear, 2 quadratic.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: as for ``fictitious_play``.

    Source: Hart and Mas-Colell (2000); Tammelin (2014) for plus; Farina, Kroer and Sandholm (2021) for predictive.
    """
    payoff = game("regret_matching", payoff)
    players = range(payoff.shape[0])

    def advance(regrets, profile, total):
        seen, regrets = list(profile), list(regrets)
        for player in players:
            values = action_payoffs(payoff, seen if alternating else profile, player)
            regret = values - (values * profile[player]).sum()
            accumulated = regrets[player] + regret
            regrets[player] = jnp.maximum(accumulated, 0) if plus else accumulated
            seen[player] = _in_proportion(regrets[player] + regret if predictive else regrets[player])
        return tuple(regrets), tuple(seen)

    first = uniform_profile(payoff) if start is None else start
    nothing = tuple(jnp.zeros(actions, payoff.dtype) for actions in payoff.shape[1:])
    return _play(payoff, advance, nothing, first, num_steps, num_records, averaging)


def _in_proportion(regret: jax.Array) -> jax.Array:
    """Returns probabilities in proportion to the positive part, uniform where nothing is positive."""
    positive = jnp.maximum(regret, 0)
    total = positive.sum()
    return jnp.where(total > 0, positive / jnp.where(total > 0, total, 1), 1 / regret.size)
