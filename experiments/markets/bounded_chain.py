"""Bounded stages of a supply chain: the higher their temperature, the more their orders vary.

In the beer game four stages order from each other, and only the last one sees the demand. Each minimises the costs of the chain
plus a temperature times the divergence of its policy from the uniform one. One policy is trained at temperatures drawn anew for
each game.

Source: Evans and Ganesh (2024), Learning and Calibrating Heterogeneous Bounded Rational Market Behaviour with Multi-Agent
Reinforcement Learning; numbers are ours, and there are no human data.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from envs.markov_games import beer_game
from jaxrl.algorithms.multiagent import mappo
from jaxrl.core import rollout
from jaxrl.core.transforms import with_temperature
from jaxrl.experiment import Arm, Claim, Quantity, Results, draw, every, final

TEMPERATURES, ENDS = (1.0, 3.0, 10.0, 30.0, 100.0), (0.5, 200.0)  # measured, and the range in training; units of cost
DEMAND_VARIANCE = 80 / 12  # of 0 to 8 units, all equally likely
STAGES = mappo.Config(
    learning_rate=1e-3,
    ent_coef=1.0,
    num_envs=32,
    num_steps=36,
    num_epochs=4,
    num_minibatches=4,
    clip_value=False,
    normalize_advantage=False,
    bounded=True,
)


@dataclass(frozen=True)
class Config:
    """Bounded learners in the beer game."""

    seeds: int = 10
    """Learners (count)."""
    env_steps: int = 1_000_000
    """Weeks of supply chains in training (count)."""
    games: int = 256
    """Games in which orders are measured (count)."""
    hidden: tuple[int, ...] = (64, 64)
    """Layer sizes of the networks."""


QUICK = Config(seeds=2, env_steps=1_152, games=2, hidden=(8,))


def arms(config: Config) -> Iterator[Arm]:
    """The policy that all stages share."""
    algorithm = replace(STAGES.annealed(config.env_steps), hidden=config.hidden)
    env = with_temperature(beer_game.make(), *ENDS)
    yield Arm({"learner": "bounded"}, mappo.make, env, algorithm, config.seeds, config.env_steps, show=("reward", "entropy"))


def amplified(arm: Arm, results: Results, games: int) -> np.ndarray:
    """Returns the variance of orders at each temperature, over weeks and stages, as a multiple of the demand's, float[S, L]."""

    def varied(state, temperature):
        log = jnp.log(temperature)
        env = arm.task.replace(params=arm.task.params.replace(low=log, high=log))
        act = mappo.make(env, arm.config).policy
        assert act is not None
        start_key, key = jax.random.split(jax.random.key(results.root))
        _, batch = rollout.unroll(key, env, act(state, False), rollout.start(start_key, env, games), env.max_steps)
        return batch.action.var((0, 1)).mean() / DEMAND_VARIANCE

    each = jax.vmap(jax.vmap(varied, (None, 0)), (0, None))
    return np.asarray(jax.jit(each)(results.run(**arm.factors).state, jnp.array(TEMPERATURES)))


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Lets the learned stages play. ``amplification``: the variance of orders, as a multiple of the demand's."""
    (arm,) = arms(config)
    for temperature, values in zip(TEMPERATURES, amplified(arm, results, config.games).T, strict=True):
        yield {**arm.factors, "temperature": temperature}, {"amplification": values[:, None]}


def figures(results: Results) -> None:
    """Draws how much orders vary, by temperature."""
    lines = {"four stages": results.along("amplification", "temperature")}
    labels = "Temperature (units of cost)", "Variance of orders / of the demand"
    draw.relation(results, "amplification", lines, *labels, x_scale="log", level=1.0, title="Orders in the beer game")


def varied(temperature: float) -> Quantity:
    """How much orders vary."""
    return final("amplification", temperature=temperature)


CLAIMS = (
    Claim(
        "In the beer game orders vary the more the higher the temperature, from each of 1, 3, 10, 30 and 100 to the next",
        "Evans and Ganesh (2024)",
        every(varied(high) > varied(low) for low, high in pairwise(TEMPERATURES)),
    ),
)
