"""DQN with memory: sequences from the buffer, the unrolled network against single steps, and a task that needs memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import dqn
from jaxrl.blocks import multi_step, replay, value_heads
from jaxrl.blocks.stored_steps import Experience, Sample, remembered, sampled
from jaxrl.blocks.value_heads import Mean
from jaxrl.core import rollout
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_algorithm
from jaxrl.training.runner import run
from tests import probes
from tests.marks import each, slow
from tests.own_networks import Residual

CONFIG = dqn.Config(
    learning_rate=3e-3,
    gamma=0.9,
    epsilon_end=0.1,
    epsilon_steps=5000.0,
    target_interval=50,
    num_envs=8,
    num_steps=2,
    num_rounds=40,
    batch_size=32,
    buffer_size=8000,
    learning_starts=400,
    hidden=(32,),
    memory_size=16,
    sequence_length=8,
)
MEAN = Mean()
SMALL = CONFIG.replace(
    num_envs=3, num_rounds=2, batch_size=5, buffer_size=64, learning_starts=30, hidden=(8, 4), memory_size=6, sequence_length=4
)


def greedy_returns(env, config, done):
    """Returns the mean returns of the greedy policies of 4 seeds over the episodes of 60 steps in each of 64 environments."""
    algorithm, key = dqn.make(env, config), jax.random.key(5)

    def play(state):
        episodes = rollout.start(key, env, 64, algorithm.memory)
        _, batch = rollout.unroll(key, env, algorithm.policy(state, True), episodes, 60)
        return (batch.return_ * batch.done).sum() / jnp.maximum(batch.done.sum(), 1)

    return np.asarray(jax.jit(jax.vmap(play))(done.state))


R2D2 = {"n_steps": 3, "prioritised": True}
LOOKING_BACK = {"memory": "attention", "memory_length": 8}


@pytest.mark.parametrize(
    ("changes", "low", "high"),
    [slow({}, 0.9, 1.0), slow(R2D2, 0.9, 1.0), slow(LOOKING_BACK, 0.9, 1.0), slow({"memory_size": 0}, 0.0, 0.6)],
    ids=str,
)
def test_the_t_maze_needs_memory(changes, low, high):
    """The cue is shown at the first step only: without memory, no policy earns more than 0.5."""
    env, config = envs.make("t_maze", length=3), CONFIG.replace(**changes)
    done = run(dqn.make, env, config, seeds=4, num_updates=20, chunk_length=20)
    found = greedy_returns(env, config, done)
    assert ((found >= low) & (found <= high)).sum() >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        slow({}),
        slow({"burn_in": 2, "double": True, "dueling": True, "hidden": (16, 16)}),
        {"burn_in": 2, "double": True} | R2D2,
        slow({"head": "categorical", "num_atoms": 31, "value_min": -1.0, "value_max": 4.0} | R2D2),
    ],
    ids=str,
)
def test_delayed_reward(changes):
    """The probe with exact values, through sequences that hold several episodes: gamma, and then 1."""
    env = probes.delayed_reward()
    config = CONFIG.replace(gamma=0.8, target_interval=20, num_envs=4, sequence_length=6, hidden=(16,), buffer_size=402)
    config = config.replace(epsilon_end=0.5, num_rounds=20, **changes)
    done = run(dqn.make, env, config, seeds=4, num_updates=20, chunk_length=20)
    sequence = jnp.array([[0], [1]]), jnp.array([[True], [False]]), jnp.zeros((1, 16))
    network = dqn.q_network(env, config)
    head = value_heads.make(config)
    found = jax.vmap(lambda params: head.mean(network.apply(params, *sequence, method="unroll")[0]))(done.state.params)
    np.testing.assert_allclose(found[:, :, 0], np.broadcast_to([[0.8] * 2, [1.0] * 2], (4, 2, 2)), atol=0.1)


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("blocks", [3, 4, 9])
def test_sequences_follow_one_environment(num_envs, blocks):
    """Whether the buffer is full or not, and whether or not its size is a multiple of the environments; all of them are drawn."""
    capacity, length = 13 * num_envs + (num_envs > 1), 4
    buffer = replay.create({"env": jnp.int32(0), "time": jnp.int32(0)}, capacity)
    for block in range(blocks):
        time, env = np.meshgrid(3 * block + np.arange(3), np.arange(num_envs), indexing="ij")
        buffer = replay.add(buffer, {"env": jnp.ravel(env), "time": jnp.ravel(time)})
    found = replay.sample_sequences(jax.random.key(0), buffer, 2000, length, num_envs)
    assert found["time"].shape == (length, 2000)
    assert (found["env"] == found["env"][0]).all()
    np.testing.assert_array_equal(found["time"], found["time"][0] + np.arange(length)[:, None])
    kept = [(t, e) for t in range(3 * blocks) for e in range(num_envs)][-capacity:]
    starts = {(t, e) for t, e in kept if t + length <= 3 * blocks}
    assert set(zip(found["time"][0].tolist(), found["env"][0].tolist(), strict=True)) == starts


def test_sequences_longer_than_the_buffer_are_refused():
    buffer = replay.create(jnp.float32(0), 10)
    with pytest.raises(ConfigError, match=r"length \* num_envs must not exceed the capacity \(10\), got 12"):
        replay.sample_sequences(jax.random.key(0), buffer, 1, 4, 3)


def played(num_steps=40, **changes):
    """Returns network, state and steps [T, 3] of episodes in the T-maze, and the action values that the policy saw, [T, 3, 4]."""
    env = envs.make("t_maze", length=1, max_steps=5)
    config = SMALL.replace(**changes)
    network, state = dqn.q_network(env, config), dqn.make(env, config).init(jax.random.key(0))

    def policy(key, view):
        values, memory = network.apply(state.params, view.obs, view.memory, method="step")
        action = rollout.uniform_policy(env)(key, view).action
        return rollout.Decision(action, {"values": values, "memory": view.memory}, memory)

    episodes = rollout.start(jax.random.key(1), env, 3, network.initial_memory())
    _, batch = jax.jit(lambda key: rollout.unroll(key, env, policy, episodes, num_steps))(jax.random.key(2))
    assert batch.truncated.any()
    assert batch.terminated.any()
    return network, config, state, batch


@pytest.mark.parametrize("dueling", [slow(False), True])
def test_the_unrolled_network_is_the_policy_step_by_step(dueling):
    """From any step on, with the memory stored there, through ends of episodes."""
    network, _, state, batch = played(dueling=dueling)
    for start in (0, 7):
        later = jax.tree.map(lambda leaf, start=start: leaf[start:], batch)
        memory = later.extras["memory"][0]
        values, memories = network.apply(state.params, later.obs, later.t == 0, memory, method="unroll")
        assert values.shape == (40 - start, 3, 4)
        assert memories.shape == (40 - start, 3, 6)
        np.testing.assert_allclose(values, later.extras["values"], atol=1e-5)
        onward = np.asarray(memories)[:-1] * ~np.asarray(later.done)[:-1, :, None]
        np.testing.assert_allclose(later.extras["memory"][1:], onward, atol=1e-6)


@pytest.mark.slow
def test_attention_is_stored_and_unrolled_as_a_gru_is():
    """From any stored memory on, through ends of episodes; the targets go on from the memory of each step."""
    network, config, state, batch = played(memory="attention", memory_size=4, memory_length=3, memory_heads=2)
    steps = dqn.remembered(config, batch)
    steps = jax.tree.map(lambda leaf: leaf.reshape(40, 3, *leaf.shape[1:])[7:], steps)
    assert steps.memory.inputs.shape == (33, 3, 1, 3, 4)
    np.testing.assert_array_equal(steps.memory.count, np.minimum(batch.t[7:], 3))
    steps = steps._replace(memory=jax.tree.map(lambda leaf: leaf[0], steps.memory))
    values, memories = network.apply(state.params, steps.obs, steps.first, steps.memory, method="unroll")
    np.testing.assert_allclose(values, batch.extras["values"][7:], atol=1e-5)
    found = dqn.targets(network, MEAN, config, state.params, state.params, dqn.Sample(steps, config.gamma))
    beyond, _ = network.apply(state.params, steps.next_obs, memories, method="step")
    np.testing.assert_allclose(found, steps.reward + 0.9 * ~steps.terminated * beyond.max(-1), atol=1e-5)


def test_nothing_is_remembered_from_the_episode_before():
    """A hand-made stretch of two episodes: what the first one showed changes no value of the second, and is worth no target."""
    network, config, state, _ = played()
    first, zeros = jnp.zeros((6, 1), bool).at[3].set(True), jnp.zeros((6, 1))
    obs = jnp.array([[0], [2], [3], [1], [2], [3]])
    unroll = jax.jit(lambda obs, memory: network.apply(state.params, obs, first, memory, method="unroll")[0])
    values, other = unroll(obs, jnp.zeros((1, 6))), unroll(obs.at[0].set(1), jnp.ones((1, 6)))
    assert (np.abs(values - other)[:3] > 1e-4).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(values[3:], other[3:])

    ended, cut = zeros.astype(bool).at[2].set(True), zeros.astype(bool)
    next_obs = jnp.array([[2], [3], [2], [2], [3], [3]])  # not what the next episode shows
    for terminated in (ended, cut):
        batch = Experience(obs, jnp.zeros((6, 1), int), zeros, next_obs, terminated, None, None, first, jnp.zeros((1, 6)))
        found = dqn.targets(network, MEAN, config, state.params, state.target_params, Sample(batch, config.gamma))
        memory = jnp.zeros((1, 6))
        for seen in obs[:3, 0]:
            _, memory = network.apply(state.params, seen[None], memory, method="step")
        beyond = network.apply(state.params, next_obs[2], memory).max()
        np.testing.assert_allclose(found[2, 0], 0.0 if terminated is ended else 0.9 * beyond, atol=1e-6)


@pytest.mark.parametrize("double", [False, True])
def test_targets_are_those_of_single_steps(double):
    """Of every step: the best next action by the one network or the other, each remembering by itself."""
    network, config, state, batch = played(double=double)
    target_params = dqn.make(envs.make("t_maze", length=1, max_steps=5), config).init(jax.random.key(9)).params
    steps = remembered(config, batch)
    steps = jax.tree.map(lambda leaf: leaf.reshape(40, 3, *leaf.shape[1:]), steps)
    sample = Sample(steps._replace(memory=steps.memory[0]), config.gamma)
    found = dqn.targets(network, MEAN, config, state.params, target_params, sample)
    memory = {name: jnp.zeros((3, 6)) for name in ("online", "target")}
    step = jax.jit(lambda params, obs, memory: network.apply(params, obs, memory, method="step"))
    for t in range(40):
        now = jax.tree.map(lambda leaf, t=t: leaf[t], steps)
        after = {}
        for name, params in (("online", state.params), ("target", target_params)):
            memory[name] = step(params, now.obs, memory[name] * ~now.first[:, None])[1]
            after[name] = np.asarray(step(params, now.next_obs, memory[name])[0])
        best = after["online" if double else "target"].argmax(-1)
        expected = now.reward + 0.9 * ~now.terminated * after["target"][np.arange(3), best]
        np.testing.assert_allclose(found[t], expected, atol=1e-5)


@pytest.mark.parametrize("head", [{}, {"head": "quantile", "num_atoms": 3, "huber_delta": 1.0}], ids=str)
def test_with_n_steps_targets_are_sums_of_those_of_one_step(head):
    """y_n(t) is r_t + gamma y_(n-1)(t + 1) within an episode and a sequence, and the target of one step where either ends."""
    network, config, state, batch = played(n_steps=3, sequence_length=8, double=True, **head)
    steps = jax.tree.map(lambda leaf: leaf.reshape(40, 3, *leaf.shape[1:])[:8], remembered(config, batch))
    buffer = replay.create(jax.tree.map(lambda leaf: leaf[0, 0], steps), 24)
    buffer = replay.add(buffer, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps))

    def targets(config):
        sample = sampled(jax.random.key(3), config, buffer, 1.0)
        return sample, dqn.targets(network, value_heads.make(config), config, state.params, state.target_params, sample)

    sample, one = targets(config.replace(n_steps=1))
    reward, over = (leaf.reshape(*leaf.shape, *[1] * len(one.shape[2:])) for leaf in (sample.steps.reward, sample.steps.ended))
    assert over[:-1].any()
    expected = np.asarray(one)
    for _ in range(2):
        onward = reward[:-1] + config.gamma * expected[1:]
        expected = np.concatenate([np.where(over[:-1], one[:-1], onward), one[-1:]])
    np.testing.assert_allclose(targets(config)[1], expected, atol=1e-5)


@pytest.mark.slow
def test_sequences_are_drawn_again_by_their_errors():
    """(0.8 max + 0.2 mean + 1e-6)^0.7 of |y - Q| over the steps after the burn-in; others keep their priority."""
    env = envs.make("t_maze", length=1, max_steps=5)
    config = SMALL.replace(prioritised=True, n_steps=2, burn_in=1, priority_max_share=0.8, priority_exponent=0.7)
    config = config.replace(num_rounds=1, learning_rate=1e-9)
    algorithm, network = dqn.make(env, config), dqn.q_network(env, config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    after, _ = jax.jit(algorithm.update)(state, jax.random.key(1))
    found = np.asarray(after.buffer.priorities.levels[-1]).reshape(-1)
    starts = int(after.buffer.size) - 3 * 3  # a sequence needs the 3 steps of its environment that follow
    assert (found[:starts] > 0).all()
    assert not found[starts:].any()
    drawn = np.flatnonzero((found != 1.0) & (found > 0))
    assert 2 < len(drawn) <= config.batch_size
    place = jnp.asarray(drawn, jnp.int32)
    steps = replay.items_at(after.buffer, replay.sequence_from(place, after.buffer, 4, 3))
    steps = steps._replace(memory=steps.memory[0])
    summed, discount, last = multi_step.n_steps_within(steps, 2, config.gamma)
    target = dqn.targets(network, MEAN, config, state.params, state.params, Sample(summed, discount, last=last))
    values = network.apply(state.params, steps.obs, steps.first, steps.memory, method="unroll")[0]
    error = np.abs(target - value_heads.chosen(values, steps.action))[1:]
    expected = (0.8 * error.max(0) + 0.2 * error.mean(0) + 1e-6) ** 0.7
    np.testing.assert_allclose(found[drawn], expected, rtol=1e-3)


def test_the_burn_in_only_brings_the_memory_up_to_date():
    """The loss is that of the later steps from the memory that the network itself has there, and nothing flows back beyond."""
    network, config, state, batch = played()
    steps = jax.tree.map(lambda leaf: leaf.reshape(40, 3, *leaf.shape[1:])[:8], remembered(config, batch))
    steps, target = steps._replace(memory=jnp.ones((3, 6))), jnp.arange(24.0).reshape(8, 3)

    def gradient(config, steps, target):
        batch = Sample(steps, config.gamma), target
        return jax.jit(jax.grad(lambda params: dqn.loss(network, MEAN, config, params, batch)[0]))(state.params)

    _, memories = network.apply(state.params, steps.obs, steps.first, steps.memory, method="unroll")
    later = jax.tree.map(lambda leaf: leaf[5:], steps._replace(memory=()))._replace(memory=memories[4])
    burnt, direct = gradient(config.replace(burn_in=5), steps, target), gradient(config, later, target[5:])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), burnt, direct)


def test_the_buffer_holds_the_memory_of_every_step():
    """Random first steps and later ones alike: zeros where an episode begins, and what the policy had elsewhere."""
    env = envs.make("t_maze", length=1, max_steps=5)
    algorithm = dqn.make(env, SMALL)
    state, _ = jax.jit(algorithm.update)(algorithm.init(jax.random.key(0)), jax.random.key(1))
    size, items = int(state.buffer.size), jax.tree.map(np.asarray, state.buffer.items)
    assert size == 42  # 10 and 2 * 2 steps in each of 3 environments
    assert items.memory.shape == (64, 6)
    zero = (items.memory[:size] == 0).all(-1)
    np.testing.assert_array_equal(zero, items.first[:size])
    assert 3 < zero.sum() < size
    minibatch = sampled(jax.random.key(2), SMALL, state.buffer, 1.0).steps
    assert minibatch.obs.shape == minibatch.first.shape == minibatch.reward.shape == (4, 5)
    assert minibatch.memory.shape == (5, 6)


@pytest.mark.slow
def test_the_protocol_is_kept():
    env, config = envs.make("t_maze", length=1, max_steps=5), SMALL.replace(burn_in=1, double=True, dueling=True)
    assert dqn.make(env, config).probabilities is None
    check_algorithm(dqn.make, env, config, jax.random.key(0), eager=False)


@pytest.mark.parametrize("probe", [slow("image_observation"), each("nested_observation"), slow("masked_action")])
def test_observations_and_masks_of_every_kind(probe):
    env = getattr(probes, probe)()
    config = SMALL.replace(channels=(4,) if probe == "image_observation" else (), double=True)
    done = run(dqn.make, env, config, seeds=2, num_updates=2, chunk_length=2)
    assert np.isfinite(done.metrics["loss"]).all()
    if probe == "masked_action":
        assert set(np.unique(done.state.buffer.items.action)) == {0, 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory_size": -1}, "memory_size must be an integer of at least 0, got -1"),
        ({"memory_size": 2.5}, "memory_size must be an integer of at least 0, got 2.5"),
        ({"burn_in": -1}, "burn_in must be an integer of at least 0"),
        ({"burn_in": 4}, r"burn_in must be below sequence_length \(4\), .* got 4. Try burn_in=2"),
        ({"sequence_length": 0}, "sequence_length must be an integer of at least 1"),
        (
            {"sequence_length": 22},
            r"buffer_size must hold sequence_length .*\(sequence_length \* num_envs = 66\), got 64. .* sequence_length=21",
        ),
        ({"sequence_length": 13}, r"needs sequence_length \(13\) steps of each environment .* got 12. Try learning_starts=33"),
        ({"memory": "attention", "memory_heads": 4}, r"memory_size \(6\) must be divisible by memory_heads, got 4"),
        ({"n_steps": 5}, r"n_steps must not exceed sequence_length - burn_in \(4\).*, got 5. Try n_steps=4"),
        ({"n_steps": 3, "burn_in": 2}, r"n_steps must not exceed sequence_length - burn_in \(2\).*, got 3. Try n_steps=2"),
        ({"priority_max_share": 1.5}, r"priority_max_share must lie in \[0, 1\], got 1.5"),
        ({"memory_size": 0, "burn_in": 1}, "burn_in must be 0 without memory, got 1"),
        ({"network": Residual}, "dqn: a network of your own must come without memory_size"),
    ],
    ids=str,
)
def test_what_cannot_run_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        SMALL.replace(**changes).validate(envs.make("t_maze"))
    with pytest.raises(ConfigError, match="with memory, replay must be True"):
        SMALL.without_replay().validate(envs.make("t_maze"))
