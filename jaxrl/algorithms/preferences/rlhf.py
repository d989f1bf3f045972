"""Reinforcement learning from preferences, the whole loop as one algorithm.

    repeat
        collect   segments of behaviour with the current policy
        query     the labeller on pairs of them
        fit       the reward model to all answers so far
        improve   the policy on the learned reward, with any algorithm, unchanged

Since a round is one ``update``, the loop runs over thousands of seeds like any other algorithm.

People answer between two updates, and not inside of one. Without a labeller (``labeller=None``) a round therefore begins with the
answers to the round before: fit, improve, collect, and choose pairs, which count for nothing until somebody has answered; see
``jaxrl.algorithms.preferences.people``.

Source: Christiano et al. (2017), section 2.2.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.algorithms.preferences import reward_fitting
from jaxrl.algorithms.preferences.labellers import Labeller, ask
from jaxrl.algorithms.preferences.segments import Preferences, cut, sample_pairs
from jaxrl.blocks.around import AroundLearner, acting_as
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_single_agent
from jaxrl.core.contracts import validate
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode
from jaxrl.core.transforms import with_reported_states, with_reward
from jaxrl.errors import require, require_counts


@struct.dataclass
class Config(AroundLearner):
    """Hyper-parameters of the loop; those of its parts are nested."""

    where: ClassVar[str] = "rlhf"

    fitting: reward_fitting.Config  # of the reward model, on all answers so far
    learner: Any  # the configuration of the algorithm that improves the policy
    make_learner: Callable = static()  # its ``make``, for example ``ppo.make`` or ``q_learning.make``
    labeller: Labeller | None = Labeller()  # None: people answer, between the updates
    num_rounds: int = static(default=20)  # rounds whose answers are kept (count); later ones replace the oldest
    num_segments: int = static(default=8)  # collected in each round, side by side (count)
    segment_length: int = static(default=10)  # steps of a segment (count)
    num_queries: int = static(default=8)  # pairs that are labelled in each round (count)
    learner_updates: int = static(default=10)  # of the policy in each round (count)

    @property
    def steps_per_update(self) -> int | None:
        learner = super().steps_per_update
        return None if learner is None else self.num_segments * self.segment_length + self.learner_updates * learner

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        names = ("num_rounds", "num_segments", "segment_length", "num_queries", "learner_updates")
        require_counts("rlhf", self, *names)
        must = "a comparison needs num_segments of at least 2"
        require(self.num_segments >= 2, "rlhf", must, self.num_segments, "Set num_segments to 2 or more.")
        require_single_agent("rlhf", env, "Learn one agent's reward.")
        if self.labeller is not None:
            self.labeller.validate()
        self.fitting.check(self.num_rounds * self.num_queries)
        validate("rlhf", self.learner, env)


@struct.dataclass
class State:
    """reward: the fitted model. learner: the policy's. episodes: those that segments are cut from, going on between rounds.

    preferences: all answers; those of rounds to come have weight 0. round: int32[], how many rounds were made.
    shown: PyTree[num_segments, segment_length + 1, ...], the states in the segments of the last round, for people to see; None
        with a labeller.
    """

    reward: reward_fitting.State
    learner: PyTree
    episodes: Episode
    preferences: Preferences
    round: jax.Array
    shown: PyTree = None

    @property
    def reward_params(self) -> PyTree:
        """The parameters of the fitted reward."""
        return self.reward.params


def make(env: Environment, config: Config) -> Algorithm:
    """Builds the loop on an environment, whose own reward only the labeller sees."""
    model = config.fitting.model
    acting = config.make_learner(env, config.learner)  # its policy does not depend on the reward

    def learner(params):
        return config.make_learner(with_reward(env, model, params), config.learner)

    seen = env if config.labeller is not None else with_reported_states(env)

    def collect(key, learner_state, episodes):
        policy = acting.policy(learner_state, False)
        return rollout.unroll(key, seen, policy, episodes, config.segment_length)

    def query(key, segments):
        pair_key, label_key = jax.random.split(key)
        first, second = sample_pairs(pair_key, config.num_segments, config.num_queries)
        if config.labeller is None:
            nothing = jnp.zeros(config.num_queries, jnp.float32)
            return Preferences(segments, first, second, nothing, nothing)
        return ask(label_key, config.labeller, segments, first, second)

    def init(key):
        reward_key, learner_key, episode_key, example_key = jax.random.split(key, 4)
        reward = reward_fitting.begin(reward_key, config.fitting, config.num_rounds * config.num_queries)
        learner_state = learner(reward.params).init(learner_key)
        episodes = rollout.start(episode_key, env, config.num_segments, acting.memory)

        def one_round(key):
            collect_key, query_key = jax.random.split(key)
            return query(query_key, cut(collect(collect_key, learner_state, episodes)[1]))

        of_round = jax.eval_shape(one_round, example_key)
        shown = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), of_round.segments.state)
        return State(reward, learner_state, episodes, _no_answers(config, of_round), jnp.int32(0), shown)

    def collect_and_query(collect_key, query_key, state):
        episodes, batch = collect(collect_key, state.learner, state.episodes)
        answers = query(query_key, cut(batch))
        preferences = _remember(config, state.preferences, answers, state.round % config.num_rounds)
        shown = answers.segments.state
        return replace(state, episodes=episodes, preferences=preferences, round=state.round + 1, shown=shown), batch

    def fit_and_improve(fit_key, improve_key, state):
        reward, fit_metrics = reward_fitting.fit(fit_key, state.reward, state.preferences, config.fitting)
        improve = learner(reward.params).update
        keys = jax.random.split(improve_key, config.learner_updates)
        learner_state, learner_metrics = jax.lax.scan(improve, state.learner, keys)
        metrics = {f"reward_{name}": value for name, value in fit_metrics.items()}
        metrics["labelled"] = (state.preferences.weight > 0).sum().astype(jnp.float32)
        last = jax.tree.map(lambda values: values[-1], learner_metrics)
        metrics |= {
            f"learner_{name}": value for name, value in last.items() if not name.startswith("episode")
        }  # of its own episodes it measures the learned reward, which has no unit
        return replace(state, reward=reward, learner=learner_state), metrics

    def update(state, key):
        collect_key, query_key, fit_key, improve_key = jax.random.split(key, 4)
        if config.labeller is not None:
            state, batch = collect_and_query(collect_key, query_key, state)
            state, metrics = fit_and_improve(fit_key, improve_key, state)
        else:
            learned, metrics = fit_and_improve(fit_key, improve_key, state)
            answered = (state.preferences.weight > 0).any()  # before the first answer there is nothing to learn from
            state = jax.tree.map(lambda new, old: jnp.where(answered, new, old), learned, state)
            state, batch = collect_and_query(collect_key, query_key, state)
        return state, metrics | rollout.episode_metrics(batch)

    return acting_as(acting, init, update)


def _no_answers(config: Config, of_round: Preferences) -> Preferences:
    """Returns zeros in place of the answers of all rounds; ``of_round`` has the shapes of those of one."""

    def empty(size):
        return lambda leaf: jnp.zeros((config.num_rounds * size, *leaf.shape[1:]), leaf.dtype)

    pairs = jax.tree.map(empty(config.num_queries), replace(of_round, segments=None))
    return replace(pairs, segments=jax.tree.map(empty(config.num_segments), of_round.segments._replace(state=None)))


def _remember(config: Config, preferences: Preferences, answers: Preferences, place: jax.Array) -> Preferences:
    """Writes the answers of one round, and the segments they speak of, over those of an old round."""
    shift = place * config.num_segments
    answers = replace(answers, first=answers.first + shift, second=answers.second + shift)

    def write(size):
        return lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, place * size, axis=0)

    new_segments = answers.segments._replace(state=None)
    segments = jax.tree.map(write(config.num_segments), preferences.segments, new_segments)
    pairs = jax.tree.map(write(config.num_queries), replace(preferences, segments=None), replace(answers, segments=None))
    return replace(pairs, segments=segments)
