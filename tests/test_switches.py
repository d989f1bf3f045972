"""jax's own switches: jax_enable_x64, jax_debug_nans and jax_disable_jit. Everything runs under them and comes to the same."""

import contextlib
import os
import subprocess
import sys
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.core import rollout
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import View
from jaxrl.evaluation import Episodes, ExactValue
from jaxrl.evaluation.episodes import MODES
from jaxrl.training.runner import run
from tests.marks import rest_is_slow
from tests.small_algorithms import CASES

WIDE = ("q_learning", "dqn", "cfr")  # a table, a network with a replay buffer, a game
SWITCHED = ("frozen_lake", "kuhn", "single_asset", "soccer", "token_mdp")
UNCOMPILED = ("q_learning",)  # what takes seconds for one would take minutes for all


@contextlib.contextmanager
def switched(x64=True, nans=True, jit=True):
    with jax.enable_x64(x64), jax.debug_nans(nans), contextlib.nullcontext() if jit else jax.disable_jit():
        yield


def finished(name):
    """Runs two updates, each a chunk of its own; returns everything on the host."""
    make, task, config = CASES[name]
    done = run(make, task(), config(), seeds=[3], num_updates=2, chunk_length=1)
    assert not done.summary.failed_seeds
    return done.metrics, jax.device_get(jax.tree.map(_numbers, done.state))


def _numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def assert_narrow(tree):
    wide = [jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if leaf.dtype.itemsize > 4]
    assert not wide


@pytest.mark.parametrize("name", rest_is_slow(CASES, WIDE))
def test_algorithm_runs_in_64_bit_mode_without_a_nan(name):
    with switched():
        _, state = finished(name)
    assert_narrow(state)


@pytest.mark.parametrize("name", rest_is_slow(CASES, UNCOMPILED))
def test_algorithm_comes_to_the_same_under_all_switches_at_once(name):
    with switched(jit=False):
        switched_on = finished(name)
    # Adam divides small gradients by their own size, and fused sums round otherwise.
    chex.assert_trees_all_close(switched_on, finished(name), rtol=1e-2, atol=1e-3)


def test_evaluators_come_to_the_same():
    make, _, config = CASES["q_learning"]
    env = envs.make("corridor", length=3)
    evaluators = (Episodes(env, num_episodes=2), ExactValue.of(env, 0.9))
    with switched():
        done = run(make, env, config(), seeds=2, num_updates=1, evaluators=evaluators)
    plain = run(make, env, config(), seeds=2, num_updates=1, evaluators=evaluators)
    names = [f"{mode}_exact_value_error" for mode in MODES]
    bounds = [one.evaluations.pop(name) for one in (done, plain) for name in names]
    chex.assert_trees_all_close(done.evaluations, plain.evaluations, rtol=1e-5, atol=1e-6)
    assert np.max(bounds) < 1e-4


def play(env, key):
    """The first two steps of random play."""
    policy = rollout.uniform_policy(env)
    obs, state = env.reset(key)
    seen: list[Any] = [(obs, state)]
    for number in range(2):
        draw, step_key = jax.random.split(jax.random.fold_in(key, number))
        alone = jax.tree.map(lambda leaf: leaf[None], View(obs, env.action_mask(state), ()))  # a batch of one
        step = env.step(step_key, state, jax.tree.map(lambda leaf: leaf[0], policy(draw, alone).action))
        obs, state = step.obs, step.state
        seen.append(step)
    return seen


def play_switched(name):
    with switched():
        env = envs.make(name)
    with switched(jit=False):
        return play(env, jax.random.key(0))


@pytest.mark.parametrize("name", rest_is_slow(envs.REGISTRY, SWITCHED))
def test_environment_works_under_all_switches_at_once(name):
    switched_on = play_switched(name)
    assert_narrow(switched_on)
    plain = jax.eval_shape(play, envs.make(name), jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(switched_on, plain)


@pytest.mark.parametrize("name", rest_is_slow(envs.REGISTRY, SWITCHED))
def test_environment_comes_to_the_same_under_all_switches_at_once(name):
    chex.assert_trees_all_close(play_switched(name), play(envs.make(name), jax.random.key(0)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["corridor", "kuhn", *(pytest.param(n, marks=pytest.mark.slow) for n in ("soccer", "coin_game"))]
)
def test_table_is_the_same_under_all_switches_at_once(name):
    plain = tabulate(envs.make(name))
    with switched(jit=False):
        switched_on = tabulate(envs.make(name))
    chex.assert_trees_all_equal(switched_on, plain)


def test_switches_of_the_environment_variables():
    """As a user sets them: before jax is imported."""
    script = (
        "import envs, jax, jaxrl, numpy as np\n"
        "from jaxrl.algorithms.tabular import q_learning\n"
        "done = jaxrl.run(q_learning.make, envs.make('corridor'), q_learning.Config(num_steps=4), seeds=2, num_updates=2)\n"
        "assert {str(leaf.dtype) for leaf in jax.tree.leaves(done.state)} == {'float32', 'int32'}, done.state\n"
        "assert jax.config.jax_enable_x64 and jax.config.jax_debug_nans\n"
    )
    settings = {"JAX_ENABLE_X64": "1", "JAX_DEBUG_NANS": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    subprocess.run([sys.executable, "-c", script], env=os.environ | settings, check=True)
