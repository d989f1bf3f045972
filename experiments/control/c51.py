"""Laws of the return: exact on FrozenLake by categorical dynamic programming, and learned on Catch by C51 and by quantiles.

The law of a policy's return is computed on a grid of 51 atoms and compared with the returns of simulated episodes. Under ties,
the means of the control operator converge while its laws may cycle for ever. DQN, C51 and QR-DQN learn Catch side by side.

Source: Bellemare, Dabney and Munos (2017), "A Distributional Perspective on Reinforcement Learning"; Dabney et al. (2018).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

import envs
from jaxrl.algorithms.deep import dqn
from jaxrl.blocks.policies import mixture
from jaxrl.blocks.value_heads import project
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.core.transforms import with_time_limit
from jaxrl.evaluation import ExactValue
from jaxrl.evaluation.episodes import evaluate
from jaxrl.experiment import Arm, Claim, Results, area, draw, exact, final
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.distributional import distributional_evaluation, distributional_value_iteration

SUCCESS, VALUE = 0.823529, 0.542026  # of the policy that reaches the goal most often, and at discount 0.99
ATOMS = np.linspace(0.0, 1.0, 51)
SCHEDULE = {"epsilon_steps": 20_000.0, "target_interval": 100, "num_steps": 4, "num_rounds": 125, "learning_starts": 1_000}
LEARNER = dqn.Config(learning_rate=1e-3, batch_size=32, hidden=(64, 64), value_min=-1.0, value_max=1.0, **SCHEDULE)
HEADS = {"DQN": {}, "C51": {"head": "categorical"}, "QR-DQN": {"head": "quantile", "huber_delta": 0.1}}


@dataclass(frozen=True)
class Config:
    """Return laws on FrozenLake; DQN, C51 and QR-DQN on Catch."""

    seeds: int = 8
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 50_000
    """Environment steps of each learner (count)."""
    episodes: int = 100_000
    """Simulated episodes on FrozenLake (count)."""


QUICK = Config(seeds=2, env_steps=2_000, episodes=500)


def arms(config: Config) -> Iterator[Arm]:
    """Three learners on Catch."""
    catch = envs.make("catch")
    for name, head in HEADS.items():
        factors, learner = {"task": "catch", "algorithm": name}, replace(LEARNER, **head)
        yield Arm(factors, dqn.make, catch, learner, config.seeds, config.env_steps, evaluators=(ExactValue.of(catch, 1.0),))


def measure(config: Config, results: Results):
    """Computes laws of the return on FrozenLake, and plays episodes.

    ``success`` is the mass on 1 without discount, ``mean`` that of the law with discount 0.99 on 51 atoms, and ``distance``
    Cramer's, between that law and the returns of the episodes: the root of the integral of (F - G)^2 over 0 .. 1.
    """
    lake = envs.make("frozen_lake")
    with jax.enable_x64(True):
        model = tabulate(lake)
        policy = np.eye(4)[host.solve(model, 0.999).action_value.argmax(-1)]
        whole = distributional_evaluation(model, policy, 1.0, [0.0, 1.0], 1e-9).start_law(model)
        law = np.asarray(distributional_evaluation(model, policy, 0.99, ATOMS, 1e-9).start_law(model))
    by_cell = policy[np.argsort(model.observation)].astype(np.float32)  # every cell is a state
    endless, careful = with_time_limit(lake, 5_000), mixture(jnp.asarray(by_cell)[None])
    play = jax.jit(lambda key: evaluate(key, endless, careful, config.episodes, 0.99).discounted_return)
    returns = np.sort(play(jax.random.key(0)))
    grid = np.linspace(0.0, 1.0, 10_001)
    apart = np.searchsorted(returns, grid, side="right") / config.episodes - np.cumsum(law)[(grid * 50 + 1e-9).astype(int)]
    distance = float(np.sqrt(np.mean(apart**2)))
    yield {"task": "lake"}, {"success": float(whole[1]), "mean": float(law @ ATOMS), "distance": distance}


def projection_error() -> float:
    """Returns by how much the projection of 1000 laws changes their mass, or the means of those inside the atoms."""
    rng = np.random.default_rng(0)
    moved, mass = rng.uniform(-0.2, 1.2, (1000, 51)), rng.dirichlet(np.ones(51), 1000)
    with jax.enable_x64(True):
        found, inside = (project(*map(jnp.asarray, (ATOMS, where, mass))) for where in (moved, moved.clip(0, 1)))
        means = inside @ ATOMS - (moved.clip(0, 1) * mass).sum(-1)
        return float(max(jnp.abs(found.sum(-1) - 1.0).max(), jnp.abs(means).max()))


def tied() -> TabularModel:
    """Returns one state with two actions that pay 0 on average: for certain, or -1 or 1 with equal chances. Both end."""
    after, chances = np.zeros((1, 2, 2), np.int32), np.array([[[1.0, 0.0], [0.5, 0.5]]])
    rewards, legal, one = np.array([[[0.0, 0.0], [-1.0, 1.0]]]), np.ones((1, 2), bool), np.zeros(1, int)
    return TabularModel(after, chances, rewards, after == 0, np.ones(1), legal, one, one, (2,))


def last_change(part: str) -> float:
    """Returns the change in the last of 1000 sweeps of the control operator under a tie: ``residual`` or ``mean_residual``."""
    # Of two actions with the largest mean, the gamble follows a law that was certain, and the certain action one that was not.
    choose, support = (lambda law, mean: (law[:, 1] > 0.75).astype(jnp.int32)), [-1.0, 0.0, 1.0]
    with jax.enable_x64(True):
        return float(getattr(distributional_value_iteration(tied(), 0.9, support, 1e-6, 1000, choose), part))


def figures(results: Results) -> None:
    """Draws the exact return of the greedy policies on Catch over time."""
    label = {"optimum": 1.0, "title": "Catch", "label": "Exact return of the greedy policy (reward units)"}
    draw.curves(results, "greedy_exact_value", label, task="catch")


CLAIMS = (
    Claim(
        "Without discount, the law of the return of FrozenLake's most careful policy has mass 14/17 on success",
        "Bellemare et al. (2017), section 3.3; exact value by a linear system",
        final("success", task="lake").equals(SUCCESS, 1e-4),
    ),
    Claim(
        "At discount 0.99 the law on 51 atoms has the mean of the exact value, 0.542026",
        "the projection of Bellemare et al. (2017), equation 7, keeps the mean",
        final("mean", task="lake").equals(VALUE, 1e-6),
    ),
    Claim(
        "That law lies within Cramer distance 0.02 of the returns of 100,000 simulated episodes",
        "Rowland et al. (2018), proposition 3; the bar is ours",
        final("distance", task="lake") <= 0.02,
    ),
    Claim(
        "The projection keeps the mass of 1000 random laws, and their means inside the atoms",
        "Bellemare et al. (2017), equation 7",
        exact("largest change of mass or mean", projection_error).equals(0.0, 1e-6),
    ),
    Claim(
        "Under a tie the laws of the control operator still move by more than 0.4 of the grid after 1000 sweeps",
        "Bellemare et al. (2017), section 3.4",
        exact("change of the law", lambda: last_change("residual")) >= 0.4,
    ),
    Claim(
        "Under the same tie its means stand still",
        "Bellemare et al. (2017), lemma 4",
        exact("change of the mean", lambda: last_change("mean_residual")).equals(0.0, 1e-9),
    ),
    *(
        Claim(
            f"On Catch, {name} has a larger area under the curve than DQN",
            source,
            area("greedy_exact_value", algorithm=name) > area("greedy_exact_value", algorithm="DQN"),
        )
        for name, source in (("C51", "Bellemare et al. (2017), figure 3"), ("QR-DQN", "Dabney et al. (2018)"))
    ),
)
