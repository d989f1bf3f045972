"""Evaluating a policy exactly, on the model of a finite environment."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks.networks import QNetwork
from jaxrl.blocks.value_heads import Head, Mean
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import Average, optional
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.finite import TabularModel, single_precision, tabulate
from jaxrl.core.rollout import View
from jaxrl.errors import EnvError, require, require_discount, require_finite
from jaxrl.evaluation.policy_tables import Spaces, action_probabilities, greedy_actions, require_alike
from jaxrl.solvers.markov_chain import discounted_sums, doubling_is_faster
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.backups import action_values
from jaxrl.solvers.mdp.policy_evaluation import policy_chain, policy_evaluation

MOST_STEPS = 2**20  # for which a policy is followed that need not end the episode, where nothing is discounted


@struct.dataclass
class ExactValue:
    """Evaluates on the model of a finite environment, exactly: infinite horizon, discounted, at the initial distribution.

    Metrics of the greedy policy, and with the prefix ``sampled_`` of the policy that is sampled, where the algorithm can say with
    which probabilities it acts: ``greedy_exact_value``; ``greedy_optimality_gap``, how far this lies below the optimum; and
    ``greedy_exact_value_error``, how far both can be from the truth for rounding, a missing value where nothing bounds it
    (without discount, and with a policy that need not end the episode: this is worth its return over 2^20 steps). The policy
    must depend on the observation alone, so a recurrent one cannot be evaluated this way.

    The gap is summed, not subtracted: it is the expected discounted sum of what every action on the way is worth less than the
    best one. So an optimal policy has a gap of 0, and others one that is accurate to three digits in float32 too, where values
    have none in common with the optimum. Build it with ``ExactValue.of(env, gamma)``.

    Source: Kakade and Langford (2002), lemma 6.1 (the performance difference lemma).
    """

    model: TabularModel
    gamma: jax.Array
    optimum: jax.Array  # float32[], the value of an optimal policy at the start
    value: jax.Array  # float32[X], of every state
    shortfall: jax.Array  # float32[X, A], how much less than that each action is worth
    spaces: Spaces = static()
    masked: bool = static(default=False)
    dense: bool = static(default=True)

    @classmethod
    def of(cls, env: Environment, gamma: float, max_states: int = 100_000) -> "ExactValue":
        """Tabulates and solves the environment, in float64.

        Args:
            env: a finite environment without agents whose policy sees enough to act optimally.
            gamma: discount in [0, 1].
            max_states: see ``tabulate``.

        Raises:
            ConfigError: gamma lies outside [0, 1] or too close to 1 for float32, or the optimum does not converge, as where
                rewards without discount add up for ever.
            EnvError: the environment has agents, is not finite, or is too large.
        """
        require_single_agent("ExactValue", env, "Use TeamReturn or Exploitability.", EnvError)
        require_discount("ExactValue", gamma)
        return cls.of_model("ExactValue", env, tabulate(env, max_states), gamma)

    @classmethod
    def of_model(cls, where: str, env: Environment, model: TabularModel, gamma: float) -> "ExactValue":
        """Solves a model with one reward, in float64. where: who asks. env: what it is the model of. Raises: as ``of``."""
        require_discount(where, gamma)
        # Who is evaluated with float32 has its discount, and 1 - gamma is the scale of everything that goes on for long.
        off = abs(float(np.float32(gamma)) - gamma)
        must, fix = "float32 must be able to tell gamma from 1 to a thousandth", "Use a gamma of at most 0.9999, or 1."
        require(off <= 1e-3 * (1 - gamma), where, must, gamma, fix)
        gamma = float(np.float32(gamma))
        solution = host.solve(model, gamma)
        host.require_solved(where, model, solution, gamma)
        with jax.enable_x64(True):
            shortfall = solution.value[:, None] - action_values(model, solution.value, gamma)
        states, actions, outcomes = model.next_state.shape
        return cls(
            single_precision(model),
            jnp.float32(gamma),
            jnp.float32(solution.start_value(model)),
            jnp.asarray(solution.value, jnp.float32),
            jnp.asarray(np.asarray(shortfall), jnp.float32),
            Spaces.of(env),
            env.action_mask_fn is not None,
            doubling_is_faster(states, actions * outcomes, gamma),
        )

    def validate(self, task: Any) -> None:
        """Raises EnvError where the task is an environment of other spaces."""
        require_alike("ExactValue", self.spaces, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array | Average]:
        where, shape = "ExactValue", self.shortfall.shape
        mask = self.model.action_mask if self.masked else None
        view = View(self.model.observation, mask, (), state=self.model.state)
        action = greedy_actions(where, key, algorithm, state, view, shape[:1])
        metrics = self._measures(jax.nn.one_hot(action, shape[1]), "greedy")
        if algorithm.probabilities is not None:
            metrics |= self._measures(action_probabilities(where, algorithm, state, view, shape), "sampled")
        return metrics

    def _measures(self, policy: jax.Array, mode: str) -> dict[str, jax.Array | Average]:
        gap, error = self.gap(policy)
        return {
            f"{mode}_exact_value": self.optimum - gap,
            f"{mode}_optimality_gap": gap,
            f"{mode}_exact_value_error": optional(error, jnp.isfinite(error)),
        }

    def gap(self, policy: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns how far a policy lies below the optimum at the start, and how far this can be from the truth, float32[] each.

        Args:
            policy: float32[X, A], the probabilities of the actions.
        """
        chain = policy_chain(self.model, policy, self.gamma)
        less = (policy * self.shortfall).sum(1, keepdims=True)
        # A policy that is not followed to its end has not earned yet what the states are worth where it stands then.
        sums = discounted_sums(chain, less, self.value[:, None], MOST_STEPS, dense=self.dense)
        _, error = sums.check(chain, less, jnp.abs(less).max())
        return jnp.dot(self.model.initial, sums.value[:, 0], precision="highest"), error


@struct.dataclass
class ExactCost:
    """Evaluates what policies cost on the model of a finite environment, exactly: the expected discounted costs of an episode.

    Metrics of the greedy policy, and with the prefix ``sampled_`` of the policy that is sampled, where the algorithm can say with
    which probabilities it acts: ``greedy_exact_cost``, float32[] or float32[I] of I costs; and ``greedy_exact_cost_error``, how
    far these can be from the truth for rounding, a missing value where nothing bounds it. As ``ExactValue``, it follows a policy
    beyond the time limit, and the policy must depend on the observation alone. Build it with ``ExactCost.of(env, cost, gamma)``.
    """

    model: TabularModel  # the costs are its reward
    gamma: jax.Array
    spaces: Spaces = static()
    masked: bool = static(default=False)
    dense: bool = static(default=True)

    @classmethod
    def of(cls, env: Environment, cost: np.ndarray, gamma: float, max_states: int = 100_000) -> "ExactCost":
        """Tabulates the environment.

        Args:
            env: a finite environment without agents.
            cost: float[X, A, K], of every outcome of ``tabulate(env)``, or float[X, A, K, I] of I costs.
            gamma: discount in [0, 1].
            max_states: see ``tabulate``.

        Raises:
            ConfigError: gamma lies outside [0, 1], or the costs have another shape or are not finite.
            EnvError: the environment has agents, is not finite, or is too large.
        """
        require_single_agent("ExactCost", env, "Give it one agent.", EnvError)
        require_discount("ExactCost", gamma)
        model = tabulate(env, max_states)
        cost = require_finite("ExactCost", "cost", cost).astype(np.float64)
        shape, fix = model.next_state.shape, "Tabulate the environment first, and give each outcome a cost."
        must = f"cost must have shape {list(shape)}, or an axis of costs beyond"
        require(cost.shape[:3] == shape and cost.ndim in (3, 4), "ExactCost", must, list(cost.shape), fix)
        model = single_precision(dataclasses.replace(model, reward=cost))
        dense = doubling_is_faster(shape[0], shape[1] * shape[2], gamma)
        return cls(model, jnp.float32(gamma), Spaces.of(env), env.action_mask_fn is not None, dense)

    def validate(self, task: Any) -> None:
        """Raises EnvError where the task is an environment of other spaces."""
        require_alike("ExactCost", self.spaces, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array | Average]:
        where, shape = "ExactCost", self.model.next_state.shape[:2]
        view = View(self.model.observation, self.model.action_mask if self.masked else None, (), state=self.model.state)
        action = greedy_actions(where, key, algorithm, state, view, shape[:1])
        metrics = self._measures(jax.nn.one_hot(action, shape[1]), "greedy")
        if algorithm.probabilities is not None:
            metrics |= self._measures(action_probabilities(where, algorithm, state, view, shape), "sampled")
        return metrics

    def _measures(self, policy: jax.Array, mode: str) -> dict[str, jax.Array | Average]:
        def measured(cost):
            model = dataclasses.replace(self.model, reward=cost)
            found = policy_evaluation(model, policy, self.gamma, dense=self.dense)
            return jnp.asarray(found.start_value(model)), found.error_bound

        cost = self.model.reward
        value, error = measured(cost) if cost.ndim == 3 else jax.vmap(measured, in_axes=-1)(cost)
        error = jnp.max(error)
        return {f"{mode}_exact_cost": value, f"{mode}_exact_cost_error": optional(error, jnp.isfinite(error))}


@struct.dataclass
class Overestimate:
    """Evaluates by how much max_a Q(s, a) exceeds the exact value of the greedy policy, on average over initial states.

    Metric: ``overestimate``, float32[], negative where values are too low. The maximum is over the legal actions. The learner's
    state must hold the parameters of the network as ``params``, as that of DQN does.

    exact: of the environment, with the learner's discount. network: the learner's, ``dqn.q_network(env, config)``.
    head: the learner's, ``value_heads.make(config)``; that of an expected return if left out.

    Source: van Hasselt et al. (2016), figure 3, there with the return of episodes as the truth.
    """

    exact: ExactValue
    network: QNetwork = static()
    head: Head = struct.field(default_factory=Mean)

    def validate(self, task: Any) -> None:
        """Raises ConfigError where the head is not the network's, EnvError where the task is an environment of other spaces."""
        atoms, fix = self.head.num_atoms, "Give head=value_heads.make(config) of the learner's configuration."
        must = f"head must have as many outputs for each action as the network ({self.network.num_atoms})"
        require(atoms == self.network.num_atoms, "Overestimate", must, atoms, fix)
        self.exact.validate(task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        model = self.exact.model
        outputs: Any = self.network.apply(state.params, model.observation)
        legal = model.action_mask if self.exact.masked else None
        best = jnp.max(self.head.mean(outputs), axis=-1, where=legal, initial=-jnp.inf)
        believed = jnp.dot(model.initial, jnp.where(model.initial > 0, best, 0.0), precision="highest")
        worth: Any = self.exact(key, algorithm, state)["greedy_exact_value"]
        return {"overestimate": believed - worth}
