"""Samples of a game in extensive form: estimates of counterfactual values that are right on average.

A sample fixes one outcome of every event of chance, and one action in every information set of some players: a pure strategy,
drawn from what they play. With perfect recall it takes the way to an end with the probability of that end, so the ends that are
left, unweighted, stand for all:

    chance      the outcomes of chance are drawn; the strategies of the others count with their probabilities
    external    the others' actions are drawn, too; the player itself tries all of its own
    outcome     its own actions are drawn, too, which leaves one end. It explores: in every information set it acts uniformly with
                probability ``exploration``, and what it earns is divided by the probability of its own part of the way

Source: Zinkevich et al. (2007), section 4, for chance; Lanctot, Waugh, Zinkevich and Bowling (2009), Monte Carlo sampling for
regret minimization in extensive games, section 3, for the others.
"""

import jax
import jax.numpy as jnp

from jaxrl.errors import require_index, unknown_name
from jaxrl.solvers import extensive
from jaxrl.solvers.extensive import ChanceEvents, ExtensiveGame

SAMPLING = ("chance", "external", "outcome")


def pure(key: jax.Array, strategy: jax.Array) -> jax.Array:
    """Draws an action in every information set, independently: 1 for it and 0 for others, float[..., I, A] like ``strategy``."""
    action = jax.random.categorical(key, jnp.log(strategy))
    return jax.nn.one_hot(action, strategy.shape[-1], dtype=strategy.dtype)


def left_by_chance(key: jax.Array, events: ChanceEvents, dtype) -> jax.Array:
    """Draws an outcome of every event of chance, and returns 1 for the ends that they leave and 0 for others, float[Z]."""
    if not events.depth:
        return jnp.ones(events.sequence.shape, dtype)
    drawn = pure(key, jnp.asarray(events.probability, dtype))
    return extensive.of_sequences(jnp.asarray(events.parent), drawn, events.depth)[events.sequence]


def end(key: jax.Array, game: ExtensiveGame, strategy: jax.Array) -> jax.Array:
    """Plays once and returns the number of the end, int[]; strategy: float[N, I, A], of all players."""
    chance_key, players_key = jax.random.split(key)
    left = left_by_chance(chance_key, game.events, strategy.dtype)
    for part in extensive.taken(game, pure(players_key, strategy)):
        left = left * part
    return left.argmax()


def on_the_way(game: ExtensiveGame, sequence: jax.Array, player: int) -> jax.Array:
    """Returns 1 for the actions that a player took up to a sequence of its own, int[], and 0 for others, float32[I, A]."""
    actions = game.legal.shape[2]
    took = jnp.zeros(1 + game.legal[player].size, jnp.float32)
    for _ in range(game.depth):
        took = took.at[sequence].set(1.0)
        before = jnp.asarray(game.parent)[player][jnp.maximum(sequence - 1, 0) // actions]
        sequence = jnp.where(sequence > 0, before, 0)
    return took[1:].reshape(game.legal.shape[1:])


def counterfactual_values(
    key: jax.Array, game: ExtensiveGame, strategy: jax.Array, player: int, sampling: str, exploration: jax.Array | float = 0.6
) -> jax.Array:
    """Returns an estimate of ``extensive.counterfactual_values`` from one sample, float[I, A]: 0 where it does not come.

    Args:
        key: draws the sample.
        game: what is played.
        strategy: float[N, I, A], of all players.
        player: whose values they are.
        sampling: chance, external or outcome.
        exploration: of outcome sampling, in (0, 1]: the share of uniform actions of the player; an estimate is at most so much
            larger than a payoff as the number of actions over this share, once for every decision of its way.

    Raises:
        ConfigError: the strategies do not fit the game, or there is no such player. Of traced ones the shape alone is checked.
        UnknownNameError: ``sampling`` is none of ``SAMPLING``.
    """
    where = "sampled_play.counterfactual_values"
    strategy = extensive.require_strategy(where, game, strategy)
    require_index(where, "player", player, game.num_players)
    if sampling not in SAMPLING:
        raise unknown_name(where, "sampling", sampling, SAMPLING)
    chance_key, others_key, own_key = jax.random.split(key, 3)
    own, played = strategy[player], strategy
    if sampling != "chance":
        played = pure(others_key, strategy)
    gain = jnp.asarray(game.payoff[:, player], strategy.dtype) * left_by_chance(chance_key, game.events, strategy.dtype)
    for other, part in enumerate(extensive.taken(game, played)):
        gain = gain if other == player else gain * part
    if sampling == "outcome":
        uniform = extensive.uniform_strategy(game).astype(strategy.dtype)[player]
        explored = exploration * uniform + (1 - exploration) * own
        probability, drawn = (_of_ends(game, one, player) for one in (explored, pure(own_key, explored)))
        gain = gain * drawn / jnp.where(drawn > 0, probability, 1)
    return extensive.values_of_actions(game, extensive.at_ends(game, gain, player), own, player)


def _of_ends(game: ExtensiveGame, own: jax.Array, player: int) -> jax.Array:
    """Returns a player's probability of doing its part on the way to each end, float[Z]; own: float[I, A]."""
    return extensive.of_sequences(jnp.asarray(game.parent)[player], own, game.depth)[game.sequence[:, player]]
