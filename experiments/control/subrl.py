"""Rewards that shrink with what has been seen: policy gradients of marginal gains against those of lone rewards.

An agent on a 7 x 7 grid moves six times. It is paid for all cells within one move of its way, each once, by weights with two
hills. SubPO follows the gradient of marginal gains to come; the modular policy gradient is paid each time for all that is near.

Source: Prajapat et al. (2024), Submodular reinforcement learning.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl.blocks.set_rewards import ball, coverage, diminishing, lone_gains, marginal_gains
from jaxrl.experiment import Claim, Results, draw, final, largest

SIDE, HORIZON, START = 7, 6, 24  # the middle of the grid
CELLS, MOVES = SIDE * SIDE, np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
SUBPO, MODULAR, GREEDY, RANDOM = "SubPO", "modular policy gradient", "greedy", "random"
GAINS = {SUBPO: marginal_gains, MODULAR: lone_gains}


def weights() -> np.ndarray:
    """Returns what cells are worth, float32[CELLS]: two hills at corners that face each other, and a little everywhere."""
    place = np.stack(np.divmod(np.arange(CELLS), SIDE), -1)
    near, far = (np.exp(-((place - np.array(peak)) ** 2).sum(1) / 4) for peak in ((1, 1), (5, 5)))
    return (0.1 + near + 0.8 * far).astype(np.float32)


def following() -> np.ndarray:
    """Returns where each move leads, int[CELLS, 4]; at the edge the agent stays."""
    place = np.stack(np.divmod(np.arange(CELLS), SIDE), -1)
    there = np.clip(place[:, None] + MOVES, 0, SIDE - 1)
    return there[..., 0] * SIDE + there[..., 1]


WORTH, NEXT = coverage(ball(SIDE, SIDE, 1), weights()), jnp.asarray(following())
COUNT = coverage(ball(SIDE, SIDE, 1), np.ones(CELLS, np.float32))


@dataclass(frozen=True)
class Config:
    """SubPO and the modular policy gradient on a grid with two hills."""

    seeds: int = 32
    """Learners of each kind (count)."""
    updates: int = 400
    """Gradient steps (count), each on 64 trajectories."""


QUICK = Config(seeds=2, updates=5)


def walk(actions: jax.Array) -> jax.Array:
    """Returns the cells of a way with these moves, the first included, int[HORIZON + 1]."""

    def move(cell, action):
        return NEXT[cell, action], NEXT[cell, action]

    start = jnp.int32(START)
    return jnp.append(start, jax.lax.scan(move, start, actions)[1].astype(jnp.int32))


def sampled(key: jax.Array, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws a way by a policy of time and cell, float[HORIZON, CELLS, 4]: its cells and its moves."""

    def move(cell, inputs):
        key, logit = inputs
        action = jax.random.categorical(key, logit[cell])
        return NEXT[cell, action].astype(jnp.int32), (cell, action)

    last, (cells, actions) = jax.lax.scan(move, jnp.int32(START), (jax.random.split(key, HORIZON), logits))
    return jnp.append(cells, last), actions


def learn(key: jax.Array, gains, updates: int) -> jax.Array:
    """Returns the mean worth of the ways of each update, float[updates], of REINFORCE with these gains of visits."""
    optimiser = optax.adam(0.1)

    def loss(logits, cells, actions, advantage):
        log_policy = jax.nn.log_softmax(logits)[jnp.arange(HORIZON), cells[:, :-1]]  # [B, HORIZON, 4]
        chosen = jnp.take_along_axis(log_policy, actions[..., None], -1)[..., 0]
        entropy = -(jnp.exp(log_policy) * log_policy).sum(-1)
        return -(chosen * advantage + 0.01 * entropy).sum(1).mean()

    def update(carry, key):
        logits, memory = carry
        cells, actions = jax.vmap(sampled, (0, None))(jax.random.split(key, 64), logits)
        paid = jax.vmap(lambda visits: gains(WORTH, visits, CELLS))(cells)[:, 1:]
        to_come = jnp.cumsum(paid[:, ::-1], 1)[:, ::-1]
        slope = jax.grad(loss)(logits, cells, actions, to_come - to_come.mean(0))
        change, memory = optimiser.update(slope, memory)
        return (logits + change, memory), total(cells).mean()

    first = jnp.zeros((HORIZON, CELLS, 4))
    return jax.lax.scan(update, (first, optimiser.init(first)), jax.random.split(key, updates))[1]


def total(cells: jax.Array) -> jax.Array:
    """Returns the worth of all that is seen on ways, float[B]; cells: int[B, HORIZON + 1]."""
    return jax.vmap(lambda visits: WORTH(jnp.zeros(CELLS, bool).at[visits].set(True)))(cells)


def greedy() -> float:
    """The worth of the way that goes where it sees most at once."""
    cells = [START]
    for _ in range(HORIZON):
        ways = jnp.array([[*cells, int(cell)] for cell in NEXT[cells[-1]]])
        cells = ways[int(total(ways).argmax())].tolist()
    return float(total(jnp.array([cells]))[0])


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Learns, and looks at all 4096 ways.

    ``worth``: of the ways of an update on average. ``relative``: the last one as a share of the best way's; ``least``: of random
    sets, the least by which a cell adds more to a smaller one; ``off``: how far gains along the 4096 ways are from adding up to
    the number of cells that are seen.
    """
    ways = jax.vmap(walk)(jnp.array(list(product(range(4), repeat=HORIZON))))
    worth = total(ways)
    best, keys = float(worth.max()), jax.random.split(jax.random.key(results.root), config.seeds)
    for learner, gains in GAINS.items():
        found = np.asarray(jax.jit(jax.vmap(partial(learn, gains=gains, updates=config.updates)))(keys))
        yield {"learner": learner}, {"worth": found, "relative": found / best}
    for baseline, value in ((GREEDY, greedy()), (RANDOM, float(worth.mean()))):
        yield {"learner": baseline}, {"relative": value / best}
    least = diminishing(jax.random.key(results.root), WORTH, CELLS, 10_000).min()
    added = jax.jit(jax.vmap(lambda visits: marginal_gains(COUNT, visits, CELLS).sum()))(ways)
    seen = jax.vmap(lambda visits: COUNT(jnp.zeros(CELLS, bool).at[visits].set(True)))(ways)
    yield {"learner": "none"}, {"least": float(least), "off": float(jnp.abs(added - seen).max())}


def figures(results: Results) -> None:
    """Draws the worth of ways as a share of the best."""
    lines = {learner: {"learner": learner} for learner in GAINS}
    axes = "Gradient steps", "Worth of a way (share of the best)"
    greedy_share = float(results.final("relative", learner=GREEDY)[0])
    draw.lines(results, "worth", "relative", lines, *axes, level=greedy_share, title="Each cell pays once. Dashed: greedy")


PAPER = "Prajapat et al. (2024)"
CLAIMS = (
    Claim(
        "After 400 steps ways of SubPO are worth at least 0.9 of the best of all 4096 ways",
        f"{PAPER}; the bar is ours",
        final("relative", learner=SUBPO) >= 0.9,
    ),
    Claim(
        "After 400 steps ways of SubPO are worth at least 10 % more than those of the modular policy gradient",
        f"{PAPER}; the bar is ours",
        final("relative", learner=SUBPO) - final("relative", learner=MODULAR) * 1.1 >= 0.0,
    ),
    Claim(
        "The worth of coverage is submodular: no cell adds more to the larger of 10,000 pairs of nested random sets",
        "Krause and Golovin (2014)",
        final("least", learner="none") >= -1e-5,
    ),
    Claim(
        "On all ways marginal gains add up to the number of cells that are seen, without any error",
        "they telescope",
        largest("off").equals(0, 0),
    ),
)
