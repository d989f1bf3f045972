"""Policy iteration: exact evaluation and greedy improvement in turn.

Source: Howard (1960); Sutton and Barto (2018), section 4.3; Puterman (1994), section 6.4.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import require_within
from jaxrl.solvers.fixed_point import deciding, rounding_of
from jaxrl.solvers.markov_chain import Chain, discounted_sums, doubling_is_faster
from jaxrl.solvers.mdp.backups import absolute_rewards, action_values, going_on, legal
from jaxrl.solvers.mdp.endless import require_values
from jaxrl.solvers.mdp.problem import require_problem
from jaxrl.solvers.mdp.solution import Solution


class _Candidate(NamedTuple):
    """A deterministic policy on the way to the best one.

    action: int[X]. value: float[X], its value. size: float[X], its value if all rewards were positive, the scale of rounding.
    complete: bool[], whether these are converged.
    """

    action: jax.Array
    value: jax.Array
    size: jax.Array
    complete: jax.Array


def policy_iteration(model: TabularModel, gamma: jax.Array | float, max_improvements: jax.Array | int = 1_000) -> Solution:
    """Alternates exact evaluation and greedy improvement until the policy is stable (Howard 1960; Sutton & Barto, section 4.3).

    An action is only replaced by one that is better by more than rounding, which is relative to the rewards to come from that
    state. A new policy is only kept if the gain is there when it is evaluated. So ties cannot make the policy cycle.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1]; at 1 every policy on the way must terminate.
        max_improvements: an end in case of numerical trouble.

    Raises:
        ConfigError: gamma lies outside [0, 1], ``max_improvements`` is below 1, or gamma is 1 although some policy earns for
            ever, or every one goes on being paid; of traced values the last is not asked.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    require_within("policy_iteration", "max_improvements", max_improvements, 1, np.inf, "The default is 1000.")
    require_problem("policy_iteration", model, gamma)
    require_values("policy_iteration", model, gamma)
    dense = doubling_is_faster(model.num_states, model.next_state.shape[-1], gamma)
    return _policy_iteration(model.tables, gamma, max_improvements, dense)


@partial(jax.jit, static_argnames="dense")
def _policy_iteration(model, gamma, max_improvements, dense) -> Solution:
    absolute = dataclasses.replace(model, reward=jnp.abs(model.reward))
    outcomes = model.next_state.shape[-1]
    states = jnp.arange(model.num_states)

    def candidate(action: jax.Array) -> _Candidate:
        next_state, chance, reward, terminated = (
            jnp.asarray(table)[states, action] for table in (model.next_state, model.probability, model.reward, model.terminated)
        )
        chance = jnp.asarray(chance, jnp.result_type(float))
        paid = jnp.stack([(chance * reward).sum(-1), (chance * jnp.abs(reward)).sum(-1)], axis=1)
        chain = Chain(next_state, going_on(terminated, chance, gamma), jnp.asarray(gamma))
        sums = discounted_sums(chain, paid, negligible=jnp.finfo(paid.dtype).tiny, dense=dense)
        return _Candidate(action, sums.value[:, 0], sums.value[:, 1], sums.converged)

    def improve(carry):
        current, _, count = carry
        values = legal(model, action_values(model, current.value, gamma))
        size = jnp.where(model.action_mask, action_values(absolute, current.size, gamma), 0).max(-1)
        gain = values.max(-1) - jnp.take_along_axis(values, current.action[:, None], 1)[:, 0]
        better = gain > rounding_of(outcomes, size)
        following = candidate(jnp.where(better, values.argmax(-1), current.action))
        # Both in units of the rewards to come, so that states far from all rewards count like those near them. In theory the
        # whole gain is there, and more.
        unit = jnp.where(better, size, 1)
        realised = jnp.where(better, (following.value - current.value) / unit, 0).sum()
        gained = better.any() & (realised >= 0.5 * jnp.where(better, gain / unit, 0).sum())
        kept = jax.tree.map(lambda new, old: jnp.where(gained, new, old), following, current)
        return kept, gained, count + 1

    start = (candidate(jnp.argmax(model.action_mask, axis=-1)), jnp.bool_(True), jnp.int32(0))
    best, going, count = jax.lax.while_loop(lambda carry: carry[1] & (carry[2] < max_improvements), improve, start)
    values = legal(model, action_values(model, best.value, gamma))
    residual = jnp.abs(values.max(-1) - best.value).max()
    rounding = rounding_of(outcomes, deciding(values, absolute_rewards(model), outcomes) + jnp.abs(best.value).max())
    discounted = jnp.asarray(gamma) < 1
    bound = jnp.where(discounted, (residual + rounding) / jnp.where(discounted, 1 - gamma, 1), jnp.inf)
    return Solution(best.value, values, count, residual, bound, ~going & best.complete)
