"""REINFORCE: the gradient of the return of whole episodes, for a softmax policy in a table, on request with a baseline.

    repeat
        follow pi for an episode s_0, a_0, r_1, ..., s_T
        for each step t = 0, ..., T - 1
            G <- r_{t+1} + gamma r_{t+2} + ... + gamma^{T-t-1} r_T
            theta <- theta + alpha gamma^t (G - w(s_t)) grad ln pi(a_t | s_t)
            w(s_t) <- w(s_t) + alpha_w (G - w(s_t))

with pi(a | s) in proportion to exp theta(s, a), so that grad ln pi(a | s) is 1 at (s, a) less pi(b | s) at each (s, b). For
alpha_w = 0, w stays at zeros: REINFORCE without a baseline.

All steps of an episode move the tables together, at its end, by the policy and the w that it was played with. The loop of the
book moves both between the steps, so that a long episode changes its own later gradients; here it makes one larger step.

Nothing of an episode is stored but sums that grow with it, since each reward credits all steps before it at once:

    sum_t gamma^t G_t z_t = sum_k gamma^k r_{k+1} (z_0 + ... + z_k)    with z_t = grad ln pi(a_t | s_t)

So an update may end in the middle of an episode, and episodes may have any length. An episode that a time limit cut goes on with
w(s_T), which is 0 without a baseline: then a time limit is an end.

Source: Williams (1992), "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning"; Sutton and
Barto (2018), sections 13.1 to 13.4.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import exploration, tables
from jaxrl.blocks.policies import softmax_over
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import average
from jaxrl.core.config import require_discrete, require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Episode, Transition
from jaxrl.core.scan import scan
from jaxrl.errors import require_between, require_counts, require_numbers


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    learning_rate: float = 0.01  # alpha, at least 0, which leaves the policy as it is
    baseline_rate: float = 0.1  # alpha_w, in [0, 1]; 0 for no baseline
    gamma: float = 0.99  # discount, in [0, 1]
    num_envs: int = static(default=1)  # E, environments side by side; episodes that end together move the tables by their mean
    num_steps: int = static(default=100)  # steps of each environment in one update

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_single_agent("reinforce", env, "Use jaxrl.algorithms.multiagent.independent_reinforce.")
        self.validate_learner("reinforce", env)

    def validate_learner(self, where: str, env: Environment) -> None:
        """Raises ConfigError or SpaceError where a value is out of range, or ``env`` is not discrete. where: who asks."""
        require_discrete(where, env, "Number observations and actions.")
        require_counts(where, self, "num_envs", "num_steps")
        require_numbers(where, self)
        require_between(where, self, 0, float("inf"), "learning_rate")
        require_between(where, self, 0, 1, "baseline_rate", "gamma")


@struct.dataclass
class Sums:
    """Sums over the steps of an episode so far.

    scores: float32[X, A], z_0 + ... + z_k. gradient: float32[X, A], of the return. discount: float32[], gamma^k.
    visits: float32[X], how often a state was seen. traces: float32[X], the same, each visit discounted since.
    returns: float32[X], the returns from the visits of a state, added up.
    """

    scores: jax.Array
    gradient: jax.Array
    discount: jax.Array
    visits: jax.Array
    traces: jax.Array
    returns: jax.Array


@struct.dataclass
class State:
    """theta: float32[X, A], preferences. baseline: float32[X], w. episodes: E environments under way. sums: of each, [E, ...]."""

    theta: jax.Array
    baseline: jax.Array
    episodes: Episode
    sums: Sums


def make(env: Environment, config: Config) -> Algorithm:
    """Builds REINFORCE on an environment with discrete observations and actions."""
    shape = tables.shape(env)

    policy, probabilities = softmax_over(lambda state, obs: state.theta[obs])

    def init(key):
        theta, baseline = jnp.zeros(shape, jnp.float32), jnp.zeros(shape[0], jnp.float32)
        return State(theta, baseline, rollout.start(key, env, config.num_envs), nothing(shape, config.num_envs))

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        # Follow pi.
        decision = policy(state, False)(policy_key, rollout.view(env, state.episodes))
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)
        # At the end of an episode, theta and w move.
        theta, baseline, sums, square = learn(config, state.theta, state.baseline, state.sums, seen)
        return State(theta, baseline, episodes, sums), (seen, square)

    def update(state, key):
        state, (batch, square) = scan(step, state, jax.random.split(key, config.num_steps))
        measured = {"reward": batch.reward.mean(), "gradient_square": average(square, batch.done)}
        return state, rollout.episode_metrics(batch) | measured

    return Algorithm(init, update, policy, probabilities=probabilities)


def nothing(shape: tuple[int, int], *batch: int) -> Sums:
    """Returns the sums of episodes that have just begun. shape: (X, A). batch: their leading axes."""
    pairs, states = jnp.zeros((*batch, *shape), jnp.float32), jnp.zeros((*batch, shape[0]), jnp.float32)
    return Sums(pairs, pairs, jnp.ones(batch, jnp.float32), states, states, states)


def learn(
    config: Config, theta: jax.Array, baseline: jax.Array, sums: Sums, seen: Transition
) -> tuple[jax.Array, jax.Array, Sums, jax.Array]:
    """Takes one more step of E episodes into account, and moves the tables where episodes end with it.

    Args:
        config: hyper-parameters.
        theta: float32[X, A]. baseline: float32[X].
        sums: of each episode before the step, [E, ...].
        seen: the step, Transition[E, ...].

    Returns:
        theta, the baseline and the sums after the step, and float32[E], the square of each episode's gradient so far.
    """
    total = partial(jnp.tensordot, axes=1, precision="highest")
    grown = jax.vmap(added, in_axes=(0, 0, None, None, None))
    sums = grown(sums, seen, theta, baseline, config.gamma)
    ended, ends = seen.done.astype(jnp.float32), jnp.maximum(seen.done.sum(), 1)
    theta = theta + config.learning_rate * total(ended, sums.gradient) / ends
    visits, returns = total(ended, sums.visits), total(ended, sums.returns)
    nearer = 1.0 - (1.0 - config.baseline_rate) ** visits  # n steps of alpha_w towards the mean of n returns
    baseline = baseline + nearer * (returns / jnp.maximum(visits, 1.0) - baseline)
    square = jnp.square(sums.gradient).sum((1, 2))
    afresh = nothing((theta.shape[0], theta.shape[1]))
    sums = jax.tree.map(lambda empty, sum_: jax.vmap(jnp.where, in_axes=(0, None, 0))(seen.done, empty, sum_), afresh, sums)
    return theta, baseline, sums, square


def added(sums: Sums, seen: Transition, theta: jax.Array, baseline: jax.Array, gamma: jax.Array | float) -> Sums:
    """Returns the sums of an episode after one more step.

    Args:
        sums: before it.
        seen: the step, without a batch axis.
        theta: float32[X, A]. baseline: float32[X]. gamma: discount.
    """
    obs, discount = seen.obs, sums.discount
    score = -exploration.boltzmann_probabilities(theta[obs], 1.0, seen.mask)
    score = score.at[seen.action].add(1.0)
    scores = sums.scores.at[obs].add(score)
    # The reward, and the baseline beyond a time limit, credit all steps so far; the baseline of this state its own step alone.
    reward = seen.reward + gamma * jnp.where(seen.truncated, baseline[seen.next_obs], 0.0)
    gradient = sums.gradient + discount * reward * scores
    gradient = gradient.at[obs].add(-discount * baseline[obs] * score)
    traces = (gamma * sums.traces).at[obs].add(1.0)
    visits, returns = sums.visits.at[obs].add(1.0), sums.returns + reward * traces
    return Sums(scores, gradient, gamma * discount, visits, traces, returns)
