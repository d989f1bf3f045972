"""Optimisers of networks: Adam under a bound on the norm of the gradient, steps of it, penalties, steps up to a divergence."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl.core.averages import counted

# So many parameters at most are made one vector: Adam then is a handful of kernels in place of some for each array. Measured on a
# CPU: 6 % more steps/s of PPO with 2 x 64 units, none with 2 x 128, and with 2 x 256 (72,000 parameters) copying the vector costs
# a third to a half of the steps of CQL.
MOST_FLAT = 2**15


def adam(learning_rate: Any, max_grad_norm: Any, eps: float) -> optax.GradientTransformation:
    """Returns Adam (Kingma and Ba 2015) on gradients whose global norm is cut.

    Args:
        learning_rate: a number, which may be traced, or a schedule: ``(int32[] steps taken) -> float32[]``.
        max_grad_norm: the largest global norm of a gradient; infinite for none.
        eps: added to the root of the second moment.
    """
    unbounded = isinstance(max_grad_norm, float) and max_grad_norm == np.inf
    # The branch of this cut that is not taken is NaN where the gradient is 0 and the bound infinite: no bound, no cut.
    cut = optax.identity() if unbounded else optax.clip_by_global_norm(max_grad_norm)
    each = optax.chain(cut, optax.adam(learning_rate, eps=eps))
    flat = optax.flatten(each)

    def suited(tree: Any) -> optax.GradientTransformation:
        return flat if sum(leaf.size for leaf in jax.tree.leaves(tree)) <= MOST_FLAT else each

    def init(params: Any) -> Any:
        return suited(params).init(params)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        return suited(updates).update(updates, state, params)

    return optax.GradientTransformation(init, update)


def annealed(learning_rate: Any, num_steps: Any) -> Callable:
    """Returns the schedule that falls linearly from ``learning_rate`` to 0 over ``num_steps`` gradient steps and stays there.

    Both may be traced, which ``optax.linear_schedule`` does not allow of the steps; an infinite number keeps the rate constant.
    """
    return lambda count: learning_rate * jnp.maximum(0.0, 1.0 - jnp.float32(count) / num_steps)


def annealed_adam(config: Any) -> optax.GradientTransformation:
    """Returns the optimiser of proximal policy optimisation, whose rate falls to 0 over a number of updates.

    Args:
        config: has ``learning_rate``, ``max_grad_norm``, ``anneal_updates``, ``num_epochs`` and ``num_minibatches``.

    Source: Huang et al. (2022), "37 implementation details", details 3, 4 and 11.
    """
    num_steps = config.anneal_updates * config.num_epochs * config.num_minibatches
    return adam(annealed(config.learning_rate, num_steps), config.max_grad_norm, eps=1e-5)


def penalised(objective: Callable, penalty: Callable, weight: Any) -> Callable:
    """Returns an objective with a penalty of the parameters added to its loss, and beside its metrics as ``penalty``.

    Args:
        objective: ``(params, batch) -> (float32[], metrics)``, a loss.
        penalty: ``(params) -> float32[]``.
        weight: a number of at least 0, which may be traced.
    """

    def total(params, batch):
        loss, metrics = objective(params, batch)
        size = penalty(params)
        return loss + weight * size, metrics | {"penalty": size}

    return total


def gradient_step(loss: Callable, optimiser: optax.GradientTransformation) -> Callable:
    """Returns one step down the gradient of a loss: ``((params, opt_state), batch) -> ((params, opt_state), metrics)``.

    Args:
        loss: ``(params, batch) -> (float32[], metrics)``.
        optimiser: of the parameters.
    """

    def step(carry, batch):
        params, opt_state = carry
        gradient, metrics = jax.grad(loss, has_aux=True)(params, batch)
        updates, opt_state = optimiser.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), metrics

    return step


def steps_within(step: Callable, target_kl: Any) -> Callable:
    """Returns a step that is made only while policies are near: ``((carry, near), batch) -> ((carry, near), metrics)``.

    near: bool[], True at first. It turns False for good at the first batch whose approximate KL divergence, measured before the
    step, exceeds the target; neither this step nor any later one is made then. Under ``vmap`` seeds stop one by one, so that all
    batches are computed and the results of those after the end are left out: of the carry and of the metrics.

    Args:
        step: ``(carry, batch) -> (carry, metrics)``, with ``approximate_kl`` among the metrics, an Average.
        target_kl: float[], positive, may be traced.

    Returns:
        The metrics are averages over the batches up to the first that exceeds the target, that one included, and
        ``gradient_steps``: float32[], 1 where the step was made, else 0.
    """

    def scheduled(leaf):
        return isinstance(leaf, optax.ScaleByScheduleState)

    def guarded(state, batch):
        carry, near = state
        stepped, metrics = step(carry, batch)
        kl = metrics["approximate_kl"]
        made = near & (kl.total / jnp.maximum(kl.count, 1.0) <= target_kl)

        def kept(new, old):
            # A learning rate that falls goes on falling, so that it is 0 when it should be.
            return new if scheduled(new) else jnp.where(made, new, old)

        carry = jax.tree.map(kept, stepped, carry, is_leaf=scheduled)
        return (carry, made), counted(metrics, near) | {"gradient_steps": made.astype(jnp.float32)}

    return guarded
