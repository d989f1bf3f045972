"""Environments with the interface of gymnax: stubs of both of its versions, and the package itself where it is installed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.tabular import q_learning
from jaxrl.compat.gymnax import from_gymnax
from jaxrl.core.rollout import Decision, start, unroll
from jaxrl.core.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from jaxrl.core.transforms import with_time_limit
from jaxrl.errors import EnvError, SpaceError
from jaxrl.testing.conformance import check_environment
from jaxrl.training.runner import run

KEY = jax.random.key(0)
LIMIT = 6


class Choices:
    """Like gymnax.environments.spaces.Discrete, as far as an adapter can see."""

    def __init__(self, n, **others):
        self.n, self.shape, self.dtype = n, (), jnp.int_
        vars(self).update(others)


class Reals:
    def __init__(self, low, high, shape, dtype=jnp.float32):
        self.low, self.high, self.shape, self.dtype = low, high, shape, dtype


class Named:
    def __init__(self, **spaces):
        self.spaces = spaces


@struct.dataclass
class State:
    position: jax.Array
    time: int


@struct.dataclass
class Params:
    slip: float = 0.25
    max_steps_in_episode: int = LIMIT


class Chain:
    """Cells 0 to 3; action 1 walks right and slips, action 0 stays; a death in cell 3 pays 1.

    Like gymnax 0.0.9: one flag for every end, and ``step`` begins a new episode by itself.
    """

    def __init__(self, length=4):
        self.length = length
        self.prize = jnp.zeros(length).at[-1].set(1.0)

    @property
    def default_params(self):
        return Params()

    @functools.partial(jax.jit, static_argnames=("self",))
    def step(self, key, state, action, params=None):
        step_key, reset_key = jax.random.split(key)
        obs, after, reward, done, info = self.step_env(step_key, state, action, params)
        fresh_obs, fresh = self.reset_env(reset_key, params)
        obs, after = jax.tree.map(lambda x, y: jnp.where(done, x, y), (fresh_obs, fresh), (obs, after))
        return obs, after, reward, done, info

    def step_env(self, key, state, action, params):
        moves = action * jax.random.bernoulli(key, 1 - params.slip)
        state = State(jnp.minimum(state.position + moves, self.length - 1), state.time + 1)
        done = self.is_terminal(state, params)
        return self.get_obs(state, params), state, self.prize[state.position], done, {"discount": 1.0 - done}

    def reset_env(self, key, params):
        state = State(jax.random.randint(key, (), 0, 2), 0)
        return self.get_obs(state, params), state

    def get_obs(self, state, params):
        return state.position

    def dies(self, state):
        return state.position == self.length - 1

    def is_terminal(self, state, params):
        return self.dies(state) | (state.time >= params.max_steps_in_episode)

    def observation_space(self, params):
        return Choices(self.length)

    def action_space(self, params=None):
        return Choices(2)


class ChainOfTwoFlags(Chain):
    """Like gymnax 1.0.1: death and time limit are told apart, by ``step`` only."""

    @functools.partial(jax.jit, static_argnames=("self",))
    def step(self, key, state, action, params=None):
        step_key, reset_key = jax.random.split(key)
        obs, after, reward, terminated, info = self.step_env(step_key, state, action, params)
        truncated = self.is_truncated(after, params)
        info = {**info, "final_observation": obs}
        fresh_obs, fresh = self.reset_env(reset_key, params)
        done = terminated | truncated
        obs, after = jax.tree.map(lambda x, y: jnp.where(done, x, y), (fresh_obs, fresh), (obs, after))
        return obs, after, reward, terminated, truncated, info

    def is_terminal(self, state, params):
        return self.dies(state)

    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode


class ChainOfSixValues(ChainOfTwoFlags):
    """``step_env``, too, returns both flags."""

    def step_env(self, key, state, action, params):
        obs, state, reward, terminated, info = super().step_env(key, state, action, params)
        return obs, state, reward, terminated, self.is_truncated(state, params), info

    @functools.partial(jax.jit, static_argnames=("self",))
    def step(self, key, state, action, params=None):
        return self.step_env(key, state, action, params)


VERSIONS = (Chain, ChainOfTwoFlags, ChainOfSixValues)
versions = pytest.mark.parametrize("chain", VERSIONS)


def walked(env, actions, num_envs=64):
    """Returns the transitions [T, E] of a sequence of actions, which begins again with every episode."""

    def policy(key, view):
        return Decision(actions[view.memory], memory=view.memory + 1)

    return unroll(KEY, env, policy, start(KEY, env, num_envs, jnp.int32(0)), len(actions))[1]


@versions
def test_keeps_the_protocol(chain):
    check_environment(from_gymnax(chain()), KEY, rebuilt=from_gymnax(chain(), Params(slip=0.5)))


@versions
def test_the_limit_truncates_and_is_no_death(chain):
    """Staying in place ends with the sixth step, of which the successor is seen, not the first observation of a new episode."""
    batch = walked(from_gymnax(chain(), Params(slip=0.0)), jnp.zeros(LIMIT, jnp.int32))
    assert not batch.terminated.any()
    assert batch.truncated[-1].all()
    assert not batch.truncated[:-1].any()
    np.testing.assert_array_equal(batch.next_obs, batch.obs)
    assert set(np.unique(batch.obs)) == {0, 1}


@versions
def test_a_death_is_no_truncation_also_with_the_last_step(chain):
    env = from_gymnax(chain(), Params(slip=0.0))
    batch = walked(env, jnp.array([0, 0, 0, 1, 1, 1]))
    begun = np.asarray(batch.obs[0])  # from cell 1 the fifth step reaches the end, from cell 0 the sixth, which is the last
    np.testing.assert_array_equal(np.asarray(batch.terminated)[4], begun == 1)
    np.testing.assert_array_equal(np.asarray(batch.terminated)[5][begun == 0], True)
    assert not batch.truncated[:, begun == 0].any()
    died = np.asarray(batch.terminated)
    assert (np.asarray(batch.next_obs)[died] == 3).all()
    np.testing.assert_array_equal(batch.reward, died.astype(np.float32))


@versions
def test_steps_are_theirs(chain):
    """Observation, state and reward of every step, drawn from the same keys: 256 random walks of 6 steps."""
    theirs, params = chain(), Params()
    ours = from_gymnax(theirs)
    keys = jax.random.split(KEY, 256)
    obs, state = jax.vmap(ours.reset)(keys)
    expected = jax.vmap(theirs.reset_env, in_axes=(0, None))(keys, params)
    np.testing.assert_array_equal(obs, expected[0])
    for t in range(LIMIT):
        action = jax.random.randint(jax.random.key(t), (256,), 0, 2)
        step = jax.vmap(ours.step)(keys, state, action)
        values = jax.vmap(theirs.step_env, in_axes=(0, 0, 0, None))(keys, state, action, params)
        np.testing.assert_array_equal(step.obs, values[0])
        assert jax.tree.all(jax.tree.map(np.array_equal, step.state, values[1]))
        np.testing.assert_array_equal(step.reward, values[2])
        np.testing.assert_array_equal(step.terminated, jax.vmap(theirs.dies)(step.state))
        state = step.state


def test_both_versions_are_the_same_environment():
    batches = [walked(from_gymnax(chain()), jnp.array([1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1])) for chain in VERSIONS]
    first, *others = (batch._replace(extras={}, info={}) for batch in batches)  # each version's own words about an end
    for other in others:
        assert jax.tree.all(jax.tree.map(np.array_equal, first, other))


# ---- learning


class Forever(Chain):
    """Pays 1 a step: in cell 0 until the time limit, in cell 1 once, then a death."""

    def step_env(self, key, state, action, params):
        after = State(state.position, state.time + 1)
        return state.position, after, 1, self.dies(state) | (after.time >= params.max_steps_in_episode), {}

    def dies(self, state):
        return state.position == 1


def test_q_learning_bootstraps_through_the_limit():
    """1 / (1 - 0.9) = 10 behind the time limit, 1 behind the death."""
    env = from_gymnax(Forever(), Params(max_steps_in_episode=3))
    config = q_learning.Config(gamma=0.9, num_steps=100, epsilon=0.5)
    q = np.asarray(run(q_learning.make, env, config, seeds=4, num_updates=60).state.q)
    np.testing.assert_allclose(q[:, 0], 10.0, rtol=0.02)
    np.testing.assert_allclose(q[:, 1], 1.0, rtol=0.02)


@pytest.mark.slow
def test_ppo_learns_to_walk():
    """By chance few episodes reach the end within six steps, by walking on nearly all."""
    config = ppo.Config(learning_rate=1e-2, num_envs=8, num_steps=32, hidden=(16,), anneal_updates=30.0)
    returns = np.asarray(run(ppo.make, from_gymnax(ChainOfTwoFlags()), config, seeds=4, num_updates=30).metrics["episode_return"])
    assert returns[:, :1].mean() < 0.8
    assert returns[:, -5:].mean() > 0.93


# ---- values and spaces


class Wide(Chain):
    """Observes named parts of several types, in 64 bits where there are any; acts by a vector; shows the time that is left."""

    def get_obs(self, state, params):
        return {
            "place": jax.nn.one_hot(state.position, self.length, dtype=bool),
            "left": jnp.stack([1 - state.time / params.max_steps_in_episode]),
            "cell": state.position,
        }

    def step_env(self, key, state, action, params):
        obs, state, reward, done, info = super().step_env(key, state, (action.sum() > 0).astype(jnp.int32), params)
        return obs, state, 1 * (reward > 0)[None], done[None], info

    def observation_space(self, params):
        return Named(
            place=Reals(jnp.zeros(self.length), 1, (self.length,), jnp.bool_),
            left=Reals(np.array([-1.0]), np.finfo(np.float32).max, (1,), np.float64),
            cell=Choices(self.length),
        )

    def action_space(self, params=None):
        return Reals(np.array([-1.0, -2.0]), jnp.array([1.0, 2.0]), (2,))


def test_spaces_and_dtypes_become_ours():
    env = from_gymnax(Wide())
    assert env.observation_space == Dict.of(
        place=Box(0.0, 1.0, (4,), jnp.int32), left=Box(-1.0, float("inf"), (1,)), cell=Discrete(4)
    )
    assert env.action_space == Box((-1.0, -2.0), (1.0, 2.0), (2,))
    assert env.max_steps == LIMIT
    check_environment(env, KEY, rebuilt=from_gymnax(Wide()))
    with jax.enable_x64(True):
        obs, state = env.reset(KEY)
        step = env.step(KEY, state, jnp.ones(2))
    types = {name: leaf.dtype for name, leaf in step.obs.items()}
    assert types == {"place": jnp.int32, "left": jnp.float32, "cell": jnp.int32}
    assert jax.tree.map(lambda leaf: leaf.dtype, (obs, state)) == jax.tree.map(lambda leaf: leaf.dtype, (step.obs, step.state))
    assert (step.reward.dtype, step.terminated.dtype) == (jnp.float32, bool)


def test_an_observation_of_the_time_left_is_that_of_the_true_limit():
    env = from_gymnax(Wide())
    obs, state = env.reset(KEY)
    for t in range(LIMIT):
        np.testing.assert_allclose(obs["left"], 1 - t / LIMIT, rtol=1e-6)
        obs, state, _, terminated, _ = env.step(KEY, state, -jnp.ones(2))
    assert not terminated
    np.testing.assert_allclose(obs["left"], 0.0, atol=1e-6)


def test_a_later_time_limit_is_theirs_too():
    env = with_time_limit(from_gymnax(Wide()), 2 * LIMIT)
    obs, state = env.reset(KEY)
    for t in range(2 * LIMIT):
        np.testing.assert_allclose(obs["left"], 1 - t / (2 * LIMIT), rtol=1e-6)
        obs, state, _, terminated, _ = env.step(KEY, state, -jnp.ones(2))
        assert not terminated


def test_parameters_are_traced():
    env, traces = from_gymnax(Chain()), 0

    @jax.jit
    def moved(env):
        nonlocal traces
        traces += 1
        return env.step(KEY, State(jnp.int32(0), jnp.int32(0)), jnp.int32(1)).obs

    assert [int(moved(from_gymnax(Chain(), Params(slip=slip)))) for slip in (0.0, 1.0)] == [1, 0]
    assert traces == 1
    many = jax.vmap(lambda slip: moved(env.replace(params=env.params.replace(slip=slip))))(jnp.array([0.0, 1.0]))
    assert many.tolist() == [1, 0]


def test_objects_are_compared_by_what_they_are():
    assert from_gymnax(Chain(5)).step_fn == from_gymnax(Chain(5)).step_fn
    assert hash(from_gymnax(Chain(5)).step_fn) == hash(from_gymnax(Chain(5)).step_fn)
    assert from_gymnax(Chain(5)).step_fn != from_gymnax(Chain(4)).step_fn
    other = Chain(5)
    other.prize = 2 * other.prize
    assert from_gymnax(other).step_fn != from_gymnax(Chain(5)).step_fn
    assert from_gymnax(ChainOfTwoFlags()).step_fn != from_gymnax(Chain()).step_fn


# ---- what cannot be told apart


class HiddenLimit(Chain):
    """Ends after ten steps, which stands in no parameter."""

    def is_terminal(self, state, params):
        return self.dies(state) | (state.time >= 10)


class NoLimit(Chain):
    """Ends by death alone, with one flag."""

    def is_terminal(self, state, params):
        return self.dies(state)


class OtherTruncation(ChainOfTwoFlags):
    """Cuts an episode also in cell 2."""

    def is_truncated(self, state, params):
        return (state.time >= params.max_steps_in_episode) | (state.position == 2)


class OwnTruncation(ChainOfTwoFlags):
    """Cuts an episode after ten steps, whatever the parameters say."""

    def is_truncated(self, state, params):
        return state.time >= 10


class Wrapper:
    """Like gymnax.wrappers.purerl.GymnaxWrapper: hands out what is not its own."""

    def __init__(self, env):
        self._env = env

    def __getattr__(self, name):
        return getattr(self._env, name)


class ThreeFlags(Chain):
    def step_env(self, key, state, action, params):
        return (*super().step_env(key, state, action, params), 0, 0)


class WrongShape(Chain):
    def observation_space(self, params):
        return Reals(0, 1, (3,))


class OtherState(Chain):
    def reset_env(self, key, params):
        obs, state = super().reset_env(key, params)
        return obs, state.replace(position=state.position.astype(jnp.int8))


class CountedFromOne(Chain):
    def action_space(self, params=None):
        return Choices(2, start=1)


class Several(Chain):
    def action_space(self, params=None):
        return (Choices(2), Choices(2))


class Levers:
    """Like gymnasium's MultiDiscrete, as far as an adapter can see."""

    def __init__(self, *nvec):
        self.nvec, self.shape = np.array(nvec), (len(nvec),)


class Row:
    def __init__(self, *spaces):
        self.spaces = spaces


class OfSeveralParts(Chain):
    """Walks where the action says so in both of its parts, and shows its cell in a tuple."""

    def step_env(self, key, state, action, params):
        move, levers = action
        return super().step_env(key, state, move * levers[1], params)

    def get_obs(self, state, params):
        return state.position, jnp.float32(0.5)

    def observation_space(self, params):
        return Row(Choices(self.length), Reals(0.0, 1.0, ()))

    def action_space(self, params=None):
        return Row(Choices(2), Levers(3, 2))


def test_actions_of_several_parts():
    env = from_gymnax(OfSeveralParts(), Params(slip=0.0))
    assert env.action_space == Tuple.of(Discrete(2), MultiDiscrete((3, 2)))
    assert env.observation_space == Tuple.of(Discrete(4), Box(0.0, 1.0))
    (place, _), state = env.reset(jax.random.key(0))
    for move, second in ((1, 1), (1, 0), (0, 1)):
        obs = env.step(jax.random.key(1), state, (jnp.int32(move), jnp.array([2, second], jnp.int32))).obs
        assert obs[0] == place + move * second
    check_environment(env, jax.random.key(0))


@struct.dataclass
class Unlimited:
    slip: float = 0.0


def test_an_end_that_depends_on_no_clock_is_a_death():
    batch = walked(from_gymnax(NoLimit(), Params(slip=0.0)), jnp.array([1, 1, 1]))
    assert (np.asarray(batch.terminated) == (np.asarray(batch.next_obs) == 3)).all()


@pytest.mark.parametrize(
    ("env", "params", "error", "message"),
    [
        (HiddenLimit(), None, EnvError, "done must depend on the max_steps_in_episode"),
        (OtherTruncation(), None, EnvError, "truncated must depend on time and max_steps_in_episode alone"),
        (OwnTruncation(), None, EnvError, "truncated must depend on time and max_steps_in_episode alone"),
        (Wrapper(Chain()), None, EnvError, "the class must define step_env"),
        (Chain(), Unlimited(), EnvError, "Name the field as limit"),
        (Chain(), Params(max_steps_in_episode=0), EnvError, "must be a whole number from 1"),
        (Chain(), Params(max_steps_in_episode=2.5), EnvError, "must be a whole number from 1"),
        (ThreeFlags(), None, EnvError, "step_env must return 5 values"),
        (WrongShape(), None, SpaceError, "in the shape of its space"),
        (OtherState(), None, EnvError, "in the structure that reset_env returned"),
        (CountedFromOne(), None, SpaceError, "counted from 0"),
        (Several(), None, SpaceError, "must be Discrete, MultiDiscrete, Box, Tuple or Dict"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Chain | Wrapper) else "",
)
def test_what_does_not_fit_is_refused(env, params, error, message):
    with pytest.raises(error, match=message):
        from_gymnax(env, params)


def test_other_names_of_limit_and_clock():
    with pytest.raises(EnvError, match="must count its steps as clock"):
        from_gymnax(Chain(), clock="clock")
    with pytest.raises(EnvError, match="with the time limit as limit"):
        from_gymnax(Chain(), limit="limit")


# ---- the package


def test_cartpole_of_the_package():
    """Equal to the package's own step and to our CartPole within the rounding of other programs; only a fall is a death."""
    gymnax = pytest.importorskip("gymnax", reason="no dependency: it caps the version of jax")
    theirs, params = gymnax.make("CartPole-v1")
    env, own = from_gymnax(theirs, params), envs.make("cartpole")
    check_environment(env, KEY, rebuilt=from_gymnax(*gymnax.make("CartPole-v1")))
    assert (env.max_steps, env.action_space, env.observation_space.shape) == (500, Discrete(2), (4,))
    keys = jax.random.split(KEY, 64)
    obs, state = jax.jit(jax.vmap(env.reset))(keys)
    np.testing.assert_array_equal(obs, jax.jit(jax.vmap(theirs.reset, in_axes=(0, None)))(keys, params)[0])
    ours, reference = jax.jit(jax.vmap(env.step)), jax.jit(jax.vmap(theirs.step, in_axes=(0, 0, 0, None)))
    dead = np.zeros(64, bool)
    for t in range(60):
        action = jax.random.randint(jax.random.key(t), (64,), 0, 2)
        step = ours(keys, state, action)
        expected = reference(keys, state, action, params)
        exact = jax.vmap(own.step)(keys, obs, action)
        alive = ~dead & ~np.asarray(step.terminated)  # their step has begun again otherwise
        np.testing.assert_allclose(np.asarray(step.obs)[alive], np.asarray(expected[0])[alive], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(step.terminated, expected[3])
        np.testing.assert_array_equal(np.asarray(step.reward)[~dead], 1.0)
        np.testing.assert_allclose(step.obs, exact.obs, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(step.terminated, exact.terminated)
        dead |= np.asarray(step.terminated)
        obs, state = step.obs, step.state
    assert dead.mean() > 0.9
    upright = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), state).replace(time=jnp.int32(499))
    assert not env.step(KEY, upright, jnp.int32(0)).terminated
