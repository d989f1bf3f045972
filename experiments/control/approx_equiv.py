"""Approximate equivariance: policies that turn with the picture, exactly or nearly, on a torus whose symmetry a wind breaks.

The networks differ in how their parameters are tied alone: ordinary convolutions, convolutions that turn with the picture (C4),
and these with two filters in each layer, weighted for each turn apart. The ordinary one has at least as many parameters as the
relaxed one.

Source: Park et al. (2025), "Approximate Equivariance in Reinforcement Learning"; the torus is ours. Its optimal values are exact.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import struct

import envs
from envs.gridworlds import windy_torus
from jaxrl.algorithms.deep import ppo
from jaxrl.blocks.networks import ConvolutionalNetwork, EquivariantNetwork, relaxation_penalty
from jaxrl.core.algorithm import Algorithm, require_policy
from jaxrl.core.environment import Environment
from jaxrl.core.finite import tabulate
from jaxrl.evaluation import evaluate
from jaxrl.experiment import Arm, Claim, Quantity, Results, area, draw, every, final
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.symmetries import asymmetry

GAMMA, WINDS = 0.95, (0.0, 0.6)
NOISE, EPISODES = 0.1, 128  # deviation of each pixel, and how many episodes are played
NETWORKS = ("plain", "exact", "relaxed", "relaxed with penalty")
PENALTY = 0.1  # weight of the relaxation, where it is punished
PPO = ppo.Config(learning_rate=1e-3, gamma=GAMMA, num_envs=32, num_steps=32, clip_value=False)


@dataclass(frozen=True)
class Config:
    """PPO with four networks, without wind and in it. The learning rate falls to 0 over each run."""

    seeds: int = 8
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 61_440
    """Environment steps of each learner (count)."""
    size: int = 7
    """Rows and columns of the torus (count)."""
    channels: int = 4
    """Of the convolutions that turn, for each of four turns (count)."""
    hidden: tuple[int, ...] = (64,)
    """Sizes of the layers behind the convolutions."""
    evaluations: int = 10
    """Evaluations of each learner on its way (count)."""
    algorithm: ppo.Config = PPO
    """Hyper-parameters of all networks."""


QUICK = Config(seeds=2, env_steps=2_048, size=5, channels=1, hidden=(), evaluations=1)


def learner(network: str, config: Config) -> ppo.Config:
    """Returns the configuration of a network."""
    channels, given = config.channels, config.algorithm.annealed(config.env_steps)
    if network == "plain":
        # The two filters of the relaxed readout have 2 x 4 c x c numbers at each place, this one at least as many.
        width = math.ceil(8**0.5 * channels)
        return replace(given, network=ConvolutionalNetwork((width,), padding="circular", hidden=(width, *config.hidden)))
    filters, penalty = (0, None) if network == "exact" else (2, relaxation_penalty)
    turning = EquivariantNetwork((channels,), padding="circular", num_filters=filters, hidden=config.hidden)
    weight = PENALTY if network == "relaxed with penalty" else 0.0
    return replace(given, network=turning, penalty=penalty, penalty_coef=weight)


@struct.dataclass
class Seen:
    """Evaluates greedy policies that see pictures as they are, and through noise: the mean discounted return of episodes."""

    env: Environment

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: ppo.State) -> dict[str, jax.Array]:
        greedy = require_policy("approx_equiv", algorithm)(state, True)

        def earned(noise):
            def policy(key, view):
                noise_key, key = jax.random.split(key)
                return greedy(key, view._replace(obs=view.obs + noise * jax.random.normal(noise_key, view.obs.shape)))

            return evaluate(key, self.env, policy, EPISODES, GAMMA).discounted_return.mean()

        clear, noisy = jax.vmap(earned)(jnp.array([0.0, NOISE], jnp.float32))
        return {"clear": clear, "noisy": noisy}


def arms(config: Config) -> Iterator[Arm]:
    """An arm for each network and wind; winds, and weights of the penalty, are settings of one program."""
    for wind in WINDS:
        env = envs.make("windy_torus", size=config.size, wind=wind)
        for network in NETWORKS:
            yield Arm(
                {"network": network, "wind": wind},
                ppo.make,
                env,
                learner(network, config),
                seeds=config.seeds,
                env_steps=config.env_steps,
                evaluators=(Seen(env),),
                show=("episode_return",),
                chunk_length=max(1, config.env_steps // config.algorithm.steps_per_update // config.evaluations),
            )


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Measures how far the worst turn is from a symmetry, how far networks are from exact ones, and how large they are."""
    for wind in WINDS:
        model = tabulate(envs.make("windy_torus", size=config.size, wind=wind))
        turns = [asymmetry(model, *windy_torus.turned(model, quarters), GAMMA) for quarters in (1, 2, 3)]
        optimum = float(host.solve(model, GAMMA).start_value(model))
        worst = {name: max(getattr(turn, name) for turn in turns) for name in turns[0]._fields}
        yield {"wind": wind}, {"optimum": optimum} | worst
        for network in NETWORKS:
            factors = {"network": network, "wind": wind}
            params = results.run(**factors).state.params
            yield factors | {"part": "size"}, {"parameters": float(sum(leaf[0].size for leaf in jax.tree.leaves(params)))}
            if network.startswith("relaxed"):
                yield factors, {"relaxation": results.marked(jax.vmap(relaxation_penalty)(params), **factors)[:, None]}


def figures(results: Results) -> None:
    """Draws what the networks earn over time, without wind and in it, with clear pictures and through noise."""
    label = "Discounted return (reward units)"
    for wind in WINDS:
        optimum = float(results.final("optimum", wind=wind)[0])
        options = {"title": f"Wind {wind:g}", "name": f"wind_{wind:g}", "label": label, "optimum": optimum}
        draw.curves(results, "clear", options, wind=wind)
        draw.curves(results, "noisy", options | {"title": f"Wind {wind:g}, through noise", "name": f"noise_{wind:g}"}, wind=wind)
    title, label = "Relaxed layers at the end", "Distance from exact layers"
    draw.against(results, "relaxation", "relaxation", "wind", "Probability of the wind", label, of={}, title=title)


def learned(network: str, wind: float) -> Quantity:
    """The area under the learning curve."""
    return area("clear", network=network, wind=wind)


def drop(network: str, wind: float) -> Quantity:
    """The return that noise costs at the end."""
    return final("clear", network=network, wind=wind) - final("noisy", network=network, wind=wind)


PAPER = "Park et al. (2025)"
CLAIMS = (
    Claim(
        "Without wind the area under the curve of relaxed networks is within 5 % of that of exact ones",
        PAPER,
        (learned("relaxed", 0.0) / learned("exact", 0.0)).within(0.95, 1.05),
    ),
    Claim(
        "Without wind exact and relaxed networks have a larger area under the curve than ordinary ones",
        PAPER,
        every(learned(network, 0.0) > learned("plain", 0.0) for network in ("exact", "relaxed")),
    ),
    *(
        Claim(
            f"In a wind of 0.6 relaxed networks have at least the area under the curve of {name} ones",
            PAPER,
            learned("relaxed", 0.6) >= learned(other, 0.6),
        )
        for name, other in (("exact", "exact"), ("ordinary", "plain"))
    ),
    Claim(
        "In a wind of 0.6 relaxed networks lose at most as much as ordinary ones where the picture they are tested on has noise",
        PAPER,
        drop("relaxed", 0.6) <= drop("plain", 0.6),
    ),
    Claim(
        "Ordinary networks have at least as many parameters as relaxed ones (exact)",
        "the width of the convolutions",
        final("parameters", network="plain", wind=0.0) >= final("parameters", network="relaxed", wind=0.0),
    ),
    Claim(
        "Turns change optimal values by at most (eps_R + gamma eps_P span V*) / (1 - gamma), and by nothing without wind (exact)",
        "jaxrl.solvers.mdp.symmetries",
        every(
            [final(gap, wind=0.0) <= 1e-9 for gap in ("action_value", "bound")]
            + [final("action_value", wind=wind) <= final("bound", wind=wind) + final("error", wind=wind) for wind in WINDS]
        ),
    ),
)
