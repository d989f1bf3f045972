"""Utilities: the number of a law of the return in which an agent is greedy, when it acts and when it looks ahead alike.

    mean        E[G]
    cvar        CVaR_tau(G), the mean of the lowest share tau
    shortfall   E[min(s + G, 0)], with a stock s that the agent sees: what it has earned so far, less a target b

The last one is for a state that remembers what was earned (``jaxrl.core.transforms.with_stock``). There one policy serves all
targets, and CVaR_tau(G) = max_b { b + E[min(G - b, 0)] / tau } is maximised by the policy of the best b. A policy that is greedy
in the CVaR of what is still to come forgets what came before, and need not maximise the CVaR of the whole return.

Source: Pires (2025), "Optimizing Return Distributions with Distributional Dynamic Programming"; Bauerle and Ott (2011), "Markov
Decision Processes with Average-Value-at-Risk Criteria"; greedy in a CVaR: Dabney et al. (2018), "Implicit Quantile Networks".
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl.blocks.value_heads import Head
from jaxrl.core.environment import Environment
from jaxrl.core.spaces import Box, Dict
from jaxrl.errors import require, require_within, unknown_name

UTILITIES = ("mean", "cvar", "shortfall")


def make(config: Any, head: Head) -> Callable[[Any, Any], jax.Array]:
    """Returns the utility that a configuration names: ``(outputs, obs) -> float32[..., A]``, the worth of each action.

    Args:
        config: has ``utility`` and ``risk_level``, tau.
        head: of the outputs float32[..., A, *event]. The observations PyTree[..., ...] are those in which the actions are taken.
    """
    if config.utility == "mean":
        return lambda outputs, obs: head.mean(outputs)
    if config.utility == "cvar":
        return lambda outputs, obs: tail_mean(*head.law(outputs), config.risk_level)
    return lambda outputs, obs: shortfall(*head.law(outputs), obs["stock"][..., None])


def shortfall(atoms: jax.Array, mass: jax.Array, stock: jax.Array) -> jax.Array:
    """Returns E[min(s + G, 0)], float32[...], at most 0.

    Args:
        atoms: float32[..., N], returns.
        mass: float32[..., N], their probabilities, which broadcast against them.
        stock: float32[...], s.
    """
    return (mass * jnp.minimum(stock[..., None] + atoms, 0.0)).sum(-1)


def tail_mean(atoms: Any, mass: Any, level: jax.Array | float) -> jax.Array:
    """Returns the mean of the lowest share ``level`` of a law: its lower average value at risk, or CVaR, float[...].

    Args:
        atoms: float[..., M], in any order.
        mass: float[..., M], their probabilities, which broadcast against them.
        level: in (0, 1]; at 1 it is the mean.

    Raises:
        ConfigError: the level is out of range. Traced values are not checked.
    """
    require_within("tail_mean", "level", level, 0, 1, "0.1 is common.", above=True)
    atoms, mass = jnp.broadcast_arrays(atoms, mass)
    order = jnp.argsort(atoms, axis=-1)
    rising, mass = (jnp.take_along_axis(part, order, -1) for part in (atoms, mass))
    below = jnp.cumsum(mass, -1) - mass
    return (rising * jnp.clip(level - below, 0.0, mass)).sum(-1) / level


def require_utility(where: str, config: Any, env: Environment) -> None:
    """Raises UnknownNameError or ConfigError unless a learner can be greedy in the utility that its configuration names.

    Args:
        where: who asks.
        config: has ``utility``, ``risk_level`` and ``head``.
        env: what is learned.
    """
    if config.utility not in UTILITIES:
        raise unknown_name(where, "utility", config.utility, UTILITIES)
    if config.utility == "mean":
        return
    must, fix = "head must be a law of the return for any utility but the mean", 'Set head="quantile", or utility="mean".'
    require(config.head != "mean", where, must, config.head, fix)
    if config.utility == "cvar":
        require_within(where, "risk_level", config.risk_level, 0, 1, "0.1 is common.", above=True)
        return
    space: Any = env.observation_space
    stock = dict(space.items).get("stock") if isinstance(space, Dict) else None
    shown = isinstance(stock, Box) and stock.shape == ()
    must, fix = "for utility='shortfall' the observation must be a dict with a stock", "Wrap the environment in with_stock."
    require(shown, where, must, space, fix)
