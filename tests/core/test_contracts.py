"""run refuses what it cannot run by one sentence, before anything is computed, written or shown."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core import contracts
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import Average
from jaxrl.core.environment import static
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import AlgorithmError, ConfigError, EnvError, EvaluatorError, SpaceError, closest
from jaxrl.evaluation import Episodes
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.runner import run

GRID = envs.make("cliff_walking")
Q = q_learning.Config(num_steps=2)


@struct.dataclass
class Config:
    rate: float = 0.5
    size: int = static(default=3)


@struct.dataclass
class Whole:
    rate: float = 0.5
    size: int = 3


@struct.dataclass
class Named:
    rate: float = 0.5
    kind: str = "fast"


@struct.dataclass
class Steps(Config):
    steps_per_update: Any = static(default=0)


def make(task, config):
    def update(state, key):
        return state + config.rate, {"total": state.sum()}

    return Algorithm(lambda key: jnp.zeros(config.size, jnp.float32), update)


@struct.dataclass
class Measuring:
    """``make`` whose update measures something else: ``measured(state)``."""

    measured: Any = static()

    def __call__(self, task, config):
        return make(task, config)._replace(update=lambda state, key: (state, self.measured(state)))


def make_another_state(task, config):
    right = make(task, config)
    return right._replace(update=lambda state, key: ({"q": state}, {"total": state.sum()}))


def make_no_metrics(task, config):
    right = make(task, config)
    return right._replace(update=lambda state, key: state)


def make_nothing(task, config):
    return None


def make_python_state(task, config):
    right = make(task, config)
    return right._replace(init=lambda key: {"q": right.init(key), "step": 0})


class Alarm:
    """A sink that must not be called."""

    def begin(self, plan):
        raise AssertionError("a run that is refused has begun")

    chunk = end = begin


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"make": ppo}, AlgorithmError, r"make must be a function.*got <module.*Give jaxrl.algorithms.deep.ppo.make"),
        ({"make": "ppo"}, AlgorithmError, r"make must be a function.*got 'ppo'"),
        ({"make": make_nothing}, AlgorithmError, r"must return an Algorithm, got None"),
        (
            {"make": Measuring(lambda state: {"total": jnp.ones((5, 13))})},
            AlgorithmError,
            r"update must measure arrays of 1 to 64 entries, under 'total' too, got 'float32\[5, 13\]'. Every entry is a column",
        ),
        ({"make": Measuring(lambda state: {"total": jnp.ones(0)})}, AlgorithmError, r"1 to 64 entries.*got 'float32\[0\]'"),
        ({"make": Measuring(lambda state: {"total": state + 0j})}, AlgorithmError, r"'total' too, got 'complex64\[3\]'"),
        (
            {"make": Measuring(lambda state: {"total": Average(state, jnp.float32(1))})},
            AlgorithmError,
            r"a total and a count of one shape, under 'total' too, got \[\(3,\), \(\)\]",
        ),
        (
            {"make": Measuring(lambda state: {"total": state, "total/1": state.sum()})},
            AlgorithmError,
            r"names that differ, also from the columns of its arrays, got \['total/1'\]",
        ),
        ({"make": make_no_metrics}, AlgorithmError, r"update must return \(state, metrics\)"),
        ({"make": make_another_state}, AlgorithmError, r"the structure that it was given, got 'nothing at itself"),
        ({"make": make_python_state}, AlgorithmError, r"arrays only, at state\['step'\] too, got 'the int 0'"),
        (
            {"config": Whole()},
            AlgorithmError,
            r"init\(key\).*declare integers and flags \(size\) with jaxrl.core.environment",
        ),
        ({"config": Named()}, ConfigError, r"config.kind must be a number or an array, got 'fast'. Declare"),
        ({"config": Config}, ConfigError, r"config must be a Config.*Give an instance"),
        ({"config": Steps()}, ConfigError, r"steps_per_update must be an integer of at least 1, got 0"),
        ({"task": "cliff_walking"}, EnvError, r"task must be an Environment, a data set or a game, got 'cliff_walking'"),
        (
            {"task": envs.make},
            EnvError,
            r"task must be a number or an array.*Call it if it is a factory",
        ),
        ({"make": q_learning.make, "task": {"a": 1.0}, "config": Q}, ConfigError, r"must accept the task, got AttributeError"),
        ({"make": q_learning.make, "config": Config()}, ConfigError, r"config must be that of the algorithm, q_learning.Config"),
        ({"evaluators": Episodes(GRID)}, EvaluatorError, r"evaluators must be a sequence.*Write evaluators=\(evaluator,\)"),
        ({"evaluators": (7.0,)}, EvaluatorError, r"an evaluator must be callable"),
        ({"evaluators": (envs.make,)}, EvaluatorError, r"must be a pytree of arrays, got <function make.*jax.tree_util.Partial"),
        (
            {"evaluators": (jax.tree_util.Partial(len),)},
            EvaluatorError,
            r"TypeError: len.*\(key, algorithm, state\) must not raise",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(changes, error, message):
    arguments = {"make": make, "task": GRID, "config": Config()} | changes
    with pytest.raises(error, match=f"^run: .*{message}"):
        run(arguments.pop("make"), arguments.pop("task"), arguments.pop("config"), num_updates=2, sinks=(Alarm(),), **arguments)


def measured(key, algorithm, state, name="total"):
    return {name: state.sum()}


def test_functions_are_evaluators_once_they_are_pytrees():
    evaluators = (jax.tree_util.Partial(measured), jax.tree_util.Partial(measured, name="other"))
    with pytest.raises(EvaluatorError, match="must be a number or an array, got 'other'"):
        run(make, None, Config(), num_updates=2, evaluators=evaluators)
    evaluators = (jax.tree_util.Partial(measured), jax.tree_util.Partial(measured))
    with pytest.raises(EvaluatorError, match=r"names of its own, got \"'total' of Partial and of Partial\""):
        run(make, None, Config(), num_updates=2, evaluators=evaluators)
    columns = (jax.tree_util.Partial(lambda *given: {"q": jnp.ones(2)}), jax.tree_util.Partial(lambda *given: {"q/1": 1.0}))
    with pytest.raises(EvaluatorError, match=r"names of its own, got \"'q/1' of Partial and of Partial\""):
        run(make, None, Config(), num_updates=2, evaluators=columns)
    done = run(make, None, Config(), num_updates=2, evaluators=evaluators[:1])
    np.testing.assert_array_equal(done.evaluations["total"], [[1.5, 3.0]])


# ---- environments


def scalar_step(key, state, action, params):
    return GRID.step_fn(key, state, action, params)._replace(reward=1.0, terminated=False)


def wide_step(key, state, action, params):
    step = GRID.step_fn(key, state, action, params)
    return step._replace(reward=step.reward[None])


def reset_to_a_float(key, params):
    return jnp.float32(0), jnp.int32(0)


def unobserved_reset(key, params):
    return GRID.reset_fn(key, params)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_fn": scalar_step}, r"step_fn must return arrays, as reward too, got 'the float 1.0'. Write jnp.float32"),
        ({"step_fn": wide_step}, r"step_fn must return .*'reward': 'float32\[\]'.*got.*float32\[1\]"),
        ({"reset_fn": unobserved_reset}, r"reset_fn must return \(obs, state\)"),
        ({"max_steps": 0}, r"max_steps must be a positive int, got 0"),
        (
            {"observation_space": Discrete(48), "reset_fn": reset_to_a_float},
            r"reset_fn must return an observation of its space",
        ),
    ],
)
def test_environments_that_break_the_protocol_are_refused(changes, message):
    with pytest.raises(EnvError, match=f"^run: {message}"):
        run(q_learning.make, GRID.replace(**changes), Q, num_updates=2, sinks=(Alarm(),))


def step_without_a_key(state, action, params): ...


def test_a_function_that_cannot_be_called_so_is_named_with_its_place():
    line = step_without_a_key.__code__.co_firstlineno
    message = rf"takes 3 positional arguments but 4 were given at .*test_contracts.py, line {line}, in step_without_a_key"
    with pytest.raises(EnvError, match=message):
        run(q_learning.make, GRID.replace(step_fn=step_without_a_key), Q, num_updates=2, sinks=(Alarm(),))


@struct.dataclass
class Odds:
    first: jax.Array
    then: jax.Array


def initial(params):
    return Initial(params.first, jnp.arange(2, dtype=jnp.int32))


def outcomes(state, action, params):
    stays = jnp.zeros(2, bool)
    return Outcomes(params.then, jnp.broadcast_to(state, (2,)), jnp.zeros(2, jnp.float32), stays)


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ((0.5, 0.5), (0.5, 0.4), r"outcome probabilities of an initial state must sum to 1, got 'a sum of 0.9 in row"),
        ((0.5, 0.5), (1.5, -0.5), r"outcome probabilities of an initial state must not be negative, got '-0.5"),
        ((0.5, 0.5), (np.nan, 1.0), r"outcome probabilities of an initial state must be finite, got 'nan"),
        ((0.5, 0.6), (0.5, 0.5), r"probabilities of initial states must sum to 1, got 'a sum of 1.1"),
    ],
)
def test_outcomes_that_are_no_distribution_are_refused(first, then, message):
    odds = Odds(jnp.array(first, jnp.float32), jnp.array(then, jnp.float32))
    env = finite(odds, outcomes, initial, Discrete(2), Discrete(2), 5)
    with pytest.raises(EnvError, match=f"^run: the {message}"):
        run(q_learning.make, env, Q, num_updates=2, sinks=(Alarm(),))


def test_games_with_many_joint_actions_are_looked_at_in_part():
    contracts.require_environment("test", envs.make("blotto"))


# ---- names


def test_closures_have_no_checkpoints(tmp_path):
    """Another closure of the same name would go on with them."""
    options = {"num_updates": 2, "checkpoints": Checkpoints(tmp_path)}
    with pytest.raises(AlgorithmError, match="with checkpoints, make must be a function at module level"):
        run(lambda task, config: make(task, config), None, Config(), **options)
    with pytest.raises(EnvError, match="with checkpoints, step_fn must be a function at module level"):
        run(q_learning.make, GRID.replace(step_fn=lambda *given: GRID.step_fn(*given)), Q, **options)
    assert not list(tmp_path.iterdir())
    run(functools.partial(make), None, Config(), **options)
    assert run(lambda task, config: make(task, config), None, Config(), num_updates=2).metrics["total"].shape == (1, 2)


def test_what_the_algorithm_says_itself_is_handed_on():
    with pytest.raises(SpaceError, match="q_learning: the observation_space must be Discrete"):
        run(q_learning.make, envs.make("cartpole"), Q, num_updates=2)
    with pytest.raises(ConfigError, match="q_learning: num_steps must be an integer"):
        run(q_learning.make, GRID, Q.replace(num_steps=0), num_updates=2)


def of_a_keyword():
    return q_learning.Config(learning_rat=0.1)  # pyright: ignore[reportCallIssue]


def of_a_changed_field():
    return Q.replace(epsilo=0.1)


def of_a_function():
    return envs.register(name="x", factor=of_a_function)  # pyright: ignore[reportCallIssue]


def of_an_attribute():
    return Q.num_step  # pyright: ignore[reportAttributeAccessIssue]


def of_a_variable():
    learning_rate = 0.1
    return learning_rat + learning_rate  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


@pytest.mark.parametrize(
    ("function", "near"),
    [
        (of_a_keyword, "learning_rate"),
        (of_a_changed_field, "epsilon"),
        (of_a_function, "factory"),
        (of_an_attribute, "num_steps"),
        (of_a_variable, "learning_rate"),
    ],
)
def test_a_wrong_name_is_told_with_its_line_and_the_name_that_was_meant(function, near):
    line = function.__code__.co_firstlineno + (2 if function is of_a_variable else 1)
    place = rf"{__file__}, line {line}, in {function.__name__}"
    with (
        pytest.raises(
            ConfigError, match=rf"^mine: .* at {place}\. f\(\) must not raise\. Did you mean '{near}'\? Mend it there\.$"
        ),
        contracts.mistakes("mine", "f()"),
    ):
        function()


def test_an_error_that_is_no_slip_of_a_name_keeps_its_traceback():
    """Also one from inside of the library, which may be to blame."""
    with pytest.raises(KeyError), contracts.mistakes("mine", "f()"):
        _ = {}["of no use"]
    with pytest.raises(TypeError), contracts.mistakes("mine", "f()"):
        closest("name", 5)  # pyright: ignore[reportArgumentType]


def raising(task, config):
    """Its mistake has nothing to do with jax."""
    return make(task, config)._replace(init=lambda key: {}["of no use"])


def test_an_error_of_the_users_own_comes_first_with_its_place():
    line = raising.__code__.co_firstlineno + 2
    place = rf"{__file__}, line {line}, in <lambda>"
    with pytest.raises(AlgorithmError, match=rf"^run: KeyError: 'of no use' at {place}\. init\(key\) must not raise\. Mend"):
        run(raising, GRID, Config(), num_updates=2)


def one_step(params):
    return Initial(jnp.ones(1), jnp.zeros(1, jnp.int32))


def paid(state, action, params):
    return Outcomes(jnp.array([1.0, 0.0]), jnp.zeros(2, jnp.int32), jnp.stack([params, jnp.nan]), jnp.ones(2, bool))


def no_action(state, params):
    return jnp.zeros(2, bool)


def test_a_reward_that_is_none_is_refused_before_compiling():
    """But for that of an outcome that cannot happen."""
    one = functools.partial(
        finite, outcomes=paid, initial=one_step, observation_space=Discrete(1), action_space=Discrete(2), max_steps=2
    )
    contracts.require_environment("here", one(jnp.float32(1)))
    with pytest.raises(EnvError, match="here: the rewards of an initial state must be finite, got 'nan at index"):
        contracts.require_environment("here", one(jnp.float32(jnp.nan)))


def test_a_mask_without_a_legal_action_is_named():
    env = finite(jnp.float32(1), paid, one_step, Discrete(1), Discrete(2), max_steps=2, action_mask=no_action)
    with pytest.raises(EnvError, match=r"run: action_mask_fn must leave a legal action .* got 'none in \[0\] of initial_fn'"):
        run(q_learning.make, env, Q, num_updates=1)


@pytest.mark.parametrize(
    ("make", "config", "message"),
    [
        (ppo.make, ppo.Config(hidden=64), r"ppo: hidden must be a tuple, .* got 64\. Write hidden=\(64,\)"),
        (ppo.make, ppo.Config(learning_rate=None), "ppo: learning_rate must be .* got None"),
        (q_learning.make, q_learning.Config(gamma=None), "q_learning: gamma must .* got None"),
        (
            q_learning.make,
            ppo.Config(),
            "run: config must be that of the algorithm, q_learning.Config, got 'ppo.Config, which lacks",
        ),
    ],
)
def test_the_field_that_is_wrong_is_named(make, config, message):
    with pytest.raises(ConfigError, match=message):
        run(make, GRID, config, num_updates=1)
