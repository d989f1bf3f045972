"""Self-play: the seats, who is met, what is kept, cycles in rock, paper, scissors, and averages that come to rest."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.matrix_games import matrix_game, named
from jaxrl.algorithms.deep import dqn, ppo
from jaxrl.algorithms.population import self_play
from jaxrl.algorithms.tabular import q_learning
from jaxrl.blocks import opponents
from jaxrl.core import rollout
from jaxrl.core.rollout import Decision, View
from jaxrl.core.spaces import Discrete, Tuple
from jaxrl.core.transforms import seat_space, with_opponent
from jaxrl.errors import AlgorithmError, ConfigError, UnknownNameError
from jaxrl.evaluation import Exploitability, NashConv
from jaxrl.testing.conformance import check_environment
from jaxrl.training.runner import run
from tests.marks import slow

KEY = jax.random.key(0)
TABLE = q_learning.Config(num_envs=8, num_steps=4, learning_rate=0.1, epsilon=0.1)
SMALL = ppo.Config(num_envs=8, num_steps=4, hidden=(4,), num_epochs=1, num_minibatches=1)
FIRST_WINS = matrix_game.make(np.stack([np.ones((2, 2)), -np.ones((2, 2))]))


def config(learner=TABLE, make=q_learning.make, **changes):
    return self_play.Config(learner, make, **({"pool_size": 4, "snapshot_every": 1} | changes))


# ---- one seat of a game


def constant(key, opponent, obs, mask, t):
    return opponent


def taking(env, seat, chance=(1.0,), opponents_=(2,), **options):
    number = jnp.arange(len(chance), dtype=jnp.int32)
    return with_opponent(env, constant, jnp.array(opponents_, jnp.int32), number, jnp.array(chance), seat, **options)


@pytest.mark.parametrize("seat", [0, 1])
def test_one_seat_is_the_game_of_both(seat):
    """In every position of tic-tac-toe on the way: what the seat sees, may do and earns is that of the game of two."""
    env = envs.make("tic_tac_toe")
    alone = taking(env, seat)
    obs, match = alone.reset(KEY)
    (both, state), cells = env.reset(KEY), [(0, 2), (4, 5), (8, 1)]
    for own, other in cells:
        mine = own if seat == 0 else other
        for mover in (0, 1):
            np.testing.assert_array_equal(obs, both[seat])
            np.testing.assert_array_equal(alone.action_mask(match), env.action_mask(state)[seat])
            opponent = jnp.int32(other if seat == 0 else own)
            alone = alone.replace(params=alone.params.replace(opponents=opponent[None]))
            act = jnp.int32(mine) if mover == seat else jnp.int32(0)
            step = alone.step(KEY, match, act)
            moves = jnp.array([own, 0] if mover == 0 else [0, other])
            inner = env.step(KEY, state, moves)
            assert step.reward == inner.reward[seat]
            assert step.terminated == inner.terminated
            both, state, obs, match = inner.obs, inner.state, step.obs, step.state
            if inner.terminated:
                assert step.info[rollout.BLOCK].lead == (2.0 if seat == 0 else -2.0)
                return


def test_the_game_from_one_seat_keeps_the_protocol():
    check_environment(taking(envs.make("kuhn"), -1, (0.5, 0.5), (0, 1), show_seat=True), KEY)


def test_seats_and_opponents_are_drawn():
    env = taking(envs.make("rock_paper_scissors"), -1, (0.25, 0.75), (0, 1))
    _, match = jax.vmap(env.reset)(jax.random.split(KEY, 4000))
    np.testing.assert_allclose(match.slot.mean(), 0.75, atol=0.021)
    np.testing.assert_allclose(match.seat.mean(), 0.5, atol=0.024)
    np.testing.assert_array_equal(match.number, match.slot)


def test_the_seat_is_shown():
    kuhn, board = envs.make("kuhn"), envs.make("tic_tac_toe")
    assert taking(kuhn, 1, show_seat=True).observation_space == Discrete(54)
    assert int(taking(kuhn, 1, show_seat=True).reset(KEY)[0]) >= 27
    assert seat_space(board.observation_space) == Tuple.of(board.observation_space, Discrete(2))
    assert int(taking(board, 1, show_seat=True).reset(KEY)[0][1]) == 1


# ---- the loop


@pytest.mark.parametrize("shared", [True, False])
def test_who_wins_from_which_seat(shared):
    """The first player always wins: a learner of both seats half of its games, learners of their own all or none."""
    done = run(self_play.make, FIRST_WINS, config(shared_parameters=shared), seeds=1, num_updates=2)
    assert done.metrics["agent_return/0"][0, -1] == 1
    assert done.metrics["agent_return/1"][0, -1] == -1
    state: Any = jax.tree.map(lambda leaf: leaf[0], done.state)
    rate = opponents.win_rate(state.pool)  # of learner r against the pool's owner: stored where the snapshots stand
    if shared:
        assert rate.shape == (1, 4)
        np.testing.assert_allclose(done.metrics["win_rate"][0].mean(), 0.5, atol=0.35)
    else:
        assert rate[1, 0] > 0.9  # the snapshots of the second seat are those that the first learner beats
        assert rate[0, 0] < 0.1
        np.testing.assert_allclose(done.metrics["win_rate"], 0.5)


def test_snapshots_are_added_every_so_often_and_act_as_the_learner_did():
    env = envs.make("kuhn")
    chosen = config(SMALL, ppo.make, snapshot_every=2, agent_ids=True)
    algorithm = self_play.make(env, chosen)
    view = View(jnp.arange(27)[:, None] + jnp.zeros((1, 2), jnp.int32), jnp.ones((27, 2, 2), bool), ())
    ask: Any = jax.jit(algorithm.probabilities)
    update, state = jax.jit(algorithm.update), jax.jit(algorithm.init)(KEY)
    expected = [ask(state, view)]
    for index in range(4):
        state, metrics = update(state, jax.random.fold_in(KEY, index))
        expected += [ask(state, view)] * (index % 2)
        assert metrics["pool"] == 1 + (index + 1) // 2
    np.testing.assert_array_equal(state.pool.number, [[0, 1, 2, -1]])
    for place, probabilities in enumerate(expected):
        np.testing.assert_allclose(ask(self_play.member(state, place), view), probabilities, rtol=1e-5)
    assert not np.allclose(expected[0], expected[2])


def test_the_policy_plays_both_seats():
    """It draws from its probabilities, and observes each seat as its own."""
    env = envs.make("kuhn")
    algorithm = self_play.make(env, config(TABLE, shared_parameters=False))
    state: Any = jax.jit(algorithm.init)(KEY)
    q = jnp.zeros_like(state.learner.q).at[0, :, 1].set(1.0).at[1, :, 0].set(1.0)
    state = state.replace(learner=state.learner.replace(q=q))
    view = View(jnp.zeros((3, 2), jnp.int32), jnp.ones((3, 2, 2), bool), ())
    policy, probabilities = algorithm.policy, algorithm.probabilities
    assert policy
    assert probabilities
    decision: Decision = policy(state, True)(KEY, view)
    np.testing.assert_array_equal(decision.action, [[1, 0]] * 3)
    np.testing.assert_allclose(probabilities(state, view), [[[0.05, 0.95], [0.95, 0.05]]] * 3, rtol=1e-5)


def test_chunks_and_seeds_change_nothing():
    env, chosen = envs.make("rock_paper_scissors"), config(opponents="hard", latest_share=0.3)
    whole = run(self_play.make, env, chosen, seeds=2, num_updates=6, chunk_length=6)
    parts = run(self_play.make, env, chosen, seeds=2, num_updates=6, chunk_length=4)
    jax.tree.map(np.testing.assert_array_equal, whole.state, parts.state)
    algorithm = self_play.make(env, chosen)
    for seed in (0, 1):
        key = jax.random.fold_in(jax.random.key(0), seed)
        state, update = jax.jit(algorithm.init)(jax.random.fold_in(key, 0)), jax.jit(algorithm.update)
        for index in range(6):
            state, _ = update(state, jax.random.fold_in(key, index + 1))
        for one, of_all in zip(jax.tree.leaves(state), jax.tree.leaves(whole.state), strict=True):
            np.testing.assert_allclose(one, of_all[seed], rtol=1e-5, atol=1e-6)


def test_self_play_cycles_and_the_average_of_its_past_comes_to_rest():
    """Rock, paper, scissors: the greedy part of the learner can always be beaten, the pool's average less and less."""
    env, payoff = envs.make("rock_paper_scissors"), named.ROCK_PAPER_SCISSORS
    measures = (self_play.PoolAverage.of(env), NashConv(payoff))
    chosen = config(TABLE.replace(num_envs=16), opponents="latest", pool_size=64, snapshot_every=2)
    done = run(self_play.make, env, chosen, seeds=8, num_updates=120, chunk_length=20, evaluators=measures)
    learner, average = (np.asarray(done.evaluations[name]) for name in ("sampled_nash_conv", "pool_exploitability"))
    np.testing.assert_allclose(learner, 1.8, atol=1e-5)  # 0.9 of rock is beaten by paper, for both
    assert average[:, -1].mean() < 0.1
    assert average[:, -1].mean() < 0.7 * average[:, 0].mean()
    np.testing.assert_allclose(2 * average, done.evaluations["pool_nash_conv"], rtol=1e-5)


@pytest.mark.parametrize("kind", [slow("uniform"), slow("hard")])
def test_fictitious_self_play_ends_near_equilibrium_where_plain_self_play_does_not(kind):
    env = envs.make("rock_paper_scissors")
    learner = SMALL.replace(learning_rate=0.02, ent_coef=0.3, num_envs=64, num_steps=1, hidden=(8,), num_epochs=2)
    exploitable = {}
    for opponents_ in ("latest", kind):
        chosen = config(
            learner.replace(clip_value=False), ppo.make, opponents=opponents_, power=4.0, pool_size=100, snapshot_every=2
        )
        measure = Exploitability.of(env, 1.0)
        done = run(self_play.make, env, chosen, seeds=8, num_updates=200, evaluators=(measure,))
        exploitable[opponents_] = done.evaluations["sampled_exploitability"][:, -1].mean()
    assert exploitable["latest"] > 0.6
    assert exploitable[kind] < 0.2


@pytest.mark.parametrize("make", [slow(dqn.make)])
def test_learners_with_replay_play_board_games(make):
    learner = dqn.Config(num_envs=2, num_steps=2, num_rounds=2, batch_size=4, buffer_size=32, learning_starts=8, hidden=(4,))
    chosen = config(learner, make, shared_parameters=False)
    done = run(self_play.make, envs.make("tic_tac_toe"), chosen, seeds=2, num_updates=8)
    assert np.isfinite(done.metrics["loss"]).all()
    assert (done.metrics["pool"][:, -1] == 4).all()


# ---- inputs


@pytest.mark.parametrize(
    ("env", "changes", "kind", "message"),
    [
        ("corridor", {}, ConfigError, "self_play: the environment must have 2 agents, got None. Take a game of two"),
        ("simple_spread", {}, ConfigError, "must have 2 agents, got 3"),
        ("kuhn", {"opponents": "lattest"}, UnknownNameError, "latest"),
        ("kuhn", {"keep": "oldest"}, UnknownNameError, "newest"),
        ("kuhn", {"pool_size": 0}, ConfigError, "pool_size must be"),
        ("kuhn", {"latest_share": 1.5}, ConfigError, "latest_share"),
        ("kuhn", {"power": np.nan}, ConfigError, "power"),
        ("kuhn", {"forgetting": -0.1}, ConfigError, "forgetting"),
        ("kuhn", {"agent_ids": True, "shared_parameters": False}, ConfigError, "agent_ids need shared_parameters"),
        ("tic_tac_toe", {}, Exception, "the observation_space must be Discrete"),
        ("kuhn", {"learner": SMALL.replace(memory_size=3), "make_learner": ppo.make}, AlgorithmError, "must have no memory"),
    ],
)
def test_wrong_inputs(env, changes, kind, message):
    with pytest.raises(kind, match=message):
        config().replace(**changes).validate(envs.make(env))
