"""Populations: expected losses by hand, optima in closed form, slopes at the reference, and descent that is followed for long."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.algorithms.preferences import direct, populations
from jaxrl.algorithms.preferences.direct import Config
from jaxrl.algorithms.preferences.populations import Population
from jaxrl.errors import ConfigError
from jaxrl.solvers.kl_optimal import kl_optimal

NUMBERS = Config(
    beta=0.4, flip_rate=0.2, tau=0.3, sft=0.6, drop=3.0, desirable=1.2, undesirable=0.8, eta=0.9, smoothing=0.05,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def three():
    reference = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    return Population.bradley_terry(jnp.array([0.0, 1.0, -0.5]), reference, jnp.array([3.0, 4.0, 5.0]))


def test_the_expected_loss_is_the_mean_over_ordered_pairs():
    world, logits = three(), np.array([0.2, -0.1, 0.4])
    log_policy = logits - np.log(np.exp(logits).sum())
    ratio = log_policy - np.asarray(world.log_reference)
    expected = 0.0
    for w in range(3):
        for l in {0, 1, 2} - {w}:  # noqa: E741
            expected += float(world.preference[w, l]) * np.log1p(np.exp(-0.4 * (ratio[w] - ratio[l]))) / 6
    found = populations.tabular_loss("dpo", NUMBERS, world, jnp.asarray(logits))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(world.preference + world.preference.T, 1.0)


def test_the_optimum_of_dpo_is_the_tilted_reference():
    gold, world = populations.draw_length_free(np.random.default_rng(3), 6)
    found = populations.optimum("dpo", NUMBERS, world)
    np.testing.assert_allclose(found, kl_optimal(world.log_reference, gold, 0.4), atol=1e-6)
    assert abs(np.corrcoef(gold, world.length)[0, 1]) < 1e-12
    np.testing.assert_array_equal(np.sort(world.length), np.arange(5.0, 11.0))


def test_every_loss_with_a_reference_has_its_slope_there():
    assert set(direct.SLOPES) == set(direct.LOSSES) - set(direct.WITHOUT_REFERENCE)
    for config in (NUMBERS, Config()):
        errors = populations.slope_errors(config)
        assert {name: error for name, error in errors.items() if error > 1e-9} == {}


def test_another_reference_changes_nothing_where_there_is_none():
    changes = populations.reference_changes(NUMBERS)
    assert set(changes) == set(direct.WITHOUT_REFERENCE)
    assert set(map(float, changes.values())) == {0.0}


def test_margins_of_pairs():
    pairs = populations.pair(jnp.array([-1.0, 2.0]), shift=0.25)
    np.testing.assert_allclose(pairs.chosen - pairs.rejected, [-1.0, 2.0])
    np.testing.assert_allclose(jnp.exp(pairs.chosen) + jnp.exp(pairs.rejected), 1.0)
    np.testing.assert_allclose(pairs.margin, [-1.5, 1.5])


def test_descent_is_that_of_each_objective_alone():
    steps = np.array([1, 3, 40])
    path = populations.descend([lambda x: (x**2).sum(), lambda x: -x.sum()], jnp.ones(2), steps)
    np.testing.assert_allclose(path[0], np.tile(0.8 ** steps[:, None], 2), rtol=1e-12)
    np.testing.assert_allclose(path[1], np.tile(1 + 0.1 * steps[:, None], 2), rtol=1e-12)
    with pytest.raises(ConfigError, match="descend: steps must increase"):
        populations.descend([jnp.sum], jnp.ones(2), np.array([3, 1]))


def test_margins_and_chains_end_where_the_closed_forms_are():
    """IPO's margin ends at 1 / (2 tau), cDPO's at logit(1 - e) / beta; of a chain IPO keeps the last at exp(-1 / tau)."""
    steps = populations.logarithmic_steps(3000)
    losses = [("ipo", Config(tau=0.5)), ("cdpo", Config(beta=1.0, flip_rate=0.2)), ("dpo", Config(beta=1.0))]
    ipo, cdpo, dpo = populations.margins(losses, steps)
    assert float(ipo[-1]) == pytest.approx(1.0, rel=1e-6)
    assert float(cdpo[-1]) == pytest.approx(np.log(4.0), rel=1e-6)
    assert float(dpo[-1] - dpo[-11]) == pytest.approx(np.log(10.0), rel=0.05)  # it grows like the logarithm of the steps
    ipo, dpo = populations.chain_log_ratios([losses[0], losses[2]], steps)
    assert float(ipo[-1]) == pytest.approx(-2.0, rel=1e-3)
    assert float(dpo[-1]) < float(dpo[-11]) - 1.0


@pytest.mark.parametrize("last", [10, 1000, 1500])
def test_ten_steps_a_decade(last):
    steps = populations.logarithmic_steps(last)
    assert steps[0] == 1
    assert steps[-1] == (10 if last == 10 else 1000)
    if last > 10:
        assert steps[-11] * 10 == steps[-1]


def test_texts_are_unlikely_if_they_are_long():
    world = populations.draw_texts(jax.random.key(0), 200)
    assert float(np.polyfit(world.length, world.log_reference, 1)[0]) == pytest.approx(-0.5, abs=0.02)
    assert float(world.length.min()) >= 5
    assert float(world.length.max()) <= 49


def test_minimisers_are_where_they_are_known_to_be():
    found = populations.optimum_errors(np.random.default_rng(0), 6, 0.5, 0.05)
    assert found["dpo"]["variation"] < 1e-3
    assert found["psi_po"]["variation"] < 1e-3
    np.testing.assert_allclose(found["r_dpo"]["length_slope"], -0.1, rtol=0.01)


def test_the_robust_loss_undoes_flips_only_if_it_knows_their_share():
    margin = jnp.linspace(-2.0, 2.0, 5)
    assert populations.robust_error(margin, NUMBERS) < 1e-12
    right, wrong = populations.pair(margin), populations.pair(-margin)
    mean = 0.9 * direct.robust(right, NUMBERS) + 0.1 * direct.robust(wrong, NUMBERS)
    assert jnp.abs(mean - direct.dpo(right, NUMBERS)).max() > 0.1


def test_rewards_per_token_depend_less_on_the_length():
    found = populations.length_correlations(jax.random.key(0), 2, Config(beta=1.0, target_margin=0.0, sft=0.0))
    assert found["cpo"].shape == (2,)
    assert (found["simpo"] < found["cpo"]).all()
