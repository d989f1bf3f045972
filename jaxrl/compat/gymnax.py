"""Environments with the interface of gymnax, as ours. The package itself is not needed: whatever has its functions will do.

Up to 0.0.9 such an environment returns five values from ``step``, with one ``done`` for a death and for the time limit; from 1.0
on it returns six, with two flags. Ours counts its steps itself, so ``terminated`` must never come from the time limit. Therefore
``step_env`` is evaluated under two limits at once: under the true one, of which the observation, the state and the reward are
taken, and under one that no episode reaches, of which the end is taken. Whatever does not depend on the limit, random numbers
included, is computed once.

Source: Lange (2022), gymnax, versions 0.0.9 and 1.0.1.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.compat.spaces import from_space
from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.spaces import Dict, Space, Tuple, example
from jaxrl.errors import EnvError, SpaceError, require

NEVER = 2**30  # steps; twice as many still fit into int32
MERGED, SPLIT = 5, 6  # values that step returns: one flag for every end, or two


def from_gymnax(
    gymnax_env: Any, env_params: PyTree = None, limit: str = "max_steps_in_episode", clock: str = "time"
) -> Environment:
    """Turns an environment with the interface of gymnax into ours.

    The object is part of the compiled program. It is compared by its type and its attributes (arrays by their content), so that
    an environment that is built again finds the program; an attribute that is an object of another class compares as that class
    says, by default as itself only: then hand over the same object again. It must not be changed afterwards.

    Args:
        gymnax_env: has ``step_env(key, state, action, params)``, ``reset_env(key, params)``, ``step``, ``default_params``,
            ``observation_space(params)`` and ``action_space(params)``; a space is known by its attributes (``n``, ``nvec``,
            ``spaces``, or ``low``, ``high`` and ``shape``).
        env_params: a dataclass of numbers and arrays; None takes the default ones. They are traced: vmap over them.
        limit: the field of the parameters with the number of steps after which an episode is cut.
        clock: the field of the state with the number of steps that were taken.

    Returns:
        An Environment with float32[] rewards; observations are float32 where theirs are real and int32 elsewhere (bool included);
        ``info`` is theirs, also where it speaks of an end. Its time limit is that of the parameters, and
        ``with_time_limit`` changes both. An end by a clock beside that limit
        counts as a death, as some of their tasks mean it (the chains of bsuite).

    Raises:
        EnvError: functions or fields are missing, the structures do not fit together, or an end that is no death cannot
            be told from one: a limit that is not in the parameters, or a truncation for another reason than time.
        SpaceError: a space is none of Discrete, MultiDiscrete, Box, Tuple and Dict, or observations are not in the shape that
            theirs says.
    """
    where = f"from_gymnax({type(gymnax_env).__name__})"
    for name in ("step_env", "reset_env"):
        own = hasattr(type(gymnax_env), name)  # a wrapper hands out that of the environment underneath, and would be passed by
        fix = "Hand over the environment that a wrapper wraps, and change it with jaxrl.core.transforms."
        _require(own, where, f"the class must define {name}, which does not begin a new episode by itself", "none", fix)
    given = gymnax_env.default_params if env_params is None else env_params
    max_steps = _max_steps(where, given, limit)
    observation_space = from_space(f"{where}: observation_space", gymnax_env.observation_space(given))
    held = _Held(gymnax_env)
    env = Environment(
        jax.tree.map(_strict, given),
        _Reset(held, observation_space),
        _Step(held, observation_space, limit),
        observation_space,
        from_space(f"{where}: action_space", gymnax_env.action_space(given)),
        max_steps=max_steps,
        limit_fn=_Limit(limit),
    )
    _require_ends_apart(where, gymnax_env, env, clock, _require_structure(where, gymnax_env, env))
    return env


@dataclass(frozen=True)
class _Reset:
    held: "_Held"
    observation_space: Space

    def __call__(self, key, params):
        with jax.enable_x64(False):  # theirs give no dtypes: under jax_enable_x64 they would draw other numbers
            obs, state = self.held.env.reset_env(key, params)
        return _observation(self.observation_space, obs), jax.tree.map(_strict, state)


@dataclass(frozen=True)
class _Limit:
    limit: str

    def __call__(self, params, max_steps):
        return _with(params, self.limit, jnp.full_like(getattr(params, self.limit), max_steps))


@dataclass(frozen=True)
class _Step:
    held: "_Held"
    observation_space: Space
    limit: str

    def __call__(self, key, state, action, params):
        true, action = getattr(params, self.limit), jax.tree.map(_strict, action)
        limits = jnp.stack([true, jnp.full_like(true, NEVER)])
        with jax.enable_x64(False):
            both = jax.vmap(lambda limit: self.held.env.step_env(key, state, action, _with(params, self.limit, limit)))(limits)
        limited, unlimited = (jax.tree.map(lambda leaf, index=index: leaf[index], both) for index in (0, 1))
        obs, state, reward, info = *limited[:3], limited[-1]
        obs, state, info = _observation(self.observation_space, obs), *jax.tree.map(_strict, (state, info))
        return Step(obs, state, _scalar(reward, jnp.float32), _scalar(unlimited[3], bool), info)


class _Held:
    """An object that is hashed and compared by what it is, so that it can be part of a static field."""

    def __init__(self, env: Any):
        self.env = env
        attributes = getattr(env, "__dict__", None)
        self.content = (type(env), env if attributes is None else _content(attributes))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.content)

    def __repr__(self) -> str:
        return repr(self.env)


class _Itself:
    """An object that cannot be hashed, compared by identity."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _content(value: Any) -> Any:
    """Returns something hashable that is equal for equal values."""
    if isinstance(value, Mapping):
        return type(value), tuple((name, _content(part)) for name, part in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_content, value))
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return str(value.dtype), _content(jax.random.key_data(value))
    if isinstance(value, jax.Array | np.ndarray) and value.dtype != object:
        array = np.asarray(value)
        return array.shape, str(array.dtype), hashlib.sha256(array.tobytes()).digest()
    try:
        hash(value)
    except TypeError:
        return _Itself(value)
    return type(value), value


def _with(record: Any, name: str, value: Any) -> Any:
    return dataclasses.replace(record, **{name: value})


# ---- values


def _strict(leaf: Any) -> jax.Array:
    """Returns an array of at most 32 bits with a dtype of its own, never a weak type."""
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    wide = {"float64": jnp.float32, "int64": jnp.int32, "uint64": jnp.uint32}
    return jax.lax.convert_element_type(leaf, wide.get(str(leaf.dtype), leaf.dtype))


def _scalar(value: Any, dtype: Any) -> jax.Array:
    return jnp.reshape(jnp.asarray(value), ()).astype(dtype)


def _observation(space: Space, obs: Any) -> PyTree:
    if isinstance(space, Tuple):
        return tuple(_observation(item, part) for item, part in zip(space.items, obs, strict=True))
    if not isinstance(space, Dict):
        return jnp.asarray(obs).astype(space.dtype)
    part = obs.__getitem__ if isinstance(obs, Mapping) else obs.__getattribute__
    return {name: _observation(item, part(name)) for name, item in space.items}


# ---- what must hold


def _require(condition: bool, where: str, must: str, value: object, fix: str) -> None:
    require(condition, where, must, value, fix, EnvError)


def _max_steps(where: str, params: Any, limit: str) -> int:
    record = dataclasses.is_dataclass(params) and limit in {field.name for field in dataclasses.fields(params)}
    fix = "Name the field as limit; without one a time limit cannot be told from a death."
    _require(record, where, f"the parameters must be a dataclass with the time limit as {limit}", params, fix)
    value = np.asarray(getattr(params, limit))
    counts = value.ndim == 0 and value == np.round(value) and 1 <= value < NEVER
    _require(bool(counts), where, f"{limit} must be a whole number from 1 to {NEVER - 1}", value, "Set the number of steps.")
    return int(value)


def _shapes(where: str, name: str, function: Callable, *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        must = f"{name} must be traceable by jax, with arrays as parameters"
        raise EnvError(f"{where}: {must}, got {reason}. Use jax.numpy.") from error


def _require_structure(where: str, gymnax_env: Any, env: Environment) -> tuple:
    """Raises unless the functions return what they should, and returns what ``step_env`` takes, by shape and dtype."""
    key = jax.eval_shape(jax.random.key, 0)
    obs, state = _shapes(where, "reset_env", gymnax_env.reset_env, key, env.params)
    state = jax.eval_shape(lambda: jax.tree.map(lambda leaf: _strict(jnp.zeros(leaf.shape, leaf.dtype)), state))
    arguments = (key, state, jax.eval_shape(lambda: example(env.action_space)), env.params)
    returned = _shapes(where, "step_env", gymnax_env.step_env, *arguments)
    must = f"step_env must return {MERGED} values (one flag for the end) or {SPLIT} (two)"
    _require(len(returned) in (MERGED, SPLIT), where, must, len(returned), "See the interface of gymnax.")
    for name, seen in (("reset_env", obs), ("step_env", returned[0])):
        expected = jax.eval_shape(lambda: example(env.observation_space))
        found = _shapes(where, name, lambda seen=seen: _observation(env.observation_space, _zeros(seen)))
        same = jax.tree.map(lambda leaf: leaf.shape, found) == jax.tree.map(lambda leaf: leaf.shape, expected)
        must = f"{name} must return an observation in the shape of its space, {expected}"
        require(same, where, must, found, "Correct observation_space.", SpaceError)
    single = int(np.prod(returned[2].shape)) == 1 and int(np.prod(returned[3].shape)) == 1
    must, fix = "step_env must return one reward and one flag", "Agents with rewards of their own need another adapter."
    _require(single, where, must, (returned[2], returned[3]), fix)
    _, later = _shapes(where, "step_env", lambda *inputs: env.step_fn(*inputs)[:2], *arguments)
    must = f"step_env must return the state in the structure that reset_env returned, {state}"
    _require(_typed(state) == _typed(later), where, must, later, "Keep structure, shapes and dtypes.")
    return arguments


def _zeros(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)


def _typed(tree: PyTree) -> tuple:
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def _require_ends_apart(where: str, gymnax_env: Any, env: Environment, clock: str, arguments: tuple) -> None:
    """Raises unless the time limit, and nothing else, is what ends an episode beside a death.

    With one flag: it must depend on the limit in the parameters, which is then lifted, or on no clock. With two: the truncation
    must depend on the limit and the clock alone.
    """
    _, state, _, params = arguments
    limit = env.step_fn.limit  # pyright: ignore[reportFunctionMemberAccess]
    step = gymnax_env.step if hasattr(gymnax_env, "step") else gymnax_env.step_env
    count = len(_shapes(where, "step", step, *arguments))
    _require(
        hasattr(state, clock), where, f"the state must count its steps as {clock}", type(state).__name__, "Name it as clock."
    )
    only_limit = (None, None, None, _axes(params, limit, 0, None))
    if count == MERGED:
        done = _Output(gymnax_env.step_env, 3)
        hidden = not _depends(done, arguments, only_limit) and _depends(
            done, arguments, (None, _axes(state, clock, 0, None), None, None)
        )
        must = f"done must depend on the {limit} of the parameters where it depends on time"
        fix = "A limit that stands elsewhere cannot be told from a death: read it from the parameters."
        _require(not hidden, where, must, "a limit of its own", fix)
        return
    truncated = _Output(
        gymnax_env.step_env if len(_shapes(where, "step_env", gymnax_env.step_env, *arguments)) == SPLIT else step, 4
    )
    others = (0, _axes(state, clock, None, 0), 0, _axes(params, limit, None, 0))
    alone = _depends(truncated, arguments, only_limit) and not _depends(truncated, arguments, others)
    fix = "Report another end as terminated, or leave it out: only the time limit can cut an episode."
    _require(alone, where, f"truncated must depend on {clock} and {limit} alone", "another dependence", fix)


@dataclass(frozen=True)
class _Output:
    """One of the values that a function returns."""

    function: Callable
    index: int

    def __call__(self, *arguments):
        return self.function(*arguments)[self.index]


def _axes(record: PyTree, name: str, inside: int | None, outside: int | None) -> PyTree:
    """Returns ``inside`` at every leaf of one field and ``outside`` at all others."""
    axes = jax.tree.map(lambda _: outside, record)
    return _with(axes, name, jax.tree.map(lambda _: inside, getattr(record, name)))


def _depends(function: Callable, arguments: tuple, axes: tuple) -> bool:
    """Returns whether what a function returns can depend on those leaves of its arguments at which ``axes`` is 0.

    They alone get a batch axis: what is computed from none of them has none, and is refused none as its output.
    """

    def batched(axis, part):
        return part if axis is None else jax.tree.map(lambda leaf: jax.eval_shape(lambda x: jnp.stack([x, x]), leaf), part)

    doubled = jax.tree.map(batched, axes, arguments, is_leaf=lambda axis: axis is None or axis == 0)
    try:
        jax.eval_shape(jax.vmap(function, in_axes=axes, out_axes=None), *doubled)
    except ValueError:
        return True
    return False
