"""Population-based training: who copies whom, within which bounds, and independent runs where nothing is copied."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.population import pbt, self_play
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.config import traced_values, with_traced_values
from jaxrl.core.contracts import declared_steps
from jaxrl.core.rollout import View
from jaxrl.errors import AlgorithmError, ConfigError, UnknownNameError
from jaxrl.training.runner import run
from tests.marks import slow

KEY = jax.random.key(0)
TABLE = q_learning.Config(num_envs=2, num_steps=5, learning_rate_min=0.0)
RANGES = (("learning_rate", 0.01, 1.0), ("epsilon", 0.05, 0.5))


def config(learner=TABLE, make=q_learning.make, **changes):
    return pbt.Config(learner, make, **({"ranges": RANGES, "num_members": 4, "num_replaced": 1, "interval": 3} | changes))


def test_without_copies_members_are_runs_of_their_own():
    env, chosen = envs.make("frozen_lake"), config(exploit=False, explore=False)
    algorithm = pbt.make(env, chosen)
    state: Any = jax.jit(algorithm.init)(KEY)
    after, metrics = jax.jit(algorithm.update)(state, jax.random.key(1))
    np.testing.assert_array_equal(metrics["hyper_epsilon"], state.hyper["epsilon"])
    learner_keys = jax.random.split(jax.random.split(KEY)[1], 4)
    update_keys = jax.random.split(jax.random.split(jax.random.key(1), 3)[0], 3)

    @jax.jit
    def alone(hyper, key, keys):
        learner = q_learning.make(env, with_traced_values(TABLE, hyper))
        return jax.lax.scan(learner.update, learner.init(key), keys)[0]

    for index in range(4):
        hyper = {name: values[index] for name, values in state.hyper.items()}
        expected = alone(hyper, learner_keys[index], jnp.stack([jax.random.split(key, 4)[index] for key in update_keys]))
        for one, of_all in zip(jax.tree.leaves(expected), jax.tree.leaves(after.learner), strict=True):
            np.testing.assert_allclose(of_all[index], one, rtol=1e-5, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, after.hyper, state.hyper)


def test_the_worst_copy_what_the_best_have_learned():
    """All but the episodes under way, to the last bit."""
    env = envs.make("frozen_lake")
    algorithm, copying = (pbt.make(env, config(exploit=exploit, explore=False, num_replaced=2)) for exploit in (False, True))
    state: Any = jax.jit(algorithm.init)(KEY)
    before, _ = jax.jit(algorithm.update)(state, KEY)
    after, metrics = jax.jit(copying.update)(state, KEY)
    fitness = np.asarray(metrics["fitness"].total) / np.asarray(metrics["fitness"].count)
    order = np.argsort(fitness, kind="stable")
    for index in range(4):
        sources = [index] if index in order[2:] else list(order[2:])
        same = [s for s in sources if np.array_equal(after.learner.q[index], before.learner.q[s])]
        assert len(same) >= 1
        np.testing.assert_array_equal(after.learner.visits[index], before.learner.visits[same[0]])
        assert after.hyper["epsilon"][index] == before.hyper["epsilon"][same[0]]
    jax.tree.map(np.testing.assert_array_equal, after.learner.episodes, before.learner.episodes)
    assert fitness[int(after.best)] == fitness.max()


def test_who_is_selected():
    score = jnp.array([0.3, -jnp.inf, 2.0, 0.1, 1.0, 0.2])
    found = np.asarray(jax.vmap(lambda key: pbt.selected(key, score, 2))(jax.random.split(KEY, 500)))
    np.testing.assert_array_equal(found[:, [0, 2, 4, 5]], np.broadcast_to([0, 2, 4, 5], (500, 4)))
    for worst in (1, 3):
        assert set(found[:, worst]) == {2, 4}
        np.testing.assert_allclose((found[:, worst] == 2).mean(), 0.5, atol=0.07)


def test_copies_change_within_their_bounds():
    """By a factor of 1.5 up or down, cut to the bounds, or drawn anew; draws are log-uniform."""
    chosen = config(num_members=64, perturbation=0.5, resampling=0.0)
    hyper = {"learning_rate": jnp.full(64, 0.2), "epsilon": jnp.full(64, 0.4)}
    found = pbt.explored(KEY, hyper, chosen)
    np.testing.assert_allclose(np.unique(found["learning_rate"]), [0.2 / 1.5, 0.3], rtol=1e-5)
    np.testing.assert_allclose(np.unique(found["epsilon"]), [0.4 / 1.5, 0.5], rtol=1e-5)
    anew = pbt.explored(KEY, hyper, chosen.replace(resampling=1.0))["learning_rate"]
    assert len(np.unique(anew)) == 64
    many = np.log(pbt.drawn(KEY, RANGES, 4000)["learning_rate"])
    np.testing.assert_allclose([many.min(), many.mean(), many.max()], [np.log(0.01), np.log(0.1), 0], atol=0.07)


def test_only_copies_change_and_nothing_leaves_its_bounds():
    chosen = config(perturbation=3.0, interval=1)
    done = run(pbt.make, envs.make("frozen_lake"), chosen, seeds=3, num_updates=12)
    for name, low, high in RANGES:
        of_members = np.stack([done.metrics[f"hyper_{name}/{index}"] for index in range(4)], -1)  # [S, U, P]
        assert (of_members >= np.float32(low)).all()
        assert (of_members <= np.float32(high)).all()
        changed = (of_members[:, 1:] != of_members[:, :-1]).sum(-1)
        assert changed.max() == 1  # one member is replaced
        assert changed.sum() > 20


def test_selection_finds_who_explores_less():
    """In the corridor members that act at random are replaced by those that do not."""
    env = envs.make("corridor")
    chosen = config(TABLE, ranges=(("epsilon", 0.01, 1.0),), interval=20, num_replaced=2)
    done = run(pbt.make, env, chosen, seeds=8, num_updates=10)
    first, last = (np.stack([done.metrics[f"hyper_epsilon/{index}"][:, at] for index in range(4)]) for at in (0, -1))
    assert np.log(last).mean() < np.log(first).mean() - 0.5


def test_the_policy_is_that_of_the_best():
    env = envs.make("frozen_lake")
    algorithm = pbt.make(env, config())
    state: Any = jax.jit(algorithm.init)(KEY)
    q = jnp.zeros_like(state.learner.q).at[2, :, 3].set(1.0)
    state = state.replace(learner=state.learner.replace(q=q), best=jnp.int32(2))
    view = View(jnp.arange(5), None, ())
    policy, probabilities = algorithm.policy, algorithm.probabilities
    assert policy
    assert probabilities
    np.testing.assert_array_equal(policy(state, True)(KEY, view).action, [3] * 5)
    epsilon = float(state.hyper["epsilon"][2])
    np.testing.assert_allclose(probabilities(state, view)[:, 3], 1 - 0.75 * epsilon, rtol=1e-5)


@pytest.mark.parametrize("make", [slow(ppo.make)])
def test_a_population_of_players(make):
    """PBT around self-play around PPO: hyper-parameters of the innermost learner, from one chunk to the next."""
    learner = self_play.Config(ppo.Config(num_envs=4, num_steps=4, hidden=(4,), num_minibatches=1), make, pool_size=3)
    chosen = config(learner, self_play.make, ranges=(("learner.learning_rate", 1e-4, 1e-1),), fitness="win_rate")
    env = envs.make("rock_paper_scissors")
    whole, parts = (run(pbt.make, env, chosen, seeds=2, num_updates=4, chunk_length=length) for length in (4, 3))
    jax.tree.map(np.testing.assert_array_equal, whole.state, parts.state)
    assert whole.state.hyper["learner.learning_rate"].shape == (2, 4)


def test_steps_are_those_of_all_members():
    assert declared_steps("test", config()) == (2 * 5 * 4 * 3, 0)
    assert traced_values(config())["learner.learning_rate"] == 0.5


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"num_members": 1, "num_replaced": 1}, ConfigError, r"num_members must lie in \[2, 64\], got 1"),
        ({"num_replaced": 3}, ConfigError, "num_replaced must be at most half of num_members, got 3. Set num_replaced=2"),
        ({"interval": 0}, ConfigError, "interval"),
        ({"ranges": ()}, ConfigError, "ranges must name a field"),
        ({"ranges": (("learning_rat", 0.1, 1.0),)}, UnknownNameError, "learning_rate"),
        ({"ranges": (("num_steps", 1, 10),)}, UnknownNameError, "traced field of the learner"),
        (
            {"ranges": (("learning_rate", 1.0, 0.1),)},
            ConfigError,
            "bounds of learning_rate must be finite, positive and in order",
        ),
        ({"ranges": (("learning_rate", 0.1, 2.0),)}, ConfigError, r"learning_rate must lie in \[0, 1\], got 2"),
        ({"perturbation": 0.0}, ConfigError, "perturbation"),
        ({"resampling": np.nan}, ConfigError, "resampling"),
    ],
)
def test_wrong_inputs(changes, kind, message):
    with pytest.raises(kind, match=message):
        config(**changes).validate(envs.make("frozen_lake"))


def test_the_fitness_is_a_metric():
    for fitness, message in (("reward_", "fitness must be a metric of the learner"), ("nothing", "Name one of .*episode_return")):
        with pytest.raises(AlgorithmError, match=message):
            run(pbt.make, envs.make("frozen_lake"), config(fitness=fitness), seeds=1, num_updates=1)
