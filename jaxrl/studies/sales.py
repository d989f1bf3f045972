"""Studies of optimal execution: learners and schedules sell the same lots on the same paths.

Source: Almgren and Chriss (2001), "Optimal Execution of Portfolio Transactions".
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from envs.trading import execution, schedules
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Policy
from jaxrl.evaluation.paths import mean_path, open_loop


def of_policies(
    key: jax.Array, env: Environment, policy: Callable[[Environment, Any], Policy], policies: Any, num_paths: int
) -> dict[str, jax.Array]:
    """Measures the sales of N policies, as means over the same paths.

    Args:
        key, policy, policies, num_paths: see ``jaxrl.evaluation.paths.mean_path``.
        env: from ``envs.trading.execution.make``.

    Returns:
        ``sold``, the lots sold at each step, and ``cost``, the cost of the sales up to it, quote currency; float32[N, T].
    """
    played = mean_path(key, env, policy, policies, num_paths)
    return {"sold": played.action, "cost": -played.earned * env.params.cost_scale}


def of_schedules(key: jax.Array, env: Environment, num_paths: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the name of each schedule that a learner is compared with, and its sales as ``of_policies`` measures them.

    Those in whole lots sell on the paths of the key; the "quadratic programme", the optimum for the expected impact in parts of
    lots, has its costs in closed form.

    Args:
        key, env, num_paths: as for ``of_policies``; with the same key the paths are the same.
    """
    lots, impacts = env.params.lots, execution.mean_impacts(env.params)
    fixed = schedules.in_whole_lots(lots, *impacts)
    played = of_policies(key, env, open_loop, jnp.asarray(list(fixed.values()), jnp.int32), num_paths)
    for place, method in enumerate(fixed):
        yield method, {name: values[place] for name, values in played.items()}
    best = schedules.optimal(lots, *impacts)
    yield "quadratic programme", {"sold": best, "cost": schedules.cost_so_far(best, *impacts)}
