"""A grid with hazards and a budget: the exact optimum under a constraint, and two learners that come near it.

The short way leads through three hazards, the way around them takes two steps more. The discounted cost of an episode must stay
within a budget. Without slip two deterministic policies are undominated, so that the best one within a budget between their costs
mixes them. Primal-dual Q-learning averages its greedy policies; PPO with a multiplier learns a policy that draws its way.

Source: Altman (1999), "Constrained Markov Decision Processes"; Borkar (2005) for the primal-dual learner; Ray et al. (2019),
"Benchmarking Safe Exploration in Deep Reinforcement Learning", for PPO. Exact values: the programme over discounted visits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np

import envs
from envs.gridworlds import hazard_grid
from jaxrl.algorithms.constrained import lagrangian
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.tabular import primal_dual_q
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.evaluation import ExactCost, ExactValue
from jaxrl.experiment import Arm, Claim, Quantity, Results, derived, draw, every, exact, final
from jaxrl.solvers.mdp.occupancy import occupancy_program
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation

GAMMA = 0.99
OPTIMA = {  # (slip, budget) -> the best value
    (0.0, 0.0): -5.851985,
    (0.0, 0.5): -5.530180,
    (0.0, 1.0): -5.208375,
    (0.0, 2.0): -4.564765,
    (0.0, 10.0): -3.940399,
    (0.1, 0.5): -6.502827,
    (0.1, 1.0): -6.136387,
    (0.1, 2.0): -5.403506,
    (0.1, 10.0): -4.642449,
}
LEARNED = [(slip, budget) for slip, budget in OPTIMA if 0 < budget < 10]
TABLE, PPO = "primal-dual Q-learning", "Lagrangian PPO"
LEARNER = primal_dual_q.Config(gamma=GAMMA)
SIZES: dict = {"hidden": (32,), "num_envs": 16, "num_steps": 32, "num_minibatches": 2}
# Chosen on root 1: with less entropy policies jump from one way to the other.
NETWORK = ppo.Config(learning_rate=1e-3, ent_coef=0.1, gamma=GAMMA, clip_value=False, normalize_advantage=False, **SIZES)
CONSTRAINED = lagrangian.Config(NETWORK, ppo.make, budget=1.0, multiplier_rate=0.01)
EVALUATIONS = 60  # of each PPO, over its training


@dataclass(frozen=True)
class Config:
    """Rewards within a budget of costs: exactly, by primal-dual Q-learning, and by PPO with a Lagrange multiplier."""

    seeds: int = 64
    """Independent tables of each kind, trained side by side (count)."""
    env_steps: int = 200_000
    """Environment steps of each table (count): some 30,000 episodes."""
    ppo_seeds: int = 8
    """Independent PPO learners (count)."""
    ppo_env_steps: int = 400_000
    """Environment steps of each of them (count)."""


QUICK = Config(seeds=4, env_steps=10_000, ppo_seeds=2, ppo_env_steps=2_048)


def arms(config: Config) -> Iterator[Arm]:
    """A table for each slip and budget: one program. PPO without slip, with a budget of 1."""
    for slip, budget in LEARNED:
        algorithm, env = replace(LEARNER, budget=budget), envs.make("hazard_grid", slip=slip)
        factors = {"method": TABLE, "slip": slip, "budget": budget}
        yield Arm(factors, primal_dual_q.make, env, algorithm, config.seeds, config.env_steps, show=("multiplier",))
    env, factors = envs.make("hazard_grid"), {"method": PPO, "slip": 0.0, "budget": 1.0}
    exactly = ExactValue.of(env, GAMMA), ExactCost.of(env, tables(0.0)[1], GAMMA)
    arm = Arm(factors, lagrangian.make, env, CONSTRAINED, config.ppo_seeds, config.ppo_env_steps, evaluators=exactly)
    yield replace(arm, show=("multiplier",), chunk_length=max(1, arm.updates // EVALUATIONS))


def tables(slip: float) -> tuple[TabularModel, np.ndarray]:
    """Returns the model of the grid and the costs of its outcomes."""
    env = envs.make("hazard_grid", slip=slip)
    model = tabulate(env)
    return model, hazard_grid.cost_table(model, env.params)


def measure(config: Config, results: Results):
    """Measures exactly what the policies of the tables are worth and cost."""
    for slip, budget in LEARNED:
        model, cost = tables(slip)
        factors = {"method": TABLE, "slip": slip, "budget": budget}
        policies = results.states(**factors).average[:, model.observation]

        def expected(paid, model=model, policies=policies):
            of = replace(model, reward=paid, observation=(), state=())
            return np.asarray(jax.vmap(lambda one: policy_evaluation(of, one, GAMMA).start_value(of))(policies))[:, None]

        yield factors, {"value": expected(model.reward), "cost": expected(cost)}


def optimum(slip: float, budget: float) -> float:
    """The value of the best policy within a budget, by the linear programme."""
    model, cost = tables(slip)
    return occupancy_program(model, GAMMA, [cost], [budget]).value


def late(metric: str) -> Quantity:
    """The mean of an exact measure of PPO's policies over the last third of training."""
    text = f"mean of {metric} over the last third"
    return derived(text, lambda results: np.array_split(results.values(metric), 3, axis=1)[2].mean(1))


def figures(results: Results) -> None:
    """Draws the price of the budget of 1 while learning, the cost of PPO then, and values and costs of the tables by budget."""
    draw.curves(results, "multiplier", {"title": "Hazard grid", "label": "Price of a unit of cost (reward units)"}, budget=1.0)
    draw.curves(results, "sampled_exact_cost", {"title": PPO, "label": "Exact cost of an episode", "optimum": 1.0})
    x = "Budget (discounted cost of an episode)"
    draw.against(results, "values", "value", "budget", x, "Exact value (reward units)", of={})
    draw.against(results, "costs", "cost", "budget", x, "Exact cost of an episode", of={})


def near(method: str, slip: float, cost: Quantity, value: Quantity, time: str = "") -> tuple[Claim, Claim]:
    """The claims that a learner keeps a budget of 1, and is worth the optimum within it."""
    who, source = f"With a budget of 1 and slip {slip}, the policies of {method}", "Altman (1999); Borkar (2005)"
    best = OPTIMA[slip, 1.0]
    return (
        Claim(f"{who} cost at most 1.1 on average{time}", source, cost <= 1.1),
        Claim(f"{who} are worth the optimum on average{time}, up to 5 % of it", source, value.within(1.05 * best, 0.95 * best)),
    )


CLAIMS = (
    Claim(
        "The best values within budgets of 0, 0.5, 1 and 2, and without one, are -5.851985, -5.530180, -5.208375, -4.564765 and "
        "-3.940399 without slip; with slip 0.1, -6.502827, -6.136387 and -5.403506 from 0.5 on, and -4.642449",
        "Altman (1999), chapter 3",
        every(
            exact(f"value at slip {p}, budget {d}", lambda p=p, d=d: optimum(p, d)).equals(best, 1e-6)
            for (p, d), best in OPTIMA.items()
        ),
    ),
    Claim(
        "Without slip and with a budget of 1, the best policy mixes the undominated ones in the share 1 / 2.9701",
        "Altman (1999), theorem 3.8",
        exact("value less mixture", lambda: optimum(0.0, 1.0) - (-5.851985 + 1.911586 / 2.9701)).equals(0.0, 1e-6),
    ),
    *near(TABLE, 0.0, final("cost", slip=0.0, budget=1.0), final("value", slip=0.0, budget=1.0)),
    *near(TABLE, 0.1, final("cost", slip=0.1, budget=1.0), final("value", slip=0.1, budget=1.0)),
    *near(PPO, 0.0, late("sampled_exact_cost"), late("sampled_exact_value"), " over the last third of training"),
)
