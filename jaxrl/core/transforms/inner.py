"""The parts that transforms share: the environment underneath is in the state and the parameters of the new one."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax

from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.spaces import example
from jaxrl.errors import EnvError, require


def examples(env: Environment) -> tuple[PyTree, PyTree]:
    """Returns an observation and an action by shape and dtype, with the agent axis where there is one."""
    agents = () if env.num_agents is None else (env.num_agents,)
    obs, _ = jax.eval_shape(env.reset, jax.random.key(0))
    action = example(env.action_space)
    return obs, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*agents, *leaf.shape), leaf.dtype), action)


def require_one_number(where: str, must: str, env: Environment, found: jax.ShapeDtypeStruct, fix: str) -> None:
    agents = () if env.num_agents is None else (env.num_agents,)
    value = f"{found.dtype}{list(found.shape)}"
    require(found.shape == agents, where, must.format(f"float32{list(agents)}"), value, fix, EnvError)


def around(env: Environment, params: PyTree, reset: Callable, step: Callable) -> Environment:
    """Returns an environment whose state holds that of another one as ``state``, and its parameters those as ``env``."""
    return dataclasses.replace(
        env,
        params=params,
        reset_fn=reset,
        step_fn=step,
        action_mask_fn=env.action_mask_fn and OfInnerState(env.action_mask_fn),
        global_obs_fn=env.global_obs_fn and OfInnerState(env.global_obs_fn),
        limit_fn=env.limit_fn and LimitOfInner(env.limit_fn),
    )


@dataclass(frozen=True)
class OfInnerState:
    function: Callable

    def __call__(self, state, params):
        return self.function(state.state, params.env)


@dataclass(frozen=True)
class LimitOfInner:
    """The ``limit_fn`` of an environment whose parameters hold those of the environment underneath as ``env``."""

    limit: Callable

    def __call__(self, params, max_steps):
        return params.replace(env=self.limit(params.env, max_steps))
