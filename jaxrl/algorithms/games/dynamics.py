"""Learning dynamics in a game in normal form: all players go on, again and again, from the profile x = (x_1, ..., x_N) to

    fictitious_play    the best response to what the others have played so far on average:
                           x_i <- argmax_a u_i(a, average of x_-i)
    smooth_fictitious_play
                       likewise, the better an action the more often:
                           x_i <- softmax(u_i(., average of x_-i) / temperature)
    regret_matching    actions in proportion to how much player i regrets not to have taken them:
                           r_i(a) <- u_i(a, x_-i) - u_i(x)           R_i <- R_i + r_i
                           x_i(a) <- R_i(a)+ / sum_b R_i(b)+         uniform where no regret is positive
                       plus cuts the sums, R_i <- max(R_i + r_i, 0); predictive matches R_i + r_i, the last regret being the
                       forecast of the next one; alternating lets a player see what those before it have just chosen
    replicator         a population of which the actions that earn more than the average grow:
                           dx_i(a) / dt = x_i(a) [u_i(a, x_-i) - u_i(x)] + mutation [1 / A_i - x_i(a)]
    multiplicative_weights
                       exponentials of what the actions have earned so far:
                           U_i <- U_i + step_size * u_i(., x_-i)     x_i <- softmax(U_i)
                       optimistic adds the last payoffs to U_i once more, as a forecast of the next ones
    policy_gradient    gradients of the payoffs for the logits of softmax policies, exact:
                           theta_i(a) <- theta_i(a) + step_size * x_i(a) [u_i(a, x_-i) - u_i(x)]      x_i <- softmax(theta_i)
    extragradient      gradients of the payoffs at a profile that lies a step ahead, which is the one that is played:
                           z_i <- project(z_i + step_size * u_i(., x_-i))      x_i <- project(z_i + step_size * u_i(., z_-i))
    mirror_prox        likewise, with exponential weights in place of projections:
                           Z_i <- Z_i + step_size * u_i(., x_-i)     z_i <- softmax(Z_i)
                           x_i <- softmax(Z_i + step_size * u_i(., z_-i))

In two-player zero-sum games the averages of all but the second and of policy gradients converge to equilibrium, those of plain
multiplicative weights up to a distance that falls with the step, those with mutation up to its rate. Play itself does with
optimistic weights and with extragradient and mirror-prox steps; with smooth fictitious play it converges to a logit equilibrium,
and with mutation to where no player regrets more than the rate. Elsewhere they need not, but the joint play of regret matching
converges to the set of coarse correlated equilibria.

The task is a payoff table, float[N, A_0, ..., A_{N-1}] in reward units; steps are those of ``jaxrl.solvers.dynamics``. Seeds
start elsewhere; tables of one shape may be the seeds' own: ``task_axes=0`` of ``jaxrl.run``. An update takes no step in an
environment, so runs count updates.

Source: Brown (1951), "Iterative solution of games by fictitious play"; Hart and Mas-Colell (2000), "A simple adaptive procedure
leading to correlated equilibrium"; for plus Tammelin (2014), "Solving large imperfect information games using CFR+"; for
predictive Farina, Kroer and Sandholm (2021), "Faster game solving via predictive Blackwell approachability"; Taylor and Jonker
(1978), "Evolutionarily stable strategies and game dynamics"; Fudenberg and Levine (1998), The Theory of Learning in Games,
chapter 4; Freund and Schapire (1999), "Adaptive game playing using multiplicative weights"; for optimistic Syrgkanis et al.
(2015), "Fast convergence of regularized learning in games"; Korpelevich (1976), "The extragradient method for finding saddle
points and other problems"; Nemirovski (2004) on mirror prox; Williams (1992), "Simple statistical gradient-following algorithms
for connectionist reinforcement learning"; for mutation Abe, Sakamoto and Iwasaki (2022), "Mutation-driven follow the regularized
leader for last-iterate convergence in zero-sum games".
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
DYNAMICS = (
    "fictitious_play",
    "smooth_fictitious_play",
    "regret_matching",
    "replicator",
    "multiplicative_weights",
    "policy_gradient",
    "extragradient",
    "mirror_prox",
)
STARTS = ("interior", "pure")
OPTIONS = {
    "regret_matching": ("plus", "predictive", "alternating"),
    "multiplicative_weights": ("optimistic",),
    "replicator": ("mutation",),
}
# Where an action has no share at first, it never gets one.
INTERIOR = ("replicator", "multiplicative_weights", "policy_gradient", "mirror_prox")


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    # Step t counts with weight t ** averaging, at least 0, in the averages, and so in what fictitious play answers: 0 all the
    # same, 1 linear, 2 quadratic.
    averaging: float = 0.0
    # Replicator: time in a step of the classical Runge-Kutta method, positive; times the range of a player's payoffs at most 1.
    # Multiplicative weights, gradients and mirror prox: positive, in one over the units of payoffs.
    step_size: float = 0.01
    mutation: float = 0.0  # replicator: rate of random changes of action, at least 0, in units of payoffs
    temperature: float = 0.1  # smooth fictitious play: positive, in units of payoffs
    dynamic: str = static(default="regret_matching")  # or another of DYNAMICS
    plus: bool = static(default=False)  # regret matching: a regret that turns negative is forgotten
    predictive: bool = static(default=False)  # regret matching: the last regret is counted twice
    alternating: bool = static(default=False)  # regret matching: the players move one after the other
    optimistic: bool = static(default=False)  # multiplicative weights: the last payoffs count twice
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
        require_between(WHERE, self, 0, float("inf"), "averaging", "mutation")
        require_positive(WHERE, self, "step_size", "temperature")
        for dynamic, names in OPTIONS.items():
            for name in names if self.dynamic != dynamic else ():
                must = f"{name} must be left out with {self.dynamic}: it is an option of {dynamic.replace('_', ' ')}"
                value = getattr(self, name)
                require(not np.any(value), WHERE, must, value, f"Set {name}={False if isinstance(value, bool) else 0.0}.")
        if self.dynamic == "replicator":
            dynamics.require_step_size(WHERE, table, self.step_size)
        if self.dynamic in INTERIOR:
            must = f"start must be interior with {self.dynamic}: where an action has no share, it never gets one"
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
        return dynamics.replication(payoff, config.step_size, config.mutation)
    if config.dynamic == "smooth_fictitious_play":
        return dynamics.logit_responses(payoff, config.temperature)
    if config.dynamic == "multiplicative_weights":
        return dynamics.exponential_weights(payoff, config.step_size, optimistic=config.optimistic)
    if config.dynamic == "policy_gradient":
        return dynamics.softmax_gradients(payoff, config.step_size)
    if config.dynamic == "extragradient":
        return dynamics.extrapolated_gradients(payoff, config.step_size)
    if config.dynamic == "mirror_prox":
        return dynamics.extrapolated_weights(payoff, config.step_size)
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
