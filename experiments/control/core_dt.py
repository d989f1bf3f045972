"""The Decision Transformer on random graphs: shortest paths from random walks, by asking for the best return.

Each seed has a graph of its own and data of random walks of at most 10 steps in it. A walk pays -1 per step until the goal, so
the return that is asked for is a number of steps. The transformer is compared with behaviour cloning and breadth-first search.

Source: Chen et al. (2021), Decision Transformer, section 3; the bars are ours.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from envs.random_mdps import random_graph
from jaxrl.algorithms.offline import behaviour_cloning, decision_transformer
from jaxrl.blocks.datasets import Collected, Dataset, returns_to_go
from jaxrl.core.algorithm import Algorithm
from jaxrl.evaluation.episodes import evaluate
from jaxrl.experiment import Arm, Claim, Results, draw, every, final

DT, BC, DATA, SHORTEST = "decision transformer", "behaviour cloning", "random walks", "shortest paths"
REQUESTS = np.arange(-10.0, 0.0)
SAMPLES = 8  # sampled episodes from each node

SIZES: dict[str, Any] = {"width": 64, "num_layers": 2, "context": 10}
TRANSFORMER = decision_transformer.Config(**SIZES, return_scale=10.0, learning_rate=1e-3, hidden=(64,))
CLONING = behaviour_cloning.Config(hidden=(64,), learning_rate=1e-3)


@dataclass(frozen=True)
class Config:
    """A Decision Transformer and behaviour cloning on random walks in random graphs."""

    seeds: int = 5
    """Graphs, each with data and learners of its own (count)."""
    nodes: int = 20
    """Nodes of a graph (count)."""
    edge_probability: float = 0.1
    """Of an edge between two nodes, in (0, 1]."""
    walks: int = 1000
    """Random walks in a data set (count)."""
    updates: int = 10
    """Updates of each learner (count), of 100 gradient steps each."""
    transformer: decision_transformer.Config = field(default_factory=lambda: TRANSFORMER)
    """The Decision Transformer."""
    cloning: behaviour_cloning.Config = field(default_factory=lambda: CLONING)
    """Behaviour cloning."""


FEW: dict[str, Any] = {"num_gradient_steps": 2, "batch_size": 4, "hidden": (4,)}
QUICK = Config(
    seeds=2,
    nodes=5,
    edge_probability=0.5,
    walks=20,
    updates=1,
    transformer=decision_transformer.Config(**FEW, context=2, width=4, num_layers=1),
    cloning=behaviour_cloning.Config(**FEW),
)


def graphs(config: Config) -> random_graph.Params:
    """Draws a graph for each seed."""
    each = [random_graph.draw(jax.random.key(seed), config.nodes, config.edge_probability) for seed in range(config.seeds)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def arms(config: Config) -> Iterator[Arm]:
    """Both learners on the same data."""
    params = graphs(config)
    uniform = params.edges / jnp.maximum(params.edges.sum(-1, keepdims=True), 1)
    # A node without neighbours, where no walk leads, needs a distribution all the same.
    lonely = ~params.edges.any(-1, keepdims=True) & jnp.eye(config.nodes, dtype=bool)
    walking = jnp.float32(uniform + lonely)[:, None]
    task = Collected(random_graph.of(params), walking, config.walks)
    for name, module, learner in ((DT, decision_transformer, config.transformer), (BC, behaviour_cloning, config.cloning)):
        options = {"num_updates": config.updates, "task_axes": 0, "show": ("loss",)}
        yield Arm({"algorithm": name}, module.make, task, learner, config.seeds, **options)


# ---- playing from every node


def steps(algorithm: Algorithm, state: Any, params: random_graph.Params, start: jax.Array, greedy: bool) -> jax.Array:
    """Returns the mean number of steps from a node to the goal, 10 if it is not reached, float32[]."""
    first = jax.nn.one_hot(start, params.initial.shape[0], dtype=jnp.float32)
    env, key = random_graph.of(replace(params, initial=first)), jax.random.key(0)
    policy, count = algorithm.policy, 1 if greedy else SAMPLES
    assert policy is not None
    return evaluate(key, env, policy(state, greedy), count, memory=algorithm.memory).length.astype(jnp.float32).mean()


@functools.partial(jax.jit, static_argnames="greedy")
def asked(config: decision_transformer.Config, state: Any, params: random_graph.Params, requests: jax.Array, greedy: bool):
    """Returns the mean steps of a transformer from every node for each of its requests float32[X, R], float32[X, R]."""

    def one(start, request):
        algorithm = decision_transformer.make(state.data, replace(config, requested_return=request))
        return steps(algorithm, state, params, start, greedy)

    return jax.vmap(jax.vmap(one, (None, 0)))(jnp.arange(requests.shape[0]), requests)


@functools.partial(jax.jit, static_argnames="greedy")
def cloned(config: behaviour_cloning.Config, state: Any, params: random_graph.Params, greedy: bool) -> jax.Array:
    """Returns the mean steps of a clone from every node, float32[X]."""
    algorithm = behaviour_cloning.make(state.data, config)
    return jax.vmap(lambda start: steps(algorithm, state, params, start, greedy))(jnp.arange(params.initial.shape[0]))


def seen(data: Dataset, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best return to go from every node, float[X], and the edges that were walked, bool[X, X].

    Walks that were cut say nothing of the return: they count for no node. A node from which no walk came to the goal has -10.
    """
    valid, node, action = np.asarray(data.valid), np.asarray(data.obs), np.asarray(data.action)
    best, edges = np.full(nodes, -10.0), np.zeros((nodes, nodes), bool)
    ended = valid & np.asarray(data.terminated).any(-1, keepdims=True)
    np.maximum.at(best, node[ended], np.asarray(returns_to_go(data))[ended])
    edges[node[valid], action[valid]] = True
    return best, edges


def of_transformer(learner: decision_transformer.Config, state: Any, params: random_graph.Params) -> dict[str, np.ndarray]:
    """Returns how a transformer walks from every node that leads to the goal, in the graph of its seed; see ``measure``."""
    distance = np.asarray(random_graph.distances(params.edges, params.goal))
    best, edges = seen(state.data, len(distance))
    starts = distance > 0
    covered = starts & (np.asarray(random_graph.distances(jnp.asarray(edges), params.goal)) == distance)
    walked = np.asarray(asked(learner, state, params, jnp.float32(best)[:, None], greedy=True))[:, 0]
    requests = jnp.broadcast_to(jnp.float32(REQUESTS), (len(distance), len(REQUESTS)))
    achieved = -np.asarray(asked(learner, state, params, requests, greedy=False))[starts].mean(0)
    found = {
        "path_length": walked[starts].mean(),
        "optimal": (walked == distance)[covered].mean(),
        "covered": covered[starts].mean(),
        "walked_optimally": (best == -distance)[starts].mean(),
        "rank_correlation": spearmanr(REQUESTS, achieved)[0],
    }
    return {name: np.atleast_1d(value) for name, value in found.items()} | {"achieved_return": achieved}


def of_clone(learner: behaviour_cloning.Config, state: Any, params: random_graph.Params) -> dict[str, np.ndarray]:
    """Returns the mean steps of a clone from every node that leads to the goal, sampled and greedy."""
    starts = np.asarray(random_graph.distances(params.edges, params.goal)) > 0
    modes = {"path_length": False, "greedy_path_length": True}
    return {
        name: np.asarray(cloned(learner, state, params, greedy=mode))[starts].mean(keepdims=True) for name, mode in modes.items()
    }


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Plays from every node that leads to the goal, in the graph of each seed.

    ``path_length``: mean steps. ``optimal``: the share of nodes from which the way is a shortest one, among the ``covered`` ones,
    of which the data hold all edges of a shortest way; ``walked_optimally``: the share from which a walk of the data was a
    shortest way. ``rank_correlation``: Spearman's, of the return that is asked for and the mean return that follows.
    """
    drawn = graphs(config)
    distance = np.asarray(jax.vmap(random_graph.distances)(drawn.edges, drawn.goal))
    yield {"algorithm": SHORTEST}, {"path_length": distance.mean(1, where=distance > 0)}
    played: Any = ((DT, of_transformer, config.transformer), (BC, of_clone, config.cloning))
    for name, play, learner in played:
        states = results.run(algorithm=name).state
        rows = [
            play(learner, *jax.tree.map(lambda leaf, n=seed: jnp.asarray(leaf[n]), (states, drawn)))
            for seed in range(config.seeds)
        ]
        # Parameters of NaN take some action too: the rows of seeds in quarantine are marked.
        found = results.marked({metric: np.stack([row[metric] for row in rows]) for metric in rows[0]}, algorithm=name)
        if name == DT:
            yield {"algorithm": DATA}, {"path_length": np.asarray(states.data.valid.sum(-1).mean(-1))}
            yield {"algorithm": DT, "requested": "-10 to -1"}, {"achieved_return": found.pop("achieved_return")}
        yield {"algorithm": name}, found


def figures(results: Results) -> None:
    """Draws the path lengths, and the return that follows on each return that is asked for."""
    draw.ends(results, "path_length", {"label": "Steps to the goal (count)", "title": "From every node of 5 random graphs"})
    achieved = results.values("achieved_return", algorithm=DT)
    lines = {"achieved": (REQUESTS, achieved), "requested": (REQUESTS, np.broadcast_to(REQUESTS, achieved.shape))}
    draw.relation(results, "requests", lines, "Requested return", "Mean return over all nodes and 8 walks from each")


def length(name: str, metric: str = "path_length"):
    """The mean steps to the goal."""
    return final(metric, algorithm=name)


PAPER = "Chen et al. (2021)"
CLAIMS = (
    Claim(
        "On random graphs of 20 nodes, the paths of a Decision Transformer that is asked for the best return to go of each node "
        "in the data are shorter than the random walks of the data",
        PAPER,
        length(DT) < length(DATA),
    ),
    Claim(
        "These paths are shorter than those of behaviour cloning, sampled and greedy",
        PAPER,
        every(length(DT) < length(BC, metric) for metric in ("path_length", "greedy_path_length")),
    ),
    Claim(
        "From at least 80 % of the nodes of which the data hold all edges of a shortest path, the transformer takes a shortest "
        "path",
        f"{PAPER}; the bar is ours",
        final("optimal", algorithm=DT) >= 0.8,
    ),
    Claim(
        "The mean return over all nodes rises with the return that is asked for, -10 to -1: Spearman's correlation is at least "
        "0.8",
        f"{PAPER}; the bar is ours",
        final("rank_correlation", algorithm=DT) >= 0.8,
    ),
)
