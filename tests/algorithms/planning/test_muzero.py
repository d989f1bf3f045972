"""MuZero: targets against loops, the loss on a perfect model, the probes, and a model that predicts beyond the end."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.planning import muzero
from jaxrl.algorithms.planning.muzero import Config, Experience
from jaxrl.blocks import two_hot
from jaxrl.core.rollout import View
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.evaluation import Episodes
from jaxrl.training.runner import run
from tests import probes
from tests.in_place import assert_buffer_in_place
from tests.marks import slow
from tests.own_networks import Residual

SMALL = Config(
    learning_rate=1e-2,  # at 3e-3 a model this small has not learned in time that a reward depends on observation and action
    gamma=0.8,
    gumbel_scale=5.0,  # less leaves an early choice between two actions as it is, and the other action unknown
    weight_decay=1e-3,
    num_simulations=4,
    unroll_steps=2,
    bootstrap_steps=2,
    num_envs=8,
    num_rounds=16,
    num_gradient_steps=4,
    batch_size=32,
    buffer_size=4096,
    learning_starts=256,
    latent_size=16,
    hidden=(32,),
)


def trained(env, num_updates=20, evaluators=(), **changes):
    config = SMALL.replace(**changes)
    how = {"num_updates": num_updates, "chunk_length": num_updates, "evaluators": evaluators}
    done = run(muzero.make, env, config, seeds=2, **how)
    assert not done.summary.failed_seeds
    return config, done


def of_each_seed(env, config, done, function):
    """Returns ``function(functions)`` for the trained functions of each seed."""
    network = muzero.latent_model(env, config)
    return np.asarray(jax.vmap(lambda params: function(muzero.functions(network, config, params)))(done.state.params))


def values(env, config, done, obs):
    return of_each_seed(env, config, done, lambda f: f.guess(f.represent(jnp.array(obs))).value)


def actions(env, config, done, obs, mask=None, greedy=True):
    algorithm = muzero.make(env, config)
    view = View(obs, mask, ())
    return np.asarray(jax.vmap(lambda s: algorithm.policy(s, greedy)(jax.random.key(0), view).action)(done.state))


# ---- targets


def sequences(length, batch, seed=0):
    random = np.random.default_rng(seed)
    terminated = random.random((length, batch)) < 0.15
    truncated = ~terminated & (random.random((length, batch)) < 0.15)
    number = random.normal(size=(5, length, batch)).astype(np.float32)
    action = random.integers(0, 3, (length, batch)).astype(np.int32)
    policy = np.full((length, batch, 3), 1 / 3, np.float32)
    return Experience(number[0], action, number[1], terminated, truncated, policy, number[2], number[3])


def test_targets_are_those_of_a_loop():
    config = Config(gamma=0.9, unroll_steps=3, bootstrap_steps=4)
    steps = sequences(config.sequence_length, 200)
    found = jax.jit(lambda steps: muzero.targets(config, steps))(steps)
    done = steps.terminated | steps.truncated
    for b in range(200):
        for k in range(4):
            ends = [t for t in range(k) if done[t, b]]
            alive = not ends
            assert found.alive[k, b] == alive
            assert found.known[k, b] == (alive or steps.terminated[ends[0], b])
            if not alive:
                assert found.value[k, b] == found.reward[k, b] == 0
                continue
            total, weight = 0.0, 1.0
            for t in range(k, k + 4):
                total += weight * steps.reward[t, b]
                weight *= 0.9
                if done[t, b]:
                    break
            beyond = 0.0 if steps.terminated[t, b] else steps.beyond[t, b] if steps.truncated[t, b] else steps.value[t + 1, b]
            np.testing.assert_allclose(found.value[k, b], total + weight * beyond, rtol=1e-4, atol=1e-5)
            assert found.reward[k, b] == steps.reward[k, b]
    np.testing.assert_array_equal(found.action, steps.action[:4])


def test_the_loss_counts_later_steps_by_their_number_and_none_beyond_a_cut():
    """Uniform answers cost log M for a value or a reward, whatever the target, and log 3 for a policy."""
    env, config = envs.make("catch"), SMALL
    network = muzero.latent_model(env, config)
    obs = jnp.zeros((4, 10, 5, 1))
    params = jax.tree.map(jnp.zeros_like, jax.jit(network.init)(jax.random.key(0), obs, jnp.zeros(4, jnp.int32)))
    steps = sequences(config.sequence_length, 4)
    no = np.zeros_like(steps.terminated)
    ended, cut = no.copy(), no.copy()
    ended[0, 0], cut[0, 1] = True, True  # after the first step; the two others go on
    targets = muzero.targets(config, steps._replace(terminated=ended, truncated=cut))
    total, metrics = muzero.loss(network, config, params, (obs, targets))
    atoms = np.log(2 * config.support_size + 1)
    np.testing.assert_allclose(metrics["policy_loss"], np.log(3) * (1 + 2 / 4), rtol=1e-5)  # 2 later steps, each by half
    np.testing.assert_allclose(metrics["value_loss"], atoms * (1 + 3 / 4), rtol=1e-5)
    np.testing.assert_allclose(metrics["reward_loss"], atoms * (1 + 3 / 4), rtol=1e-5)
    expected = metrics["policy_loss"] + config.value_coefficient * metrics["value_loss"] + metrics["reward_loss"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    ones = jax.tree.map(jnp.ones_like, params)
    decayed, plain = (muzero.loss(network, config.replace(weight_decay=c), ones, (obs, targets))[0] for c in (0.01, 0.0))
    number = sum(leaf.size for leaf in jax.tree.leaves(params))
    np.testing.assert_allclose(decayed - plain, 0.01 * number, rtol=1e-4)


def test_a_gradient_is_halved_as_it_leaves_the_dynamics_and_nowhere_else():
    """Of one step of the policies alone: the second prediction reaches g whole and, through it, h by half."""
    config = SMALL.replace(unroll_steps=1, value_coefficient=0.0, weight_decay=0.0)
    network, obs = muzero.latent_model(envs.make("catch"), config), jax.random.normal(jax.random.key(1), (4, 10, 5, 1))
    first = jax.jit(network.init)(jax.random.key(0), obs, jnp.zeros(4, jnp.int32))
    random = np.random.default_rng(0)  # the heads begin near 0, and so would what reaches h and g
    params = jax.tree.map(lambda leaf: jnp.asarray(0.3 * random.normal(size=leaf.shape), leaf.dtype), first)
    wanted = muzero.targets(config, sequences(config.sequence_length, 4))
    wanted = wanted._replace(known=jnp.zeros_like(wanted.known), alive=jnp.ones_like(wanted.alive))

    def of_step(params, k):
        latent = network.apply(params, obs, method="represent")
        if k:
            latent, _ = network.apply(params, latent, wanted.action[0], method="step")
        logits, _ = network.apply(params, latent, method="predict")
        return -(wanted.policy[k] * jax.nn.log_softmax(logits)).sum(-1).mean()

    first, second = (jax.jit(jax.grad(of_step), static_argnums=1)(params, k)["params"] for k in (0, 1))
    found = jax.jit(jax.grad(lambda params: muzero.loss(network, config, params, (obs, wanted))[0]))(params)["params"]
    assert {"representation", "dynamics"} <= found.keys()
    for name, of_part in found.items():
        share = 0.5 if name == "representation" else 1.0
        expected = jax.tree.map(lambda one, two, share=share: one + share * two, first[name], second[name])
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), of_part, expected)
    for name in ("representation", "dynamics"):
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(second[name])) > 1e-2


# ---- probes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("probe", "gamma", "expected"),
    [
        slow(probes.constant_reward, 0.8, [1.0]),
        slow(probes.delayed_reward, 0.8, [0.8, 1.0]),
        slow(probes.observation_dependent_reward, 0.8, [-1.0, 1.0]),
        (probes.limit_or_end, 0.5, [2.0, 1.0]),
    ],
)
def test_values_of_the_probes_with_one_action(probe, gamma, expected):
    env = probe()
    config, done = trained(env, gamma=gamma)
    np.testing.assert_allclose(values(env, config, done, range(len(expected))), [expected] * 2, atol=0.25)


def test_the_model_predicts_rewards_and_the_end():
    """Two steps, paid on the second; the third finds nothing more to earn, and nothing is worth anything then."""
    env = probes.delayed_reward()
    config, done = trained(env)

    def paid(functions):
        latent, found = functions.represent(jnp.array([0])), []
        for action in (0, 1, 0):
            outcome, latent = functions.model(jax.random.key(0), jnp.array([action]), latent)
            found += [outcome.reward[0], outcome.beyond.value[0]]
        return jnp.stack(found)

    np.testing.assert_allclose(of_each_seed(env, config, done, paid), [[0.0, 1.0, 1.0, 0.0, 0.0, 0.0]] * 2, atol=0.25)


def test_actions_are_chosen_by_what_they_pay():
    env = probes.action_dependent_reward()
    config, done = trained(env)
    np.testing.assert_array_equal(actions(env, config, done, jnp.array([0, 1])), [[0, 1]] * 2)


@pytest.mark.slow
def test_illegal_actions_are_never_taken():
    env = probes.masked_action()
    config, done = trained(env)
    obs, mask = jnp.zeros(64, jnp.int32), jnp.array([[True, True, False]] * 64)
    np.testing.assert_array_equal(actions(env, config, done, obs, mask), 0)
    assert actions(env, config, done, obs, mask, greedy=False).max() <= 1
    np.testing.assert_allclose(values(env, config, done, [0]), 0.5, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "changes"),
    [
        (probes.nested_observation, {}),
        pytest.param(probes.image_observation, {"channels": (2,)}, marks=pytest.mark.slow),
        pytest.param(probes.nested_observation, {"network": Residual}, marks=pytest.mark.slow),
    ],
    ids=["nested", "image", "own"],
)
def test_observations_of_all_kinds(env, changes):
    task = env()
    _, done = trained(task, evaluators=(Episodes(task, num_episodes=16, modes=("greedy",)),), **changes)
    np.testing.assert_array_equal(done.evaluations["greedy_return"][:, -1], 1.0)


def test_rewards_of_any_scale_are_told_apart():
    """The support reaches to 117 without being told so."""
    env = probes.constant_reward()
    env = env.replace(params=env.params.replace(reward=env.params.reward * 40))
    config, done = trained(env)
    np.testing.assert_allclose(values(env, config, done, [0]), 40.0, rtol=0.1)
    assert two_hot.support(config.support_size)[-1] > 40


@pytest.mark.optimised
def test_the_buffer_is_written_in_place():
    assert_buffer_in_place(muzero.make, envs.make("catch"), SMALL.replace(buffer_size=40_000))


# ---- refusals


@pytest.mark.parametrize(
    ("env", "changes", "kind", "message"),
    [
        ("pendulum", {}, SpaceError, "action_space must be Discrete"),
        ("tic_tac_toe", {}, ConfigError, "no agent axis, got 2. Use jaxrl.algorithms.planning.alphazero"),
        ("catch", {"unroll_steps": 0}, ConfigError, "unroll_steps must be an integer of at least 1"),
        ("catch", {"support_size": 2.5}, ConfigError, "support_size must be an integer of at least 1"),
        ("catch", {"batch_size": 8, "buffer_size": 64, "learning_starts": 64}, ConfigError, r"of each environment \(256 steps\)"),
        ("catch", {"learning_starts": 16}, ConfigError, r"needs 16 steps of each environment .*got 5. Try learning_starts=192"),
        ("catch", {"value_coefficient": -0.1}, ConfigError, "value_coefficient"),
    ],
)
def test_tasks_and_values_that_do_not_fit_are_refused(env, changes, kind, message):
    with pytest.raises(kind, match=f"muzero: .*{message}"):
        Config(**changes).validate(envs.make(env))
