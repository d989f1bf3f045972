"""Replays and pictures of gridworlds in a run's directory: the right episode, readable files, the right arrows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import envs
from envs.gridworlds.grid import DOWN, RIGHT
from envs.rendering import render
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import Decision, uniform_policy
from jaxrl.errors import ConfigError, EnvError
from jaxrl.report import films
from jaxrl.report.grid_figures import best_actions, value_map
from jaxrl.report.style import caption
from jaxrl.results.run_directory import RunDirectory
from jaxrl.solvers.mdp.value_iteration import value_iteration


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path, "grids", {})


def solved(env, gamma=0.95):
    model = tabulate(env)
    with jax.enable_x64(True):
        solution = jax.tree.map(np.asarray, value_iteration(model, gamma, tolerance=1e-12))
    return model, solution


def test_an_optimal_policy_walks_the_shortest_way():
    env = envs.make("dyna_maze")
    model, solution = solved(env)
    played = films.play_table(jax.random.key(0), env, model, best_actions(solution.action_value))
    assert played.terminated
    assert played.reward.tolist() == [0.0] * 13 + [1.0]
    assert len(played.states) == 15
    neighbour = np.asarray(env.params.neighbour)
    for before, after, action in zip(played.states, played.states[1:], played.action, strict=False):
        assert neighbour[before, action] == after


def test_states_of_a_table_are_those_of_the_environment():
    env = envs.make("doorkey", timed=False)
    model, solution = solved(env)
    played = films.play_table(jax.random.key(1), env, model, best_actions(solution.action_value))
    assert played.terminated
    for t, action in enumerate(played.action):
        before, after = (jax.tree.map(lambda leaf, index=index: leaf[index], played.states) for index in (t, t + 1))
        reached = env.step(jax.random.key(0), jax.tree.map(jnp.asarray, before), jnp.int32(action)).state
        assert jax.tree.all(jax.tree.map(np.array_equal, reached, after))


def test_the_last_state_is_shown_and_nothing_beyond():
    """Always right in a corridor: 7 steps, 8 states, the last of them the goal."""
    played = films.play(jax.random.key(0), envs.make("corridor"), lambda key, view: Decision(jnp.ones(1, jnp.int32)))
    assert played.states.tolist() == list(range(8))
    assert played.terminated
    assert played.reward.tolist() == [0.0] * 6 + [1.0]


def test_an_episode_stops_at_its_limit():
    played = films.play(
        jax.random.key(0), envs.make("corridor"), lambda key, view: Decision(jnp.zeros(1, jnp.int32)), max_steps=9
    )
    assert not played.terminated
    assert len(played.states) == 10
    played = films.play(jax.random.key(0), envs.make("reward_grid", max_steps=5), uniform_policy(envs.make("reward_grid")))
    assert len(played.reward) == 5


def test_memory_is_handed_on():
    """A policy that counts: left at every step but the third."""

    def counting(key, view):
        return Decision((view.memory == 2).astype(jnp.int32), {}, view.memory + 1)

    played = films.play(jax.random.key(0), envs.make("corridor"), counting, memory=jnp.int32(0), max_steps=5)
    assert played.action.tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("name", ["frozen_lake", "soccer", "simple_spread"])
def test_replay_is_a_picture_that_moves(run, name):
    env = envs.make(name)
    played = films.play(jax.random.key(2), env, uniform_policy(env), max_steps=12)
    path = films.write_replay(run, name, env, played)
    assert path == run.path / "replays" / f"{name}.gif"
    with Image.open(path) as image:
        assert image.format == "GIF"
        assert image.info["loop"] == 0
        # Equal pictures in a row may be stored as one that stays longer.
        assert 1 < image.n_frames <= len(played.reward) + 1
        first = np.asarray(image.convert("RGB")).astype(int)
    expected = render(env, jax.tree.map(lambda leaf: leaf[0], played.states)).astype(int)
    assert np.abs(first - expected).mean() < 3.0  # a palette of 128 colours


def test_a_film_says_how_long_the_episode_was(run):
    env = envs.make("corridor")
    right = films.play(jax.random.key(0), env, lambda key, view: Decision(jnp.ones(1, jnp.int32)))
    left = films.play(jax.random.key(0), env, lambda key, view: Decision(jnp.zeros(1, jnp.int32)), max_steps=1)
    assert (right.num_steps, left.num_steps) == (7, 1)
    assert right.summary == "7 steps, terminated, return 1"
    assert left.summary == "1 step, cut at the limit of steps, return 0"
    assert caption(films.write_replay(run, "greedy_policy", env, right)) == f"greedy policy: {right.summary}"


def test_a_policy_of_the_wrong_shape_is_refused():
    env = envs.make("corridor")
    with pytest.raises(ConfigError, match="policy must have shape"):
        films.play_table(jax.random.key(0), env, tabulate(env), np.ones((3, 2)))


def test_best_actions_share_ties():
    policy = best_actions(np.array([[1.0, 1.0 + 1e-12, 0.0], [0.0, -np.inf, 2.0]]))
    np.testing.assert_allclose(policy, [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])


def test_value_map_draws_values_and_the_best_moves(run, monkeypatch):
    """Two by three cells, the goal at the bottom right: what is drawn is caught on its way to the axes."""
    from matplotlib.axes import Axes

    env = envs.make("gridworld", map=("S..", "..G"), step=0.0)
    model, solution = solved(env, 0.5)
    drawn = {}
    quiver, imshow = Axes.quiver, Axes.imshow

    def catch_arrows(axes, x, y, right, down, **options):
        drawn["arrows"] = sorted(zip(np.round(y).tolist(), np.round(x).tolist(), np.sign(down), np.sign(right), strict=True))
        return quiver(axes, x, y, right, down, **options)

    def catch_values(axes, values, **options):
        drawn["values"] = values
        return imshow(axes, values, **options)

    monkeypatch.setattr(Axes, "quiver", catch_arrows)
    monkeypatch.setattr(Axes, "imshow", catch_values)
    path = value_map(run, "values", env, model, solution.value, best_actions(solution.action_value))
    np.testing.assert_allclose(drawn["values"].filled(np.nan), [[0.25, 0.5, 1.0], [0.5, 1.0, np.nan]])
    down, right = (1, 0), (0, 1)
    assert (DOWN, RIGHT) == (1, 2)
    assert drawn["arrows"] == sorted(
        (row, column, *move)
        for (row, column), moves in {
            (0, 0): (down, right),
            (0, 1): (down, right),
            (0, 2): (down,),
            (1, 0): (right,),
            (1, 1): (right,),
        }.items()
        for move in moves
    )
    assert "Arrows" in caption(path)


def test_value_map_needs_a_map(run):
    env = envs.make("corridor")
    model, solution = solved(env)
    with pytest.raises(EnvError, match="walk over a map"):
        value_map(run, "values", env, model, solution.value)
