"""Average reward: cycles by hand, restarts, the limit of discounted values, and models in which gains differ."""

import dataclasses

import numpy as np
import pytest

import envs
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.average_reward import average_reward
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests import probes


def test_a_loop_pays_its_reward(double_precision):
    found = average_reward(tabulate(probes.time_limit_loop()))
    np.testing.assert_allclose(found.gain, 1.0, atol=1e-6)
    assert bool(found.converged)


def test_an_episode_that_ends_begins_anew(double_precision):
    """Two steps, of which the second pays 1: a gain of 1/2, though the chain is periodic."""
    model = tabulate(probes.delayed_reward())
    found = average_reward(model, 1e-10)
    np.testing.assert_allclose(found.gain, 0.5, atol=1e-9)
    assert float(found.low) <= 0.5 <= float(found.high)
    np.testing.assert_allclose(found.bias[np.asarray(model.observation) == 1], 0.5, atol=1e-8)  # half a reward ahead


def test_the_gain_is_the_limit_of_discounted_values(double_precision):
    model = tabulate(envs.make("random_mdp", seed=3))
    found = average_reward(model, 1e-11)
    near = value_iteration(model, 1 - 1e-5, 1e-9)
    np.testing.assert_allclose(float(near.start_value(model)) * 1e-5, found.gain, rtol=1e-4)
    best = np.asarray(found.action_value).max(-1)
    np.testing.assert_allclose(best - np.asarray(found.bias), found.gain, atol=1e-8)


def test_where_gains_differ_it_does_not_converge(double_precision):
    """Two loops that do not meet, worth 1 and 0 a step."""
    model = tabulate(probes.limit_or_end())
    apart = dataclasses.replace(
        model,
        next_state=np.broadcast_to(np.arange(model.num_states)[:, None, None], model.next_state.shape).astype(np.int32),
        terminated=np.zeros_like(model.terminated),
        initial=np.full(model.num_states, 1 / model.num_states),
    )
    assert not bool(average_reward(apart, max_sweeps=500).converged)


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ConfigError, match="tolerance"):
        average_reward(tabulate(probes.delayed_reward()), -1.0)
