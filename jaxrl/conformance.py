"""The conformance kit: ``check_environment`` finds out whether an environment keeps the protocol of ``jaxrl.env``.

Make it the first test of a new environment. It plays random legal actions, looks at the structure of everything that the
functions return, compares compiled with uncompiled and batched with single calls, and holds the sampled steps of a finite
environment against its outcome probabilities. Each check is one function below; the first that fails raises.
"""

import dataclasses
import functools
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.env import Environment, PyTree, Step
from jaxrl.errors import EnvironmentError, require
from jaxrl.finite import Initial, Outcomes, TabularModel, from_table, tabulate
from jaxrl.rollout import View, uniform_policy
from jaxrl.spaces import Box, Dict, Discrete, example

BATCH = 512  # environments stepped at once: one compiled program for everything that is batched
NUM_STEPS = 32  # of random play that the checks look at
NUM_PAIRS, NUM_REPEATS = 8, 4  # states with an action, and batches sampled from each, for the test of frequencies
SIGNIFICANCE = 1e-4  # the test of frequencies rejects a correct environment this often, over keys


class Report(NamedTuple):
    """What ``check_environment`` found: the checks that passed, and those that do not apply to this environment."""

    passed: tuple[str, ...]
    skipped: tuple[str, ...]


def check_environment(env: Environment, key: jax.Array, rebuilt: Environment | None = None, tabulated: bool = True) -> Report:
    """Checks an environment against the protocol.

    Args:
        env: the environment.
        key: one key; the same key checks the same states.
        rebuilt: the environment built by its factory a second time, if possible with other numbers: it must find the compiled
            program of the first. None skips this check.
        tabulated: whether to walk all states of a finite environment; False skips the checks that need its table.

    Raises:
        EnvironmentError: at the first check that fails, saying what must hold and what was found.
    """
    subject = _Subject(env, key, rebuilt, tabulated)
    applies = [check.applies(subject) for check in _CHECKS]
    for check, applicable in zip(_CHECKS, applies, strict=True):
        if applicable:
            check.run(subject)
    names = [check.run.__name__.removeprefix("_check_").replace("_", " ") for check in _CHECKS]
    passed = tuple(name for name, applicable in zip(names, applies, strict=True) if applicable)
    return Report(passed, tuple(name for name in names if name not in passed))


class _Played(NamedTuple):
    """Steps of random play, leading axis BATCH everywhere: where each was taken, and what it returned."""

    key: jax.Array
    state: PyTree
    obs: PyTree
    action: PyTree
    step: Step


@jax.jit
def _reset(env: Environment, key: jax.Array) -> tuple[PyTree, PyTree]:
    return env.reset(key)


@jax.jit
def _step(env: Environment, key: jax.Array, state: PyTree, action: PyTree) -> Step:
    return env.step(key, state, action)


@jax.jit
def _resets(env: Environment, keys: jax.Array) -> tuple[PyTree, PyTree]:
    return jax.vmap(env.reset)(keys)


@jax.jit
def _steps(env: Environment, keys: jax.Array, states: PyTree, actions: PyTree) -> Step:
    return jax.vmap(env.step)(keys, states, actions)


@jax.jit
def _outcomes(env: Any, states: PyTree, actions: PyTree) -> Outcomes:
    return jax.vmap(env.outcomes_fn, in_axes=(0, 0, None))(states, actions, env.params)


@jax.jit
def _go_on(env: Environment, key: jax.Array, over: jax.Array, fresh: tuple, current: tuple) -> tuple:
    """Begins again where an episode is over. Returns ``(obs, state, legal random action)``."""
    obs, state = jax.vmap(lambda end, *pair: jax.tree.map(functools.partial(jnp.where, end), *pair))(over, fresh, current)
    mask = None if env.action_mask_fn is None else jax.vmap(env.action_mask)(state)
    return obs, state, uniform_policy(env)(key, View(obs, mask, ())).action


def _play(env: Environment, key: jax.Array) -> _Played:
    """Plays BATCH environments and takes an equal share of the record from every step."""
    reset_key, step_key, action_key = jax.random.split(key, 3)
    step_keys, action_keys = jax.random.split(step_key, (NUM_STEPS, BATCH)), jax.random.split(action_key, NUM_STEPS)
    fresh = current = _resets(env, jax.random.split(reset_key, BATCH))
    over, t, record = jnp.zeros(BATCH, bool), jnp.zeros(BATCH, jnp.int32), []
    for index, shares in enumerate(np.split(np.arange(BATCH), NUM_STEPS)):
        obs, state, action = _go_on(env, action_keys[index], over, fresh, current)
        step = _steps(env, step_keys[index], state, action)
        t = jnp.where(over, 1, t + 1)
        over, current = step.terminated | (t >= env.max_steps), (step.obs, step.state)
        record.append(_row(_Played(step_keys[index], state, obs, action, step), shares))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *record)


@dataclass(frozen=True)
class _Subject:
    """What is checked, with what several checks need, computed once."""

    env: Environment
    key: jax.Array
    rebuilt: Environment | None
    tabulated: bool

    @functools.cached_property
    def played(self) -> _Played:
        return _play(self.env, jax.random.fold_in(self.key, 0))

    @functools.cached_property
    def outcomes(self) -> Outcomes:
        return _numpy(_outcomes(self.env, self.played.state, self.played.action))

    @functools.cached_property
    def model(self) -> TabularModel:
        return tabulate(self.env)

    @property
    def action(self) -> PyTree:
        """An action as the environment receives it, by shape and dtype."""
        return _of_all_agents(self.env, self.env.action_space)


class _Check(NamedTuple):
    run: Callable
    applies: Callable


def _require(condition, must: str, value: object, fix: str) -> None:
    require(bool(condition), "check_environment", must, value, fix, EnvironmentError)


def _of_all_agents(env: Environment, space) -> PyTree:
    agents = () if env.num_agents is None else (env.num_agents,)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*agents, *leaf.shape), leaf.dtype), example(space))


def _describe(tree: PyTree) -> dict[str, str]:
    """Returns the type of every leaf by its place in the tree, for comparison and for messages."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(lambda tree: tree, tree))
    return {jax.tree_util.keystr(path) or "itself": f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _numpy(tree: PyTree) -> PyTree:
    def convert(leaf):
        return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)

    return jax.tree.map(convert, tree)


def _row(tree: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _joined(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)


def _same(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns which entries are equal; real numbers up to the rounding that another order of operations causes."""
    if np.issubdtype(one.dtype, np.floating):
        return np.isclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)
    return one == other


def _difference(one: PyTree, other: PyTree) -> str:
    """Returns the first place where two pytrees differ, with the two values, or "" where they are the same."""
    leaves = jax.tree_util.tree_leaves_with_path(_numpy(one))
    for (path, ours), theirs in zip(leaves, jax.tree.leaves(_numpy(other)), strict=True):
        same = _same(ours, theirs)
        if not same.all():
            first = np.unravel_index(same.argmin(), same.shape)
            return f"{ours[first]} and {theirs[first]} at {jax.tree_util.keystr(path)}"
    return ""


def _matches(samples: PyTree, table: PyTree) -> np.ndarray:
    """Returns which of the K entries each of n samples equals, bool[n, K].

    Args:
        samples: PyTree[n, ...].
        table: PyTree[K, ...], or PyTree[n, K, ...] with entries of its own for each sample.
    """

    def match(sample, entries):
        entries = entries if entries.ndim > sample.ndim else entries[None]
        same = _same(sample[:, None], entries)
        return same.reshape(*same.shape[:2], -1).all(-1)

    return np.all(jax.tree.leaves(jax.tree.map(match, samples, table)), axis=0)


# ---- the record


def _check_record(subject: _Subject) -> None:
    env = subject.env
    for name in ("observation_space", "action_space"):
        space = getattr(env, name)
        _require(isinstance(space, Discrete | Box | Dict), f"{name} must be a space", space, "Choose one of jaxrl.spaces.")
    steps, agents = env.max_steps, env.num_agents
    counts = isinstance(steps, int) and steps >= 1
    _require(counts, "max_steps must be a positive int", steps, "Set the number of steps that truncates an episode.")
    counts = agents is None or (isinstance(agents, int) and agents >= 1)
    _require(counts, "num_agents must be None or a positive int", agents, "None means that there is no agent axis.")
    stated = [name for name in ("outcomes_fn", "initial_fn", "observe_fn") if getattr(env, name) is not None]
    must = "outcomes_fn, initial_fn and observe_fn must be set together"
    _require(len(stated) in (0, 3), must, stated, "Build it with jaxrl.finite.finite.")


def _check_static_fields_equal_when_rebuilt(subject: _Subject) -> None:
    for field in dataclasses.fields(subject.env):
        value = getattr(subject.env, field.name)
        if field.name == "params" or value is None:
            continue
        if field.name.endswith("_fn"):
            must = f"{field.name} must be a module-level function or a frozen dataclass of such"
            fix = "Otherwise an environment built again compiles again; move what it closes over into params."
            _require(_equal_when_rebuilt(value), must, value, fix)
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


def _check_params_are_arrays(subject: _Subject) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(subject.env.params):
        where = "params" + jax.tree_util.keystr(path)
        array = isinstance(leaf, jax.Array | np.ndarray | np.generic)
        _require(array, f"{where} must be an array", leaf, "Write jnp.float32(...) or jnp.int32(...).")
        narrow = leaf.dtype not in (np.float64, np.int64, np.uint64, np.complex128)
        _require(narrow, f"{where} must have at most 32 bits", str(leaf.dtype), "Write dtype jnp.float32 or jnp.int32.")
        weak = getattr(leaf, "weak_type", False)
        _require(not weak, f"{where} must have a dtype of its own", "a weak type", "Write dtype jnp.float32 or jnp.int32.")


# ---- structure


def _traced(where: str, arguments: str, function: Callable, *values: Any) -> Any:
    try:
        return jax.eval_shape(function, *values)
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise EnvironmentError(
            f"check_environment: {where} must accept {arguments} and be traceable by jax, got {reason}. "
            "Use jax.numpy and no Python branch on a traced value."
        ) from error


def _reset_shapes(subject: _Subject) -> tuple:
    return _traced("reset_fn", "(key, params)", subject.env.reset, subject.key)


def _check_reset_structure(subject: _Subject) -> None:
    env = subject.env
    returned = _reset_shapes(subject)
    pair = isinstance(returned, tuple) and len(returned) == 2
    _require(pair, "reset_fn must return (obs, state)", type(returned).__name__, "Return both.")
    expected, found = _describe(_of_all_agents(env, env.observation_space)), _describe(returned[0])
    must = f"reset_fn must return an observation of its space, {expected}"
    _require(found == expected, must, found, "Change observation_space, or cast and reshape.")


def _check_step_structure(subject: _Subject) -> None:
    env = subject.env
    obs, state = _reset_shapes(subject)
    step = _traced("step_fn", "(key, state, action, params)", env.step, subject.key, state, subject.action)
    _require(isinstance(step, Step), "step_fn must return a Step", type(step).__name__, "Return jaxrl.env.Step(...).")
    for name, first, later in (("observation", obs, step.obs), ("state", state, step.state)):
        same = _describe(first) == _describe(later) and jax.tree.structure(first) == jax.tree.structure(later)
        must = f"step_fn must return the {name} in the structure that reset_fn returned, {_describe(first)}"
        _require(same, must, _describe(later), "Keep structure, shapes and dtypes.")
    agents = "" if env.num_agents is None else env.num_agents
    expected = {"reward": f"float32[{agents}]", "terminated": "bool[]"}
    found = {"reward": _describe(step.reward).get("itself"), "terminated": _describe(step.terminated).get("itself")}
    _require(found == expected, f"step_fn must return {expected}", found, "Cast and reshape them.")
    _require(isinstance(step.info, dict), "step_fn must return a dict as info", type(step.info).__name__, "Name what it holds.")


def _check_mask_structure(subject: _Subject) -> None:
    env: Any = subject.env
    _, state = _reset_shapes(subject)
    mask = _traced("action_mask_fn", "(state, params)", env.action_mask, state)
    discrete = isinstance(env.action_space, Discrete)
    _require(discrete, "action_space must be Discrete where actions are masked", env.action_space, "Leave the mask out.")
    agents = () if env.num_agents is None else (env.num_agents,)
    expected = jax.ShapeDtypeStruct((*agents, env.action_space.n), bool)
    must = f"action_mask_fn must return {_describe(expected)}"
    _require(_describe(mask) == _describe(expected), must, _describe(mask), "One bool for every action.")


def _check_global_observation_structure(subject: _Subject) -> None:
    _, state = _reset_shapes(subject)
    found = _traced("global_obs_fn", "(state, params)", subject.env.global_obs, state)
    flat = getattr(found, "ndim", None) == 1 and found.dtype == jnp.float32
    _require(flat, "global_obs_fn must return float32[G]", _describe(found), "Flatten and concatenate what it holds.")


def _check_outcomes_structure(subject: _Subject) -> None:
    env: Any = subject.env
    _, state = _reset_shapes(subject)
    outcomes = _traced("outcomes_fn", "(state, action, params)", env.outcomes_fn, state, subject.action, env.params)
    initial = _traced("initial_fn", "(params)", env.initial_fn, env.params)
    agents = () if env.num_agents is None else (env.num_agents,)
    for where, found, kind in (("outcomes_fn", outcomes, Outcomes), ("initial_fn", initial, Initial)):
        _require(isinstance(found, kind), f"{where} must return {kind.__name__}", type(found).__name__, "Return that record.")
        count = found.probability.shape[:1] or (1,)
        number, flag = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), bool)
        entries: tuple[Any, ...] = (number, state, jax.ShapeDtypeStruct(agents, jnp.float32), flag)
        one = kind(*entries[: len(kind._fields)])
        expected = jax.tree.map(lambda leaf, count=count: jax.ShapeDtypeStruct((*count, *leaf.shape), leaf.dtype), one)
        must = f"{where} must return {_describe(expected)}"
        _require(_describe(found) == _describe(expected), must, _describe(found), "Give every entry the axis of outcomes.")


# ---- purity


def _check_keys_are_used_once(subject: _Subject) -> None:
    env = subject.env
    _, state = _reset_shapes(subject)
    key = jax.random.key(0)
    for where, function, values in (("reset_fn", env.reset, (key,)), ("step_fn", env.step, (key, state, subject.action))):
        try:
            with jax.debug_key_reuse(True):
                jax.jit(function).lower(*values)
        except jax.errors.KeyReuseError as error:
            reason = str(error).splitlines()[0]
            message = f"check_environment: {where} must use each key once, got {reason!r}. Split it at the top of the function."
            raise EnvironmentError(message) from error


def _check_same_key_same_result(subject: _Subject) -> None:
    env, played = subject.env, subject.played
    inputs = _row((played.key, played.state, played.action), 0)
    for where, function, values in (("reset_fn", env.reset, (subject.key,)), ("step_fn", env.step, inputs)):
        difference = _difference(function(*values), function(*values))
        must = f"{where} must return the same for the same inputs"
        _require(not difference, must, difference, "Draw only from the key; keep no state outside.")


def _check_compiled_equals_eager(subject: _Subject) -> None:
    env, played = subject.env, subject.played
    must, fix = "must return the same compiled and uncompiled", "Keep Python and NumPy randomness, and printing, out of it."
    difference = _difference(_reset(env, subject.key), env.reset(subject.key))
    _require(not difference, f"reset_fn {must}", difference, fix)
    for index in (0, 1, BATCH - 1):
        inputs = _row((played.key, played.state, played.action), index)
        difference = _difference(_step(env, *inputs), env.step(*inputs))
        _require(not difference, f"step_fn {must}", difference, fix)


def _check_batched_equals_single(subject: _Subject) -> None:
    played = subject.played
    for index in range(0, BATCH, BATCH // 8):
        single = _step(subject.env, *_row((played.key, played.state, played.action), index))
        difference = _difference(single, _row(played.step, index))
        must = "step_fn must return the same one by one and under vmap"
        _require(not difference, must, difference, "Use no operation that sees the other environments.")


def _check_rebuilt_compiles_once(subject: _Subject) -> None:
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
    found = {"static fields that differ": differing, "params": (_describe(env.params), _describe(rebuilt.params))}
    must = "an environment built again must find the compiled program of the first"
    fix = "Keep numbers in params, as arrays of one dtype, and functions at module level."
    _require(traces == 1, must, found, fix)


# ---- values


def _check_observations_in_space(subject: _Subject) -> None:
    space, played = subject.env.observation_space, subject.played
    for where, obs in (("reset_fn", played.obs), ("step_fn", played.step.obs)):
        bounds = jax.tree.map(lambda leaf: (leaf.min().item(), leaf.max().item()), _numpy(obs))
        must = f"{where} must return observations in {space}"
        _require(space.contains(obs), must, f"values in {bounds}", "Widen the space or mend the observation.")


def _check_rewards_are_finite(subject: _Subject) -> None:
    reward = _numpy(subject.played.step.reward)
    _require(np.isfinite(reward).all(), "step_fn must return finite rewards", reward[~np.isfinite(reward)][:3], "Bound them.")


def _check_some_action_is_legal(subject: _Subject) -> None:
    legal = np.asarray(jax.vmap(subject.env.action_mask)(subject.played.state)).any(-1)
    must, fix = "action_mask_fn must leave at least one action legal in every state", "Allow one, for example staying."
    _require(legal.all(), must, f"none in {np.sum(~legal)} of {legal.size} cases", fix)


# ---- finite environments


def _check_probabilities(subject: _Subject) -> None:
    env: Any = subject.env
    initial = _numpy(env.initial_fn(env.params))
    for where, probability in (("outcomes_fn", subject.outcomes.probability), ("initial_fn", initial.probability[None])):
        total, lowest = probability.sum(-1), probability.min()
        _require(lowest >= 0, f"{where} must return no negative probability", float(lowest), "Check the formula.")
        worst = float(total[np.abs(total - 1).argmax()])
        _require(abs(worst - 1) < 1e-5, f"{where} must return probabilities that sum to 1", worst, "Check the formula.")


def _check_observations_follow_from_states(subject: _Subject) -> None:
    env: Any = subject.env
    step = subject.played.step
    difference = _difference(jax.vmap(env.observe_fn, in_axes=(0, None))(step.state, env.params), step.obs)
    must = "observe_fn must observe what step_fn returned"
    _require(not difference, must, difference, "Use one function for both.")


def _check_steps_are_possible_outcomes(subject: _Subject) -> None:
    step, outcomes = _numpy(subject.played.step), subject.outcomes
    found = _matches((step.state, step.reward, step.terminated), tuple(outcomes[1:])) & (outcomes.probability > 0)
    strange = np.flatnonzero(~found.any(-1))
    must = "step_fn must return a state, reward and termination that have positive probability in outcomes_fn"
    value = _row((subject.played.state, subject.played.action, step), strange[0]) if len(strange) else None
    _require(not len(strange), must, value, "Derive it with jaxrl.finite.finite.")


def _check_frequencies(subject: _Subject) -> None:
    from scipy.special import chdtrc

    env: Any = subject.env
    played = subject.played
    initial = _numpy(env.initial_fn(env.params))
    # From the half with more outcomes, which has more to show.
    pairs = np.argsort(-(subject.outcomes.probability > 0).sum(-1), kind="stable")[: BATCH // 2 : BATCH // 2 // NUM_PAIRS]
    keys = jax.random.split(jax.random.fold_in(subject.key, 1), (1 + len(pairs), NUM_REPEATS, BATCH))
    resets = [_numpy(_resets(env, each)[1]) for each in keys[0]]
    tests = [_chi_square(_joined(resets), initial.state, initial.probability)]
    for pair, pair_keys in zip(pairs, keys[1:], strict=True):
        state, action = _row((played.state, played.action), np.full(BATCH, pair))
        step = _joined([_numpy(_steps(env, each, state, action)) for each in pair_keys])
        outcomes = _row(subject.outcomes, pair)
        tests.append(_chi_square((step.state, step.reward, step.terminated), tuple(outcomes[1:]), outcomes.probability))
    statistic, freedom = np.sum(tests, axis=0)
    chance = float(chdtrc(freedom, statistic)) if freedom else 1.0
    must = f"sampled steps and resets must be as frequent as their probabilities say (chi-square test at {SIGNIFICANCE})"
    _require(chance >= SIGNIFICANCE, must, f"a chance of {chance:.1e}", "Derive both with jaxrl.finite.finite.")


def _chi_square(samples: PyTree, table: PyTree, probability: np.ndarray) -> tuple[float, int]:
    """Returns Pearson's statistic and its degrees of freedom for n samples of K entries, some of which may be equal."""
    entry = _matches(table, table).argmax(-1)  # the first of its equals stands for all of them
    found = _matches(samples, table) & (probability > 0)
    _require(found.any(-1).all(), "sampled states must be those of the stated distribution", "others", "Derive them from it.")
    observed = np.bincount(entry[found.argmax(-1)], minlength=len(entry))
    expected = np.bincount(entry, probability, minlength=len(entry)) * len(found)
    # Pearson's approximation needs about five expected samples in a class, so the rarest are put together.
    group, current, total = np.zeros(len(entry), np.int32), 0, 0.0
    for index in np.argsort(expected):
        group[index], total = current, total + expected[index]
        if total >= 5:
            current, total = current + 1, 0.0
    group = np.minimum(group, max(current - 1, 0))
    observed, expected = np.bincount(group, observed), np.bincount(group, expected)
    return float(((observed - expected) ** 2 / expected).sum()), len(expected) - 1


def _going_on(model: TabularModel) -> np.ndarray:
    """Returns the states in which an episode can be under way, bool[X]: first ones, and those reached without terminating."""
    reached = (model.probability > 0) & ~model.terminated
    going_on = model.initial > 0
    going_on[model.next_state[reached]] = True
    return going_on


def _check_terminal_states_are_absorbing(subject: _Subject) -> None:
    env, model = subject.env, subject.model
    possible = model.probability > 0
    going_on = _going_on(model)
    ends = np.unique(model.next_state[possible & model.terminated & going_on[:, None, None]])
    ends = ends[~going_on[ends]]
    if not len(ends):
        return
    state, action = _pairs(subject, np.resize(ends, BATCH))
    outcomes = _numpy(_outcomes(env, state, action))
    possible = outcomes.probability > 0
    stays = _matches(_numpy(state), outcomes.state) & outcomes.terminated
    must = "in a state that is reached by terminating only, every action must stay there and terminate"
    _require(stays[possible].all(), must, "an action that leads on", "Return the state itself, terminated.")
    reward = outcomes.reward[possible]
    must = "in a state that is reached by terminating only, every reward must be 0"
    _require(not reward.any(), must, reward[reward != 0][:3], "Pay the last reward on entering it.")


def _check_table_agrees(subject: _Subject) -> None:
    env, model = subject.env, subject.model
    again = from_table(model, env.max_steps)
    going_on = np.flatnonzero(_going_on(model))
    rows = np.resize(going_on[:: -(-len(going_on) // BATCH)], BATCH)
    state, action = _pairs(subject, rows)
    sampled, exact = _numpy(_outcomes(env, state, action)), _numpy(_outcomes(again, jnp.asarray(rows, jnp.int32), action))
    exact = exact._replace(state=_row(model.state, exact.state))
    possible = exact.probability > 0
    difference = _difference(sampled.probability, exact.probability) or _difference(
        _row(tuple(sampled[1:]), possible), _row(tuple(exact[1:]), possible)
    )
    must = "outcomes_fn must agree with its table"
    _require(not difference, must, difference, "Let it compute the same in float32 and float64; use integers for states.")


def _pairs(subject: _Subject, rows: np.ndarray) -> tuple[PyTree, jax.Array]:
    """Returns the states of these rows of the table, with a random legal action in each."""
    model = subject.model
    draws = np.random.default_rng(0).random((len(rows), model.num_actions)) * model.action_mask[rows]
    joint = np.stack(np.unravel_index(draws.argmax(-1), model.joint_shape), axis=-1).astype(np.int32)
    action = joint[:, 0] if subject.env.num_agents is None else joint
    return jax.tree.map(jnp.asarray, _row(model.state, rows)), jnp.asarray(action)


def _always(subject: _Subject) -> bool:
    return True


def _is_rebuilt(subject: _Subject) -> bool:
    return subject.rebuilt is not None


def _is_masked(subject: _Subject) -> bool:
    return subject.env.action_mask_fn is not None


def _is_observed_globally(subject: _Subject) -> bool:
    return subject.env.global_obs_fn is not None


def _is_finite(subject: _Subject) -> bool:
    return subject.env.is_finite


def _is_tabulated(subject: _Subject) -> bool:
    return subject.env.is_finite and subject.tabulated


# In this order, because the later ones run what the earlier ones have found to be sound.
_CHECKS = (
    _Check(_check_record, _always),
    _Check(_check_static_fields_equal_when_rebuilt, _always),
    _Check(_check_params_are_arrays, _always),
    _Check(_check_reset_structure, _always),
    _Check(_check_step_structure, _always),
    _Check(_check_mask_structure, _is_masked),
    _Check(_check_global_observation_structure, _is_observed_globally),
    _Check(_check_outcomes_structure, _is_finite),
    _Check(_check_keys_are_used_once, _always),
    _Check(_check_rebuilt_compiles_once, _is_rebuilt),
    _Check(_check_some_action_is_legal, _is_masked),
    _Check(_check_same_key_same_result, _always),
    _Check(_check_compiled_equals_eager, _always),
    _Check(_check_batched_equals_single, _always),
    _Check(_check_observations_in_space, _always),
    _Check(_check_rewards_are_finite, _always),
    _Check(_check_probabilities, _is_finite),
    _Check(_check_observations_follow_from_states, _is_finite),
    _Check(_check_steps_are_possible_outcomes, _is_finite),
    _Check(_check_frequencies, _is_finite),
    _Check(_check_terminal_states_are_absorbing, _is_tabulated),
    _Check(_check_table_agrees, _is_tabulated),
)
