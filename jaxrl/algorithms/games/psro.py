"""Policy-space response oracles: populations that grow by answers to how their members are mixed.

    begin with one policy of each player
    repeat
        every player i adds to its population an answer to the others' meta-strategies:
            pi_i = argmax u_i(., sigma_-i), or one that was learned from samples
        fill the meta-game: what the policies of all populations earn against each other
        sigma <- a solution of the meta-game

``meta_solver`` says which: "linear_program", an equilibrium (in two-player zero-sum games alone; with exact answers this is the
double oracle method); "regret_matching" or "projected_replicator", averages of these dynamics; "uniform", all answers so far
(fictitious play); "latest", the last answer (self-play).

An answer is exact by default. With ``oracle="monte_carlo"`` it is learned from ``episodes`` plays against the others: an action
value is the mean return after the action, play is epsilon-greedy in them, and the answer is greedy. Gains of the players are
measured exactly either way, against all policies of the game, not those of the populations.

A policy is pure, float[I, A]; an answer that its population has already is not added again, but counts once more in "uniform".
A population that is full, of ``capacity`` policies, stays as it is: the metric ``population`` shows it.

The task is an extensive game: ``jaxrl.solvers.extensive.from_environment(env)``, or ``extensive.from_table(payoff)`` of a game in
normal form. Seeds begin with other policies. An update takes no step in an environment, so runs count updates.

Source: Lanctot et al. (2017), "A unified game-theoretic approach to multiagent reinforcement learning", algorithm 1; McMahan,
Gordon and Blum (2003), "Planning in the presence of cost functions controlled by an adversary"; for fictitious play in extensive
form Heinrich, Lanctot and Silver (2015); for the learned answers Sutton and Barto (2018), section 5.4.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core import counters
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import static
from jaxrl.errors import (
    require,
    require_between,
    require_counts,
    require_finite,
    require_numbers,
    require_positive,
    require_zero_sums,
    unknown_name,
)
from jaxrl.solvers import extensive, meta_strategies, sampled_play
from jaxrl.solvers.extensive import ExtensiveGame

WHERE = "games.psro"
META_SOLVERS = "linear_program", "regret_matching", "projected_replicator", "uniform", "latest"
ORACLES = "exact", "monte_carlo"


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    step_size: float = 0.1  # of projected replicator: of Euler's method, in ranges of a player's payoffs; positive
    exploration: float = 0.01  # of projected replicator: gamma, in [0, 1]
    epsilon: float = 0.2  # of learned answers: the probability of a uniform action, in (0, 1]
    meta_solver: str = static(default="linear_program")  # or regret_matching, projected_replicator, uniform, latest
    oracle: str = static(default="exact")  # or monte_carlo
    capacity: int = static(default=32)  # policies that a population can hold (count)
    meta_steps: int = static(default=1_000)  # of regret matching and projected replicator on the meta-game (count)
    episodes: int = static(default=2_000)  # of learned answers: plays of a player for each (count)

    def validate(self, game: Any) -> None:
        """Raises ConfigError or UnknownNameError where a value is out of range, or ``game`` is no extensive game of numbers."""
        fix = "Give jaxrl.solvers.extensive.from_environment(env), or extensive.from_table(payoff)."
        require(isinstance(game, ExtensiveGame), WHERE, "the task must be an ExtensiveGame", type(game), fix)
        for name in ("payoff", "chance"):
            require_finite(WHERE, f"{name} of the game", getattr(game, name))
        for kind, name, known in (("meta-solver", self.meta_solver, META_SOLVERS), ("oracle", self.oracle, ORACLES)):
            if name not in known:
                raise unknown_name(WHERE, kind, name, known)
        require_counts(WHERE, self, "capacity", "meta_steps", "episodes")
        require_numbers(WHERE, self)
        require_positive(WHERE, self, "step_size", "epsilon")
        require_between(WHERE, self, 0, 1, "exploration", "epsilon")
        if self.meta_solver == "linear_program":
            fix = "Set meta_solver='regret_matching'."
            require(game.num_players == 2, WHERE, "with linear_program there must be 2 players", game.num_players, fix)
            require_zero_sums(WHERE, np.asarray(game.payoff), fix)


@struct.dataclass
class State:
    """policies: float32[N, M, I, A], pure; those beyond ``size`` are zeros. size: int32[N], how many there are.

    answers: float32[N, M], how often a policy was the answer. latest: int32[N], the number of the last answer.
    meta: float32[N, M], the meta-strategies.
    """

    policies: jax.Array
    size: jax.Array
    answers: jax.Array
    latest: jax.Array
    meta: jax.Array


def meta_game(game: ExtensiveGame, policies: jax.Array) -> jax.Array:
    """Returns what every player earns for each choice of policies, float[N, M, ..., M]; policies: float[N, M, I, A]."""
    # Every policy's part of the way to each end, [N, M, Z]; a table sums their product over the ends.
    parts = jnp.stack(jax.vmap(lambda strategy: jnp.stack(extensive.taken(game, strategy)), 1, 1)(policies))
    players = range(game.num_players)
    letters = [chr(ord("a") + player) for player in players]
    terms = ",".join(f"{letter}z" for letter in letters)
    gain = jnp.asarray(game.chance[:, None] * game.payoff, policies.dtype)
    return jnp.einsum(f"zn,{terms}->n{''.join(letters)}", gain, *parts, precision="highest")


def exact_answer(game: ExtensiveGame, strategies: jax.Array, player: int) -> jax.Array:
    """Returns a best response to the strategies of the others, float32[I, A], pure."""
    action = extensive.best_response(game, strategies, player).action
    return jax.nn.one_hot(action, strategies.shape[-1], dtype=strategies.dtype)


def learned_answer(key: jax.Array, game: ExtensiveGame, strategies: jax.Array, player: int, config: Config) -> jax.Array:
    """Returns the greedy policy of Monte Carlo control against the strategies of the others, float32[I, A], pure."""
    legal = jnp.asarray(game.legal[player])
    uniform = extensive.uniform_strategy(game).astype(strategies.dtype)[player]

    def greedy(q):
        return jax.nn.one_hot(jnp.where(legal, q, -jnp.inf).argmax(-1), legal.shape[1], dtype=strategies.dtype)

    def episode(carry, key):
        q, visits = carry
        explored = config.epsilon * uniform + (1 - config.epsilon) * greedy(q)
        end = sampled_play.end(key, game, strategies.at[player].set(explored))
        # An action that was taken moves its value to the mean of the returns that followed it.
        took = sampled_play.on_the_way(game, jnp.asarray(game.sequence)[end, player], player)
        visits = visits + took
        error = jnp.asarray(game.payoff[:, player], q.dtype)[end] - q
        return (q + took * error / jnp.maximum(visits, 1), visits), None

    nothing = jnp.zeros(legal.shape, strategies.dtype)
    (q, _), _ = jax.lax.scan(episode, (nothing, nothing), jax.random.split(key, config.episodes))
    return greedy(q)


def make(game: ExtensiveGame, config: Config) -> Algorithm:
    """Builds PSRO on an extensive game.

    Metrics, exact, after each update, in reward units:
        meta_exploitability, meta_nash_conv: the mean and the sum of what the players could gain by best responses of the whole
            game, each against the others' meta-strategies.
        meta_value: float32[N], what every player earns by the meta-strategies.
        meta_gap: the sum of what the players could gain by policies of their populations: how far the meta-game is from solved.
        population: float32[N], how many policies a population has.
    """
    players = range(game.num_players)

    def solved(policies, size, answers, latest):
        """Returns the meta-strategies and how far they are from an equilibrium of the meta-game."""
        present = jnp.arange(config.capacity) < size[:, None]
        table = meta_game(game, policies)
        if config.meta_solver == "linear_program":
            meta = meta_strategies.linear_program(table, present)
        elif config.meta_solver == "regret_matching":
            meta = meta_strategies.regret_matching(table, present, config.meta_steps)
        elif config.meta_solver == "projected_replicator":
            options = config.meta_steps, config.step_size, config.exploration
            meta = meta_strategies.projected_replicator(table, present, *options)
        elif config.meta_solver == "uniform":
            meta = answers / answers.sum(-1, keepdims=True)
        else:
            meta = jax.nn.one_hot(latest, config.capacity, dtype=jnp.float32)
        return meta, meta_strategies.gap(table, present, meta)

    def init(key):
        first = sampled_play.pure(key, extensive.uniform_strategy(game).astype(jnp.float32))
        policies = jnp.zeros((first.shape[0], config.capacity, *first.shape[1:]), jnp.float32).at[:, 0].set(first)
        size, latest = counters.zeros(first.shape[0]) + 1, counters.zeros(first.shape[0])
        only = jax.nn.one_hot(latest, config.capacity, dtype=jnp.float32)
        return State(policies, size, only, latest, only)

    def add(policies, size, answers, answer):
        """Adds an answer to one population, unless it has it already or is full, and returns its number."""
        same = (policies == answer).all((1, 2)) & (jnp.arange(config.capacity) < size)
        known = same.any()
        place = jnp.where(known, same.argmax(), jnp.minimum(size, config.capacity - 1)).astype(jnp.int32)
        new = ~known & (size < config.capacity)
        policies = jnp.where(new, policies.at[place].set(answer), policies)
        counted = known | new
        return policies, size + new, answers.at[place].add(counted.astype(answers.dtype)), jnp.where(counted, place, size - 1)

    def update(state, key):
        # Every player answers the others' meta-strategies, and its population grows.
        strategies = extensive.mixed(game, state.policies, state.meta)
        if config.oracle == "exact":
            answer = jnp.stack([exact_answer(game, strategies, player) for player in players])
        else:
            keys = jax.random.split(key, game.num_players)
            answer = jnp.stack([learned_answer(keys[player], game, strategies, player, config) for player in players])
        policies, size, answers, latest = jax.vmap(add)(state.policies, state.size, state.answers, answer)
        meta, gap = solved(policies, size, answers, latest)
        strategies = extensive.mixed(game, policies, meta)
        gains = extensive.regrets(game, strategies)
        return State(policies, size, answers, latest, meta), {
            "meta_exploitability": gains.mean(),
            "meta_nash_conv": gains.sum(),
            "meta_value": extensive.expected_payoffs(game, strategies),
            "meta_gap": gap,
            "population": size.astype(jnp.float32),
        }

    return Algorithm(init, update)
