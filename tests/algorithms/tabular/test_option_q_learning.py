"""Q-learning over options: the probes, every step against the equations, the exact optimum, call and return, and time limits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import option_q_learning
from jaxrl.blocks.options import Options, joined, primitive, with_options
from jaxrl.core import rollout
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.option_models import option_models, smdp_value_iteration
from jaxrl.training.runner import run
from tests import probes

GAMMA = 0.9
CONFIG = option_q_learning.Config(gamma=GAMMA, num_steps=100, epsilon=0.5)
CONSTANT = {"learning_rate": 0.3, "learning_rate_half_life": np.inf, "learning_rate_min": 0.0}
KINDS = pytest.mark.parametrize("intra", [False, True], ids=["smdp", "intra"])


def learned(env, num_updates=60, seeds=4, **changes):
    """Returns the tables of several seeds, [S, X, O]."""
    return np.asarray(run(option_q_learning.make, env, CONFIG.replace(**changes), seeds=seeds, num_updates=num_updates).state.q)


def actions_of(probe):
    return with_options(probe, primitive(3, 2))


def runs(length=6, ends=0.3):
    """The actions of a corridor, and two options that run in one direction from every cell and end by chance."""
    policy = np.broadcast_to(np.eye(2)[:, None], (2, length, 2)).astype(np.float32)
    far = Options(np.ones((2, length), bool), policy, np.full((2, length), ends, np.float32))
    return joined(primitive(length, 2), far)


@KINDS
def test_the_probes(intra):
    """With actions as options. One program for all of them: they differ in numbers alone."""
    one = {"intra_option": intra}
    np.testing.assert_allclose(learned(actions_of(probes.constant_reward()), **one)[:, 0], 1.0, atol=0.05)
    q = learned(actions_of(probes.observation_dependent_reward()), **one)
    np.testing.assert_allclose(q[:, :2], np.broadcast_to([[-1.0] * 2, [1.0] * 2], (4, 2, 2)), atol=0.05)
    q = learned(actions_of(probes.delayed_reward()), **one)
    np.testing.assert_allclose(q[:, :2], np.broadcast_to([[GAMMA] * 2, [1.0] * 2], (4, 2, 2)), atol=0.05)
    q = learned(actions_of(probes.action_dependent_reward()), **one)
    np.testing.assert_allclose(q[:, :2], np.broadcast_to(np.eye(2), (4, 2, 2)), atol=0.05)
    q = learned(actions_of(probes.limit_or_end()), num_updates=120, **one)
    np.testing.assert_allclose(q[:, 0], 1 / (1 - GAMMA), rtol=0.05)
    np.testing.assert_allclose(q[:, 1], 1.0, rtol=0.02)


@KINDS
def test_an_option_that_a_time_limit_cuts_is_worth_to_go_on(intra):
    """Options that never end, in a world that pays 1 for ever and is cut after two steps."""
    endless = Options(np.ones((2, 3), bool), np.broadcast_to(np.eye(2)[:, None], (2, 3, 2)), np.zeros((2, 3)))
    q = learned(with_options(probes.time_limit_loop(), endless), num_updates=120, intra_option=intra)
    np.testing.assert_allclose(q[:, 0], 1 / (1 - GAMMA), rtol=0.05)


@pytest.mark.slow
@KINDS
def test_values_of_options_become_the_exact_ones(intra):
    env, options = envs.make("corridor", length=6, slip=0.1), runs()
    model = tabulate(env)
    exact = smdp_value_iteration(option_models(model, options.at(model.observation), GAMMA), 1e-7).action_value
    config = {"intra_option": intra, "epsilon": 1.0, "learning_rate_min": 0.0, "num_envs": 16}
    q = learned(with_options(env, options), num_updates=300, **config)
    # Two options with the same value: the maximum of their estimates is too large, and the less the more it has seen.
    np.testing.assert_allclose(q.mean(0)[model.observation], exact, atol=0.03)


def followed(env, config, num_steps):
    """Yields (s, o, a, r, s', terminated, the option ended), and the tables before and after each step of one environment."""
    algorithm = option_q_learning.make(env, config.replace(num_envs=1, num_steps=1))
    state, update = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.update)
    world = jax.jit(lambda state: jax.vmap(lambda action: env.step(jax.random.key(0), state, action))(jnp.arange(2)))
    for key in jax.random.split(jax.random.key(1), num_steps):
        before = state
        state, _ = update(state, key)
        obs, option = int(before.episodes.obs[0]), int(state.running.option[0])
        action = int(np.argmax(env.params.options.policy[option, obs]))
        step = jax.tree.map(lambda leaf: leaf[action], world(jax.tree.map(lambda leaf: leaf[0], before.episodes.state)))  # noqa: B023
        ended = not bool(state.running.begun[0])
        yield (obs, option, action, float(step.reward), int(step.obs), bool(step.terminated), ended), before.q, state.q


def by_hand(steps, options, rate):
    """SMDP Q-learning from the stretches between the ends of options, in float64."""
    q = np.zeros((options.initiation.shape[1], options.count))
    best, stretch = lambda s: q[s][np.asarray(options.initiation)[:, s]].max(), []
    for step in steps:
        stretch.append(step)
        if step[-1]:
            reward = sum(GAMMA**k * one[3] for k, one in enumerate(stretch))
            target = reward + (0.0 if step[5] else GAMMA ** len(stretch) * best(step[4]))
            first = stretch[0][:2]
            q[first] += rate * (target - q[first])
            stretch = []
        yield q.copy()


def within_by_hand(steps, options, rate):
    """Intra-option Q-learning, option by option, in float64."""
    q = np.zeros((options.initiation.shape[1], options.count))
    for obs, _, action, reward, after, terminated, _ in steps:
        old = q.copy()
        best = max(old[after, w] for w in range(options.count) if options.initiation[w, after])
        for w in range(options.count):
            if options.initiation[w, obs] and options.policy[w, obs, action] == 1:
                beta = options.termination[w, after]
                worth = 0.0 if terminated else (1 - beta) * old[after, w] + beta * best
                q[obs, w] += rate * (reward + GAMMA * worth - old[obs, w])
        yield q.copy()


@KINDS
def test_every_step_moves_the_table_by_the_equations(intra):
    options = runs()
    options.initiation[0, 2] = False  # one action less in a cell: the maximum leaves it out
    env = with_options(envs.make("corridor", length=6, max_steps=100_000), options)
    config = CONFIG.replace(intra_option=intra, **CONSTANT)
    steps, _, tables = zip(*followed(env, config, 300), strict=True)
    reference = (within_by_hand if intra else by_hand)(steps, options, 0.3)
    for found, expected in zip(tables, reference, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert any(step[5] for step in steps)
    assert not any(step[1] == 0 for step in steps if step[0] == 2)
    kept = [one[1] == following[1] for one, following in itertools.pairwise(steps) if not one[-1]]
    assert len(kept) > 50
    assert all(kept), "an option is followed until it ends"


def test_an_evaluated_policy_calls_and_returns():
    """In cell 2 the other option is better by now, but the one that runs to cell 4 goes on."""
    env = envs.make("corridor", length=6)
    policy = np.broadcast_to(np.eye(2)[::-1, None], (2, 6, 2))  # right, left
    ends = np.array([[0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1]], np.float32)
    begins = np.ones((2, 6), bool)
    env = with_options(env, Options(begins, policy, ends))
    algorithm = option_q_learning.make(env, CONFIG)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    q = jnp.zeros((6, 2), jnp.float32).at[:, 1].set(1.0).at[0, 0].set(2.0)
    follow = algorithm.policy(state.replace(q=q), True)
    episodes = rollout.start(jax.random.key(1), env, 1, algorithm.memory)
    episodes = episodes.replace(obs=jnp.zeros_like(episodes.obs), state=jnp.zeros_like(episodes.state))
    _, batch = rollout.unroll(jax.random.key(2), env, follow, episodes, 6)
    np.testing.assert_array_equal(batch.action[:, 0], [1, 1, 1, 1, 0, 0])


def test_environment_with_options_is_the_same_environment():
    plain, carrying = envs.make("corridor", length=6), with_options(envs.make("corridor", length=6), runs())
    for name in ("next_state", "probability", "reward", "terminated", "initial"):
        np.testing.assert_array_equal(getattr(tabulate(plain), name), getattr(tabulate(carrying), name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (primitive(5, 2), r"options.initiation must have shape \[2, 6\], got \(2, 5\)"),
        (runs(ends=1.5), r"options.termination must lie in \[0, 1\]"),
        (primitive(6, 2).replace(initiation=np.zeros((2, 6), bool)), "an option must be able to begin in every state"),
        (primitive(6, 2).replace(initiation=np.ones((2, 6))), "options.initiation must be bool"),
        (primitive(6, 2).replace(policy=np.ones((2, 6, 2))), "options.policy must sum to 1"),
        (
            joined(primitive(6, 2), runs().replace(initiation=np.zeros((4, 6), bool))),
            "an option must be able to begin wherever it may go on, got 'option 4 in state 0'",
        ),
    ],
)
def test_options_that_cannot_be_followed_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        with_options(envs.make("corridor", length=6), options)


def test_learners_that_do_not_fit_are_refused():
    corridor = envs.make("corridor", length=6)
    with pytest.raises(ConfigError, match=r"must carry options.*with_options\(env, options\)"):
        learned(corridor)
    uncertain = runs().replace(policy=np.full((4, 6, 2), 0.5))
    with pytest.raises(ConfigError, match="certain of their actions"):
        learned(with_options(corridor, uncertain), intra_option=True)
    with pytest.raises(ConfigError, match="no illegal actions"):
        with_options(probes.masked_action(), primitive(2, 3))
