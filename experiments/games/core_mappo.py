"""MAPPO and IPPO: simple spread against its heuristics, pursuit against its exact optimum, parameters shared or not.

Source: Yu et al. (2022), "The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games". The returns of simple spread are
those of our version of it: rewards differ between ports, so no published number is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import jax

import envs
from jaxrl.algorithms.multiagent import mappo
from jaxrl.evaluation import Episodes, TeamReturn
from jaxrl.experiment import Arm, Claim, Results, draw, exact, final

# Simple spread, the team's return over 25 steps, measured over 4000 episodes. Random agents earn -51.6, agents who each go to a
# landmark of their own -11.9.
NEAREST_LANDMARK = -26.2
CAPTURE_TIME = 3.121267  # of an optimal pair of predators on the 5x5 torus, from a uniformly drawn free start
AGENTS = 3
SHARED, SEPARATE = "shared parameters", "separate parameters"


@dataclass(frozen=True)
class Config:
    """MAPPO and IPPO on simple spread and pursuit."""

    seeds: int = 5
    """Independent teams on simple spread, trained side by side (count)."""
    env_steps: int = 2_000_000
    """Environment steps of each of them (count)."""
    pursuit_seeds: int = 64
    """Independent teams on pursuit (count)."""
    pursuit_env_steps: int = 96_000
    """Environment steps of each of them (count)."""
    algorithm: mappo.Config = field(
        default_factory=lambda: mappo.Config(learning_rate=1e-3, num_envs=32, num_steps=50, num_epochs=8, activation="relu")
    )
    """Hyper-parameters of both tasks, chosen on other seeds (root 1) than those of the claims. The learning rate falls to 0 over
    the run; the arm decides whether the critic is central and the parameters are shared."""


QUICK = Config(seeds=2, env_steps=6_400, pursuit_seeds=4, pursuit_env_steps=6_400)


def arms(config: Config) -> Iterator[Arm]:
    """MAPPO and IPPO on simple spread, then MAPPO on pursuit with shared parameters and with separate ones."""
    spread, pursuit = envs.make("simple_spread", num_agents=AGENTS), envs.make("pursuit", size=5)
    episodes, team_return = Episodes(spread, num_episodes=256), TeamReturn.of(pursuit)
    for algorithm in ("MAPPO", "IPPO"):
        yield Arm(
            {"task": "spread", "algorithm": algorithm, "parameters": SHARED},
            mappo.make,
            spread,
            replace(config.algorithm.annealed(config.env_steps), centralized=algorithm == "MAPPO"),
            seeds=config.seeds,
            env_steps=config.env_steps,
            evaluators=(episodes,),
            show=("greedy_return",),
        )
    for parameters in (SHARED, SEPARATE):
        yield Arm(
            {"task": "pursuit", "algorithm": "MAPPO", "parameters": parameters},
            mappo.make,
            pursuit,
            replace(config.algorithm.annealed(config.pursuit_env_steps), shared_parameters=parameters == SHARED),
            seeds=config.pursuit_seeds,
            env_steps=config.pursuit_env_steps,
            evaluators=(team_return,),
            show=("greedy_exact_return", "greedy_return_gap"),
            chunk_length=12,  # updates between exact evaluations, which take long
        )


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Measures how large the state of a team on pursuit is, in kilobytes: networks, optimiser and environments."""
    for parameters in (SHARED, SEPARATE):
        factors = {"task": "pursuit", "algorithm": "MAPPO", "parameters": parameters}
        state = results.run(**factors).state
        yield factors, {"state_kilobytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / config.pursuit_seeds / 1024}


def figures(results: Results) -> None:
    """Draws the returns of both tasks over time and where the seeds end."""
    label = {"label": f"Return of the greedy policy, sum over {AGENTS} agents"}
    draw.curves(results, "greedy_return", label, task="spread")
    draw.ends(results, "greedy_return", label, task="spread")
    label = {"label": "Exact return of the greedy policy: minus the steps"}
    draw.curves(results, "greedy_exact_return", {"optimum": -CAPTURE_TIME, **label}, task="pursuit")
    draw.ends(results, "greedy_exact_return", label, task="pursuit")


def optimal_capture_time() -> float:
    """Returns how many steps two predators need who are moved by one planner."""
    return -float(TeamReturn.of(envs.make("pursuit", size=5)).optimum)


# All agents of simple spread are paid the same: the team's return is the sum over agents divided by their number.
CLAIMS = (
    Claim(
        "After 2 million steps of simple spread the greedy policies of MAPPO earn at least -20 on average",
        "Yu et al. (2022)",
        final("greedy_return", task="spread", algorithm="MAPPO") / AGENTS >= -20.0,
    ),
    Claim(
        "After 2 million steps of simple spread MAPPO does better than agents who go to the nearest landmark, -26.2",
        "Yu et al. (2022)",
        final("greedy_return", task="spread", algorithm="MAPPO") / AGENTS > NEAREST_LANDMARK,
    ),
    Claim(
        "After 2 million steps of simple spread IPPO, without the central critic, does better than agents who go to the nearest "
        "landmark, -26.2",
        "de Witt et al. (2020)",
        final("greedy_return", task="spread", algorithm="IPPO") / AGENTS > NEAREST_LANDMARK,
    ),
    Claim(
        "On the 5x5 torus predators that MAPPO trains with shared parameters need at most 6 steps on average (exact)",
        "Yu et al. (2022)",
        final("greedy_exact_return", task="pursuit", parameters=SHARED) >= -6.0,
    ),
    Claim(
        "On the 5x5 torus predators that MAPPO trains with separate parameters need at most 6 steps on average (exact)",
        "Yu et al. (2022)",
        final("greedy_exact_return", task="pursuit", parameters=SEPARATE) >= -6.0,
    ),
    Claim(
        "On the 5x5 torus a planner who moves both predators needs 3.121267 steps on average",
        "value iteration on the exact model",
        exact("optimal capture time", optimal_capture_time).equals(CAPTURE_TIME, 1e-5),
    ),
)
