"""Value iteration for an agent who is averse to risk: it maximises the exponential utility of the sum of all rewards.

Source: Howard and Matheson (1972), "Risk-Sensitive Markov Decision Processes".
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import require_within
from jaxrl.solvers.fixed_point import MAX_SWEEPS
from jaxrl.solvers.mdp.problem import require_problem, require_values
from jaxrl.solvers.mdp.solution import Solution
from jaxrl.solvers.mdp.value_iteration import iterate


def certainty_equivalents(model: TabularModel, value: Any, risk_aversion: jax.Array | float) -> jax.Array:
    """Returns Q(x, a) = -log(sum_k p_k exp(-b [r_k + (1 - terminated_k) V(x'_k)])) / b, float[X, A]; b is the risk aversion.

    It is what an agent with the utility -exp(-b y) of the sum y of all rewards would take instead of going on. There is no
    discount, since Q is not in proportion to the rewards.

    Raises:
        ConfigError: the risk aversion is not a positive number, or there is not one number for each state.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.

    Source: Howard and Matheson (1972), "Risk-Sensitive Markov Decision Processes", equation 2.10.
    """
    where = "certainty_equivalents"
    _require_risk_aversion(where, risk_aversion)
    require_problem(where, model)
    bootstrap = jnp.where(model.terminated, 0.0, require_values(where, model, value)[model.next_state])
    possible = jnp.asarray(model.probability) > 0
    outcome = model.reward + bootstrap
    worst = jnp.where(possible, outcome, jnp.inf).min(-1, keepdims=True)
    # Relative to the worst outcome nothing overflows. Near certainty, or indifference to risk, the sum is close to 1 and its
    # logarithm is that of 1 + x with a small x, which must not be rounded before.
    above = -risk_aversion * jnp.where(possible, outcome - worst, 0.0)
    less = (model.probability * jnp.expm1(above)).sum(-1)
    total = (model.probability * jnp.exp(above)).sum(-1)
    near = less > -0.5
    logarithm = jnp.where(near, jnp.log1p(jnp.where(near, less, 0.0)), jnp.log(jnp.where(near, 1.0, total)))
    return worst[..., 0] - logarithm / risk_aversion


def _require_risk_aversion(where: str, risk_aversion: Any) -> None:
    fix = "value_iteration is indifferent to risk."
    require_within(where, "risk_aversion", risk_aversion, 0, np.inf, fix, above=True, below=True)


def entropic_value_iteration(
    model: TabularModel,
    risk_aversion: jax.Array | float,
    tolerance: jax.Array | float = 1e-6,
    max_sweeps: jax.Array | int = MAX_SWEEPS,
) -> Solution:
    """Sweeps V <- max_a Q with the certainty equivalents Q, as ``value_iteration`` does with expectations.

    Args:
        model: the environment's tables, with one reward (no agent axis); episodes must end, or pay nothing in the long run.
        risk_aversion: positive, per unit of reward; near 0 it is value iteration without discount.
        tolerance: the last change of a sweep to accept, relative to the largest value.
        max_sweeps: an end for problems that do not converge.

    Raises:
        ConfigError: the risk aversion is not a positive number, the tolerance is negative, or ``max_sweeps`` is below 1.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "entropic_value_iteration"
    _require_risk_aversion(where, risk_aversion)
    require_problem(where, model, tolerance=tolerance, max_sweeps=max_sweeps)
    return _entropic_value_iteration(model.tables, risk_aversion, tolerance, max_sweeps)


@jax.jit
def _entropic_value_iteration(model, risk_aversion, tolerance, max_sweeps) -> Solution:
    return iterate(model, lambda value: certainty_equivalents(model, value, risk_aversion), 1.0, tolerance, max_sweeps)


class EntropicPlan(NamedTuple):
    """The best that an exponential utility can do from the likeliest start, on the host.

    value: its certainty equivalent, in units of the reward. observations, choices: int[V], what is seen where the best policy
    leads, the start first, and what it does there, the first among equals.
    """

    value: float
    observations: np.ndarray
    choices: np.ndarray

    def errors(self, q: np.ndarray, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Compares learned tables with the plan.

        Args:
            q: float[S, observations, A], certainty equivalents of the actions.
            offset: to be taken from them at the start.

        Returns:
            The error of the value of the start relative to the plan's, float64[S], infinite where it is no number; and by how
            many places the choice with the largest value is off at most, int[S].
        """
        seen = np.asarray(q, np.float64)[:, self.observations]
        error = np.abs(seen[:, 0].max(-1) - offset - self.value) / abs(self.value)
        return np.where(np.isfinite(error), error, np.inf), np.abs(seen.argmax(-1) - self.choices).max(-1)


def entropic_plan(model: TabularModel, risk_aversion: float) -> EntropicPlan:
    """Plans for an exponential utility by ``entropic_value_iteration`` in float64; observations must be integers.

    Raises:
        ConfigError, EnvError: as ``entropic_value_iteration``.
    """
    with jax.enable_x64(True):
        planned = entropic_value_iteration(model, risk_aversion, tolerance=1e-12)
        choices, value = np.asarray(planned.action_value).argmax(-1), float(planned.start_value(model))
    states = visited_under(model, choices)
    return EntropicPlan(value, np.asarray(model.observation)[states], choices[states])


def visited_under(model: TabularModel, actions: np.ndarray) -> list[int]:
    """Returns the states in which an episode can stand that begins at the likeliest start and takes these actions, it first.

    Args:
        model: of a finite environment.
        actions: int[X], of every state.
    """
    states = [int(np.asarray(model.initial).argmax())]
    for state in states:
        taken = actions[state]
        going_on = np.asarray((model.probability[state, taken] > 0) & ~model.terminated[state, taken])
        successors = np.asarray(model.next_state[state, taken])[going_on].tolist()
        states += [successor for successor in successors if successor not in states]
    return states
