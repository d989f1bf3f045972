"""Friend-or-foe Q-learning: each player learns as if the other helped it, or as if the other did its worst.

    Q_i(s, a, b) <- Q_i(s, a, b) + alpha [r_i + gamma V_i(s') - Q_i(s, a, b)]
    friend        V_i(s) = max over a and b of Q_i(s, a, b), and player i plays the a that attains it
    foe           V_i(s) = max over p of min over b of sum_a p_a Q_i(s, a, b), and player i plays the p that attains it

with a the player's own action, b the other's, and r_i the player's own reward: the rewards of the other are not looked at, and
both kinds converge in every game. In a game of common interest friend-Q is Q-learning over joint actions; its players meet in the
optimum if it is the only one, and may miss each other where there are several. In a zero-sum game foe-Q is minimax-Q. Each player
plays its strategy mixed with uniform exploration. The metric ``stage_gap`` is the largest duality gap of the foes' solutions, in
units of the value; it is 0 with friends. The line of Q, and how players act, stand in ``jaxrl.blocks.stage_games``.

Source: Littman (2001), Friend-or-foe Q-learning in general-sum games, section 3.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.algorithms.multiagent import minimax_q
from jaxrl.blocks import stage_games
from jaxrl.blocks.stage_games import StageGameConfig, StageSolution
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment, static
from jaxrl.errors import unknown_name

OTHERS = ("friend", "foe")


@struct.dataclass
class Config(StageGameConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    learning_rate_final: float = 1.0  # alpha falls with the visits alone
    learning_rate_half_life: float = 1.0
    gamma: float = 0.99
    initial_value: float = 0.0
    other: str = static(default="friend")  # what each player takes the other for: friend or foe

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        self.validate_play("friend_or_foe_q", env, "Friend-or-foe Q-learning is for two players.")
        if self.other not in OTHERS:
            raise unknown_name("friend_or_foe_q", "other", self.other, OTHERS)


def solve_with_friend(q: jax.Array, mask: jax.Array | None) -> StageSolution:
    """Each player counts on the other's help: V = max over a and b of Q(s, a, b). The gap is 0.

    Args:
        q: float32[2, A, A], each player's own action first.
        mask: bool[2, A], the legal actions of each, or None where all are.
    """
    possible = q if mask is None else jnp.where(mask[:, :, None] & mask[::-1, None, :], q, -jnp.inf)
    hoped = possible.max(2)  # for each own action
    strategy = jax.nn.one_hot(hoped.argmax(1), q.shape[1], dtype=q.dtype)
    return StageSolution(hoped.max(1), strategy, jnp.zeros((), q.dtype))


def make(env: Environment, config: Config) -> Algorithm:
    """Builds friend-Q or foe-Q on an environment with two agents, who both observe the whole state."""
    return stage_games.learner(env, config, minimax_q.solve if config.other == "foe" else solve_with_friend)
