"""Steps along the gradient of what a player expects: of softmax policies, and of strategies with a step ahead (extragradient)."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from optax import projections

from jaxrl.errors import require_within
from jaxrl.solvers.dynamics.logits import centred, logarithms, shares_of
from jaxrl.solvers.dynamics.play import Course, Rule, course
from jaxrl.solvers.normal_form import action_payoffs, game_table, uniform_profile


def policy_gradient(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any] | None = None,
    step_size: jax.Array | float = 0.1,
    num_records: int = 1,
) -> Course:
    """Every player moves the logits of its softmax policy along the exact gradient of what it expects, all at the same time.

        theta_ia <- theta_ia + step_size * x_ia [u_i(a, x_-i) - u_i(x)],    x_i = softmax(theta_i)

    In a game of common interest the common payoff rises, to a joint action that no player alone improves upon, but slowly where
    an action has a small share: play may stay on such a plateau for long. In zero-sum games it moves away from equilibrium.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: plays, the first one ``start``.
        start: the profile of the first play, by default uniform; an action of probability 0 stays there.
        step_size: positive, in one over the units of payoffs.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the step is not positive, or as for ``fictitious_play``.

    Source: Williams (1992), "Simple statistical gradient-following algorithms for connectionist reinforcement learning"; for
    softmax policies with exact gradients Mei et al. (2020), "On the global convergence rates of softmax policy gradient methods".
    """
    where = "policy_gradient"
    payoff = game_table(where, payoff)
    require_within(where, "step_size", step_size, 0, np.inf, "0.1, say.", above=True, below=True)
    first = uniform_profile(payoff) if start is None else start
    return course(payoff, softmax_gradients(payoff, step_size), first, num_steps, num_records)


def softmax_gradients(payoff: jax.Array, step_size: jax.Array | float) -> Rule:
    """The rule of ``policy_gradient``; it remembers the logits, up to a constant."""

    def advance(logits, profile, total):
        moved = []
        for player, (logit, own) in enumerate(zip(logits, profile, strict=True)):
            gain = action_payoffs(payoff, profile, player)
            moved.append(logit + step_size * own * (gain - (own * gain).sum()))
        logits = centred(tuple(moved))
        return logits, shares_of(logits)

    return Rule(logarithms, advance)


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
    return course(payoff, extrapolated_gradients(payoff, step_size), first, num_steps, num_records)


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
