"""Nash-Q: the values of an equilibrium of a two-player general-sum Markov game, learned by playing it.

    Q_i(s, a_1, a_2) <- Q_i(s, a_1, a_2) + alpha [r_i + gamma Nash_i(s') - Q_i(s, a_1, a_2)],    i = 1, 2
    (p_1, p_2)(s)    =  a Nash equilibrium of the stage game (Q_1(s, ., .), Q_2(s, ., .))
    Nash_i(s)        =  what player i gets in it

Each player plays its strategy p_i, mixed with uniform exploration. As in the paper a player learns the tables of both, from the
rewards of both; players who began alike have learned alike ever since, so each table is kept once. They select the same
equilibrium, by the same rule: see ``jaxrl.solvers.nash``, which solves the stage game of the visited state exactly. The metric
``stage_gap`` is the largest sum of both players' regrets in these solutions, in units of the value: 0 at an equilibrium.

In a zero-sum game all equilibria have one value, and Nash-Q learns that of minimax-Q. In others the values depend on which
equilibrium is selected, and convergence is proven for the case alone that every stage game has a global optimum or a saddle
point. The line of Q, and how players act, stand in ``jaxrl.blocks.stage_games``.

Source: Hu and Wellman (2003), Nash Q-learning for general-sum stochastic games, section 3.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import stage_games
from jaxrl.blocks.stage_games import StageGameConfig, StageSolution
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment, static
from jaxrl.errors import unknown_name
from jaxrl.solvers import nash


@struct.dataclass
class Config(StageGameConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing.

    Defaults: alpha is 1 / n at the n-th visit of a joint action, as in the paper.
    """

    learning_rate_final: float = 1.0  # alpha falls with the visits alone
    learning_rate_half_life: float = 1.0
    gamma: float = 0.99
    initial_value: float = 0.0
    selection: str = static(default="best")  # of an equilibrium of the stage game: best or first

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        self.validate_play("nash_q", env, "Nash-Q is for two players.")
        if self.selection not in nash.RULES:
            raise unknown_name("nash_q", "selection", self.selection, nash.RULES)


def solve(q: jax.Array, mask: jax.Array | None, selection: str) -> StageSolution:
    """Both players play their part of the equilibrium that is selected. The gap is the sum of their regrets.

    Args:
        q: float32[2, A, A], each player's own action first.
        mask: bool[2, A], the legal actions of each, or None where all are.
        selection: best or first.
    """
    payoff = jnp.stack([q[0], q[1].T])
    masks = () if mask is None else tuple(mask)
    found = nash.select(payoff, selection, *masks)
    return StageSolution(found.payoff, jnp.stack([found.row, found.column]), found.regret.sum())


def make(env: Environment, config: Config) -> Algorithm:
    """Builds Nash-Q on an environment with two agents, who both observe the whole state."""
    return stage_games.learner(env, config, partial(solve, selection=config.selection))
