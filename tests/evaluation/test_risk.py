"""Exact CVaR of learned policies: a policy that is known, against exact dynamic programming and against plans in advance."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import dqn
from jaxrl.blocks import value_heads
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import Decision
from jaxrl.core.transforms import with_stock
from jaxrl.errors import ConfigError, EnvError
from jaxrl.evaluation import ExactCVaR
from jaxrl.solvers.mdp.stock import optimal_cvar
from jaxrl.training.runner import run

ATOMS = np.arange(16.0)
LADDER = envs.make("gamble_ladder")
STOCKED = with_stock(LADDER, -ATOMS)
CONFIG = dqn.Config(
    head="quantile", num_atoms=4, huber_delta=1.0, gamma=1.0, hidden=(8,), num_rounds=2, batch_size=8, learning_starts=50
)


def evaluator(env, level=0.5):
    return ExactCVaR.of(env, level, ATOMS, dqn.q_network(env, CONFIG), value_heads.make(CONFIG))


def measured(env, act, level=0.5):
    """Returns the metrics of a policy, ``act(obs) -> actions``, beside a new network."""
    params = dqn.q_network(env, CONFIG).init(jax.random.key(0), jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 2))[0])
    algorithm = Algorithm(None, None, lambda state, greedy: lambda key, view: Decision(act(view.obs)), (), None)
    state = SimpleNamespace(params=params)
    return evaluator(env, level)(jax.random.key(1), algorithm, state)


@pytest.mark.slow
def test_the_best_policy_has_the_cvar_that_dynamic_programming_promises():
    plan = optimal_cvar(tabulate(LADDER), ATOMS, 0.5)
    order = np.argsort(tabulate(LADDER).observation)
    table = jnp.asarray(plan.policy.argmax(-1)[order])  # [round, place of the stock]

    def act(obs):
        place = jnp.searchsorted(jnp.asarray(plan.stocks), jnp.clip(obs["stock"], plan.stocks[0], plan.stocks[-1]))
        return table[obs["obs"], place].astype(jnp.int32)

    metrics = measured(STOCKED, act)
    assert float(metrics["greedy_best_cvar"]) == pytest.approx(5.375, abs=1e-5)
    assert float(metrics["greedy_exact_cvar"]) <= 5.375 + 1e-5
    assert float(metrics["greedy_exact_cvar_error"]) < 1e-5


@pytest.mark.parametrize(("action", "level", "value"), [(0, 0.5, 5.0), (1, 0.5, 75 / 16), (1, 1.0, 7.5), (1, 1 / 32, 0.0)])
def test_without_a_stock_there_is_one_law(action, level, value):
    """Always safe, or always the gamble: 3 times a binomial number."""
    metrics = measured(LADDER, lambda obs: jnp.full(obs.shape, action, jnp.int32), level)
    assert float(metrics["greedy_exact_cvar"]) == pytest.approx(value, abs=1e-5)
    assert "greedy_best_cvar" not in metrics


def test_a_learner_is_evaluated_seed_by_seed():
    config = CONFIG.replace(utility="shortfall")
    done = run(dqn.make, STOCKED, config, seeds=3, num_updates=2, chunk_length=1, evaluators=(evaluator(STOCKED),))
    own, best = (np.asarray(done.evaluations[f"greedy_{name}_cvar"]) for name in ("exact", "best"))
    assert own.shape == best.shape == (3, 2)
    assert ((own >= 0) & (own <= best + 1e-6) & (best <= 5.375 + 1e-4)).all()


def test_what_cannot_be_evaluated_is_refused():
    network, head = dqn.q_network(LADDER, CONFIG), value_heads.make(CONFIG)
    for arguments, error, message in (
        ((LADDER, 0.0, ATOMS, network, head), ConfigError, "level must lie in"),
        ((LADDER, 0.5, ATOMS[::-1], network, head), ConfigError, "must rise"),
        ((LADDER, 0.5, ATOMS, network, value_heads.Mean()), ConfigError, r"as many outputs for each action as the network \(4\)"),
        ((envs.make("prisoners_dilemma"), 0.5, ATOMS, network, head), EnvError, "must have no agent axis, got 2"),
    ):
        with pytest.raises(error, match=message):
            ExactCVaR.of(*arguments)
