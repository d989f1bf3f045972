"""Learning with opponent-learning awareness: gradient ascent of two players of an iterated game, each on its exact value.

    repeat
        each player i looks ahead: the other is about to learn, Delta_-i = eta grad_-i V_-i(theta_i, theta_-i)
        theta_i <- theta_i + alpha grad_i V_i(theta_i, theta_-i + Delta_-i),
            where Delta_-i is a function of theta_i, too

with the strategies of memory one softmax(theta_i), float[1 + A^2, A], and V_i the discounted value of the iterated game, for each
round. With eta = 0 the players are naive: each climbs its own value as if the other stood still. The look-ahead is exact, not its
first-order expansion.

The task is a payoff table, float[2, A, A]. Seeds start elsewhere. An update takes no step in an environment, so runs count
updates.

Source: Foerster et al. (2018), "Learning with opponent-learning awareness", equations 3 to 6.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import static
from jaxrl.errors import require, require_between, require_counts, require_numbers, require_payoffs, require_positive
from jaxrl.solvers import memory_one

WHERE = "games.lola"


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    step_size: float = 5.0  # alpha, on the value per round
    lookahead: float = 0.0  # eta, at least 0: the step that the other is about to make; 0 is naive
    gamma: float = 0.96  # discount of the iterated game, in [0, 1)
    start_deviation: float = 1.0  # of the first logits, normal around 0; at least 0
    iterations_per_update: int = static(default=1)  # steps of both players (count)

    def validate(self, payoff: Any) -> None:
        """Raises ConfigError where a value is out of range, or ``payoff`` is no table of two players with the same actions."""
        table = require_payoffs(WHERE, payoff)
        alike = table.ndim == 3 and table.shape[1] == table.shape[2]
        must = "there must be two players with as many actions each: a table of shape [2, A, A]"
        require(alike, WHERE, must, table.shape, "Give the payoffs of one round.")
        require_counts(WHERE, self, "iterations_per_update")
        require_numbers(WHERE, self)
        require_positive(WHERE, self, "step_size")
        require_between(WHERE, self, 0, float("inf"), "lookahead", "start_deviation")
        require_between(WHERE, self, 0, 1, "gamma", below=True)


@struct.dataclass
class State:
    """logits: float32[2, 1 + A^2, A], theta of both players; rows as in ``jaxrl.solvers.memory_one``."""

    logits: jax.Array


def make(payoff: jax.Array, config: Config) -> Algorithm:
    """Builds naive learners or LOLA in the iterated game of a payoff table.

    Metrics, exact, after each update, in reward units per round:
        value: float32[2], what each player earns.
        welfare: the mean of both.
        gradient_norm: of both naive gradients, 0 where neither player alone can climb.
    """
    payoff = jnp.asarray(payoff, jnp.float32)
    actions = payoff.shape[1]

    def values(mine, other, player):
        profile = [jax.nn.softmax(logits) for logits in ((mine, other) if player == 0 else (other, mine))]
        return memory_one.values(payoff, profile, config.gamma)

    def gradient(mine, other, player):
        """Returns grad_i V_i(theta_i, theta_-i)."""
        return jax.grad(lambda mine: values(mine, other, player)[player])(mine)

    def looking_ahead(mine, other, player):
        """Returns V_i(theta_i, theta_-i + Delta_-i)."""
        ahead = other + config.lookahead * gradient(other, mine, 1 - player)
        return values(mine, ahead, player)[player]

    def init(key):
        start = jax.random.normal(key, (2, 1 + actions**2, actions), jnp.float32)
        return State(jnp.asarray(config.start_deviation, jnp.float32) * start)

    def iterate(logits, _):
        uphill = [jax.grad(looking_ahead)(logits[player], logits[1 - player], player) for player in (0, 1)]
        return logits + jnp.asarray(config.step_size, jnp.float32) * jnp.stack(uphill), None

    def update(state, key):
        logits, _ = jax.lax.scan(iterate, state.logits, length=config.iterations_per_update)
        value = values(logits[0], logits[1], 0)
        left = jnp.stack([gradient(logits[player], logits[1 - player], player) for player in (0, 1)])
        return State(logits), {"value": value, "welfare": value.mean(), "gradient_norm": jnp.linalg.norm(left)}

    return Algorithm(init, update)
