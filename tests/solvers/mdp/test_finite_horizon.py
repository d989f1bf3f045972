"""Backward induction: known numbers, rewards that change with time, and the count of visits as a check."""

import itertools

import jax
import numpy as np
import pytest

import envs
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.finite_horizon import backward_induction, evaluation
from tests import oracles, probes
from tests.solvers.mdp.lakes import LAKE
from tests.solvers.models import garnet

MODEL = LAKE["4x4"]


def repeated(policy, num_steps):
    return np.broadcast_to(policy, (num_steps, *np.shape(policy)))


def test_known_numbers_of_the_lake(double_precision):
    """Within the time limit of 100 steps: the best policy, the greedy one for gamma 0.99, a random one."""
    best = backward_induction(MODEL, 100)
    assert float(best.start_value(MODEL)) == pytest.approx(0.744190, abs=1e-6)
    greedy = np.eye(4)[host.solve(MODEL, 0.99).action_value.argmax(-1)]
    for policy, value in ((greedy, 0.740165), (oracles.uniform(MODEL), 0.013940)):
        found = evaluation(MODEL, repeated(policy, 100))
        assert float(found.start_value(MODEL)) == pytest.approx(value, abs=1e-6)
        np.testing.assert_allclose(found.value[0], oracles.horizon_values(MODEL, 100, policy), atol=1e-12)
    np.testing.assert_allclose(best.value[0], oracles.horizon_values(MODEL, 100), atol=1e-12)
    np.testing.assert_allclose(best.value[0], host.finite_horizon(MODEL, 1.0, 100), atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_no_time_dependent_policy_is_better(gamma, double_precision):
    """All 64 deterministic policies of three states, two actions and two steps, with rewards and an end of their own."""
    model, random = garnet(0, num_states=3, num_actions=2), np.random.default_rng(0)
    reward, final = random.normal(size=(2, *model.reward.shape)), random.normal(size=3)
    best = backward_induction(model, 2, gamma, reward, final)
    plans = np.eye(2)[list(itertools.product((0, 1), repeat=6))].reshape(64, 2, 3, 2)
    values = np.array([evaluation(model, plan, gamma, reward, final).value for plan in plans])
    np.testing.assert_allclose(best.value, values.max(0), atol=1e-12)
    last = (model.probability * (reward[1] + gamma * final[model.next_state])).sum(-1)
    np.testing.assert_allclose(best.action_value[1], last, atol=1e-12)
    np.testing.assert_allclose(best.value[2], final)
    assert float(best.gap) <= 1e-12
    followed = evaluation(model, best.policy, gamma, reward, final)
    np.testing.assert_allclose(followed.value, best.value, atol=1e-12)


def test_the_gap_is_the_rounding_of_two_ways_of_counting():
    """In float32 there is some: a gap of 0 throughout would not have been counted."""
    gaps = [backward_induction(garnet(seed), 50) for seed in range(4)]
    assert all(float(found.gap) <= float(found.error_bound) for found in gaps)
    assert max(float(found.gap) for found in gaps) > 0


def test_the_value_is_what_is_paid_on_the_visits(double_precision):
    found = backward_induction(MODEL, 50)
    assert float(found.gap) <= float(found.error_bound) < 1e-10
    counted = sum(
        visits @ (MODEL.probability * MODEL.reward).sum(-1)[np.arange(16), policy.argmax(-1)]
        for visits, policy in zip(forward(MODEL, found.policy), np.asarray(found.policy), strict=True)
    )
    assert counted == pytest.approx(float(found.start_value(MODEL)), abs=1e-12)


def forward(model, policy):
    """Yields where an episode stands before each step, float64[X]; one that is over stands nowhere."""
    visits = model.initial.copy()
    for chosen in np.asarray(policy):
        yield visits
        weight = (visits[:, None] * chosen)[..., None] * model.probability * ~model.terminated
        visits = np.bincount(model.next_state.reshape(-1), weight.reshape(-1), len(visits))


def test_single_precision_and_vmap():
    plain = jax.vmap(lambda gamma: backward_induction(MODEL, 100, gamma).value[0])(np.array([0.9, 1.0], np.float32))
    np.testing.assert_allclose(plain[1], oracles.horizon_values(MODEL, 100), atol=1e-5)
    found = backward_induction(MODEL, 100)
    assert found.value.dtype == np.float32
    assert np.abs(np.asarray(found.value[0]) - oracles.horizon_values(MODEL, 100)).max() <= float(found.error_bound)


def test_illegal_actions_are_not_taken():
    model = tabulate(probes.masked_action())
    found = backward_induction(model, 3)
    assert (np.asarray(found.action_value)[:, ~np.asarray(model.action_mask)] == -np.inf).all()
    assert float(np.where(model.action_mask, 0.0, np.asarray(found.policy)).max()) == 0.0
    assert np.isfinite(found.value).all()
    with pytest.raises(ConfigError, match="the policy must take legal actions, got 'action"):
        evaluation(model, repeated(oracles.uniform(model), 3))


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="num_steps must be an integer of at least 1"):
        backward_induction(MODEL, 0)
    with pytest.raises(ConfigError, match="gamma must lie in"):
        backward_induction(MODEL, 3, 1.5)
    with pytest.raises(ConfigError, match="reward must have shape"):
        backward_induction(MODEL, 3, reward=MODEL.reward)
    with pytest.raises(ConfigError, match="final must be finite"):
        backward_induction(MODEL, 3, final=np.full(16, np.nan))
    with pytest.raises(ConfigError, match=r"the policy must have shape \[T, X, A\]"):
        evaluation(MODEL, oracles.uniform(MODEL))
    with pytest.raises(ConfigError, match="policy"):
        evaluation(MODEL, np.ones((3, 16, 4)))
    with pytest.raises(EnvError, match="one reward"):
        backward_induction(tabulate(envs.make("soccer")), 3)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_the_bound_holds_at_every_time_the_last_included(gamma):
    """Rewards of the last step and final values are a thousand times those of the others, so they are rounded the most."""
    random = np.random.default_rng(0)
    for _ in range(20):
        reward = random.normal(size=(4, *MODEL.probability.shape)) * np.asarray([1e-3, 1e-3, 1e-3, 1.0])[:, None, None, None]
        final = random.normal(size=MODEL.num_states)
        found = backward_induction(MODEL, 4, gamma, reward, final)
        value, errors = final, [np.abs(found.value[4] - final).max()]
        for time in reversed(range(4)):
            beyond = gamma * np.where(MODEL.terminated, 0.0, value[MODEL.next_state])
            value = (MODEL.probability * (reward[time] + beyond)).sum(-1).max(-1)
            errors.append(np.abs(found.value[time] - value).max())
        assert max(errors) <= found.error_bound
