"""Games in extensive form as arrays: who knows what when, what strategies earn, how far they are from equilibrium.

A game tree is kept by its ends. With perfect recall, what a player has done on the way to an end is one sequence: its last
information set and the action taken there, since those before follow. So an end is one sequence for each player, the probability
of what chance did, and what everybody gets; an information set is the sequence that its player comes from. Sequence 0 is to have
done nothing yet, sequence ``1 + i A + a`` to have taken action a in information set i last.

A strategy is float[N, I, A]: the probabilities of every player's actions in each of its information sets. Everything but
``from_environment`` is pure gathers and sums over the ends, and can be jitted, differentiated and vmapped.

Source: von Stengel (1996), Efficient computation of behavior strategies; Zinkevich et al. (2007), section 2.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment, static
from jaxrl.core.finite import TabularModel, byte_rows, tabulate
from jaxrl.errors import (
    EnvError,
    is_traced,
    require,
    require_count,
    require_discount,
    require_distribution,
    require_index,
    require_payoffs,
    require_real,
)
from jaxrl.solvers.markov_games import agent_masks


@struct.dataclass
class ChanceEvents:
    """All J histories of a game in which chance has a choice, of up to K outcomes: chance as one more player, who recalls all.

    probability: float64[J, K], of every outcome; 0 where it only pads.
    parent: int32[J], the sequence of chance on coming to the event, numbered as those of players.
    sequence: int32[Z], its sequence at every end of the game.
    depth: the most events on one way.
    """

    probability: Any
    parent: Any
    sequence: Any
    depth: int = static()


@struct.dataclass
class ExtensiveGame:
    """N players with up to I information sets each of up to A actions, and Z ends.

    legal: bool[N, I, A], the actions of every information set. One that only pads the table has action 0 alone.
    parent: int32[N, I], the player's sequence on coming to the information set.
    sequence: int32[Z, N], every player's sequence at the end.
    chance: float64[Z], the probability of everything that chance does on the way to the end.
    events: the choices of chance one by one, of which ``chance`` is the product. Games side by side that differ in one differ
        in both.
    payoff: float64[Z, N], the rewards on the way, added up.
    information: PyTree[N, I, ...], what is observed in the information set; zeros where it only pads.
    size: int32[N], how many information sets each player has; the rest pads.
    depth: the most decisions that one player takes on one way.

    The tables are NumPy arrays: jax computes with them in float32, or in float64 inside ``jax.enable_x64(True)``.
    """

    legal: Any
    parent: Any
    sequence: Any
    chance: Any
    events: ChanceEvents
    payoff: Any
    information: Any
    size: Any
    depth: int = static()

    @property
    def num_players(self) -> int:
        return self.legal.shape[0]


@jax.jit
def uniform_strategy(game: ExtensiveGame) -> jax.Array:
    """Returns the strategies that take all legal actions with the same probability, float[N, I, A]."""
    legal = jnp.asarray(game.legal, jnp.result_type(float))
    return legal / legal.sum(-1, keepdims=True)


def require_strategy(where: str, game: ExtensiveGame, strategy: Any) -> jax.Array:
    """Returns strategies as an array, float[N, I, A]. where: who asks.

    Raises:
        ConfigError: they have another shape, or a row is no distribution over legal actions. Of traced ones the shape is checked.
    """
    fix, shape = "uniform_strategy makes one.", np.shape(game.legal)
    table = strategy if is_traced(strategy) else require_real(where, "the strategy", strategy, fix)
    require(table.shape == shape, where, f"the strategy must have shape {list(shape)}", table.shape, fix)
    if not is_traced(strategy, game):
        require_distribution(where, "the strategy", table, "Divide each row by its sum.", tolerance=1e-4)
        illegal = np.where(np.asarray(game.legal), 0.0, table).max(initial=0.0)
        require(illegal <= 1e-4, where, "illegal actions must have probability 0", float(illegal), "See legal of the game.")
    return jnp.asarray(table, jnp.result_type(table, jnp.float32))


def realizations(game: ExtensiveGame, strategy: Any) -> jax.Array:
    """Returns the probability that a player takes all actions of a sequence, if the others let it, float[N, 1 + I A].

    Raises:
        ConfigError: the strategies do not fit the game, or a row is no distribution over legal actions. Traced values are not
            checked, but for their shape.
    """
    return _realizations(game, require_strategy("realizations", game, strategy))


@jax.jit
def _realizations(game: ExtensiveGame, strategy: jax.Array) -> jax.Array:
    return jax.vmap(partial(of_sequences, depth=game.depth))(jnp.asarray(game.parent), strategy)


def of_sequences(parent: jax.Array, strategy: jax.Array, depth: int) -> jax.Array:
    """Returns the probability of everything in a sequence of one player, float[1 + I A].

    Args:
        parent: int[I], the sequence from which the player comes to each information set.
        strategy: float[I, A].
        depth: the most decisions in one sequence (count).
    """
    start = jnp.ones(1, strategy.dtype)
    weight = jnp.ones(1 + strategy.size, strategy.dtype)
    for _ in range(depth):  # each time right for one decision more
        weight = jnp.concatenate([start, (weight[parent][:, None] * strategy).ravel()])
    return weight


def mixed(game: ExtensiveGame, policies: jax.Array, meta: jax.Array) -> jax.Array:
    """Returns the strategies that come to every end as often as policies drawn from the meta-strategies, float[N, I, A].

    By perfect recall there are such (Kuhn 1953): an action is as likely as its policies, given that they came there. They are
    uniform where none comes.

    Args:
        game: of N players.
        policies: float[N, M, I, A], M of each player.
        meta: float[N, M], the probability of each.
    """
    reached = jax.vmap(partial(realizations, game), 1, 1)(policies)  # [N, M, 1 + I A]
    weight = (meta[..., None] * reached).sum(1)
    onward = weight[:, 1:].reshape(policies.shape[0], *policies.shape[2:])
    arrived = onward.sum(-1, keepdims=True)
    uniform = uniform_strategy(game).astype(policies.dtype)
    return jnp.where(arrived > 0, onward / jnp.where(arrived > 0, arrived, 1), uniform)


def taken(game: ExtensiveGame, strategy: jax.Array) -> list[jax.Array]:
    """Returns every player's probability of doing its part on the way to each end, N of float[Z]; strategy: float[N, I, A]."""
    weight = _realizations(game, strategy)
    return [weight[player, jnp.asarray(game.sequence)[:, player]] for player in range(game.num_players)]


def expected_payoffs(game: ExtensiveGame, strategy: Any) -> jax.Array:
    """Returns the mean payoff of every player, float[N].

    Raises:
        ConfigError: as for ``realizations``.
    """
    return _expected_payoffs(game, require_strategy("expected_payoffs", game, strategy))


@jax.jit
def _expected_payoffs(game: ExtensiveGame, strategy: jax.Array) -> jax.Array:
    reached = jnp.asarray(game.chance, strategy.dtype)
    for part in taken(game, strategy):
        reached = reached * part
    return (reached[:, None] * jnp.asarray(game.payoff, strategy.dtype)).sum(0)


def _ends(game: ExtensiveGame, strategy: jax.Array, player: int) -> jax.Array:
    """Returns what a player's sequences earn where the game ends with them, weighted by the others and chance, float[1 + I A]."""
    gain = jnp.asarray(game.chance * game.payoff[:, player], strategy.dtype)
    for other, part in enumerate(taken(game, strategy)):
        gain = gain if other == player else gain * part
    return at_ends(game, gain, player)


def at_ends(game: ExtensiveGame, gain: jax.Array, player: int) -> jax.Array:
    """Adds up what ends bring, float[Z], over those with the same sequence of a player, float[1 + I A]."""
    return jnp.zeros(1 + game.legal[0].size, gain.dtype).at[game.sequence[:, player]].add(gain)


def counterfactual_values(game: ExtensiveGame, strategy: Any, player: int) -> jax.Array:
    """Returns what each action of a player earns, given that it does all to come to the information set, float[I, A].

    Weighted by the probability that chance and the others let it come there; afterwards it keeps to its strategy.

    Raises:
        ConfigError: as for ``realizations``, or there is no such player.

    Source: Zinkevich et al. (2007), equation 4.
    """
    strategy = require_strategy("counterfactual_values", game, strategy)
    require_index("counterfactual_values", "player", player, game.num_players)
    return _counterfactual_values(game, strategy, player)


@partial(jax.jit, static_argnames="player")
def _counterfactual_values(game: ExtensiveGame, strategy: jax.Array, player: int) -> jax.Array:
    return values_of_actions(game, _ends(game, strategy, player), strategy[player], player)


def values_of_actions(game: ExtensiveGame, ends: jax.Array, strategy: jax.Array, player: int) -> jax.Array:
    """Returns what each action of a player earns up to the ends, float[I, A], if it keeps to its strategy afterwards.

    ends: float[1 + I A], what it earns where the game ends with each of its sequences. strategy: float[I, A], the player's own.
    """
    value = ends
    for _ in range(game.depth):
        of_information = (value[1:].reshape(strategy.shape) * strategy).sum(-1)
        value = ends.at[game.parent[player]].add(of_information)
    return value[1:].reshape(strategy.shape)


class BestResponse(NamedTuple):
    """value: float[], what it earns. action: int32[I], what it does in each information set, the first among equals."""

    value: jax.Array
    action: jax.Array


def best_response(game: ExtensiveGame, strategy: Any, player: int) -> BestResponse:
    """Returns the best that a player can do against the strategies of the others; its own does not matter.

    Raises:
        ConfigError: as for ``realizations``, or there is no such player.
    """
    strategy = require_strategy("best_response", game, strategy)
    require_index("best_response", "player", player, game.num_players)
    return _best_response(game, strategy, player)


@partial(jax.jit, static_argnames="player")
def _best_response(game: ExtensiveGame, strategy: jax.Array, player: int) -> BestResponse:
    ends, value = (_ends(game, strategy, player),) * 2
    action = jnp.zeros(strategy.shape[1], jnp.int32)
    for _ in range(game.depth):
        legal = jnp.where(jnp.asarray(game.legal[player]), value[1:].reshape(strategy[player].shape), -jnp.inf)
        action = legal.argmax(-1).astype(jnp.int32)
        value = ends.at[game.parent[player]].add(legal.max(-1))
    return BestResponse(value[0], action)


def regrets(game: ExtensiveGame, strategy: Any) -> jax.Array:
    """Returns how much more every player would earn by its best response, float[N], non-negative up to rounding.

    Raises:
        ConfigError: as for ``realizations``.
    """
    return _regrets(game, require_strategy("regrets", game, strategy))


@jax.jit
def _regrets(game: ExtensiveGame, strategy: jax.Array) -> jax.Array:
    best = jnp.stack([_best_response(game, strategy, player).value for player in range(game.num_players)])
    return best - _expected_payoffs(game, strategy)


def nash_conv(game: ExtensiveGame, strategy: Any) -> jax.Array:
    """Returns the sum of all players' regrets, float[]: 0 at a Nash equilibrium and nowhere else.

    Raises:
        ConfigError: as for ``realizations``.
    """
    return regrets(game, strategy).sum()


def exploitability(game: ExtensiveGame, strategy: Any) -> jax.Array:
    """Returns the mean of all players' regrets, float[]: in a zero-sum game, what a best-responding opponent wins on average.

    Raises:
        ConfigError: as for ``realizations``.
    """
    return regrets(game, strategy).mean()


def from_environment(env: Environment, max_ends: int = 100_000, gamma: float = 1.0) -> ExtensiveGame:
    """Walks all ways through a finite environment with agents and returns the game that they play, on the host in float64.

    Agents move by turns or at the same time: one whose mask leaves one action does not decide. The observation of an agent
    when it decides is its information set, so observations must let it recall its earlier observations and actions.

    Args:
        env: an environment built by ``jaxrl.core.finite.finite`` that always terminates within its time limit.
        max_ends: how many ways to accept before giving up.
        gamma: discount in [0, 1] of the rewards on a way.

    Raises:
        ConfigError: the discount is out of range, or ``max_ends`` is no integer of at least 1.
        EnvError: the environment has no agents, is not finite, has too many ways, may be truncated, or an agent forgets.
    """
    where = "extensive.from_environment"
    require_discount(where, gamma)
    require_count(where, "max_ends", max_ends)
    require(env.num_agents is not None, where, "the environment must have agents", None, "Set num_agents.", EnvError)
    model = tabulate(env)
    sets, events = _InformationSets(model), _Events(model)
    ends = []
    for end in _ways(model, sets, events, env.max_steps, gamma):
        ends.append(end)
        fix = "Raise max_ends, or make the game smaller."
        require(len(ends) <= max_ends, where, f"the game must have at most {max_ends} ends", "more", fix, EnvError)
    chance, drawn, sequence, payoff = (np.array(part) for part in zip(*ends, strict=True))
    return sets.game(sequence.astype(np.int32), chance, events.table(drawn), payoff)


def from_table(payoff: Any) -> ExtensiveGame:
    """Returns a game in normal form as one in which every player decides once, and sees nothing.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}], in reward units.

    Raises:
        ConfigError: the table has another shape, or an entry is not a finite number.
    """
    table = require_payoffs("extensive.from_table", payoff)
    players, counts = table.shape[0], table.shape[1:]
    action = np.stack(np.unravel_index(np.arange(table[0].size), counts), axis=-1)
    legal = (np.arange(max(counts)) < np.array(counts)[:, None])[:, None]
    nothing = np.zeros((players, 1), np.int32)
    ends = len(action)
    events = ChanceEvents(np.zeros((0, 1)), np.zeros(0, np.int32), np.zeros(ends, np.int32), 0)
    sequence, payoffs = (1 + action).astype(np.int32), table.reshape(players, -1).T
    return ExtensiveGame(legal, nothing, sequence, np.ones(ends), events, payoffs, nothing, np.ones(players, np.int32), 1)


class _Events:
    """Numbers the choices of chance in the order in which they are found, and notes where each comes from."""

    def __init__(self, model: TabularModel):
        self.width = max(model.probability.shape[2], np.count_nonzero(model.initial))
        self.probability: list[np.ndarray] = []
        self.parent: list[int] = []
        self.depth: list[int] = []

    def find(self, probability: np.ndarray, sequence: int) -> np.ndarray:
        """Returns the sequences of chance after each of its outcomes, int[K]: the one before if there is no choice."""
        if len(probability) == 1:
            return np.array([sequence])
        self.depth.append(1 if sequence == 0 else 1 + self.depth[(sequence - 1) // self.width])
        self.parent.append(sequence)
        self.probability.append(np.pad(probability, (0, self.width - len(probability))))
        return 1 + (len(self.parent) - 1) * self.width + np.arange(len(probability))

    def table(self, sequence: np.ndarray) -> ChanceEvents:
        """Returns all events. sequence: int[Z], that of chance at every end."""
        probability = np.array(self.probability).reshape(len(self.probability), self.width)
        parent, sequence = np.array(self.parent, np.int32), sequence.astype(np.int32)
        return ChanceEvents(probability, parent, sequence, max(self.depth, default=0))


class _InformationSets:
    """Numbers the information sets of every agent in the order in which they are found, and notes where each comes from."""

    def __init__(self, model: TabularModel):
        self.model = model
        self.masks = np.asarray(agent_masks(model))  # bool[X, N, A]
        self.seen = byte_rows("extensive.from_environment", model.observation, axes=2)  # uint8[X, N, bytes], what agents observe
        self.number: list[dict[bytes, int]] = [{} for _ in model.joint_shape]
        self.parent: list[list[int]] = [[] for _ in model.joint_shape]
        self.state: list[list[int]] = [[] for _ in model.joint_shape]  # the first that was found of each
        self.depth: list[list[int]] = [[] for _ in model.joint_shape]

    def find(self, state: int, agent: int, sequence: int) -> int:
        """Returns the number of the information set in which an agent decides that comes from this sequence."""
        numbers, parents, states = self.number[agent], self.parent[agent], self.state[agent]
        found = numbers.setdefault(self.seen[state, agent].tobytes(), len(numbers))
        if found == len(parents):
            parents.append(sequence)
            states.append(state)
            before = 0 if sequence == 0 else self.depth[agent][(sequence - 1) // self.masks.shape[2]]
            self.depth[agent].append(before + 1)
        same = parents[found] == sequence and bool((self.masks[states[found], agent] == self.masks[state, agent]).all())
        must = f"agent {agent} must observe enough to know what it did before and what it may do (perfect recall)"
        value = jax.tree.map(lambda leaf: leaf[state, agent], self.model.observation)
        require(same, "extensive.from_environment", must, value, "Observe the history.", EnvError)
        return found

    def game(self, sequence: np.ndarray, chance: np.ndarray, events: ChanceEvents, payoff: np.ndarray) -> ExtensiveGame:
        """Pads the tables to the player with the most information sets."""
        agents, actions = len(self.parent), self.masks.shape[2]
        most = max(1, *(len(parents) for parents in self.parent))
        legal = np.zeros((agents, most, actions), bool)
        legal[:, :, 0] = True
        parent = np.zeros((agents, most), np.int32)
        information = jax.tree.map(lambda leaf: np.zeros((agents, most, *leaf.shape[2:]), leaf.dtype), self.model.observation)
        for agent, states in enumerate(self.state):
            legal[agent, : len(states)] = self.masks[states, agent]
            parent[agent, : len(states)] = self.parent[agent]
            for table, leaf in zip(jax.tree.leaves(information), jax.tree.leaves(self.model.observation), strict=True):
                table[agent, : len(states)] = np.asarray(leaf)[states, agent]
        size = np.array([len(states) for states in self.state], np.int32)
        depth = max(1, *(max(depths, default=0) for depths in self.depth))
        return ExtensiveGame(legal, parent, sequence, chance, events, payoff, information, size, depth)


def _ways(
    model: TabularModel, sets: _InformationSets, events: _Events, max_steps: int, gamma: float
) -> Iterator[tuple[float, int, np.ndarray, np.ndarray]]:
    """Yields ``(chance, sequence of chance, sequence [N], payoff [N])`` of every end, depth first."""
    agents = range(len(model.joint_shape))
    joint_actions = np.stack(np.unravel_index(np.arange(model.num_actions), model.joint_shape), axis=-1)
    nothing = np.zeros(len(agents), np.int64), np.zeros(len(agents))
    starts = np.flatnonzero(model.initial)
    drawn = events.find(model.initial[starts], 0)
    stack = [
        (int(state), float(model.initial[state]), int(after), *nothing, 0)
        for state, after in zip(starts[::-1], drawn[::-1], strict=True)
    ]
    while stack:
        state, chance, drawn, sequence, payoff, steps = stack.pop()
        fix = "Raise max_steps, or let the game end."
        require(steps < max_steps, "extensive.from_environment", "no way may be truncated", steps, fix, EnvError)
        decides = sets.masks[state].sum(-1) > 1
        offset = np.array([sets.find(state, i, sequence[i]) if decides[i] else 0 for i in agents]) * sets.masks.shape[2]
        for joint in np.flatnonzero(model.action_mask[state])[::-1]:
            outcomes = np.flatnonzero(model.probability[state, joint] > 0)
            probability = model.probability[state, joint, outcomes]
            after = np.where(decides, 1 + offset + joint_actions[joint], sequence)
            paid = payoff + gamma**steps * model.reward[state, joint, outcomes]
            sequences = events.find(probability, drawn)
            ways = [(chance * float(p), int(c), after, r) for p, c, r in zip(probability, sequences, paid, strict=True)]
            over, following = model.terminated[state, joint, outcomes], model.next_state[state, joint, outcomes]
            yield from itertools.compress(ways, over)
            stack += [(int(following[k]), *ways[k], steps + 1) for k in np.flatnonzero(~over)[::-1]]
