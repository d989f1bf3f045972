"""Pools of opponents: snapshots of a learner in a buffer of a fixed size, how it does against each, and who is played next.

Source: Heinrich, Lanctot and Silver (2015), "Fictitious Self-Play in Extensive-Form Games" (uniform choice; a reservoir as in
Heinrich and Silver 2016, algorithm 1); Vinyals et al. (2019), "Grandmaster level in StarCraft II using multi-agent reinforcement
learning", Methods, "Prioritized fictitious self-play".
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core import counters
from jaxrl.core.environment import PyTree

LATEST = -1  # the number of the learner as it is, which is no snapshot


@struct.dataclass
class Pool:
    """M places for snapshots.

    snapshots: PyTree[M, ...]. number: int32[M], the how-manieth snapshot stands there, LATEST where there is none.
    added: int32[], how many there were in all.
    wins, games: float32[M], of the learner against each, a tie counting half; older results count for less.
    """

    snapshots: PyTree
    number: jax.Array
    added: jax.Array
    wins: jax.Array
    games: jax.Array


def create(snapshot: PyTree, capacity: int) -> Pool:
    """Returns a pool that holds one snapshot. capacity: M, at least 1."""
    places = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype).at[0].set(leaf), snapshot)
    number = jnp.full(capacity, LATEST, jnp.int32).at[0].set(0)
    return Pool(places, number, counters.zeros() + 1, jnp.zeros(capacity, jnp.float32), jnp.zeros(capacity, jnp.float32))


def present(pool: Pool) -> jax.Array:
    """Returns which places hold a snapshot, bool[M]."""
    return pool.number != LATEST


def place_of_next(key: jax.Array, pool: Pool, keep: str) -> jax.Array:
    """Returns where the next snapshot goes, int32[]; M, which is no place, if it is not kept.

    Args:
        key: for the draw of a reservoir.
        pool: as it is.
        keep: "newest", in turn, so that the oldest goes; or "reservoir", so that of all snapshots so far each is as likely to
            be kept (Vitter 1985, algorithm R).
    """
    capacity = pool.number.shape[0]
    if keep == "newest":
        return pool.added % capacity
    drawn = jax.random.randint(key, (), 0, pool.added + 1, jnp.int32)
    return jnp.where(pool.added < capacity, pool.added, jnp.minimum(drawn, capacity))


def add(key: jax.Array, pool: Pool, snapshot: PyTree, keep: str = "newest", where: jax.Array | bool = True) -> Pool:
    """Adds a snapshot, against which nothing has been played yet.

    Args:
        key, pool, keep: see ``place_of_next``.
        snapshot: PyTree, of one learner.
        where: bool[], whether it is added at all.
    """
    capacity = pool.number.shape[0]
    place = jnp.where(where, place_of_next(key, pool, keep), capacity)  # beyond the end nothing is written

    def write(leaf: jax.Array, value: jax.Array | float) -> jax.Array:
        return leaf.at[place].set(jnp.asarray(value, leaf.dtype), mode="drop")

    return Pool(
        jax.tree.map(write, pool.snapshots, snapshot),
        write(pool.number, pool.added),
        jnp.where(where, counters.advanced(pool.added), pool.added),
        write(pool.wins, 0.0),
        write(pool.games, 0.0),
    )


def recorded(
    pool: Pool, slot: jax.Array, number: jax.Array, lead: jax.Array, ended: jax.Array, forgetting: jax.Array | float
) -> Pool:
    """Returns the pool with the results of the games that ended in an update.

    Games against the learner as it is, and against snapshots that are no longer in their places, do not count.

    Args:
        pool: as it was.
        slot, number: int32[...], the opponents' places, and their numbers when the games began.
        lead: float32[...], by how much the learner has won; negative where it has lost.
        ended: bool[...], the games that ended.
        forgetting: the share of all earlier results that is forgotten, in [0, 1].
    """
    known = ended & (number != LATEST) & (pool.number[jnp.minimum(slot, pool.number.shape[0] - 1)] == number)
    score = jnp.where(lead > 0, 1.0, jnp.where(lead < 0, 0.0, 0.5)).astype(jnp.float32)
    kept = 1 - jnp.asarray(forgetting, jnp.float32)
    wins = (kept * pool.wins).at[slot].add(jnp.where(known, score, 0.0), mode="drop")
    games = (kept * pool.games).at[slot].add(known.astype(jnp.float32), mode="drop")
    return replace(pool, wins=wins, games=games)


def win_rate(pool: Pool) -> jax.Array:
    """Returns the estimated probability p in (0, 1) that the learner beats each snapshot, float32[M].

    As if one game more had ended in a tie, so that a snapshot that was never met has 1/2.
    """
    return (pool.wins + 0.5) / (pool.games + 1.0)


def chances(pool: Pool, opponents: str, power: jax.Array | float, latest_share: jax.Array | float) -> jax.Array:
    """Returns the probability with which each snapshot is the next opponent, and at the end the learner as it is, float32[M + 1].

    Args:
        pool: with at least one snapshot.
        opponents: "latest", the learner as it is; "uniform", all snapshots alike; "hard", in proportion to (1 - p)^power, with p
            the win rate; "even", to p (1 - p), those of about the learner's own strength.
        power: of "hard", at least 0.
        latest_share: of games against the learner as it is, in [0, 1]; the others are against snapshots.
    """
    p, there = win_rate(pool), present(pool)
    log_weight = {
        "latest": jnp.zeros_like(p),
        "uniform": jnp.zeros_like(p),
        "hard": jnp.asarray(power, jnp.float32) * jnp.log1p(-p),
        "even": jnp.log(p) + jnp.log1p(-p),
    }[opponents]
    share = jnp.float32(1.0) if opponents == "latest" else jnp.asarray(latest_share, jnp.float32)
    snapshots = jax.nn.softmax(jnp.where(there, log_weight, -jnp.inf))
    return jnp.append((1 - share) * snapshots, share)
