"""Population-based training: P learners with other hyper-parameters each, of whom the worst go on as copies of the best.

    draw the hyper-parameters h_p of every member, log-uniformly within their bounds
    repeat
        improve    every member by ``interval`` updates of its own, with h_p
        exploit    each of the n worst members copies what a random one of the n best has learned, and its h
        explore    its copy of h: each is multiplied by 1 + delta or divided by it, or drawn anew with probability ``resampling``

How good a member is says a metric of the learner, averaged over the interval (``fitness``). The episodes under way are not
copied: a member goes on where it stands. Any learner takes part, with one agent or several, and so does self-play, whose members
then play against snapshots of their own. Hyper-parameters are traced fields of its configuration, so that the whole population is
one compiled program.

The policy is that of the best member of the last interval. Without exploit and explore this is P runs beside each other.

Source: Jaderberg et al. (2017), "Population Based Training of Neural Networks", algorithm 1, with truncation selection.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks.around import AroundLearner
from jaxrl.core import averages
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import Average, optional, pooled
from jaxrl.core.config import traced_values, with_traced_values
from jaxrl.core.contracts import declared_steps, validate
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode
from jaxrl.core.scan import scan
from jaxrl.errors import AlgorithmError, require, require_between, require_counts, require_numbers, require_positive, unknown_name

WHERE = "pbt"
Ranges = tuple[tuple[str, float, float], ...]


@struct.dataclass
class Config(AroundLearner):
    """Hyper-parameters of the population; the configuration of the learner is nested, its fields in ``ranges`` are not used."""

    where: ClassVar[str] = WHERE

    learner: Any  # the configuration of the learner
    make_learner: Callable = static()  # its ``make``, for example ``ppo.make`` or ``self_play.make``
    # (name, low, high): the traced fields of the learner that members differ in, and their bounds, both positive. Dots lead into
    # a configuration inside: "learner.learning_rate".
    ranges: Ranges = static(default=(("learning_rate", 1e-5, 1e-2),))
    perturbation: float = 0.2  # delta, positive
    resampling: float = 0.25  # the probability with which a copied hyper-parameter is drawn anew, in [0, 1]
    num_members: int = static(default=8)  # P, at least 2, at most 64 (count)
    num_replaced: int = static(default=2)  # n, at most half of the members (count)
    interval: int = static(default=10)  # updates of every member between two selections (count)
    fitness: str = static(default="episode_return")  # the metric of the learner that says how good one is: more is better
    exploit: bool = static(default=True)  # the worst copy the best
    explore: bool = static(default=True)  # copies of hyper-parameters change

    def validate(self, env: Environment) -> None:
        """Raises ConfigError, EnvError, SpaceError or UnknownNameError where these values cannot run on ``env``."""
        require_counts(WHERE, self, "num_members", "num_replaced", "interval")
        require_numbers(WHERE, self)
        require_positive(WHERE, self, "perturbation")
        require_between(WHERE, self, 0, 1, "resampling")
        most, members = averages.MOST_ENTRIES, self.num_members
        require(2 <= members <= most, WHERE, f"num_members must lie in [2, {most}]", members, "8 is the default.")
        must, fix = "num_replaced must be at most half of num_members", f"Set num_replaced={members // 2}."
        require(2 * self.num_replaced <= members, WHERE, must, self.num_replaced, fix)
        known = traced_values(self.learner)
        require(len(self.ranges) > 0, WHERE, "ranges must name a field of the learner", self.ranges, "Name learning_rate.")
        for name, low, high in self.ranges:
            if name not in known:
                raise unknown_name(WHERE, "traced field of the learner", name, known)
            fits = all(np.isfinite((low, high))) and 0 < low < high
            require(fits, WHERE, f"the bounds of {name} must be finite, positive and in order", (low, high), "Correct them.")
        for end in (1, 2):  # what holds at both ends of every range
            values = {bounds[0]: float(bounds[end]) for bounds in self.ranges}
            validate(WHERE, with_traced_values(self.learner, values), env)

    @property
    def steps_per_update(self) -> int | None:
        """Environment steps of one seed in an update: those of all members in an interval."""
        each = declared_steps(WHERE, self.learner, "config.learner").per_update
        return None if each is None else each * self.num_members * self.interval

    @property
    def steps_before_first_update(self) -> int:
        """Environment steps of one seed before the first update: those of all members."""
        return declared_steps(WHERE, self.learner, "config.learner").before * self.num_members


@struct.dataclass
class State:
    """learner: the members' states, every leaf with a leading axis P. hyper: float32[P] of every field in ``ranges``.

    best: int32[], the best member of the last interval.
    """

    learner: PyTree
    hyper: dict[str, jax.Array]
    best: jax.Array


def make(env: Environment, config: Config) -> Algorithm:
    """Builds population-based training around a learner.

    Metrics: those of the learner, over all members and the interval; and of every member, [P], before the selection:
        fitness: how good it was.
        hyper_NAME: the hyper-parameters with which it learned.
    """
    members = config.num_members

    def member(hyper):
        """Returns the learner with the hyper-parameters of a member, float32[] of every field."""
        return config.make_learner(env, with_traced_values(config.learner, hyper))

    def init(key):
        hyper_key, learner_key = jax.random.split(key)
        hyper = drawn(hyper_key, config.ranges, members)
        learner = jax.vmap(lambda hyper, key: member(hyper).init(key))(hyper, jax.random.split(learner_key, members))
        return State(learner, hyper, jnp.int32(0))

    def update(state, key):
        improve_key, select_key, explore_key = jax.random.split(key, 3)

        # Improve every member by updates of its own.
        def improve(learner, key):
            keys = jax.random.split(key, members)
            return jax.vmap(lambda hyper, learner, key: member(hyper).update(learner, key))(state.hyper, learner, keys)

        learner, metrics = scan(improve, state.learner, jax.random.split(improve_key, config.interval))
        fitness = fitness_of(config.fitness, metrics)
        found = pooled(metrics, 2) | {"fitness": fitness} | {f"hyper_{name}": value for name, value in state.hyper.items()}
        # The worst copy the best, and change what they have copied.
        score = jnp.where(fitness.count > 0, fitness.total / jnp.maximum(fitness.count, 1e-30), -jnp.inf)
        source, hyper = jnp.arange(members, dtype=jnp.int32), state.hyper
        if config.exploit:
            source = selected(select_key, score, config.num_replaced)
            learner, hyper = copied(learner, source), {name: value[source] for name, value in hyper.items()}
        if config.explore:
            changes = explored(explore_key, hyper, config)
            moves = source != jnp.arange(members)
            hyper = {name: jnp.where(moves, changes[name], value) for name, value in hyper.items()}
        return State(learner, hyper, score.argmax().astype(jnp.int32)), found

    def best(state):
        learner, hyper = jax.tree.map(lambda leaf: leaf[state.best], (state.learner, state.hyper))
        return learner, member(hyper)

    def policy(state, greedy):
        learner, algorithm = best(state)
        return algorithm.policy(learner, greedy)

    def probabilities(state, view):
        learner, algorithm = best(state)
        return algorithm.probabilities(learner, view)

    acting = config.make_learner(env, config.learner)
    exact = probabilities if acting.probabilities else None
    return Algorithm(init, update, policy if acting.policy else None, acting.memory, exact)


def drawn(key: jax.Array, ranges: Ranges, count: int) -> dict[str, jax.Array]:
    """Returns hyper-parameters that are drawn log-uniformly within their bounds, float32[count] of each."""
    keys = jax.random.split(key, len(ranges))
    return {
        name: bounded(jnp.exp(jax.random.uniform(one, (count,), jnp.float32, np.log(low), np.log(high))), low, high)
        for one, (name, low, high) in zip(keys, ranges, strict=True)
    }


def bounded(value: jax.Array, low: float, high: float) -> jax.Array:
    """Returns values within bounds, float32[...]."""
    return jnp.clip(value, np.float32(low), np.float32(high))


def fitness_of(name: str, metrics: dict[str, Any]) -> Average:
    """Returns the average of a metric in an interval, of every member, [P]. metrics: leaves [interval, P, ...].

    Raises:
        AlgorithmError: the learner has no such metric, or it is an array.
    """
    must = "fitness must be a metric of the learner"
    require(name in metrics, WHERE, must, name, f"Name one of {', '.join(sorted(metrics))}.", AlgorithmError)
    value = metrics[name]
    items = value if isinstance(value, Average) else optional(value)
    shape, must = jnp.shape(items.total), "fitness must be a metric of one number"
    require(len(shape) == 2, WHERE, must, f"{name}, of shape {list(shape[2:])}", "Set fitness='episode_return'.", AlgorithmError)
    return Average(items.total.sum(0), items.count.sum(0))


def selected(key: jax.Array, score: jax.Array, replaced: int) -> jax.Array:
    """Returns whose learning each member goes on with, int[P]: its own, or of the worst ones, that of one of the best.

    Args:
        key: for the draws.
        score: float32[P]; -inf of a member of which nothing is known, which is replaced first.
        replaced: n, at most P / 2.
    """
    order = jnp.argsort(score).astype(jnp.int32)  # from the worst to the best
    worst, best = order[:replaced], order[-replaced:]
    chosen = best[jax.random.randint(key, (replaced,), 0, replaced, jnp.int32)]
    return jnp.arange(score.shape[0], dtype=jnp.int32).at[worst].set(chosen)


def copied(learner: PyTree, source: jax.Array) -> PyTree:
    """Returns the states of members that go on with what others have learned, but with their own episodes. source: int[P]."""

    def one(node: Any) -> Any:
        return node if isinstance(node, Episode) else jax.tree.map(lambda leaf: leaf[source], node)

    return jax.tree.map(one, learner, is_leaf=lambda node: isinstance(node, Episode))


def explored(key: jax.Array, hyper: dict[str, jax.Array], config: Config) -> dict[str, jax.Array]:
    """Returns changed hyper-parameters, float32[P] of each."""
    factor = 1 + jnp.asarray(config.perturbation, jnp.float32)
    draw_key, *keys = jax.random.split(key, 1 + len(config.ranges))
    anew = drawn(draw_key, config.ranges, config.num_members)
    found = {}
    for one, (name, low, high) in zip(keys, config.ranges, strict=True):
        up_key, anew_key = jax.random.split(one)
        value = hyper[name]
        moved = jnp.where(jax.random.uniform(up_key, value.shape, jnp.float32) < 0.5, value * factor, value / factor)
        redrawn = jax.random.uniform(anew_key, value.shape, jnp.float32) < config.resampling
        found[name] = bounded(jnp.where(redrawn, anew[name], moved), low, high)
    return found
