"""What every environment must keep: the record, the structure of what its functions return, purity, and sound values."""

import dataclasses
import operator
import sys
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.conformance.comparison import describe, first_difference, on_host, require, take
from jaxrl.conformance.subject import BATCH, Subject, compiled_reset, compiled_step, of_all_agents, reset_shapes, traced
from jaxrl.env import Environment, Step
from jaxrl.errors import EnvironmentError
from jaxrl.spaces import Box, Dict, Discrete

# ---- the record


def check_record(subject: Subject) -> None:
    env = subject.env
    for name in ("observation_space", "action_space"):
        space = getattr(env, name)
        require(isinstance(space, Discrete | Box | Dict), f"{name} must be a space", space, "Choose one of jaxrl.spaces.")
    steps, agents = env.max_steps, env.num_agents
    counts = isinstance(steps, int) and steps >= 1
    require(counts, "max_steps must be a positive int", steps, "Set the number of steps that truncates an episode.")
    counts = agents is None or (isinstance(agents, int) and agents >= 1)
    require(counts, "num_agents must be None or a positive int", agents, "None means that there is no agent axis.")
    stated = [name for name in ("outcomes_fn", "initial_fn", "observe_fn") if getattr(env, name) is not None]
    must = "outcomes_fn, initial_fn and observe_fn must be set together"
    require(len(stated) in (0, 3), must, stated, "Build it with jaxrl.finite.finite.")


def check_static_fields_equal_when_rebuilt(subject: Subject) -> None:
    for field in dataclasses.fields(subject.env):
        value = getattr(subject.env, field.name)
        if field.name == "params" or value is None:
            continue
        if field.name.endswith("_fn"):
            must = f"{field.name} must be a module-level function or a frozen dataclass of such"
            fix = "Otherwise an environment built again compiles again; move what it closes over into params."
            require(_equal_when_rebuilt(value), must, value, fix)
        try:
            hash(value)
        except TypeError as error:
            raise EnvironmentError(
                f"check_environment: {field.name} must be hashable, got {value!r}. Use numbers and tuples; keep arrays in params."
            ) from error


def _equal_when_rebuilt(function: Any) -> bool:
    if dataclasses.is_dataclass(function) and not isinstance(function, type):
        values = [getattr(function, field.name) for field in dataclasses.fields(function)]
        frozen = type(function).__hash__ is not None and type(function).__eq__ is not object.__eq__
        return frozen and _by_name(type(function)) and all(_equal_when_rebuilt(value) for value in values if callable(value))
    return _by_name(function)


def _by_name(thing: Any) -> bool:
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    try:
        return operator.attrgetter(thing.__qualname__)(module) is thing
    except AttributeError:
        return False


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
    env = subject.env
    returned = reset_shapes(subject)
    pair = isinstance(returned, tuple) and len(returned) == 2
    require(pair, "reset_fn must return (obs, state)", type(returned).__name__, "Return both.")
    expected, found = describe(of_all_agents(env, env.observation_space)), describe(returned[0])
    must = f"reset_fn must return an observation of its space, {expected}"
    require(found == expected, must, found, "Change observation_space, or cast and reshape.")


def check_step_structure(subject: Subject) -> None:
    env = subject.env
    obs, state = reset_shapes(subject)
    step = traced("step_fn", "(key, state, action, params)", env.step, subject.key, state, subject.action)
    require(isinstance(step, Step), "step_fn must return a Step", type(step).__name__, "Return jaxrl.env.Step(...).")
    for name, first, later in (("observation", obs, step.obs), ("state", state, step.state)):
        same = describe(first) == describe(later) and jax.tree.structure(first) == jax.tree.structure(later)
        must = f"step_fn must return the {name} in the structure that reset_fn returned, {describe(first)}"
        require(same, must, describe(later), "Keep structure, shapes and dtypes.")
    agents = "" if env.num_agents is None else env.num_agents
    expected = {"reward": f"float32[{agents}]", "terminated": "bool[]"}
    found = {"reward": describe(step.reward).get("itself"), "terminated": describe(step.terminated).get("itself")}
    require(found == expected, f"step_fn must return {expected}", found, "Cast and reshape them.")
    require(isinstance(step.info, dict), "step_fn must return a dict as info", type(step.info).__name__, "Name what it holds.")


def check_mask_structure(subject: Subject) -> None:
    env: Any = subject.env
    _, state = reset_shapes(subject)
    mask = traced("action_mask_fn", "(state, params)", env.action_mask, state)
    discrete = isinstance(env.action_space, Discrete)
    require(discrete, "action_space must be Discrete where actions are masked", env.action_space, "Leave the mask out.")
    agents = () if env.num_agents is None else (env.num_agents,)
    expected = jax.ShapeDtypeStruct((*agents, env.action_space.n), bool)
    must = f"action_mask_fn must return {describe(expected)}"
    require(describe(mask) == describe(expected), must, describe(mask), "One bool for every action.")


def check_global_observation_structure(subject: Subject) -> None:
    _, state = reset_shapes(subject)
    found = traced("global_obs_fn", "(state, params)", subject.env.global_obs, state)
    flat = getattr(found, "ndim", None) == 1 and found.dtype == jnp.float32
    require(flat, "global_obs_fn must return float32[G]", describe(found), "Flatten and concatenate what it holds.")


# ---- purity


def check_keys_are_used_once(subject: Subject) -> None:
    env = subject.env
    _, state = reset_shapes(subject)
    key = jax.random.key(0)
    for where, function, values in (("reset_fn", env.reset, (key,)), ("step_fn", env.step, (key, state, subject.action))):
        try:
            with jax.debug_key_reuse(True):
                jax.jit(function).lower(*values)
        except jax.errors.KeyReuseError as error:
            reason = str(error).splitlines()[0]
            message = f"check_environment: {where} must use each key once, got {reason!r}. Split it at the top of the function."
            raise EnvironmentError(message) from error


def check_same_key_same_result(subject: Subject) -> None:
    env, played = subject.env, subject.played
    inputs = take((played.key, played.state, played.action), 0)
    for where, function, values in (("reset_fn", env.reset, (subject.key,)), ("step_fn", env.step, inputs)):
        difference = first_difference(function(*values), function(*values))
        must = f"{where} must return the same for the same inputs"
        require(not difference, must, difference, "Draw only from the key; keep no state outside.")


def check_compiled_equals_eager(subject: Subject) -> None:
    env, played = subject.env, subject.played
    must, fix = "must return the same compiled and uncompiled", "Keep Python and NumPy randomness, and printing, out of it."
    difference = first_difference(compiled_reset(env, subject.key), env.reset(subject.key))
    require(not difference, f"reset_fn {must}", difference, fix)
    for index in (0, 1, BATCH - 1):
        inputs = take((played.key, played.state, played.action), index)
        difference = first_difference(compiled_step(env, *inputs), env.step(*inputs))
        require(not difference, f"step_fn {must}", difference, fix)


def check_batched_equals_single(subject: Subject) -> None:
    played = subject.played
    for index in range(0, BATCH, BATCH // 8):
        single = compiled_step(subject.env, *take((played.key, played.state, played.action), index))
        difference = first_difference(single, take(played.step, index))
        must = "step_fn must return the same one by one and under vmap"
        require(not difference, must, difference, "Use no operation that sees the other environments.")


def check_rebuilt_compiles_once(subject: Subject) -> None:
    env, rebuilt = subject.env, cast(Environment, subject.rebuilt)
    traces = 0

    @jax.jit
    def reset(env, key):
        nonlocal traces
        traces += 1
        return env.reset(key)

    for each in (env, rebuilt):
        reset.lower(each, subject.key)
    differing = [
        field.name
        for field in dataclasses.fields(env)
        if field.name != "params" and getattr(env, field.name) != getattr(rebuilt, field.name)
    ]
    found = {"static fields that differ": differing, "params": (describe(env.params), describe(rebuilt.params))}
    must = "an environment built again must find the compiled program of the first"
    fix = "Keep numbers in params, as arrays of one dtype, and functions at module level."
    require(traces == 1, must, found, fix)


# ---- values


def check_observations_in_space(subject: Subject) -> None:
    space, played = subject.env.observation_space, subject.played
    for where, obs in (("reset_fn", played.obs), ("step_fn", played.step.obs)):
        bounds = jax.tree.map(lambda leaf: (leaf.min().item(), leaf.max().item()), on_host(obs))
        must = f"{where} must return observations in {space}"
        require(space.contains(obs), must, f"values in {bounds}", "Widen the space or mend the observation.")


def check_rewards_are_finite(subject: Subject) -> None:
    reward = on_host(subject.played.step.reward)
    require(np.isfinite(reward).all(), "step_fn must return finite rewards", reward[~np.isfinite(reward)][:3], "Bound them.")


def check_some_action_is_legal(subject: Subject) -> None:
    legal = np.asarray(jax.vmap(subject.env.action_mask)(subject.played.state)).any(-1)
    must, fix = "action_mask_fn must leave at least one action legal in every state", "Allow one, for example staying."
    require(legal.all(), must, f"none in {np.sum(~legal)} of {legal.size} cases", fix)
