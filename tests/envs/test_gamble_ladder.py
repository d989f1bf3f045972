"""Gamble ladder: its payments, its end, and its best returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.bandits import gamble_ladder
from envs.bandits.gamble_ladder import RISKY, SAFE
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles


def test_what_actions_pay_and_when_it_ends():
    env = gamble_ladder.make(rounds=2, safe=1.5, win=4.0, lose=-2.0, chance=0.25)
    keys = jax.random.split(jax.random.key(0), 20_000)
    steps = jax.jit(jax.vmap(env.step, in_axes=(0, None, None)))
    safe, risky = (steps(keys, jnp.int32(0), jnp.int32(action)) for action in (SAFE, RISKY))
    np.testing.assert_array_equal(safe.reward, 1.5)
    assert set(np.asarray(risky.reward).tolist()) == {-2.0, 4.0}
    assert float((risky.reward == 4.0).mean()) == pytest.approx(0.25, abs=0.015)
    np.testing.assert_array_equal(risky.obs, 1)
    assert not risky.terminated.any()
    last = env.step(keys[0], jnp.int32(1), jnp.int32(SAFE))
    assert bool(last.terminated)
    assert int(last.obs) == 2


def test_the_best_return_is_that_of_gambling_in_every_round():
    model = tabulate(envs.make("gamble_ladder"))
    assert model.num_states == 6
    assert oracles.start_value(model, oracles.value_iteration(model, 1.0)) == pytest.approx(7.5)
    safe = np.tile([1.0, 0.0], (6, 1))
    assert oracles.start_value(model, oracles.policy_values(model, safe, 1.0)) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"rounds": 0}, "rounds"), ({"chance": 1.5}, "chance"), ({"chance": float("nan")}, "chance"), ({"win": np.inf}, "payments")],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ConfigError, match=message):
        gamble_ladder.make(**parameters)
