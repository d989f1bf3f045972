"""PPO: the probes with exact values, what the first epoch must look like, options, and refusal of what it cannot do. A2C, its
preset, against a gradient written out by hand.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.blocks import advantages, distributions, networks, sequences
from jaxrl.blocks.networks import ActorCritic
from jaxrl.core import rollout
from jaxrl.core.environment import Environment, Step
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Box, Dict, Discrete
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError
from jaxrl.evaluation import Episodes
from jaxrl.training.runner import run
from tests import probes
from tests.marks import each, slow
from tests.own_networks import OfWidth, Residual

GAMMA = 0.8
CONFIG = ppo.Config(
    learning_rate=1e-2,
    gamma=GAMMA,
    num_envs=4,
    num_steps=32,
    hidden=(16,),
    num_minibatches=2,
    activation="relu",
    clip_value=False,
)


def trained(env, num_updates=100, **changes):
    config = CONFIG.replace(anneal_updates=float(num_updates), **changes)
    return config, run(ppo.make, env, config, seeds=4, num_updates=num_updates, chunk_length=num_updates)


def values(env, config, done, obs):
    """Returns the critic's values of a batch of observations, [4, B]."""
    network = ActorCritic(env.observation_space, env.action_space, config.hidden, config.activation, config.channels)
    batch = jax.tree.map(lambda leaf: leaf[None], obs)

    def value(params):
        features, _ = network.apply(params, batch, None, (), method="features")
        return network.apply(params, features, method="value")[0]

    return np.asarray(jax.vmap(value)(done.state.params))


def probabilities(env, config, done, obs, mask=None):
    """Returns the probabilities of the actions, [4, B, A]."""
    algorithm = ppo.make(env, config)
    return np.asarray(jax.vmap(lambda state: algorithm.probabilities(state, View(obs, mask, ())))(done.state))


def test_constant_reward():
    env = probes.constant_reward()
    config, done = trained(env)
    np.testing.assert_allclose(values(env, config, done, jnp.array([0])), 1.0, atol=0.05)


def test_observation_dependent_reward():
    env = probes.observation_dependent_reward()
    config, done = trained(env)
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), [[-1.0, 1.0]] * 4, atol=0.1)


def test_delayed_reward():
    env = probes.delayed_reward()
    config, done = trained(env)
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), [[GAMMA, 1.0]] * 4, atol=0.1)


def test_action_dependent_reward():
    env = probes.action_dependent_reward()
    config, done = trained(env)
    chosen = probabilities(env, config, done, jnp.array([0, 1]))
    assert (chosen[:, [0, 1], [0, 1]] > 0.9).all()


@pytest.mark.parametrize(
    "changes", [{}, slow({"clip_value": True}), {"gae_lambda": 0.0}, {"gae_lambda": 1.0}, each({"memory_size": 8})], ids=str
)
def test_a_time_limit_is_not_an_end(changes):
    """V -> r / (1 - gamma) through time limits, and r where the episode really ends."""
    if "memory_size" in changes:
        env = probes.time_limit_loop()
        _, done = trained(env, **changes)
        assert done.metrics["value_loss"][:, -1].max() < 0.1
        return
    env = probes.limit_or_end()
    config, done = trained(env, **changes)
    found = values(env, config, done, jnp.array([0, 1]))
    np.testing.assert_allclose(found, [[1 / (1 - GAMMA), 1.0]] * 4, rtol=0.1)


def test_masked_actions_are_never_taken():
    env = probes.masked_action()
    config, done = trained(env)
    mask = jnp.array([[True, True, False]])
    chosen = probabilities(env, config, done, jnp.array([0]), mask)
    assert (chosen[:, 0, 2] == 0).all()
    assert (chosen[:, 0, 0] > 0.9).all()
    np.testing.assert_allclose(values(env, config, done, jnp.array([0])), 0.5, atol=0.05)
    assert np.isfinite(done.metrics["entropy"]).all()


@pytest.mark.parametrize("changes", [{}, slow({"memory_size": 8}), slow({"network": Residual, "learning_rate": 5e-3})], ids=str)
def test_nested_actions(changes):
    """Every part of the action is learned: 2 is the most that legal actions earn, and every part has a share in it."""
    env = probes.nested_action()
    _, done = trained(env, ent_coef=0.0, **changes)
    assert done.metrics["episode_return"].max() <= 2.0  # an illegal action is worth 10
    assert (done.metrics["episode_return"][:, -5:].mean(1) > 1.8).all()
    algorithm = ppo.make(env, CONFIG.replace(**changes))
    assert algorithm.probabilities is None
    obs, first = jnp.array([0, 1]), jax.tree.map(lambda leaf: leaf[0], done.state)
    view = rollout.view(env, first.episodes)._replace(obs=obs[jnp.array([0, 1, 0, 1])])
    greedy = algorithm.policy(first, True)(jax.random.key(0), view).action
    np.testing.assert_array_equal(greedy["direction"], [0, 1, 0, 1])
    np.testing.assert_array_equal(greedy["levers"], [[0, 1], [1, 0]] * 2)
    np.testing.assert_allclose(greedy["amount"][:, 0], [0, 1, 0, 1], atol=0.25)


def test_a_box_within_a_nested_action_is_bounded_as_a_whole_or_not_at_all():
    half = Box((0.0, -1.0), (float("inf"), 1.0), (2,))
    env = probes.nested_action().replace(action_space=Dict.of(amount=half, direction=Discrete(4)))
    with pytest.raises(SpaceError, match="a Box action must be bounded or unbounded as a whole"):
        run(ppo.make, env, CONFIG, seeds=2, num_updates=2)


@pytest.mark.parametrize(
    "changes", [{}, slow({"normalize_observation": True}), slow({"memory_size": 8, "num_minibatches": 2})], ids=str
)
def test_nested_observations(changes):
    _, done = trained(probes.nested_observation(), **changes)
    assert (done.metrics["episode_return"][:, -5:].mean(1) > 0.9).all()


@pytest.mark.each
def test_images():
    _, done = trained(probes.image_observation(), channels=(4,), learning_rate=3e-3)
    assert (done.metrics["episode_return"][:, -5:].mean(1) > 0.9).all()


@pytest.mark.parametrize("bound", [2.0, slow(np.inf)])
def test_continuous_actions(bound):
    """The reward is minus the squared distance to the observation; a policy that ignores it gets -1/3 at best."""
    _, done = trained(probes.continuous_action(bound), 150, ent_coef=0.0, normalize_reward=True)
    assert (done.metrics["episode_return"][:, -5:].mean(1) > -0.1).all()


@pytest.mark.slow
@pytest.mark.parametrize("policy_head", ["beta", slow("tanh_gaussian")])
def test_bounded_heads_learn(policy_head):
    _, done = trained(probes.continuous_action(2.0), 150, ent_coef=0.0, normalize_reward=True, policy_head=policy_head)
    assert (done.metrics["episode_return"][:, -5:].mean(1) > -0.1).all()


def _more_reset(key, params):
    return jnp.zeros(1, jnp.float32), jnp.float32(0.0)


def _more_step(key, state, action, params):
    return Step(jnp.zeros(1, jnp.float32), state, action["push"][0], jnp.bool_(True))


@pytest.mark.slow
@pytest.mark.parametrize("policy_head", ["gaussian", "tanh_gaussian", "beta"])
def test_the_best_action_may_lie_at_the_border(policy_head):
    """The reward is the action, at most 3: samples are as near to the border as float32 allows, and nothing overflows."""
    space = Dict.of(push=Box(-1.0, 3.0, (1,)), idle=Discrete(2))
    env = Environment(None, _more_reset, _more_step, Box(-1.0, 1.0, (1,)), space, max_steps=10)
    config, done = trained(env, 100, ent_coef=0.0, policy_head=policy_head, learning_rate=3e-2)
    assert not done.summary.failed_seeds
    assert (done.metrics["episode_return"][:, -5:].mean(1) > 2.5).all()
    first = jax.tree.map(lambda leaf: leaf[0], done.state)
    greedy = ppo.make(env, config).policy(first, True)(jax.random.key(0), rollout.view(env, first.episodes)).action
    assert (greedy["push"] > 2.5).all()


@pytest.mark.parametrize("network", [Residual, slow(OfWidth(8))], ids=str)
def test_a_network_of_the_users_learns(network):
    _, done = trained(probes.nested_observation(), 60, network=network, learning_rate=3e-3)
    assert (done.metrics["episode_return"][:, -5:].mean(1) > 0.9).all()
    assert {"actor", "critic"} == set(done.state.params["params"])


@functools.cache
def first_update(name="cartpole", **changes):
    config = CONFIG.replace(num_epochs=1, num_minibatches=1, **changes)
    return run(ppo.make, envs.make(name), config, seeds=2, num_updates=2, chunk_length=1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        slow({"memory_size": 8}),
        slow({"memory_size": 8, "memory": "attention", "memory_length": 5, "memory_layers": 2}),
        slow({"normalize_observation": True}),
        slow({"name": "pendulum", "policy_head": "tanh_gaussian"}),
        slow({"name": "pendulum", "policy_head": "beta"}),
    ],
    ids=str,
)
def test_the_ratio_is_one_before_the_first_step(changes):
    """A single pass over the whole batch sees the policy that collected it, memory and normalisation included."""
    metrics = first_update(**changes).metrics
    np.testing.assert_allclose(metrics["approximate_kl"], 0.0, atol=1e-6)
    np.testing.assert_array_equal(metrics["clip_fraction"], 0.0)
    np.testing.assert_allclose(metrics["policy_loss"], 0.0, atol=1e-5)  # standardised advantages sum to zero


@pytest.mark.slow  # core_ppo claims the same of ten cells
@pytest.mark.parametrize(("memory_size", "low", "high"), [(8, 0.9, 1.0), (0, 0.0, 0.6)])
def test_attention_brings_the_cue_to_the_junction(memory_size, low, high):
    """The cue is shown at the first step only: without memory, no policy earns more than 0.5."""
    env = envs.make("t_maze", length=2)
    sizes = {"num_envs": 16, "num_steps": 16, "num_minibatches": 2, "hidden": (16,), "memory_length": 8, "memory_heads": 2}
    config = ppo.Config(learning_rate=3e-3, memory_size=memory_size, memory="attention" if memory_size else "gru", **sizes)
    evaluator = Episodes(env, num_episodes=64, modes=("greedy",))
    done = run(ppo.make, env, config, seeds=4, num_updates=60, chunk_length=60, evaluators=(evaluator,))
    found = done.evaluations["greedy_return"][:, -1]
    assert ((found >= low) & (found <= high)).sum() >= 3, found


def test_annealing_ends_at_zero():
    config = CONFIG.replace(anneal_updates=3.0)
    done = run(ppo.make, envs.make("cartpole"), config, seeds=1, num_updates=6, chunk_length=6)
    assert (done.metrics["clip_fraction"][0, :3] > 0).any()
    np.testing.assert_allclose(done.metrics["approximate_kl"][0, 3:], 0.0, atol=1e-6)


@functools.cache
def within(target_kl, **changes):
    """Three updates of eight steps each. A number is traced: all of them are one program."""
    config = CONFIG.replace(target_kl=target_kl, learning_rate=3e-3, **changes)
    return run(ppo.make, envs.make("cartpole"), config, seeds=2, num_updates=3, chunk_length=1)


def test_an_infinite_target_changes_nothing():
    plain, found = within(None), within(jnp.inf)
    for one, other in zip(jax.tree.leaves(plain.state), jax.tree.leaves(found.state), strict=True):
        # Two programs, which may round differently.
        np.testing.assert_allclose(_numbers(one), _numbers(other), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.metrics["gradient_steps"], 8.0)
    for name in plain.metrics:
        np.testing.assert_allclose(plain.metrics[name], found.metrics[name], rtol=1e-3, atol=1e-6)
    assert "gradient_steps" not in plain.metrics


def _numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_an_update_ends_where_the_policy_has_moved_too_far():
    """A tiny target allows the first step, which sees the old policy itself, and no other."""
    tiny, some = within(1e-9), within(3e-4)
    np.testing.assert_array_equal(tiny.metrics["gradient_steps"], 1.0)
    assert ((some.metrics["gradient_steps"] > 1) & (some.metrics["gradient_steps"] < 8)).any()
    assert (tiny.metrics["approximate_kl"] > 0).all()  # of the minibatch that ended it


def test_a_rate_that_falls_is_zero_in_time_though_steps_are_left_out():
    """It falls over the first update, of which one step is made; nothing moves after it, so that no divergence stops it."""
    found = within(1e-9, anneal_updates=1.0)
    np.testing.assert_array_equal(found.metrics["gradient_steps"], [[1.0, 8.0, 8.0]] * 2)


def test_targets_of_a_sweep_are_one_program():
    sweep = jnp.array([1e-9, jnp.inf])
    config = CONFIG.replace(target_kl=sweep, learning_rate=3e-3)
    found = run(ppo.make, envs.make("cartpole"), config, seeds=2, num_updates=3, chunk_length=1)
    np.testing.assert_array_equal(found.metrics["gradient_steps"], [[1.0] * 3, [8.0] * 3])


def sum_of_squares(params):
    return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))


def test_a_penalty_of_the_parameters_is_learned_from_and_its_weights_are_one_program():
    config = CONFIG.replace(penalty=sum_of_squares, penalty_coef=jnp.array([0.0, 10.0]), learning_rate=3e-3)
    found = run(ppo.make, envs.make("cartpole"), config, seeds=2, num_updates=3, chunk_length=1)
    free, held = found.metrics["penalty"]
    assert held[0] < free[0]
    assert (np.diff(held) < 0).all()
    plain = within(None)
    np.testing.assert_allclose(plain.metrics["policy_loss"][0], found.metrics["policy_loss"][0], rtol=1e-3, atol=1e-6)
    assert "penalty" not in plain.metrics


# ---- A2C


def collected(env, config):
    """Returns a network, its state, and a block of steps."""
    algorithm, network = ppo.make(env, config), networks.actor_critic(env, config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    _, batch = rollout.unroll(jax.random.key(1), env, algorithm.policy(state, False), state.episodes, config.num_steps)
    return network, state, batch


def n_step_returns(batch, next_value, gamma):
    """Returns the discounted rewards up to the end of the block or the episode, and the value beyond, by hand."""
    found = np.zeros(batch.reward.shape)
    for env in range(found.shape[1]):
        beyond = next_value[-1, env]
        for t in reversed(range(len(found))):
            ends = batch.truncated[t, env] | batch.terminated[t, env]
            beyond = next_value[t, env] if ends else beyond
            beyond = 0.0 if batch.terminated[t, env] else beyond
            found[t, env] = beyond = batch.reward[t, env] + gamma * beyond
    return found


@pytest.mark.parametrize(("order", "weights"), [(None, [1.0, 1.0, 1.0]), (0, [1.0, 0.8, 0.64]), (1, [1.0, 0.9, 0.8])])
def test_the_gradient_of_a2c_is_the_score_times_the_advantage(order, weights):
    """Huang et al. (2022). Returns, advantages and losses are written out again; a time limit of 3 is met.

    Steps of an episode are weighted alike, by gamma^t, or by gamma^t + t (g' - gamma) gamma^(t - 1) (Tang et al. 2021).
    """
    config, env = ppo.A2C.replace(num_envs=4, hidden=(8,)), envs.make("cartpole").replace(max_steps=3)
    config = config.replace(gamma=0.8, taylor_gamma=0.9, taylor_order=order)
    network, state, batch = collected(env, config)
    assert batch.truncated.any()

    def outputs(params, obs):
        logits, value = network.apply(params, obs, batch.t == 0, ())
        return logits, value

    _, value = outputs(state.params, batch.obs)
    _, next_value = outputs(state.params, batch.next_obs)
    returns = jnp.asarray(n_step_returns(batch, np.asarray(next_value), config.gamma), jnp.float32)
    advantage = returns - value

    def by_hand(params):
        logits, value = outputs(params, batch.obs)
        log_probs = logits - jax.scipy.special.logsumexp(logits, axis=-1, keepdims=True)
        taken = jnp.take_along_axis(log_probs, batch.action[..., None], -1)[..., 0]
        entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
        critic = 0.5 * ((returns - value) ** 2).mean()
        return -(jnp.array(weights)[batch.t] * taken * advantage).mean() + config.vf_coef * critic - config.ent_coef * entropy

    _, experience = ppo.estimate(network, config, env.max_steps, state, batch)
    objective = functools.partial(ppo.loss, network, config, advantages.spread(experience.advantage))
    found = jax.grad(lambda params: objective(params, sequences.cut(experience, (), False))[0])(state.params)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(jax.grad(by_hand)(state.params)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert np.abs(other).max() > 5e-5


def test_a2c_makes_one_step_an_update():
    done = run(ppo.make, envs.make("cartpole"), ppo.A2C.replace(hidden=(8,)), seeds=2, num_updates=2, chunk_length=1)
    np.testing.assert_allclose(done.metrics["approximate_kl"], 0.0, atol=1e-6)
    np.testing.assert_array_equal(done.metrics["clip_fraction"], 0.0)
    counts = {int(leaf.max()) for leaf in jax.tree.leaves(done.state.opt_state) if leaf.dtype == jnp.int32}
    assert counts == {2}


def test_value_clipping_limits_the_critic():
    """With a huge step size the clipped critic's loss is the larger of the two, so it cannot be below the plain one."""
    assert first_update(clip_value=True).metrics["value_loss"][0, 0] >= first_update().metrics["value_loss"][0, 0] - 1e-6


@pytest.mark.parametrize(
    "changes", [{"num_envs": 4, "num_steps": 8}, slow({"memory_size": 4, "num_envs": 8, "num_steps": 1})], ids=str
)
def test_minibatches_of_one_step_learn(changes):
    """Standardised on its own, a single advantage is 0, and the entropy stayed what it was for ever."""
    env = probes.action_dependent_reward()
    count = changes["num_envs"] * changes["num_steps"]
    _, done = trained(env, 40, ent_coef=0.0, learning_rate=3e-3, num_minibatches=count, num_epochs=2, **{"num_envs": 4} | changes)
    assert done.metrics["entropy"][:, -1].max() < 0.5 * np.log(2)
    assert done.metrics["episode_return"][:, -5:].mean() > 0.9


def _pixels(state):
    return jnp.full((2, 2, 1), 200, jnp.uint8) + 20 * state.astype(jnp.uint8)


def _pixels_reset(key, params):
    state = jax.random.randint(key, (), 0, 2, jnp.int32)
    return _pixels(state), state


def _pixels_step(key, state, action, params):
    return Step(_pixels(state), state, jnp.where(action == state, 1.0, 0.0), jnp.bool_(True))


@pytest.mark.slow
def test_normalised_images_are_learned_from():
    """Pixels of 200 that arrive as 200 drown the critic."""
    env = Environment(None, _pixels_reset, _pixels_step, Box(0, 255, (2, 2, 1), jnp.uint8), Discrete(2), max_steps=10)
    _, done = trained(env, 30, normalize_observation=True, channels=(4,), learning_rate=3e-3)
    assert (done.metrics["episode_return"][:, -5:].mean(1) > 0.9).all()


def _counts_reset(key, params):
    state = jax.random.randint(key, (1,), -3, 4, jnp.int32)
    return state, state


def _counts_step(key, state, action, params):
    whole = jnp.issubdtype(action.dtype, jnp.integer)
    return Step(state, state, -jnp.abs(action - state)[0].astype(jnp.float32) if whole else jnp.float32(jnp.nan), jnp.bool_(True))


def test_a_box_of_integers_is_acted_in_by_integers():
    env = Environment(None, _counts_reset, _counts_step, Box(-3, 3, (1,), jnp.int32), Box(-3, 3, (1,), jnp.int32), max_steps=10)
    _, done = trained(env, 3)
    assert not done.summary.failed_seeds
    assert (done.metrics["episode_return"] == np.round(done.metrics["episode_return"] * 128) / 128).all()


def test_policies_of_all_kinds_have_the_right_shapes():
    for name in ("pendulum", "t_maze"):
        env = envs.make(name)
        algorithm = ppo.make(env, CONFIG)
        state = jax.jit(algorithm.init)(jax.random.key(0))
        decision = algorithm.policy(state, True)(jax.random.key(1), View(state.episodes.obs, None, ()))
        assert decision.action.shape == (4, *env.action_space.shape)
        assert env.action_space.contains(decision.action)


def test_distribution_of_masked_actions():
    policy = distributions.categorical(jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[True, True, False]]))
    np.testing.assert_allclose(policy.probs, [[1 / (1 + np.e), np.e / (1 + np.e), 0.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        ("prisoners_dilemma", {}, ConfigError, "no agent axis, got 2"),
        (
            "cartpole",
            {"num_minibatches": 3},
            ConfigError,
            r"num_envs \* num_steps \(128\) must be divisible by num_minibatches, got 3. Try num_minibatches=2",
        ),
        (
            "cartpole",
            {"memory_size": 8, "num_minibatches": 3},
            ConfigError,
            r"num_envs \(4\) must be divisible .* got 3. Try num_minibatches=2",
        ),
        ("cartpole", {"gamma": -0.1}, ConfigError, r"gamma must lie in \[0, 1\], got -0.1"),
        ("cartpole", {"learning_rate": 0.0}, ConfigError, "learning_rate must be positive"),
        ("cartpole", {"num_envs": 2.5}, ConfigError, "num_envs must be an integer of at least 1"),
        (
            "cartpole",
            {"num_envs": 1, "num_steps": 1, "num_minibatches": 1},
            ConfigError,
            "must be at least 2.*got 1. Set num_steps",
        ),
        ("cartpole", {"vf_coef": -0.5}, ConfigError, "vf_coef must be at least 0"),
        ("cartpole", {"activation": "tanhh"}, UnknownNameError, "Did you mean 'tanh'"),
        ("cartpole", {"hidden": ()}, ConfigError, "at least one layer"),
        ("cartpole", {"network": Residual, "memory_size": 8}, ConfigError, "ppo: a network of your own .* without memory_size"),
        ("cartpole", {"memory": "attention"}, ConfigError, "memory='attention' needs a memory_size of at least 1, got 0"),
        ("cartpole", {"memory": "attention", "memory_size": 9}, ConfigError, r"\(9\) must be divisible by memory_heads, got 4"),
        ("cartpole", {"channels": (4,)}, SpaceError, r"shape \[H, W, C\]"),
        ("cartpole", {"policy_head": "beta"}, SpaceError, "ppo: policy_head='beta' needs actions in a Box"),
        ("pendulum", {"policy_head": "betta"}, UnknownNameError, "Did you mean 'beta'"),
        ("lqr", {"policy_head": "tanh_gaussian"}, SpaceError, "every entry of it bounded.*Set policy_head='gaussian'"),
        ("cartpole", {"taylor_order": -1}, ConfigError, "taylor_order must be an integer of at least 0, got -1"),
        (
            "cartpole",
            {"taylor_order": 1, "taylor_gamma": 0.5},
            ConfigError,
            r"gamma must not exceed taylor_gamma \(0.5\)",
        ),
        ("cartpole", {"taylor_order": 1, "gamma": 0.0}, ConfigError, "gamma must be positive"),
        ("cartpole", {"target_kl": 0.0}, ConfigError, "target_kl must be positive, got 0.0"),
        ("cartpole", {"target_kl": float("nan")}, ConfigError, "target_kl must be a number"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(env, changes, error, message):
    with pytest.raises(error, match=message):
        run(ppo.make, envs.make(env), CONFIG.replace(**changes), seeds=2, num_updates=2)
