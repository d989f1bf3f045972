"""The policy that an algorithm has learned as a table over the states of a model, and the spaces that both must share."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.algorithm import Algorithm, require_policy
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Space
from jaxrl.errors import EnvError, require


class Spaces(NamedTuple):
    """The spaces of a policy, without the numbers of an environment. observation, action: spaces. agents: N or None."""

    observation: Space
    action: Space
    agents: int | None

    @classmethod
    def of(cls, env: Environment) -> "Spaces":
        return cls(env.observation_space, env.action_space, env.num_agents)


def require_alike(where: str, spaces: Environment | Spaces, task: Any) -> None:
    """Raises EnvError where an algorithm learns in an environment and is evaluated in one of other spaces."""
    if isinstance(task, Environment):
        own = Spaces.of(spaces) if isinstance(spaces, Environment) else spaces
        must = f"the environment that is evaluated must have the spaces of the task, {tuple(Spaces.of(task))}"
        require(own == Spaces.of(task), where, must, tuple(own), "Build both from the same map.", EnvError)


def greedy_actions(where: str, key: jax.Array, algorithm: Algorithm, state: Any, view: View, shape: tuple[int, ...]) -> jax.Array:
    """Returns the greedy actions int[shape]; raises EnvError unless observations alone tell them, one for each state."""
    policy = require_policy(where, algorithm)
    memoryless = not jax.tree.leaves(algorithm.memory)
    must = "the policy must depend on the observation alone"
    require(memoryless, where, must, "a memory", "Evaluate it by Episodes.", EnvError)
    action = policy(state, True)(key, view).action
    whole = jnp.issubdtype(jnp.result_type(action), jnp.integer)
    found = f"{jnp.result_type(action)}{list(jnp.shape(action))}"
    must = f"the policy must return one of the actions for every state, int32{list(shape)}"
    fix = "Evaluate the environment that is learned."
    require(jnp.shape(action) == shape and whole, where, must, found, fix, EnvError)
    return action


def action_probabilities(where: str, algorithm: Algorithm, state: Any, view: View, shape: tuple[int, ...]) -> jax.Array:
    """Returns the probabilities of all actions, float32[shape]; raises EnvError where they have another shape."""
    found: Any = algorithm.probabilities
    probabilities = found(state, view)
    must = f"the algorithm's probabilities must have shape {list(shape)}, as the model that is evaluated"
    fix = "Evaluate the environment that is learned."
    require(probabilities.shape == shape, where, must, list(probabilities.shape), fix, EnvError)
    return probabilities
