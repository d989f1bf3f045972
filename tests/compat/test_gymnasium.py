"""Our environments as gymnasium's: its own checker, trajectories bit for bit, its own vector environment as the oracle."""

import dataclasses
import functools
import importlib
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import envs
from envs.rendering import can_render, render
from jaxrl.compat.gymnasium import to_gymnasium, to_gymnasium_vector
from jaxrl.compat.spaces import from_space, to_action, to_host, to_space
from jaxrl.core.environment import Step
from jaxrl.core.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from jaxrl.core.transforms import with_time_limit
from jaxrl.errors import ConfigError, EnvError, SpaceError
from tests import probes

NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
SEED = 7


@jax.jit
def reset(env, key):
    return env.reset(key)


@jax.jit
def step(env, key, state, action):
    return env.step(key, state, action)


# The checker's opinion of a space that is what the environment is: states without bounds, torques of more than 1.
matters_of_taste = pytest.mark.filterwarnings(
    "ignore:.*A Box (observation|action) space (minimum|maximum) value is -?infinit:UserWarning",
    "ignore:.*we recommend using a symmetric and normalized space:UserWarning",
)


def registered(env):
    """Returns the environment as ``gymnasium.make`` builds it: only with a spec does the checker compare values."""
    drawn = dict(render=functools.partial(render, env)) if can_render(env) else {}
    spec = EnvSpec("jaxrl-v0", entry_point=to_gymnasium, kwargs=dict(env=env, **drawn))
    return gymnasium.make(spec, render_mode="rgb_array" if drawn else None).unwrapped


@matters_of_taste
@pytest.mark.parametrize(
    "name",
    [
        "cartpole",  # bounded and unbounded entries
        "catch",  # image
        "contextual_dueling_bandit",  # Dict
        "execution",  # mask, info
        "frozen_lake",  # Discrete
        "lqr",  # unbounded action
        "pendulum",  # bounded action
        "random_maze",
    ],
)
def test_gymnasium_finds_no_fault(name):
    check_env(registered(envs.make(name)))


@pytest.mark.parametrize("name", ["cartpole", "execution", "frozen_lake", "pendulum", "random_maze"])
def test_episodes_are_those_of_the_environment(name):
    """Two episodes of one stream, bit for bit; the keys are those that the module promises."""
    env = with_time_limit(envs.make(name), 8)
    adapted, key = to_gymnasium(env), jax.random.key(SEED)
    adapted.action_space.seed(SEED)
    for episode in range(2):
        key, now = jax.random.split(key)
        obs, info = adapted.reset(seed=SEED if episode == 0 else None)
        true_obs, state = reset(env, now)
        t, over = 0, False
        while not over:
            jax.tree.map(np.testing.assert_array_equal, obs, true_obs)
            mask = env.action_mask(state)
            assert ("action_mask" in info) == (mask is not None)
            if mask is not None:
                np.testing.assert_array_equal(info.pop("action_mask"), mask)
            action = adapted.action_space.sample()
            obs, reward, terminated, truncated, info = adapted.step(action)
            key, now = jax.random.split(key)
            true = step(env, now, state, jnp.asarray(action))
            true_obs, state, t = true.obs, true.state, t + 1
            assert set(info) - {"action_mask"} == set(true.info)
            for part, value in true.info.items():
                np.testing.assert_array_equal(info[part], value)
            assert (reward, terminated) == (float(true.reward), bool(true.terminated))
            assert truncated == (t == 8 and not terminated)
            over = terminated or truncated


def test_reset_without_a_seed_goes_on_with_the_stream():
    adapted = to_gymnasium(envs.make("random_maze"))

    def episodes(**seed):
        return [adapted.reset(**seed)[0], adapted.reset()[0], adapted.reset()[0]]

    first, again, others = episodes(seed=1), episodes(seed=1), episodes(seed=2)
    assert all(map(np.array_equal, first, again))
    assert not any(map(np.array_equal, first, others))
    assert not np.array_equal(first[0], first[1])
    fresh = [to_gymnasium(envs.make("random_maze")).reset()[0] for _ in range(4)]
    assert any(not np.array_equal(fresh[0], other) for other in fresh[1:])


@pytest.mark.parametrize(("limit", "flags"), [(3, (True, False)), (2, (False, True)), (4, (True, False))])
def test_a_death_is_not_a_time_limit(limit, flags):
    """The end of the corridor is three steps away: there the episode terminates, also where the time is up with that step."""
    env = with_time_limit(envs.make("corridor", length=4), limit)
    adapted, vector = to_gymnasium(env), to_gymnasium_vector(env, 2)
    adapted.reset(seed=0), vector.reset(seed=0)
    for _ in range(min(limit, 3) - 1):
        assert adapted.step(1)[2:4] == (False, False)
        vector.step([1, 1])
    assert adapted.step(1)[2:4] == flags
    _, _, terminated, truncated, _ = vector.step([1, 1])
    assert (terminated.tolist(), truncated.tolist()) == ([flags[0]] * 2, [flags[1]] * 2)


@pytest.mark.parametrize(
    "space",
    [
        Box((0.1, -jnp.inf), (0.7, jnp.inf), (2,)),
        Box(0, 255, (4, 4, 3), jnp.uint8),
        Box(-3, jnp.inf, (2,), jnp.int32),
        Box(0.0, 1.0),
        Discrete(5),
        Dict.of(view=Box(0, 9, (2, 2), jnp.int32), inner=Dict.of(place=Discrete(3), speed=Box(-1.0, 1.0, (2,)))),
        MultiDiscrete((2, 1, 5)),
        Tuple.of(Discrete(3), MultiDiscrete((2, 3)), Tuple.of(Box(-1.0, 1.0, (2,)), Dict.of(place=Discrete(3)))),
    ],
    ids=str,
)
def test_spaces_keep_their_values(space):
    """Bounds and dtypes stay, and either space contains what the other one draws."""
    theirs: Any = to_space(space)
    theirs.seed(0)
    for i in range(5):
        assert space.contains(theirs.sample())
        assert space.contains(to_action("step", space, theirs.sample()))
        assert theirs.contains(to_host(space, space.sample(jax.random.key(i))))
    if not isinstance(space, Box):  # bounds are theirs in float32, and what is unbounded in integers is theirs up to the last
        assert from_space("test", theirs) == space
    if isinstance(space, Box):
        assert (theirs.shape, theirs.dtype) == (space.shape, np.dtype(space.dtype))
        finite = np.isfinite(np.broadcast_to(space.high, space.shape))
        np.testing.assert_array_equal(theirs.bounded_above, finite)
        high = np.broadcast_to(np.asarray(space.high), space.shape)[finite].astype(theirs.dtype)
        np.testing.assert_array_equal(theirs.high[finite], high)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (gymnasium.spaces.Discrete(3, start=1), "counted from 0, got 1"),
        (gymnasium.spaces.MultiDiscrete([2, 2], start=[0, 3]), r"counted from 0, got \[0, 3\]"),
        (gymnasium.spaces.MultiDiscrete([[2, 2], [3, 3]]), "must be Discrete, MultiDiscrete, Box, Tuple or Dict"),
        (gymnasium.spaces.MultiBinary(3), "must be Discrete, MultiDiscrete, Box, Tuple or Dict"),
        (gymnasium.spaces.Tuple([gymnasium.spaces.Text(3)]), r"at\[0\]: a space must be"),
    ],
    ids=str,
)
def test_spaces_without_a_counterpart_are_refused(space, message):
    with pytest.raises(SpaceError, match=message):
        from_space("at", space)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ((0, [1, 1]), "a dict of"),
        ({"move": [0, [1, 1]], "amount": [0.0]}, "a tuple of 2 items"),
        ({"move": (0,), "amount": [0.0]}, "a tuple of 2 items"),
        ({"move": (0, [1, 3]), "amount": [0.0]}, r"an integer from 0 to array\(\[1, 2\]\)|an integer from 0 to \[1 2\]"),
        ({"move": (0, [1.0, 1.0]), "amount": [0.0]}, "an integer from 0 to"),
        ({"move": (4, [1, 1]), "amount": [0.0]}, "an integer from 0 to 3"),
        ({"move": (0, [1, 1]), "amount": [9.0]}, "must lie in Box"),
    ],
)
def test_nested_actions_outside_their_space_are_refused(action, message):
    space = Dict.of(move=Tuple.of(Discrete(4), MultiDiscrete((2, 3))), amount=Box(-1.0, 1.0, (1,)))
    with pytest.raises(SpaceError, match=f"step: .*{message}"):
        to_action("step", space, action)


@matters_of_taste
def test_nested_actions_and_masks_are_gymnasiums():
    """Legal play by masks as its spaces take them, alone and in a batch; no legal action pays more than 2."""
    env = probes.nested_action()
    adapted = to_gymnasium(env)
    check_env(adapted, skip_render_check=True)
    adapted.action_space.seed(SEED)
    for seed in range(20):
        _, info = adapted.reset(seed=seed)
        assert info["action_mask"]["amount"] is None
        np.testing.assert_array_equal(info["action_mask"]["levers"][1], [1, 1, 0])
        _, reward, *_ = adapted.step(adapted.action_space.sample(mask=info["action_mask"]))
        assert reward <= 2
    adapted.reset(seed=0)
    with pytest.raises(SpaceError, match="the action must be a dict of"):
        adapted.step(0)


@pytest.mark.parametrize("mode", [NEXT, SAME])
def test_nested_actions_in_a_batch(mode):
    theirs = SyncVectorEnv([functools.partial(to_gymnasium, probes.nested_action())] * 3, autoreset_mode=mode)
    ours = to_gymnasium_vector(probes.nested_action(), 3, mode)
    assert ours.action_space == theirs.action_space
    ours.action_space.seed(SEED)
    assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED), exact=False)
    for _ in range(4):
        actions = ours.action_space.sample()
        assert_same(theirs.step(actions), ours.step(actions), exact=False)


def assert_same(theirs, ours, exact):
    """Compares what SyncVectorEnv and our vector environment return, types and dtypes included, but for float32 rewards."""
    theirs, ours = list(theirs), list(ours)
    if len(theirs) == 5:
        assert ours[1].dtype == np.float32
        ours[1] = ours[1].astype(np.float64)
    for one, other in zip(theirs, ours, strict=True):
        assert data_equivalence(one, other, exact), (one, other)


# The time limit, and whether the numbers are whole: others are rounded as the program of their batch happens to.
CASES = {
    "frozen_lake": (9, True),  # chance decides
    "cartpole": (9, False),
    "contextual_dueling_bandit": (4, False),  # Dict
    "execution": (11, False),  # mask and info; terminates
    "pendulum": (5, False),
}


@pytest.mark.parametrize("mode", [NEXT, SAME, DISABLED])
@pytest.mark.parametrize("name", CASES)
def test_the_vector_environment_is_gymnasiums_own(name, mode):
    """What SyncVectorEnv returns over the single environments, whatever chance decides: all of the five, and all infos."""
    (limit, exact), num_envs = CASES[name], 3
    same = functools.partial(assert_same, exact=exact)
    env = with_time_limit(envs.make(name), limit)
    theirs = SyncVectorEnv([functools.partial(to_gymnasium, env)] * num_envs, autoreset_mode=mode)
    ours = to_gymnasium_vector(env, num_envs, mode)
    assert ours.metadata["autoreset_mode"] is mode
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
    ours.action_space.seed(SEED)
    ends = 0
    for _ in range(25):
        actions = ours.action_space.sample()
        one, other = theirs.step(actions), ours.step(actions)
        same(one, other)
        done = other[2] | other[3]
        ends += done.sum()
        assert ours.observation_space.contains(other[0])
        if mode is SAME:
            assert ("final_obs" in other[4]) == done.any()
        if mode is DISABLED and done.any():
            same(theirs.reset(options={"reset_mask": done}), ours.reset(options={"reset_mask": done}))
    assert ends >= 6
    same(theirs.reset(), ours.reset())
    same(theirs.reset(seed=[3, None, 5]), ours.reset(seed=[3, None, 5]))
    same(theirs.step(actions), ours.step(actions))
    mask = np.array([False, True, True])
    seeded = [dict(seed=[1, 2, None], options={"reset_mask": mask}) for _ in range(2)]  # theirs takes the mask out
    same(theirs.reset(**seeded[0]), ours.reset(**seeded[1]))
    same(theirs.step(actions), ours.step(actions))


def test_a_new_episode_begins_as_the_mode_says():
    """By hand, in the corridor 0, 1, 2, of which 2 is the end."""
    env = envs.make("corridor", length=3)
    right = np.array([1, 1])

    def play(mode):
        vector = to_gymnasium_vector(env, 2, mode)
        vector.reset(seed=0)
        return [vector.step(np.array([1, 0]))] + [vector.step(right) for _ in range(2)]

    places, rewards, terminated, _, infos = zip(*play(NEXT), strict=True)
    assert np.array(places).tolist() == [[1, 0], [2, 1], [0, 2]]
    assert np.array(rewards).tolist() == [[0, 0], [1, 0], [0, 1]]
    assert np.array(terminated).tolist() == [[False, False], [True, False], [False, True]]
    assert not any(infos)
    places, rewards, terminated, _, infos = zip(*play(SAME), strict=True)
    assert np.array(places).tolist() == [[1, 0], [0, 1], [1, 0]]
    assert np.array(terminated).tolist() == [[False, False], [True, False], [False, True]]
    assert infos[0] == {}
    assert infos[1]["final_obs"].tolist() == [2, None]
    assert infos[1]["_final_obs"].tolist() == infos[1]["_final_info"].tolist() == [True, False]
    with pytest.raises(ResetNeeded, match=r"missing in \[0\]"):
        play(DISABLED)


@dataclass(frozen=True)
class Counting:
    """A step that counts how often it is traced."""

    inner: Any

    def __call__(self, key, state, action, params) -> Step:
        Counting.traces += 1
        return self.inner(key, state, action, params)


Counting.traces = 0  # type: ignore[attr-defined]


@contextmanager
def compilations():
    """Yields a list to which every program is added that is compiled meanwhile, on the host's account too."""
    found = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("mode", [NEXT, SAME, DISABLED])
def test_a_step_of_all_environments_is_one_program(mode):
    jax.clear_caches()  # else jax may remember a step that another adapter traced

    def build(**parameters):
        env = envs.make("frozen_lake", max_steps=5, **parameters)
        return to_gymnasium_vector(dataclasses.replace(env, step_fn=Counting(env.step_fn)), 4, mode)

    def play(vector):
        for _ in range(12):
            _, _, terminated, truncated, _ = vector.step(vector.action_space.sample())
            done = terminated | truncated
            if mode is DISABLED and done.any():
                vector.reset(options={"reset_mask": done})

    vector, before = build(), Counting.traces
    vector.reset(seed=0)
    with compilations() as found:
        vector.step(vector.action_space.sample())
    assert (len(found), Counting.traces - before) == (1, 1)
    play(vector)
    vector.reset()
    with compilations() as found:
        play(vector)
        vector.reset()
    assert not found
    other = build(slip=0.1)  # other numbers, the same program
    other.reset(seed=1)
    play(other)
    assert Counting.traces - before == 1


def test_a_single_step_is_one_program():
    jax.clear_caches()
    env = envs.make("frozen_lake", max_steps=5)
    adapted = to_gymnasium(dataclasses.replace(env, step_fn=Counting(env.step_fn)))
    before = Counting.traces
    for seed in (0, None, None):
        over, _ = False, adapted.reset(seed=seed)
        while not over:
            _, _, terminated, truncated, _ = adapted.step(adapted.action_space.sample())
            over = terminated or truncated
    assert Counting.traces - before == 1


def test_what_is_returned_belongs_to_the_reader():
    """torch.from_numpy wants arrays that can be written to, and a buffer keeps them."""
    vector = to_gymnasium_vector(with_time_limit(envs.make("execution"), 3), 2, SAME)
    kept, copies = [vector.reset(seed=0)], []
    for _ in range(4):
        copies.append(jax.tree.map(np.copy, kept[-1]))
        kept.append(vector.step(np.array([0, 0])))
    for one, copy in zip(kept, copies, strict=False):
        assert data_equivalence(list(one[1:]), list(copy[1:]), exact=True)
        assert all(leaf.flags.writeable for leaf in jax.tree.leaves(one) if isinstance(leaf, np.ndarray))
    actions = jnp.asarray([1, 0])  # any array will do, and so will a list
    assert vector.step(actions)[0].shape == vector.step([1, 0])[0].shape == vector.observation_space.shape


@pytest.mark.parametrize("name", ["contextual_dueling_bandit", "execution"])
def test_values_are_the_same_however_they_reach_the_host(name, monkeypatch):
    """Copies are started together where the device is not the host; nothing else may differ."""

    def play():
        vector = to_gymnasium_vector(with_time_limit(envs.make(name), 3), 2, SAME)
        return [vector.reset(seed=SEED), *(vector.step(np.array([0, 1])) for _ in range(4))]

    one = play()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert data_equivalence(one, play(), exact=True)


def test_wrappers_of_gymnasium_fit():
    """Statistics of episodes, counted by gymnasium; and an action that is cut by it."""
    env = with_time_limit(envs.make("pendulum"), 6)
    for mode in (NEXT, SAME):
        counted = gymnasium.wrappers.vector.RecordEpisodeStatistics(to_gymnasium_vector(env, 2, mode))
        counted.reset(seed=0)
        for i in range(14):
            _, _, _, truncated, infos = counted.step(np.zeros((2, 1), np.float32))
            assert truncated.all() == ("episode" in infos) == (i in ((5, 12) if mode is NEXT else (5, 11)))
            if "episode" in infos:
                assert infos["episode"]["l"].tolist() == [6, 6]
    clipped = gymnasium.wrappers.ClipAction(to_gymnasium(env))
    clipped.reset(seed=0)
    cut = clipped.step(np.array([99.0]))
    clipped.reset(seed=0)
    assert data_equivalence(list(cut), list(clipped.step(np.array([2.0]))), exact=True)


def test_make_vec_takes_the_program():
    spec = EnvSpec("jaxrl-v0", entry_point=to_gymnasium, vector_entry_point=to_gymnasium_vector)
    vector = gymnasium.make_vec(spec, num_envs=3, env=envs.make("cartpole"))
    assert vector.reset(seed=0)[0].shape == (3, 4)


def test_pictures_are_those_of_the_renderer():
    env = envs.make("frozen_lake")
    draw = functools.partial(render, env)
    adapted = to_gymnasium(env, render_mode="rgb_array", render=draw)
    vector = to_gymnasium_vector(env, 2, render_mode="rgb_array", render=draw)
    adapted.reset(seed=0), vector.reset(seed=0)
    expected = draw(env.reset(jax.random.key(0))[1])
    np.testing.assert_array_equal(adapted.render(), expected)
    assert all(np.array_equal(frame, expected) for frame in vector.render())
    adapted.step(1)
    assert adapted.render().shape == expected.shape
    assert to_gymnasium(env, render=draw).render() is None


def test_wrong_use_is_named():
    env = envs.make("frozen_lake")
    for adapt in (to_gymnasium, lambda env: to_gymnasium_vector(env, 2)):
        with pytest.raises(EnvError, match=r"no agent axis, got 3. .*to_pettingzoo"):
            adapt(envs.make("simple_spread"))
    with pytest.raises(ConfigError, match=r"render must be given .*envs\.rendering\.render"):
        to_gymnasium(env, render_mode="rgb_array")
    with pytest.raises(ConfigError, match="render_mode must be None or 'rgb_array', got 'human'"):
        to_gymnasium(env, render_mode="human")
    with pytest.raises(ConfigError, match="num_envs must be at least 1, got 0"):
        to_gymnasium_vector(env, 0)
    with pytest.raises(ConfigError, match=r"autoreset_mode must be one of \['NextStep'"):
        to_gymnasium_vector(env, 2, "next")
    adapted, vector = to_gymnasium(env), to_gymnasium_vector(env, 2)
    for unready in (lambda: adapted.step(0), lambda: vector.step([0, 0])):
        with pytest.raises(ResetNeeded, match="under way"):
            unready()
    with pytest.raises(ResetNeeded, match="first reset must begin all"):
        vector.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ConfigError, match="a seed for each of the 2"):
        vector.reset(seed=[1])
    adapted.reset(), vector.reset()
    for mask in (np.array([0, 1]), [True, False], np.zeros(2, bool), np.ones(3, bool)):
        with pytest.raises(ConfigError, match="reset_mask must be"):
            vector.reset(options={"reset_mask": mask})
    for action in (4, -1, 1.0, True):
        with pytest.raises(SpaceError, match="an integer from 0 to 3"):
            adapted.step(action)
    for action in ([0, 1], None):
        with pytest.raises(SpaceError):
            adapted.step(action)
    with pytest.raises(SpaceError, match=r"shape \(2,\), got \(3,\)"):
        vector.step([0, 0, 0])
    continuous = to_gymnasium(envs.make("pendulum"))
    continuous.reset()
    for action in ([2.1], [np.nan]):
        with pytest.raises(SpaceError, match="ClipAction"):
            continuous.step(np.array(action))


def test_a_step_beyond_the_end_is_refused():
    adapted = to_gymnasium(with_time_limit(envs.make("frozen_lake"), 1))
    adapted.reset()
    adapted.step(0)
    with pytest.raises(ResetNeeded, match=r"Call reset\(\)"):
        adapted.step(0)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "jaxrl.compat.gymnasium")
    with pytest.raises(ConfigError, match=r"the package gymnasium must be installed.*pip install 'jaxrl\[gymnasium\]'"):
        importlib.import_module("jaxrl.compat.gymnasium")
