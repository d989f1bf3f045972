"""Learning to communicate: a bit in the switch riddle, and teams that talk before they pull levers or drive through a junction.

Source: Foerster, Assael, de Freitas and Whiteson (2016), Learning to communicate with deep multi-agent reinforcement learning;
Sukhbaatar, Szlam and Fergus (2016), Learning multiagent communication with backpropagation.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.markov_games import levers, switch_riddle, traffic_junction
from jaxrl.algorithms.multiagent import dial, mappo
from jaxrl.blocks import optimisers
from jaxrl.blocks.networks import CommNet
from jaxrl.core.algorithm import require_policy
from jaxrl.evaluation import Episodes, evaluate
from jaxrl.experiment import Arm, Claim, Results, area, draw, final
from jaxrl.report import game_figures

RIDDLE, LEVERS, JUNCTION = "switch riddle", "levers", "traffic junction"
DIAL, RIAL, SILENT = "DIAL", "RIAL", "no communication"
COMMNET, ALONE = "CommNet", "independent"
TAUGHT = {COMMNET: "CommNet, supervised", ALONE: "independent, supervised"}
CHANNELS = {DIAL: "dial", RIAL: "rial", SILENT: "none"}
COLLISION = -9.0  # an agent that has collided has earned less, and no other: delays cost at most 2.1
# Chosen on root 1.
TALKER = dial.Config(learning_rate=2e-3)
PULLER = mappo.Config(
    centralized=False, num_envs=128, num_steps=1, num_minibatches=1, num_epochs=4, learning_rate=5e-3, ent_coef=0.0
)
DRIVER = mappo.Config(centralized=False, num_envs=16, num_steps=100)


@dataclass(frozen=True)
class Config:
    """DIAL, RIAL and silent learners in the riddle; CommNet and agents that are alone at the levers and in the junction."""

    seeds: int = 8
    """Teams of each kind in the riddle (count)."""
    riddles: int = 3_000
    """Updates of each team, 32 episodes each (count)."""
    teams: int = 5
    """Teams of each kind at the levers and in the junction (count)."""
    pulls: int = 400_000
    """Plays of each team that learns to pull levers by its reward (count)."""
    lessons: int = 10_000
    """Batches of 64 plays from which each team learns to pull levers by being told (count)."""
    env_steps: int = 200_000
    """Environment steps of each team in the junction (count)."""
    episodes: int = 2_048
    """Episodes in which a policy is measured (count)."""


QUICK = Config(seeds=2, riddles=20, teams=2, pulls=256, lessons=20, env_steps=3_200, episodes=16)


def team(talks: bool, scale: float) -> CommNet:
    """Returns the network of five agents."""
    return CommNet(num_agents=5, talks=talks, output_scale=scale)


def arms(config: Config) -> Iterator[Arm]:
    """Three channels in the riddle, and two networks in each of the other games."""
    riddle, shown = switch_riddle.make(3, bulb=False), ("greedy_agent_return/0",)
    for learner, channel in CHANNELS.items():
        factors, settings = {"game": RIDDLE, "learner": learner}, replace(TALKER, channel=channel)
        played = (Episodes(riddle, num_episodes=config.episodes, modes=("greedy",)),)
        yield Arm(factors, dial.make, riddle, settings, config.seeds, num_updates=config.riddles, evaluators=played, show=shown)
    for game, env, learned, steps, scale in (
        (LEVERS, levers.make(), PULLER, config.pulls, 1.0),
        (JUNCTION, traffic_junction.make(), DRIVER, config.env_steps, 0.1),
    ):
        for learner in (COMMNET, ALONE):
            settings = replace(learned, network=team(learner == COMMNET, scale))
            factors, played = {"game": game, "learner": learner}, (Episodes(env, num_episodes=config.episodes),)
            yield Arm(factors, mappo.make, env, settings, config.teams, env_steps=steps, evaluators=played)


def taught(talks: bool, lessons: int, key: jax.Array) -> jax.Array:
    """Teaches a team that each pulls the lever of its rank, and returns the share of levers that it pulls then, float32[20]."""
    env, batch, measured = levers.make(), 64, 20
    network = team(talks, 1.0)(env.observation_space, 5)
    apply: Any = network.apply
    adam = optimisers.adam(optimisers.annealed(1e-3, lessons), jnp.inf, eps=1e-8)

    def drawn(key, plays):
        return jax.vmap(lambda key: env.reset(key)[0])(jax.random.split(key, plays))

    def loss(params, identity):
        chosen = jax.nn.log_softmax(apply(params, identity.reshape(-1)))
        right = jax.nn.one_hot(levers.by_rank(identity, 5).reshape(-1), 5)
        return -(right * chosen).sum(-1).mean(), {}

    def chapter(carry, key):
        carry, _ = jax.lax.scan(
            lambda carry, key: optimisers.gradient_step(loss, adam)(carry, drawn(key, batch)),
            carry,
            jax.random.split(key, lessons // measured),
        )
        pulled = apply(carry[0], drawn(key, 1_000).reshape(-1)).argmax(-1).reshape(-1, 5, 1)
        return carry, (pulled == jnp.arange(5)).any(1).mean()

    first_key, key = jax.random.split(key)
    params = network.init(first_key, drawn(first_key, 1).reshape(-1))
    return jax.lax.scan(chapter, (params, adam.init(params)), jax.random.split(key, measured))[1]


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Teaches teams to pull levers, and counts episodes with a collision in the junction.

    ``pulled``: the share of levers that are pulled, of the greedy policy. ``failures``: the share of episodes with a collision,
    of the policy that is sampled, ``greedy_failures`` of the greedy one.
    """
    key = jax.random.fold_in(jax.random.key(results.root), 0)
    for learner, name in TAUGHT.items():
        teach = jax.jit(jax.vmap(partial(taught, learner == COMMNET, config.lessons)))
        yield {"game": LEVERS, "learner": name}, {"pulled": teach(jax.random.split(key, config.teams))}
    junction = traffic_junction.make()
    for learner in (COMMNET, ALONE):
        policy_of = require_policy(JUNCTION, mappo.make(junction, replace(DRIVER, network=team(learner == COMMNET, 0.1))))

        def failures(greedy, state, policy_of=policy_of):
            played = evaluate(key, junction, policy_of(state, greedy), config.episodes)
            return (played.return_ < COLLISION).any(-1).mean()

        states = results.states(game=JUNCTION, learner=learner)
        found = {
            name: np.asarray(jax.jit(jax.vmap(partial(failures, greedy)))(states))[:, None]
            for name, greedy in (("failures", False), ("greedy_failures", True))
        }
        yield {"game": JUNCTION, "learner": learner}, results.marked(found, game=JUNCTION, learner=learner)


def figures(results: Results) -> None:
    """Draws the riddle and the levers over time, and how often there is a collision in the junction."""
    draw.curves(results, "greedy_agent_return/0", {"title": "Switch riddle, bound 20/27"}, game=RIDDLE)
    draw.curves(results, "sampled_agent_return/0", {"title": "Share of levers pulled"}, game=LEVERS)
    kinds = {"sampled": "failures", "greedy": "greedy_failures"}
    heights = {
        learner: [float(results.final(name, game=JUNCTION, learner=learner).mean()) for name in kinds.values()]
        for learner in (COMMNET, ALONE)
    }
    options = {"x_label": "Policy", "title": "Episodes of the junction with a collision"}
    game_figures.bars(results.directory, "failures", heights, list(kinds), "Share of episodes", **options)


def reward(learner: str):
    """The mean reward of the greedy policy in the riddle at the end."""
    return final("greedy_agent_return/0", game=RIDDLE, learner=learner)


def pulled(learner: str):
    """The share of levers that a team pulls at the end, which has learned from its reward."""
    return final("sampled_agent_return/0", game=LEVERS, learner=learner)


CLAIMS = (
    Claim(
        "In the switch riddle with three prisoners DIAL earns at least 0.70 of at most 0.740741",
        "Foerster et al. (2016), section 6.1",
        reward(DIAL) >= 0.70,
    ),
    Claim(
        "In the switch riddle DIAL earns more than RIAL while it learns",
        "Foerster et al. (2016), section 6.1",
        area("greedy_agent_return/0", game=RIDDLE, learner=DIAL) > area("greedy_agent_return/0", game=RIDDLE, learner=RIAL),
    ),
    Claim(
        "In the switch riddle learners without communication earn at least 0.1 less than DIAL",
        "own ablation",
        reward(DIAL) - reward(SILENT) >= 0.1,
    ),
    Claim(
        "CommNet that is told what to do pulls at least 97 % of the levers",
        "Sukhbaatar et al. (2016), section 4.1",
        final("pulled", game=LEVERS, learner=TAUGHT[COMMNET]) >= 0.97,
    ),
    Claim(
        "CommNet that learns from its reward pulls at least 90 % of the levers",
        "Sukhbaatar et al. (2016), section 4.1",
        pulled(COMMNET) >= 0.90,
    ),
    Claim(
        "Agents that learn to pull levers alone stay within 0.02 of the 0.672320 of random ones",
        "1 - (4/5)^5",
        pulled(ALONE).within(0.65232, 0.69232),
    ),
    Claim(
        "In the traffic junction CommNet, as it is sampled, collides in fewer episodes than agents that are alone",
        "Sukhbaatar et al. (2016), section 4.2",
        final("failures", game=JUNCTION, learner=COMMNET) < final("failures", game=JUNCTION, learner=ALONE),
    ),
)
