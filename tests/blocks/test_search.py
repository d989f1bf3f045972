"""Search: the improved policy against its formula on exact values, ends, masks, and tic-tac-toe against backward induction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.blocks import search
from jaxrl.blocks.search import Node, Prediction, constant
from jaxrl.core.finite import Initial, Outcomes, finite, tabulate
from jaxrl.core.spaces import Discrete
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers.mdp import host
from tests import probes

GAMMA = 0.9
LAKE = ("..L", ".#.", "..G")


def sigma(q, visits):
    """The scaled values of Danihelka et al. (2022), equation 8, with the constants 50 and 0.1 and values rescaled to [0, 1]."""
    low, high = q.min(-1, keepdims=True), q.max(-1, keepdims=True)
    return 0.1 * (50 + visits.max(-1, keepdims=True)) * (q - low) / np.maximum(high - low, 1e-8)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def planned(env, predict, state, mask=None, num_simulations=8, gumbel_scale=0.0, gamma=GAMMA):
    def run(state):
        model = search.of_environment(env, predict, gamma)
        batch = jax.tree.leaves(state)[0].shape[0]
        root = predict(state, mask)
        over = jnp.zeros(batch, bool)
        return search.search(jax.random.key(0), root, Node(state, over), model, num_simulations, mask, gumbel_scale)

    return jax.tree.map(np.asarray, jax.jit(run)(jax.tree.map(jnp.asarray, state)))


def under_way(env, model):
    """Returns the states of a grid in which the episode goes on."""
    return np.flatnonzero(~np.asarray(env.params.absorbing)[model.state])


# ---- one agent


def test_exact_values_beyond_one_step_give_the_policy_of_the_formula():
    """With V* as the prediction every visited action has exactly Q*(s, a): rewards, discounts and ends are the model's."""
    env = envs.make("gridworld", map=LAKE, step=-0.1, lava=-1.0)
    model = tabulate(env)
    solution = host.solve(model, GAMMA)
    prior = np.random.default_rng(0).normal(size=(model.num_states, 4)).astype(np.float32)  # by cell, as the value
    value = np.asarray(solution.value)[np.argsort(model.state)].astype(np.float32)

    def predict(obs, mask):
        return Prediction(jnp.asarray(prior)[obs], jnp.asarray(value)[obs])

    alive = under_way(env, model)
    cells = model.state[alive]
    plan = planned(env, predict, cells, num_simulations=4)
    assert plan.visits.min() == 1
    q = np.asarray(solution.action_value)[alive]
    np.testing.assert_allclose(plan.policy, softmax(prior[cells] + sigma(q, plan.visits)), atol=1e-5)
    mean = (value[cells] + q.sum(1)) / 5  # of the prediction and the four simulations
    np.testing.assert_allclose(plan.value, mean, atol=1e-5)


def test_enough_simulations_without_any_knowledge_choose_an_optimal_action():
    env = envs.make("gridworld", map=LAKE, step=-0.1, lava=-1.0)
    model = tabulate(env)
    best = np.asarray(host.solve(model, GAMMA).action_value)
    alive = under_way(env, model)
    plan = planned(env, constant(4), model.state[alive], num_simulations=256)
    chosen = best[alive, plan.action]
    np.testing.assert_allclose(chosen, best[alive].max(1), atol=1e-6)


def _pays_after_the_end(state, action, params):
    reward = jnp.where(state == 0, jnp.where(action == 0, 1.0, 0.9), 10.0)
    return Outcomes(jnp.ones(1), jnp.ones(1, jnp.int32), reward[None], jnp.ones(1, bool))


def _first(params):
    return Initial(jnp.ones(1), jnp.zeros(1, jnp.int32))


def test_nothing_is_earned_beyond_the_end():
    """Neither the 10 that the environment pays there nor the 5 that is predicted."""
    env = finite(None, _pays_after_the_end, _first, Discrete(2), Discrete(2), max_steps=3)
    plan = planned(env, constant(2, 5.0), jnp.zeros(1, jnp.int32), num_simulations=32)
    q = np.array([[1.0, 0.9]])
    np.testing.assert_allclose(plan.policy, softmax(sigma(q, plan.visits)), atol=1e-5)
    np.testing.assert_allclose(plan.value, (5.0 + (plan.visits * q).sum(1)) / 33, rtol=1e-5)


def test_a_time_limit_is_no_end():
    """A reward of 1 for ever: what is found rises with the depth of the tree beyond the limit of 2 steps."""
    plan = planned(probes.time_limit_loop(), constant(2), jnp.zeros(1, jnp.int32), num_simulations=64)
    assert plan.value[0] > 1 + GAMMA


def test_illegal_actions_are_not_taken_and_have_no_probability():
    env = probes.masked_action()
    mask = jnp.array([[True, True, False]] * 2)
    for scale in (0.0, 1.0, 1e6):
        plan = planned(env, constant(3, 0.5), jnp.zeros(2, jnp.int32), mask, num_simulations=16, gumbel_scale=scale)
        np.testing.assert_array_equal(plan.policy[:, 2], 0.0)
        np.testing.assert_array_equal(plan.visits[:, 2], 0)
        np.testing.assert_allclose(plan.policy.sum(1), 1.0, rtol=1e-6)
        assert (plan.action < 2).all()
    assert planned(env, constant(3), jnp.zeros(1, jnp.int32), mask[:1]).action == [0]


# ---- the policy is improved


def bandits(count, actions):
    random = np.random.default_rng(0)
    return random.normal(scale=2.0, size=(2, count, actions)).astype(np.float32)


@pytest.mark.parametrize(("actions", "num_simulations"), [(2, 2), (5, 16), (9, 64)])
def test_on_bandits_whose_arms_are_all_pulled_the_policy_is_worth_no_less_than_the_prior(actions, num_simulations):
    prior, worth = bandits(200, actions)
    before = (softmax(prior) * worth).sum(1)
    root = Prediction(jnp.asarray(prior), jnp.asarray(before))
    plan = jax.jit(lambda node: search.search(jax.random.key(0), root, node, search.of_bandit, num_simulations))(worth)
    assert int(plan.visits.min()) >= 1
    gain = (np.asarray(plan.policy, np.float64) * worth).sum(1) - before
    assert gain.min() >= -1e-5
    assert gain.mean() > 0.1


# ---- games by turns


@pytest.fixture(scope="module")
def board():
    env = envs.make("tic_tac_toe")
    return env, tabulate(env)


def minimax(model):
    """Returns what each action of the mover is worth to it, float[X, 9], minus infinity if illegal: by backward induction."""
    alone = np.stack([9 * np.arange(9), np.arange(9)])[model.state.mover]
    rows, mover = np.arange(model.num_states)[:, None], model.state.mover
    legal, successor = model.action_mask[rows, alone], model.next_state[rows, alone, 0]
    reward, over = model.reward[rows, alone, 0, 0], model.terminated[rows, alone, 0]
    value, q = np.zeros(model.num_states), np.full((model.num_states, 9), -np.inf)
    sign = np.where(mover == 0, 1, -1)
    for state in np.argsort(-(model.state.board != 2).sum((1, 2)), kind="stable"):
        if not model.state.over[state]:
            worth = np.where(over[state], reward[state], value[successor[state]])
            q[state] = np.where(legal[state], sign[state] * worth, -np.inf)
            value[state] = sign[state] * q[state].max()
    return q


def test_the_mover_is_the_player_with_a_choice_and_every_joint_action_is_legal(board):
    env, model = board
    mask = jax.vmap(env.action_mask)(model.state)
    mover = search.mover(env, mask)
    choice = np.asarray(mask.sum(-1).max(-1) > 1)
    np.testing.assert_array_equal(np.asarray(mover)[choice], model.state.mover[choice])
    action = search.seen_by(mover, mask).argmax(-1)
    joint = np.asarray(search.joint_action(mask, mover, action))
    assert model.action_mask[np.arange(model.num_states), 9 * joint[:, 0] + joint[:, 1]].all()


def test_the_last_moves_of_tic_tac_toe_are_those_of_backward_induction(board):
    """Where two or three cells are empty: there are 15 positions below at most. One in ten of these."""
    env, model = board
    q = minimax(model)
    empty = (model.state.board == 2).sum((1, 2))
    near = np.flatnonzero(~model.state.over & (empty >= 2) & (empty <= 3))[::10]
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf[near]), model.state)
    mask = jax.vmap(env.action_mask)(state)
    mover = search.mover(env, mask)

    def run(state):
        predict = constant(9)
        model = search.of_environment(env, predict, 1.0)
        legal = search.seen_by(mover, mask)
        root = predict(mover, legal)
        return search.search(jax.random.key(0), root, Node(state, jnp.zeros(len(near), bool)), model, 64, legal, 0.0)

    plan = jax.jit(run)(state)
    # Where neither has a choice the first player is taken for the mover.
    action = np.asarray(search.joint_action(mask, mover, plan.action))[np.arange(len(near)), model.state.mover[near]]
    np.testing.assert_array_equal(q[near, action], q[near].max(1))


def test_a_step_of_the_other_player_turns_the_sign():
    env = envs.make("tic_tac_toe")
    _, state = env.reset(jax.random.key(0))
    state = state._replace(board=jnp.array([[0, 0, 2], [1, 1, 2], [2, 2, 2]], jnp.int32))
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    model = search.of_environment(env, constant(9, 0.5), 0.9)
    outcome, node = model(jax.random.key(0), jnp.array([2, 8]), Node(both, jnp.zeros(2, bool)))
    np.testing.assert_array_equal(outcome.reward, [1.0, 0.0])
    np.testing.assert_allclose(outcome.discount, [0.0, -0.9])
    np.testing.assert_array_equal(outcome.beyond.value, [0.0, 0.5])
    np.testing.assert_array_equal(node.over, [True, False])
    assert np.asarray(jax.nn.softmax(outcome.beyond.logits))[1, 8] == 0


def test_games_without_turns_are_refused():
    search.require_turns("test", envs.make("connect_four"))
    search.require_turns("test", envs.make("catch"))
    for name, kind, message in (
        ("spread_grid", ConfigError, "no agent axis or two agents"),
        ("rock_paper_scissors", EnvError, "must have action masks"),
        ("soccer", EnvError, "action masks|move by turns"),
    ):
        with pytest.raises(kind, match=message):
            search.require_turns("test", envs.make(name))
    common = envs.make("tic_tac_toe").replace(step_fn=_PaidAlike(envs.make("tic_tac_toe").step_fn))
    with pytest.raises(EnvError, match="rewards sum to zero"):
        search.require_turns("test", common)


class _PaidAlike:
    def __init__(self, step):
        self.step = step

    def __call__(self, key, state, action, params):
        step = self.step(key, state, action, params)
        return step._replace(reward=jnp.abs(step.reward))
