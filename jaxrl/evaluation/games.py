"""Evaluating the policies of several agents exactly: one-shot games, teams, and games with states or hidden information."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.algorithm import Algorithm, require_policy
from jaxrl.core.averages import Average, optional
from jaxrl.core.environment import Environment, static
from jaxrl.core.finite import TabularModel, single_precision, tabulate
from jaxrl.core.rollout import View
from jaxrl.errors import EnvError, nan_unless, require, require_discount
from jaxrl.evaluation.exact import ExactValue
from jaxrl.evaluation.policy_tables import Spaces, action_probabilities, greedy_actions, require_alike
from jaxrl.solvers import extensive, markov_games
from jaxrl.solvers.extensive import ExtensiveGame
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.policy_evaluation import return_of_policy
from jaxrl.solvers.normal_form import expected_payoffs, nash_conv


@struct.dataclass
class NashConv:
    """Evaluates what agents have learned in a one-shot matrix game, exactly: how far from a Nash equilibrium, and what it pays.

    Metrics: ``greedy_nash_conv``, the sum of what every player could gain by deviating from the greedy policies, and
    ``greedy_welfare``, the sum of what they earn; ``sampled_nash_conv`` and ``sampled_welfare`` of the policies that are sampled,
    where the algorithm can say with which probabilities it acts.

    payoff: float[N, A_0, ..., A_{N-1}], the table from which the environment was made.
    """

    payoff: Any

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        payoff = jnp.asarray(self.payoff, jnp.float32)
        view = _one_shot_view(payoff)

        def measures(probabilities, mode):
            profile = [strategy[:actions] for strategy, actions in zip(probabilities[0], payoff.shape[1:], strict=True)]
            welfare = expected_payoffs(payoff, profile).sum()
            return {f"{mode}_nash_conv": nash_conv(payoff, profile), f"{mode}_welfare": welfare}

        action = require_policy("NashConv", algorithm)(state, True)(key, view).action
        metrics = measures(jax.nn.one_hot(action, max(payoff.shape[1:])), "greedy")
        if algorithm.probabilities is not None:
            metrics |= measures(algorithm.probabilities(state, view), "sampled")
        return metrics


@struct.dataclass
class GreedyActions:
    """Evaluates which actions agents have learned to take in a one-shot matrix game.

    Metrics: ``greedy_action_0``, ``greedy_action_1`` ..., the number of the action that the greedy policy of each player takes.

    payoff: float[N, A_0, ..., A_{N-1}], the table from which the environment was made.
    """

    payoff: Any

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        action = require_policy("GreedyActions", algorithm)(state, True)(key, _one_shot_view(self.payoff)).action[0]
        return {f"greedy_action_{player}": action[player].astype(jnp.float32) for player in range(jnp.shape(self.payoff)[0])}


def _one_shot_view(payoff: Any) -> View:
    """Returns the view of the players of a matrix game, who observe nothing: one entry in the batch."""
    counts = jnp.array(jnp.shape(payoff)[1:])
    widest = max(jnp.shape(payoff)[1:])
    mask = None if min(jnp.shape(payoff)[1:]) == widest else (jnp.arange(widest) < counts[:, None])[None]
    return View(jnp.zeros((1, counts.size), jnp.int32), mask, ())


@struct.dataclass
class TeamReturn:
    """Evaluates what agents earn together in a finite environment, exactly: up to its time limit, without discount.

    Metrics: ``greedy_exact_return``, the expected return of the greedy policies at the initial distribution, a mean over agents,
    and ``greedy_return_gap``, how far it lies below what one planner for all agents would earn; ``sampled_exact_return`` and
    ``sampled_return_gap`` of the policies that are sampled, where the algorithm can say with which probabilities it acts.
    The policies must depend on their observations alone. Build it with ``TeamReturn.of(env)``.
    """

    model: TabularModel
    optimum: jax.Array  # float32[], the return of an optimal joint policy
    max_steps: int = static()
    spaces: Spaces = static()
    masked: bool = static(default=False)

    @classmethod
    def of(cls, env: Environment, max_states: int = 100_000) -> "TeamReturn":
        """Tabulates the environment and plans for all agents at once, in float64.

        Args:
            env: a finite environment with agents.
            max_states: see ``tabulate``.

        Raises:
            EnvError: the environment has no agents, is not finite, or is too large.
        """
        must = "the environment must have an agent axis"
        require(env.num_agents is not None, "TeamReturn", must, env.num_agents, "Use ExactValue.", EnvError)
        model = tabulate(env, max_states)
        team = dataclasses.replace(model, reward=model.reward.mean(-1))
        optimum = model.initial @ host.finite_horizon(team, 1.0, env.max_steps)
        masked = env.action_mask_fn is not None
        return cls(single_precision(model), jnp.float32(optimum), env.max_steps, Spaces.of(env), masked)

    def validate(self, task: Any) -> None:
        """Raises EnvError where the task is an environment of other spaces."""
        require_alike("TeamReturn", self.spaces, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        where, agents, actions = "TeamReturn", len(self.model.joint_shape), max(self.model.joint_shape)
        mask = markov_games.agent_masks(self.model) if self.masked else None
        view = View(self.model.observation, mask, (), state=self.model.state)
        team = dataclasses.replace(self.model, reward=self.model.reward.mean(-1))
        of_each = (self.model.num_states, agents)

        def at_start(policies):
            value = return_of_policy(team, markov_games.joint_policy(self.model, policies), self.max_steps)
            return jnp.dot(self.model.initial, value, precision="highest")

        action = greedy_actions(where, key, algorithm, state, view, of_each)
        greedy = at_start(jax.nn.one_hot(action, actions))
        metrics = {"greedy_exact_return": greedy, "greedy_return_gap": self.optimum - greedy}
        if algorithm.probabilities is not None:
            sampled = at_start(action_probabilities(where, algorithm, state, view, (*of_each, actions)))
            metrics |= {"sampled_exact_return": sampled, "sampled_return_gap": self.optimum - sampled}
        return metrics


@struct.dataclass
class Exploitability:
    """Evaluates the policies of several agents in a finite environment, exactly, at the initial distribution.

    Metrics of the greedy policies, and with the prefix ``sampled_`` of those that are sampled, where the algorithm can say with
    which probabilities it acts: ``greedy_exploitability``, the mean over agents of what each could gain by its best response to
    the others; in a two-player zero-sum game, how far what the policies guarantee lies below the value of the game. A best
    response is a policy of what its agent observes. Where every agent can tell all states apart in which it has a choice, it is
    found on the model; otherwise, with hidden information, on the information sets of the game in extensive form.

    Where all agents are paid alike: ``greedy_exact_value`` and ``greedy_optimality_gap`` instead, the discounted value that the
    agents earn and how far it lies below the best of a planner who sees the state and moves them all, as ``ExactValue`` names
    them. ``sampled_`` likewise.

    A value that was not reached because an undiscounted episode need not end is missing. Policies must depend on the observation
    alone. Build it with ``Exploitability.of(env, gamma)``.
    """

    gamma: jax.Array
    spaces: Spaces = static()
    model: TabularModel | None = None
    game: ExtensiveGame | None = None  # where information is hidden, in place of the model
    team: ExactValue | None = None  # where all agents are paid alike: that of a planner over joint actions
    mask: jax.Array | None = None  # bool[X, N, A], or bool[I, N, A] in the information sets of every agent

    @classmethod
    def of(cls, env: Environment, gamma: float) -> "Exploitability":
        """Tabulates the environment and, where all agents are paid alike, finds the joint optimum in float64.

        Args:
            env: a finite environment with agents. If information is hidden, it must always terminate within its time limit, and
                agents must observe enough to recall what they observed and did before.
            gamma: discount in [0, 1]; at 1 every policy must end the episode.

        Raises:
            ConfigError: the discount is out of range, or the joint optimum does not converge.
            EnvError: the environment has no agents, is not finite, or hides information and has no extensive form.
        """
        where = "Exploitability"
        agents = env.num_agents is not None
        require(agents, where, "the environment must have agents", env.num_agents, "Use ExactValue.", EnvError)
        require_discount(where, gamma)
        model = tabulate(env)
        masked = env.action_mask_fn is not None
        mask = markov_games.agent_masks(model) if masked else None
        if bool(np.all(model.reward == model.reward[..., :1])):
            team = ExactValue.of_model(where, env, markov_games.for_player(model, 0), gamma)
            return cls(jnp.float32(gamma), Spaces.of(env), single_precision(model), team=team, mask=mask)
        hidden = markov_games.hidden_information(model)
        if hidden is not None:
            try:
                game = extensive.from_environment(env, gamma=gamma)
            except EnvError as error:
                must = "agents must be able to tell apart the states in which they choose, or the game have an extensive form"
                fix = "Let agents observe what they need to tell them apart, or end every episode within its time limit."
                raise EnvError(f"{where}: {must}, got {hidden!r}. {fix}") from error
            mask = jnp.swapaxes(jnp.asarray(game.legal), 0, 1) if masked else None
            return cls(jnp.float32(gamma), Spaces.of(env), game=game, mask=mask)
        return cls(jnp.float32(gamma), Spaces.of(env), single_precision(model), mask=mask)

    def validate(self, task: Any) -> None:
        """Raises EnvError where the task is an environment of other spaces."""
        require_alike("Exploitability", self.spaces, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array | Average]:
        if self.game is None:
            assert self.model is not None
            observation, states, shape = self.model.observation, self.model.state, self.model.joint_shape
            of_each, actions = (self.model.num_states, len(shape)), max(shape)
        else:
            # A policy is asked about the information sets of all agents side by side: for each it looks at the agent's own.
            observation = jax.tree.map(lambda leaf: jnp.swapaxes(jnp.asarray(leaf), 0, 1), self.game.information)
            agents, sets, actions = self.game.legal.shape
            states = None  # an information set is one of several
            of_each = (sets, agents)
        where, view = "Exploitability", View(observation, self.mask, (), state=states)
        action = greedy_actions(where, key, algorithm, state, view, of_each)
        metrics = self._measures(jax.nn.one_hot(action, actions), "greedy")
        if algorithm.probabilities is not None:
            metrics |= self._measures(action_probabilities(where, algorithm, state, view, (*of_each, actions)), "sampled")
        return metrics

    def _measures(self, policies: jax.Array, mode: str) -> dict[str, jax.Array | Average]:
        if self.game is not None:
            return {f"{mode}_exploitability": extensive.exploitability(self.game, jnp.swapaxes(policies, 0, 1))}
        assert self.model is not None
        if self.team is not None:
            gap, error = self.team.gap(markov_games.joint_policy(self.model, policies))
            found = jnp.isfinite(error)
            return {
                f"{mode}_exact_value": optional(self.team.optimum - gap, found),
                f"{mode}_optimality_gap": optional(gap, found),
            }
        return {f"{mode}_exploitability": optional(self._on_the_model(self.model, policies))}

    def _on_the_model(self, model: TabularModel, policies: jax.Array) -> jax.Array:
        """Returns the mean regret at the start, float32[]: differences of long sums, which float32 would round away."""
        with jax.enable_x64(True):
            found = markov_games.exploitability(*_in_float64(model, policies, self.gamma), tolerance=1e-10)
        return found.astype(jnp.float32)


@struct.dataclass
class ValueGap:
    """Evaluates how far the values that players of a two-player zero-sum game hold their states for are from the exact solution.

    Metrics: ``value_error``, the largest error of either player among the states that were visited often enough, and
    ``visited_states``, how many these are. The state of the algorithm must have ``value``, float32[2, X], of every observation
    and ``visits``, int32[2, X, ...], as that of ``jaxrl.algorithms.multiagent.minimax_q``. Build it with
    ``ValueGap.of(env, gamma)``.
    """

    observation: jax.Array  # int32[Y], what the players observe in each state
    value: jax.Array  # float32[Y], what the first player gets from there on and the second loses
    least_visits: jax.Array  # int32[], after which a state counts

    @classmethod
    def of(cls, env: Environment, gamma: float, least_visits: int = 1) -> "ValueGap":
        """Tabulates and solves the game, in float64.

        Args:
            env: a finite environment of two players whose rewards sum to zero and who observe the state, alike.
            gamma: discount in [0, 1).
            least_visits: how often a state must have been visited for its value to be compared.

        Raises:
            ConfigError: the discount is out of range.
            EnvError: the environment is not finite, or not such a game.
        """
        model = tabulate(env)
        with jax.enable_x64(True):
            value = np.asarray(markov_games.shapley(model, gamma, 1e-12).value)
        return cls(jnp.asarray(model.observation[:, 0]), jnp.asarray(value, jnp.float32), jnp.int32(least_visits))

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        visited = state.visits[0, self.observation].sum(-1) >= self.least_visits
        error = jnp.abs(state.value[:, self.observation] - jnp.stack([self.value, -self.value])).max(0)
        return {"value_error": jnp.max(error, where=visited, initial=0.0), "visited_states": visited.sum(dtype=jnp.float32)}


@struct.dataclass
class AgentValues:
    """Evaluates what every agent earns in a finite environment, exactly: discounted, at the initial distribution.

    Metrics: ``greedy_agent_value``, float32[N], of the greedy policies, a column for each agent; ``sampled_agent_value`` of the
    policies that are sampled, where the algorithm can say with which probabilities it acts. A value that was not reached because
    an undiscounted episode need not end is missing. Policies must depend on the observation alone. Build it with
    ``AgentValues.of(env, gamma)``.
    """

    model: TabularModel
    gamma: jax.Array
    spaces: Spaces = static()
    masked: bool = static(default=False)

    @classmethod
    def of(cls, env: Environment, gamma: float) -> "AgentValues":
        """Tabulates the environment.

        Args:
            env: a finite environment with agents.
            gamma: discount in [0, 1]; at 1 every policy must end the episode.

        Raises:
            ConfigError: the discount is out of range.
            EnvError: the environment has no agents or is not finite.
        """
        where = "AgentValues"
        require(
            env.num_agents is not None, where, "the environment must have agents", env.num_agents, "Use ExactValue.", EnvError
        )
        require_discount(where, gamma)
        return cls(single_precision(tabulate(env)), jnp.float32(gamma), Spaces.of(env), env.action_mask_fn is not None)

    def validate(self, task: Any) -> None:
        """Raises EnvError where the task is an environment of other spaces."""
        require_alike("AgentValues", self.spaces, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array | Average]:
        where, shape = "AgentValues", self.model.joint_shape
        view = View(
            self.model.observation, markov_games.agent_masks(self.model) if self.masked else None, (), state=self.model.state
        )
        of_each = (self.model.num_states, len(shape))
        action = greedy_actions(where, key, algorithm, state, view, of_each)
        metrics = {"greedy_agent_value": self._values(jax.nn.one_hot(action, max(shape)))}
        if algorithm.probabilities is not None:
            policies = action_probabilities(where, algorithm, state, view, (*of_each, max(shape)))
            metrics["sampled_agent_value"] = self._values(policies)
        return metrics

    def _values(self, policies: jax.Array) -> jax.Array | Average:
        with jax.enable_x64(True):
            model, policies, gamma = _in_float64(self.model, policies, self.gamma)
            found = markov_games.evaluate(model, policies, gamma, tolerance=1e-10)
            at_start = nan_unless(found.converged, jnp.dot(model.initial, found.value, precision="highest"))
        return optional(at_start.astype(jnp.float32))


def _in_float64(model: TabularModel, policies: jax.Array, gamma: jax.Array) -> tuple[TabularModel, jax.Array, jax.Array]:
    """Returns a model, policies float[X, N, A] and a discount in float64, with probabilities that sum to 1 in it."""
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, (model, policies, gamma))
    model, policies, gamma = wide
    return dataclasses.replace(model, probability=_normalised(model.probability)), _normalised(policies), gamma


def _normalised(probability: jax.Array) -> jax.Array:
    return probability / probability.sum(-1, keepdims=True)
