"""How a dynamic goes on: what is played, what is remembered, and the record of its course. A method is a ``Rule``."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.errors import is_traced, require, require_count, require_finite
from jaxrl.solvers.normal_form import Profile, joint_distribution, nash_conv, require_profile


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


def course(
    payoff: jax.Array, rule: Rule, start: Sequence[Any], num_steps: int, num_records: int, averaging: float = 0.0
) -> Course:
    """Plays ``num_steps`` times by a rule, step t counting with weight ``t ** averaging``.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        rule: how players go on.
        start: the profile of the first play.
        num_steps: plays.
        num_records: C, how often the history is noted; a divisor of ``num_steps``.
        averaging: exponent of the weights; 0 counts all plays the same.

    Raises:
        ConfigError: ``start`` does not fit the payoffs, or an argument is out of range. Traced values are not checked.
    """
    require_count("dynamics", "num_steps", num_steps)
    require_count("dynamics", "num_records", num_records)
    must, fix = f"num_records must divide num_steps ({num_steps})", "1 records the end alone."
    require(num_steps % num_records == 0, "dynamics", must, num_records, fix)
    if not is_traced(averaging):
        require_finite("dynamics", "averaging", averaging, "0 counts all steps the same.")
    dtype = float_of(payoff)
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


def float_of(payoff: jax.Array) -> Any:
    """Returns the type of float that a dynamic of these payoffs is computed in."""
    return jnp.result_type(payoff.dtype, jnp.float32)
