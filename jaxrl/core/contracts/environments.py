"""Environments while they are traced, and the outcomes of finite ones.

Their functions are called, not their methods: these hide what is no array, and jax remembers their programs.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core import masks
from jaxrl.core.contracts.structures import describe, described, is_array, mismatch, traced
from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.finite import Initial, Outcomes
from jaxrl.core.spaces import Discrete, Space, example, is_nested
from jaxrl.errors import EnvError, require, require_distribution, require_finite

MOST_STARTS, MOST_ACTIONS = 32, 64  # initial states, and actions in each, whose outcome probabilities are looked at

# The probabilities are computed once: compiling them takes longer than running them.
QUICK = {"xla_backend_optimization_level": 0}


def require_record(where: str, env: Environment) -> None:
    """Raises EnvError where a static field of an environment is of another kind than the protocol says."""
    check = functools.partial(require, where=where, error=EnvError)
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
    roles = env.roles
    named = roles is None or (
        isinstance(roles, tuple) and len(roles) == (agents or 0) and all(_is_number(role) for role in roles)
    )
    check(named, must="roles must be None or an integer of at least 0 for each agent", value=roles, fix="Give a tuple of N.")
    stated = [name for name in ("outcomes_fn", "initial_fn", "observe_fn") if getattr(env, name) is not None]
    must = "outcomes_fn, initial_fn and observe_fn must be set together"
    check(len(stated) in (0, 3), must=must, value=stated, fix="Build it with jaxrl.core.finite.finite.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def of_all_agents(env: Environment, space: Space) -> PyTree:
    """Returns an element of a space for every agent, all zeros."""
    agents = () if env.num_agents is None else (env.num_agents,)
    return jax.tree.map(lambda leaf: jnp.zeros((*agents, *leaf.shape), leaf.dtype), example(space))


def _environment_is(condition: bool, where: str, must: str, value: Any, fix: str) -> None:
    require(condition, where, must, value, fix, EnvError)


def opening(where: str, env: Environment, key: jax.Array) -> tuple[PyTree, PyTree]:
    """Returns the first observation and state of an episode.

    Raises:
        EnvError: ``reset_fn`` cannot be traced, returns something else than arrays, or an observation out of its space.
    """
    with traced(where, "reset_fn(key, params)", EnvError, called=env.reset_fn):
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
        EnvError: ``step_fn`` cannot be traced, or returns something else than a Step in the structures of ``opening``.
    """
    with traced(where, "step_fn(key, state, action, params)", EnvError, called=env.step_fn):
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


def legal(where: str, env: Any, state: PyTree) -> PyTree:
    """Returns the action mask. Raises EnvError where it is no mask of the action space; see ``jaxrl.core.masks``."""
    with traced(where, "action_mask_fn(state, params)", EnvError):
        mask = env.action_mask_fn(state, env.params)
    must, fix = "action_space must have a Discrete or MultiDiscrete part where actions are masked", "Leave the mask out."
    _environment_is(masks.can_be_masked(env.action_space), where, must, env.action_space, fix)
    agents = () if env.num_agents is None else (env.num_agents,)
    expected = masks.structure(env.action_space, *agents)
    wanted, given = described(expected), described(mask)
    alike = jax.tree.structure(expected, is_leaf=_is_none) == jax.tree.structure(mask, is_leaf=_is_none)
    must = f"action_mask_fn must return {wanted}"
    fix = "One bool for every action."
    if is_nested(env.action_space):
        fix = "One bool for every integer of a choice, and None in place of a Box, or of a part in which everything is legal."
    _environment_is(alike and bool(given) and given.items() <= wanted.items(), where, must, given, fix)
    return mask


def _is_none(node: Any) -> bool:
    return node is None


def seen_by_all(where: str, env: Any, state: PyTree) -> jax.Array:
    """Returns the global observation. Raises EnvError where it is no vector of float32."""
    with traced(where, "global_obs_fn(state, params)", EnvError):
        found = env.global_obs_fn(state, env.params)
    flat = is_array(found) and found.ndim == 1 and found.dtype == jnp.float32
    must, fix = "global_obs_fn must return float32[G]", "Flatten and concatenate what it holds."
    _environment_is(flat, where, must, described(found), fix)
    return found


def outcomes(where: str, env: Any, state: PyTree) -> tuple[Initial, Outcomes]:
    """Returns the initial distribution, and the outcomes of action 0 in a state.

    Raises:
        EnvError: ``initial_fn`` or ``outcomes_fn`` cannot be traced, or an entry lacks the axis of outcomes.
    """
    action = of_all_agents(env, env.action_space)
    with traced(where, "outcomes_fn(state, action, params)", EnvError):
        found = env.outcomes_fn(state, action, env.params)
    with traced(where, "initial_fn(params)", EnvError):
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
    """Raises EnvError unless an environment returns the structures that it declares, and outcomes that are possible.

    Of a finite environment the outcomes of its likeliest initial states are computed, of at most ``MOST_STARTS`` states and
    ``MOST_ACTIONS`` actions in each, and the legal actions there: every state must leave one, and probabilities and the rewards
    of what can happen must be sound. Nothing else is.
    """
    require_record(where, env)
    _played.eval_shape(where, env, jax.random.key(0))
    if env.is_finite:
        initial, first, reward, some = map(np.asarray, _first_outcomes(env))
        fix = "Check initial_fn(params)."
        require_distribution(where, "the probabilities of initial states", initial[None], fix, EnvError)
        fix = "Check outcomes_fn(state, action, params)."
        likeliest = np.argsort(-initial, kind="stable")[: len(first)]
        possible = initial[likeliest] > 0
        require_distribution(where, "the outcome probabilities of an initial state", first[possible], fix, EnvError)
        paid = np.where(first.reshape(*first.shape, *(1,) * (reward.ndim - first.ndim)) > 0, reward, 0.0)[possible & some]
        require_finite(where, "the rewards of an initial state", paid, fix, EnvError)
        stuck = likeliest[possible & ~some]
        must, found = "action_mask_fn must leave a legal action in every state", f"none in {stuck[:3].tolist()} of initial_fn"
        fix = "Allow an action that does nothing, or end the episode one step before."
        require(not len(stuck), where, must, found, fix, EnvError)


@functools.partial(jax.jit, compiler_options=QUICK)
def _first_outcomes(env: Any) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns the initial distribution, and of its n likeliest states, in that order, the outcome probabilities [n, a, K], the
    rewards [n, a, K] (or [n, a, K, N]), and whether there is a legal action (for each agent), bool[n]."""
    initial, agents, choices = env.initial_fn(env.params), env.num_agents or 1, env.action_space.n
    _, likeliest = jax.lax.top_k(initial.probability, min(MOST_STARTS, initial.probability.shape[0]))
    states = jax.tree.map(lambda leaf: leaf[likeliest], initial.state)
    if choices**agents <= MOST_ACTIONS:
        joint = np.stack(np.unravel_index(np.arange(choices**agents), (choices,) * agents), axis=-1)
    else:
        joint = np.random.default_rng(0).integers(choices, size=(MOST_ACTIONS, agents))
    actions = jnp.asarray(joint[:, 0] if env.num_agents is None else joint, jnp.int32)
    of_pair = jax.vmap(lambda state, action: env.outcomes_fn(state, action, env.params), in_axes=(None, 0))
    found = jax.vmap(of_pair, in_axes=(0, None))(states, actions)
    some = jnp.ones(likeliest.shape, bool)
    if env.action_mask_fn is not None:
        mask = jax.vmap(env.action_mask_fn, in_axes=(0, None))(states, env.params)
        some = masks.some_legal(env.action_space, mask).reshape(len(some), -1).all(-1)
    return initial.probability, found.probability, found.reward, some
