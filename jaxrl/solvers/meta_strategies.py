"""Meta-strategies: how players mix the policies of their populations, given what these earn against each other.

A meta-game is a table float[N, M, ..., M]: what every player gets when player i plays policy m_i of its population. ``present``,
bool[N, M], tells which policies there are; what others would get does not matter, and they are never played. Each meta-strategy
is float[N, M].

    regret_matching       the averages of regret matching plus, which players run against each other
    projected_replicator  the averages of replicator dynamics that never give a policy less than a share of ``exploration``
    linear_program        the equilibrium of a two-player zero-sum meta-game

Source: Lanctot et al. (2017), A unified game-theoretic approach to multiagent reinforcement learning, section 3.1; the linear
programme is that of the double oracle method of McMahan, Gordon and Blum (2003).
"""

import jax
import jax.numpy as jnp
from optax import projections

from jaxrl.errors import require_count
from jaxrl.solvers import zero_sum
from jaxrl.solvers.normal_form import action_payoffs


def uniform(present: jax.Array) -> jax.Array:
    """Returns all policies with the same probability, float32[N, M]; present: bool[N, M]."""
    return present / present.sum(-1, keepdims=True, dtype=jnp.float32)


def _each(table: jax.Array, mixes: jax.Array) -> jax.Array:
    """Returns what each policy earns against the others' mixes, float[N, M]."""
    return jnp.stack([action_payoffs(table, tuple(mixes), player) for player in range(len(mixes))])


def _stakes(table: jax.Array, present: jax.Array) -> jax.Array:
    """Returns the range of every player's payoffs among policies that are present, float[N, 1]; 1 where all are equal."""
    possible = jnp.ones(table.shape[1:], bool)
    for player, own in enumerate(present):
        possible &= own.reshape(*(-1 if axis == player else 1 for axis in range(len(present))))
    axes = tuple(range(1, table.ndim))
    high, low = jnp.where(possible, table, -jnp.inf).max(axes), jnp.where(possible, table, jnp.inf).min(axes)
    return jnp.where(high > low, high - low, 1.0)[:, None]


def gap(table: jax.Array, present: jax.Array, mixes: jax.Array) -> jax.Array:
    """Returns the sum of what the players could gain by other policies that are present, float[]."""
    earned = _each(table, mixes)
    return (jnp.where(present, earned, -jnp.inf).max(-1) - (mixes * jnp.where(present, earned, 0.0)).sum(-1)).sum()


def regret_matching(table: jax.Array, present: jax.Array, num_steps: int) -> jax.Array:
    """Returns the averages of ``num_steps`` steps of regret matching plus, in which later steps count more.

    Players move one after the other, each in sight of what those before it have just chosen. num_steps: a count.
    """
    require_count("meta_strategies.regret_matching", "num_steps", num_steps)
    first = uniform(present)

    def step(carry, number):
        regret, mixes, total = carry
        total = total + number * mixes
        for player in range(len(present)):
            earned = action_payoffs(table, tuple(mixes), player)
            gained = jnp.where(present[player], earned - (mixes[player] * earned).sum(), 0.0)
            own = jnp.maximum(regret[player] + gained, 0.0)
            size = own.sum()
            following = jnp.where(size > 0, own / jnp.where(size > 0, size, 1.0), first[player])
            regret, mixes = regret.at[player].set(own), mixes.at[player].set(following)
        return (regret, mixes, total), None

    start = jnp.zeros_like(first), first, jnp.zeros_like(first)
    total = jax.lax.scan(step, start, jnp.arange(1, num_steps + 1, dtype=first.dtype))[0][2]
    return total / total.sum(-1, keepdims=True)


def projected_replicator(
    table: jax.Array, present: jax.Array, num_steps: int, step_size: jax.Array | float, exploration: jax.Array | float
) -> jax.Array:
    """Returns the averages of ``num_steps`` steps of projected replicator dynamics.

    Args:
        table, present: the meta-game.
        num_steps: how many (count).
        step_size: of Euler's method, in units of the inverse of the range of a player's payoffs.
        exploration: gamma, in [0, 1]: of K policies that are present, each keeps a share of at least gamma / (K + 1).

    Source: Lanctot et al. (2017), appendix B.
    """
    require_count("meta_strategies.projected_replicator", "num_steps", num_steps)
    stakes = _stakes(table, present)
    least = jnp.where(present, exploration / (present.sum(-1, keepdims=True) + 1), 0.0)

    def projected(mix, own_least, own_present):
        # Beyond their least shares, the mixes are a simplex; a place of -2 below all others gets nothing.
        beyond = jnp.where(own_present, mix - own_least, -2.0)
        return own_least + projections.projection_simplex(beyond, 1 - own_least.sum())

    def step(carry, _):
        mixes, total = carry
        earned = jnp.where(present, _each(table, mixes) / stakes, 0.0)
        growth = mixes * (earned - (mixes * earned).sum(-1, keepdims=True))
        following = jax.vmap(projected)(mixes + step_size * growth, least, present)
        return (following.astype(mixes.dtype), total + mixes), None

    first = uniform(present)
    total = jax.lax.scan(step, (first, jnp.zeros_like(first)), length=num_steps)[0][1]
    return total / total.sum(-1, keepdims=True)


def linear_program(table: jax.Array, present: jax.Array) -> jax.Array:
    """Returns the equilibrium of a two-player zero-sum meta-game; NaN where it was not found, see ``zero_sum.solve``.

    It is solved in float64 whatever the precision of the table: a single gain that is left over is an answer more.
    """
    with jax.enable_x64(True):
        solution = zero_sum.solve(table[0].astype(jnp.float64), present[0], present[1])
        mixes = jnp.stack([solution.row, solution.column])
    return mixes.astype(jnp.float32)
