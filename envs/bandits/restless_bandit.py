"""Restless bandit: N arms of two states go on by themselves, a few can be acted on at each step, and all of them pay.

``make`` numbers the sets of arms that can be acted on and is a finite environment of 2^N states. ``make_by_priority`` is for many
arms: the action is a number for each, and the arms with the largest are acted on, which is how index policies act.

Source: Whittle (1988); two-state arms and a budget as in Mate et al. (2020).
"""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.bandits.whittle import WhittleIndex, whittle_index
from jaxrl.core.environment import Environment, Step
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

MAX_ARMS = 10  # of ``make``: 1024 joint states


@struct.dataclass
class Arms:
    """N arms of two states; state 1 is called good, and action 1 acts on an arm. All float32 and traced.

    good: [N, 2, 2], the probability that an arm is in state 1 next, by action and state.
    reward: [N, 2, 2], what an arm pays, by action and state.
    start: [N], the probability that an arm begins in state 1.
    """

    good: jax.Array
    reward: jax.Array
    start: jax.Array


@struct.dataclass
class Params:
    arms: Arms
    sets: jax.Array  # bool[C, N], the arms that each action acts on


def draw(key: jax.Array, num_arms: int) -> Arms:
    """Draws arms of which acting and a good state both help: four uniform numbers in order, the chances of state 1 next.

    An arm pays 1 in state 1. In which of the two ways the middle numbers are given out is drawn as well.
    """
    chance_key, order_key = jax.random.split(key)
    low, one, other, high = jnp.sort(jax.random.uniform(chance_key, (4, num_arms), jnp.float32), axis=0)
    swap = jax.random.bernoulli(order_key, jnp.float32(0.5), (num_arms,))
    alone, acted = jnp.where(swap, other, one), jnp.where(swap, one, other)
    good = jnp.stack([jnp.stack([low, alone], -1), jnp.stack([acted, high], -1)], axis=1)
    reward = jnp.broadcast_to(jnp.array([0.0, 1.0], jnp.float32), good.shape)
    return Arms(good, reward, jnp.full(num_arms, 0.5, jnp.float32))


def _now(table, acted, state):
    """Returns what a table [N, 2, 2] says of every arm, [N]."""
    return table[jnp.arange(table.shape[0]), acted.astype(jnp.int32), state]


def _patterns(num_arms: int) -> np.ndarray:
    """Returns all joint states, int32[2^N, N]."""
    return np.array(list(itertools.product((0, 1), repeat=num_arms)), np.int32)


def _joint(good):
    """Returns the probability of every joint state, [2^N], from the chance of state 1 of every arm, [N]."""
    return jnp.prod(jnp.where(_patterns(good.shape[0]), good, 1 - good), axis=-1)


def observe(state, params):
    """The states of the arms, float32[N]."""
    return state.astype(jnp.float32)


def outcomes(state, action, params):
    """2^N outcomes: every arm goes on by itself."""
    acted = params.sets[action]
    probability = _joint(_now(params.arms.good, acted, state))
    reward = jnp.broadcast_to(_now(params.arms.reward, acted, state).sum(), probability.shape)
    return Outcomes(probability, jnp.asarray(_patterns(state.shape[0])), reward, jnp.zeros(probability.shape, bool))


def initial(params):
    """Every arm by itself."""
    return Initial(_joint(params.arms.start), jnp.asarray(_patterns(params.arms.start.shape[0])))


def reset(key, params):
    """Draws the state of every arm by itself, for many arms."""
    state = jax.random.bernoulli(key, params.start).astype(jnp.int32)
    return observe(state, params), state


@dataclass(frozen=True)
class _PriorityStep:
    """Acts on the ``budget`` arms of the largest numbers. ``params`` are the arms."""

    budget: int

    def __call__(self, key, state, action, params):
        chosen = jax.lax.top_k(action, self.budget)[1]
        acted = jnp.zeros(state.shape, bool).at[chosen].set(True)
        reward = _now(params.reward, acted, state).sum()
        state = jax.random.bernoulli(key, _now(params.good, acted, state)).astype(jnp.int32)
        return Step(observe(state, params), state, reward, jnp.bool_(False))


def whittle_indices(arms: Arms, gamma: float) -> tuple[WhittleIndex, ...]:
    """Returns the Whittle index of both states of every arm, on the host in float64."""
    good, reward = np.asarray(arms.good, np.float64), np.asarray(arms.reward, np.float64)
    transition = np.stack([1 - good, good], axis=-1)
    return tuple(whittle_index(*arm, gamma) for arm in zip(transition, reward, strict=True))


def of(arms: Arms, budget: int = 1, max_steps: int = 100) -> Environment:
    """Builds the finite environment. Actions: sets of ``budget`` arms, in lexicographic order. Observation: float32[N]."""
    count = arms.start.shape[-1]
    chosen = np.array(list(itertools.combinations(range(count), budget)))
    sets = np.zeros((len(chosen), count), bool)
    sets[np.arange(len(chosen))[:, None], chosen] = True
    states = Box(0.0, 1.0, (count,))
    params = Params(arms, jnp.asarray(sets))
    return finite(params, outcomes, initial, states, Discrete(len(sets)), max_steps, observe=observe)


def by_priority(arms: Arms, budget: int = 1, max_steps: int = 100) -> Environment:
    """Builds the environment for many arms. Action: a number for each arm, float32[N]. Observation: float32[N]."""
    count, infinite = arms.start.shape[-1], float("inf")
    priorities = Box(-infinite, infinite, (count,))
    return Environment(arms, reset, _PriorityStep(budget), Box(0.0, 1.0, (count,)), priorities, max_steps=max_steps)


def _require(where: str, num_arms: int, budget: int, max_steps: int) -> None:
    require(num_arms >= 1, where, "num_arms must be at least 1", num_arms, "Set num_arms to 1 or more.")
    require(1 <= budget <= num_arms, where, "budget must lie in 1 .. num_arms", budget, "So many arms are acted on at each step.")
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "100 is the default.")


def make(num_arms: int = 4, budget: int = 1, seed: int = 0, max_steps: int = 100) -> Environment:
    """Builds a restless bandit of arms drawn from a seed, see ``draw`` and ``of``.

    Args:
        num_arms: N, 1 .. 10.
        budget: how many arms are acted on at each step.
        seed: numbers the draw of the arms.
        max_steps: the time limit.

    Raises:
        ConfigError: a number is out of range.
    """
    where = "restless_bandit"
    _require(where, num_arms, budget, max_steps)
    fix = "make_by_priority takes any number."
    require(num_arms <= MAX_ARMS, where, f"num_arms must be at most {MAX_ARMS}", num_arms, fix)
    return of(draw(jax.random.key(seed), num_arms), budget, max_steps)


def make_by_priority(num_arms: int = 100, budget: int = 10, seed: int = 0, max_steps: int = 30) -> Environment:
    """Builds a restless bandit of many arms drawn from a seed, see ``draw`` and ``by_priority``.

    Args:
        num_arms: N.
        budget: how many arms are acted on at each step.
        seed: numbers the draw of the arms.
        max_steps: the time limit.

    Raises:
        ConfigError: a number is out of range.
    """
    _require("restless_bandit_by_priority", num_arms, budget, max_steps)
    return by_priority(draw(jax.random.key(seed), num_arms), budget, max_steps)
