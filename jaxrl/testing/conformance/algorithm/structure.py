"""Checks while an algorithm is traced: structures, shapes and dtypes, the use of keys, and how often environments step."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core

from jaxrl.core import contracts, rollout
from jaxrl.core.averages import Average
from jaxrl.core.config import Simulates
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.rollout import Decision, View
from jaxrl.core.spaces import Discrete
from jaxrl.errors import AlgorithmError
from jaxrl.testing.conformance.algorithm.subject import WHERE, Subject, batched, require, trace
from jaxrl.testing.conformance.programs import draws_64_bits, draws_from_another_key, equations, programs

NUM_ENVS = 3  # environments whose policy is looked at
DRAW = "Give a dtype wherever random numbers are drawn: jax.random.uniform(key, shape, jnp.float32)."


# ---- init and update


def check_init_structure(subject: Subject) -> None:
    _require_own_dtypes("init", subject.first_state)


def check_update_structure(subject: Subject) -> None:
    _require_own_dtypes("update", subject.traced.state)


def _require_own_dtypes(who: str, state: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        must = f"{who} must give state{jax.tree_util.keystr(path)} a dtype of its own"
        fix = "Write jnp.zeros(shape, jnp.float32), jnp.float32(...) or jnp.int32(...): a weak type compiles again later."
        require(not leaf.weak_type, must, f"a weak {contracts.describe(leaf)}", fix)


def check_metrics(subject: Subject) -> None:
    for name, value in subject.traced.metrics.items():
        parts: Any = value if isinstance(value, Average) else (value,)
        for part in parts:
            must = f"update must measure float32 numbers, or Averages of such, under {name!r} too"
            require(part.startswith("float32["), must, part, "Write value.astype(jnp.float32), or jnp.float32(value).")


def check_metrics_are_always_the_same(subject: Subject) -> None:
    once, again = sorted(subject.traced.metrics), sorted(subject.traced_again.metrics)
    must = "update must return the same metrics at every update"
    differing = sorted(set(once) ^ set(again))
    require(
        once == again, must, f"{differing} in one of two updates", "Return every metric always; an Average may be of nothing."
    )


def check_traced_twice_the_same(subject: Subject) -> None:
    must = "update must be the same program whenever it is traced"
    fix = "Draw only from the key, and keep no counter or cache outside the state: Python runs once, the program many times."
    same = subject.traced.text == subject.traced_again.text
    require(same, must, "two programs that differ", fix)


# ---- keys


def _functions(subject: Subject) -> dict[str, tuple[Callable, tuple]]:
    """Returns init and update by name, each with inputs to trace it with."""
    key = jax.random.key(0)
    return {
        "init": (subject.begin, (subject.task, subject.one, key)),
        "update": (subject.update, (subject.task, subject.one, subject.first_state, key)),
    }


def check_given_keys_are_used(subject: Subject) -> None:
    for who, (function, given) in _functions(subject).items():
        must, fix = f"{who} must draw from the key that it is given", "Use it in place of the key that is made inside."
        require(not draws_from_another_key(function, *given), must, "random numbers of a constant key", fix)


def check_keys_are_used_once(subject: Subject) -> bool:
    told = True
    uses = _functions(subject)
    if acts(subject):
        state = subject.first_state
        uses |= {f"policy(state, {greedy})": (partial(_decide, subject, greedy), (state,)) for greedy in (True, False)}
    for who, (function, given) in uses.items():
        try:
            with jax.debug_key_reuse(True):
                jax.jit(function).trace(*given)
        except jax.errors.KeyReuseError as error:
            # A scan over keys under vmap transposes them, and jax takes keys that were transposed for used ones.
            told = False
            if not any(_transposes_keys(equation) for equation in equations(jax.make_jaxpr(function)(*given).jaxpr)):
                reason = str(error).splitlines()[0]
                raise AlgorithmError(f"{WHERE}: {who} must use each key once, got {reason!r}. Split it at the top.") from error
    return told


def _transposes_keys(equation: Any) -> bool:
    of_keys = jnp.issubdtype(equation.outvars[0].aval.dtype, jax.dtypes.prng_key) if equation.outvars else False
    return equation.primitive.name == "transpose" and of_keys


# ---- the policy


def acts(subject: Subject) -> bool:
    """Returns whether there is a policy, and an environment to act in."""
    return subject.env is not None and subject.algorithm.policy is not None


def states_probabilities(subject: Subject) -> bool:
    """Returns whether there are probabilities, and an environment to act in."""
    return subject.env is not None and subject.algorithm.probabilities is not None


def _view(subject: Subject, key: jax.Array) -> tuple[Environment, View]:
    """Returns what a policy sees of some environments at their start."""
    env: Any = subject.env
    return env, rollout.view(env, rollout.start(key, env, NUM_ENVS, subject.algorithm.memory))


def _decide(subject: Subject, greedy: bool, state: PyTree) -> Decision:
    act_key, view_key = jax.random.split(jax.random.key(0))
    _, view = _view(subject, view_key)
    made: Any = contracts.algorithm(WHERE, subject.make, subject.task, subject.one)
    with contracts.traced(WHERE, f"policy(state, greedy={greedy})", AlgorithmError, "Name its parameters so: (state, greedy)."):
        policy = made.policy(state, greedy=greedy)
    must, fix = "policy(state, greedy) must return a function (key, view) -> Decision", "See jaxrl.core.rollout.Policy."
    require(callable(policy), must, contracts.described(policy), fix)
    with contracts.traced(WHERE, f"policy(state, greedy={greedy})(key, view)", AlgorithmError):
        decision = policy(act_key, view)
    require(isinstance(decision, Decision), must, type(decision).__name__, fix)
    return decision


def check_policy_structure(subject: Subject) -> None:
    env: Any = subject.env
    action = batched(contracts.of_all_agents(env, env.action_space), NUM_ENVS)
    memory = batched(subject.algorithm.memory, NUM_ENVS)
    for greedy in (True, False):
        decision = jax.eval_shape(partial(_decide, subject, greedy), subject.first_state)
        must = f"policy(state, {greedy}) must return actions of the action space, {contracts.described(action)}"
        fix = "One action for each environment, and each agent, in the dtype of the space."
        require(not contracts.mismatch(action, decision.action), must, contracts.described(decision.action), fix)
        must = f"policy(state, {greedy}) must return the memory in the structure of Algorithm.memory"
        found = contracts.mismatch(memory, decision.memory)
        require(not found, must, found, "Hand on what the view brought, of the same shapes and dtypes, for every environment.")
        must = f"policy(state, {greedy}) must return its extras as a dict"
        require(isinstance(decision.extras, dict), must, type(decision.extras).__name__, "Name what it holds.")


def _probabilities(subject: Subject, state: PyTree) -> jax.Array:
    _, view = _view(subject, jax.random.key(0))
    made: Any = contracts.algorithm(WHERE, subject.make, subject.task, subject.one)
    with contracts.traced(WHERE, "probabilities(state, view)", AlgorithmError):
        return made.probabilities(state, view)


def check_probabilities_structure(subject: Subject) -> None:
    env: Any = subject.env
    found = jax.eval_shape(partial(_probabilities, subject), subject.first_state)
    agents = () if env.num_agents is None else (env.num_agents,)
    num_actions = env.action_space.n if isinstance(env.action_space, Discrete) else 0
    expected = jax.ShapeDtypeStruct((NUM_ENVS, *agents, num_actions), jnp.float32)
    must = f"probabilities must return {contracts.describe(expected)} for {NUM_ENVS} environments"
    fix = "One probability for each action of each environment, and each agent; None where actions are continuous."
    require(not contracts.mismatch(expected, found), must, contracts.described(found), fix)


# ---- evaluators


def check_evaluators(subject: Subject) -> None:
    _ = subject.evaluation  # says what is wrong while it is traced


# ---- dtypes


def check_dtypes_are_explicit(subject: Subject) -> None:
    """Under jax_enable_x64 whatever was given no dtype turns into 64 bits, and then meets what was; other numbers are drawn."""
    must = "with jax_enable_x64 the state must keep its dtypes"
    fix = "Give a dtype wherever an array is made: jnp.zeros(shape, jnp.float32), jnp.arange(n, dtype=jnp.int32)."
    expected = subject.first_state
    with jax.enable_x64(True):
        begin, begun = jax.make_jaxpr(subject.begin, return_shape=True)(subject.task, subject.one, jax.random.key(0))
        found = contracts.mismatch(expected, begun)
        require(not found, f"{must}, from init on", found, fix)
        made = contracts.algorithm(WHERE, subject.make, subject.task, subject.one)
        with contracts.translated(WHERE, f"{must}, in update", AlgorithmError, fix):
            update, (updated, _) = jax.make_jaxpr(made.update, return_shape=True)(begun, jax.random.key(0))
        found = contracts.mismatch(begun, updated)
        require(not found, f"{must}, in update", found, fix)
    for who, program in (("init", begin), ("update", update)):
        must = f"with jax_enable_x64 {who} must draw the same random numbers"
        require(not draws_64_bits(program.jaxpr), must, "random bits of another width", DRAW)


# ---- steps

MARK = "action of size "


@dataclass(frozen=True)
class _Marked:
    """A step that leaves a mark in the traced program: on its action, which no two environments share."""

    step: Callable

    def __call__(self, key, state, action, params):
        leaves, structure = jax.tree.flatten(action)
        leaves[0] = checkpoint_name(leaves[0], f"{MARK}{leaves[0].size}")
        return self.step(key, state, structure.unflatten(leaves), params)


def check_steps_per_update(subject: Subject) -> bool:
    """Counts the marks of an update on an environment whose steps leave them; inside a ``while`` they cannot be counted."""
    env: Any = subject.env
    marked = trace(subject, dataclasses.replace(env, step_fn=_Marked(env.step_fn)))
    counts = list(_marks(marked.program.jaxpr))
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return False
    config = subject.config
    imagined = config.simulated_steps_per_update if isinstance(config, Simulates) else 0
    declared, taken = subject.config.steps_per_update, sum(known) - imagined
    must = f"an update must take as many steps as config.steps_per_update says ({declared})"
    require(taken == declared, must, taken, "Count the steps of all environments in all rounds.")
    return True


def _marks(jaxpr: core.Jaxpr, repeated: int | None = 1) -> Iterator[int | None]:
    """Yields how many steps each mark stands for; None where that shows only when the program runs."""
    for equation in jaxpr.eqns:
        kind, params = equation.primitive.name, equation.params
        if kind == "name" and params["name"].startswith(MARK):
            actions: Any = equation.outvars[0].aval
            alone = int(params["name"].removeprefix(MARK))
            yield None if repeated is None else actions.size // alone * repeated
        times = params["length"] if kind == "scan" else None if kind in ("while", "cond") else 1
        inside = None if times is None or repeated is None else times * repeated
        for program in programs(equation):
            yield from _marks(program, inside)
