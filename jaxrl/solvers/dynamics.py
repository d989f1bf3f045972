"""Learning dynamics in normal-form games. Each is one pure function of a payoff table, a scan over steps: jit it, vmap it over
games or starts. All return the same record, ``Course``.

    function                rule                    in two-player zero-sum games
    fictitious_play         best_responses          the averages converge to equilibrium
    smooth_fictitious_play  logit_responses         averages and play converge to the logit equilibrium
    risk_averse_play        risk_averse_responses   see there: players who avoid variance play no zero-sum game
    replicator              replication             the averages converge to equilibrium, play circles around it
      with mutation                                 averages and play converge to within the rate of mutation
    regret_matching         regret_proportions      the averages converge to equilibrium
    multiplicative_weights  exponential_weights     the averages come near equilibrium, play moves away from it
      optimistic                                    averages and play converge to equilibrium
    extragradient           extrapolated_gradients  averages and play converge to equilibrium
    mirror_prox             extrapolated_weights    averages and play converge to equilibrium

In other games the averages need not converge. The joint play of regret matching converges to the set of coarse correlated
equilibria, and that of multiplicative weights comes within a distance of it that falls with the step.

Payoff tables are float[N, A_0, ..., A_{N-1}] and profiles sequences of N strategies, as in ``jaxrl.solvers.normal_form``.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from optax import projections

from jaxrl.errors import is_traced, require, require_count, require_distribution, require_finite, require_real, require_within
from jaxrl.solvers import risk_averse
from jaxrl.solvers.normal_form import (
    Profile,
    action_payoffs,
    coarse_correlated_regrets,
    game_table,
    joint_distribution,
    nash_conv,
    pure_profile,
    require_profile,
    uniform_profile,
)

ANSWER_STEPS = 32  # of the search for each answer in risk_averse_play: nearly all end before


class History(NamedTuple):
    """The record of C equally spaced steps, the last one included.

    profile, average: tuples of float[C, A_i], the current strategies and the averages so far.
    nash_conv: float[C], of the current strategies. average_nash_conv: float[C], of the averages.
    """

    profile: Profile
    average: Profile
    nash_conv: jax.Array
    average_nash_conv: jax.Array


class Course(NamedTuple):
    """The result of a dynamic.

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


class Play(NamedTuple):
    """How far a dynamic has come; ``jaxrl.algorithms.games.dynamics`` trains with it, too.

    step: float[], number of the play to come, from 1; those beyond 2**24 count as that one in float32.
    profile: N strategies, float[A_i], played next. total: N sums of weighted strategies, float[A_i].
    joint: float[A_0, ..., A_{N-1}], the sum of weighted distributions of joint actions. memory: what the rule remembers.
    """

    step: jax.Array
    profile: Profile
    total: Profile
    joint: jax.Array
    memory: Any

    @property
    def average(self) -> Profile:
        """The averages of what was played, N of float[A_i]."""
        return tuple(total / total.sum() for total in self.total)

    @property
    def average_joint(self) -> jax.Array:
        """The average distribution of joint actions, float[A_0, ..., A_{N-1}]."""
        return self.joint / self.joint.sum()


class Rule(NamedTuple):
    """How players go on from one play to the next.

    remember: ``(profile) -> memory``, before the first play.
    advance: ``(memory, profile, total) -> (memory, profile)``, from one play to the next; ``total`` includes the one just made.
    """

    remember: Callable
    advance: Callable


def begin(payoff: jax.Array, rule: Rule, start: Sequence[jax.Array]) -> Play:
    """Returns the play before the first step, in which ``start`` is played: N strategies, float[A_i]."""
    profile = tuple(start)
    nothing = tuple(jnp.zeros_like(strategy) for strategy in profile)
    dtype = jnp.result_type(*profile)
    return Play(jnp.ones((), dtype), profile, nothing, jnp.zeros(payoff.shape[1:], dtype), rule.remember(profile))


def play_once(rule: Rule, play: Play, averaging: jax.Array | float = 0.0) -> Play:
    """Plays the profile, which counts with weight ``step ** averaging``, and goes on to the next one."""
    weight = play.step**averaging
    total = tuple(total + weight * strategy for total, strategy in zip(play.total, play.profile, strict=True))
    joint = play.joint + weight * joint_distribution(play.profile)
    memory, profile = rule.advance(play.memory, play.profile, total)
    return Play(play.step + 1, profile, total, joint, memory)


def _course(
    payoff: jax.Array, rule: Rule, start: Sequence[Any], num_steps: int, num_records: int, averaging: float = 0.0
) -> Course:
    """Plays ``num_steps`` times, step t counting with weight ``t ** averaging``; arguments as for the public functions."""
    require_count("dynamics", "num_steps", num_steps)
    require_count("dynamics", "num_records", num_records)
    must, fix = f"num_records must divide num_steps ({num_steps})", "1 records the end alone."
    require(num_steps % num_records == 0, "dynamics", must, num_records, fix)
    if not is_traced(averaging):
        require_finite("dynamics", "averaging", averaging, "0 counts all steps the same.")
    dtype = _float_of(payoff)
    require_countable("dynamics", "num_steps", num_steps, dtype)
    profile = require_profile("dynamics, start", payoff, start)

    def step(play: Play, _):
        return play_once(rule, play, averaging), None

    def block(play: Play, _):
        play = jax.lax.scan(step, play, None, num_steps // num_records)[0]
        average = play.average
        return play, History(play.profile, average, nash_conv(payoff, play.profile), nash_conv(payoff, average))

    first = begin(payoff, rule, [jnp.asarray(strategy, dtype) for strategy in profile])
    last, history = jax.lax.scan(block, first, None, num_records)
    return Course(last.profile, tuple(part[-1] for part in history.average), last.average_joint, history)


def _float_of(payoff: jax.Array) -> Any:
    return jnp.result_type(payoff.dtype, jnp.float32)


def from_starts(dynamic: Callable[..., Course], payoff: Any, starts: Sequence[Any]) -> Course:
    """Follows a dynamic from many starts side by side, in one compiled call.

    Args:
        dynamic: ``(payoff, start=profile) -> Course``, one of the functions below with its other arguments filled in.
        payoff: float[N, A_0, ..., A_{N-1}].
        starts: N arrays float[S, A_i], the first profiles.

    Returns:
        A Course in float32 on the host, every array with a leading axis [S].

    Raises:
        ConfigError: the payoffs are no game, or a first strategy is no distribution over the player's actions.
    """
    where = "from_starts"
    table = jnp.asarray(game_table(where, payoff), jnp.float32)
    rows = tuple(require_distribution(where, f"the strategies of player {i}", part) for i, part in enumerate(starts))
    shapes = [part.shape for part in rows]
    fits = len({shape[:1] for shape in shapes}) == 1 and [shape[1:] for shape in shapes] == [(n,) for n in table.shape[1:]]
    must = f"starts must have shapes [S, A_i] for the numbers of actions {list(table.shape[1:])}"
    require(fits, where, must, shapes, "Stack the strategies of each player.")
    play = jax.jit(jax.vmap(lambda start: dynamic(table, start=start)))
    return jax.device_get(play(tuple(jnp.asarray(part, jnp.float32) for part in rows)))


class PureStarts(NamedTuple):
    """The courses of two players from S pairs of first actions, of plays that are noted C times; float32 on the host.

    nash_conv: [S, C], of the averages. average: [S, C, A], of the row player.
    coarse_gap: [S], the most that a player could gain by committing to one action against the average joint play.
    welfare: [S], the mean sum of payoffs in it.
    """

    nash_conv: np.ndarray
    average: np.ndarray
    coarse_gap: np.ndarray
    welfare: np.ndarray


def from_pure_starts(
    dynamic: Callable[..., Course], payoff: Any, actions: Sequence[tuple[int, int]], num_steps: int, num_records: int
) -> PureStarts:
    """Plays from several pairs of first actions, and measures the averages over time and the joint play at the end.

    Args:
        dynamic: one of the functions below.
        payoff: float[2, A, A].
        actions: S pairs, of the row player and of the column player.
        num_steps: plays of each.
        num_records: C, how often the averages are noted; a divisor of ``num_steps``.

    Raises:
        ConfigError: the game has another number of players or unequal actions, or there is no such action; or as ``dynamic``.
    """
    table, where = jnp.asarray(payoff, jnp.float32), "from_pure_starts"
    alike = table.ndim == 3 and table.shape[0] == 2 and table.shape[1] == table.shape[2]
    require(alike, where, "payoff must be float[2, A, A]", table.shape, "Give the table of two players with the same actions.")
    first = np.asarray(actions)
    sound = first.ndim == 2 and first.shape[1] == 2 and bool(((first >= 0) & (first < table.shape[1])).all())
    must, fix = f"actions must be pairs of numbers from 0 to {table.shape[1] - 1}", "Name one action of each player."
    require(sound, where, must, actions, fix)
    play = partial(dynamic, num_steps=num_steps, num_records=num_records)
    course = from_starts(play, payoff, list(np.eye(table.shape[1])[first.T]))
    gaps = jax.vmap(lambda joint: coarse_correlated_regrets(table, joint).max())(course.joint)
    welfare = (table.sum(0) * course.joint).sum((1, 2))
    return PureStarts(*map(np.asarray, (course.history.average_nash_conv, course.history.average[0], gaps, welfare)))


def populations(payoff: Any, first: Any, num_steps: int, step_size: float, num_records: int) -> tuple[np.ndarray, np.ndarray]:
    """Follows S populations, each playing a symmetric game against itself, by the replicator dynamics.

    Args:
        payoff: float[2, A, A].
        first: float[S, A], the shares of the actions at first.
        num_steps, step_size, num_records: as for ``replicator``.

    Returns:
        The shares, and their averages over time so far, float64[S, C, A].
    """
    move = partial(replicator, num_steps=num_steps, step_size=step_size, num_records=num_records)
    history = from_starts(move, payoff, (first, first)).history
    return np.asarray(history.profile[0], np.float64), np.asarray(history.average[0], np.float64)


def over_games(dynamic: Callable[..., Course], payoffs: Any) -> Course:
    """Follows a dynamic in G games, in one compiled call.

    Games go 32 at a time, which stay in a core's cache: two to three times as fast as all at once on a CPU.

    Args:
        dynamic: ``(payoff) -> Course``, one of the functions below with its other arguments filled in.
        payoffs: float[G, N, A_0, ..., A_{N-1}].

    Returns:
        A Course, every array with a leading axis [G].
    """
    return jax.jit(lambda games: jax.lax.map(dynamic, games, batch_size=32))(payoffs)


def fictitious_play(payoff: Any, num_steps: int, *, start: Sequence[Any] | None = None, num_records: int = 1) -> Course:
    """Every player answers, at the same time, what the others have played so far on average.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: plays, the first one ``start``.
        start: the profile of the first play, by default every player's first action.
        num_records: C, how often the history is noted; a divisor of ``num_steps``.

    Returns:
        A Course; of several best responses the first is played.

    Raises:
        ConfigError: the payoffs are no game or not finite, ``start`` does not fit them, or an argument is out of range. Traced
            values are not checked.

    Source: Brown (1951), Iterative solution of games by fictitious play; Fudenberg and Levine (1998), chapter 2.
    """
    payoff = game_table("fictitious_play", payoff)
    first = pure_profile(payoff, [0] * payoff.shape[0]) if start is None else start
    return _course(payoff, best_responses(payoff), first, num_steps, num_records)


def best_responses(payoff: jax.Array) -> Rule:
    """The rule of ``fictitious_play``; it remembers nothing but the sums of what was played."""
    players = range(payoff.shape[0])

    def advance(memory, profile, total):
        # Payoffs are linear in each strategy, so sums serve as well as averages, and ties between integer payoffs stay exact.
        answers = [action_payoffs(payoff, total, player).argmax() for player in players]
        return memory, tuple(jax.nn.one_hot(a, s.size, dtype=s.dtype) for a, s in zip(answers, profile, strict=True))

    return Rule(lambda profile: (), advance)


def smooth_fictitious_play(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any] | None = None,
    temperature: jax.Array | float = 0.1,
    num_records: int = 1,
) -> Course:
    """Every player answers what the others have played so far on average, the better an action the more often:

        x_i <- softmax(u_i(., average of x_-i) / temperature)

    In two-player zero-sum games and in potential games play converges to a logit equilibrium, in which all answer each other so.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: plays, the first one ``start``.
        start: the profile of the first play, by default uniform.
        temperature: positive, in units of payoffs; towards 0 answers become best responses.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the temperature is not positive, or as for ``fictitious_play``.

    Source: Fudenberg and Levine (1998), The Theory of Learning in Games, chapter 4; Hofbauer and Sandholm (2002), "On the global
    convergence of stochastic fictitious play".
    """
    where = "smooth_fictitious_play"
    payoff = game_table(where, payoff)
    require_within(where, "temperature", temperature, 0, np.inf, "0.1, say.", above=True, below=True)
    first = uniform_profile(payoff) if start is None else start
    return _course(payoff, logit_responses(payoff, temperature), first, num_steps, num_records)


def logit_responses(payoff: jax.Array, temperature: jax.Array | float) -> Rule:
    """The rule of ``smooth_fictitious_play``; it remembers nothing but the sums of what was played."""
    players = range(payoff.shape[0])

    def advance(memory, profile, total):
        average = tuple(part / part.sum() for part in total)
        return memory, tuple(jax.nn.softmax(action_payoffs(payoff, average, player) / temperature) for player in players)

    return Rule(lambda profile: (), advance)


def risk_averse_play(
    payoff: Any,
    num_steps: int,
    *,
    aversion: jax.Array | float,
    own_mixing: bool = False,
    start: Sequence[Any] | None = None,
    num_records: int = 1,
) -> Course:
    """Fictitious play of players who take ``aversion`` times the variance from the mean of what they get.

    Without aversion it is ``fictitious_play`` step by step. Where the averages come to rest, they are an equilibrium of such
    players: ``jaxrl.solvers.risk_averse.regrets`` says how far they are from one.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: plays, the first one ``start``.
        aversion, own_mixing: see ``jaxrl.solvers.risk_averse``.
        start, num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the aversion is negative, or as for ``fictitious_play``.

    Source: Slumbers et al. (2023), "A game-theoretic framework for managing risk in multi-agent systems".
    """
    where = "risk_averse_play"
    payoff = game_table(where, payoff)
    require_within(where, "aversion", aversion, 0, np.inf, "0 is risk neutral.", below=True)
    first = pure_profile(payoff, [0] * payoff.shape[0]) if start is None else start
    return _course(payoff, risk_averse_responses(payoff, aversion, own_mixing), first, num_steps, num_records)


def risk_averse_responses(payoff: jax.Array, aversion: jax.Array | float, own_mixing: bool = False) -> Rule:
    """The rule of ``risk_averse_play``; it remembers nothing but the sums of what was played."""
    players = range(payoff.shape[0])

    def advance(memory, profile, total):
        average = tuple(part / part.sum() for part in total)
        answers = []
        for player in players:
            # The means of sums are divided at last: ties between integer payoffs stay exact, as in best_responses.
            plays = math.prod(part.sum() for other, part in enumerate(total) if other != player)
            means = action_payoffs(payoff, total, player) / plays
            covariance = risk_averse.action_covariance(payoff, average, player)
            answer = risk_averse.respond(means, covariance, aversion, own_mixing=own_mixing, max_steps=ANSWER_STEPS)
            answers.append(answer.strategy)
        return memory, tuple(answers)

    return Rule(lambda profile: (), advance)


def multiplicative_weights(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any] | None = None,
    step_size: jax.Array | float = 0.1,
    optimistic: bool = False,
    num_records: int = 1,
) -> Course:
    """Every player weights its actions by exponentials of what they have earned so far (Hedge).

        x_i <- softmax(step_size * sum of all u_i(., x_-i) so far)         from the uniform profile

    In T plays with payoffs of range R a player regrets at most ln(A) / step_size + step_size T R^2 / 8 in all.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: T, plays, the first one ``start``.
        start: the profile of the first play, by default uniform, in games where that is an equilibrium it is never left; an
            action of probability 0 stays there.
        step_size: positive, in one over the units of payoffs.
        optimistic: the last payoffs count twice, as a forecast of the next ones. With payoffs in [0, 1] and a step of
            1 / (2 (N - 1)) the players' regrets then add up to a constant, however long they play.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the step is not positive, or as for ``fictitious_play``.

    Source: Freund and Schapire (1999), "Adaptive game playing using multiplicative weights"; Cesa-Bianchi and Lugosi (2006),
    theorem 2.2, on regret; Bailey and Piliouras (2018) on its play; for optimistic Syrgkanis et al. (2015), "Fast convergence of
    regularized learning in games", and Daskalakis and Panageas (2019), "Last-iterate convergence".
    """
    where = "multiplicative_weights"
    payoff = game_table(where, payoff)
    require_within(where, "step_size", step_size, 0, np.inf, "0.1, say.", above=True, below=True)
    first = uniform_profile(payoff) if start is None else start
    return _course(payoff, exponential_weights(payoff, step_size, optimistic=optimistic), first, num_steps, num_records)


def exponential_weights(payoff: jax.Array, step_size: jax.Array | float, *, optimistic: bool = False) -> Rule:
    """The rule of ``multiplicative_weights``; it remembers the logarithms of the weights, up to a constant."""
    players = range(payoff.shape[0])

    def advance(logits, profile, total):
        gains = tuple(step_size * action_payoffs(payoff, profile, player) for player in players)
        logits = tuple(logit + gain for logit, gain in zip(logits, gains, strict=True))
        logits = tuple(logit - logit.max() for logit in logits)
        expected = tuple(logit + gain for logit, gain in zip(logits, gains, strict=True)) if optimistic else logits
        return logits, tuple(jax.nn.softmax(logit) for logit in expected)

    return Rule(_logarithms, advance)


def extragradient(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any] | None = None,
    step_size: jax.Array | float = 0.1,
    num_records: int = 1,
) -> Course:
    """Every player steps along the gradient of its payoff at the profile to which a first such step would lead.

        x_i <- project(z_i + step_size * u_i(., z_-i))        is played
        z_i <- project(z_i + step_size * u_i(., x_-i))

    onto the simplex. With the spectral norm L of a table and a step of at most 1 / L, the average play of T steps in a
    two-player zero-sum game has a NashConv of at most a constant over ``step_size * T``, and play converges, too.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: T, plays, the first one ``start``, which is z at first.
        start: the profile of the first play, by default uniform.
        step_size: positive, in one over the units of payoffs.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the step is not positive, or as for ``fictitious_play``.

    Source: Korpelevich (1976), "The extragradient method for finding saddle points and other problems"; Nemirovski (2004) on
    averages.
    """
    where = "extragradient"
    payoff = game_table(where, payoff)
    require_within(where, "step_size", step_size, 0, np.inf, "0.1, say.", above=True, below=True)
    first = uniform_profile(payoff) if start is None else start
    return _course(payoff, extrapolated_gradients(payoff, step_size), first, num_steps, num_records)


def extrapolated_gradients(payoff: jax.Array, step_size: jax.Array | float) -> Rule:
    """The rule of ``extragradient``; it remembers the profile from which steps are made, N of float[A_i]."""

    def stepped(origin, at):
        gains = tuple(action_payoffs(payoff, at, player) for player in range(payoff.shape[0]))
        # Projections do not depend on a constant that is added, and sums of small numbers are more precise.
        moved = (own + step_size * (gain - gain.max()) for own, gain in zip(origin, gains, strict=True))
        return tuple(projections.projection_simplex(part).astype(part.dtype) for part in moved)

    def advance(origin, profile, total):
        origin = stepped(origin, profile)
        return origin, stepped(origin, origin)

    return Rule(lambda profile: profile, advance)


def mirror_prox(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any] | None = None,
    step_size: jax.Array | float = 0.1,
    num_records: int = 1,
) -> Course:
    """Every player weights its actions by exponentials of their payoffs at the profile to which a first such step would lead.

        x_i <- z_i exp(step_size * u_i(., z_-i)) / sum        is played
        z_i <- z_i exp(step_size * u_i(., x_-i)) / sum

    ``extragradient`` with the relative entropy as the distance. With payoffs of at most R in size and a step of at most 1 / R,
    the average play of T steps in a two-player zero-sum game has a NashConv of at most a constant over ``step_size * T``, which
    grows with the logarithms of the numbers of actions. Play converges, too, where the equilibrium is the only one.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: T, plays, the first one ``start``, which is z at first.
        start: the profile of the first play, by default uniform; an action of probability 0 stays there.
        step_size: positive, in one over the units of payoffs.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the step is not positive, or as for ``fictitious_play``.

    Source: Nemirovski (2004), "Prox-method with rate of convergence O(1/t) for variational inequalities with Lipschitz continuous
    monotone operators and smooth convex-concave saddle point problems", example 2 on simplices.
    """
    where = "mirror_prox"
    payoff = game_table(where, payoff)
    require_within(where, "step_size", step_size, 0, np.inf, "0.1, say.", above=True, below=True)
    first = uniform_profile(payoff) if start is None else start
    return _course(payoff, extrapolated_weights(payoff, step_size), first, num_steps, num_records)


def extrapolated_weights(payoff: jax.Array, step_size: jax.Array | float) -> Rule:
    """The rule of ``mirror_prox``; it remembers the logarithms of the weights z, up to a constant."""

    def stepped(logits, at):
        gains = tuple(action_payoffs(payoff, at, player) for player in range(payoff.shape[0]))
        moved = (logit + step_size * gain for logit, gain in zip(logits, gains, strict=True))
        return tuple(logit - logit.max() for logit in moved)

    def shares_of(logits):
        return tuple(jax.nn.softmax(logit) for logit in logits)

    def advance(logits, profile, total):
        logits = stepped(logits, profile)
        return logits, shares_of(stepped(logits, shares_of(logits)))

    return Rule(_logarithms, advance)


def _logarithms(shares: Profile) -> Profile:
    return tuple(jnp.where(share > 0, jnp.log(jnp.where(share > 0, share, 1)), -jnp.inf) for share in shares)


def replicator(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any],
    step_size: jax.Array | float = 0.01,
    mutation: jax.Array | float = 0.0,
    num_records: int = 1,
) -> Course:
    """A population for each player, in which actions that earn more than the average spread.

        dx_ia / dt = x_ia [u_i(a, x_-i) - u_i(x)] + mutation [1 / A_i - x_ia]

    integrated by the classical Runge-Kutta method of fourth order for the logarithms of the shares, which grow at the rates
    u_i(a, x_-i) up to a constant: shares then stay shares whatever the step. Mutation is solved exactly, for half a step before
    and half a step after. In a symmetric game with equal starts the populations stay equal, which is the dynamic of a single
    population.

    At rest no action earns more than the average by as much as ``mutation``: each player's regret is smaller.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: integration steps.
        start: the first profile; an action of probability 0 stays there, unless there is mutation.
        step_size: time in one step, positive. In a step the logarithms of two shares can move apart by ``step_size`` times the
            range of a player's payoffs, which must not exceed 1: beyond, the steps no longer follow the differential equation.
        mutation: rate at which individuals take an action at random, at least 0, in units of payoffs.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the step is too long for these payoffs, the rate is negative, or as for ``fictitious_play``.

    Source: Taylor and Jonker (1978); Weibull (1995), Evolutionary Game Theory, sections 3.1 and 5.1; for mutation Hofbauer and
    Sigmund (1998), Evolutionary Games and Population Dynamics, section 20.1, and Abe, Sakamoto and Iwasaki (2022),
    "Mutation-driven follow the regularized leader for last-iterate convergence in zero-sum games".
    """
    payoff = game_table("replicator", payoff)
    require_step_size("replicator", payoff, step_size)
    require_within("replicator", "mutation", mutation, 0, np.inf, "0.01, say.", below=True)
    return _course(payoff, replication(payoff, step_size, mutation), start, num_steps, num_records)


def require_step_size(where: str, payoff: Any, step_size: Any) -> None:
    """Raises ConfigError unless steps of the replicator follow its differential equation. Traced values are not checked.

    Args:
        where: who asks.
        payoff: float[N, A_0, ..., A_{N-1}].
        step_size: time in one step, a number or an array of them.
    """
    if is_traced(payoff, step_size):
        return
    span = max(float(np.ptp(table)) for table in np.asarray(payoff, np.float64))
    must, fix = "step_size times the range of the payoffs must lie in (0, 1]", f"Use {0.9 / span if span else 1:.2g}, say."
    step = require_real(where, "step_size", step_size, fix).astype(np.float64)
    require(bool(np.all((step > 0) & (step * span <= 1 + 1e-6))), where, must, step_size, fix)


def replication(payoff: jax.Array, step_size: jax.Array | float, mutation: jax.Array | float = 0.0) -> Rule:
    """The rule of ``replicator``; it remembers the logarithms of the shares, up to a constant."""
    players = range(payoff.shape[0])

    def growth(shares):
        return tuple(action_payoffs(payoff, shares, player) for player in players)

    def shares_of(logits):
        return tuple(jax.nn.softmax(logit) for logit in logits)

    def move(logits, slope, time):
        return tuple(logit + time * change for logit, change in zip(logits, slope, strict=True))

    def mutated(logits):
        """Moves all shares towards 1 / A for half a step."""
        time = mutation * step_size / 2
        fresh = -jnp.expm1(-time)
        new = jnp.where(fresh > 0, jnp.log(jnp.where(fresh > 0, fresh, 1)), -jnp.inf)
        return tuple(jnp.logaddexp(jax.nn.log_softmax(logit) - time, new - math.log(logit.size)) for logit in logits)

    mutates = is_traced(mutation) or mutation != 0

    def advance(logits, shares, total):
        if mutates:
            logits = mutated(logits)
            shares = shares_of(logits)
        first = growth(shares)
        second = growth(shares_of(move(logits, first, step_size / 2)))
        third = growth(shares_of(move(logits, second, step_size / 2)))
        fourth = growth(shares_of(move(logits, third, step_size)))
        slope = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(first, second, third, fourth, strict=True))
        logits = move(logits, slope, step_size)
        logits = tuple(logit - logit.max() for logit in (mutated(logits) if mutates else logits))
        return logits, shares_of(logits)

    return Rule(_logarithms, advance)


def regret_matching(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any] | None = None,
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
    payoff = game_table("regret_matching", payoff)
    first = uniform_profile(payoff) if start is None else start
    rule = regret_proportions(payoff, plus=plus, predictive=predictive, alternating=alternating)
    return _course(payoff, rule, first, num_steps, num_records, averaging)


def regret_proportions(payoff: jax.Array, *, plus: bool = False, predictive: bool = False, alternating: bool = False) -> Rule:
    """The rule of ``regret_matching``, which explains its arguments; it remembers the regrets, N of float[A_i]."""
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

    return Rule(lambda profile: tuple(jnp.zeros_like(strategy) for strategy in profile), advance)


def _in_proportion(regret: jax.Array) -> jax.Array:
    """Returns probabilities in proportion to the positive part, uniform where nothing is positive."""
    positive = jnp.maximum(regret, 0)
    total = positive.sum()
    return jnp.where(total > 0, positive / jnp.where(total > 0, total, 1), 1 / regret.size)
