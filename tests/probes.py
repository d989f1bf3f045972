"""Environments so small that every value is known. An algorithm that fails one has a specific bug, named by the probe."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Box, Dict, Discrete, MultiDiscrete


@struct.dataclass
class Rules:
    """Three states, of which the last is only ever reached by terminating, and two actions. Nothing but the first state is drawn.

    start: float32[2], the chance to begin in state 0 and 1. next_state, reward: [3, 2], by state and action. ends: bool[3, 2].
    """

    start: jax.Array
    next_state: jax.Array
    reward: jax.Array
    ends: jax.Array


def _outcomes(state, action, rules):
    rows = (table[state, action][None] for table in (rules.next_state, rules.reward, rules.ends))
    return Outcomes(jnp.ones(1, jnp.float32), *rows)


def _initial(rules):
    return Initial(rules.start, jnp.arange(2, dtype=jnp.int32))


def _probe(start: list, next_state: list, reward: list, ends: list) -> Environment:
    """All of these are one program with other numbers, so that an algorithm is compiled once for all of them."""

    def by_state(values, dtype):
        return np.broadcast_to(np.asarray(values, dtype).reshape(2, -1), (2, 2))

    tables = by_state(next_state, np.int32), by_state(reward, np.float32), by_state(ends, bool)
    last = np.full((1, 2), 2, np.int32), np.zeros((1, 2), np.float32), np.ones((1, 2), bool)
    rules = Rules(np.asarray(start, np.float32), *(np.concatenate(rows) for rows in zip(tables, last, strict=True)))
    return finite(jax.tree.map(jnp.asarray, rules), _outcomes, _initial, Discrete(3), Discrete(2), max_steps=2)


def constant_reward() -> Environment:
    """One state, one step, reward 1: V = 1. Fails if values are not learned at all."""
    return _probe([1, 0], [2, 2], [1, 1], [True, True])


def observation_dependent_reward() -> Environment:
    """Two states, one step, reward -1 in state 0 and 1 in state 1. Fails if the value ignores the observation."""
    return _probe([0.5, 0.5], [2, 2], [-1, 1], [True, True])


def delayed_reward() -> Environment:
    """Two steps, reward 1 on the second: V(0) = gamma, V(1) = 1. Fails if discounting or bootstrapping is wrong."""
    return _probe([1, 0], [1, 2], [0, 1], [False, True])


def action_dependent_reward() -> Environment:
    """One step, reward 1 if the action equals the observation. Fails if the policy does not learn from its actions."""
    return _probe([0.5, 0.5], [2, 2], [[1, 0], [0, 1]], [True, True])


def time_limit_loop() -> Environment:
    """One state, reward 1 for ever, a time limit of 2: V = 1 / (1 - gamma). Fails if a time limit is taken for an end."""
    return _probe([1, 0], [0, 1], [1, 1], [False, False])


def limit_or_end() -> Environment:
    """Two states that pay 1 a step: V(0) = 1 / (1 - gamma) behind a time limit of 2, V(1) = 1 behind a termination."""
    return _probe([0.5, 0.5], [0, 2], [1, 1], [False, True])


def _only_state(params):
    return Initial(jnp.ones(1), jnp.zeros(1, jnp.int32))


def _masked(state, action, params):
    reward = jnp.array([0.5, 0.0, 10.0])[action]
    return Outcomes(jnp.ones(1), jnp.ones(1, jnp.int32), reward[None], jnp.ones(1, bool))


def _mask(state, params):
    return jnp.array([True, True, False])


def masked_action() -> Environment:
    """One step, three actions; the best, worth 10, is illegal, so V = 0.5. Fails if a mask is ignored anywhere."""
    return finite(None, _masked, _only_state, Discrete(2), Discrete(3), max_steps=10, action_mask=_mask)


def _nested_observation(state):
    return {"side": state, "vector": jnp.stack([state.astype(jnp.float32), 1.0 - state])}


def _nested_reset(key, params):
    state = jax.random.randint(key, (), 0, 2, dtype=jnp.int32)
    return _nested_observation(state), state


def _nested_step(key, state, action, params):
    return Step(_nested_observation(state), state, jnp.where(action == state, 1.0, 0.0), jnp.bool_(True))


def nested_observation() -> Environment:
    """As ``action_dependent_reward``, with a dict as observation. Fails if observations are taken for single arrays."""
    space = Dict.of(side=Discrete(2), vector=Box(0.0, 1.0, (2,)))
    return Environment(None, _nested_reset, _nested_step, space, Discrete(2), max_steps=10)


def _image(state):
    return jnp.zeros((4, 4, 1), jnp.float32).at[state * 3, state * 3, 0].set(1.0)


def _image_reset(key, params):
    state = jax.random.randint(key, (), 0, 2, dtype=jnp.int32)
    return _image(state), state


def _image_step(key, state, action, params):
    return Step(_image(state), state, jnp.where(action == state, 1.0, 0.0), jnp.bool_(True))


def image_observation() -> Environment:
    """As ``action_dependent_reward``, with a 4x4 image as observation."""
    return Environment(None, _image_reset, _image_step, Box(0.0, 1.0, (4, 4, 1)), Discrete(2), max_steps=10)


def _target_reset(key, params):
    state = jax.random.uniform(key, (1,), jnp.float32, -1.0, 1.0)
    return state, state


def _target_step(key, state, action, params):
    return Step(state, state, -jnp.square(action - state)[0], jnp.bool_(True))


def continuous_action(bound: float = 2.0) -> Environment:
    """One step, reward -(action - observation)^2: the best action is the observation. For continuous policies."""
    return Environment(None, _target_reset, _target_step, Box(-1.0, 1.0, (1,)), Box(-bound, bound, (1,)), max_steps=10)


NESTED_ACTION = Dict.of(direction=Discrete(4), amount=Box(-2.0, 2.0, (1,)), levers=MultiDiscrete((2, 3)))


def _side_reset(key, params):
    state = jax.random.randint(key, (), 0, 2, jnp.int32)
    return state, state


def _nested_action_step(key, state, action, params):
    direction = (action["direction"] == state).astype(jnp.float32)
    levers = (action["levers"] == jnp.stack([state, 1 - state])).astype(jnp.float32).mean()
    worth = direction + levers - jnp.square(action["amount"][0] - state.astype(jnp.float32))
    forbidden = (action["direction"] == 3) | (action["levers"][1] == 2)
    return Step(state, state, jnp.where(forbidden, 10.0, worth), jnp.bool_(True))


def _nested_mask(state, params):
    direction, levers = jnp.ones(4, bool).at[3].set(False), jnp.ones(5, bool).at[4].set(False)
    return {"amount": None, "direction": direction, "levers": levers}


def nested_action() -> Environment:
    """One step, a dict as action: in state s direction s (of 4), amount s and levers (s, 1 - s) are best and worth 2.

    The best direction and the best second lever, worth 10, are illegal. Fails if a part of the action is not learned, and if a
    mask is ignored anywhere: no legal action is worth more than 2.
    """
    return Environment(None, _side_reset, _nested_action_step, Discrete(2), NESTED_ACTION, 10, action_mask_fn=_nested_mask)
