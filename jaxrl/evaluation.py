"""Evaluating a policy: by episodes, with the same random numbers for every seed, or exactly, on a finite model.

An evaluator is a pytree that is called as ``(key, algorithm, state) -> dict of scalars``; ``jaxrl.runner.run`` calls it for
every seed after each chunk, inside a compiled program of its own.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl import rollout
from jaxrl.algorithm import Algorithm
from jaxrl.averages import Average, average
from jaxrl.env import Environment, static
from jaxrl.errors import EnvironmentError, require, require_counts, require_discount
from jaxrl.finite import TabularModel, single_precision, tabulate
from jaxrl.games import extensive, markov
from jaxrl.games.extensive import ExtensiveGame
from jaxrl.games.normal_form import expected_payoffs, nash_conv
from jaxrl.rollout import Policy, View
from jaxrl.spaces import Space
from jaxrl.tabular import host_solvers
from jaxrl.tabular.dynamic_programming import action_values, policy_chain, return_of_policy
from jaxrl.tabular.markov_chain import discounted_sums, doubling_is_faster


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


MODES = ("greedy", "sampled")


@struct.dataclass
class Episodes:
    """Evaluates by playing episodes: metrics ``greedy_return`` and ``sampled_return``, means over episodes (summed over agents).

    With ``discounted`` the discounted returns are reported as well, as ``greedy_discounted_return`` and
    ``sampled_discounted_return``.
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
        """Raises EnvironmentError where episodes are played in an environment of other spaces than the task's."""
        _require_alike("Episodes", self.env, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        require(algorithm.policy is not None, "Episodes", "the algorithm must have a policy", None, "Leave the evaluator out.")
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


class _Spaces(NamedTuple):
    """What a policy sees and does, without the numbers of an environment. observation, action: spaces. agents: N or None."""

    observation: Space
    action: Space
    agents: int | None

    @classmethod
    def of(cls, env: Environment) -> "_Spaces":
        return cls(env.observation_space, env.action_space, env.num_agents)


def _require_alike(where: str, spaces: Environment | _Spaces, task: Any) -> None:
    """Raises EnvironmentError where an algorithm learns in an environment and is evaluated in one of other spaces."""
    if isinstance(task, Environment):
        own = _Spaces.of(spaces) if isinstance(spaces, Environment) else spaces
        must = f"the environment that is evaluated must have the spaces of the task, {tuple(_Spaces.of(task))}"
        require(own == _Spaces.of(task), where, must, tuple(own), "Build both from the same map.", EnvironmentError)


def _actions(where: str, key: jax.Array, algorithm: Algorithm, state: Any, view: View, shape: tuple[int, ...]) -> jax.Array:
    """Returns the greedy actions int[shape]; raises EnvironmentError unless observations alone tell them, one for each state."""
    require(algorithm.policy is not None, where, "the algorithm must have a policy", None, "Leave the evaluator out.")
    memoryless = not jax.tree.leaves(algorithm.memory)
    must = "the policy must depend on the observation alone"
    require(memoryless, where, must, "a memory", "Evaluate it by Episodes.", EnvironmentError)
    action = algorithm.policy(state, True)(key, view).action
    whole = jnp.issubdtype(jnp.result_type(action), jnp.integer)
    found = f"{jnp.result_type(action)}{list(jnp.shape(action))}"
    must = f"the policy must return one of the actions for every state, int32{list(shape)}"
    fix = "Evaluate the environment that is learned."
    require(jnp.shape(action) == shape and whole, where, must, found, fix, EnvironmentError)
    return action


def _probabilities(where: str, algorithm: Algorithm, state: Any, view: View, shape: tuple[int, ...]) -> jax.Array:
    """Returns the probabilities of all actions, float32[shape]; raises EnvironmentError where they have another shape."""
    found: Any = algorithm.probabilities
    probabilities = found(state, view)
    must = f"the algorithm's probabilities must have shape {list(shape)}, as the model that is evaluated"
    fix = "Evaluate the environment that is learned."
    require(probabilities.shape == shape, where, must, list(probabilities.shape), fix, EnvironmentError)
    return probabilities


MOST_STEPS = 2**20  # for which a policy is followed that need not end the episode, where nothing is discounted


@struct.dataclass
class ExactValue:
    """Evaluates on the model of a finite environment, exactly: infinite horizon, discounted, at the initial distribution.

    Metrics: ``exact_value`` and ``optimality_gap`` (how far it lies below the optimum) of the greedy policy, and
    ``sampled_exact_value`` and ``sampled_optimality_gap`` of the policy that is sampled, where the algorithm can say with which
    probabilities it acts; ``exact_value_error``, how far any of these can be from the truth for rounding, a missing value where
    nothing bounds it (without discount, and with a policy that need not end the episode: this is worth its return over 2^20
    steps). The policy must depend on the observation alone, so a recurrent one cannot be evaluated this way.

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
    spaces: _Spaces = static()
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
            EnvironmentError: the environment has agents, is not finite, or is too large.
        """
        alone = env.num_agents is None
        must, fix = "the environment must have no agent axis", "Use TeamReturn or Exploitability."
        require(alone, "ExactValue", must, env.num_agents, fix, EnvironmentError)
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
        solution = host_solvers.solve(model, gamma)
        host_solvers.require_solved(where, model, solution, gamma)
        with jax.enable_x64(True):
            shortfall = solution.value[:, None] - action_values(model, solution.value, gamma)
        states, actions, outcomes = model.next_state.shape
        return cls(
            single_precision(model),
            jnp.float32(gamma),
            jnp.float32(solution.start_value(model)),
            jnp.asarray(solution.value, jnp.float32),
            jnp.asarray(np.asarray(shortfall), jnp.float32),
            _Spaces.of(env),
            env.action_mask_fn is not None,
            doubling_is_faster(states, actions * outcomes, gamma),
        )

    def validate(self, task: Any) -> None:
        """Raises EnvironmentError where the task is an environment of other spaces."""
        _require_alike("ExactValue", self.spaces, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array | Average]:
        where, shape = "ExactValue", self.shortfall.shape
        view = View(self.model.observation, self.model.action_mask if self.masked else None, ())
        action = _actions(where, key, algorithm, state, view, shape[:1])
        gap, error = self.gap(jax.nn.one_hot(action, shape[1]))
        metrics = {"exact_value": self.optimum - gap, "optimality_gap": gap}
        if algorithm.probabilities is not None:
            gap, other = self.gap(_probabilities(where, algorithm, state, view, shape))
            metrics |= {"sampled_exact_value": self.optimum - gap, "sampled_optimality_gap": gap}
            error = jnp.maximum(error, other)
        return metrics | {"exact_value_error": average(error, jnp.isfinite(error))}

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
        return self.model.initial @ sums.value[:, 0], error


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
    spaces: _Spaces = static()
    masked: bool = static(default=False)

    @classmethod
    def of(cls, env: Environment, max_states: int = 100_000) -> "TeamReturn":
        """Tabulates the environment and plans for all agents at once, in float64.

        Args:
            env: a finite environment with agents.
            max_states: see ``tabulate``.

        Raises:
            EnvironmentError: the environment has no agents, is not finite, or is too large.
        """
        must = "the environment must have an agent axis"
        require(env.num_agents is not None, "TeamReturn", must, env.num_agents, "Use ExactValue.", EnvironmentError)
        model = tabulate(env, max_states)
        team = dataclasses.replace(model, reward=model.reward.mean(-1))
        optimum = model.initial @ host_solvers.finite_horizon(team, 1.0, env.max_steps)
        masked = env.action_mask_fn is not None
        return cls(single_precision(model), jnp.float32(optimum), env.max_steps, _Spaces.of(env), masked)

    def validate(self, task: Any) -> None:
        """Raises EnvironmentError where the task is an environment of other spaces."""
        _require_alike("TeamReturn", self.spaces, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        where, agents, actions = "TeamReturn", len(self.model.joint_shape), max(self.model.joint_shape)
        view = View(self.model.observation, markov.agent_masks(self.model) if self.masked else None, ())
        team = dataclasses.replace(self.model, reward=self.model.reward.mean(-1))
        of_each = (self.model.num_states, agents)

        def at_start(policies):
            return self.model.initial @ return_of_policy(team, markov.joint_policy(self.model, policies), self.max_steps)

        action = _actions(where, key, algorithm, state, view, of_each)
        greedy = at_start(jax.nn.one_hot(action, actions))
        metrics = {"exact_return": greedy, "optimality_gap": self.optimum - greedy}
        if algorithm.probabilities is not None:
            sampled = at_start(_probabilities(where, algorithm, state, view, (*of_each, actions)))
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
    the best of a planner who sees the state and moves them all; see ``ExactValue``.

    A value that was not reached because an undiscounted episode need not end is missing. Policies must depend on the observation
    alone. Build it with ``Exploitability.of(env, gamma)``.
    """

    gamma: jax.Array
    spaces: _Spaces = static()
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
            team = ExactValue.of_model(where, env, markov.for_player(model, 0), gamma)
            return cls(jnp.float32(gamma), _Spaces.of(env), single_precision(model), team=team, mask=mask)
        hidden = markov.hidden_information(model)
        if hidden is not None:
            try:
                game = extensive.from_environment(env, gamma=gamma)
            except EnvironmentError as error:
                must = "agents must be able to tell apart the states in which they choose, or the game have an extensive form"
                fix = "Let agents observe what they need to tell them apart, or end every episode within its time limit."
                raise EnvironmentError(f"{where}: {must}, got {hidden!r}. {fix}") from error
            mask = jnp.swapaxes(jnp.asarray(game.legal), 0, 1) if masked else None
            return cls(jnp.float32(gamma), _Spaces.of(env), game=game, mask=mask)
        return cls(jnp.float32(gamma), _Spaces.of(env), single_precision(model), mask=mask)

    def validate(self, task: Any) -> None:
        """Raises EnvironmentError where the task is an environment of other spaces."""
        _require_alike("Exploitability", self.spaces, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array | Average]:
        if self.game is None:
            assert self.model is not None
            observation, shape = self.model.observation, self.model.joint_shape
            of_each, actions = (self.model.num_states, len(shape)), max(shape)
        else:
            # A policy is asked about the information sets of all agents side by side: for each it looks at the agent's own.
            observation = jax.tree.map(lambda leaf: jnp.swapaxes(jnp.asarray(leaf), 0, 1), self.game.information)
            agents, sets, actions = self.game.legal.shape
            of_each = (sets, agents)
        where, view = "Exploitability", View(observation, self.mask, ())
        action = _actions(where, key, algorithm, state, view, of_each)
        metrics = self._measures(jax.nn.one_hot(action, actions), "greedy_")
        if algorithm.probabilities is not None:
            metrics |= self._measures(_probabilities(where, algorithm, state, view, (*of_each, actions)), "")
        return metrics

    def _measures(self, policies: jax.Array, prefix: str) -> dict[str, jax.Array | Average]:
        if self.game is not None:
            return {f"{prefix}exploitability": extensive.exploitability(self.game, jnp.swapaxes(policies, 0, 1))}
        assert self.model is not None
        if self.team is not None:
            gap, error = self.team.gap(markov.joint_policy(self.model, policies))
            found = jnp.isfinite(error)
            return {
                f"{prefix}value": average(self.team.optimum - gap, found),
                f"{prefix}optimality_gap": average(gap, found),
            }
        return {f"{prefix}exploitability": self._on_the_model(self.model, policies)}

    def _on_the_model(self, model: TabularModel, policies: jax.Array) -> jax.Array:
        """Returns the mean regret at the start, float32[]: differences of long sums, which float32 would round away."""
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, (model, policies))
            model, policies = wide
            model = dataclasses.replace(model, probability=_normalised(model.probability))
            gamma = self.gamma.astype(jnp.float64)
            found = markov.exploitability(model, _normalised(policies), gamma, tolerance=1e-10)
        return found.astype(jnp.float32)


def _normalised(probability: jax.Array) -> jax.Array:
    return probability / probability.sum(-1, keepdims=True)
