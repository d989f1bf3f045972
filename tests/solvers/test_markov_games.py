"""Markov games: repeated matrix games, random games against plain programs, and Littman's soccer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.markov_games import soccer
from envs.matrix_games import matrix_game
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.core.rollout import Decision
from jaxrl.errors import ConfigError, EnvError
from jaxrl.evaluation import Exploitability
from jaxrl.solvers import equilibria, markov_games, normal_form

GAMMA = 0.9
EXACT = 1e-12


def random_model(seed=0, states=6, joint_shape=(2, 3), outcomes=3, zero_sum=False, masked=False):
    """A dense random game; a tenth of the outcomes ends it."""
    random, joint, agents = np.random.default_rng(seed), int(np.prod(joint_shape)), len(joint_shape)
    shape = (states, joint, outcomes)
    reward = random.normal(size=(*shape, agents))
    if zero_sum:
        reward[..., 1] = -reward[..., 0]
    mask = np.ones((states, *joint_shape), bool)
    if masked:
        mask[1, 0] = mask[2, :, 1] = False
    return TabularModel(
        next_state=random.integers(states, size=shape).astype(np.int32),
        probability=random.dirichlet(np.ones(outcomes), size=shape[:2]),
        reward=reward,
        terminated=random.random(shape) < 0.1,
        initial=random.dirichlet(np.ones(states)),
        action_mask=mask.reshape(states, joint),
        observation=np.repeat(np.arange(states, dtype=np.int32)[:, None], agents, axis=1),
        state=np.arange(states, dtype=np.int32),
        joint_shape=joint_shape,
    )


def random_policies(model, seed=1):
    """Legal policies, padded to the widest agent."""
    masks = np.asarray(padded_masks(model))
    weights = np.random.default_rng(seed).random(masks.shape) * masks
    return weights / weights.sum(-1, keepdims=True)


def padded_masks(model):
    joint = model.action_mask.reshape(-1, *model.joint_shape)
    agents, widest = len(model.joint_shape), max(model.joint_shape)
    masks = np.zeros((model.num_states, agents, widest), bool)
    for agent, count in enumerate(model.joint_shape):
        masks[:, agent, :count] = joint.any(tuple(1 + other for other in range(agents) if other != agent))
    return masks


def mean_tables(model, policies):
    """Returns the reward [X, N] and the transitions [X, X] of the policies, by loops."""
    states, agents = model.num_states, len(model.joint_shape)
    reward, transition = np.zeros((states, agents)), np.zeros((states, states))
    for x in range(states):
        for j, actions in enumerate(np.ndindex(model.joint_shape)):
            chance = np.prod([policies[x, agent, action] for agent, action in enumerate(actions)])
            for k in range(model.probability.shape[-1]):
                p = chance * model.probability[x, j, k]
                reward[x] += p * model.reward[x, j, k]
                transition[x, model.next_state[x, j, k]] += p * (not model.terminated[x, j, k])
    return reward, transition


def values_by_a_linear_solve(model, policies):
    reward, transition = mean_tables(model, policies)
    return np.linalg.solve(np.eye(model.num_states) - GAMMA * transition, reward)


def best_by_enumeration(model, policies, player):
    """Returns the best value of every state over all deterministic legal policies of the player."""
    masks = padded_masks(model)[:, player]
    choices = [np.flatnonzero(mask) for mask in masks]
    best = np.full(model.num_states, -np.inf)
    for choice in np.array(np.meshgrid(*choices)).reshape(model.num_states, -1).T:
        tried = policies.copy()
        tried[:, player] = np.eye(policies.shape[-1])[choice]
        best = np.maximum(best, values_by_a_linear_solve(model, tried)[:, player])
    return best


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("joint_shape", [(2, 2), (3, 3), (2, 2, 2)])
def test_random_games(joint_shape, masked):
    model = random_model(states=4, joint_shape=joint_shape, masked=masked)
    policies = random_policies(model)
    with jax.enable_x64(True):
        value = np.asarray(markov_games.evaluate(model, policies, GAMMA, EXACT).value)
        best = [
            np.asarray(markov_games.best_response(model, policies, player, GAMMA, EXACT).value)
            for player in range(len(joint_shape))
        ]
        nash_conv = float(markov_games.nash_conv(model, policies, GAMMA, EXACT))
    np.testing.assert_allclose(value, values_by_a_linear_solve(model, policies), atol=1e-9)
    expected = [best_by_enumeration(model, policies, player) for player in range(len(joint_shape))]
    np.testing.assert_allclose(best, expected, atol=1e-9)
    assert nash_conv == pytest.approx(model.initial @ (np.sum(expected, 0) - value.sum(-1)), abs=1e-9)
    assert nash_conv > 0


def test_a_best_response_is_attained():
    """The greedy policy of the best response's action values earns its value."""
    model = random_model(joint_shape=(3, 3))
    policies = random_policies(model)
    with jax.enable_x64(True):
        best = markov_games.best_response(model, policies, 1, GAMMA, EXACT)
        policies[:, 1] = np.eye(3)[np.asarray(best.action_value).argmax(-1)]
        np.testing.assert_allclose(markov_games.evaluate(model, policies, GAMMA, EXACT).value[:, 1], best.value, atol=1e-9)


@pytest.mark.parametrize("payoff", [[[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], [[3.0, -1, 0], [-2, 4, 1], [0, 0, -3]]])
def test_a_game_repeated_without_end_is_worth_its_stage_game_many_times(payoff):
    payoff = np.stack([np.array(payoff), -np.array(payoff)])
    stage = equilibria.minimax(payoff)
    model = tabulate(matrix_game.make(payoff, rounds=None))
    profile = np.random.default_rng(0).dirichlet(np.ones(3), size=2)
    with jax.enable_x64(True):
        solution = markov_games.shapley(model, GAMMA, EXACT)
        regret = np.asarray(markov_games.regrets(model, profile[None], GAMMA, EXACT))
        at_equilibrium = float(markov_games.exploitability(model, solution.policies, GAMMA, EXACT))
        expected = np.asarray(normal_form.regrets(payoff, profile)) / (1 - GAMMA)
    assert float(solution.value[0]) == pytest.approx(stage.value / (1 - GAMMA), abs=1e-9)
    np.testing.assert_allclose(regret[0], expected, atol=1e-9)
    assert at_equilibrium == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("masked", [False, True])
def test_shapley_on_random_games(masked):
    """The solution is a fixed point by the host's linear programs, and an equilibrium by exact best responses."""
    model = random_model(joint_shape=(3, 3), zero_sum=True, masked=masked)
    with jax.enable_x64(True):
        solution = jax.jit(markov_games.shapley)(model, GAMMA, EXACT)
        assert float(markov_games.nash_conv(model, solution.policies, GAMMA, EXACT)) == pytest.approx(0, abs=1e-9)
        earned = markov_games.evaluate(model, solution.policies, GAMMA, EXACT).value
    value = np.asarray(solution.value)
    np.testing.assert_allclose(earned, np.stack([value, -value], 1), atol=1e-9)
    onward = GAMMA * ~model.terminated * value[model.next_state]
    stage = (model.probability * (model.reward[..., 0] + onward)).sum(-1).reshape(-1, 3, 3)
    for x, game in enumerate(stage):
        rows, columns = padded_masks(model)[x]
        legal = game[rows][:, columns]
        assert equilibria.minimax(np.stack([legal, -legal])).value == pytest.approx(value[x], abs=1e-9)


class SoccerSolution(NamedTuple):
    model: TabularModel
    solution: markov_games.ZeroSumSolution


@pytest.fixture(scope="module")
def solved():
    model = tabulate(soccer.make())
    with jax.enable_x64(True):
        return SoccerSolution(model, jax.tree.map(np.asarray, jax.jit(markov_games.shapley)(model, GAMMA, EXACT)))


def test_soccer(solved):
    """core-minimax-q: the owner of the ball at the kick-off wins 0.218484."""
    model, solution = solved
    first = np.flatnonzero(model.initial)
    owner = model.state.owner[first]
    np.testing.assert_allclose(solution.value[first[owner == 0]], 0.218484, atol=1e-6)
    np.testing.assert_allclose(solution.value[first[owner == 1]], -0.218484, atol=1e-6)
    assert model.initial @ solution.value == pytest.approx(0, abs=1e-9)
    with jax.enable_x64(True):
        assert float(jax.jit(markov_games.nash_conv)(model, solution.policies, GAMMA, EXACT)) == pytest.approx(0, abs=1e-9)
    mirrored = tabulate(soccer.make(kick_off=((2, 3), (1, 1)), ball=1.0))
    with jax.enable_x64(True):
        value = jax.jit(markov_games.shapley)(mirrored, GAMMA, EXACT).value
    assert mirrored.initial @ np.asarray(value) == pytest.approx(0.218484, abs=1e-6)


def test_soccer_in_single_precision(solved):
    model, exact = solved
    solution = jax.jit(markov_games.shapley)(model, GAMMA, 1e-7)
    np.testing.assert_allclose(solution.value, exact.value, atol=3e-6)
    assert float(jax.jit(markov_games.exploitability)(model, solution.policies, GAMMA)) < 1e-4


def test_soccer_is_symmetric(solved):
    """Turning the field around and exchanging the players changes the sign of the value."""
    model, solution = solved
    value = {}
    for position, owner, worth in zip(model.state.position, model.state.owner, solution.value, strict=True):
        value[tuple(position.reshape(-1).tolist()), int(owner)] = worth
    for (squares, owner), worth in value.items():
        if owner != soccer.OVER:
            turned = (3 - squares[2], 4 - squares[3], 3 - squares[0], 4 - squares[1])
            assert value[turned, 1 - owner] == pytest.approx(-worth, abs=1e-9)


def fixed(policies, greedy):
    """An algorithm that has learned these policies, float32[X, N, A], by the number of the state."""

    def policy(state, greedily):
        return lambda key, view: Decision(jnp.asarray(greedy)[view.obs[:, 0]])

    return Algorithm(None, None, policy, probabilities=lambda state, view: jnp.asarray(policies)[view.obs[:, 0]])


def test_evaluator_of_a_zero_sum_game(solved):
    env, (model, solution) = soccer.make(), solved
    policies = np.zeros((env.observation_space.n, 2, 5), np.float32)
    policies[model.observation[:, 0]] = solution.policies
    metrics = Exploitability.of(env, GAMMA)(jax.random.key(0), fixed(policies, policies.argmax(-1)), None)
    assert set(metrics) == {"sampled_exploitability", "greedy_exploitability"}
    assert float(metrics["sampled_exploitability"].mean) == pytest.approx(0, abs=1e-4)
    modes = np.eye(5)[solution.policies.argmax(-1)]
    with jax.enable_x64(True):
        expected = float(markov_games.exploitability(model, modes, GAMMA, EXACT))
    assert float(metrics["greedy_exploitability"].mean) == pytest.approx(expected, abs=1e-4)
    assert expected > 0.1  # whoever does not mix can be read


def test_evaluator_of_a_common_payoff_game():
    payoff = np.array([[11.0, -30, 0], [-30, 7, 6], [0, 0, 5]])
    env = matrix_game.make(np.stack([payoff, payoff]), rounds=2)
    evaluator = Exploitability.of(env, GAMMA)
    uniform = np.full((1, 2, 3), 1 / 3, np.float32)
    metrics = evaluator(jax.random.key(0), fixed(uniform, np.array([[1, 2]])), None)
    once = 1 + GAMMA
    assert float(metrics["sampled_exact_value"].mean) == pytest.approx(once * payoff.mean(), rel=1e-5)
    assert float(metrics["sampled_optimality_gap"].mean) == pytest.approx(once * (11 - payoff.mean()), rel=1e-5)
    assert float(metrics["greedy_exact_value"].mean) == pytest.approx(once * 6, rel=1e-5)
    assert float(metrics["greedy_optimality_gap"].mean) == pytest.approx(once * 5, rel=1e-5)


def test_evaluator_wants_agents():
    with pytest.raises(EnvError, match="must have agents"):
        Exploitability.of(envs.make("corridor"), GAMMA)


@pytest.mark.parametrize("unit", [1e-4, 1e-20, 1e6])
def test_units_do_not_matter(unit):
    """Masked stage games in small units used to be 24 % wrong, and Shapley's values with them 2.07 times."""
    model = random_model(joint_shape=(3, 3), zero_sum=True, masked=True)
    small = model.replace(reward=unit * model.reward)
    one, other = (jax.jit(markov_games.shapley)(game, GAMMA) for game in (model, small))
    np.testing.assert_allclose(other.value / unit, one.value, rtol=1e-3)
    assert bool(one.converged & other.converged)
    regret = float(markov_games.nash_conv(small, other.policies, GAMMA)) / unit
    assert regret == pytest.approx(float(markov_games.nash_conv(model, one.policies, GAMMA)), abs=1e-3)


def test_large_rewards_converge_in_single_precision():
    """Sweeps used to go on until values near 1000 changed by less than 1e-6, which float32 cannot tell."""
    model = random_model(states=20, joint_shape=(3, 3), zero_sum=True)
    solution = jax.jit(markov_games.shapley)(model.replace(reward=100 * model.reward), GAMMA)
    assert bool(solution.converged)
    assert int(solution.sweeps) < 400
    with jax.enable_x64(True):
        exact = jax.jit(markov_games.shapley)(model.replace(reward=100 * model.reward), GAMMA, EXACT)
    assert np.abs(np.asarray(solution.value) - np.asarray(exact.value)).max() <= float(solution.error_bound) + float(
        solution.gap
    ) / (1 - GAMMA)


def test_agents_with_unequal_actions():
    """They are padded to the widest; an agent's missing actions are illegal and are not looked at."""
    model = random_model(joint_shape=(2, 3))
    policies = random_policies(model)
    assert np.asarray(markov_games.agent_masks(model)).shape == (6, 2, 3)
    with jax.enable_x64(True):
        value = np.asarray(markov_games.evaluate(model, policies, GAMMA, EXACT).value)
        best = [np.asarray(markov_games.best_response(model, policies, player, GAMMA, EXACT).value) for player in range(2)]
    np.testing.assert_allclose(value, values_by_a_linear_solve(model, policies), atol=1e-9)
    np.testing.assert_allclose(best, [best_by_enumeration(model, policies, player) for player in range(2)], atol=1e-9)
    zero_sum = random_model(joint_shape=(2, 3), zero_sum=True)
    with jax.enable_x64(True):
        solution = jax.jit(markov_games.shapley)(zero_sum, GAMMA, EXACT)
        assert float(markov_games.nash_conv(zero_sum, solution.policies, GAMMA, EXACT)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "solve", [markov_games.shapley, lambda model, gamma: markov_games.evaluate(model, random_policies(model), gamma)]
)
@pytest.mark.parametrize("gamma", [1.5, np.nan])
def test_what_is_no_discount_is_refused(solve, gamma):
    with pytest.raises(ConfigError, match="gamma must lie in"):
        solve(random_model(zero_sum=True), gamma)


def test_only_zero_sum_games_of_two_are_solved():
    with pytest.raises(EnvError, match="must sum to zero"):
        markov_games.shapley(random_model(), GAMMA)
    with pytest.raises(EnvError, match="two players, got 3"):
        markov_games.shapley(random_model(joint_shape=(2, 2, 2)), GAMMA)


def test_policies_that_do_not_end_the_episode_do_not_converge():
    model = tabulate(matrix_game.make(np.ones((2, 2, 2)), rounds=None))
    found = markov_games.evaluate(model, np.full((1, 2, 2), 0.5), 1.0, max_sweeps=100)
    assert not bool(found.converged)
    assert np.isinf(found.error_bound)


def test_actions_that_are_never_played_hide_no_change():
    """The third row costs 1e9, and is dominated: the value is that of the other two, and so is a best response."""
    row = np.array([[3.0, -1.0], [-2.0, 1.3], [-1e9, -1e9]]).reshape(1, 6, 1)
    reward, alone = np.stack([row, -row], -1), np.zeros(1)
    nowhere, never = np.zeros((1, 6, 1), np.int32), np.zeros((1, 6, 1), bool)
    model = TabularModel(
        nowhere, np.ones((1, 6, 1)), reward, never, np.ones(1), np.ones((1, 6), bool), alone[None], alone, (3, 2)
    )
    assert float(markov_games.shapley(model, 0.99).value[0]) == pytest.approx(100 * (3 * 1.3 - 2) / 7.3, rel=1e-4)
    half = jnp.array([[[0.5, 0.5, 0], [0.5, 0.5, 0]]])
    assert float(markov_games.nash_conv(model, half, 0.99)) == pytest.approx(85, rel=1e-4)


def test_an_illegal_fine_does_not_make_a_game_unfair_and_a_large_reward_does_not_make_it_fair():
    payoff = np.array([[[1.0, -1], [-1, 1]]]).reshape(1, 4, 1)
    reward, alone = np.stack([payoff, -payoff], -1), np.zeros(1)
    reward[0, 3] = -5.0
    nowhere, over = np.zeros((1, 4, 1), np.int32), np.ones((1, 4, 1), bool)
    mask = np.array([[True, True, True, False]])
    game = TabularModel(nowhere, np.ones((1, 4, 1)), reward, over, np.ones(1), mask, alone[None], alone, (2, 2))
    markov_games.require_zero_sum("here", game)
    unfair = game.replace(action_mask=np.ones((1, 4), bool))
    unfair.reward[0, 0] = 1e9, -1e9
    with pytest.raises(EnvError, match=r"must sum to zero, got \[-5.0, -5.0\]"):
        markov_games.require_zero_sum("here", unfair)


GAME = tabulate(matrix_game.make(np.stack([np.eye(2), -np.eye(2)]), rounds=None))
HALF = np.full((GAME.num_states, 2, 2), 0.5)
SOLVERS = {
    "markov_games.evaluate": lambda model, **more: markov_games.evaluate(model, HALF, 0.9, **more),
    "markov_games.best_response": lambda model, **more: markov_games.best_response(model, HALF, 0, 0.9, **more),
    "markov_games.regrets": lambda model, **more: markov_games.exploitability(model, HALF, 0.9, **more),
    "shapley": lambda model, **more: markov_games.shapley(model, 0.9, **more),
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_unsound_tolerance_is_refused(solver):
    for tolerance in (np.nan, -1.0, "small"):
        with pytest.raises(ConfigError, match=f"^{solver}: tolerance must be"):
            SOLVERS[solver](GAME, tolerance=tolerance)


def test_policies_and_players_of_another_game_are_refused():
    with pytest.raises(ConfigError, match="the policy must sum to 1"):
        markov_games.evaluate(GAME, 2 * HALF, 0.9)
    with pytest.raises(ConfigError, match=r"the policy must have shape \[1, 2, 2\]"):
        markov_games.regrets(GAME, HALF[0], 0.9)
    with pytest.raises(ConfigError, match=r"player must be an integer in \[0, 2\), got 2"):
        markov_games.best_response(GAME, HALF, 2, 0.9)
