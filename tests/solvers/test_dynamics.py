"""Learning dynamics: nashpy and open_spiel step by step, conserved quantities, and convergence where theory promises it."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import named
from jaxrl.errors import ConfigError
from jaxrl.solvers import normal_form
from jaxrl.solvers.dynamics import (
    extragradient,
    fictitious_play,
    from_pure_starts,
    from_starts,
    mirror_prox,
    multiplicative_weights,
    over_games,
    policy_gradient,
    populations,
    regret_matching,
    replicator,
    smooth_fictitious_play,
)
from jaxrl.solvers.equilibria import minimax

nashpy = pytest.importorskip("nashpy")


def starts(tables, generator):
    """Returns a random interior profile for each two-player game."""
    return tuple(generator.dirichlet(np.ones(actions), len(tables)) for actions in tables.shape[2:])


def test_fictitious_play_of_100_random_games_is_nashpys():
    tables = np.random.default_rng(0).normal(size=(100, 2, 3, 4))
    with jax.enable_x64(True):
        play = jax.jit(jax.vmap(partial(fictitious_play, num_steps=300)))
        averages = [np.asarray(part) for part in play(jnp.asarray(tables)).average]
    for number, table in enumerate(tables):
        counts = [np.eye(3)[0], np.eye(4)[0]]
        *_, theirs = nashpy.Game(*table).fictitious_play(iterations=299, play_counts=counts)
        for ours, their in zip(averages, theirs, strict=True):
            np.testing.assert_allclose(300 * ours[number], their, atol=1e-8)


def test_replicator_of_100_random_games_is_nashpys():
    tables = np.random.default_rng(1).normal(size=(100, 2, 3, 4))
    first = starts(tables, np.random.default_rng(2))
    with jax.enable_x64(True):
        move = jax.jit(jax.vmap(lambda table, start: replicator(table, 200, start=start, step_size=0.02, num_records=4)))
        paths = [np.asarray(part) for part in move(jnp.asarray(tables), tuple(map(jnp.asarray, first))).history.profile]
    times = np.linspace(0, 4, 5)
    for number, table in enumerate(tables):
        start = first[0][number], first[1][number]
        theirs = nashpy.Game(*table).asymmetric_replicator_dynamics(*start, times)
        for ours, their in zip(paths, theirs, strict=True):
            np.testing.assert_allclose(ours[number], their[1:], atol=1e-5)


def test_many_starts_are_followed_as_each_alone():
    first = np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[1, 1, 0, 2]]
    play = partial(fictitious_play, num_steps=20, num_records=5)
    together = from_starts(play, named.SHAPLEY, first)
    assert together.history.average_nash_conv.shape == (4, 5)
    for number, start in enumerate(zip(*first, strict=True)):
        alone = play(jnp.asarray(named.SHAPLEY, jnp.float32), start=start)
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), jax.tree.map(lambda leaf: leaf[number], together), alone)  # noqa: B023


def test_equal_populations_are_one_population():
    table, start = named.CHICKEN, np.array([0.2, 0.8])
    course = replicator(jnp.asarray(table), 500, start=(start, start), step_size=0.01)
    theirs = nashpy.Game(table[0]).replicator_dynamics(y0=start, timepoints=np.array([0.0, 5.0]))
    np.testing.assert_allclose(course.profile[0], theirs[-1], atol=1e-4)
    np.testing.assert_array_equal(course.profile[0], course.profile[1])


def test_three_populations_move_as_in_open_spiel():
    dynamics = pytest.importorskip("open_spiel.python.egt.dynamics")
    table = np.random.default_rng(3).normal(size=(3, 2, 3, 2))
    profile = [np.random.default_rng(4).dirichlet(np.ones(actions)) for actions in table.shape[1:]]
    velocity = dynamics.MultiPopulationDynamics(table, dynamics.replicator)(np.concatenate(profile))
    with jax.enable_x64(True):
        course = replicator(jnp.asarray(table), 1, start=[jnp.asarray(part) for part in profile], step_size=1e-5)
    moved = np.concatenate(course.profile) - np.concatenate(profile)
    np.testing.assert_allclose(moved / 1e-5, velocity, atol=1e-4)


def test_regret_matching_by_hand():
    """Two plays of matching pennies, begun with (heads, tails)."""
    payoff = jnp.asarray(named.MATCHING_PENNIES)
    start = normal_form.pure_profile(payoff, (0, 1))
    # Row: heads earned -1, tails would have earned 1: regrets (0, 2). Column earned 1, heads would have earned -1: (-2, 0).
    course = regret_matching(payoff, 1, start=start)
    np.testing.assert_allclose(course.profile, [[0, 1], [0.5, 0.5]])
    # Row plays tails, column is uniform: no regret for row; column earns 0, heads 1, tails -1: regrets (-1, -1).
    course = regret_matching(payoff, 2, start=start)
    np.testing.assert_allclose(course.profile, [[0, 1], [0.5, 0.5]])
    np.testing.assert_allclose(course.average, [[0.5, 0.5], [0.25, 0.75]])
    np.testing.assert_allclose(course.joint, [[0, 0.5], [0.25, 0.25]])
    # Plus forgets the -2, so that the column player's regret becomes (1, 0): it answers heads.
    course = regret_matching(payoff, 2, start=start, plus=True)
    np.testing.assert_allclose(course.profile, [[0, 1], [1, 0]])
    # In turn: column already sees tails in the first play: tails earned -1, heads would have earned 1: regrets (2, 0).
    course = regret_matching(payoff, 1, start=start, alternating=True)
    np.testing.assert_allclose(course.profile, [[0, 1], [1, 0]])
    # With linear averaging the second play counts twice.
    course = regret_matching(payoff, 2, start=start, averaging=1.0)
    np.testing.assert_allclose(course.average, [[1 / 3, 2 / 3], [1 / 3, 2 / 3]], rtol=1e-6)


def test_a_forecast_counts_the_last_regret_twice():
    payoff = jnp.asarray(named.ROCK_PAPER_SCISSORS)
    start = normal_form.pure_profile(payoff, (0, 1))
    plain, predictive = (regret_matching(payoff, 2, start=start, predictive=forecast) for forecast in (False, True))

    def proportional(regret):
        positive = np.maximum(regret, 0)
        return positive / positive.sum() if positive.sum() else np.full(3, 1 / 3)

    def regret(profile):
        return [normal_form.action_payoffs(payoff, profile, player) for player in range(2)]

    values = regret(start)
    first = [value - value @ strategy for value, strategy in zip(values, start, strict=True)]
    for course, weight in ((plain, 1), (predictive, 2)):
        second = [proportional(weight * part) for part in first]
        values = regret([jnp.asarray(part) for part in second])
        last = [value - value @ strategy for value, strategy in zip(values, second, strict=True)]
        for strategy, old, new in zip(course.profile, first, last, strict=True):
            np.testing.assert_allclose(strategy, proportional(old + weight * new), atol=1e-6)


@pytest.mark.parametrize(
    ("dynamic", "limit"),
    [
        (fictitious_play, 0.3),
        (regret_matching, 0.15),
        (partial(regret_matching, plus=True, alternating=True, averaging=1.0), 0.02),
        (partial(regret_matching, plus=True, predictive=True, alternating=True, averaging=1.0), 2e-3),
    ],
    ids=["fictitious_play", "regret_matching", "plus", "predictive"],
)
def test_averages_solve_zero_sum_games(dynamic, limit):
    """64 random games in one compiled call, against the value of the linear programme."""
    rows = np.random.default_rng(5).normal(size=(64, 5, 7))
    tables = jnp.asarray(np.stack([rows, -rows], 1), jnp.float32)
    course = jax.jit(jax.vmap(partial(dynamic, num_steps=1000, num_records=10)))(tables)
    gaps = np.asarray(course.history.average_nash_conv)
    assert gaps[:, -1].max() < limit
    assert gaps[:, -1].mean() < gaps[:, 0].mean()
    payoffs = jax.vmap(normal_form.expected_payoffs)(tables, course.average)[:, 0]
    values = [minimax(named.zero_sum(row)).value for row in rows]
    np.testing.assert_allclose(payoffs, values, atol=limit)


def test_three_player_regret_matching_reaches_coarse_correlated_equilibrium():
    tables = jnp.asarray(np.random.default_rng(6).normal(size=(16, 3, 2, 3, 2)), jnp.float32)
    course = jax.jit(jax.vmap(partial(regret_matching, num_steps=4000)))(tables)
    gaps = jax.vmap(normal_form.coarse_correlated_regrets)(tables, course.joint)
    assert float(gaps.max()) < 0.03
    np.testing.assert_allclose(course.joint.sum((1, 2, 3)), 1.0, rtol=1e-5)


def test_shapley_cycles_but_its_joint_play_is_coarse_correlated():
    """core-learning-games: play goes through the six cells off the diagonal, so its welfare is 1."""
    payoff = jnp.asarray(named.SHAPLEY, jnp.float32)
    start = normal_form.pure_profile(payoff, (0, 1))
    course = regret_matching(payoff, 10_000, start=start, num_records=10)
    assert float(normal_form.coarse_correlated_regrets(payoff, course.joint).max()) < 0.005
    assert float((payoff.sum(0) * course.joint).sum()) == pytest.approx(1.0, abs=0.005)
    assert float(course.history.average_nash_conv.min()) > 0.2
    course = fictitious_play(payoff, 10_000, start=start, num_records=10)
    assert float(course.history.average_nash_conv.min()) > 0.2


def test_replicator_conserves_and_keeps_to_the_simplex():
    payoff, start = jnp.asarray(named.ROCK_PAPER_SCISSORS, jnp.float32), jnp.array([0.5, 0.3, 0.2])
    course = replicator(payoff, 10_000, start=(start, start), num_records=100)
    path = np.asarray(course.history.profile[0], np.float64)
    np.testing.assert_allclose(path.prod(-1), 0.03, rtol=1e-3)
    np.testing.assert_allclose(path.sum(-1), 1.0, atol=1e-6)
    # Negative payoffs would let rounding in the sum grow.
    course = replicator(jnp.asarray(named.PRISONERS_DILEMMA), 10_000, start=(jnp.array([0.9, 0.1]),) * 2)
    np.testing.assert_allclose(course.profile, [[0, 1], [0, 1]], atol=1e-6)


OFF_CENTRE = [np.array([0.7, 0.3])] * 2
OPTIMISTIC = partial(multiplicative_weights, optimistic=True)


def test_policy_gradients_are_those_of_the_expected_payoffs():
    """Three players; jax differentiates what each expects by the logits of its own policy."""
    payoff = jnp.asarray(np.random.default_rng(11).normal(size=(3, 2, 3, 2)), jnp.float32)
    logits = [jnp.asarray(np.random.default_rng(12).normal(size=actions), jnp.float32) for actions in (2, 3, 2)]
    course = policy_gradient(payoff, 1, start=[jax.nn.softmax(logit) for logit in logits], step_size=0.3)

    def expected(own, player):
        profile = [jax.nn.softmax(own if number == player else logit) for number, logit in enumerate(logits)]
        return normal_form.expected_payoffs(payoff, profile)[player]

    for player, (logit, strategy) in enumerate(zip(logits, course.profile, strict=True)):
        moved = jax.nn.softmax(logit + 0.3 * jax.grad(expected)(logit, player))
        np.testing.assert_allclose(strategy, moved, atol=1e-6)
        assert np.abs(strategy - jax.nn.softmax(logit)).max() > 1e-3


def test_policy_gradients_leave_the_equilibrium_of_matching_pennies_and_meet_in_a_common_interest():
    course = policy_gradient(jnp.asarray(named.MATCHING_PENNIES), 2000, start=OFF_CENTRE, num_records=20)
    gaps = np.asarray(course.history.nash_conv)
    assert gaps[-5:].min() > gaps[0] + 0.1
    course = policy_gradient(jnp.asarray(named.PURE_COORDINATION), 2000, start=OFF_CENTRE)
    np.testing.assert_allclose(course.profile, [[1, 0], [1, 0]], atol=0.01)


def test_weights_by_hand():
    """Matching pennies begun with x = (0.7, 0.3) for both: heads and tails earn the row player 0.4 and -0.4."""
    payoff, half = jnp.asarray(named.MATCHING_PENNIES, jnp.float32), np.log(0.7 / 0.3)
    for optimistic, times in ((False, 1), (True, 2)):
        course = multiplicative_weights(payoff, 1, start=OFF_CENTRE, step_size=0.5, optimistic=optimistic)
        odds = [np.log(strategy[0] / strategy[1]) for strategy in course.profile]
        np.testing.assert_allclose(odds, [half + times * 0.4, half - times * 0.4], rtol=1e-5)
    course = extragradient(payoff, 1, start=OFF_CENTRE, step_size=0.5)
    # z = (0.9, 0.1) and (0.5, 0.5); from there the row player sees no difference, and the column player one of 1.6.
    np.testing.assert_allclose(course.profile, [[0.9, 0.1], [0.1, 0.9]], atol=1e-6)
    course = mirror_prox(payoff, 1, start=OFF_CENTRE, step_size=0.5)
    # z has odds that are e^0.4 times as large and small; its shares of heads are then looked up.
    odds = np.array([half + 0.4, half - 0.4])
    ahead = 0.5 * 2 * (2 / (1 + np.exp(-odds[::-1])) - 1) * [1, -1]
    np.testing.assert_allclose([np.log(x[0] / x[1]) for x in course.profile], odds + ahead, rtol=1e-5)
    course = smooth_fictitious_play(payoff, 1, start=OFF_CENTRE, temperature=0.2)
    odds = [np.log(strategy[0] / strategy[1]) for strategy in course.profile]
    np.testing.assert_allclose(odds, [4, -4], rtol=1e-5)


@pytest.mark.parametrize("table", [named.MATCHING_PENNIES, named.WEIGHTED_ROCK_PAPER_SCISSORS])
def test_last_profiles_converge_with_optimism_and_extra_steps_alone(table):
    """Plain multiplicative weights move away from equilibrium with every step (Bailey and Piliouras, 2018)."""
    start = OFF_CENTRE if table.shape[1] == 2 else [np.array([0.5, 0.3, 0.2])] * 2
    plain, *others = (
        dynamic(jnp.asarray(table, jnp.float32), 4000, start=start, step_size=0.1, num_records=400)
        for dynamic in (multiplicative_weights, OPTIMISTIC, extragradient, mirror_prox)
    )
    goal = np.array(minimax(table).row)
    with np.errstate(divide="ignore"):
        apart = sum(-(goal * np.log(np.asarray(part))).sum(-1) for part in plain.history.profile)
    assert (np.diff(apart[:100]) > 0).all()
    assert plain.history.nash_conv[-1] > plain.history.nash_conv[0] > 0.05
    for course in others:
        assert course.history.nash_conv[-1] < 1e-3
        assert course.history.average_nash_conv[-1] < 0.02
        for strategy in course.profile:
            np.testing.assert_allclose(strategy, goal, atol=1e-3)


@pytest.mark.parametrize("players", [2, 3])
def test_regrets_keep_to_their_bounds(players):
    """Hedge: Cesa-Bianchi and Lugosi (2006), theorem 2.2. Optimistic: Syrgkanis et al. (2015), theorem 4, where regrets add up to
    n ln(A) / eta, and the first payoffs, which no forecast knew, to n eta more.
    """
    tables = np.random.default_rng(8).uniform(size=(16, players, *(3,) * players))
    tables /= np.ptp(tables, axis=tuple(range(1, players + 2)), keepdims=True)
    tables = jnp.asarray(tables - tables.min(tuple(range(1, players + 2)), keepdims=True), jnp.float32)
    regrets = jax.vmap(normal_form.coarse_correlated_regrets)
    for steps, step in ((100, 0.3), (1000, 0.1)):
        course = jax.vmap(partial(multiplicative_weights, num_steps=steps, step_size=step))(tables)
        regret = steps * np.asarray(regrets(tables, course.joint))
        assert (regret <= np.log(3) / step + step * steps / 8).all()
        step = 1 / (2 * (players - 1))
        course = jax.vmap(partial(OPTIMISTIC, num_steps=steps, step_size=step))(tables)
        regret = steps * np.asarray(regrets(tables, course.joint)).sum(-1)
        assert (regret <= players * (np.log(3) / step + step)).all()


def test_the_averages_of_extra_steps_keep_to_their_bounds():
    """Nemirovski (2004): D^2 / (2 eta T) in a zero-sum game; with the relative entropy ln(A) / (eta T) for each player. The first
    play has no look-ahead: eta |u|^2 / (2 T) more, and at most eta R^2 / (8 T) for each player.
    """
    rows = np.random.default_rng(9).normal(size=(16, 4, 5))
    rows /= np.linalg.norm(rows, 2, axis=(1, 2))[:, None, None]
    tables, steps = jnp.asarray(np.stack([rows, -rows], 1), jnp.float32), 200
    course = jax.vmap(partial(extragradient, num_steps=steps, step_size=1.0, num_records=4))(tables)
    distance = 1 - 1 / 4 + 1 - 1 / 5  # of a corner of both simplices from the centre, squared
    first = (rows.mean(2) ** 2).sum(1) + (rows.mean(1) ** 2).sum(1)
    played = np.arange(1, 5) * steps / 4
    assert (np.asarray(course.history.average_nash_conv) <= (distance + first[:, None]) / 2 / played + 1e-6).all()
    tables /= np.abs(rows).max((1, 2))[:, None, None, None]
    course = jax.vmap(partial(mirror_prox, num_steps=steps, step_size=1.0, num_records=4))(tables)
    assert (np.asarray(course.history.average_nash_conv) <= (np.log(4 * 5) + 2 * 2**2 / 8) / played + 1e-6).all()


def test_mutation_by_hand():
    """Where all earn the same, shares move towards 1 / A at the rate of mutation; shares of 0 are no longer kept."""
    start = [np.array([1.0, 0, 0]), np.array([0.2, 0.8])]
    course = replicator(np.zeros((2, 3, 2)), 40, start=start, step_size=0.05, mutation=0.3)
    left = np.exp(-0.3 * 2)
    for own, first in zip(course.profile, start, strict=True):
        np.testing.assert_allclose(own, left * first + (1 - left) / first.size, atol=1e-5)


def test_with_mutation_play_comes_to_rest_where_regrets_are_less_than_its_rate():
    """Abe, Sakamoto and Iwasaki (2022). At rest the right-hand side of the differential equation is 0."""
    rows = np.random.default_rng(13).uniform(-1, 1, size=(16, 3, 4))
    tables = jnp.asarray(np.stack([rows, -rows], 1), jnp.float32)
    start = tuple(jnp.asarray(np.random.default_rng(14).dirichlet(np.ones(n), 16), jnp.float32) for n in (3, 4))
    for rate in (0.2, 0.05):
        play = jax.jit(
            jax.vmap(lambda table, first, rate=rate: replicator(table, 6000, start=first, step_size=0.1, mutation=rate))
        )
        course = play(tables, start)
        for player in range(2):
            shares = course.profile[player]
            earned = jax.vmap(lambda table, x, player=player: normal_form.action_payoffs(table, x, player))(
                tables, course.profile
            )
            above = earned - (earned * shares).sum(1, keepdims=True)
            slope = shares * above + rate * (1 / shares.shape[1] - shares)
            np.testing.assert_allclose(slope, 0, atol=1e-3)
            assert above.max() < rate
    # No mutation is no mutation, traced or not.
    whole, none = (
        jax.jit(lambda rate: replicator(tables[0], 100, start=[part[0] for part in start], step_size=0.1, mutation=rate))(0.0),
        replicator(tables[0], 100, start=[part[0] for part in start], step_size=0.1),
    )
    np.testing.assert_allclose(whole.joint, none.joint, atol=1e-5)


def test_smooth_fictitious_play_finds_the_logit_equilibrium():
    payoff, temperature = jnp.asarray(named.WEIGHTED_ROCK_PAPER_SCISSORS, jnp.float32), 0.5
    course = smooth_fictitious_play(payoff, 20_000, temperature=temperature, start=normal_form.pure_profile(payoff, (0, 1)))
    for player, strategy in enumerate(course.profile):
        answer = jax.nn.softmax(normal_form.action_payoffs(payoff, course.profile, player) / temperature)
        np.testing.assert_allclose(strategy, answer, atol=2e-3)
        np.testing.assert_allclose(strategy, course.average[player], atol=2e-3)
    table = jnp.asarray(np.random.default_rng(12).normal(size=(2, 3, 4)), jnp.float32)  # no ties
    start = normal_form.pure_profile(table, (0, 1))
    cold, best = smooth_fictitious_play(table, 30, temperature=1e-6, start=start), fictitious_play(table, 30, start=start)
    np.testing.assert_allclose(cold.joint, best.joint, atol=1e-5)


def test_records_and_vmapping_change_nothing():
    tables = jnp.asarray(np.random.default_rng(7).normal(size=(8, 2, 3, 3)), jnp.float32)
    play = partial(regret_matching, num_steps=60, plus=True)
    together = jax.jit(jax.vmap(play))(tables)
    often = play(tables[3], num_records=60)
    for one, other in zip(jax.tree.leaves((together.profile, together.average)), jax.tree.leaves(often[:2]), strict=True):
        np.testing.assert_allclose(one[3], other, atol=1e-5)
    assert often.history.nash_conv.shape == (60,)
    np.testing.assert_allclose(often.history.average_nash_conv[-1], normal_form.nash_conv(tables[3], often.average), atol=1e-6)


@pytest.mark.parametrize(
    ("play", "message"),
    [
        (lambda payoff: fictitious_play(payoff, 0), "num_steps must be an integer of at least 1"),
        (lambda payoff: regret_matching(payoff, 10, num_records=3), r"num_records must divide num_steps \(10\)"),
        (lambda payoff: replicator(payoff, 10, start=(jnp.ones(2),)), "strategy for every player"),
        (
            lambda payoff: replicator(payoff, 10, start=(jnp.ones(2),) * 2, step_size=0.5),
            r"\(0, 1\], got 0.5. Use 0.13, say",
        ),
        (lambda payoff: replicator(payoff, 10, start=(jnp.ones(2),) * 2, step_size=jnp.nan), "step_size times the range"),
        (lambda payoff: smooth_fictitious_play(payoff, 10, temperature=0.0), "temperature must be a positive number"),
        (lambda payoff: multiplicative_weights(payoff, 10, step_size=-0.1), "step_size must be a positive number"),
        (lambda payoff: extragradient(payoff, 10, step_size=np.nan), "step_size must be a positive number"),
        (lambda payoff: mirror_prox(payoff, 10, step_size=0.0), "step_size must be a positive number"),
        (lambda payoff: replicator(payoff, 10, start=(jnp.ones(2),) * 2, mutation=-0.1), "mutation must be a number"),
        (lambda payoff: fictitious_play(payoff.astype(jnp.float32), 2**24 + 1), "at most 16,777,216 in float32, got 16777217"),
    ],
)
def test_wrong_parameters(play, message):
    with pytest.raises(ConfigError, match=message):
        play(jnp.asarray(named.CHICKEN))


def test_shares_stay_shares_whatever_the_step():
    """With a step of 0.5 and payoffs of 100 they used to overflow. A traced step is not looked at."""
    payoff = 100 * jnp.asarray(named.PRISONERS_DILEMMA, jnp.float32) / 5
    start = (jnp.array([0.9, 0.1]), jnp.array([0.9, 0.1]))
    course = jax.jit(lambda step: replicator(payoff, 50, start=start, step_size=step))(0.5)
    np.testing.assert_allclose(course.profile[0], [0, 1], atol=1e-6)
    assert np.isfinite(jax.tree.leaves(course.average)).all()


def test_the_step_that_is_proposed_is_accepted():
    payoff, start = jnp.asarray(1.5 * np.asarray(named.MATCHING_PENNIES) / 2), [jnp.array([0.5, 0.5])] * 2
    with pytest.raises(ConfigError, match=r"Use (\S+), say") as refused:
        replicator(payoff, 3, start=start, step_size=5.0)
    proposed = float(re.search(r"Use (\S+), say", str(refused.value)).group(1))  # pyright: ignore
    replicator(payoff, 3, start=start, step_size=proposed)
    with pytest.raises(ConfigError, match="the strategy of player 1 must sum to 1"):
        replicator(payoff, 3, start=[start[0], jnp.array([2.0, 2.0])])


def test_pure_starts_are_measured_along_the_way_and_at_the_end():
    starts = [(0, 1), (2, 0)]
    found = from_pure_starts(regret_matching, named.SHAPLEY, starts, 40, 4)
    payoff = jnp.asarray(named.SHAPLEY, jnp.float32)
    for row, actions in enumerate(starts):
        one = regret_matching(payoff, 40, start=normal_form.pure_profile(payoff, actions), num_records=4)
        np.testing.assert_allclose(found.nash_conv[row], one.history.average_nash_conv, rtol=1e-5)
        np.testing.assert_allclose(found.average[row], one.history.average[0], rtol=1e-5)
        np.testing.assert_allclose(
            found.coarse_gap[row], normal_form.coarse_correlated_regrets(payoff, one.joint).max(), atol=1e-6
        )
        np.testing.assert_allclose(found.welfare[row], (payoff.sum(0) * one.joint).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("payoff", "actions", "message"),
    [
        (named.SHAPLEY, [(0, 3)], r"actions must be pairs of numbers from 0 to 2, got \[\(0, 3\)\]"),
        (named.SHAPLEY, [0, 1], "actions must be pairs"),
        (named.SHAPLEY[:, :2], [(0, 1)], r"payoff must be float\[2, A, A\], got \(2, 2, 3\)"),
    ],
)
def test_pure_starts_must_be_there(payoff, actions, message):
    with pytest.raises(ConfigError, match=message):
        from_pure_starts(fictitious_play, payoff, actions, 4, 1)


def test_populations_play_themselves():
    first = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    path, average = populations(named.ROCK_PAPER_SCISSORS, first, 40, 0.01, 4)
    one = replicator(jnp.asarray(named.ROCK_PAPER_SCISSORS, jnp.float32), 40, start=(first[1], first[1]), num_records=4)
    np.testing.assert_allclose(path[1], one.history.profile[1], rtol=1e-5)
    np.testing.assert_allclose(average[1], one.history.average[0], rtol=1e-5)
    assert path.dtype == np.float64


def test_many_games_are_solved_as_each_by_itself():
    games = jnp.asarray(np.random.default_rng(3).normal(size=(33, 2, 3, 3)), jnp.float32)  # more than go at once
    found = over_games(partial(regret_matching, num_steps=10), games)
    np.testing.assert_allclose(found.joint[32], regret_matching(games[32], 10).joint, rtol=1e-5)


@pytest.mark.parametrize(
    "play",
    [
        fictitious_play,
        smooth_fictitious_play,
        multiplicative_weights,
        extragradient,
        mirror_prox,
        regret_matching,
        partial(replicator, start=(np.full(2, 0.5),) * 2),
    ],
)
@pytest.mark.parametrize(
    ("payoff", "message"),
    [
        (np.full((2, 2, 2), np.nan), r"payoffs must be finite, got 'nan at index \(0, 0, 0\)'"),
        (np.full((2, 2, 2), np.inf), "payoffs must be finite"),
        (np.eye(2), r"payoff must have shape \[N, A_0"),
        ([[["a", "b"]] * 2] * 2, "payoff must be an array of real numbers"),
        ([[[1, 2], [3]]] * 2, "payoff must be an array of real numbers"),
        (np.full((2, 2, 2), 1j), "payoff must be an array of real numbers"),
    ],
)
def test_unsound_payoffs_are_refused(play, payoff, message):
    with pytest.raises(ConfigError, match=message):
        play(payoff, 10)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("play", [fictitious_play, regret_matching, partial(replicator, start=(np.full(2, 0.5),) * 2)])
def test_tables_may_be_lists_and_numpy_floats(play):
    table = np.asarray(named.CHICKEN, np.float64) / 10
    for payoff in (table, table.tolist()):
        np.testing.assert_array_equal(play(payoff, 5).joint, play(jnp.asarray(table), 5).joint)
