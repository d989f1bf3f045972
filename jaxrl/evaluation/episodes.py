"""Evaluating a policy by episodes that are played to their end, with the same random numbers for every seed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import MOST_ENTRIES
from jaxrl.core.environment import Environment, Step, static
from jaxrl.core.rollout import Episode, Policy
from jaxrl.errors import require, require_counts, require_discount
from jaxrl.evaluation.policy_tables import require_alike


class EpisodeOutcome(NamedTuple):
    """One evaluated episode. return_: float32[] or [N], undiscounted; discounted_return likewise; length: int32[]."""

    return_: jax.Array
    discounted_return: jax.Array
    length: jax.Array


def evaluate(
    key: jax.Array, env: Environment, policy: Policy, num_episodes: int, gamma: jax.Array | float = 1.0, memory: Any = ()
) -> EpisodeOutcome:
    """Plays ``num_episodes`` episodes side by side to their end and returns the outcome of each.

    Only the first episode of every environment counts, so long episodes are not under-represented.

    Args:
        key: one key; the same key gives every policy the same initial states and environment randomness.
        env: the environment.
        policy: see ``jaxrl.core.rollout.Policy``.
        num_episodes: leading axis of the result.
        gamma: discount of ``discounted_return``, in [0, 1].
        memory: the policy's, for one environment.

    Raises:
        ConfigError: the discount is out of range, where it is not traced.
    """
    require_discount("evaluate", gamma)
    start_key, play_key = jax.random.split(key)
    episodes = rollout.start(start_key, env, num_episodes, memory)
    zeros = jnp.zeros_like(episodes.return_)

    def unfinished(carry):
        return ~carry[1].all()

    def step(carry):
        episodes, finished, outcome = carry
        t = outcome.length.max()
        policy_key, env_key = jax.random.split(jax.random.fold_in(play_key, t))
        decision = policy(policy_key, rollout.view(env, episodes))
        episodes, seen = rollout.advance_all(env_key, env, episodes, decision)
        agents = (..., *(None,) * (zeros.ndim - 1))
        counted = jnp.where(finished[agents], 0.0, seen.reward)
        outcome = EpisodeOutcome(
            outcome.return_ + counted,
            outcome.discounted_return + counted * (jnp.float32(gamma) ** seen.t)[agents],
            outcome.length + ~finished,
        )
        return episodes, finished | seen.done, outcome

    start = (episodes, jnp.zeros(num_episodes, bool), EpisodeOutcome(zeros, zeros, jnp.zeros(num_episodes, jnp.int32)))
    return jax.lax.while_loop(unfinished, step, start)[2]


class Followed(NamedTuple):
    """The T steps of one episode, leaves [T, ...].

    obs, state: PyTree, before the step. action: PyTree, what the environment received. outcome: Step, what followed, the
    environment's own report ``info`` included.
    """

    obs: Any
    state: Any
    action: Any
    outcome: Step


def follow(key: jax.Array, env: Environment, policy: Policy, memory: Any = (), num_steps: int | None = None) -> Followed:
    """Plays one episode and returns all of its steps: for books, films and statistics that rewards alone do not tell.

    The episode goes on to the last step whatever happens; those after it terminated are what the environment makes of them.

    Args:
        key: one key.
        env: the environment.
        policy: see ``jaxrl.core.rollout.Policy``.
        memory: the policy's, for one environment.
        num_steps: T, by default the environment's time limit.
    """
    reset_key, play_key = jax.random.split(key)

    def one(tree):
        return jax.tree.map(lambda leaf: leaf[None], tree)

    def step(episode, key):
        policy_key, step_key = jax.random.split(key)
        decision = jax.tree.map(lambda leaf: leaf[0], policy(policy_key, rollout.view(env, one(episode))))
        outcome = env.step(step_key, episode.state, decision.action)
        memory = rollout.remembered(decision, outcome.reward)
        onward = Episode(outcome.state, outcome.obs, episode.t + 1, episode.return_ + outcome.reward, memory)
        return onward, Followed(episode.obs, episode.state, decision.action, outcome)

    count = env.max_steps if num_steps is None else num_steps
    obs, state = env.reset(reset_key)
    agents = () if env.num_agents is None else (env.num_agents,)
    first = Episode(state, obs, jnp.int32(0), jnp.zeros(agents, jnp.float32), jax.tree.map(jnp.zeros_like, memory))
    return jax.lax.scan(step, first, jax.random.split(play_key, count))[1]


MODES = ("greedy", "sampled")


@struct.dataclass
class Episodes:
    """Evaluates by playing episodes: metrics ``greedy_return`` and ``sampled_return``, means over episodes (summed over agents).

    ``greedy_length`` and ``sampled_length`` are the mean numbers of steps. With agents, at most ``MOST_ENTRIES`` of them,
    ``greedy_agent_return`` and ``sampled_agent_return`` are the mean return of each, [N]. With ``discounted`` the discounted
    returns are reported as well, as ``greedy_discounted_return`` and ``sampled_discounted_return``.
    """

    env: Environment
    gamma: float = 1.0
    num_episodes: int = static(default=32)
    modes: tuple[str, ...] = static(default=MODES)
    discounted: bool = static(default=False)

    def __post_init__(self):
        known = bool(self.modes) and set(self.modes) <= set(MODES)
        require(known, "Episodes", f"modes must be some of {MODES}", self.modes, "Leave them out for both.")
        require_counts("Episodes", self, "num_episodes")
        if isinstance(self.gamma, (int, float, np.generic, np.ndarray, jax.Array)):  # not what stands for leaves in a structure
            require_discount("Episodes", self.gamma)

    def validate(self, task: Any) -> None:
        """Raises EnvError where episodes are played in an environment of other spaces than the task's."""
        require_alike("Episodes", self.env, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        require(algorithm.policy is not None, "Episodes", "the algorithm must have a policy", None, "Leave the evaluator out.")
        metrics = {}
        for mode in self.modes:
            policy = algorithm.policy(state, mode == "greedy")
            outcome = evaluate(key, self.env, policy, self.num_episodes, self.gamma, algorithm.memory)
            total = outcome.return_.reshape(self.num_episodes, -1).sum(-1)
            metrics[f"{mode}_return"] = total.mean()
            if outcome.return_.ndim > 1 and outcome.return_.shape[-1] <= MOST_ENTRIES:
                metrics[f"{mode}_agent_return"] = outcome.return_.mean(0)
            metrics[f"{mode}_length"] = outcome.length.astype(jnp.float32).mean()
            if self.discounted:
                metrics[f"{mode}_discounted_return"] = outcome.discounted_return.reshape(self.num_episodes, -1).sum(-1).mean()
        return metrics
