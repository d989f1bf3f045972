"""The leak test: whatever is shown, done or paid up to row t of the data must not depend on the rows after t.

``check_causality`` plays an environment that is built on a table of data (prices, liquidity, demand), then changes all rows after
a cut and plays it again with the same random numbers. ``check_causal_function`` does the same with a function of the data:
features, or the signals of a strategy. Both compare only what lies at or before the cut, and make sure that what lies after it
does change, since a test of data that nothing reads would prove nothing.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.env import Environment, PyTree
from jaxrl.errors import EnvironmentError, require
from jaxrl.rollout import Policy, View, uniform_policy

NUM_ENVS = 16
NUM_STEPS = 48  # of an episode that are looked at
NUM_CUTS = 8
SPREAD = 0.5  # of the log of the factors by which rows are changed


def check_causality(
    build: Callable[[PyTree], Environment],
    data: PyTree,
    seen: Callable[[PyTree], jax.Array],
    key: jax.Array,
    policy: Callable[[Environment], Policy] = uniform_policy,
    axis: int = -1,
) -> None:
    """Checks that an environment, and a policy in it, look at no row of the data before its time.

    Args:
        build: ``(data) -> Environment``, the factory under test.
        data: PyTree of float arrays whose rows along ``axis`` are in the order of time.
        seen: ``(state) -> int32[]``, the last row that may be known in a state.
        key: one key for episodes, actions and changes.
        policy: ``(env) -> policy`` whose actions are looked at; it must remember nothing.
        axis: the axis of time in every array of the data.

    Raises:
        EnvironmentError: an observation, an action, a mask, a reward or an end depends on later rows, or nothing depends on the
            data at all.
    """
    play_key, change_key = jax.random.split(key)
    env = build(data)
    original = _play(env, policy(env), seen, play_key)
    rows = np.unique(original["seen"])
    changes_seen = False
    for cut in np.unique(rows[:-1][np.linspace(0, len(rows) - 2, NUM_CUTS).astype(int)]) if len(rows) > 1 else ():
        number = int(cut - rows[0])  # where nothing has been seen at first, cuts begin at -1
        other = build(_changed_after(int(cut), data, jax.random.fold_in(change_key, number), axis))
        changed = _play(other, policy(other), seen, play_key)
        here, there = original["seen"][:-1], original["seen"][1:]
        for name, known in (
            ("obs", original["seen"]),
            ("mask", original["seen"]),
            ("action", here),
            ("reward", there),
            ("terminated", there),
        ):
            for one, two in zip(jax.tree.leaves(original[name]), jax.tree.leaves(changed[name]), strict=True):
                differs = _differs(one, two, known.ndim)
                changes_seen |= bool(differs.any())
                _require_none_early(name, known, differs & (known <= cut), int(cut))
    must = "something must depend on the rows of the data that are changed"
    fix = "Make sure that build uses its argument, and that seen counts the rows."
    require(changes_seen, "check_causality", must, "no difference", fix, EnvironmentError)


def check_causal_function(function: Callable[[jax.Array], Any], data: jax.Array | np.ndarray, key: jax.Array) -> None:
    """Checks that row t of what a function returns follows from the rows up to t of its input.

    Args:
        function: maps float[T] to an array [T, ...]: features, or the weights of a strategy.
        data: float[T].
        key: of the changes.

    Raises:
        EnvironmentError: an entry depends on later rows, or none depends on the data at all.
    """
    original = np.asarray(function(jnp.asarray(data, jnp.float32)))
    rows = np.arange(len(original))
    changes_seen = False
    for cut in np.linspace(0, len(rows) - 2, NUM_CUTS).astype(int):
        changed = _changed_after(int(cut), data, jax.random.fold_in(key, int(cut)), 0)
        differs = _differs(original, np.asarray(function(changed)), 1)
        changes_seen |= bool(differs.any())
        _require_none_early("the function's result", rows, differs & (rows <= cut), int(cut))
    fix = "Make sure that the function uses its argument."
    require(changes_seen, "check_causal_function", "the result must depend on the data", "no difference", fix, EnvironmentError)


def _require_none_early(name: str, known: np.ndarray, early: np.ndarray, cut: int) -> None:
    if not early.any():
        return
    raise EnvironmentError(
        f"check_causality: {name} must not depend on the rows after what has been seen, got a change at row "
        f"{int(known[early].min())} when only the rows after {cut} were changed. Compute it from the rows up to its own."
    )


def _differs(one: np.ndarray, two: np.ndarray, leading: int) -> np.ndarray:
    """Returns where two records differ by more than rounding, bool[leading axes]."""
    real = np.issubdtype(one.dtype, np.floating)
    same = np.asarray(np.isclose(one, two, rtol=1e-5, atol=1e-6, equal_nan=True) if real else one == two)
    return np.logical_not(np.all(same.reshape(*same.shape[:leading], -1), axis=-1))


def _changed_after(cut: int, data: PyTree, key: jax.Array, axis: int) -> PyTree:
    leaves, structure = jax.tree.flatten(data)
    changed = []
    for leaf, leaf_key in zip(leaves, jax.random.split(key, len(leaves)), strict=True):
        leaf = jnp.moveaxis(jnp.asarray(leaf, jnp.float32), axis, -1)
        factor = jnp.exp(SPREAD * jax.random.normal(leaf_key, leaf.shape))
        later = jnp.arange(leaf.shape[-1]) > cut
        changed.append(jnp.moveaxis(jnp.where(later, leaf * factor, leaf), -1, axis))
    return jax.tree.unflatten(structure, changed)


def _play(env: Environment, policy: Policy, seen: Callable, key: jax.Array) -> dict[str, Any]:
    """Plays ``NUM_ENVS`` episodes without resets and records [K + 1, E] what was shown, and [K, E] what was done and paid."""
    reset_key, policy_key, step_key = jax.random.split(key, 3)
    num_steps = min(NUM_STEPS, env.max_steps)

    @jax.jit
    def play(env):
        def mask_of(state):
            return None if env.action_mask_fn is None else jax.vmap(env.action_mask)(state)

        def step(carry, keys):
            obs, state = carry
            policy_key, step_keys = keys
            action = policy(policy_key, View(obs, mask_of(state), ())).action
            step = jax.vmap(env.step)(step_keys, state, action)
            shown = {"obs": obs, "mask": mask_of(state), "seen": jax.vmap(seen)(state)}
            return (step.obs, step.state), (shown, {"action": action, "reward": step.reward, "terminated": step.terminated})

        start = jax.vmap(env.reset)(jax.random.split(reset_key, NUM_ENVS))
        keys = jax.random.split(policy_key, num_steps), jax.random.split(step_key, (num_steps, NUM_ENVS))
        (obs, state), (shown, done) = jax.lax.scan(step, start, keys)
        last = {"obs": obs, "mask": mask_of(state), "seen": jax.vmap(seen)(state)}
        return jax.tree.map(lambda rows, end: jnp.concatenate([rows, end[None]]), shown, last) | done

    return jax.tree.map(np.asarray, play(env))
