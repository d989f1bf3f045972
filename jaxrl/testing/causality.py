"""The leak test: whatever is shown, done or paid up to row t of the data must not depend on the rows after t.

``check_causality`` plays an environment that is built on a table of data (prices, liquidity, demand), then changes all rows after
a cut and plays it again with the same random numbers. ``check_causal_function`` does the same with a function of the data:
features, or the signals of a strategy. Both compare only what lies at or before the cut, and make sure that what lies after it
does change, since a test of data that nothing reads would prove nothing.

Later rows are changed in five ways, for a leak need not notice each: noise; noise so wild that it moves every quantile; calm, all
of them like the row at the cut; a rise and a fall to twenty times and a twentieth. All but calm are factors, which leave zeros.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.rollout import Policy, View, uniform_policy
from jaxrl.errors import EnvError, require

NUM_ENVS = 64
NUM_CUTS = 16
CHANGES = ("noise", "wild noise", "calm", "rise", "fall")
NOISE, WILD_NOISE, TREND = 0.5, 2.0, 3.0  # of the log of the factors by which rows are changed


class Coverage(NamedTuple):
    """The coverage of a leak test.

    first, last: rows of the data, the first and the last after which rows were changed. cuts: how many rows these are.
    compared: how many pairs of records lie behind them, over episodes, steps, cuts and ways of change.
    """

    first: int
    last: int
    cuts: int
    compared: int


def check_causality(
    build: Callable[[PyTree], Environment],
    data: PyTree,
    seen: Callable[[PyTree], jax.Array],
    key: jax.Array,
    policy: Callable[[Environment], Policy] = uniform_policy,
    axis: int = -1,
    num_steps: int | None = None,
    num_envs: int = NUM_ENVS,
    num_cuts: int = NUM_CUTS,
) -> Coverage:
    """Checks that an environment, and a policy in it, look at no row of the data before its time.

    A pass says: in ``num_envs`` episodes from starts that the environment draws, each followed to its time limit, no observation,
    action, mask, reward, end or place in the data changed at or before a cut when the rows after it were changed; this was tried
    at ``num_cuts`` rows spread evenly over all that the episodes saw. So it finds, for example, a statistic of the whole sample
    in a feature, and tomorrow's price wherever one of the cuts falls. It cannot find a leak at rows that no episode sees, one
    that reaches less far than from a row to the next cut after it, one that takes an action that was not tried, or one below
    rounding (a part in 1e5).

    Args:
        build: ``(data) -> Environment``, the factory under test; it must take data that are changed by factors of thousands.
        data: PyTree of float arrays whose rows along ``axis`` are in the order of time.
        seen: ``(state) -> int32[]``, the last row that may be known in a state.
        key: one key for episodes, actions and changes.
        policy: ``(env) -> policy`` whose actions are looked at; it must remember nothing.
        axis: the axis of time in every array of the data.
        num_steps: of each episode that are looked at; None for all until the time limit.
        num_envs: episodes.
        num_cuts: rows after which the data are changed, in five ways each.

    Returns:
        The coverage.

    Raises:
        EnvError: an observation, an action, a mask, a reward, an end or a place depends on later rows, or nothing depends
            on the data at all.
    """
    for name, count in (("num_envs", num_envs), ("num_cuts", num_cuts), ("num_steps", 1 if num_steps is None else num_steps)):
        require(count >= 1, "check_causality", f"{name} must be at least 1", count, f"Set {name} to 1 or more.")
    play_key, change_key = jax.random.split(key)
    env = build(data)
    steps = env.max_steps if num_steps is None else min(num_steps, env.max_steps)
    play = _player(policy, seen, play_key, steps, num_envs)
    original = play(env)
    rows = np.unique(original["seen"])
    cuts = _spread(rows[:-1], num_cuts)
    changes_seen, compared = False, 0
    for cut, (number, change) in itertools.product(cuts, enumerate(CHANGES)):
        # Where nothing has been seen at first, cuts begin at -1.
        row_key = jax.random.fold_in(jax.random.fold_in(change_key, int(cut - rows[0])), number)
        changed = play(build(_changed_after(int(cut), data, row_key, axis, change)))
        compared += int((original["seen"] <= cut).sum())
        for name, known, differs in _differences(original, changed):
            changes_seen |= bool(differs.any())
            _require_none_early("check_causality", name, known, differs & (known <= cut), int(cut), change)
    must = "something must depend on the rows of the data that are changed"
    fix = "Make sure that build uses its argument, and that seen counts the rows."
    require(changes_seen, "check_causality", must, "no difference", fix, EnvError)
    return Coverage(int(cuts[0]), int(cuts[-1]), len(cuts), compared)


def check_causal_function(
    function: Callable[[jax.Array], Any], data: jax.Array | np.ndarray, key: jax.Array, num_cuts: int = 2 * NUM_CUTS
) -> Coverage:
    """Checks that row t of what a function returns follows from the rows up to t of its input.

    A pass says: no row at or before a cut changed when the rows after it were changed, at ``num_cuts`` rows spread evenly over
    the data, the first and the last but one among them. It cannot find a leak that reaches less far than from a row to the next
    cut after it, nor one below rounding. As many cuts as rows leave only the latter.

    Args:
        function: maps float[T] to an array [T, ...]: features, or the weights of a strategy.
        data: float[T].
        key: of the changes.
        num_cuts: rows after which the data are changed, in five ways each.

    Returns:
        The coverage.

    Raises:
        EnvError: an entry depends on later rows, or none depends on the data at all.
    """
    where = "check_causal_function"
    require(num_cuts >= 1, where, "num_cuts must be at least 1", num_cuts, "Set num_cuts to 1 or more.")
    original = np.asarray(function(jnp.asarray(data, jnp.float32)))
    rows = np.arange(len(original))
    aligned = original.ndim >= 1 and len(original) == len(data) >= 2
    require(
        aligned,
        where,
        "there must be a row of the result for each of the data",
        original.shape,
        "Keep all rows.",
        EnvError,
    )
    cuts = _spread(rows[:-1], num_cuts)
    changes_seen, compared = False, 0
    for cut, (number, change) in itertools.product(cuts, enumerate(CHANGES)):
        row_key = jax.random.fold_in(jax.random.fold_in(key, int(cut)), number)
        changed = _changed_after(int(cut), data, row_key, 0, change)
        differs = _differs(original, np.asarray(function(changed)), 1)
        changes_seen |= bool(differs.any())
        compared += int(cut) + 1
        _require_none_early(where, "the function's result", rows, differs & (rows <= cut), int(cut), change)
    fix = "Make sure that the function uses its argument."
    require(changes_seen, where, "the result must depend on the data", "no difference", fix, EnvError)
    return Coverage(int(cuts[0]), int(cuts[-1]), len(cuts), compared)


def leaks(check: Callable[..., Coverage], *arguments: Any) -> bool:
    """Returns whether one of the two checks fails with these arguments, to be recorded where an error would end a run."""
    try:
        check(*arguments)
    except EnvError:
        return True
    return False


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns rows that lie evenly among these, the first and the last of them included."""
    must = "rows of the data must be seen one after another"
    fix = "Make sure that seen counts the rows."
    require(len(rows) >= 1, "check_causality", must, "a single row", fix, EnvError)
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]


def _require_none_early(where: str, name: str, known: np.ndarray, early: np.ndarray, cut: int, change: str) -> None:
    if not early.any():
        return
    raise EnvError(
        f"{where}: {name} must not depend on the rows after what has been seen, got a change at row {int(known[early].min())} "
        f"when only the rows after {cut} were changed ({change}). Compute it from the rows up to its own."
    )


def _differences(original: dict[str, Any], changed: dict[str, Any]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields for each array of two plays its name, the last row that it may depend on, and where the plays differ in it.

    Both of shape [K + 1, E] of what was shown, [K, E] of what was done and paid: an action may depend on what was shown before
    it, a reward and an end on what is shown after them.
    """
    seen = original["seen"]
    times = {"seen": seen, "obs": seen, "mask": seen, "action": seen[:-1], "reward": seen[1:], "terminated": seen[1:]}
    for name, known in times.items():
        for one, two in zip(jax.tree.leaves(original[name]), jax.tree.leaves(changed[name]), strict=True):
            yield name, known, _differs(one, two, known.ndim)


def _differs(one: np.ndarray, two: np.ndarray, leading: int) -> np.ndarray:
    """Returns where two records differ by more than rounding, bool[leading axes]; each trailing entry has its own scale."""
    if np.issubdtype(one.dtype, np.floating):
        largest = np.where(np.isfinite(one), np.abs(one), 0).max(tuple(range(leading)), initial=0)
        same = np.abs(one - two) <= 1e-5 * np.abs(two) + 1e-6 * np.minimum(largest, 1)
        same |= (one == two) | (np.isnan(one) & np.isnan(two))
    else:
        same = one == two
    return np.logical_not(np.all(same.reshape(*same.shape[:leading], -1), axis=-1))


def _changed_after(cut: int, data: PyTree, key: jax.Array, axis: int, change: str) -> PyTree:
    leaves, structure = jax.tree.flatten(data)
    changed = []
    for leaf, leaf_key in zip(leaves, jax.random.split(key, len(leaves)), strict=True):
        leaf = jnp.moveaxis(jnp.asarray(leaf, jnp.float32), axis, -1)
        size = leaf.shape[-1]
        later = jnp.arange(size) > cut
        if change == "calm":
            other = jnp.broadcast_to(leaf[..., max(cut, 0), None], leaf.shape)
        elif change in ("rise", "fall"):
            way = (TREND if change == "rise" else -TREND) / max(size - 1 - cut, 1)
            other = leaf * jnp.exp(way * jnp.maximum(jnp.arange(size) - cut, 0))
        else:
            size_of_noise = NOISE if change == "noise" else WILD_NOISE
            other = leaf * jnp.exp(size_of_noise * jax.random.normal(leaf_key, leaf.shape, jnp.float32))
        changed.append(jnp.moveaxis(jnp.where(later, other, leaf), -1, axis))
    return jax.tree.unflatten(structure, changed)


def _player(policy: Callable[[Environment], Policy], seen: Callable, key: jax.Array, num_steps: int, num_envs: int) -> Callable:
    """Returns ``(env) -> records`` of episodes without resets: [K + 1, E] of what was shown, [K, E] of what was done and paid."""
    reset_key, policy_key, step_key = jax.random.split(key, 3)

    @jax.jit
    def play(env):
        act = policy(env)

        def shown(obs, state):
            mask = None if env.action_mask_fn is None else jax.vmap(env.action_mask)(state)
            return {"obs": obs, "mask": mask, "seen": jax.vmap(seen)(state)}

        def step(carry, keys):
            obs, state = carry
            policy_key, step_keys = keys
            before = shown(obs, state)
            action = act(policy_key, View(obs, before["mask"], ())).action
            step = jax.vmap(env.step)(step_keys, state, action)
            return (step.obs, step.state), (before, {"action": action, "reward": step.reward, "terminated": step.terminated})

        start = jax.vmap(env.reset)(jax.random.split(reset_key, num_envs))
        keys = jax.random.split(policy_key, num_steps), jax.random.split(step_key, (num_steps, num_envs))
        (obs, state), (records, done) = jax.lax.scan(step, start, keys)
        return jax.tree.map(lambda rows, end: jnp.concatenate([rows, end[None]]), records, shown(obs, state)) | done

    return lambda env: jax.tree.map(np.asarray, play(env))
