"""Commons: agents harvest from one stock that grows by itself, most when it is half of what it can be.

    S' = S + r S (1 - S / K) - harvest

Every agent requests an amount; if all requests exceed the stock, it is split in proportion to them. An agent is paid what it
gets. At S = K / 2 the stock grows by r K / 4, the maximum sustainable yield; more cannot be harvested for ever. There is no
terminal state, but of nothing nothing grows.

Source: Gordon (1954) and Schaefer (1957), for the logistic stock; Perolat et al. (2017) for the dilemma.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require


@struct.dataclass
class Params:
    agents: jax.Array  # int32[N], the numbers 0 .. N - 1
    amount: jax.Array  # float32[A], what each action requests
    growth: jax.Array  # float32[], r, per step
    capacity: jax.Array  # float32[], K
    start: jax.Array  # float32[], the stock at first


def _observe(stock, params):
    """float32[N, 1], the stock as a share of the capacity, the same for all."""
    return jnp.broadcast_to(stock / params.capacity, (len(params.agents), 1)).astype(jnp.float32)


def global_obs(state, params):
    """float32[1], the stock as a share of the capacity."""
    return _observe(state, params)[0]


def grown(stock, params):
    """Returns how much the stock grows in a step if no agent harvests."""
    return params.growth * stock * (1 - stock / params.capacity)


def maximum_sustainable_yield(params: Params) -> jax.Array:
    """Returns the largest harvest of all agents together that the stock can bear for ever, r K / 4, float32[]."""
    return params.growth * params.capacity / 4


def reset(key, params):
    """Always begins alike. The state is the stock, float32[]."""
    return _observe(params.start, params), params.start


def step(key, state, action, params):
    """Harvests from the stock as it is, which then grows by what it was."""
    request = params.amount[action]
    total = request.sum()
    reward = request * jnp.minimum(1.0, state / jnp.where(total > 0, total, 1.0))
    # Rounding could leave a trace beyond the bounds.
    stock = jnp.clip(state + grown(state, params) - jnp.minimum(total, state), 0.0, params.capacity)
    return Step(_observe(stock, params), stock, reward, jnp.bool_(False))


def make(
    num_agents: int = 4,
    max_request: int = 10,
    growth: float = 0.4,
    capacity: float = 100.0,
    start: float | None = None,
    max_steps: int = 100,
) -> Environment:
    """Builds the commons. Actions: the amount one requests, 0 .. max_request. Observation: the stock as a share of the capacity.

    Args:
        num_agents: N. max_request: at least 1.
        growth: r in [0, 1], per step. capacity: K, positive.
        start: the stock at first, in [0, capacity]; None is the capacity.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range.
    """
    for name, count in (("num_agents", num_agents), ("max_request", max_request), ("max_steps", max_steps)):
        require(count >= 1, "commons", f"{name} must be at least 1", count, "4, 10 and 100 are the defaults.")
    must = "growth must lie in [0, 1], so that the stock never exceeds the capacity"
    require(0 <= growth <= 1, "commons", must, growth, "0.4 is the default.")
    require(capacity > 0, "commons", "capacity must be positive", capacity, "100 is the default.")
    start = capacity if start is None else start
    require(0 <= start <= capacity, "commons", f"start must lie in [0, {capacity}]", start, "Leave it out for a full stock.")
    params = Params(
        jnp.arange(num_agents, dtype=jnp.int32),
        jnp.arange(max_request + 1, dtype=jnp.float32),
        jnp.float32(growth),
        jnp.float32(capacity),
        jnp.float32(start),
    )
    return Environment(
        params,
        reset,
        step,
        Box(0.0, 1.0, (1,)),
        Discrete(max_request + 1),
        max_steps,
        num_agents=num_agents,
        global_obs_fn=global_obs,
    )
