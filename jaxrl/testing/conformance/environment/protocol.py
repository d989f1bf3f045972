"""Requirements of every environment: the record, the structure of what its functions return, purity, and sound values."""

import dataclasses
import itertools
from collections.abc import Callable
from functools import partial
from typing import cast

import jax
import numpy as np

from jaxrl.core import contracts, masks
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.spaces import Space
from jaxrl.errors import EnvError
from jaxrl.testing.conformance.comparison import first_difference, on_host, take
from jaxrl.testing.conformance.environment.subject import (
    BATCH,
    WHERE,
    Subject,
    batched_resets,
    batched_steps,
    require,
    reset_shapes,
    single_step,
)
from jaxrl.testing.conformance.programs import draws_64_bits, draws_from_another_key, text, traced_afresh

# ---- the record


def check_record(subject: Subject) -> None:
    contracts.require_record(WHERE, subject.env)


def check_static_fields_equal_when_rebuilt(subject: Subject) -> None:
    for field in dataclasses.fields(subject.env):
        value = getattr(subject.env, field.name)
        if field.name == "params" or value is None:
            continue
        if field.name.endswith("_fn"):
            must = f"{field.name} must be a module-level function or a frozen dataclass of such"
            fix = "Otherwise an environment built again compiles again; move what it closes over into params."
            require(contracts.equal_when_rebuilt(value), must, value, fix)
        try:
            hash(value)
        except TypeError as error:
            raise EnvError(
                f"{WHERE}: {field.name} must be hashable, got {value!r}. Use numbers and tuples; keep arrays in params."
            ) from error


def check_params_are_arrays(subject: Subject) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(subject.env.params):
        where = "params" + jax.tree_util.keystr(path)
        array = isinstance(leaf, jax.Array | np.ndarray | np.generic)
        require(array, f"{where} must be an array", leaf, "Write jnp.float32(...) or jnp.int32(...).")
        narrow = leaf.dtype not in (np.float64, np.int64, np.uint64, np.complex128)
        require(narrow, f"{where} must have at most 32 bits", str(leaf.dtype), "Write dtype jnp.float32 or jnp.int32.")
        weak = getattr(leaf, "weak_type", False)
        require(not weak, f"{where} must have a dtype of its own", "a weak type", "Write dtype jnp.float32 or jnp.int32.")


# ---- structure


def check_reset_structure(subject: Subject) -> None:
    reset_shapes(subject)


def check_step_structure(subject: Subject) -> None:
    jax.eval_shape(partial(contracts.transition, WHERE, subject.env), subject.key, *reset_shapes(subject))


def check_mask_structure(subject: Subject) -> None:
    jax.eval_shape(partial(contracts.legal, WHERE, subject.env), reset_shapes(subject)[1])


def check_global_observation_structure(subject: Subject) -> None:
    jax.eval_shape(partial(contracts.seen_by_all, WHERE, subject.env), reset_shapes(subject)[1])


def check_dtypes_are_explicit(subject: Subject) -> None:
    """Under jax_enable_x64 whatever was given no dtype turns into 64 bits, and then meets what was; other numbers are drawn."""
    where, expected, env = f"{WHERE} (with jax_enable_x64)", reset_shapes(subject), subject.env
    with jax.enable_x64(True):
        opening = partial(contracts.opening, where, env)
        reset, wide = jax.make_jaxpr(opening, return_shape=True)(jax.random.key(0))
        found = contracts.mismatch(expected, wide)
        fix = "Give a dtype wherever an array is made: jnp.float32(...), jnp.zeros(shape, jnp.float32)."
        require(not found, "with jax_enable_x64 a state must keep its dtypes", found, fix)
        step = jax.make_jaxpr(partial(contracts.transition, where, env))(jax.random.key(0), *wide)
    for who, program in (("reset_fn", reset), ("step_fn", step)):
        must = f"with jax_enable_x64 {who} must draw the same random numbers"
        fix = "Give a dtype wherever random numbers are drawn: jax.random.uniform(key, shape, jnp.float32)."
        require(not draws_64_bits(program.jaxpr), must, "random bits of another width", fix)


# ---- purity


def _functions(subject: Subject) -> tuple[tuple[str, Callable, tuple], ...]:
    """Returns the functions that draw random numbers, by name, each with inputs to trace it with."""
    # Not the environment's methods: jax remembers the programs of these.
    env, key = subject.env, subject.key
    _, state = reset_shapes(subject)
    action = contracts.of_all_agents(env, env.action_space)
    return ("reset_fn", env.reset_fn, (key, env.params)), ("step_fn", env.step_fn, (key, state, action, env.params))


def check_given_keys_are_used(subject: Subject) -> None:
    for where, function, values in _functions(subject):
        must, fix = f"{where} must draw from the key that it is given", "Use it in place of the key that is made inside."
        require(not draws_from_another_key(function, *values), must, "random numbers of a constant key", fix)


def check_keys_are_used_once(subject: Subject) -> None:
    for where, function, values in _functions(subject):
        try:
            with jax.debug_key_reuse(True):
                jax.jit(function).trace(*values)
        except jax.errors.KeyReuseError as error:
            reason = str(error).splitlines()[0]
            message = f"{WHERE}: {where} must use each key once, got {reason!r}. Split it at the top of the function."
            raise EnvError(message) from error


def check_traced_twice_the_same(subject: Subject) -> None:
    """Python and NumPy randomness and counters are frozen into a program when it is traced, differently each time.

    Not of functions that ``jax.jit`` wraps themselves: jax remembers their programs.
    """
    for where, function, values in _functions(subject):
        one, other = (text(traced_afresh(function, *values)).splitlines() for _ in range(2))
        lines = itertools.zip_longest(one, other, fillvalue="nothing")
        differing = [f"{ours.strip()[:200]!r} and {theirs.strip()[:200]!r}" for ours, theirs in lines if ours != theirs]
        fix = "Draw only from the key; keep no state outside."
        require(one == other, f"{where} must be the same program whenever it is traced", "".join(differing[:1]), fix)


def check_same_key_same_result(subject: Subject) -> None:
    """A number that a callback draws on the host while a program runs is another one each time."""
    env, played = subject.env, subject.played
    keys = jax.random.split(subject.key, BATCH)
    for where, run, inputs in (
        ("reset_fn", batched_resets, (keys,)),
        ("step_fn", batched_steps, (played.key, played.state, played.action)),
    ):
        difference = first_difference(run(env, *inputs), run(env, *inputs), rtol=0, atol=0)
        must = f"{where} must return the same for the same inputs"
        require(not difference, must, difference, "Draw only from the key; keep no state outside.")


def check_batched_equals_single(subject: Subject) -> None:
    env, played, chosen = subject.env, subject.played, np.arange(0, BATCH, BATCH // 8)
    singles = [single_step(env, *take((played.key, played.state, played.action), index)) for index in chosen]
    one_by_one = jax.tree.map(lambda *leaves: np.stack(leaves), *map(on_host, singles))  # compared at one scale
    difference = first_difference(one_by_one, take(on_host(played.step), chosen))
    must = "step_fn must return the same one by one and under vmap"
    require(not difference, must, difference, "Use no operation that sees the other environments.")


def check_rebuilt_compiles_once(subject: Subject) -> None:
    env, rebuilt = subject.env, cast(Environment, subject.rebuilt)
    traces = 0

    @jax.jit
    def reset(env, key):
        nonlocal traces
        traces += 1
        return env.reset_fn(key, env.params)

    for each in (env, rebuilt):
        reset.lower(each, subject.key)
    differing = [
        field.name
        for field in dataclasses.fields(env)
        if field.name != "params" and getattr(env, field.name) != getattr(rebuilt, field.name)
    ]
    found = {
        "static fields that differ": differing,
        "params": (contracts.described(env.params), contracts.described(rebuilt.params)),
    }
    must = "an environment built again must find the compiled program of the first"
    fix = "Keep numbers in params, as arrays of one dtype, and functions at module level."
    require(traces == 1, must, found, fix)


# ---- values


@partial(jax.jit, static_argnums=0)
def _contains(space: Space, value: PyTree) -> jax.Array:
    return space.contains(value)


def check_observations_in_space(subject: Subject) -> None:
    space, played = subject.env.observation_space, subject.played
    # Beside those of resets, played.obs holds what steps returned: they are looked at first.
    for where, obs in (("step_fn", played.step.obs), ("reset_fn", played.obs)):
        bounds = jax.tree.map(lambda leaf: (leaf.min().item(), leaf.max().item()), on_host(obs))
        must = f"{where} must return observations in {space}"
        require(_contains(space, obs), must, f"values in {bounds}", "Widen the space or mend the observation.")


def check_rewards_are_finite(subject: Subject) -> None:
    reward = on_host(subject.played.step.reward)
    require(np.isfinite(reward).all(), "step_fn must return finite rewards", reward[~np.isfinite(reward)][:3], "Bound them.")


def check_some_action_is_legal(subject: Subject) -> None:
    legal = np.asarray(masks.some_legal(subject.env.action_space, subject.played.legal))
    must, fix = "action_mask_fn must leave at least one action legal in every state", "Allow one, for example staying."
    require(legal.all(), must, f"none in {np.sum(~legal)} of {legal.size} cases", fix)
