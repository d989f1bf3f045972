"""Options from the graph Laplacian in the four rooms: how soon an agent has seen the rooms, and finds a goal that has moved.

The slowest eigenvectors of the graph of cells give two options each, one that climbs it and one that descends. An agent without a
reward begins one of them with probability 0.1 wherever it follows none, and else walks at random. The second eigenvector is also
learned from sampled transitions. Q-learning explores with the same options, and its goal is moved to another room.

Source: Klissarov and Machado (2023), "Deep Laplacian-based Options for Temporally-Extended Exploration"; Machado, Bellemare and
Bowling (2017) for the options; Wang et al. (2021) for the learned eigenvector.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.gridworlds import four_rooms
from jaxrl.algorithms.tabular import option_q_learning
from jaxrl.blocks.options import Options, joined, primitive, with_options
from jaxrl.core import rollout
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.evaluation.coverage import cover_steps
from jaxrl.experiment import Arm, Claim, Results, draw, exact, final
from jaxrl.solvers.graph_drawing import graph_drawing
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.laplacian import Laplacian, adjacency, eigen_options, laplacian
from jaxrl.training.runner import Run

CELLS, ACTIONS = 104, 4
RATE, SHARE, MOST_STEPS = 0.1, 0.9, 100_000  # of options; of the cells; after which an agent gives up
COUNTS = (0, 1, 3, 8)  # eigenvectors; 0 is the random walk. Eight, and the budgets below, were chosen on root 7
PLAIN, EXPLORING = "actions", "actions and eigen-options"
LEARNERS = {PLAIN: 0, EXPLORING: COUNTS[-1]}
FIRST, MOVED = "first goal", "moved goal"
GOALS = {FIRST: (2, 9), MOVED: (9, 9)}  # learners begin in (1, 1), in the room beside that of the first goal
EPISODES, WALKERS = 20, 64
LEARNER = option_q_learning.Config(
    gamma=0.9, learning_rate=0.25, learning_rate_half_life=np.inf, epsilon=0.1, num_steps=10, intra_option=True
)


@dataclass(frozen=True)
class Config:
    """Laplacian eigen-options in the four rooms: coverage, a learned eigenvector, and a goal that moves."""

    seeds: int = 32
    """Independent agents and learners of each kind, side by side (count)."""
    env_steps: int = 40_000
    """Environment steps of each learner before its goal moves, and as many after (count)."""
    transitions: int = 204_800
    """Steps of random walks from which the eigenvector is learned (count), of which a multiple of 64 is made."""
    gradients: int = 20_000
    """Stochastic gradients by which it is learned (count)."""


QUICK = Config(seeds=4, env_steps=2_000, transitions=6_400, gradients=500)


@cache
def rooms() -> tuple[TabularModel, Laplacian]:
    """The rooms without a goal, and the Laplacian of their cells."""
    model = tabulate(envs.make("gridworld", map=four_rooms.MAP, step=0.0))
    return model, laplacian(adjacency(model))


@cache
def eigen(count: int) -> Options:
    """The eigen-options of eight eigenvectors, over the numbers of the cells, of which those of the first so many may begin.

    Where none may, the actions are left: a random walk, and Q-learning without options, are the same programs.
    """
    model, found = rooms()
    options = eigen_options(model, found.slowest(COUNTS[-1])).at(np.argsort(model.observation))
    known = np.arange(options.count)[:, None] < 2 * count
    return replace(options, initiation=options.initiation & known, termination=np.where(known, options.termination, 1.0))


def arms(config: Config) -> Iterator[Arm]:
    """Q-learning over actions, and over actions and eigen-options from every step; then both go on with another goal."""
    for goal, position in GOALS.items():
        world = four_rooms.make(goal=position, max_steps=config.env_steps)
        for learner, count in LEARNERS.items():
            env = with_options(world, joined(primitive(CELLS, ACTIONS), eigen(count)))
            arm = Arm({"learner": learner, "goal": goal}, option_q_learning.make, env, LEARNER, config.seeds, config.env_steps)
            yield arm if goal == FIRST else replace(arm, after={"learner": learner, "goal": FIRST}, prepare=going_on)


def going_on(arm: Arm, run: Run) -> Arm:
    """The learner as it is, where it stands."""
    return replace(arm, initial=run.state)


def measure(config: Config, results: Results):
    """Measures the steps of the first 20 episodes with each goal (all steps, if they have not all ended); the steps until nine
    tenths of the cells are seen; and the correlation of the learned second eigenvector with the exact one, without its sign.
    """
    for arm in arms(config):
        ended = np.cumsum(results.values("episodes", "metrics", **arm.factors), axis=1) >= EPISODES
        steps = np.where(ended.any(1), (ended.argmax(1) + 1.0) * LEARNER.num_steps, config.env_steps)
        yield arm.factors, {"steps": steps[:, None]}
    model, found = rooms()
    cover_key, walk_key, learn_key = jax.random.split(jax.random.key(results.root), 3)
    start, keys = int(np.flatnonzero(model.observation == 0)[0]), jax.random.split(cover_key, config.seeds)
    for count in COUNTS:
        cover = cover_steps(keys, model, eigen(count).at(model.observation), RATE, start, SHARE, MOST_STEPS)
        yield {"eigenvectors": count}, {"cover": np.asarray(cover)[:, None]}
    learn = partial(graph_drawing, num_states=CELLS, num_features=2, num_steps=config.gradients, learning_rate=0.1)
    pairs = sampled(walk_key, config.transitions // WALKERS)
    learned = jax.jit(jax.vmap(learn, in_axes=(0, None)))(jax.random.split(learn_key, config.seeds), pairs)
    second = found.eigenvector[np.argsort(model.observation), 1]
    correlation = [abs(np.corrcoef(second, own)[0, 1]) for own in np.asarray(learned)[:, :, 1]]
    yield {"features": "learned"}, {"correlation": np.array(correlation)[:, None]}


def sampled(key: jax.Array, num_steps: int) -> jax.Array:
    """Returns cells and their successors in T steps of random walks that begin anywhere, int32[64 T, 2]."""
    env = envs.make("gridworld", map=four_rooms.MAP, step=0.0, max_steps=num_steps)
    start_key, walk_key = jax.random.split(key)

    def at_random(key, view):
        return rollout.Decision(jax.random.randint(key, view.obs.shape, 0, ACTIONS))

    _, batch = rollout.unroll(walk_key, env, at_random, rollout.start(start_key, env, WALKERS), num_steps)
    return jnp.stack([batch.obs, batch.next_obs], -1).reshape(-1, 2)


def corner_to_corner() -> float:
    """The steps of the random walk from (1, 1) to (11, 11) on average: its value where every step pays 1."""
    model = tabulate(four_rooms.make())
    uniform = np.full((model.num_states, ACTIONS), 1 / ACTIONS)
    return float(model.initial @ host.evaluate(replace(model, reward=np.ones_like(model.reward)), uniform, 1.0).value)


def figures(results: Results) -> None:
    """Draws the steps until the rooms are seen, and those of the first twenty episodes with either goal."""
    draw.ends(results, "cover", {"label": "Steps until 90 % of the cells are seen"})
    draw.ends(results, "steps", {"label": f"Steps of the first {EPISODES} episodes"})


CLAIMS = (
    Claim(
        "Agents that begin an option of eight eigenvectors at a rate of 0.1 see 90 % of the four rooms in less than 0.7 times "
        "the steps of the random walk",
        "Klissarov and Machado (2023); Machado, Bellemare and Bowling (2017)",
        final("cover", eigenvectors=8) - final("cover", eigenvectors=0) * 0.7 < 0.0,
    ),
    Claim(
        "The random walk in the four rooms takes 1148.34 steps from corner to corner on average",
        "the linear equations of its hitting times",
        exact("steps from (1, 1) to (11, 11)", corner_to_corner).equals(1148.34, 0.005),
    ),
    Claim(
        "The second eigenvector, learned from sampled transitions by graph drawing, correlates above 0.9 with the exact one",
        "Wang et al. (2021); Klissarov and Machado (2023)",
        final("correlation", features="learned") > 0.9,
    ),
    Claim(
        "After its goal has moved, Q-learning with eigen-options takes fewer steps in 20 episodes than epsilon-greedy Q-learning",
        "Klissarov and Machado (2023)",
        final("steps", learner=PLAIN, goal=MOVED) - final("steps", learner=EXPLORING, goal=MOVED) > 0.0,
    ),
)
