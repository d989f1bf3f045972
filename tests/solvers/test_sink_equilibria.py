"""Sinks of response graphs and alpha-rank: golden values, graphs by brute force, walks, and open_spiel's alpha-rank."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import csgraph

from envs.matrix_games import named
from jaxrl.errors import ConfigError
from jaxrl.solvers.alpha_rank import alpha_rank, alpha_rank_of_limit, alpha_rank_of_population
from jaxrl.solvers.markov_chain import stationary_logits
from jaxrl.solvers.normal_form import unilateral_deviations
from jaxrl.solvers.sink_equilibria import response_graph, sink_equilibria, walks

CYCLE = (1 - np.eye(3)) / 6
UNEVEN = np.random.default_rng(0).normal(size=(5, 3, 2, 3, 2))


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("table", "best", "limit"),
    [
        (named.CLIMB, False, np.diag([61 / 216, 155 / 216, 0])),
        (named.CLIMB, True, np.diag([1 / 3, 2 / 3, 0])),
        (named.penalty_table(100), False, np.diag([11 / 36, 7 / 18, 11 / 36])),
        (named.penalty_table(100), True, np.eye(3) / 3),
        (named.SHAPLEY, False, CYCLE),
        (named.SHAPLEY, True, CYCLE),
        (named.MATCHING_PENNIES, False, np.full((2, 2), 1 / 4)),
        (named.PRISONERS_DILEMMA, False, np.diag([0, 1])),
    ],
)
def test_limits_of_well_known_games(table, best, limit):
    for scale, offset in ((1, 0), (1e-9, 0), (1e9, 0), (1, 1e6)):
        found = sink_equilibria(scale * np.asarray(table) + offset, best=best)
        np.testing.assert_allclose(found.limit, limit, atol=1e-12)
        assert found.residual < 1e-12
        assert found.error_bound < 1e-12
    np.testing.assert_allclose(found.in_sink, limit > 0)
    assert found.hitting.sum() == pytest.approx(1.0)


def test_a_strict_equilibrium_keeps_its_prior_and_a_prior_may_be_any():
    prior = np.zeros((3, 3))
    prior[1, 1] = 1
    np.testing.assert_allclose(sink_equilibria(named.CLIMB, prior=prior).limit, prior)
    prior = np.eye(3)[[0]].T * np.eye(3)[[2]]  # (a, c) leads to (a, a), or by (b, c) to (b, b), or by (c, c) to both of these
    found = sink_equilibria(named.CLIMB, prior=prior)
    np.testing.assert_allclose(found.hitting, found.from_each[2].reshape(3, 3))
    assert found.hitting[0, 0] + found.hitting[1, 1] == pytest.approx(1.0)


@pytest.mark.parametrize("best", [False, True])
def test_components_are_scipys_and_games_may_be_vmapped(best):
    """Five games of three players with unequal actions: components by another algorithm, hitting by a dense solve."""
    together = jax.vmap(partial(sink_equilibria, best=best))(jnp.asarray(UNEVEN))
    for number, table in enumerate(UNEVEN):
        step = np.zeros((12, 12))
        for profile in np.ndindex(2, 3, 2):
            edges = []
            for player in range(3):
                gains = {}
                for action in range(table.shape[1 + player]):
                    other = profile[:player] + (action,) + profile[player + 1 :]
                    gains[other] = table[(player, *other)] - table[(player, *profile)]
                edges += [other for other, gain in gains.items() if gain > 0 and (not best or gain == max(gains.values()))]
            for other in edges:
                step[np.ravel_multi_index(profile, (2, 3, 2)), np.ravel_multi_index(other, (2, 3, 2))] = 1 / len(edges)
        _, labels = csgraph.connected_components(sparse.csr_matrix(step), directed=True, connection="strong")
        first = np.array([np.flatnonzero(labels == label)[0] for label in labels])
        sink = np.array([not step[labels == label][:, labels != label].any() for label in labels])
        ours = jax.tree.map(lambda leaf: np.asarray(leaf[number]), together)  # noqa: B023
        np.testing.assert_array_equal(ours.component.ravel(), first)
        np.testing.assert_array_equal(ours.in_sink.ravel(), sink)
        stays = step + np.diag(1 - step.sum(1))
        far = np.linalg.matrix_power((stays + np.eye(12)) / 2, 2**14)  # half of the time the walk rests, so it has no period
        np.testing.assert_allclose(ours.limit.ravel(), far.mean(0), atol=1e-9)
        assert ours.residual < 1e-12


def test_ties_are_no_improvement():
    """With equal payoffs every profile is a sink; a difference that is rounding alone is none."""
    found = sink_equilibria(np.full((2, 2, 3), 0.3))
    np.testing.assert_allclose(found.limit, 1 / 6)
    computed = np.array([[[0.3, 0.1 + 0.2]] * 2] * 2)
    assert bool(sink_equilibria(computed).in_sink.all())


def test_payoffs_that_float32_cannot_tell_apart_are_told_apart():
    with jax.enable_x64(False):
        found = sink_equilibria(np.asarray(named.CLIMB) + 1e10)
        np.testing.assert_allclose(found.limit, np.diag([61 / 216, 155 / 216, 0]), atol=1e-6)
        assert found.error_bound < 1e-4


def test_walks_end_where_they_are_expected_to():
    with jax.enable_x64(False):
        ends = walks(jax.random.key(0), response_graph(named.CLIMB), 20_000, 40)
        shares = np.bincount(ends, minlength=9) / 20_000
        np.testing.assert_allclose(shares, np.diag([61 / 216, 155 / 216, 0]).ravel(), atol=0.015)


def test_long_detours_are_solved():
    """A ladder of 300 best responses: common payoff i + j near the diagonal and less elsewhere."""
    steps = np.arange(20)
    apart = steps[:, None] - steps[None, :]
    table = named.common(np.where((apart == 0) | (apart == 1), steps[:, None] + steps[None, :], -100 - np.abs(apart)))
    found = sink_equilibria(table, best=True)
    assert bool(found.in_sink[19, 19])
    assert found.hitting[19, 19] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": np.full((3, 2), 1 / 6)}, r"prior must have shape \[3, 3\]"),
        ({"prior": np.ones((3, 3))}, "prior must sum to 1"),
    ],
)
def test_wrong_priors(options, message):
    with pytest.raises(ConfigError, match=message):
        sink_equilibria(named.CLIMB, **options)


@pytest.mark.parametrize("solve", [sink_equilibria, alpha_rank, alpha_rank_of_limit, alpha_rank_of_population])
def test_what_is_no_game_is_refused(solve):
    for payoff, message in ((np.full((2, 2, 2), np.nan), "payoffs must be finite"), (np.eye(2), "payoff must have shape")):
        with pytest.raises(ConfigError, match=message):
            solve(payoff)


def test_the_stationary_distribution_of_barely_coupled_states():
    """Two pairs of states, coupled by 1e-200 and 3e-200: detailed balance gives the ratio of the pairs, 3."""
    rates = np.zeros((4, 4))
    rates[0, 1], rates[1, 0], rates[2, 3], rates[3, 2], rates[1, 2], rates[2, 1] = 0.5, 0.25, 0.1, 0.1, 1e-200, 3e-200
    with np.errstate(divide="ignore"):
        logits, imbalance = stationary_logits(jnp.log(rates))
    weights = np.exp(logits)
    np.testing.assert_allclose(weights / weights.sum(), np.array([1.5, 3, 1, 1]) / 6.5, rtol=1e-9)
    assert imbalance < 1e-9


def test_alpha_rank_is_open_spiels():
    alpharank = pytest.importorskip("open_spiel.python.egt.alpharank")
    for table in UNEVEN[:3]:
        for alpha in (0.1, 2.0):
            theirs = alpharank.compute(list(table), m=20, alpha=alpha)[2]
            ours = alpha_rank(table, alpha, 20)
            np.testing.assert_allclose(ours.probability.ravel(), theirs, rtol=1e-6, atol=1e-12)
            assert ours.imbalance < 1e-9
        theirs = alpharank.compute(list(table), use_inf_alpha=True, inf_alpha_eps=0.05)[2]
        np.testing.assert_allclose(alpha_rank_of_limit(table, 0.05).probability.ravel(), theirs, rtol=1e-6)
    symmetric = named.symmetric(UNEVEN[0].reshape(-1)[:16].reshape(4, 4))
    theirs = alpharank.compute([symmetric[0]], m=10, alpha=0.5)[2]
    np.testing.assert_allclose(alpha_rank_of_population(symmetric, 0.5, 10).probability, theirs, rtol=1e-6)


def test_strong_selection_leaves_the_sinks():
    """At any alpha; the probabilities of profiles outside are beyond float64, their logarithms are not."""
    for alpha, imbalance in ((1e3, 1e-8), (1e9, 1e-3)):
        # Mutants that lead from (b, b) to (a, a) lose 1 + 1 + 5, those that lead back lose 11.
        ranked = alpha_rank(named.CLIMB, alpha)
        np.testing.assert_allclose(ranked.probability, np.diag([1, 0, 0]), atol=1e-9)
        assert ranked.log_probability[1, 1] == pytest.approx(-alpha * 49 * 4, rel=1e-3)
        assert ranked.imbalance < imbalance
    ranked = jax.vmap(partial(alpha_rank, named.PRISONERS_DILEMMA))(jnp.array([1e-9, 10.0]))
    np.testing.assert_allclose(ranked.probability[0], 1 / 4, atol=1e-6)
    np.testing.assert_allclose(ranked.probability[1], np.diag([0, 1]), atol=1e-6)


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (partial(alpha_rank, alpha=0.0), "alpha must be a positive number"),
        (partial(alpha_rank, population=1), "population must be an integer of at least 2"),
        (partial(alpha_rank_of_limit, noise=0.0), r"noise must lie in \(0, 0.5\]"),
    ],
)
def test_wrong_selections(solve, message):
    with pytest.raises(ConfigError, match=message):
        solve(named.CLIMB)
    with pytest.raises(ConfigError, match="transpose of the first"):
        alpha_rank_of_population(named.MATCHING_PENNIES)


def test_deviations_lead_where_they_should():
    table = np.arange(2 * 2 * 3).reshape(2, 2, 3) ** 2
    successor, gains = unilateral_deviations(table)
    assert successor[4].tolist() == [1, 4, 3, 4, 5]  # profile (1, 1)
    assert gains[4].tolist() == [1 - 16, 0, 81 - 100, 0, 121 - 100]
