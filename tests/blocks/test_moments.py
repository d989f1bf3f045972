"""Running moments: against NumPy in float64, also far from zero, in any batching; reward scaling by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks import moments
from jaxrl.core.spaces import Box, Dict, Discrete


def assert_same(found, data, rtol=1e-5):
    """Compares with the exact moments of the items as they are in float32."""
    exact = np.asarray(data, np.float64)
    scale = exact.std(0).max()
    assert float(found.count) == len(exact)
    mean = np.asarray(found.origin, np.float64) + np.asarray(found.mean, np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=0, atol=rtol * scale)
    np.testing.assert_allclose(found.variance, exact.var(0), rtol=rtol)


@pytest.mark.parametrize(
    ("offset", "spread"), [(0.0, 1.0), (1e7, 10.0), (-1e7, 1e4), (1e-6, 1e-7)], ids=["plain", "far", "far and wide", "tiny"]
)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 997), (250, 250, 250, 250), (600, 400)], ids=str)
def test_batches_together_equal_float64(offset, spread, sizes):
    data = (offset + spread * np.random.default_rng(0).normal(size=(1000, 3))).astype(np.float32)
    running, first = moments.init(data[0]), 0
    for size in sizes:
        running = moments.update(running, data[first : first + size])
        first += size
    assert_same(running, data)


def test_a_long_run_stays_exact_far_from_zero():
    """5000 small updates, where naive float32 sums around 1e7 lose every digit of the variance."""
    data = (1e7 + 5.0 * np.random.default_rng(1).normal(size=(5000, 4, 2))).astype(np.float32)

    @jax.jit
    def run(data):
        return jax.lax.scan(lambda m, batch: (moments.update(m, batch), None), moments.init(data[0, 0]), data)[0]

    assert_same(run(data), data.reshape(-1, 2), rtol=1e-4)


def test_a_stalled_count_does_not_inflate_the_variance():
    """float32 cannot count beyond 2**24 by ones; the variance must keep its size none the less."""
    full = moments.Moments(jnp.float32(2**24), jnp.float32(0.0), jnp.float32(0.0), jnp.float32(1.0))
    data = np.random.default_rng(2).normal(size=(20_000, 1)).astype(np.float32)
    later = jax.jit(lambda d: jax.lax.scan(lambda m, batch: (moments.update(m, batch), None), full, d)[0])(data)
    np.testing.assert_allclose(later.variance, 1.0, rtol=1e-2)


def test_pytrees_and_any_number_of_leading_axes():
    random = np.random.default_rng(3)
    batch = {"position": random.integers(0, 9, size=(5, 4, 2)), "height": random.normal(size=(5, 4)).astype(np.float32)}
    item = jax.tree.map(lambda leaf: leaf[0, 0], batch)
    found = moments.update(moments.init(item), batch)
    assert float(found.count) == 20
    np.testing.assert_allclose(found.variance["position"], batch["position"].reshape(20, 2).var(0), rtol=1e-5)
    np.testing.assert_allclose(found.variance["height"], batch["height"].var(), rtol=1e-5)
    normal = moments.normalize(found, batch)
    assert jax.tree.map(lambda leaf: leaf.shape, normal) == {"position": (5, 4, 2), "height": (5, 4)}
    np.testing.assert_allclose(normal["position"].reshape(20, 2).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(normal["position"].reshape(20, 2).std(0), 1, rtol=1e-5)


def test_merge_is_symmetric_and_takes_empty_sides():
    data = (1e7 + np.random.default_rng(4).normal(size=(30, 2)) * 100).astype(np.float32)
    nothing = moments.init(data[0])
    first, second = moments.update(nothing, data[:10]), moments.update(nothing, data[10:])
    assert_same(moments.merge(first, second), data)
    assert_same(moments.merge(second, first), data)
    assert_same(moments.merge(first, nothing), data[:10])
    assert_same(moments.merge(nothing, first), data[:10])
    assert float(moments.merge(nothing, nothing).count) == 0


def test_normalize_by_hand():
    seen = moments.update(moments.init(jnp.float32(0.0)), jnp.array([1.0, 3.0]))  # mean 2, standard deviation 1
    np.testing.assert_allclose(moments.normalize(seen, jnp.array([2.0, 3.5, 100.0, -100.0])), [0, 1.5, 10, -10], rtol=1e-6)
    np.testing.assert_allclose(moments.normalize(seen, jnp.array([100.0]), clip=jnp.inf), [98.0], rtol=1e-6)


def test_normalizing_before_any_data_changes_nothing():
    x = jnp.array([-3.0, 0.5])
    np.testing.assert_allclose(moments.normalize(moments.init(x), x), x, rtol=1e-6)


def test_a_constant_feature_becomes_zero():
    seen = moments.update(moments.init(jnp.float32(0.0)), jnp.full(10, 12345.678))
    np.testing.assert_array_equal(moments.normalize(seen, jnp.full(3, 12345.678)), 0)


def test_seeds_are_independent_under_vmap():
    data = np.random.default_rng(5).normal(size=(3, 20, 2)).astype(np.float32)
    start = jax.vmap(moments.init)(data[:, 0])
    batched = jax.jit(jax.vmap(moments.update))(start, data)
    for seed in range(3):
        assert_same(jax.tree.map(lambda leaf, seed=seed: leaf[seed], batched), data[seed])


def test_reward_scaling_by_hand():
    """gamma 0.5: the running sums are 1, 2.5 (the episode ends) and 4; their standard deviation is sqrt(1.5)."""
    reward, done = jnp.array([[1.0], [2.0], [4.0]]), jnp.array([[False], [True], [False]])
    state, scaled = moments.scale_rewards(moments.init_reward_scaling(1), reward, done, 0.5)
    np.testing.assert_allclose(scaled, reward / np.sqrt(np.var([1.0, 2.5, 4.0])), rtol=1e-6)
    np.testing.assert_allclose(state.return_, [4.0])
    # The next block goes on from the sum 4: 1 + 0.5 * 4 = 3.
    state, scaled = moments.scale_rewards(state, jnp.array([[1.0]]), jnp.array([[True]]), 0.5)
    np.testing.assert_allclose(scaled, [[1 / np.sqrt(np.var([1.0, 2.5, 4.0, 3.0]))]], rtol=1e-6)
    np.testing.assert_allclose(state.return_, [0.0])


def test_scaled_rewards_do_not_depend_on_the_unit_and_keep_their_sign():
    random = np.random.default_rng(6)
    reward, done = random.normal(size=(50, 4)).astype(np.float32) + 1, random.random((50, 4)) < 0.1
    start = moments.init_reward_scaling(4)
    _, scaled = moments.scale_rewards(start, reward, done, 0.9)
    _, thousandfold = moments.scale_rewards(start, 1000 * reward, done, 0.9)
    np.testing.assert_allclose(scaled, thousandfold, rtol=1e-4)
    np.testing.assert_array_equal(np.sign(scaled), np.sign(reward))
    _, clipped = moments.scale_rewards(start, reward, done, 0.9, clip=0.1)
    np.testing.assert_allclose(clipped, np.clip(scaled, -0.1, 0.1), rtol=1e-6)


def test_denormalize_undoes_normalize():
    random = np.random.default_rng(7)
    data = {"far": (1e4 + 30 * random.normal(size=(40, 3))).astype(np.float32), "near": random.normal(size=40).astype(np.float32)}
    seen = moments.update(moments.init(jax.tree.map(lambda leaf: leaf[0], data)), data)
    unit = moments.normalize(seen, data, clip=jnp.inf)
    for name, leaf in moments.denormalize(seen, unit).items():
        np.testing.assert_allclose(leaf, data[name], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        moments.denormalize(seen, jax.tree.map(jnp.zeros_like, unit))["near"], data["near"].mean(), rtol=1e-5
    )


def test_rewards_of_agents_are_scaled_by_one_number():
    reward, done = np.random.default_rng(8).normal(size=(2, 20, 4, 3)).astype(np.float32)
    done = done > 1.0
    _, scaled = moments.scale_rewards(moments.init_reward_scaling(4, 3), reward, done, 0.9)
    _, flat = moments.scale_rewards(moments.init_reward_scaling(12), reward.reshape(20, 12), done.reshape(20, 12), 0.9)
    np.testing.assert_allclose(scaled.reshape(20, 12), flat, rtol=1e-6)


def test_integers_in_a_box_are_normalised_and_classes_are_not():
    """A nested observation is normalised part by part."""
    space = Dict.of(image=Box(0, 255, (2, 2, 1), jnp.uint8), cell=Discrete(5), speed=Box(-1.0, 1.0, (2,)))
    obs = {
        "image": jnp.full((7, 2, 2, 1), 200, jnp.uint8).at[:3].set(220),
        "cell": jnp.arange(7, dtype=jnp.int32) % 5,
        "speed": jnp.linspace(-1.0, 1.0, 14).reshape(7, 2),
    }
    seen = moments.update(moments.init(jax.tree.map(lambda leaf: leaf[0], obs)), obs)
    found = moments.normalize_observation(seen, obs, space)
    for name in ("image", "speed"):
        np.testing.assert_allclose(found[name].mean(0), 0.0, atol=1e-4)
        np.testing.assert_allclose(found[name].std(0), 1.0, rtol=1e-3)
    np.testing.assert_array_equal(found["cell"], obs["cell"])


def test_without_moments_everything_stays_as_it_is():
    x, done = {"obs": jnp.arange(3)}, jnp.zeros(3, bool)
    assert moments.update(None, x) is None
    for function in (moments.normalize, moments.denormalize):
        assert function(None, x) is x
    assert moments.normalize_observation(None, x, Box(0.0, 1.0, (3,))) is x
    assert moments.scale_rewards(None, x, done, 0.9) == (None, x)
