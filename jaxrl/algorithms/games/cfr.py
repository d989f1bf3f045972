"""Counterfactual regret minimisation: in iteration t = 1, 2, ..., every player i, one after the other, in each of its
information sets I

    1. takes its strategy into the average, weighted by its own probability of getting there:
           S(I, a) <- S(I, a) + w_t pi_i(I) sigma(I, a)
    2. regrets what it would have earned more by each action, weighted by the others' probability of letting it get there:
           R(I, a) <- R(I, a) + v_i(I, a) - sum_b sigma(I, b) v_i(I, b)
    3. matches its regrets:
           sigma(I, a) <- R(I, a)+ / sum_b R(I, b)+              uniform where no regret is positive

with w_t = 1. CFR+ cuts the regrets of line 2 at 0, R <- max(R, 0), and weights the average by w_t = t. In a two-player zero-sum
game the average converges to equilibrium; elsewhere its distance from one is measured, and need not vanish.

The task is an extensive game, ``jaxrl.solvers.extensive.from_environment(env)``; an iteration is that of ``jaxrl.solvers.cfr``.
Seeds of one game differ where ``start`` is random. Games that differ in payoffs or chance alone have one shape, and may be the
seeds' own: ``task_axes`` of ``jaxrl.run``. An update takes no step in an environment, so runs count updates.

Source: Zinkevich, Johanson, Bowling and Piccione (2007), "Regret minimization in games with incomplete information", section 3;
for CFR+ Tammelin (2014), "Solving large imperfect information games using CFR+".
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import static
from jaxrl.errors import require, require_between, require_counts, require_finite, require_numbers, unknown_name
from jaxrl.solvers import cfr, extensive
from jaxrl.solvers.cfr import Play
from jaxrl.solvers.extensive import ExtensiveGame

STARTS = ("uniform", "random")


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    averaging: Any = None  # w_t = t ** averaging, at least 0; None: that of the paper, 0, or 1 with plus
    plus: bool = static(default=False)  # CFR+: a regret that turns negative is forgotten
    alternating: bool = static(default=True)  # each player answers what those before it have just chosen
    start: str = static(default="uniform")  # the first strategy; random: drawn for each seed, uniformly among all there are
    iterations_per_update: int = static(default=10)  # in each of which every player moves once (count)

    def validate(self, game: Any) -> None:
        """Raises ConfigError or UnknownNameError where a value is out of range, or ``game`` is no extensive game of numbers."""
        where, fix = "games.cfr", "Give jaxrl.solvers.extensive.from_environment(env)."
        require(isinstance(game, ExtensiveGame), where, "the task must be an ExtensiveGame", type(game), fix)
        for name in ("payoff", "chance"):
            require_finite(where, f"{name} of the game", getattr(game, name))
        if self.start not in STARTS:
            raise unknown_name(where, "start", self.start, STARTS)
        require_counts(where, self, "iterations_per_update")
        require_numbers(where, self)
        if self.averaging is not None:
            require_between(where, self, 0, float("inf"), "averaging")


def random_strategy(key: jax.Array, game: ExtensiveGame) -> jax.Array:
    """Returns strategies drawn uniformly among all there are, float32[N, I, A]; every legal action is possible."""
    legal = jnp.asarray(game.legal)
    tiny = jnp.finfo(jnp.float32).tiny
    weight = jnp.where(legal, -jnp.log(jax.random.uniform(key, legal.shape, jnp.float32, tiny)), 0.0)
    return weight / weight.sum(-1, keepdims=True)


def make(game: ExtensiveGame, config: Config) -> Algorithm:
    """Builds CFR or CFR+ on an extensive game. The state is a ``jaxrl.solvers.cfr.Play``: regrets and sums of strategies.

    Metrics, exact, after each update, in reward units:
        average_nash_conv, current_nash_conv: the sum of what the players could gain by best responses, each against the others'
            average strategies, and against those that they play next.
        average_exploitability: the mean of what they could gain, for the averages.
        average_value: float32[N], what every player earns by the averages.
    """
    averaging = cfr.default_averaging(config.plus) if config.averaging is None else config.averaging

    def init(key):
        uniform = extensive.uniform_strategy(game).astype(jnp.float32)
        return cfr.begin(random_strategy(key, game) if config.start == "random" else uniform)

    def iterate(play: Play, _):
        return cfr.iterate(game, play, plus=config.plus, alternating=config.alternating, averaging=averaging), None

    def update(play, key):
        play, _ = jax.lax.scan(iterate, play, length=config.iterations_per_update)
        average = cfr.average_strategy(game, play)
        gains = extensive.regrets(game, average)
        return play, {
            "average_nash_conv": gains.sum(),
            "average_exploitability": gains.mean(),
            "average_value": extensive.expected_payoffs(game, average),
            "current_nash_conv": extensive.nash_conv(game, play.strategy),
        }

    return Algorithm(init, update)
