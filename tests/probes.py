"""Environments so small that every value is known. An algorithm that fails one has a specific bug, named by the probe."""

import jax
import jax.numpy as jnp

from jaxrl.env import Environment, Step
from jaxrl.finite import Initial, Outcomes, finite
from jaxrl.spaces import Box, Dict, Discrete


def _only_state(params):
    return Initial(jnp.ones(1), jnp.zeros(1, jnp.int32))


def _constant(state, action, params):
    return Outcomes(jnp.ones(1), jnp.ones(1, jnp.int32), jnp.ones(1), jnp.ones(1, bool))


def constant_reward() -> Environment:
    """One state, one step, reward 1: V = 1. Fails if values are not learned at all."""
    return finite(None, _constant, _only_state, Discrete(2), Discrete(2), max_steps=10)


def _two_starts(params):
    return Initial(jnp.full(2, 0.5), jnp.arange(2, dtype=jnp.int32))


def _by_observation(state, action, params):
    reward = jnp.where(state == 1, 1.0, -1.0)
    return Outcomes(jnp.ones(1), jnp.full(1, 2, jnp.int32), reward[None], jnp.ones(1, bool))


def observation_dependent_reward() -> Environment:
    """Two states, one step, reward -1 in state 0 and 1 in state 1. Fails if the value ignores the observation."""
    return finite(None, _by_observation, _two_starts, Discrete(3), Discrete(2), max_steps=10)


def _delayed(state, action, params):
    return Outcomes(jnp.ones(1), (state + 1)[None], jnp.where(state == 1, 1.0, 0.0)[None], (state == 1)[None])


def delayed_reward() -> Environment:
    """Two steps, reward 1 on the second: V(0) = gamma, V(1) = 1. Fails if discounting or bootstrapping is wrong."""
    return finite(None, _delayed, _only_state, Discrete(3), Discrete(2), max_steps=10)


def _by_action(state, action, params):
    return Outcomes(jnp.ones(1), jnp.full(1, 2, jnp.int32), jnp.where(action == state, 1.0, 0.0)[None], jnp.ones(1, bool))


def action_dependent_reward() -> Environment:
    """One step, reward 1 if the action equals the observation. Fails if the policy does not learn from its actions."""
    return finite(None, _by_action, _two_starts, Discrete(3), Discrete(2), max_steps=10)


def _loop(state, action, params):
    return Outcomes(jnp.ones(1), state[None], jnp.ones(1), jnp.zeros(1, bool))


def time_limit_loop() -> Environment:
    """One state, reward 1 for ever, a time limit of 3: V = 1 / (1 - gamma). Fails if a time limit is taken for an end."""
    return finite(None, _loop, _only_state, Discrete(1), Discrete(2), max_steps=3)


def _limit_or_end(state, action, params):
    # From state 0 the episode loops until the time limit; from state 1 it ends at once. Both pay 1 a step.
    return Outcomes(jnp.ones(1), state[None], jnp.ones(1), (state == 1)[None])


def limit_or_end() -> Environment:
    """Two states that pay 1 a step: V(0) = 1 / (1 - gamma) behind a time limit of 2, V(1) = 1 behind a termination."""
    return finite(None, _limit_or_end, _two_starts, Discrete(2), Discrete(2), max_steps=2)


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
