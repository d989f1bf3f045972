"""One asset with normal returns, traded for T steps by an investor whose gains add up: the risk-averse problem solved exactly.

At each step the agent chooses how much to invest and is paid that amount times a return drawn from N(mean, deviation^2). With an
exponential utility of risk aversion a the best amount is mean / (a deviation^2) at every step, and the certainty equivalent of
t remaining steps is t mean^2 / (2 a deviation^2).

Source: Merton (1969) in discrete time; the test problem of Udovichenko et al. (2025).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_finite


@struct.dataclass
class Params:
    """All float32. amounts: [A], what can be invested. mean, deviation: [], of the return of a step. shift: [], added to every
    reward. steps: [T + 1], as long as there are observations.
    """

    amounts: jax.Array
    mean: jax.Array
    deviation: jax.Array
    shift: jax.Array
    steps: jax.Array


def reset(key, params):
    """Begins at step 0. The state is the number of the step."""
    return jnp.int32(0), jnp.int32(0)


def step(key, state, action, params):
    """Pays the amount times a normal return, and the shift."""
    gain = params.mean + params.deviation * jax.random.normal(key, (), jnp.float32)
    after = state + 1
    return Step(after, after, params.amounts[action] * gain + params.shift, after >= params.steps.shape[0] - 1)


def best_amount(mean: float, deviation: float, risk_aversion: float) -> float:
    """Returns the amount that maximises the certainty equivalent, quote currency."""
    return mean / (risk_aversion * deviation**2)


def certainty_equivalent(mean: float, deviation: float, risk_aversion: float, num_steps: int) -> float:
    """Returns the value of investing the best amount for this many steps, quote currency."""
    return num_steps * mean**2 / (2 * risk_aversion * deviation**2)


def make(
    amounts: Sequence[float] = (0.0, 0.625, 1.25, 1.875, 2.5),
    mean: float = 0.05,
    deviation: float = 0.2,
    num_steps: int = 10,
    shift: float = 0.0,
) -> Environment:
    """Builds the portfolio problem. Action: index of an amount. Observation: steps taken, 0 .. T.

    Args:
        amounts: what can be invested, quote currency.
        mean, deviation: of the return of a step.
        num_steps: T.
        shift: added to every reward, quote currency: it changes no decision.

    Raises:
        ConfigError: there is no amount or no step, the deviation is negative, or a number is not finite.
    """
    where = "gaussian_portfolio"
    require(len(amounts) >= 1, where, "there must be an amount to choose", tuple(amounts), "Name at least one.")
    require_finite(where, "amounts, mean, deviation and shift", (*amounts, mean, deviation, shift))
    require(deviation >= 0, where, "deviation must not be negative", deviation, "0.2 is the default.")
    require(num_steps >= 1, where, "num_steps must be at least 1", num_steps, "10 is the default.")
    params = Params(
        amounts=jnp.asarray(amounts, jnp.float32),
        mean=jnp.float32(mean),
        deviation=jnp.float32(deviation),
        shift=jnp.float32(shift),
        steps=jnp.zeros(num_steps + 1, jnp.float32),
    )
    return Environment(params, reset, step, Discrete(num_steps + 1), Discrete(len(amounts)), num_steps)
