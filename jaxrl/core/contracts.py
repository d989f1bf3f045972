"""Requirements of an environment, an algorithm and an evaluator before anything is computed.

The functions here look at structures, shapes and dtypes, while a function is traced or before: that costs nothing at run time.
Only the probabilities of a finite environment's first outcomes are computed, once, before a run. ``jaxrl.training.runner.run``
calls them on its way, and ``jaxrl.testing.conformance`` begins with them and goes on to look at numbers. ``where`` is always who
asks.
"""

import contextlib
import dataclasses
import functools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import MOST_ENTRIES, Average, column_names
from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.finite import Initial, Outcomes
from jaxrl.core.spaces import Discrete, Space, example
from jaxrl.errors import AlgorithmError, ConfigError, EnvironmentError, EvaluatorError, JaxrlError, require, require_distribution

MOST_STARTS, MOST_ACTIONS = 32, 64  # initial states, and actions in each, whose outcome probabilities are looked at

# The probabilities are computed once: compiling them takes longer than running them.
QUICK = {"xla_backend_optimization_level": 0}


# ---- words for structures


def describe(leaf: Any) -> str:
    """Returns dtype and shape of an array, or of what stands for one while jax traces; of anything else its type and value."""
    if isinstance(leaf, (bool, int, float, complex, str)) or not hasattr(leaf, "dtype"):
        return f"the {type(leaf).__name__} {leaf!r}"
    return f"{leaf.dtype}{list(leaf.shape)}"


def described(tree: PyTree) -> dict[str, str]:
    """Returns ``describe`` of every leaf by its place in the tree, for comparison and for messages."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path) or "itself": describe(leaf) for path, leaf in leaves}


def mismatch(expected: PyTree, found: PyTree) -> str:
    """Returns the first place where two trees differ in structure, shape or dtype, or "" where they do not."""
    wanted, given = described(expected), described(found)
    for place in [*wanted, *given]:
        if place not in given:
            return f"nothing at {place} ({wanted[place]})"
        if place not in wanted:
            return f"{given[place]} at {place}, where nothing was"
        if wanted[place] != given[place]:
            return f"{given[place]} at {place} in place of {wanted[place]}"
    structures = jax.tree.structure(expected), jax.tree.structure(found)
    return "" if structures[0] == structures[1] else f"{structures[1]} in place of {structures[0]}"


@contextlib.contextmanager
def translated(where: str, must: str, error: type[JaxrlError], fix: str) -> Iterator[None]:
    """Turns an exception out of a function of the user's into one of ours, which says whose function it was."""
    try:
        yield
    except (JaxrlError, FloatingPointError, jax.errors.KeyReuseError):  # these speak for themselves
        raise
    except Exception as reason:
        lines = [line for line in f"{type(reason).__name__}: {reason}".splitlines() if line]
        found = " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(". ")
        raise error(f"{where}: {must}, got {found}. {fix}") from reason


def traced(where: str, what: str, error: type[JaxrlError], fix: str = "") -> contextlib.AbstractContextManager:
    """As ``translated``, for a function while jax traces it."""
    return translated(
        where, f"{what} must be traceable by jax", error, fix or "Use jax.numpy and no Python branch on a traced value."
    )


def is_array(leaf: Any) -> bool:
    """Returns whether a leaf is an array, or stands for one while jax traces: not a Python number."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


# ---- names


def equal_when_rebuilt(function: Any) -> bool:
    """Returns whether a function made again compares equal: one at module level, or a frozen dataclass of such.

    Only then does jax find its compiled program, and only then does its name say which function it is.
    """
    if dataclasses.is_dataclass(function) and not isinstance(function, type):
        values = [getattr(function, field.name) for field in dataclasses.fields(function)]
        frozen = type(function).__hash__ is not None and type(function).__eq__ is not object.__eq__
        return frozen and _by_name(type(function)) and all(equal_when_rebuilt(value) for value in values if callable(value))
    return _by_name(function)


def _by_name(thing: Any) -> bool:
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    try:
        return operator.attrgetter(thing.__qualname__)(module) is thing
    except AttributeError:
        return False


def require_names(where: str, make: Callable, task: Any) -> None:
    """Raises unless names say which functions a run depends on, so that its checkpoints cannot be taken for another's."""
    inner = make
    while isinstance(inner, functools.partial):  # its arguments are stored beside its name
        inner = inner.func
    must = "with checkpoints, make must be a function at module level or a frozen dataclass"
    fix = "Two closures or lambdas have one name; move what it closes over into the configuration, or leave checkpoints out."
    require(equal_when_rebuilt(inner), where, must, make, fix, AlgorithmError)
    if isinstance(task, Environment):
        for field in dataclasses.fields(task):
            value = getattr(task, field.name)
            if field.name.endswith("_fn") and value is not None:
                must = f"with checkpoints, {field.name} must be a function at module level or a frozen dataclass of such"
                fix = "Two closures or lambdas have one name; move what it closes over into params, or leave checkpoints out."
                require(equal_when_rebuilt(value), where, must, value, fix, EnvironmentError)


# ---- what a run is given


def require_make(where: str, make: Any) -> None:
    """Raises AlgorithmError unless ``make`` can be called as ``(task, config) -> Algorithm``, as far as it shows uncalled."""
    must = "make must be a function (task, config) -> Algorithm"
    fix = f"Give {make.__name__}.make." if isinstance(make, ModuleType) and hasattr(make, "make") else "Give the function itself."
    require(callable(make) and not isinstance(make, Algorithm), where, must, _short(make), fix, AlgorithmError)


def require_task(where: str, task: Any) -> None:
    """Raises EnvironmentError unless a task is a pytree of arrays, as environments and data sets are."""
    must = "task must be an Environment or a data set"
    fix = "Build an environment by its factory, for example envs.make('cartpole')."
    require(not isinstance(task, (str, bytes, ModuleType, type)), where, must, _short(task), fix, EnvironmentError)
    _require_pytree(where, "task", task, EnvironmentError, "Call it if it is a factory; keep functions in static fields.")


def require_config(where: str, config: Any) -> None:
    """Raises ConfigError unless a configuration is a pytree of numbers."""
    fix = "Give an instance, for example Config()."
    require(not isinstance(config, (str, ModuleType, type)), where, "config must be a Config", _short(config), fix)
    _require_pytree(where, "config", config, ConfigError, "Declare what is no number with jaxrl.core.environment.static.")


def evaluators_of(where: str, evaluators: Any, task: Any) -> tuple:
    """Returns the evaluators in a tuple, after each that can say whether it suits the task has said so.

    Raises:
        EvaluatorError: one of them cannot be called, or is no pytree of arrays; or what its own ``validate`` raises.
    """
    must, fix = "evaluators must be a sequence", "Write evaluators=(evaluator,)."
    require(isinstance(evaluators, Iterable), where, must, _short(evaluators), fix, EvaluatorError)
    evaluators = tuple(evaluators)
    for evaluator in evaluators:
        must, fix = "an evaluator must be callable, (key, algorithm, state) -> metrics", "See jaxrl.evaluation."
        require(callable(evaluator), where, must, _short(evaluator), fix, EvaluatorError)
        plain = jax.tree_util.all_leaves([evaluator])
        must, fix = "an evaluator must be a pytree of arrays", "Wrap a function: jax.tree_util.Partial(function)."
        require(not plain, where, must, _short(evaluator), fix, EvaluatorError)
        _require_pytree(
            where, "an evaluator", evaluator, EvaluatorError, "Declare what is no array with jaxrl.core.environment.static."
        )
        if hasattr(evaluator, "validate"):
            evaluator.validate(task)
    return evaluators


def validate(where: str, config: Any, task: Any) -> None:
    """Lets a configuration that can say so say whether it can run on a task: calls its ``validate``.

    Raises:
        ConfigError: it does not know the task; or what it raises itself.
    """
    fix = "Give the algorithm the kind of task that it is made for."
    with translated(where, "config.validate(task) must accept the task", ConfigError, fix):
        if hasattr(config, "validate"):
            config.validate(task)


def _short(value: Any) -> Any:
    """Returns what a message shows of a value: of one that is long in print, its type."""
    return value if len(repr(value)) <= 200 else type(value)


def _require_pytree(where: str, name: str, tree: Any, error: type[JaxrlError], fix: str) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        must = f"{name}{jax.tree_util.keystr(path)} must be a number or an array"
        require(is_array(leaf) or isinstance(leaf, (bool, int, float, complex)), where, must, _short(leaf), fix, error)


class DeclaredSteps(NamedTuple):
    """Environment steps of one seed, by a configuration.

    per_update: in an update, or None where it does not say.
    before: before the first update.
    """

    per_update: int | None
    before: int


def declared_steps(where: str, config: Any) -> DeclaredSteps:
    """Returns how many environment steps an update takes by its configuration, and how many come before the first.

    Raises:
        ConfigError: it says so by something else than integers, of at least 1 in an update and of at least 0 before.
    """
    per_update, before = (declared(where, config, *name) for name in (("steps_per_update", 1), ("steps_before_first_update", 0)))
    return DeclaredSteps(per_update, before or 0)


def declared(where: str, config: Any, name: str, least: int, of: str = "config") -> int | None:
    """Returns a count that a configuration may declare, or None.

    Args:
        where: who asks.
        config: the configuration.
        name: of the count.
        least: the smallest that is allowed.
        of: how a message names the configuration.

    Raises:
        ConfigError: it is no such integer.
    """
    must, fix = f"{of}.{name} must be an integer of at least {least}", "Multiply counts from static fields, or leave it out."
    with translated(where, must, ConfigError, fix):
        count = getattr(config, name, None)
    whole = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
    require(count is None or (whole and int(count) >= least), where, must, _short(count), fix)
    return None if count is None else int(count)


# ---- algorithms, while they are traced


def algorithm(where: str, make: Callable, task: Any, config: Any) -> Algorithm:
    """Returns ``make(task, config)``.

    Raises:
        AlgorithmError: it is no Algorithm, or cannot be made where the traced fields of the configuration have no values.
    """
    with traced(where, "make(task, config)", AlgorithmError, _fix_of(config)):
        made = make(task, config)
    must, fix = "make(task, config) must return an Algorithm", "Return jaxrl.Algorithm(init, update)."
    require(isinstance(made, Algorithm), where, must, _short(made), fix, AlgorithmError)
    for name in ("init", "update"):
        must = f"make(task, config).{name} must be a function"
        require(callable(getattr(made, name)), where, must, _short(getattr(made, name)), fix, AlgorithmError)
    return made


def _fix_of(config: Any) -> str:
    """Names the whole numbers among the traced fields: mostly they are meant to set shapes."""
    leaves = jax.tree_util.tree_leaves_with_path(config)
    whole = [jax.tree_util.keystr(path).lstrip(".") for path, leaf in leaves if jnp.result_type(leaf).kind in "iub"]
    if not whole:
        return ""
    return (
        f"Of the Config, declare integers and flags ({', '.join(whole)}) with jaxrl.core.environment.static: "
        "traced, they have no value."
    )


def first_state(where: str, made: Algorithm, config: Any, key: jax.Array) -> PyTree:
    """Returns the state that ``init`` draws.

    Raises:
        AlgorithmError: ``init`` cannot be traced, or returns something else than arrays.
    """
    with traced(where, "init(key)", AlgorithmError, _fix_of(config)):
        state = made.init(key)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        must = f"init must return arrays only, at state{jax.tree_util.keystr(path)} too"
        fix = "Write jnp.float32(...) or jnp.int32(...); keep what is no array outside the state."
        require(is_array(leaf), where, must, describe(leaf), fix, AlgorithmError)
    return state


def next_state(where: str, made: Algorithm, config: Any, state: PyTree, key: jax.Array) -> tuple[PyTree, dict[str, Any]]:
    """Returns the state and the metrics of an update.

    Raises:
        AlgorithmError: ``update`` cannot be traced, changes the structure of the state, or measures what is no metric.
    """
    with traced(where, "update(state, key)", AlgorithmError, _fix_of(config)):
        updated = made.update(state, key)
    must, fix = "update must return (state, metrics)", "Return both."
    require(isinstance(updated, tuple) and len(updated) == 2, where, must, type(updated).__name__, fix, AlgorithmError)
    new, metrics = updated
    found = mismatch(state, new)
    must = "update must return the state in the structure that it was given"
    require(not found, where, must, found, "Keep structure, shapes and dtypes.", AlgorithmError)
    require_metrics(where, "update", metrics, AlgorithmError)
    return new, metrics


def changed_state(where: str, apply: Callable, state: PyTree, answers: dict[str, jax.Array]) -> PyTree:
    """Returns the state after ``apply(state, answers)``, by which it is changed between two chunks.

    Raises:
        AlgorithmError: ``apply`` cannot be traced, or changes the structure of the state.
    """
    with traced(where, "apply(state, answers)", AlgorithmError):
        new = apply(state, answers)
    must = "apply must return the state in the structure that it was given"
    found = mismatch(state, new)
    require(not found, where, must, found, "Keep structure, shapes and dtypes.", AlgorithmError)
    return new


def require_metrics(where: str, who: str, metrics: Any, error: type[JaxrlError]) -> None:
    """Raises unless metrics are a dict whose values are real numbers, small arrays of them, or Averages of such.

    Whether they are finite shows when they are measured: see ``jaxrl.training.quarantine``. One that may be missing is an
    Average, which ``jaxrl.core.averages.optional`` makes.
    """
    must, fix = f"{who} must return its metrics as a dict with names as keys", 'Return {"loss": loss}.'
    named = isinstance(metrics, dict) and all(isinstance(name, str) for name in metrics)
    require(named, where, must, described(metrics), fix, error)
    for name, value in metrics.items():
        parts = value if isinstance(value, Average) else (value,)
        found = next((part for part in parts if not _is_real(part)), None)
        must = f"{who} must measure real numbers, arrays of them or an Average, under {name!r} too"
        require(found is None, where, must, describe(found), "Measure its mean or its norm.", error)
        must = f"{who} must measure arrays of 1 to {MOST_ENTRIES} entries, under {name!r} too"
        fix = "Every entry is a column of its own: measure the mean of what has more."
        large = next((part for part in parts if not 1 <= np.prod(np.shape(part)) <= MOST_ENTRIES), None)
        require(large is None, where, must, describe(large), fix, error)
        must, shapes = f"{who} must measure a total and a count of one shape, under {name!r} too", [*map(np.shape, parts)]
        require(len({*shapes}) == 1, where, must, shapes, "See jaxrl.core.averages.average.", error)
    columns = column_names(metrics)
    twice = sorted({column for column in columns if columns.count(column) > 1})
    must = f"{who} must measure under names that differ, also from the columns of its arrays"
    require(not twice, where, must, twice, "Rename one of the two metrics.", error)


def _is_real(value: Any) -> bool:
    if isinstance(value, (bool, int, float)):
        return True
    return is_array(value) and any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating))


def evaluation(where: str, evaluators: Sequence[Any], key: jax.Array, made: Algorithm, state: PyTree) -> dict[str, Any]:
    """Returns what all evaluators measure; each is given a key of its own.

    Raises:
        EvaluatorError: one cannot be traced, measures what is no metric, or measures under a name that another has used.
    """
    found: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for index, evaluator in enumerate(evaluators):
        who = type(evaluator).__name__
        fix = "Use jax.numpy, and what Algorithm offers: policy and probabilities may be None."
        with traced(where, f"{who}(key, algorithm, state)", EvaluatorError, fix):
            metrics = evaluator(jax.random.fold_in(key, index), made, state)
        require_metrics(where, who, metrics, EvaluatorError)
        for name in column_names(metrics):
            must, fix = "every evaluator must have metric names of its own", "Leave one out, or give its metric another name."
            require(name not in owners, where, must, f"{name!r} of {owners.get(name)} and of {who}", fix, EvaluatorError)
            owners[name] = who
        found |= metrics
    return found


# ---- environments, while they are traced
#
# Their functions, not their methods: these hide what is no array, and jax remembers their programs.


def require_record(where: str, env: Environment) -> None:
    """Raises EnvironmentError where a static field of an environment is of another kind than the protocol says."""
    check = functools.partial(require, where=where, error=EnvironmentError)
    for name in ("observation_space", "action_space"):
        space = getattr(env, name)
        fix = "Choose one of jaxrl.core.spaces."
        check(isinstance(space, Space), must=f"{name} must be a space", value=space, fix=fix)
    countable = not env.is_finite or isinstance(env.action_space, Discrete)
    must, fix = "action_space must be Discrete where outcomes are stated", "Discretise the actions, or leave outcomes_fn out."
    check(countable, must=must, value=env.action_space, fix=fix)
    steps, agents = env.max_steps, env.num_agents
    fix = "Set the number of steps that truncates an episode."
    check(_is_count(steps), must="max_steps must be a positive int", value=steps, fix=fix)
    fix = "None means that there is no agent axis."
    check(agents is None or _is_count(agents), must="num_agents must be None or a positive int", value=agents, fix=fix)
    stated = [name for name in ("outcomes_fn", "initial_fn", "observe_fn") if getattr(env, name) is not None]
    must = "outcomes_fn, initial_fn and observe_fn must be set together"
    check(len(stated) in (0, 3), must=must, value=stated, fix="Build it with jaxrl.core.finite.finite.")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def of_all_agents(env: Environment, space: Space) -> PyTree:
    """Returns an element of a space for every agent, all zeros."""
    agents = () if env.num_agents is None else (env.num_agents,)
    return jax.tree.map(lambda leaf: jnp.zeros((*agents, *leaf.shape), leaf.dtype), example(space))


def _environment_is(condition: bool, where: str, must: str, value: Any, fix: str) -> None:
    require(condition, where, must, value, fix, EnvironmentError)


def opening(where: str, env: Environment, key: jax.Array) -> tuple[PyTree, PyTree]:
    """Returns the first observation and state of an episode.

    Raises:
        EnvironmentError: ``reset_fn`` cannot be traced, returns something else than arrays, or an observation out of its space.
    """
    with traced(where, "reset_fn(key, params)", EnvironmentError):
        returned = env.reset_fn(key, env.params)
    pair = isinstance(returned, tuple) and len(returned) == 2
    _environment_is(pair, where, "reset_fn must return (obs, state)", type(returned).__name__, "Return both.")
    _require_arrays(where, "reset_fn", {"obs": returned[0], "state": returned[1]})
    expected, found = described(of_all_agents(env, env.observation_space)), described(returned[0])
    must = f"reset_fn must return an observation of its space, {expected}"
    _environment_is(found == expected, where, must, found, "Change observation_space, or cast and reshape.")
    return returned


def transition(where: str, env: Environment, key: jax.Array, obs: PyTree, state: PyTree) -> Step:
    """Returns the step that follows an observation and a state; the action is 0.

    Raises:
        EnvironmentError: ``step_fn`` cannot be traced, or returns something else than a Step in the structures of ``opening``.
    """
    with traced(where, "step_fn(key, state, action, params)", EnvironmentError):
        step = env.step_fn(key, state, of_all_agents(env, env.action_space), env.params)
    _environment_is(
        isinstance(step, Step),
        where,
        "step_fn must return a Step",
        type(step).__name__,
        "Return jaxrl.core.environment.Step(...).",
    )
    _require_arrays(where, "step_fn", step._replace(info={})._asdict())
    for name, first, later in (("observation", obs, step.obs), ("state", state, step.state)):
        must = f"step_fn must return the {name} in the structure that reset_fn returned, {described(first)}"
        _environment_is(not mismatch(first, later), where, must, described(later), "Keep structure, shapes and dtypes.")
    agents = "" if env.num_agents is None else env.num_agents
    expected = {"reward": f"float32[{agents}]", "terminated": "bool[]"}
    found = {name: described(getattr(step, name)).get("itself") for name in expected}
    _environment_is(found == expected, where, f"step_fn must return {expected}", found, "Cast and reshape them.")
    must = "step_fn must return a dict as info"
    _environment_is(isinstance(step.info, dict), where, must, type(step.info).__name__, "Name what it holds.")
    return step


def _require_arrays(where: str, who: str, named: dict[str, PyTree]) -> None:
    for name, tree in named.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            must = f"{who} must return arrays, as {name}{jax.tree_util.keystr(path)} too"
            fix = "Write jnp.float32(...), jnp.int32(...) or jnp.bool_(...)."
            _environment_is(is_array(leaf), where, must, describe(leaf), fix)


def legal(where: str, env: Any, state: PyTree) -> jax.Array:
    """Returns the action mask. Raises EnvironmentError where it is no mask of a Discrete space."""
    with traced(where, "action_mask_fn(state, params)", EnvironmentError):
        mask = env.action_mask_fn(state, env.params)
    must, fix = "action_space must be Discrete where actions are masked", "Leave the mask out."
    _environment_is(isinstance(env.action_space, Discrete), where, must, env.action_space, fix)
    agents = () if env.num_agents is None else (env.num_agents,)
    expected = described(jax.ShapeDtypeStruct((*agents, env.action_space.n), jnp.bool_))
    must = f"action_mask_fn must return {expected}"
    _environment_is(described(mask) == expected, where, must, described(mask), "One bool for every action.")
    return mask


def seen_by_all(where: str, env: Any, state: PyTree) -> jax.Array:
    """Returns the global observation. Raises EnvironmentError where it is no vector of float32."""
    with traced(where, "global_obs_fn(state, params)", EnvironmentError):
        found = env.global_obs_fn(state, env.params)
    flat = is_array(found) and found.ndim == 1 and found.dtype == jnp.float32
    must, fix = "global_obs_fn must return float32[G]", "Flatten and concatenate what it holds."
    _environment_is(flat, where, must, described(found), fix)
    return found


def outcomes(where: str, env: Any, state: PyTree) -> tuple[Initial, Outcomes]:
    """Returns the initial distribution, and the outcomes of action 0 in a state.

    Raises:
        EnvironmentError: ``initial_fn`` or ``outcomes_fn`` cannot be traced, or an entry lacks the axis of outcomes.
    """
    action = of_all_agents(env, env.action_space)
    with traced(where, "outcomes_fn(state, action, params)", EnvironmentError):
        found = env.outcomes_fn(state, action, env.params)
    with traced(where, "initial_fn(params)", EnvironmentError):
        initial = env.initial_fn(env.params)
    agents = () if env.num_agents is None else (env.num_agents,)
    number, flag = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.bool_)
    entries: tuple[Any, ...] = (number, state, jax.ShapeDtypeStruct(agents, jnp.float32), flag)
    for who, returned, kind in (("outcomes_fn", found, Outcomes), ("initial_fn", initial, Initial)):
        right = isinstance(returned, kind)
        _environment_is(right, where, f"{who} must return {kind.__name__}", type(returned).__name__, "Return that record.")
        count = jnp.shape(returned.probability)[:1] or (1,)
        one = kind(*entries[: len(kind._fields)])
        wanted = jax.tree.map(lambda leaf, count=count: jax.ShapeDtypeStruct((*count, *leaf.shape), leaf.dtype), one)
        # In float64 mode a table is computed more precisely than a step: its probabilities and rewards may be wider.
        narrow = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), _narrow(jnp.result_type(leaf))), returned)
        must, fix = f"{who} must return {described(wanted)}", "Give every entry the axis of outcomes."
        _environment_is(not mismatch(wanted, narrow), where, must, described(returned), fix)
    return initial, found


def _narrow(dtype: Any) -> Any:
    return jnp.dtype(jnp.float32) if dtype == np.float64 else dtype


@functools.partial(jax.jit, static_argnames=("where",))
def _played(where: str, env: Environment, key: jax.Array) -> tuple:
    """Traces whatever an environment has. jax remembers that it was traced, so equal environments are looked at once."""
    obs, state = opening(where, env, key)
    transition(where, env, key, obs, state)
    if env.action_mask_fn is not None:
        legal(where, env, state)
    if env.global_obs_fn is not None:
        seen_by_all(where, env, state)
    if env.is_finite:
        outcomes(where, env, state)
    return ()


def require_environment(where: str, env: Environment) -> None:
    """Raises EnvironmentError unless an environment returns the structures that it declares, and outcomes that are possible.

    Of a finite environment the outcome probabilities of its likeliest initial states are computed, of at most ``MOST_STARTS``
    states and ``MOST_ACTIONS`` actions in each; nothing else is.
    """
    require_record(where, env)
    _played.eval_shape(where, env, jax.random.key(0))
    if env.is_finite:
        initial, first = map(np.asarray, _first_outcomes(env))
        fix = "Check initial_fn(params)."
        require_distribution(where, "the probabilities of initial states", initial[None], fix, EnvironmentError)
        fix = "Check outcomes_fn(state, action, params)."
        possible = np.sort(initial)[::-1][: len(first)] > 0
        require_distribution(where, "the outcome probabilities of an initial state", first[possible], fix, EnvironmentError)


@functools.partial(jax.jit, compiler_options=QUICK)
def _first_outcomes(env: Any) -> tuple[jax.Array, jax.Array]:
    """Returns the initial distribution, and the outcome probabilities [n, a, K] of its likeliest states, in that order."""
    initial, agents, choices = env.initial_fn(env.params), env.num_agents or 1, env.action_space.n
    _, likeliest = jax.lax.top_k(initial.probability, min(MOST_STARTS, initial.probability.shape[0]))
    states = jax.tree.map(lambda leaf: leaf[likeliest], initial.state)
    if choices**agents <= MOST_ACTIONS:
        joint = np.stack(np.unravel_index(np.arange(choices**agents), (choices,) * agents), axis=-1)
    else:
        joint = np.random.default_rng(0).integers(choices, size=(MOST_ACTIONS, agents))
    actions = jnp.asarray(joint[:, 0] if env.num_agents is None else joint, jnp.int32)
    of_pair = jax.vmap(lambda state, action: env.outcomes_fn(state, action, env.params).probability, in_axes=(None, 0))
    return initial.probability, jax.vmap(of_pair, in_axes=(0, None))(states, actions)
