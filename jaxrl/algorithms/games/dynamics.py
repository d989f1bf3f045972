"""Learning dynamics in a game in normal form: all players go on, again and again, from the profile x = (x_1, ..., x_N) to

    fictitious_play    the best response to what the others have played so far on average:
                           x_i <- argmax_a u_i(a, average of x_-i)
    regret_matching    actions in proportion to how much player i regrets not to have taken them:
                           r_i(a) <- u_i(a, x_-i) - u_i(x)           R_i <- R_i + r_i
                           x_i(a) <- R_i(a)+ / sum_b R_i(b)+         uniform where no regret is positive
                       plus cuts the sums, R_i <- max(R_i + r_i, 0); predictive matches R_i + r_i, the last regret being the
                       forecast of the next one; alternating lets a player see what those before it have just chosen
    replicator         a population of which the actions that earn more than the average grow:
                           dx_i(a) / dt = x_i(a) [u_i(a, x_-i) - u_i(x)]

In two-player zero-sum games the averages of the first two converge to equilibrium; elsewhere they need not, but the joint play
of regret matching converges to the set of coarse correlated equilibria.

The task is a payoff table, float[N, A_0, ..., A_{N-1}] in reward units; steps are those of ``jaxrl.solvers.dynamics``. Seeds
start elsewhere; tables of one shape may be the seeds' own: ``task_axes=0`` of ``jaxrl.run``. An update takes no step in an
environment, so runs count updates.

Source: Brown (1951), "Iterative solution of games by fictitious play"; Hart and Mas-Colell (2000), "A simple adaptive procedure
leading to correlated equilibrium"; for plus Tammelin (2014), "Solving large imperfect information games using CFR+"; for
predictive Farina, Kroer and Sandholm (2021), "Faster game solving via predictive Blackwell approachability"; Taylor and Jonker
(1978), "Evolutionarily stable strategies and game dynamics".
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import static
from jaxrl.errors import (
    require,
    require_between,
    require_counts,
    require_numbers,
    require_payoffs,
    require_positive,
    unknown_name,
)
from jaxrl.solvers import dynamics
from jaxrl.solvers.dynamics import Play, Rule
from jaxrl.solvers.normal_form import Profile, coarse_correlated_regrets, expected_payoffs, nash_conv

WHERE = "games.dynamics"
DYNAMICS, STARTS = ("fictitious_play", "regret_matching", "replicator"), ("interior", "pure")


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    # Step t counts with weight t ** averaging, at least 0, in the averages, and so in what fictitious play answers: 0 all the
    # same, 1 linear, 2 quadratic.
    averaging: float = 0.0
    # Replicator: time in a step of the classical Runge-Kutta method, positive; times the range of a player's payoffs at most 1.
    step_size: float = 0.01
    dynamic: str = static(default="regret_matching")  # or fictitious_play, replicator
    plus: bool = static(default=False)  # regret matching: a regret that turns negative is forgotten
    predictive: bool = static(default=False)  # regret matching: the last regret is counted twice
    alternating: bool = static(default=False)  # regret matching: the players move one after the other
    start: str = static(default="interior")  # the first profile, drawn uniformly for each seed; pure: one action of each player
    iterations_per_update: int = static(default=100)  # plays, or integration steps (count)

    def validate(self, payoff: Any) -> None:
        """Raises ConfigError or UnknownNameError where a value is out of range, or ``payoff`` is no payoff table."""
        table = require_payoffs(WHERE, payoff)
        for kind, name, known in (("dynamic", self.dynamic, DYNAMICS), ("start", self.start, STARTS)):
            if name not in known:
                raise unknown_name(WHERE, kind, name, known)
        require_counts(WHERE, self, "iterations_per_update")
        require_numbers(WHERE, self)
        require_between(WHERE, self, 0, float("inf"), "averaging")
        require_positive(WHERE, self, "step_size")
        if self.dynamic != "regret_matching":
            for name in ("plus", "predictive", "alternating"):
                must = f"{name} must be left out with {self.dynamic}: it is an option of regret matching"
                require(not getattr(self, name), WHERE, must, getattr(self, name), f"Set {name}=False.")
        if self.dynamic == "replicator":
            dynamics.require_step_size(WHERE, table, self.step_size)
            must = "start must be interior with replicator: where an action has no share, it never gets one"
            require(self.start == "interior", WHERE, must, self.start, "Set start='interior'.")


def random_interior(key: jax.Array, actions: int) -> jax.Array:
    """Returns a strategy drawn uniformly among all there are, float32[A], every entry above 0."""
    weight = -jnp.log(jax.random.uniform(key, (actions,), jnp.float32, jnp.finfo(jnp.float32).tiny))
    return weight / weight.sum()


def random_pure(key: jax.Array, actions: int) -> jax.Array:
    """Returns the strategy that takes one action for certain, each equally likely, float32[A]."""
    return jax.nn.one_hot(jax.random.randint(key, (), 0, actions, jnp.int32), actions, dtype=jnp.float32)


def first_profile(key: jax.Array, payoff: jax.Array, start: str) -> Profile:
    """Draws the profile of the first play, N of float32[A_i]; payoff: float[N, A_0, ..., A_{N-1}]."""
    draw = random_pure if start == "pure" else random_interior
    keys = jax.random.split(key, payoff.shape[0])
    return tuple(draw(own, actions) for own, actions in zip(keys, payoff.shape[1:], strict=True))


def rule(payoff: jax.Array, config: Config) -> Rule:
    """Returns how the players go on."""
    if config.dynamic == "fictitious_play":
        return dynamics.best_responses(payoff)
    if config.dynamic == "replicator":
        return dynamics.replication(payoff, config.step_size)
    options = {"plus": config.plus, "predictive": config.predictive, "alternating": config.alternating}
    return dynamics.regret_proportions(payoff, **options)


def make(payoff: jax.Array, config: Config) -> Algorithm:
    """Builds a dynamic on a payoff table. The state is a ``jaxrl.solvers.dynamics.Play``: profile, sums and memory.

    Metrics, exact, after each update, in reward units:
        average_nash_conv, current_nash_conv: the sum of what the players could gain by best responses, each against the others'
            average strategies, and against those that they play next.
        average_welfare, current_welfare: the sum of what all earned on average so far, and of what they earn next.
        coarse_correlated_regret: the most that a player would have gained on average by one action throughout.
    """
    payoff = jnp.asarray(payoff, jnp.float32)
    move = rule(payoff, config)

    def init(key):
        return dynamics.begin(payoff, move, first_profile(key, payoff, config.start))

    def play_once(play: Play, _):
        return dynamics.play_once(move, play, config.averaging), None

    def update(play, key):
        play, _ = jax.lax.scan(play_once, play, length=config.iterations_per_update)
        joint = play.average_joint
        return play, {
            "average_nash_conv": nash_conv(payoff, play.average),
            "current_nash_conv": nash_conv(payoff, play.profile),
            "average_welfare": (payoff.sum(0) * joint).sum(),
            "current_welfare": expected_payoffs(payoff, play.profile).sum(),
            "coarse_correlated_regret": coarse_correlated_regrets(payoff, joint).max(),
        }

    return Algorithm(init, update)
