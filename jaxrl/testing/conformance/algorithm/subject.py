"""The subject of the checks: an algorithm on a task, how it is traced, and a few updates of it, run in several ways."""

import functools
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl import errors
from jaxrl.core import contracts, rollout
from jaxrl.core.algorithm import Algorithm, require_policy
from jaxrl.core.environment import Environment, PyTree
from jaxrl.errors import AlgorithmError
from jaxrl.results.sinks import Chunk, Plan, RunSummary
from jaxrl.testing.conformance.programs import text
from jaxrl.training import seed_axis
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.runner import Run, run

WHERE = "check_algorithm"
NUM_UPDATES = 2  # of every run: enough to be cut into chunks, and to be resumed
NUM_ENVS, NUM_STEPS = 8, 16  # of an episode that the policy plays
NUM_VIEWS, NUM_REPEATS = 8, 512  # views whose actions are counted, and how often each is shown


class Traced(NamedTuple):
    """The facts that tracing an update shows.

    program: the traced program. text: as jax prints it, with the values of its constants.
    state: PyTree, shapes after the update.
    metrics: name -> what was measured, in words: ``"float32[]"``, or of an Average a pair of such.
    """

    program: Any
    text: str
    state: PyTree
    metrics: dict[str, Any]


class Acts(NamedTuple):
    """The decisions of a policy, on the host.

    obs, mask: PyTree[n, ...], what it saw while it played, the mask None where there is none.
    sampled, greedy: PyTree[n, ...], the actions it took, and those that its mode would have taken.
    probabilities: float32[n, ..., A] or None.
    views: int[v], some of the n. repeats: PyTree[v, r, ...], actions sampled again and again in these.
    """

    obs: PyTree
    mask: Any
    sampled: PyTree
    greedy: PyTree
    probabilities: Any
    views: np.ndarray
    repeats: PyTree


@dataclass(frozen=True)
class Subject:
    """The subject, with values that several checks need, computed once. See ``check_algorithm`` for the fields."""

    make: Callable[..., Algorithm]
    task: Any
    config: Any
    key: jax.Array
    evaluators: tuple
    rebuilt: tuple[Any, Any] | None
    trained: bool
    eager: bool

    @functools.cached_property
    def one(self) -> Any:
        """The configuration of one seed, as a run hands it to ``make``: every traced field an array."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), seed_axis.spread(self.config, 1))

    @functools.cached_property
    def algorithm(self) -> Algorithm:
        return contracts.algorithm(WHERE, self.make, self.task, self.one)

    @functools.cached_property
    def env(self) -> Environment | None:
        """The task, where it is an environment."""
        return self.task if isinstance(self.task, Environment) else None

    @functools.cached_property
    def first_state(self) -> PyTree:
        """Shapes of the state that ``init`` draws."""
        return jax.eval_shape(self.begin, self.task, self.one, self.key)

    @functools.cached_property
    def traced(self) -> Traced:
        return trace(self, self.task)

    @functools.cached_property
    def traced_again(self) -> Traced:
        """As ``traced``, from a ``make`` called again."""
        return trace(self, self.task)

    def begin(self, task: Any, config: Any, key: jax.Array) -> PyTree:
        """Draws a first state."""
        made = contracts.algorithm(WHERE, self.make, task, config)
        return contracts.first_state(WHERE, made, config, key)

    def update(self, task: Any, config: Any, state: PyTree, key: jax.Array) -> tuple[PyTree, dict]:
        """Makes an update."""
        made = contracts.algorithm(WHERE, self.make, task, config)
        return contracts.next_state(WHERE, made, config, state, key)

    @functools.cached_property
    def evaluation(self) -> dict[str, Any]:
        """Shapes of what the evaluators measure: name -> number, array or Average."""

        def evaluate(task, config, evaluators, state, key):
            made = contracts.algorithm(WHERE, self.make, task, config)
            return contracts.evaluation(WHERE, evaluators, key, made, state)

        return jax.eval_shape(evaluate, self.task, self.one, self.evaluators, self.first_state, jax.random.key(0))

    @property
    def root(self) -> int:
        """The number from which the runs derive their seeds."""
        return int(jax.random.bits(self.key, (), jnp.uint32))

    def run(self, config: Any = None, **options: Any) -> Run:
        """Runs the algorithm for a few updates on one device, two seeds side by side unless ``options`` say otherwise."""
        device = jax.local_devices()[:1]
        defaults: dict[str, Any] = {
            "seeds": 2,
            "num_updates": NUM_UPDATES,
            "chunk_length": NUM_UPDATES,
            "vmap_width": 2,
            "batch_seeds": 2,
        }
        config = self.config if config is None else config
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", errors.QuarantineWarning)  # a check of its own looks at what is not finite
            return run(self.make, self.task, config, root=self.root, devices=device, **(defaults | options))

    @functools.cached_property
    def plain(self) -> Run:
        """Two seeds, vmapped, all updates in one chunk."""
        return self.run(evaluators=self.evaluators)

    @functools.cached_property
    def in_chunks(self) -> Run:
        """As ``plain``, each update a chunk of its own."""
        return self.run(chunk_length=1)

    @functools.cached_property
    def resumed(self) -> Run:
        """As ``in_chunks``, interrupted after the first update and begun again from its checkpoint; only the last update."""
        with tempfile.TemporaryDirectory() as folder:
            self.run(chunk_length=1, checkpoints=Checkpoints(folder, seconds_between=0), sinks=(_Interrupts(),))
            return self.run(chunk_length=1, checkpoints=Checkpoints(folder, seconds_between=0))

    def alone(self, seed: int, num_updates: int = NUM_UPDATES) -> Run:
        """Runs one seed without a batch axis."""
        return self.run(seeds=[seed], num_updates=num_updates, chunk_length=1, vmap_width=1, batch_seeds=1)

    @functools.cached_property
    def state(self) -> PyTree:
        """The state of the first seed of ``plain`` at its end."""
        return jax.tree.map(lambda leaf: leaf[0], self.plain.state)

    @functools.cached_property
    def acts(self) -> Acts:
        """The decisions of the policy of ``state``."""
        views = np.linspace(0, NUM_ENVS * NUM_STEPS - 1, NUM_VIEWS).astype(int)
        key = jax.random.fold_in(self.key, 1)
        done = jax.tree.map(np.asarray, _act(self.make, self.task, self.one, self.state, key, jnp.asarray(views)))
        obs, mask, sampled, greedy, probabilities, repeats = done
        return Acts(obs, mask, sampled, greedy, probabilities, views, repeats)


def batched(memory: PyTree, count: int) -> PyTree:
    """Returns the memory of a policy at the start of as many episodes."""
    return jax.tree.map(lambda leaf: jnp.zeros((count, *jnp.shape(leaf)), jnp.result_type(leaf)), memory)


@functools.partial(jax.jit, static_argnames=("make",), compiler_options=contracts.QUICK)
def _act(make, env, config, state, key, views) -> tuple:
    made = contracts.algorithm(WHERE, make, env, config)
    play_key, start_key, greedy_key, repeat_key = jax.random.split(key, 4)
    episodes = rollout.start(start_key, env, NUM_ENVS, made.memory)
    policy_of = require_policy(WHERE, made)
    policy = policy_of(state, False)

    def act(key, view):
        return policy(key, view)._replace(extras={"view": view})

    _, played = rollout.unroll(play_key, env, act, episodes, NUM_STEPS)
    flat = rollout.flattened((played.extras["view"], played.mask, played.action))
    seen, mask, sampled = flat
    obs = seen.obs
    greedy = policy_of(state, True)(greedy_key, seen).action
    probabilities = None if made.probabilities is None else made.probabilities(state, seen)
    again = jax.tree.map(lambda leaf: leaf[jnp.repeat(views, NUM_REPEATS)], seen)
    repeats = policy_of(state, False)(repeat_key, again).action
    return (
        obs,
        mask,
        sampled,
        greedy,
        probabilities,
        jax.tree.map(lambda leaf: leaf.reshape(len(views), -1, *leaf.shape[1:]), repeats),
    )


class _Interrupts:
    """A sink that ends a run as Ctrl-C would, once its first chunk has been saved."""

    def begin(self, plan: Plan) -> None:
        pass

    def chunk(self, chunk: Chunk) -> None:
        if chunk.first_update > 0:
            raise KeyboardInterrupt

    def end(self, summary: RunSummary) -> None:
        pass


def trace(subject: Subject, task: Any) -> Traced:
    """Traces an update on a task, and notes what only shows while it is traced."""
    measured: list[dict[str, Any]] = []

    def update(task, config, state, key):
        state, metrics = subject.update(task, config, state, key)
        measured.append(jax.tree.map(contracts.describe, metrics))
        return state, metrics

    traced = jax.jit(update).trace(task, subject.one, subject.first_state, jax.random.key(0))
    return Traced(traced.jaxpr, text(traced.jaxpr), traced.out_info[0], measured[0])


def require(condition: Any, must: str, value: object, fix: str) -> None:
    """Raises AlgorithmError unless the condition holds; see ``jaxrl.errors.require``."""
    errors.require(bool(condition), WHERE, must, value, fix, AlgorithmError)
