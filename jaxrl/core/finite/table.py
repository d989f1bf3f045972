"""The environment that a model describes."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.finite.model import TabularModel, require_model, single_precision
from jaxrl.core.finite.outcomes import Initial, Outcomes, finite, sample_index
from jaxrl.core.spaces import Discrete


@struct.dataclass
class Table:
    """The parameters of ``from_table``. model: float32 tables. first: int32[M], the states in which an episode may begin."""

    model: TabularModel
    first: jax.Array


def _joint(action, model):
    return jnp.ravel_multi_index(tuple(action), model.joint_shape, mode="clip") if jnp.ndim(action) else action


def _table_outcomes(state, action, table):
    model = table.model
    return jax.tree.map(
        lambda leaf: leaf[state, _joint(action, model)],
        Outcomes(model.probability, model.next_state, model.reward, model.terminated),
    )


def _table_initial(table):
    return Initial(table.model.initial[table.first], table.first)


@dataclass(frozen=True)
class _TableStep:
    """Draws an outcome's number first and looks up that one alone."""

    observe: Callable

    def __call__(self, key, state, action, table):
        model = table.model
        action = _joint(action, model)
        index = sample_index(key, model.probability[state, action])
        tables = model.next_state, model.reward, model.terminated
        state, reward, terminated = (leaf[state, action, index] for leaf in tables)
        return Step(self.observe(state, table), state, reward, terminated)


@dataclass(frozen=True)
class _TableObservation:
    num_agents: int | None

    def __call__(self, state, table):
        return state if self.num_agents is None else jnp.full((self.num_agents,), state)


@dataclass(frozen=True)
class _TableMask:
    num_agents: int | None

    def __call__(self, state, table):
        shape = table.model.joint_shape
        joint = table.model.action_mask[state].reshape(shape)
        if self.num_agents is None:
            return joint
        agents = range(self.num_agents)
        each = [joint.any(tuple(other for other in agents if other != agent)) for agent in agents]
        return jnp.stack([jnp.pad(legal, (0, max(shape) - legal.size)) for legal in each])


def from_table(model: TabularModel, max_steps: int) -> Environment:
    """Builds the environment that a model describes. Its observation is the state's number; a step is a look-up.

    Agents with fewer actions than others are padded to the widest, and what they lack is masked.

    Args:
        model: the tables; agents see the same state number each.
        max_steps: steps after which an episode is truncated.

    Raises:
        EnvError: the tables do not fit together, or hold no distributions or rewards that are not finite.
    """
    require_model("from_table", model)
    agents = len(model.joint_shape) if np.ndim(model.reward) == 4 else None
    widest = max(model.joint_shape)
    masked = not np.all(model.action_mask) or min(model.joint_shape) < widest
    observe = _TableObservation(agents)
    env = finite(
        Table(single_precision(model), jnp.asarray(np.flatnonzero(model.initial), jnp.int32)),
        _table_outcomes,
        _table_initial,
        Discrete(model.num_states),
        Discrete(widest),
        max_steps,
        observe=observe,
        num_agents=agents,
        action_mask=_TableMask(agents) if masked else None,
    )
    return dataclasses.replace(env, step_fn=_TableStep(observe))
