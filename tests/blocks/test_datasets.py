"""Data sets: where episodes end, what is drawn from them, foreign layouts, files, and unsound data that are refused."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

import envs
from jaxrl.blocks import datasets
from jaxrl.blocks.dataset_layouts import from_d4rl, from_minari
from jaxrl.blocks.policies import noting_log_prob
from jaxrl.core import rollout, spaces
from jaxrl.core.spaces import Box, Dict, Discrete
from jaxrl.errors import ConfigError, DataError
from jaxrl.results import dataset_files
from tests import probes

KEY = jax.random.key(0)
PLACE = Box(-1.0, 1.0, (2,))


def uniform(env, episodes, length=None):
    return datasets.collect(KEY, env, rollout.uniform_policy(env), episodes, length)


def lake(episodes=8, **options):
    tables = jnp.full((1, 16, 4), 0.25, jnp.float32)
    return datasets.Collected(envs.make("frozen_lake", **options), tables, episodes)(KEY)


def numbers():
    """Three episodes of 3, 1 and 2 steps; the reward of each step is its number, and so is the first entry of what is seen."""
    step = np.arange(6, dtype=np.float32)
    return from_minari(
        [
            {
                "observations": np.stack([np.append(step[part], 0), np.zeros(stop - start + 1)], -1) / 10,
                "actions": np.arange(start, stop) % 3,
                "rewards": step[part].astype(np.float64),
                "terminations": np.arange(start, stop) == (stop - 1 if ends else -1),
                "truncations": np.zeros(stop - start),
            }
            for start, stop, ends in ((0, 3, True), (3, 4, False), (4, 6, False))
            for part in [slice(start, stop)]
        ],
        PLACE,
        Discrete(3),
    )


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)
    assert jax.tree.structure(left) == jax.tree.structure(right)


# ---- collection


def test_an_episode_ends_where_it_terminates():
    """The delayed probe terminates after two steps and pays 1 on the second."""
    data = uniform(probes.delayed_reward(), 3, 5)
    data.validate("test")
    np.testing.assert_array_equal(data.valid, [[True, True, False, False, False]] * 3)
    np.testing.assert_array_equal(data.terminated, [[False, True, False, False, False]] * 3)
    np.testing.assert_array_equal(data.reward, [[0, 1, 0, 0, 0]] * 3)
    np.testing.assert_array_equal(data.next_obs[:, :2], [[1, 2]] * 3)
    assert not data.truncated.any()
    assert data.log_prob is None


@pytest.mark.parametrize(("length", "steps"), [(7, 2), (1, 1), (None, 2)])
def test_an_episode_is_cut_by_the_time_limit_or_by_the_length(length, steps):
    data = uniform(probes.time_limit_loop(), 2, length)
    data.validate("test")
    np.testing.assert_array_equal(data.lengths, steps)
    assert data.truncated[:, steps - 1].all()
    assert not data.terminated.any()


def test_the_log_probability_of_the_behaviour_is_kept():
    """Of tables by ``mixture``; of any other policy by what says its probabilities."""
    tables = jnp.stack([jnp.tile(row, (16, 1)) for row in jnp.float32([[0.7, 0.1, 0.1, 0.1], [0, 0, 0.5, 0.5]])])
    data = datasets.Collected(envs.make("frozen_lake"), tables, 6, 20)(KEY)
    chance = np.where(data.valid, np.asarray(tables)[np.arange(6)[:, None] % 2, 0, data.action], 1.0)
    np.testing.assert_allclose(data.log_prob, np.log(chance), rtol=1e-6)
    assert np.isin(data.action[1::2][np.asarray(data.valid[1::2])], (2, 3)).all()
    env = envs.make("frozen_lake")
    policy = noting_log_prob(rollout.uniform_policy(env), lambda view: jnp.full((4, 4), 0.25, jnp.float32))
    noted = datasets.collect(KEY, env, policy, 4, 5)
    np.testing.assert_allclose(noted.log_prob[noted.valid], np.log(0.25))


def test_masks_and_vectors_are_collected():
    assert uniform(envs.make("cartpole"), 2, 4).next_obs.shape == (2, 4, 4)
    data = uniform(envs.make("maximisation_bias"), 8)
    data.validate("test")
    behind = ~np.asarray(data.valid)
    assert behind.any()
    assert np.asarray(data.mask)[behind].all()
    assert not np.asarray(data.mask).all()


def test_collection_refuses_what_it_cannot_do():
    with pytest.raises(ConfigError, match=r"datasets.collect: the environment must have no agent axis, got 2"):
        uniform(envs.make("kuhn"), 2)
    with pytest.raises(ConfigError, match="num_episodes must be an integer of at least 1, got 0"):
        uniform(envs.make("corridor"), 0)


def test_data_go_through_jit_and_vmap():
    """Several data sets at once are those that are drawn one by one."""
    task = datasets.Collected(envs.make("frozen_lake"), jnp.full((1, 16, 4), 0.25, jnp.float32), 3, 6)
    keys = jax.random.split(KEY, 2)
    many = jax.jit(jax.vmap(task))(keys)
    same(jax.tree.map(lambda leaf: leaf[1], many), task(keys[1]))
    drawn = jax.vmap(lambda data: datasets.sample(KEY, data, 5).reward)(many)
    assert drawn.shape == (2, 5)


# ---- reading


def test_every_step_is_drawn_equally_often():
    data = numbers()
    drawn = np.asarray(datasets.sample(KEY, data, 60_000).reward).astype(int)
    counts = np.bincount(drawn, minlength=6)
    assert counts.sum() == 60_000
    assert (abs(counts - 10_000) < 5 * np.sqrt(60_000 / 6 * 5 / 6)).all(), counts


def test_a_step_is_drawn_with_its_own_parts():
    batch = datasets.sample(KEY, numbers(), 200)
    number = np.asarray(batch.reward)
    np.testing.assert_allclose(batch.obs[:, 0], number / 10)
    np.testing.assert_array_equal(batch.action, number % 3)
    np.testing.assert_array_equal(batch.terminated, number == 2)


def test_returns_to_go_by_hand():
    np.testing.assert_array_equal(datasets.returns_to_go(numbers()), [[3, 3, 2], [3, 0, 0], [9, 5, 0]])
    np.testing.assert_array_equal(datasets.returns_to_go(numbers(), 0.5), [[1, 2, 2], [3, 0, 0], [6.5, 5, 0]])


def test_the_best_return_to_go_of_each_observation():
    """On the lake, a cell that an episode came through to the goal has 1, others that were seen 0, and cuts count for nothing."""
    data = lake(200)
    wins = np.asarray((data.reward * data.valid).sum(-1)) > 0
    valid, cells = np.asarray(data.valid), np.asarray(data.obs)
    won, seen = (np.isin(np.arange(16), cells[rows][valid[rows]]) for rows in (wins, np.full(200, True)))
    assert 0 < won.sum() < seen.sum() < 16
    expected = np.where(won, 1.0, np.where(seen, 0.0, -5.0))
    np.testing.assert_array_equal(datasets.best_returns_to_go(data, 16, -5.0), expected)
    cut = data.replace(terminated=jnp.zeros_like(data.terminated))
    np.testing.assert_array_equal(datasets.best_returns_to_go(cut, 16, -5.0), np.full(16, -5.0))


def test_windows_end_at_a_step_and_are_padded_at_the_front():
    data = numbers()
    window = datasets.windows(KEY, data, 500, 2)
    ends = np.asarray(window.reward[:, -1])
    assert set(ends) == set(range(6))
    assert np.asarray(window.valid)[:, -1].all()
    before = np.array([-1, 0, 1, -1, -1, 4])[ends.astype(int)]  # the step before, in the same episode
    np.testing.assert_array_equal(window.valid[:, 0], before >= 0)
    np.testing.assert_array_equal(window.reward[:, 0], np.where(before >= 0, before, ends))
    np.testing.assert_array_equal(window.t[:, -1], np.array([0, 1, 2, 0, 0, 1])[ends.astype(int)])
    np.testing.assert_array_equal(window.return_to_go[:, -1], np.array([3, 3, 2, 3, 9, 5])[ends.astype(int)])
    np.testing.assert_array_equal(window.terminated[:, -1], ends == 2)
    again = datasets.windows(KEY, data, 500, 2, to_go=datasets.returns_to_go(data))
    same(window, again)
    with pytest.raises(ConfigError, match="context must be an integer of at least 1, got 0"):
        datasets.windows(KEY, data, 2, 0)


def test_the_best_episodes():
    np.testing.assert_array_equal(datasets.best(numbers(), 0.3).reward, [[4, 5, 0]])
    np.testing.assert_array_equal(datasets.best(numbers(), 0.01).lengths, [2])
    assert datasets.best(numbers(), 1.0).num_episodes == 3
    with pytest.raises(ConfigError, match=r"share must lie in \(0, 1\], got 0"):
        datasets.best(numbers(), 0)


# ---- layouts


def long_arrays(**changes):
    """Episodes of 2 (terminal), 3 (timeout) and 2 steps (the end of the arrays)."""
    step = np.arange(7)
    given = {
        "observations": np.stack([step, -step], -1) / 10.0,
        "actions": step % 3,
        "rewards": step.astype(np.float64),
        "terminals": step == 1,
        "timeouts": step == 4,
    }
    return {name: value for name, value in (given | changes).items() if value is not None}


def test_d4rl_without_successors_leaves_out_the_step_that_has_none():
    data = from_d4rl(long_arrays(), PLACE, Discrete(3))
    np.testing.assert_array_equal(data.reward, [[0, 1], [2, 3], [5, 0]])
    np.testing.assert_array_equal(data.terminated, [[False, True], [False, False], [False, False]])
    np.testing.assert_array_equal(data.truncated, [[False, False], [False, True], [True, False]])
    np.testing.assert_allclose(data.next_obs[..., 0], [[0.1, 0.1], [0.3, 0.4], [0.6, 0]])
    assert data.obs.dtype == jnp.float32


def test_d4rl_with_successors_keeps_every_step():
    arrays = long_arrays()
    data = from_d4rl(arrays | {"next_observations": arrays["observations"] * 0.5}, PLACE, Discrete(3))
    np.testing.assert_array_equal(data.lengths, [2, 3, 2])
    np.testing.assert_array_equal(data.truncated.sum(1), [0, 1, 1])
    np.testing.assert_allclose(data.next_obs[data.valid][:, 0], np.arange(7) / 20, rtol=1e-6)
    log_probs = np.log(np.full(7, 0.5))
    assert from_d4rl(long_arrays(log_probs=log_probs), PLACE, Discrete(3)).log_prob[0, 1] == np.float32(np.log(0.5))
    np.testing.assert_array_equal(from_d4rl(long_arrays(timeouts=None), PLACE, Discrete(3)).lengths, [2, 4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": None}, r"must be there, got .no \['rewards'\]"),
        ({"rewards": np.zeros(6)}, r"rewards must have 7 rows, as terminals has, got \(6,\)"),
        ({"rewards": np.append(np.zeros(6), np.nan)}, None),
        ({"rewards": np.full(7, np.nan)}, "reward must be finite, got NaN or infinity at step 0 of episode 0"),
        ({"rewards": np.full(7, 1e300)}, "reward must be finite"),
        ({"actions": np.arange(7)}, r"action must lie in Discrete\(n=3\), got a value outside at step 1 of episode 1"),
        ({"actions": np.arange(7) / 2}, "action must hold integers, got .float64"),
        ({"terminals": np.arange(7)}, "terminals must hold True and False, got .int64"),
        ({"terminals": np.zeros(7), "timeouts": np.ones(7)}, "a step must have a successor, got .cuts alone"),
        ({"observations": np.zeros((7, 3))}, r"obs must have shape \[5, 2\], got \[5, 3\]"),
        ({"observations": np.full((7, 2), 3.0)}, "obs must lie in Box"),
    ],
)
def test_unsound_arrays_are_refused(changes, message):
    if message is None:  # in the step that is left out
        assert from_d4rl(long_arrays(**changes), PLACE, Discrete(3)).num_episodes == 3
        return
    with pytest.raises(DataError, match=f"from_d4rl: .*{message}"):
        from_d4rl(long_arrays(**changes), PLACE, Discrete(3))


def episode(**changes):
    given = {
        "observations": np.zeros((3, 2)),
        "actions": np.zeros(2, np.int64),
        "rewards": np.zeros(2),
        "terminations": np.array([False, True]),
        "truncations": np.array([False, True]),
    }
    return given | changes


def test_minari_a_step_with_both_flags_has_terminated():
    data = from_minari([episode()], PLACE, Discrete(3))
    assert data.terminated[0, 1]
    assert not data.truncated.any()


def test_minari_nested_observations_and_masks():
    space = Dict.of(place=PLACE, number=Discrete(4))
    seen = {"place": np.zeros((3, 2)), "number": np.array([1, 2, 3])}
    mask = np.array([[True, True, False], [True, False, False], [True, True, True]])
    data = from_minari([episode(observations=seen, masks=mask, log_probs=np.zeros(2))] * 2, space, Discrete(3))
    np.testing.assert_array_equal(data.next_obs["number"], [[2, 3]] * 2)
    np.testing.assert_array_equal(data.mask, [mask[:2]] * 2)
    np.testing.assert_array_equal(data.next_mask, [mask[1:]] * 2)


def test_minari_a_game_that_is_over_may_leave_no_legal_action():
    mask = np.array([[True, True, False], [True, False, False], [False, False, False]])
    data = from_minari([episode(masks=mask)], PLACE, Discrete(3))
    assert not data.next_mask[0, -1].any()
    cut = episode(masks=mask, terminations=np.zeros(2, bool), truncations=np.array([False, True]))
    with pytest.raises(DataError, match="next_mask must leave a legal action, got none at step 1 of episode 0"):
        from_minari([cut], PLACE, Discrete(3))


def test_lists_of_numbers_are_arrays():
    listed = {name: value.tolist() for name, value in episode().items()}
    chex.assert_trees_all_equal(from_minari([listed], PLACE, Discrete(3)), from_minari([episode()], PLACE, Discrete(3)))


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([], "there must be an episode, got 0"),
        (episode(), "episodes must come one by one, in a list say, got 'dict'"),
        ([[1.0]], "episode 0: the arrays must come in a mapping, name -> array, got 'list'"),
        ([episode(rewards=["a", "b"])], "episode 0: rewards must be an array of real numbers"),
        ([episode(), episode(actions=np.zeros(3, int))], r"episode 1: actions must have 2 entries, .* got \[\(3,\)\]"),
        ([episode(observations=np.zeros((2, 2)))], "episode 0: observations must have 3 entries"),
        ([episode(rewards=np.zeros(0))], "episode 0: there must be a step, got 0"),
        (
            [episode(terminations=np.array([True, True]))],
            "must end with the step that is terminated, got a step after it at step 0",
        ),
        (
            [episode(truncations=np.array([True, False]))],
            "must end with the step that is truncated, got a step after it at step 0",
        ),
        ([episode(), episode(observations=np.zeros((3, 5)))], "arrays of one structure and shape"),
        ([episode(), episode(log_probs=np.zeros(2))], "all episodes must have log_probs, or none, got .1 of 2"),
        ([episode(masks=np.zeros((3, 3), bool))], "mask must leave a legal action, got none at step 0 of episode 0"),
        ([episode(masks=np.eye(3, dtype=bool)[[0, 1, 1]])], "action must be legal by mask, got an illegal one at step 1"),
        ([episode(observations=np.full((3, 2), np.nan))], "obs must be finite"),
    ],
)
def test_unsound_episodes_are_refused(episodes, message):
    with pytest.raises(DataError, match=f"from_minari.*{message}"):
        from_minari(episodes, PLACE, Discrete(3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": jnp.zeros((3, 3), bool)}, "every episode must have a step, its first, got none at step 0 of episode 0"),
        ({"valid": jnp.zeros((0, 3), bool)}, r"there must be an episode with a step"),
        ({"valid": jnp.bool_([[1, 0, 1], [1, 0, 0], [1, 1, 0]])}, "got a step behind padding at step 1 of episode 0"),
        ({"terminated": jnp.zeros((3, 3), bool)}, "must be terminated or truncated, got neither at step 2 of episode 0"),
        ({"truncated": jnp.ones((3, 3), bool)}, "must end with the step that is truncated, got a step after it at step 0"),
        ({"reward": jnp.zeros((3, 2))}, r"reward must have shape \[3, 3\], got \[3, 2\]"),
        ({"reward": jnp.zeros((3, 3), jnp.int32)}, "reward must have dtype float32, got .int32"),
        ({"log_prob": jnp.full((3, 3), -jnp.inf)}, "log_prob must be finite"),
        ({"mask": jnp.zeros((3, 3, 3), jnp.int32)}, "mask must be bool with the leading axes"),
        ({"obs": (jnp.zeros((3, 3, 2)),)}, "obs must have the structure of its space"),
    ],
)
def test_unsound_data_are_refused(changes, message):
    with pytest.raises(DataError, match=f"test: .*{message}"):
        numbers().replace(**changes).validate("test")


def test_traced_data_are_not_looked_at():
    jax.jit(lambda data: data.replace(reward=data.reward + jnp.inf).validate("test"))(numbers())


# ---- files


def nested():
    """Data with nested observations and actions, an image among them, and masks."""
    space = Dict.of(image=Box(0, 255, (2, 3), jnp.uint8), pair=spaces.Tuple.of(Discrete(3), PLACE))
    seen = {"image": np.arange(18).reshape(3, 2, 3), "pair": (np.array([0, 1, 2]), np.zeros((3, 2)))}
    masks = np.array([[True, True, False]] * 3)
    return from_minari([episode(observations=seen, masks=masks)], space, Discrete(3))


@pytest.mark.parametrize("make", [numbers, lake, nested])
def test_a_file_holds_the_same_data(make, tmp_path):
    data, path = make(), tmp_path / "deep" / "data.parquet"
    dataset_files.write(path, data)
    found = dataset_files.read(path, data.observation_space, data.action_space)
    short = int(data.lengths.max())  # padding is not written
    same(jax.tree.map(lambda leaf: leaf[:, :short], data), found)
    dataset_files.write(path, found)
    assert [file.name for file in path.parent.iterdir()] == ["data.parquet"]


def test_files_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "data.parquet"
    with pytest.raises(DataError, match=r"dataset_files.write: reward must be finite"):
        dataset_files.write(path, numbers().replace(reward=jnp.full((3, 3), jnp.nan)))
    assert not path.exists()
    dataset_files.write(path, numbers())
    with pytest.raises(DataError, match=r"column obs must hold values of shape \[3\], got .12 numbers in 6 rows"):
        dataset_files.read(path, Box(-1.0, 1.0, (3,)), Discrete(3))
    with pytest.raises(DataError, match="there must be a column obs/a"):
        dataset_files.read(path, Dict.of(a=PLACE), Discrete(3))
    with pytest.raises(DataError, match=r"action must lie in Discrete\(n=2\)"):
        dataset_files.read(path, PLACE, Discrete(2))


def test_what_collects_nothing_is_refused():
    env = envs.make("frozen_lake")
    with pytest.raises(ConfigError, match=r"datasets.collect: policy must be a function .* got None"):
        datasets.collect(KEY, env, None, 2)
    with pytest.raises(ConfigError, match=r"datasets.collect: env must be an Environment, got 'str'"):
        datasets.collect(KEY, "frozen_lake", rollout.uniform_policy(env), 2)


@pytest.mark.parametrize(("rows", "found"), [([1, 0, 2, 3, 4, 5], "t=1 in row 0"), ([0, 2, 3, 4, 5], "t=2 in row 1")])
def test_a_file_whose_steps_are_in_another_order_or_lack_one_is_refused(rows, found, tmp_path):
    path = tmp_path / "data.parquet"
    dataset_files.write(path, numbers())
    pq.write_table(pq.read_table(path).take(rows), path)
    with pytest.raises(DataError, match=f"in the order of t, 0 and up without a gap, got '?{found}"):
        dataset_files.read(path, PLACE, Discrete(3))
