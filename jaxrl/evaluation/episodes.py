"""Evaluating a policy by episodes that are played to their end, with the same random numbers for every seed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm, require_policy
from jaxrl.core.averages import MOST_ENTRIES
from jaxrl.core.environment import Environment, Step, static
from jaxrl.core.rollout import Episode, Policy
from jaxrl.errors import require, require_counts, require_discount, unknown_name
from jaxrl.evaluation.policy_tables import require_alike

REDUCTIONS = ("sum", "mean", "last")


class EpisodeOutcome(NamedTuple):
    """One evaluated episode.

    return_: float32[] or float32[N], undiscounted; discounted_return likewise. length: int32[], steps.
    info: ``"NAME_REDUCTION"`` -> float32[...], entries of the environment's ``Step.info`` over the steps of the episode.
    """

    return_: jax.Array
    discounted_return: jax.Array
    length: jax.Array
    info: dict[str, jax.Array] = {}


def evaluate(
    key: jax.Array,
    env: Environment,
    policy: Policy,
    num_episodes: int,
    gamma: jax.Array | float = 1.0,
    memory: Any = (),
    info: Sequence[tuple[str, str]] = (),
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
        info: pairs of an entry of ``Step.info`` and its reduction over the steps of an episode, one of ``REDUCTIONS``.

    Raises:
        ConfigError: the discount is out of range, where it is not traced; or a reduction is none.
        UnknownNameError: the environment reports no entry of this name.
    """
    require_discount("evaluate", gamma)
    _require_reductions("evaluate", info)
    start_key, play_key = jax.random.split(key)
    episodes = rollout.start(start_key, env, num_episodes, memory)
    zeros = jnp.zeros_like(episodes.return_)

    def advance(t, episodes):
        policy_key, env_key = jax.random.split(jax.random.fold_in(play_key, t))
        decision = policy(policy_key, rollout.view(env, episodes))
        return rollout.advance_all(env_key, env, episodes, decision)

    def unfinished(carry):
        return ~carry[1].all()

    def step(carry):
        episodes, finished, outcome = carry
        episodes, seen = advance(outcome.length.max(), episodes)
        agents = (..., *(None,) * (zeros.ndim - 1))
        counted = jnp.where(finished[agents], 0.0, seen.reward)
        outcome = EpisodeOutcome(
            outcome.return_ + counted,
            outcome.discounted_return + counted * (jnp.float32(gamma) ** seen.t)[agents],
            outcome.length + ~finished,
            _accumulated(outcome.info, info, seen.info, finished),
        )
        return episodes, finished | seen.done, outcome

    reported = jax.eval_shape(advance, jnp.int32(0), episodes)[1].info if info else {}
    outcome = EpisodeOutcome(zeros, zeros, jnp.zeros(num_episodes, jnp.int32), _nothing_yet(info, reported))
    outcome = jax.lax.while_loop(unfinished, step, (episodes, jnp.zeros(num_episodes, bool), outcome))[2]
    return outcome._replace(info=_reduced(outcome.info, info, outcome.length))


# ---- entries of Step.info over an episode: name and reduction -> float32[E, ...]


def _require_reductions(where: str, info: Any) -> None:
    """Raises ConfigError unless ``info`` is a sequence of pairs (name, reduction) that differ."""
    must, fix = f"info must be pairs of a name and one of {REDUCTIONS}", 'Write info=(("wealth", "last"),).'
    pairs = isinstance(info, tuple | list) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str) and pair[1] in REDUCTIONS for pair in info
    )
    require(pairs, where, must, info, fix)
    require(len({*map(tuple, info)}) == len(info), where, "the pairs of info must differ", info, "Name each once.")


def _nothing_yet(info: Sequence[tuple[str, str]], reported: dict[str, Any]) -> dict[str, jax.Array]:
    """Returns the zeros from which the reductions begin; ``reported``: the shapes of what a batch of steps reports."""
    for name, _ in info:
        if name not in reported:
            raise unknown_name("Episodes", "entry of Step.info", name, reported)
        must, fix = f"the entry {name!r} of Step.info must be an array of numbers", "Name another entry."
        number = isinstance(reported[name], jax.ShapeDtypeStruct) and reported[name].dtype.kind in "biuf"
        require(number, "Episodes", must, reported[name], fix)
    return {f"{name}_{reduction}": jnp.zeros(reported[name].shape, jnp.float32) for name, reduction in info}


def _accumulated(found: dict, info: Sequence[tuple[str, str]], reported: dict, finished: jax.Array) -> dict[str, jax.Array]:
    """Takes in the reports of one step, of the episodes that are not finished."""
    new = {}
    for name, reduction in info:
        column = f"{name}_{reduction}"
        before, value = found[column], jnp.asarray(reported[name], jnp.float32)
        over = finished.reshape(-1, *(1,) * (value.ndim - 1))
        new[column] = jnp.where(over, before, value if reduction == "last" else before + value)
    return new


def _reduced(found: dict, info: Sequence[tuple[str, str]], length: jax.Array) -> dict[str, jax.Array]:
    """Divides the sums by the number of steps where means are asked for."""
    means = {f"{name}_{reduction}" for name, reduction in info if reduction == "mean"}

    def divided(total):
        return total / length.reshape(-1, *(1,) * (total.ndim - 1)).astype(jnp.float32)

    return {column: divided(total) if column in means else total for column, total in found.items()}


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

    ``info`` names entries of the environment's own report ``Step.info``, each with its reduction over the steps of an episode:
    ``(("wealth", "last"), ("fee", "sum"), ("position", "mean"))`` gives ``greedy_wealth_last``, ``sampled_fee_sum`` and so on,
    means over episodes. So what an environment tells beside its reward is measured whatever the algorithm.
    """

    env: Environment
    gamma: float = 1.0
    num_episodes: int = static(default=32)
    modes: tuple[str, ...] = static(default=MODES)
    discounted: bool = static(default=False)
    info: tuple[tuple[str, str], ...] = static(default=())

    def __post_init__(self):
        _require_reductions("Episodes", self.info)
        known = bool(self.modes) and set(self.modes) <= set(MODES)
        require(known, "Episodes", f"modes must be some of {MODES}", self.modes, "Leave them out for both.")
        require_counts("Episodes", self, "num_episodes")
        if isinstance(self.gamma, (int, float, np.generic, np.ndarray, jax.Array)):  # not what stands for leaves in a structure
            require_discount("Episodes", self.gamma)

    def validate(self, task: Any) -> None:
        """Raises EnvError where episodes are played in an environment of other spaces than the task's."""
        require_alike("Episodes", self.env, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        policy_of = require_policy("Episodes", algorithm)
        metrics = {}
        for mode in self.modes:
            policy = policy_of(state, mode == "greedy")
            outcome = evaluate(key, self.env, policy, self.num_episodes, self.gamma, algorithm.memory, self.info)
            total = outcome.return_.reshape(self.num_episodes, -1).sum(-1)
            metrics[f"{mode}_return"] = total.mean()
            if outcome.return_.ndim > 1 and outcome.return_.shape[-1] <= MOST_ENTRIES:
                metrics[f"{mode}_agent_return"] = outcome.return_.mean(0)
            metrics[f"{mode}_length"] = outcome.length.astype(jnp.float32).mean()
            metrics |= {f"{mode}_{column}": values.mean(0) for column, values in outcome.info.items()}
            if self.discounted:
                metrics[f"{mode}_discounted_return"] = outcome.discounted_return.reshape(self.num_episodes, -1).sum(-1).mean()
        return metrics
