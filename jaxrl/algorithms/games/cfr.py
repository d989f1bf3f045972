"""Counterfactual regret minimisation: in iteration t = 1, 2, ..., every player i, one after the other, in each of its
information sets I

    1. takes its strategy into the average, weighted by its own probability of getting there:
           S(I, a) <- S(I, a) + w_t pi_i(I) sigma(I, a)
    2. regrets what it would have earned more by each action, weighted by the others' probability of letting it get there:
           R(I, a) <- R(I, a) + v_i(I, a) - sum_b sigma(I, b) v_i(I, b)
    3. matches its regrets:
           sigma(I, a) <- R(I, a)+ / sum_b R(I, b)+              uniform where no regret is positive

with w_t = 1. CFR+ cuts the regrets of line 2 at 0, R <- max(R, 0), and weights the average by w_t = t. Discounted CFR multiplies
positive regrets by t^alpha / (t^alpha + 1) after line 2, negative ones by t^beta / (t^beta + 1), and has w_t = t^gamma
(``positive_power``, ``negative_power``, ``averaging``); alpha = 1.5, beta = 0, gamma = 2 in the paper, and 1 for all three is
linear CFR. Monte Carlo CFR puts an estimate from a sample of the game in place of v_i: a sample of the outcomes of chance, of the
others' actions besides (external sampling), or of all actions (outcome sampling); see ``jaxrl.solvers.sampled_play``.

In a two-player zero-sum game the average converges to equilibrium; elsewhere its distance from one is measured, and need not
vanish.

The task is an extensive game, ``jaxrl.solvers.extensive.from_environment(env)``; an iteration is that of ``jaxrl.solvers.cfr``.
Seeds of one game differ where ``start`` is random or the game is sampled. Games that differ in payoffs or chance alone have one
shape, and may be the seeds' own: ``task_axes`` of ``jaxrl.run``. An update takes no step in an environment: runs count updates.

Source: Zinkevich, Johanson, Bowling and Piccione (2007), "Regret minimization in games with incomplete information", section 3;
for CFR+ Tammelin (2014), "Solving large imperfect information games using CFR+"; Brown and Sandholm (2019), "Solving
imperfect-information games via discounted regret minimization"; Lanctot, Waugh, Zinkevich and Bowling (2009), "Monte Carlo
sampling for regret minimization in extensive games".
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import static
from jaxrl.errors import require, require_between, require_counts, require_finite, require_numbers, unknown_name
from jaxrl.solvers import cfr, extensive
from jaxrl.solvers.cfr import Play, Rule
from jaxrl.solvers.extensive import ExtensiveGame

STARTS = ("uniform", "random")


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    averaging: Any = None  # w_t = t ** averaging, at least 0; None: that of the papers, 0, or 1 with plus
    positive_power: float = jnp.inf  # of positive regrets; infinite keeps them as they are
    negative_power: float = jnp.inf  # of negative regrets, likewise; without effect with plus
    exploration: float = 0.6  # of outcome sampling: the share of uniform actions in a player's own sample, in (0, 1]
    plus: bool = static(default=False)  # CFR+: a regret that turns negative is forgotten
    alternating: bool = static(default=True)  # each player answers what those before it have just chosen
    sampling: str = static(default="full")  # what an iteration sees: all, or a sample by chance, external or outcome sampling
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
        require_numbers(where, self, "positive_power", "negative_power")
        cfr.require_rule(where, self.rule())
        if self.averaging is not None:
            require_between(where, self, 0, float("inf"), "averaging")

    def rule(self) -> Rule:
        """Returns what an iteration does."""
        averaging = float(self.plus) if self.averaging is None else self.averaging
        past = {"averaging": averaging, "positive_power": self.positive_power, "negative_power": self.negative_power}
        return Rule(self.plus, self.alternating, **past, sampling=self.sampling, exploration=self.exploration)


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
    rule = config.rule()

    def init(key):
        uniform = extensive.uniform_strategy(game).astype(jnp.float32)
        return cfr.begin(random_strategy(key, game) if config.start == "random" else uniform)

    def iterate(play: Play, key):
        return cfr.iterate(game, play, rule, key), None

    def update(play, key):
        play, _ = jax.lax.scan(iterate, play, jax.random.split(key, config.iterations_per_update))
        average = cfr.average_strategy(game, play)
        gains = extensive.regrets(game, average)
        return play, {
            "average_nash_conv": gains.sum(),
            "average_exploitability": gains.mean(),
            "average_value": extensive.expected_payoffs(game, average),
            "current_nash_conv": extensive.nash_conv(game, play.strategy),
        }

    return Algorithm(init, update)
