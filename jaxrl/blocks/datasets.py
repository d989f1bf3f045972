"""Data sets of episodes: what offline learners learn from and off-policy evaluators judge by.

N episodes of at most T steps lie side by side, padded at their ends, in arrays [N, T, ...]: a pytree that goes through ``jit``
and ``vmap``. A minibatch of steps (``sample``), windows of successive steps for sequence models (``windows``) and returns-to-go
(``returns_to_go``) are read from it in compiled code.

Data come from any policy (``collect``, and ``Collected`` for a data set per seed), from arrays in the layouts of D4RL and Minari
(``jaxrl.blocks.dataset_layouts``), and from Parquet files (``jaxrl.results.dataset_files``).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks import replay
from jaxrl.blocks.off_policy import Experience
from jaxrl.blocks.policies import mixture
from jaxrl.blocks.returns import discounted_returns
from jaxrl.core import masks, rollout, spaces
from jaxrl.core.at_once import at_once
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Policy
from jaxrl.core.spaces import Space
from jaxrl.errors import DataError, is_traced, require, require_count

FLAGS = ("terminated", "truncated", "valid")


@struct.dataclass
class Dataset:
    """N episodes of at most T steps, each from its first step on.

    obs, action, next_obs: PyTree[N, T, ...], values of the two spaces; next_obs is the true successor.
    reward: float32[N, T], in units of the environment's reward.
    terminated: bool[N, T], the value beyond is 0. truncated: bool[N, T], the episode was cut: the value beyond is that of
        next_obs. The last step of an episode has one of both, no other step has any.
    valid: bool[N, T], True for the steps of the episode, which come first. Entries behind them are zeros (masks: all True).
    mask, next_mask: the legal actions in obs and in next_obs (see ``jaxrl.core.masks``), or None where all are legal.
    log_prob: float32[N, T], the log-probability (nats; of a continuous action the log-density) with which the behaviour policy
        took the action, or None where it is not known. Off-policy evaluation by importance sampling needs it.
    observation_space, action_space: of the environment that the data are of; static.
    """

    obs: PyTree
    action: PyTree
    reward: jax.Array
    next_obs: PyTree
    terminated: jax.Array
    truncated: jax.Array
    valid: jax.Array
    mask: PyTree
    next_mask: PyTree
    log_prob: jax.Array | None
    observation_space: Space = static()
    action_space: Space = static()

    @property
    def num_episodes(self) -> int:
        """N."""
        return self.valid.shape[0]

    @property
    def length(self) -> int:
        """T, the steps of the longest episode that fits."""
        return self.valid.shape[1]

    @property
    def lengths(self) -> jax.Array:
        """The steps of each episode, int32[N]."""
        return self.valid.sum(1, dtype=jnp.int32)

    def validate(self, where: str) -> None:
        """Raises DataError unless the data are as this class says; the message names the first step that is not.

        Data that are traced have no numbers yet and are not looked at.

        Args:
            where: who asks.
        """
        if is_traced(self):
            return
        _require_shapes(where, self)
        _require_episodes(where, self)
        _require_values(where, self)


# ---- soundness


def _require_shapes(where: str, data: Dataset) -> None:
    """Raises DataError unless all arrays begin with [N, T], N and T at least 1, and have the dtypes of the spaces."""
    shape = np.shape(data.valid)
    must, fix = "there must be an episode with a step: valid must have shape [N, T], both at least 1", "Collect some episodes."
    require(len(shape) == 2 and min(shape) >= 1, where, must, shape, fix, DataError)
    wanted = {name: jax.ShapeDtypeStruct((), jnp.bool_) for name in FLAGS} | {"reward": jax.ShapeDtypeStruct((), jnp.float32)}
    wanted |= {name: spaces.example(data.observation_space) for name in ("obs", "next_obs")}
    wanted |= {"action": spaces.example(data.action_space)}
    wanted |= {} if data.log_prob is None else {"log_prob": jax.ShapeDtypeStruct((), jnp.float32)}
    for name, one in wanted.items():
        value = getattr(data, name)
        must = f"{name} must have the structure of its space"
        same = jax.tree.structure(value) == jax.tree.structure(one)
        require(same, where, must, jax.tree.structure(value), "Give one array for each part.", DataError)
        for leaf, part in zip(jax.tree.leaves(value), jax.tree.leaves(one), strict=True):
            must, fix = f"{name} must have shape {[*shape, *part.shape]}", "Pad every episode to the longest one."
            require(np.shape(leaf) == (*shape, *part.shape), where, must, list(np.shape(leaf)), fix, DataError)
            must, found = f"{name} must have dtype {np.dtype(part.dtype).name}", np.dtype(jnp.result_type(leaf)).name
            require(found == np.dtype(part.dtype).name, where, must, found, f"Write .astype(np.{part.dtype}).", DataError)
    for name in ("mask", "next_mask"):
        for leaf in jax.tree.leaves(getattr(data, name)):
            good = np.shape(leaf)[:2] == shape and jnp.result_type(leaf) == jnp.bool_
            must = f"{name} must be bool with the leading axes {list(shape)}"
            found = f"{jnp.result_type(leaf)}{list(np.shape(leaf))}"
            require(good, where, must, found, "See jaxrl.core.masks.", DataError)


def _require_episodes(where: str, data: Dataset) -> None:
    """Raises DataError unless the steps of every episode come first and the last of them alone ends it."""
    valid, terminated, truncated = (np.asarray(getattr(data, name)) for name in ("valid", "terminated", "truncated"))
    must, fix = "every episode must have a step, its first", "Leave empty episodes out."
    _require_all(where, valid[:, :1], must, "none", fix)
    must, fix = "the steps of an episode must come first, and padding after them", "Move the steps together."
    _require_all(where, valid[:, :-1] | ~valid[:, 1:], must, "a step behind padding", fix)
    last = valid & ~np.pad(valid[:, 1:], ((0, 0), (0, 1)))
    fix = "Begin a new episode after it."
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        _require_all(where, ~flag | last, f"an episode must end with the step that is {name}", "a step after it", fix)
    must, fix = "the last step of an episode must be terminated or truncated", "Set truncated where the record was cut."
    _require_all(where, ~last | terminated | truncated, must, "neither", fix)
    must, fix = "a step must not be both terminated and truncated", "Clear truncated: its successor has no value."
    _require_all(where, ~(terminated & truncated), must, "both", fix)


def _require_values(where: str, data: Dataset) -> None:
    """Raises DataError unless every number is finite, inside its space and legal."""
    valid = np.asarray(data.valid)
    names = ("reward", "log_prob", "obs", "next_obs", "action")
    for name, leaf in [(field, leaf) for field in names for leaf in jax.tree.leaves(getattr(data, field))]:
        finite = np.isfinite(np.asarray(leaf)).reshape(*valid.shape, -1).all(-1)
        _require_all(where, finite | ~valid, f"{name} must be finite", "NaN or infinity", "Correct it, or leave it out.")
    for name, space in (
        ("obs", data.observation_space),
        ("next_obs", data.observation_space),
        ("action", data.action_space),
    ):
        inside = _per_step(space.contains, getattr(data, name))
        _require_all(where, inside | ~valid, f"{name} must lie in {space}", "a value outside", "Correct it, or widen the space.")
    space, fix = data.action_space, "Correct the mask."
    # Where an episode has terminated no action follows, and a game that is over may leave none.
    for name, unread in (("mask", ~valid), ("next_mask", ~valid | np.asarray(data.terminated))):
        mask = getattr(data, name)
        if mask is not None:
            legal = np.asarray(masks.some_legal(space, mask)) | unread
            _require_all(where, legal, f"{name} must leave a legal action", "none", fix)
    if data.mask is not None:
        taken = np.asarray(masks.is_legal(space, data.mask, data.action)) | ~valid
        _require_all(where, taken, "action must be legal by mask", "an illegal one", fix)


def _per_step(function: Any, values: PyTree) -> np.ndarray:
    """Returns what a function says of the value of every step, bool[N, T]."""
    with jax.ensure_compile_time_eval():  # the caller may be traced, though the data are not
        return np.asarray(jax.vmap(jax.vmap(function))(jax.tree.map(jnp.asarray, values)))


def _require_all(where: str, good: np.ndarray, must: str, found: str, fix: str) -> None:
    """Raises DataError where a step of bool[N, T] is not good, and names the first."""
    if not good.all():
        episode, t = np.argwhere(~good)[0].tolist()
        raise DataError(f"{where}: {must}, got {found} at step {t} of episode {episode}. {fix}")


# ---- collection


def collect(
    key: jax.Array, env: Environment, policy: Policy, num_episodes: int, length: int | None = None, memory: PyTree = ()
) -> Dataset:
    """Plays episodes side by side, each from its beginning to its end.

    Args:
        key: one key.
        env: an environment without agents.
        policy: see ``jaxrl.core.rollout.Policy``. A log-probability that it notes as ``extras["log_prob"]`` is kept; see
            ``jaxrl.blocks.policies.noting_log_prob``.
        num_episodes: N.
        length: T, after which an episode is cut; by default the time limit of the environment. All T steps are computed.
        memory: the policy's, for one environment.

    Raises:
        ConfigError: the environment has agents, or a count is below 1.
    """
    where, must = "datasets.collect", "policy must be a function (key, view) -> action"
    kind, fix = type(env).__name__, "Build one by its factory, for example envs.make('cartpole')."
    require(isinstance(env, Environment), where, "env must be an Environment", kind, fix)
    require(callable(policy), where, must, policy, "jaxrl.core.rollout.uniform_policy(env) draws every action alike.")
    length = env.max_steps if length is None else length
    require_single_agent("datasets.collect", env, "Use jaxrl.core.rollout.unroll.")
    require_count("datasets.collect", "num_episodes", num_episodes)
    require_count("datasets.collect", "length", length)
    return at_once(partial(_played, policy, num_episodes, length, memory), key, env)


def _played(policy: Policy, num_episodes: int, length: int, memory: PyTree, key: jax.Array, env: Environment) -> Dataset:
    start_key, step_key = jax.random.split(key)
    episodes = rollout.start(start_key, env, num_episodes, memory)
    batch = rollout.unroll(step_key, env, policy, episodes, length)[1]
    valid = jnp.cumsum(batch.done, axis=0) - batch.done == 0
    cut = valid & ~batch.terminated & (jnp.arange(length) == length - 1)[:, None]
    log_prob = batch.extras.get("log_prob")
    steps = batch.obs, batch.action, batch.reward, batch.next_obs, batch.terminated, batch.truncated | cut, valid
    parts = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), (*steps, batch.mask, batch.next_mask, log_prob))
    return padded(Dataset(*parts, observation_space=env.observation_space, action_space=env.action_space))


@partial(jax.jit, inline=True)
def padded(data: Dataset) -> Dataset:
    """Returns data whose entries behind the end of an episode are zeros, and whose masks are True there."""

    def fill(value: Any, tree: PyTree) -> PyTree:
        def one(leaf: jax.Array) -> jax.Array:
            valid = data.valid.reshape(*data.valid.shape, *(1,) * (leaf.ndim - 2))
            return jnp.where(valid, leaf, jnp.asarray(value, leaf.dtype))

        return jax.tree.map(one, tree)

    legal = {name: fill(True, getattr(data, name)) for name in ("mask", "next_mask")}
    return fill(0, data).replace(**legal)


@struct.dataclass
class Collected:
    """A task from which every seed draws a data set of its own: episodes of tabular policies.

    Called with a key it returns the data; all seeds, and all policies of one shape, share a program.
    """

    env: Environment
    policies: jax.Array  # float32[M, X, A], of which every Mth episode is; see ``jaxrl.blocks.policies.mixture``
    num_episodes: int = static()  # N
    length: int | None = static(default=None)  # T, by default the time limit

    def __call__(self, key: jax.Array) -> Dataset:
        """Draws the data set of a seed."""
        return _draw(key, self)


@partial(jax.jit, inline=True)
def _draw(key: jax.Array, task: Collected) -> Dataset:
    return collect(key, task.env, mixture(task.policies), task.num_episodes, task.length)


def take(data: Dataset, index: Any) -> Dataset:
    """Returns the episodes with these numbers; index: int[M]."""
    return jax.tree.map(lambda leaf: leaf[index], data)


def best(data: Dataset, share: float) -> Dataset:
    """Returns the episodes of the highest undiscounted returns: the data of "10 % behaviour cloning" if ``share`` is 0.1.

    Args:
        data: N episodes.
        share: of the episodes, in (0, 1]; at least one is kept.

    Source: Chen et al. (2021), "Decision Transformer", section 5.1.
    """
    must, fix = "share must lie in (0, 1]", "0.1 is common."
    require(0 < share <= 1, "datasets.best", must, share, fix)
    order = jnp.argsort(-jnp.where(data.valid, data.reward, 0.0).sum(1))
    return take(data, order[: max(1, round(share * data.num_episodes))])


# ---- reading


def place_of(data: Dataset, number: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns where steps are: the numbers of their episodes and their places in these, int32[B] each.

    Args:
        data: the data set.
        number: int32[B], of valid steps, counted through all episodes.
    """
    ends = jnp.cumsum(data.lengths)
    episode = jnp.searchsorted(ends, number, side="right").astype(jnp.int32)
    return episode, number - (ends - data.lengths)[episode]


def sample_places(key: jax.Array, data: Dataset, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Draws places of steps uniformly, with replacement, among all steps of all episodes: see ``place_of``."""
    return place_of(data, replay.uniform(key, batch_size, data.valid.sum(dtype=jnp.int32)))


def sample(key: jax.Array, data: Dataset, batch_size: int) -> Experience:
    """Draws steps uniformly, with replacement, among all steps of all episodes.

    Args:
        key: one key.
        data: with at least one step.
        batch_size: B.

    Returns:
        Experience[B]; its actions are as a policy draws them, real ones in units of half the range (``spaces.to_unit``).
    """
    return at(data, sample_places(key, data, batch_size))


def at(data: Dataset, place: tuple[jax.Array, jax.Array]) -> Experience:
    """Returns the steps at some places, int32[B] each, Experience[B]; see ``sample``."""
    parts = data.obs, data.action, data.reward, data.next_obs, data.terminated, data.mask, data.next_mask
    steps = Experience(*jax.tree.map(lambda leaf: leaf[place], parts))
    return steps._replace(action=spaces.to_unit(data.action_space, steps.action))


def returns_to_go(data: Dataset, gamma: jax.Array | float = 1.0) -> jax.Array:
    """Returns the sum of the rewards from each step to the end of its episode, float32[N, T]; 0 behind the end.

    Rewards beyond a cut are not known, and left out.

    Args:
        data: the data set.
        gamma: discount in [0, 1] for each step further away.

    Source: Chen et al. (2021), "Decision Transformer", section 3.
    """
    nothing = jnp.zeros_like(data.reward)
    return jax.vmap(discounted_returns, in_axes=(0, 0, 0, 0, None))(
        jnp.where(data.valid, data.reward, 0.0), nothing, data.terminated, data.truncated, gamma
    )


def best_returns_to_go(data: Dataset, num_observations: int, otherwise: jax.Array | float) -> jax.Array:
    """Returns the best undiscounted return to go from every observation of Discrete data, float32[X].

    Episodes that were cut count for nothing, since their return is not known.

    Args:
        data: N episodes of observations 0 .. X - 1, of one agent.
        num_observations: X.
        otherwise: the number of an observation that occurs in no episode that terminated; no return may be smaller.
    """
    ended = data.valid & data.terminated.any(-1, keepdims=True)
    best = jnp.full(num_observations, otherwise, jnp.float32)
    return best.at[data.obs].max(jnp.where(ended, returns_to_go(data), otherwise))


class Windows(NamedTuple):
    """B windows of K successive steps of one episode each, padded at the front where an episode has begun later.

    obs, action, reward, mask, terminated, truncated: of the steps, [B, K, ...]; actions are those of the data. At a place that
        is padding they are those of the first step.
    return_to_go: float32[B, K], see ``returns_to_go``. t: int32[B, K], steps taken in the episode before; 0 at padding.
    valid: bool[B, K], False for padding, to which no attention is paid and from which nothing is learned.
    """

    obs: PyTree
    action: PyTree
    reward: jax.Array
    mask: PyTree
    terminated: jax.Array
    truncated: jax.Array
    return_to_go: jax.Array
    t: jax.Array
    valid: jax.Array


def windows(
    key: jax.Array, data: Dataset, batch_size: int, context: int, gamma: jax.Array | float = 1.0, to_go: Any = None
) -> Windows:
    """Draws windows that end at a step drawn uniformly among all steps: as a policy with a memory of K steps sees them.

    Args:
        key: one key.
        data: the data set.
        batch_size: B.
        context: K.
        gamma: discount of the returns to go.
        to_go: float32[N, T], the returns to go, where they have been computed before.

    Raises:
        ConfigError: the context is below 1.
    """
    require_count("datasets.windows", "context", context)
    to_go = returns_to_go(data, gamma) if to_go is None else to_go
    episode, last = sample_places(key, data, batch_size)
    t = last[:, None] + jnp.arange(1 - context, 1, dtype=jnp.int32)
    place = episode[:, None], jnp.maximum(t, 0)
    parts = data.obs, data.action, data.reward, data.mask, data.terminated, data.truncated, to_go
    return Windows(*jax.tree.map(lambda leaf: leaf[place], parts), t=place[1], valid=t >= 0)
