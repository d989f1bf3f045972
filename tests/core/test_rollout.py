"""Resets, time limits and memory: the contract that every algorithm rests on."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import bernoulli_bandit
from envs.control import cartpole
from envs.gridworlds import frozen_lake, gridworld
from envs.matrix_games import matrix_game, named
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core import masks, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment, Step
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import Decision, last_step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import EnvError, QuarantineWarning
from jaxrl.evaluation import Episodes, ExactValue
from jaxrl.training.runner import run
from tests import probes


def _reset(key, params):
    start = jax.random.uniform(key, (), jnp.float32)
    return jnp.stack([start, 0.0]), (start, jnp.float32(0.0))


def _step(key, state, action, params):
    start, count = state
    count = count + 1
    return Step(jnp.stack([start, count]), (start, count), count, count >= params)


def counter(ends_at: float, max_steps: int) -> Environment:
    """Shows (a random number drawn at reset, steps so far); pays the number of steps so far; terminates at ``ends_at``."""
    return Environment(jnp.float32(ends_at), _reset, _step, Box(0.0, 100.0, (2,)), Discrete(2), max_steps=max_steps)


def remember(key, view):
    """A policy whose memory counts its own calls and sums what it saw."""
    memory = {"calls": view.memory["calls"] + 1, "sum": view.memory["sum"] + view.obs[:, 1]}
    return Decision(jnp.zeros(view.obs.shape[0], jnp.int32), {"calls": memory["calls"]}, memory)


MEMORY = {"calls": jnp.int32(7), "sum": jnp.float32(7.0)}  # only the shapes matter


@jax.jit
def block(env, key):
    episodes = rollout.start(key, env, 3, MEMORY)
    return episodes, *rollout.unroll(key, env, remember, episodes, 12)


@pytest.fixture(scope="module", params=[(5.0, 100), (100.0, 5)], ids=["terminates", "is cut"])
def played(request):
    ends_at, max_steps = request.param
    return request.param, block(counter(ends_at, max_steps), jax.random.key(3))


def test_ends_and_flags(played):
    (ends_at, _), (_, _, batch) = played
    expected = np.isin(np.arange(12), [4, 9])[:, None] * np.ones(3, bool)
    np.testing.assert_array_equal(batch.done, expected)
    np.testing.assert_array_equal(batch.terminated, expected & (ends_at == 5))
    np.testing.assert_array_equal(batch.truncated, expected & (ends_at != 5))


def test_next_obs_is_the_true_successor(played):
    _, (_, _, batch) = played
    np.testing.assert_array_equal(batch.next_obs[..., 0], batch.obs[..., 0])
    np.testing.assert_array_equal(batch.next_obs[..., 1], batch.obs[..., 1] + 1)


def test_reset_is_a_fresh_draw(played):
    _, (_, _, batch) = played
    draws = np.asarray(batch.obs[::5, :, 0]).ravel()
    assert len(np.unique(draws)) == 9  # three environments, three episodes each


def test_time_and_return(played):
    _, (_, _, batch) = played
    t = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1])[:, None] * np.ones(3, int)
    np.testing.assert_array_equal(batch.t, t)
    np.testing.assert_array_equal(batch.reward, t + 1)
    np.testing.assert_array_equal(batch.return_, (t + 1) * (t + 2) / 2)
    metrics = rollout.episode_metrics(batch)
    assert metrics["episodes"] == 6
    assert metrics["episode_return"].mean == 15
    assert metrics["episode_length"].mean == 5


def test_memory_is_zero_at_the_start_of_every_episode(played):
    _, (first, last, batch) = played
    chex.assert_trees_all_equal(first.memory, jax.tree.map(lambda leaf: jnp.zeros((3,), leaf.dtype), MEMORY))
    np.testing.assert_array_equal(batch.extras["calls"], batch.t + 1)
    np.testing.assert_array_equal(last.memory["calls"], 2)
    np.testing.assert_array_equal(last.memory["sum"], 1)


def test_metrics_of_a_block_without_an_end_are_missing():
    env = counter(100.0, 100)
    _, _, batch = block(env, jax.random.key(0))
    metrics = rollout.episode_metrics(batch)
    assert metrics["episodes"] == 0
    assert (metrics["episode_return"].total, metrics["episode_return"].count) == (0, 0)


@pytest.mark.parametrize("agents", [1, 3, 64, 65])
def test_the_return_of_each_agent_stands_beside_their_sum(agents):
    """Of few agents; the episodes of the first environment end after 2 and 4 steps, that of the second after 3."""
    done = jnp.zeros((4, 2), bool).at[jnp.array([1, 3, 2]), jnp.array([0, 0, 1])].set(True)
    returns = jax.random.normal(jax.random.key(0), (4, 2, agents))
    nothing = jnp.zeros((4, 2))
    batch = rollout.Transition(nothing, nothing, returns, nothing, done, ~done & False, None, None, nothing, returns, {})
    metrics = rollout.episode_metrics(batch)
    ended = np.asarray(returns)[np.asarray(done)]
    assert metrics["episode_return"].mean == pytest.approx(ended.sum(-1).mean(), rel=1e-5)
    assert ("agent_return" in metrics) == (agents <= 64)
    if agents <= 64:
        np.testing.assert_allclose(metrics["agent_return"].mean, ended.mean(0), rtol=1e-5)
    alone = rollout.episode_metrics(batch._replace(reward=nothing, return_=nothing))
    assert "agent_return" not in alone


def test_termination_at_the_time_limit_is_a_termination():
    _, _, batch = block(counter(5.0, 5), jax.random.key(0))
    assert batch.terminated[4].all()
    assert not batch.truncated.any()


def test_unroll_equals_advance_in_law_and_by_hand():
    """One step of unroll is one call of advance with the same keys."""
    env = counter(5.0, 100)
    episodes = rollout.start(jax.random.key(1), env, 2, MEMORY)
    decision = remember(None, rollout.view(env, episodes))
    advanced, seen = rollout.advance_all(jax.random.key(2), env, episodes, decision)
    _, batch = rollout.unroll(jax.random.key(2), env, remember, episodes, 1)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[0], batch), seen)
    np.testing.assert_array_equal(advanced.t, 1)


def test_advance_all_is_advance_in_each_environment():
    env = counter(1.0, 100)  # every step ends an episode, so that resets are drawn
    episodes = rollout.start(jax.random.key(1), env, 3, MEMORY)
    decision = remember(None, rollout.view(env, episodes))
    together = rollout.advance_all(jax.random.key(2), env, episodes, decision)
    for index, key in enumerate(jax.random.split(jax.random.key(2), 3)):
        one = jax.tree.map(lambda leaf, index=index: leaf[index], (episodes, decision, together))
        chex.assert_trees_all_equal(rollout.advance(key, env, *one[:2]), one[2])


def test_reset_pool():
    env = counter(1.0, 100)  # every step ends an episode
    episodes = rollout.start(jax.random.key(1), env, 2, MEMORY)
    _, batch = jax.jit(lambda e: rollout.unroll(jax.random.key(2), env, remember, e, 9, reset_pool=4))(episodes)
    draws = np.asarray(batch.obs[..., 0])
    np.testing.assert_array_equal(draws[1:5], draws[5:9])  # after four episodes the pool is used again
    assert len(np.unique(draws[1:5])) == 8  # each environment has its own pool, of different states
    assert batch.terminated.all()


def test_pool_deep_enough_is_a_fresh_draw_each_time():
    env = cartpole.make()
    policy = rollout.uniform_policy(env)
    episodes = rollout.start(jax.random.key(1), env, 4)
    _, batch = jax.jit(lambda e: rollout.unroll(jax.random.key(2), env, policy, e, 100, reset_pool=20))(episodes)
    starts = np.asarray(batch.obs)[np.asarray(batch.t) == 0]
    assert len(starts) > 8
    assert len(np.unique(starts[:, 0])) == len(starts)
    assert (np.abs(starts) <= 0.05).all()


def test_uniform_policy_covers_actions_and_respects_masks():
    lake = frozen_lake.make()
    episodes = rollout.start(jax.random.key(0), lake, 64)
    _, batch = rollout.unroll(jax.random.key(1), lake, rollout.uniform_policy(lake), episodes, 10)
    assert set(np.unique(batch.action)) == {0, 1, 2, 3}
    from tests.probes import masked_action

    env = masked_action()
    _, batch = rollout.unroll(jax.random.key(1), env, rollout.uniform_policy(env), rollout.start(jax.random.key(0), env, 64), 5)
    assert set(np.unique(batch.action)) == {0, 1}
    np.testing.assert_array_equal(batch.mask[0, 0], [True, True, False])
    np.testing.assert_array_equal(batch.next_mask[0, 0], [True, True, False])


def test_global_observations_are_those_of_the_two_states():
    import envs

    env = envs.make("simple_spread", max_steps=4)
    episodes = rollout.start(jax.random.key(0), env, 3)
    _, batch = rollout.unroll(jax.random.key(1), env, rollout.uniform_policy(env), episodes, 6)
    np.testing.assert_array_equal(batch.global_obs[0], jax.vmap(env.global_obs)(episodes.state))
    going_on = ~np.asarray(batch.done[:-1])
    assert going_on.sum() == 12
    np.testing.assert_array_equal(np.asarray(batch.next_global_obs[:-1])[going_on], np.asarray(batch.global_obs[1:])[going_on])
    np.testing.assert_allclose(
        batch.next_global_obs[..., :2], batch.next_obs[:, :, 0, 2:4], atol=1e-6
    )  # the first one's position
    without = rollout.unroll(
        jax.random.key(1), cartpole.make(), remember, rollout.start(jax.random.key(0), cartpole.make(), 2, MEMORY), 1
    )
    assert without[1].global_obs is None
    assert without[1].next_global_obs is None


def _nothing_in_one(state, params):
    return jnp.array([True, True]) & (state != 1)


def test_a_state_without_a_legal_action_puts_its_seed_into_quarantine():
    """Whatever is done there is illegal: the reward is no number, and the seed is named instead of learning from it."""
    env = probes.delayed_reward().replace(action_mask_fn=_nothing_in_one)
    with pytest.warns(QuarantineWarning, match="every seed is in quarantine"):
        done = run(q_learning.make, env, q_learning.Config(num_steps=8), seeds=2, num_updates=2)
    assert set(done.summary.failed_seeds) == {0, 1}
    assert {failure.update for failure in done.summary.failed_seeds.values()} == {0}
    fine = run(q_learning.make, probes.masked_action(), q_learning.Config(num_steps=8), seeds=2, num_updates=2)
    assert not fine.summary.failed_seeds


# ---- what a policy sees


def win_stay(key, view):
    """Two arms: takes the last one again if it was paid, and the other one if not. Begins with the second, unpaid."""
    action = jnp.where(view.reward > 0, view.action, 1 - view.action)
    return Decision(action, {"t": view.t, "action": view.action, "reward": view.reward}, view.memory)


@pytest.mark.parametrize("reset_pool", [0, 4])
def test_a_policy_sees_its_last_action_and_reward_and_the_time(reset_pool):
    env = bernoulli_bandit.make((0.3, 0.8), max_steps=5)
    episodes = rollout.start(jax.random.key(0), env, 8, rollout.last_step(env))
    _, batch = jax.jit(lambda key: rollout.unroll(key, env, win_stay, episodes, 12, reset_pool))(jax.random.key(1))
    np.testing.assert_array_equal(batch.extras["t"], batch.t)
    first = np.asarray(batch.t) == 0
    assert first.sum() == 3 * 8
    for name, taken in (("action", batch.action), ("reward", batch.reward)):
        before = np.concatenate([np.zeros_like(taken[:1]), taken[:-1]])
        np.testing.assert_array_equal(batch.extras[name], np.where(first, 0, before))
    stays = np.asarray(batch.action[1:] == batch.action[:-1]) | first[1:]
    np.testing.assert_array_equal(stays, np.asarray(batch.reward[:-1] > 0) | first[1:])
    assert set(np.asarray(batch.action)[first]) == {1}


def test_who_repeats_what_was_paid_earns_what_its_chain_does():
    """It leaves arm i with probability 1 - p_i, so it is on each arm in proportion to 1 - p of the other."""
    paid = np.array([0.2, 0.9])
    env = bernoulli_bandit.make(tuple(paid), max_steps=200)
    algorithm = Algorithm(None, None, lambda state, greedy: win_stay, rollout.last_step(env))
    played = Episodes(env, num_episodes=64, modes=("greedy",))
    found = jax.jit(lambda key: played(key, algorithm, None))(jax.random.key(0))
    expected = 200 * paid @ (1 - paid[::-1]) / (2 - paid.sum())
    assert float(found["greedy_return"]) == pytest.approx(expected, abs=3.0)
    with pytest.raises(EnvError, match="the policy must depend on the observation alone, got 'a memory'"):
        ExactValue.of(env, 0.9)(jax.random.key(0), algorithm, None)


def test_the_last_step_lies_beside_other_memory_and_has_agents():
    env = matrix_game.make(named.CHICKEN, rounds=3)

    def act(key, view):
        count, last = view.memory
        agree = view.action.sum(-1, keepdims=True) + view.t[:, None] + jnp.arange(2)
        return Decision((agree % 2).astype(jnp.int32), {"view": view}, (count + 1, last))

    memory = (jnp.int32(0), rollout.last_step(env))
    episodes = rollout.start(jax.random.key(0), env, 4, memory)
    _, batch = rollout.unroll(jax.random.key(1), env, act, episodes, 7)
    seen = batch.extras["view"]
    assert (seen.action.shape, seen.reward.shape) == ((7, 4, 2), (7, 4, 2))
    first = np.asarray(batch.t == 0)[..., None]
    np.testing.assert_array_equal(seen.reward[1:], np.where(first[1:], 0, batch.reward[:-1]))
    np.testing.assert_array_equal(seen.action[1:], np.where(first[1:], 0, batch.action[:-1]))
    np.testing.assert_array_equal(seen.memory[0], batch.t)


def test_nothing_is_carried_that_is_not_asked_for():
    env = bernoulli_bandit.make()
    plain = rollout.start(jax.random.key(0), env, 2)
    assert rollout.view(env, plain).action is rollout.view(env, plain).reward is None
    asked = rollout.start(jax.random.key(0), env, 2, rollout.last_step(env))
    assert len(jax.tree.leaves(asked)) == len(jax.tree.leaves(plain)) + 2
    policy = rollout.uniform_policy(env)
    programs = []
    for act in (policy, lambda key, view: policy(key, view._replace(t=None, state=None))):
        jaxpr = jax.make_jaxpr(lambda key, act=act: rollout.unroll(key, env, act, plain, 3))(jax.random.key(1))
        programs.append(str(jaxpr))
    assert programs[0] == programs[1]


def planner(env, value, gamma):
    """The policy that looks one step ahead on the true model. value: float32[X], of what is observed."""

    def worth(state, action):
        step = env.step(jax.random.key(0), state, action)  # nothing is drawn in a deterministic world
        return step.reward + gamma * jnp.where(step.terminated, 0.0, value[step.obs])

    def policy(state, greedy):
        actions = jnp.arange(env.action_space.n, dtype=jnp.int32)
        of_all = jax.vmap(jax.vmap(worth, (None, 0)), (0, None))
        return lambda key, view: Decision(of_all(view.state, actions).argmax(-1).astype(jnp.int32))

    return Algorithm(None, None, policy)


def test_a_planner_on_the_true_model_is_optimal():
    env, gamma = gridworld.make(("S.#..", "....a", ".#L.G")), 0.95
    model, exact = tabulate(env), ExactValue.of(env, gamma)
    value = jnp.zeros(env.observation_space.n, jnp.float32).at[model.observation].set(exact.value)
    plans = planner(env, value, gamma)
    played = Episodes(env, gamma, num_episodes=2, modes=("greedy",), discounted=True)(jax.random.key(0), plans, None)
    assert float(played["greedy_discounted_return"]) == pytest.approx(float(exact.optimum), rel=1e-5)
    assert float(exact(jax.random.key(0), plans, None)["greedy_optimality_gap"]) == pytest.approx(0, abs=1e-6)
    blind = planner(env, jnp.zeros_like(value), gamma)  # sees no further than a step
    assert float(exact(jax.random.key(0), blind, None)["greedy_optimality_gap"]) > 0.1


def test_actions_of_several_parts():
    """Legal random play; the policy is shown its last action; a lever that cannot be set makes the reward unsound."""
    env = probes.nested_action()
    policy = rollout.uniform_policy(env)

    def remembering(key, view):
        return policy(key, view)._replace(memory=view.memory, extras={"seen": view.action})

    play = jax.jit(lambda key, env: rollout.unroll(key, env, remembering, rollout.start(key, env, 8, last_step(env)), 12)[1])
    batch = play(jax.random.key(0), env)
    assert env.action_space.contains(batch.action)
    assert masks.is_legal(env.action_space, batch.mask, batch.action).all()
    assert set(np.unique(batch.action["direction"])) == {0, 1, 2}
    assert (batch.reward <= 2).all()
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), batch.extras["seen"])  # every step ends an episode
    stuck = env.replace(action_mask_fn=_stuck_lever)
    assert np.isnan(play(jax.random.key(0), stuck).reward).all()


def _stuck_lever(state, params):
    return {"amount": None, "direction": None, "levers": jnp.array([False, False, True, True, True])}
