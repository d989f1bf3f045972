"""Networks with structure: convolutions that open a door, and graphs of a team that grows by one after training.

An agent of the spread grid sees itself, the others and the landmarks as nodes of a graph. No parameter knows their number, so
that the policies of teams of three move teams of four, to whom those of ordinary networks do not fit.

Source: Chevalier-Boisvert et al. (2023) for the door; Gilmer et al. (2017), "Neural Message Passing for Quantum Chemistry", and
Agarwal, Kumar, Sycara and Lewis (2020), "Learning Transferable Cooperative Behavior in Multi-Agent Teams", for the graphs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.markov_games import spread_grid
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.multiagent import mappo
from jaxrl.blocks.networks import ConvolutionalNetwork, GraphNetwork
from jaxrl.core import rollout
from jaxrl.core.algorithm import require_policy
from jaxrl.core.environment import Environment
from jaxrl.evaluation import evaluate
from jaxrl.experiment import Arm, Claim, Results, draw, every, final, largest

TEAMS, LEARNED = (3, 4), 3  # agents, as many as landmarks; and of those who learn
EPISODES, GRAPHS = 512, 32  # how many are played for each measurement, and drawn for the exact claim

# Episodes end within 250 steps, so that each update sees an end in every environment. Pictures are large: small outputs at first.
DOORKEY = ppo.Config(
    learning_rate=1e-3,
    num_envs=16,
    num_steps=256,
    clip_value=False,
    network=ConvolutionalNetwork((16,), hidden=(64,), output_scale=0.01),
)
TEAM = mappo.Config(
    learning_rate=1e-3,
    gamma=0.95,
    num_envs=32,
    num_steps=24,
    centralized=False,
    network=GraphNetwork((32, 32), aggregation="sum", pooling="attention"),
)


@dataclass(frozen=True)
class Config:
    """PPO with convolutions in DoorKey, and teams with graph networks. Learning rates fall to 0 over each run."""

    seeds: int = 5
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 400_000
    """Environment steps of each learner in DoorKey (count)."""
    spread_env_steps: int = 120_000
    """Of each team (count)."""
    doorkey: ppo.Config = DOORKEY
    """Hyper-parameters in DoorKey."""
    team: mappo.Config = TEAM
    """Of teams."""


QUICK = Config(
    seeds=2,
    env_steps=4_096,
    spread_env_steps=1_024,
    doorkey=replace(DOORKEY, network=ConvolutionalNetwork((2,), hidden=())),
    team=replace(TEAM, network=GraphNetwork((4,))),
)


def spread(agents: int, view: str = "graph") -> Environment:
    """Returns the spread grid of so many agents, and as many landmarks."""
    return envs.make("spread_grid", num_agents=agents, num_landmarks=agents, view=view)


def arms(config: Config) -> Iterator[Arm]:
    """One learner in DoorKey, where each success pays 1, and a team of three in which every agent has its own critic."""
    for task, make, env, learner, steps in (
        ("doorkey", ppo.make, envs.make("doorkey", view="all", timed=False), config.doorkey, config.env_steps),
        ("spread", mappo.make, spread(LEARNED), config.team, config.spread_env_steps),
    ):
        shared = {"seeds": config.seeds, "env_steps": steps, "show": ("episode_return",)}
        yield Arm({"task": task}, make, env, learner.annealed(steps), **shared)


def graph_errors(network: Any, key: jax.Array) -> dict[str, jax.Array]:
    """Returns by how much outputs of nodes fail to move with the nodes, and outputs of the graph to stay as they are."""
    order_key, graph_key, key = jax.random.split(key, 3)
    env, nodes = spread(TEAMS[-1]), 2 * TEAMS[-1]
    graph = jax.tree.map(lambda leaf: leaf[0], env.reset(graph_key)[0])
    order = jax.random.permutation(order_key, nodes)
    renumbered = {"nodes": graph["nodes"][order], "adjacency": graph["adjacency"][order][:, order]}
    errors = {}
    for head in ("nodes", "graph"):
        layers = replace(network, head=head)(env.observation_space, 3 * nodes)
        params, apply = layers.init(key, graph), cast(Callable, layers.apply)
        before, after = (apply(params, seen).reshape(nodes, 3) for seen in (graph, renumbered))
        errors[f"{head}_error"] = jnp.abs((before[order] if head == "nodes" else before) - after).max()
    return errors


def played(env: Environment, policy_of: Callable, key: jax.Array, states: mappo.State) -> tuple[jax.Array, spread_grid.State]:
    """Returns what each agent of a team earns, the mean over episodes, float32[S], and the first states of the episodes."""

    def earned(state):
        # Sampled: agents that share parameters and see the same never part if all are greedy. All are paid alike.
        return evaluate(key, env, policy_of(state, False), EPISODES).return_[:, 0].mean()

    return jax.vmap(earned)(states), rollout.start(jax.random.split(key)[0], env, EPISODES).state


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Measures what graph networks keep exactly, and the share of the gap from random to assigned agents that teams close."""
    keys = jax.random.split(jax.random.key(results.root), GRAPHS)
    errors = jax.jit(jax.vmap(partial(graph_errors, config.team.network)))(keys)
    yield {"task": "layers"}, {name: error[:, None] for name, error in errors.items()}
    states, key = results.run(task="spread").state, jax.random.key(results.root)
    for agents in TEAMS:
        env = spread(agents)
        policy_of = require_policy("core_nets", mappo.make(env, config.team))
        earned, first = jax.device_get(jax.jit(partial(played, env, policy_of))(key, states))
        plans = [spread_grid.best_assignment(spread_grid.State(*each), env.max_steps)[1] for each in zip(*first, strict=True)]
        drifting, best = spread_grid.random_return(agents, agents), float(np.mean(plans))
        earned = results.marked(earned, task="spread")[:, None]
        yield {"agents": agents, "part": "bars"}, {"random": drifting, "assigned": best}
        yield {"agents": agents}, {"earned": earned, "closed": (earned - drifting) / (best - drifting)}
    for view, network in {"graph": config.team.network, "vector": None}.items():
        teams = (mappo.make(spread(agents, view), replace(config.team, network=network)) for agents in TEAMS)
        small, large = (jax.tree.map(jnp.shape, jax.eval_shape(each.init, key).params) for each in teams)
        yield {"view": view}, {"fits": float(small == large)}


def figures(results: Results) -> None:
    """Draws successes in DoorKey and returns of the teams over time, and the gap that teams of each size close."""
    for task, title, label in (
        ("doorkey", "PPO with convolutions in DoorKey", "Success (share of episodes)"),
        ("spread", "Graph networks in the spread grid", f"Return (sum over {LEARNED} agents)"),
    ):
        draw.curves(results, "episode_return", {"title": title, "label": label, "name": task}, task=task)
    title = f"Teams of {LEARNED}, in teams of other sizes"
    draw.ends(results, "closed", {"title": title, "label": "Share of the gap from random to assigned agents that is closed"})


CLAIMS = (
    Claim(
        "Outputs of nodes of 32 random graphs move with the nodes, and outputs of the graph stay as they are, to 1e-5",
        "Gilmer et al. (2017)",
        every([largest("nodes_error") <= 1e-5, largest("graph_error") <= 1e-5]),
    ),
    Claim(
        "After 400,000 steps of DoorKey 5x5, PPO with convolutions reaches the goal in at least 90 % of its episodes",
        "Chevalier-Boisvert et al. (2023)",
        final("episode_return", task="doorkey") >= 0.9,
    ),
    Claim(
        "Graph networks of teams of three close in teams of four at least 80 % of the gap from random to assigned agents",
        "Agarwal et al. (2020)",
        final("closed", agents=4) >= 0.8,
    ),
    Claim(
        "Graph networks of teams of three close in teams of four at least 80 % of the share that they close in teams of three",
        "Agarwal et al. (2020)",
        final("closed", agents=4) / final("closed", agents=3) >= 0.8,
    ),
    Claim(
        "Parameters of graph networks fit teams of three and of four; those of ordinary networks do not",
        "shapes of the parameters",
        every([final("fits", view="graph") >= 1.0, final("fits", view="vector") <= 0.0]),
    ),
)
