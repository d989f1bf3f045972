"""Backward induction: what can be earned in the steps that are left, and the policy for each of these steps.

    V_T(x) = final(x)
    for t = T - 1, ..., 0
        Q_t(x, a) = sum_k p_k [r_t,k + gamma (1 - terminated_k) V_{t+1}(x'_k)]
        pi_t(x)   = argmax_a Q_t(x, a);   V_t(x) = max_a Q_t(x, a)

The best policy depends on time: with few steps left a short risky way may be best, with many a long safe one. The answer is
checked by its dual: the visits of the policy are carried forward from the first state, and what is paid on the way, weighted by
them, must be the value of the first state, which was carried backward. For millions of states and a value without its policy:
``host.finite_horizon``.

Source: Bellman (1957); Puterman (1994), section 4.5 (the backward induction algorithm).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import is_traced, require, require_count, require_finite
from jaxrl.solvers.fixed_point import rounding_of
from jaxrl.solvers.mdp.backups import going_on, legal
from jaxrl.solvers.mdp.problem import require_policy, require_problem, require_values
from jaxrl.solvers.mdp.solution import at_start


class FiniteHorizon(NamedTuple):
    """Values by time.

    value: float[T + 1, X], with T, T - 1, ..., 0 steps left.
    action_value: float[T, X, A], minus infinity where an action is illegal.
    policy: float[T, X, A], the policy that the values belong to; the first action among equals.
    gap: float[], by how much the expected return of the policy, counted forward by its visits, misses the value of the first
        state: rounding alone, where all is well.
    error_bound: float[], how far rounding can have carried a value from the truth, at any time.
    """

    value: jax.Array
    action_value: jax.Array
    policy: jax.Array
    gap: jax.Array
    error_bound: jax.Array

    def start_value(self, model: TabularModel) -> jax.Array:
        """Returns the expected value of the first state with all steps left, float[]."""
        return at_start(model, self.value[0])


def backward_induction(
    model: TabularModel,
    num_steps: int,
    gamma: jax.Array | float = 1.0,
    reward: Any = None,
    final: Any = None,
) -> FiniteHorizon:
    """Returns the best that can be done in a number of steps, and the time-dependent policy that does it.

    It compiles and can be vmapped over models, rewards and discounts. Values and policy take 8 T X A bytes in float32.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        num_steps: T, at least 1; static.
        gamma: discount in [0, 1].
        reward: float[T, X, A, K], rewards that change with time; by default the model's own at all times.
        final: float[X], the value of the state in which the time is over; by default 0.

    Raises:
        ConfigError: ``num_steps`` is no integer of at least 1, gamma lies outside [0, 1], or a table has another shape or is not
            finite.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "backward_induction"
    reward, final = _require(where, model, num_steps, gamma, reward, final)
    return _induction(model.tables, None, gamma, reward, final, num_steps)


def evaluation(
    model: TabularModel, policy: Any, gamma: jax.Array | float = 1.0, reward: Any = None, final: Any = None
) -> FiniteHorizon:
    """Returns what a time-dependent policy earns; arguments and errors as for ``backward_induction``.

    Args:
        model: the environment's tables.
        policy: float[T, X, A], probabilities of the actions at every step.
        gamma, reward, final: see there.
    """
    where = "finite_horizon.evaluation"
    num_steps = np.shape(policy)[0] if np.ndim(policy) == 3 else 0
    require(num_steps >= 1, where, "the policy must have shape [T, X, A]", np.shape(policy), "Give one for each step.")
    reward, final = _require(where, model, num_steps, gamma, reward, final)
    policy = require_policy(where, policy, (num_steps, model.num_states, model.num_actions), model.action_mask)
    return _induction(model.tables, policy, gamma, reward, final, num_steps)


def _require(where: str, model: TabularModel, num_steps: Any, gamma: Any, reward: Any, final: Any) -> tuple[Any, Any]:
    """Returns the rewards, None for the model's own, and the final values; raises the errors of ``backward_induction``."""
    require_count(where, "num_steps", num_steps)
    require_problem(where, model, gamma)
    if reward is not None:
        shape = (num_steps, *np.shape(model.probability))
        reward = reward if is_traced(reward) else require_finite(where, "reward", reward)
        require(reward.shape == shape, where, f"reward must have shape {list(shape)}", reward.shape, "None is the model's own.")
    if final is None:
        return reward, np.zeros(model.num_states)
    return reward, require_values(where, model, final if is_traced(final) else require_finite(where, "final", final))


@partial(jax.jit, static_argnames="num_steps")
def _induction(model, policy, gamma, reward, final, num_steps) -> FiniteHorizon:
    dtype = jnp.result_type(float)
    chance = jnp.asarray(model.probability, dtype)
    onward = going_on(model.terminated, chance, gamma)
    own = jnp.asarray(model.reward, dtype) if reward is None else None
    terms = chance.shape[-1] * (1 if policy is None else chance.shape[1])

    def paid(given) -> jax.Array:
        return (chance * jnp.where(chance > 0, own if own is not None else given, 0.0)).sum(-1)

    def backward(carry, step):
        value, bound = carry
        given, chosen = step
        values = legal(model, paid(given) + (onward * value[model.next_state]).sum(-1))
        chosen = jax.nn.one_hot(values.argmax(-1), values.shape[-1], dtype=dtype) if chosen is None else chosen
        value = (chosen * jnp.where(chosen > 0, values, 0.0)).sum(-1)
        largest = jnp.where(model.action_mask[..., None] & (chance > 0), jnp.abs(own if own is not None else given), 0.0).max()
        bound = gamma * bound + rounding_of(terms, largest + jnp.abs(value).max())
        return (value, bound), (value, values, chosen, bound)

    def forward(visits, step):
        given, chosen = step
        taken = visits[:, None] * chosen
        earned = (taken * paid(given)).sum()
        return jnp.zeros_like(visits).at[model.next_state].add(taken[..., None] * onward), earned

    final = jnp.asarray(final, dtype)
    read = rounding_of(0, jnp.abs(final).max())  # the final values are rounded as they are read
    (first, _), answers = jax.lax.scan(backward, (final, read), (reward, policy), length=num_steps, reverse=True)
    value, values, chosen, bounds = answers
    initial = jnp.asarray(model.initial, dtype)
    visits, earned = jax.lax.scan(forward, initial, (reward, chosen))
    gap = jnp.abs(earned.sum() + (visits * final).sum() - (initial * first).sum())
    return FiniteHorizon(jnp.concatenate([value, final[None]]), values, chosen, gap, jnp.maximum(bounds.max(), read))
