"""A grid with hazards and a budget: the exact optimum under a constraint, and primal-dual Q-learning that comes near it.

The short way leads through three hazards, the way around them takes two steps more. The discounted cost of an episode must stay
within a budget. Without slip two deterministic policies are undominated, so that the best one within a budget between their costs
mixes them.

Source: Altman (1999), "Constrained Markov Decision Processes"; Borkar (2005) for the primal-dual learner. Exact values: the
linear programme over discounted visits.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

import envs
from envs.gridworlds import hazard_grid
from jaxrl.algorithms.tabular import primal_dual_q
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.experiment import Arm, Claim, Results, draw, every, exact, final
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
LEARNER = primal_dual_q.Config(gamma=GAMMA)


@dataclass(frozen=True)
class Config:
    """Rewards within a budget of costs, exactly and by primal-dual Q-learning."""

    seeds: int = 64
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 200_000
    """Environment steps of each learner (count): some 30,000 episodes."""


QUICK = Config(seeds=4, env_steps=10_000)


def arms(config: Config) -> Iterator[Arm]:
    """A learner for each slip and budget: one program."""
    for slip, budget in LEARNED:
        algorithm, env = dataclasses.replace(LEARNER, budget=budget), envs.make("hazard_grid", slip=slip)
        factors = {"slip": slip, "budget": budget}
        yield Arm(factors, primal_dual_q.make, env, algorithm, config.seeds, config.env_steps, show=("multiplier",))


def tables(slip: float) -> tuple[TabularModel, np.ndarray]:
    """Returns the model of the grid and the costs of its outcomes."""
    env = envs.make("hazard_grid", slip=slip)
    model = tabulate(env)
    return model, hazard_grid.cost_table(model, env.params)


def measure(config: Config, results: Results):
    """Measures exactly what the learned policies are worth and cost."""
    for slip, budget in LEARNED:
        model, cost = tables(slip)
        policies = results.states(slip=slip, budget=budget).average[:, model.observation]

        def expected(paid, model=model, policies=policies):
            of = dataclasses.replace(model, reward=paid, observation=(), state=())
            return np.asarray(jax.vmap(lambda one: policy_evaluation(of, one, GAMMA).start_value(of))(policies))[:, None]

        yield {"slip": slip, "budget": budget}, {"value": expected(model.reward), "cost": expected(cost)}


def optimum(slip: float, budget: float) -> float:
    """The value of the best policy within a budget, by the linear programme."""
    model, cost = tables(slip)
    return occupancy_program(model, GAMMA, [cost], [budget]).value


def figures(results: Results) -> None:
    """Draws the price of the budget of 1 while learning, and the values and costs of the learned policies by budget."""
    draw.curves(results, "multiplier", {"title": "Hazard grid", "label": "Price of a unit of cost (reward units)"}, budget=1.0)
    x = "Budget (discounted cost of an episode)"
    draw.against(results, "values", "value", "budget", x, "Exact value (reward units)", of={})
    draw.against(results, "costs", "cost", "budget", x, "Exact cost of an episode", of={})


CLAIMS = (
    Claim(
        "The best values within budgets of 0, 0.5, 1 and 2, and without one, are -5.851985, -5.530180, -5.208375, -4.564765 and "
        "-3.940399 without slip; with slip 0.1, -6.502827, -6.136387 and -5.403506 from 0.5 on, and -4.642449",
        "Altman (1999), chapter 3",
        every(
            exact(f"value at slip {slip}, budget {budget}", lambda slip=slip, budget=budget: optimum(slip, budget)).equals(
                best, 1e-6
            )
            for (slip, budget), best in OPTIMA.items()
        ),
    ),
    Claim(
        "Without slip and with a budget of 1, the best policy mixes the undominated ones in the share 1 / 2.9701",
        "Altman (1999), theorem 3.8",
        exact("value less mixture", lambda: optimum(0.0, 1.0) - (-5.851985 + 1.911586 / 2.9701)).equals(0.0, 1e-6),
    ),
    *(
        Claim(
            f"With a budget of 1 and slip {slip}, the policies of primal-dual Q-learning cost at most 1.1 on average",
            "Altman (1999); Borkar (2005)",
            final("cost", slip=slip, budget=1.0) <= 1.1,
        )
        for slip in (0.0, 0.1)
    ),
    *(
        Claim(
            f"With a budget of 1 and slip {slip}, they are worth the optimum on average, up to 5 % of it",
            "Altman (1999); Borkar (2005)",
            final("value", slip=slip, budget=1.0).within(1.05 * OPTIMA[slip, 1.0], 0.95 * OPTIMA[slip, 1.0]),
        )
        for slip in (0.0, 0.1)
    ),
)
