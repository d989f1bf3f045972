"""The protocol that every environment follows: two pure functions bound to their parameters in one record.

An environment author writes ``reset(key, params) -> (obs, state)`` and ``step(key, state, action, params) -> Step`` at module
level and a factory that validates its arguments. Everything else (automatic reset, time limits, batching, seeds) is done once,
in ``jaxrl.core.rollout`` and ``jaxrl.training.runner``, and never seen by the environment.

Finite environments are better written with ``jaxrl.core.finite.finite``: the outcome probabilities are written down and both the
sampled step and the exact model follow from them.

Multi-agent environments set ``num_agents = N``: observations are ``[N, ...]``, actions ``[N]``, rewards ``[N]``, and the
episode ends for all agents at once. The spaces are those of one agent; unequal agents are padded to the widest and masked, and
``roles`` says which of them are alike.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from flax import struct

from jaxrl.core.spaces import Space

PyTree = Any


def static(**kwargs: Any) -> Any:
    """A dataclass field that is part of the structure, not of the data: it is hashed, never traced."""
    return struct.field(pytree_node=False, **kwargs)


class Step(NamedTuple):
    """The result of one step.

    obs: PyTree, the true successor observation (``[N, ...]`` with agents), never that of a new episode.
    state: PyTree, the successor state.
    reward: float32[] or float32[N], in the environment's reward units.
    terminated: bool[], the successor is absorbing and its value is 0. Time limits are not the environment's business.
    info: dict of arrays with a fixed structure, for diagnosis; never seen by the agent.
    """

    obs: PyTree
    state: PyTree
    reward: jax.Array
    terminated: jax.Array
    info: dict = {}


@struct.dataclass
class Environment:
    """An environment: pure functions, and the parameters they are bound to.

    A pytree whose only traced leaf is ``params``, so environments can be passed through ``jax.jit`` and their parameters
    vmapped (domain randomisation, price paths). The functions must live at module level, or be frozen dataclasses, so that an
    environment built again compares equal and finds its compiled program.

    Its methods are compiled: called by themselves, each is one program; while something else is traced, they are part of that.
    """

    params: PyTree
    reset_fn: Callable = static()  # (key, params) -> (obs, state)
    step_fn: Callable = static()  # (key, state, action, params) -> Step
    observation_space: Space = static()
    action_space: Space = static()
    max_steps: int = static()  # reached without termination: truncated, decided in rollout.py
    num_agents: int | None = static(default=None)  # None: no agent axis
    # The role of each agent, N integers of at least 0, where some observe or act in another sense than others; None: all alike.
    roles: tuple[int, ...] | None = static(default=None)
    # (state, params) -> the legal actions, True = legal: bool[A] or bool[N, A] of a Discrete space; see jaxrl.core.masks.
    action_mask_fn: Callable | None = static(default=None)
    global_obs_fn: Callable | None = static(default=None)  # (state, params) -> float32[G], for centralised critics
    outcomes_fn: Callable | None = static(default=None)  # finite environments: see jaxrl.core.finite
    initial_fn: Callable | None = static(default=None)  # finite environments: the initial distribution
    observe_fn: Callable | None = static(default=None)  # finite environments: (state, params) -> obs
    limit_fn: Callable | None = static(default=None)  # (params, max_steps) -> params, where these depend on the time limit

    def reset(self, key: jax.Array) -> tuple[PyTree, PyTree]:
        """Draws an initial state. Returns ``(obs, state)``."""
        return _reset(self, key)

    def step(self, key: jax.Array, state: PyTree, action: PyTree) -> Step:
        """Moves one step on from ``state``."""
        return _step(self, key, state, action)

    def action_mask(self, state: PyTree) -> PyTree:
        """Returns the legal actions, or None where every action is always legal.

        bool[A] of a Discrete space, bool[N, A] with agents; of other spaces see ``jaxrl.core.masks``.
        """
        return None if self.action_mask_fn is None else _action_mask(self, state)

    def global_obs(self, state: PyTree) -> jax.Array | None:
        """Returns what a centralised critic may see, float32[G], or None where the environment names nothing of the kind."""
        return None if self.global_obs_fn is None else _global_obs(self, state)

    @property
    def is_finite(self) -> bool:
        """Whether the environment states its outcome probabilities, so that it can be tabulated and solved exactly."""
        return self.outcomes_fn is not None


def in_full(function: Callable, *arguments: Any) -> Any:
    """Calls a function of an environment's author, with matrix products in full float32.

    Accelerators multiply with fewer bits by default, 10 of the mantissa on recent GPUs, 7 on TPUs. A step would be wrong in the
    fourth digit, and depend on how many are batched. Networks may be trained in that way; the world is not computed so.
    """
    with jax.default_matmul_precision("highest"):
        return function(*arguments)


@struct.dataclass
class _Uncompiled(Environment):
    """An environment whose methods are those of its author, not compiled."""

    def reset(self, key: jax.Array) -> tuple[PyTree, PyTree]:
        return in_full(self.reset_fn, key, self.params)

    def step(self, key: jax.Array, state: PyTree, action: PyTree) -> Step:
        return in_full(self.step_fn, key, state, action, self.params)

    def action_mask(self, state: PyTree) -> PyTree:
        return None if self.action_mask_fn is None else in_full(self.action_mask_fn, state, self.params)

    def global_obs(self, state: PyTree) -> jax.Array | None:
        return None if self.global_obs_fn is None else in_full(self.global_obs_fn, state, self.params)


def uncompiled(env: Environment) -> Environment:
    """Returns the same environment with methods that are not compiled, for a diagnosis.

    Where jax makes a compiled function a part of another one, it forgets from which lines of code the operations are.
    """
    return _Uncompiled(**{field.name: getattr(env, field.name) for field in dataclasses.fields(env)})


@partial(jax.jit, inline=True)
def _reset(env: Any, key: jax.Array) -> tuple[PyTree, PyTree]:
    return in_full(env.reset_fn, key, env.params)


@partial(jax.jit, inline=True)
def _step(env: Any, key: jax.Array, state: PyTree, action: PyTree) -> Step:
    return in_full(env.step_fn, key, state, action, env.params)


@partial(jax.jit, inline=True)
def _action_mask(env: Any, state: PyTree) -> PyTree:
    return in_full(env.action_mask_fn, state, env.params)


@partial(jax.jit, inline=True)
def _global_obs(env: Any, state: PyTree) -> jax.Array:
    return in_full(env.global_obs_fn, state, env.params)
