"""Evaluating a policy: by episodes, with the same random numbers for every seed, or exactly, on a finite model.

An evaluator is a pytree that is called as ``(key, algorithm, state) -> dict of scalars``; ``jaxrl.runner.run`` calls it for
every seed after each chunk, inside a compiled program of its own.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl import rollout
from jaxrl.algorithm import Algorithm
from jaxrl.env import Environment, static
from jaxrl.errors import EnvironmentError, require, require_discount
from jaxrl.finite import TabularModel, single_precision, tabulate
from jaxrl.games import extensive, markov
from jaxrl.games.extensive import ExtensiveGame
from jaxrl.games.normal_form import expected_payoffs, nash_conv
from jaxrl.rollout import Policy, View
from jaxrl.tabular.dynamic_programming import policy_evaluation, value_iteration


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
        policy: see ``jaxrl.rollout.Policy``.
        num_episodes: leading axis of the result.
        gamma: discount of ``discounted_return``.
        memory: the policy's, for one environment.
    """
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


@struct.dataclass
class Episodes:
    """Evaluates by playing episodes: metrics ``greedy_return`` and ``sampled_return``, means over episodes (summed over agents).

    With ``gamma`` below 1 the discounted returns are reported as well, as ``greedy_discounted_return`` and
    ``sampled_discounted_return``.
    """

    env: Environment
    gamma: float = 1.0
    num_episodes: int = static(default=32)
    modes: tuple[str, ...] = static(default=("greedy", "sampled"))
    discounted: bool = static(default=False)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        metrics = {}
        for mode in self.modes:
            policy = algorithm.policy(state, mode == "greedy")
            outcome = evaluate(key, self.env, policy, self.num_episodes, self.gamma, algorithm.memory)
            total = outcome.return_.reshape(self.num_episodes, -1).sum(-1)
            metrics[f"{mode}_return"] = total.mean()
            metrics[f"{mode}_length"] = outcome.length.astype(jnp.float32).mean()
            if self.discounted:
                metrics[f"{mode}_discounted_return"] = outcome.discounted_return.reshape(self.num_episodes, -1).sum(-1).mean()
        return metrics


@struct.dataclass
class ExactValue:
    """Evaluates on the model of a finite environment, exactly: infinite horizon, discounted, at the initial distribution.

    Metrics: ``exact_value`` and ``optimality_gap`` (how far it lies below the optimum) of the greedy policy, and
    ``sampled_exact_value`` and ``sampled_optimality_gap`` of the policy that is sampled, where the algorithm can say with which
    probabilities it acts. The policy must depend on the observation alone, so a recurrent one cannot be evaluated this way.
    Build it with ``ExactValue.of(env, gamma)``.
    """

    model: TabularModel
    gamma: jax.Array
    optimum: jax.Array  # float32[], the value of an optimal policy at the start
    masked: bool = static(default=False)
    num_doublings: int = static(default=20)

    @classmethod
    def of(cls, env: Environment, gamma: float) -> "ExactValue":
        """Tabulates and solves the environment, in float64.

        Args:
            env: a finite environment without agents whose policy sees enough to act optimally.
            gamma: discount in [0, 1].
        """
        model = tabulate(env)
        with jax.enable_x64(True):
            optimum = float(value_iteration(model, gamma, tolerance=1e-12).start_value(model))
        # As many doublings as make what lies beyond them smaller than float32 can tell.
        horizon = math.log(1e-8) / math.log(gamma) if 0 < gamma < 1 else 2.0**20 if gamma else 1.0
        doublings = math.ceil(math.log2(horizon)) if horizon > 1 else 1
        return cls(single_precision(model), jnp.float32(gamma), jnp.float32(optimum), env.action_mask_fn is not None, doublings)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        view = View(self.model.observation, self.model.action_mask if self.masked else None, ())

        def at_start(probabilities):
            return policy_evaluation(self.model, probabilities, self.gamma).start_value(self.model)

        action = algorithm.policy(state, True)(key, view).action
        greedy = at_start(jax.nn.one_hot(action, self.model.num_actions))
        metrics = {"exact_value": greedy, "optimality_gap": self.optimum - greedy}
        if algorithm.probabilities is not None:
            sampled = at_start(algorithm.probabilities(state, view))
            metrics |= {"sampled_exact_value": sampled, "sampled_optimality_gap": self.optimum - sampled}
        return metrics


@struct.dataclass
class NashConv:
    """Evaluates what agents have learned in a one-shot matrix game, exactly: how far from a Nash equilibrium, and what it pays.

    Metrics: ``greedy_nash_conv``, the sum of what every player could gain by deviating from the greedy policies, and
    ``greedy_welfare``, the sum of what they earn; ``nash_conv`` and ``welfare`` of the policies that are sampled, where the
    algorithm can say with which probabilities it acts.

    payoff: float[N, A_0, ..., A_{N-1}], the table from which the environment was made.
    """

    payoff: Any

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        payoff = jnp.asarray(self.payoff, jnp.float32)
        counts = jnp.array(payoff.shape[1:])
        widest = max(payoff.shape[1:])
        mask = None if min(payoff.shape[1:]) == widest else (jnp.arange(widest) < counts[:, None])[None]
        view = View(jnp.zeros((1, counts.size), jnp.int32), mask, ())

        def measures(probabilities, prefix):
            profile = [strategy[:actions] for strategy, actions in zip(probabilities[0], payoff.shape[1:], strict=True)]
            welfare = expected_payoffs(payoff, profile).sum()
            return {f"{prefix}nash_conv": nash_conv(payoff, profile), f"{prefix}welfare": welfare}

        action = algorithm.policy(state, True)(key, view).action
        metrics = measures(jax.nn.one_hot(action, widest), "greedy_")
        if algorithm.probabilities is not None:
            metrics |= measures(algorithm.probabilities(state, view), "")
        return metrics


@struct.dataclass
class TeamReturn:
    """Evaluates what agents earn together in a finite environment, exactly: up to its time limit, without discount.

    Metrics: ``exact_return``, the expected return of the greedy policies at the initial distribution, a mean over agents, and
    ``optimality_gap``, how far it lies below what one planner for all agents would earn; ``sampled_exact_return`` and
    ``sampled_optimality_gap`` of the policies that are sampled, where the algorithm can say with which probabilities it acts.
    The policies must depend on their observations alone. Build it with ``TeamReturn.of(env)``.
    """

    model: TabularModel
    optimum: jax.Array  # float32[], the return of an optimal joint policy
    max_steps: int = static()
    masked: bool = static(default=False)

    @classmethod
    def of(cls, env: Environment) -> "TeamReturn":
        """Tabulates the environment and plans for all agents at once, in float64. env: a finite environment with agents."""
        must = "the environment must have an agent axis"
        require(env.num_agents is not None, "TeamReturn", must, env.num_agents, "Use ExactValue.", EnvironmentError)
        model = tabulate(env)
        with jax.enable_x64(True):
            team = dataclasses.replace(model, reward=model.reward.mean(-1))
            optimum = float(value_iteration(team, 1.0, tolerance=0.0, max_sweeps=env.max_steps).start_value(team))
        return cls(single_precision(model), jnp.float32(optimum), env.max_steps, env.action_mask_fn is not None)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        view = View(self.model.observation, markov.agent_masks(self.model) if self.masked else None, ())

        def at_start(policies):
            return self.model.initial @ markov.finite_horizon(self.model, policies, self.max_steps).mean(-1)

        action = algorithm.policy(state, True)(key, view).action
        greedy = at_start(jax.nn.one_hot(action, self.model.joint_shape[0]))
        metrics = {"exact_return": greedy, "optimality_gap": self.optimum - greedy}
        if algorithm.probabilities is not None:
            sampled = at_start(algorithm.probabilities(state, view))
            metrics |= {"sampled_exact_return": sampled, "sampled_optimality_gap": self.optimum - sampled}
        return metrics


@struct.dataclass
class Exploitability:
    """Evaluates the policies of several agents in a finite environment, exactly, at the initial distribution.

    Metrics, of the policies that are sampled and, with the prefix ``greedy_``, of their modes: ``exploitability``, the mean over
    agents of what each could gain by its best response to the others; in a two-player zero-sum game, how far what the policies
    guarantee lies below the value of the game. A best response is a policy of what its agent observes. Where every agent can
    tell all states apart in which it has a choice, it is found on the model; otherwise, with hidden information, on the
    information sets of the game in extensive form.

    Where all agents are paid alike: ``value`` and ``optimality_gap`` instead, what the agents earn and how far that lies below
    the best of a planner who sees the state and moves them all.

    A value that was not reached because an undiscounted episode need not end is missing. Policies must depend on the observation
    alone. Build it with ``Exploitability.of(env, gamma)``.
    """

    gamma: jax.Array
    model: TabularModel | None = None
    game: ExtensiveGame | None = None  # where information is hidden, in place of the model
    optimum: jax.Array | None = None  # float32[], what that planner earns; None where the agents are not paid alike
    mask: jax.Array | None = None  # bool[X, N, A], or bool[I, N, A] in the information sets of every agent

    @classmethod
    def of(cls, env: Environment, gamma: float) -> "Exploitability":
        """Tabulates the environment and, where all agents are paid alike, finds the joint optimum in float64.

        Args:
            env: a finite environment with agents. If information is hidden, it must always terminate within its time limit, and
                agents must observe enough to recall what they observed and did before.
            gamma: discount in [0, 1]; at 1 every policy must end the episode.

        Raises:
            ConfigError: the discount is out of range.
            EnvironmentError: the environment has no agents, is not finite, or hides information and has no extensive form.
        """
        where = "Exploitability"
        agents = env.num_agents is not None
        require(agents, where, "the environment must have agents", env.num_agents, "Use ExactValue.", EnvironmentError)
        require_discount(where, gamma)
        model = tabulate(env)
        masked = env.action_mask_fn is not None
        mask = markov.agent_masks(model) if masked else None
        if bool(np.all(model.reward == model.reward[..., :1])):
            with jax.enable_x64(True):
                alone = markov.for_player(model, 0)
                optimum = float(value_iteration(alone, gamma, tolerance=1e-12).start_value(alone))
            return cls(jnp.float32(gamma), model=single_precision(model), optimum=jnp.float32(optimum), mask=mask)
        hidden = markov.hidden_information(model)
        if hidden is not None:
            try:
                game = extensive.from_environment(env, gamma=gamma)
            except EnvironmentError as error:
                must = "agents must be able to tell apart the states in which they choose, or the game have an extensive form"
                raise EnvironmentError(f"{where}: {must}, got {hidden}; {error}") from error
            mask = jnp.swapaxes(jnp.asarray(game.legal), 0, 1) if masked else None
            return cls(jnp.float32(gamma), game=game, mask=mask)
        return cls(jnp.float32(gamma), model=single_precision(model), mask=mask)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        if self.game is None:
            assert self.model is not None
            observation, actions = self.model.observation, max(self.model.joint_shape)
        else:
            # A policy is asked about the information sets of all agents side by side: for each it looks at the agent's own.
            observation = jax.tree.map(lambda leaf: jnp.swapaxes(jnp.asarray(leaf), 0, 1), self.game.information)
            actions = self.game.legal.shape[-1]
        view = View(observation, self.mask, ())
        action = algorithm.policy(state, True)(key, view).action
        metrics = self._measures(jax.nn.one_hot(action, actions), "greedy_")
        if algorithm.probabilities is not None:
            metrics |= self._measures(algorithm.probabilities(state, view), "")
        return metrics

    def _measures(self, policies: jax.Array, prefix: str) -> dict[str, jax.Array]:
        if self.game is not None:
            return {f"{prefix}exploitability": extensive.exploitability(self.game, jnp.swapaxes(policies, 0, 1))}
        assert self.model is not None
        if self.optimum is None:
            return {f"{prefix}exploitability": markov.exploitability(self.model, policies, self.gamma)}
        earned = markov.evaluate(self.model, policies, self.gamma)
        value = jnp.where(earned.converged, self.model.initial @ earned.value[:, 0], jnp.nan)
        return {f"{prefix}value": value, f"{prefix}optimality_gap": self.optimum - value}
