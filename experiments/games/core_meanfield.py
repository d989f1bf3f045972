"""Mean-field reinforcement learning: order among 400 agents of the Ising model, and 100 agents who squeeze a sum.

An agent that is paid half of what its bonds are worth and acts at temperature T / 2 is a spin at temperature T: see
``envs.markov_games.ising``. Temperatures here are those of the spins, in units of the coupling.

Source: Yang et al. (2018), Mean field multi-agent reinforcement learning, sections 5.1 and 5.2; the physicist's model: Metropolis
et al. (1953).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from envs.markov_games import gaussian_squeeze, ising
from jaxrl.algorithms.multiagent import iql, mean_field_ac, mean_field_q
from jaxrl.experiment import Arm, Claim, Quantity, Results, derived, draw, every, exact, final
from jaxrl.solvers import mean_field

ISING, SQUEEZE = "Ising model", "Gaussian squeeze"
MFQ, MFAC, METROPOLIS = "MF-Q", "MF-AC", "Metropolis"
INDEPENDENT, EPSILON_GREEDY = "independent Q, Boltzmann", "independent Q, epsilon-greedy"
TEMPERATURES = (1.5, 2.0, 2.5, 3.0, 4.0)  # of the spins; the critical one is 2.269
SIZE, AGENTS = 20, 100
# Three quarters point up at first, so that no board is caught in stripes. Agents who all answer the last board at once split into
# two games, of the white cells and of the black ones; with inertia there is one. Pay is certain, so alpha is 1.
START = 0.75
SPINS = {"gamma": 0.0, "learning_rate": 1.0, "neighbourhood": "torus", "levels": 5, "inertia": 0.8, "num_steps": 500}
# Levels as wide as nine contributions: what agents do at one time teaches all actions at a level. The first values are more than
# can be won, so that every level is tried; steps of the mean are small, so that the crowd does not overshoot. Chosen on root 1.
SQUEEZE_TEMPERATURE = 0.02
TABLE = {
    "gamma": 0.0,
    "learning_rate": 1.0,
    "learning_rate_half_life": 10.0,
    "learning_rate_min": 0.005,
    "initial_value": 450.0,
    "temperature": SQUEEZE_TEMPERATURE,
    "num_steps": 500,
}
CROWDS = {
    MFQ: (mean_field_q.make, mean_field_q.Config(**TABLE, levels=AGENTS, mean_step_size=0.001)),
    MFAC: (mean_field_ac.make, mean_field_ac.Config(**TABLE, levels=AGENTS)),
    INDEPENDENT: (iql.make, iql.Config(**TABLE, exploration="boltzmann")),
    EPSILON_GREEDY: (iql.make, iql.Config(gamma=0.0, epsilon=0.05, num_steps=500)),
}


@dataclass(frozen=True)
class Config:
    """Mean-field Q-learning and actor-critic at five temperatures, and against independent learners."""

    seeds: int = 4
    """Boards at each temperature (count)."""
    env_steps: int = 10_000
    """Steps of each board, and sweeps of the physicist's model; order is measured in the second half (count)."""
    squeeze_seeds: int = 16
    """Crowds of each kind of learner (count)."""
    squeeze_steps: int = 40_000
    """Plays of each crowd (count)."""


QUICK = Config(seeds=2, env_steps=1_000, squeeze_seeds=2, squeeze_steps=1_000)


def board(config: Config):
    """Returns the Ising model, without a reset before the end."""
    return ising.make(size=SIZE, up=START, max_steps=config.env_steps)


def arms(config: Config) -> Iterator[Arm]:
    """Both learners at every temperature, and both beside independent learners in the squeeze."""
    env = board(config)
    for algorithm, module in ((MFQ, mean_field_q), (MFAC, mean_field_ac)):
        for temperature in TEMPERATURES:
            settings = module.Config(**SPINS, temperature=temperature / 2)
            factors = {"game": ISING, "algorithm": algorithm, "temperature": temperature}
            yield Arm(factors, module.make, env, settings, config.seeds, env_steps=config.env_steps, show=("alignment",))
    crowd = gaussian_squeeze.make(num_agents=AGENTS)
    for algorithm, (make, settings) in CROWDS.items():
        factors = {"game": SQUEEZE, "algorithm": algorithm, "temperature": SQUEEZE_TEMPERATURE}
        yield Arm(factors, make, crowd, settings, config.squeeze_seeds, env_steps=config.squeeze_steps, show=("reward",))


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Plays the physicist's model from such boards; ``alignment`` is its order, a mean over as many sweeps as of the learners."""
    keys = jax.random.split(jax.random.key(results.root), config.seeds)
    play = jax.jit(partial(ising.metropolis, num_sweeps=config.env_steps))
    first = jax.vmap(board(config).reset)(keys)[1]
    for temperature in TEMPERATURES:
        order = jax.vmap(play, (0, 0, None))(keys, first, temperature)[1]
        blocks = config.env_steps // SPINS["num_steps"]
        means = np.asarray(order)[:, : blocks * SPINS["num_steps"]].reshape(config.seeds, blocks, -1).mean(-1)
        yield {"game": ISING, "algorithm": METROPOLIS, "temperature": temperature}, {"alignment": means}


def order(algorithm: str, temperature: float) -> Quantity:
    """The order parameter of the boards, a mean over the second half of the steps."""

    def read(results: Results) -> np.ndarray:
        values = results.values("alignment", game=ISING, algorithm=algorithm, temperature=temperature)
        return values[:, values.shape[1] // 2 :].mean(1)

    return derived(f"order of {algorithm} at temperature {temperature:g}", read)


def figures(results: Results) -> None:
    """Draws order against temperature, and what the crowds are paid over time."""
    curves = {
        label: (np.array(TEMPERATURES), np.stack([order(label, t).read(results) for t in TEMPERATURES], 1))
        for label in (MFQ, MFAC, METROPOLIS)
    }
    title, labels = "Order among 400 agents", ("Temperature of the spins (coupling)", "Order parameter")
    draw.relation(results, "order", curves, *labels, title=title)
    crowds = {name: {"game": SQUEEZE, "algorithm": name} for name in CROWDS}
    interval = SPINS["num_steps"] / 1_000
    draw.lines(
        results, "squeeze", "reward", crowds, "Plays (1,000)", "Reward", interval, title="Pay of 100 agents who squeeze a sum"
    )


def crowd_values(mean: jax.Array) -> jax.Array:
    """Returns what each contribution pays if the others contribute this on average, on a scale from 0 to 1; float[10]."""
    params = gaussian_squeeze.make(num_agents=AGENTS).params
    return gaussian_squeeze.worth(9 * (AGENTS - 1) * mean + jnp.arange(10.0), params)


def fixpoint() -> mean_field.MeanFieldFixpoint:
    """Returns the fixpoint of the crowd, in float64."""
    with jax.enable_x64(True):
        return mean_field.fixpoint(crowd_values, SQUEEZE_TEMPERATURE)


MEAN = exact("mean action of the fixpoint", lambda: float(fixpoint().mean))
YANG = "Yang et al. (2018), section 5.2"
PAIRS = tuple(pairwise(TEMPERATURES))
CLAIMS = (
    Claim(
        "Of 400 agents in the Ising model, mean-field Q-learners keep an order above 0.8 at temperature 1.5 of the spins",
        YANG,
        order(MFQ, TEMPERATURES[0]) > 0.8,
    ),
    Claim(
        "Of 400 agents in the Ising model, mean-field Q-learners keep an order below 0.2 at temperature 4 of the spins",
        YANG,
        order(MFQ, TEMPERATURES[-1]) < 0.2,
    ),
    Claim(
        "In the Ising model the order of mean-field Q-learners falls from each of five temperatures to the next",
        YANG,
        every(order(MFQ, low) > order(MFQ, high) for low, high in PAIRS),
    ),
    Claim(
        "In the Ising model the order of mean-field Q-learners is within 0.1 of the physicist's at each of five temperatures",
        "Metropolis et al. (1953); Yang et al. (2018), Figure 5",
        every((order(MFQ, t) - order(METROPOLIS, t)).within(-0.1, 0.1) for t in TEMPERATURES),
    ),
    Claim(
        "In the Ising model the order of mean-field actor-critics falls from each of five temperatures to the next",
        YANG,
        every(order(MFAC, low) > order(MFAC, high) for low, high in PAIRS),
    ),
    Claim(
        "In the Gaussian squeeze of 100 agents mean-field Q-learners are paid more than learners who do not see the mean action, "
        "all else equal",
        "Yang et al. (2018), section 5.1",
        final("reward", game=SQUEEZE, algorithm=MFQ) > final("reward", game=SQUEEZE, algorithm=INDEPENDENT),
    ),
    Claim(
        "In the Gaussian squeeze of 100 agents mean-field Q-learners are paid more than epsilon-greedy independent Q-learners",
        "Yang et al. (2018), section 5.1",
        final("reward", game=SQUEEZE, algorithm=MFQ) > final("reward", game=SQUEEZE, algorithm=EPSILON_GREEDY),
    ),
    Claim(
        "The fixpoint of the squeeze is the Boltzmann policy in its own mean action, to 1e-3",
        "Yang et al. (2018), section 3.2",
        exact("largest difference of a probability", lambda: float(fixpoint().residual)) <= 1e-3,
    ),
    Claim(
        "The mean action of mean-field Q-learners in the squeeze ends within 0.005, of 1, of that of the fixpoint",
        "Yang et al. (2018), theorem 1",
        (final("mean_action", game=SQUEEZE, algorithm=MFQ) - MEAN).equals(0.0, 0.005),
    ),
)
