"""jaxrl.core.scan does what jax.lax.scan does, bit for bit, wherever the randomness is drawn."""

import chex
import jax
import jax.numpy as jnp
import pytest

from jaxrl.core import scan as scan_module
from jaxrl.core.scan import scan

KEYS = jax.random.split(jax.random.key(0), 12)


def random_walk(carry, key):
    """Noise of the key alone, noise that needs the carry, a nested jit, a literal, and outputs of either kind."""
    noise_key, coin_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, (5,))
    coin = jax.random.bernoulli(coin_key, jax.nn.sigmoid(carry["x"]))
    x = carry["x"] + jnp.where(coin, noise, 2.0)
    return {"x": x, "steps": carry["steps"] + 1, "last": noise[0]}, (x.sum(), noise, key, jnp.float32(3.0))


START = {"x": jnp.zeros(5), "steps": jnp.int32(0), "last": jnp.float32(0.0)}


@pytest.mark.parametrize("limit", [0, 64, 200, 10**9], ids=["plain", "blocks of 1", "blocks", "all at once"])
def test_equals_lax_scan(limit, monkeypatch):
    monkeypatch.setattr(scan_module, "AHEAD_BYTES", limit)
    expected = jax.jit(lambda keys: jax.lax.scan(random_walk, START, keys))(KEYS)
    found = jax.jit(lambda keys: scan(random_walk, START, keys))(KEYS)
    chex.assert_trees_all_equal(found[0], expected[0])
    chex.assert_trees_all_equal(found[1][:2], expected[1][:2])
    assert (jax.random.key_data(found[1][2]) == jax.random.key_data(KEYS)).all()


def test_the_loop_contains_no_random_bits():
    """The point of it: what depends on the key alone is drawn before the loop."""

    def body(carry, key):
        return carry + jax.random.uniform(key), carry

    text = str(jax.make_jaxpr(lambda keys: scan(body, jnp.float32(0.0), keys))(KEYS))
    before, loop = text.split("scan[", 1)
    assert "random_bits" in before
    assert "random_bits" not in loop


def test_under_vmap_and_grad():
    def last(scale, keys, which):
        def body(carry, key):
            return carry + scale * jax.random.normal(key), carry

        return which(body, jnp.float32(0.0), keys)[0]

    batch = jax.random.split(jax.random.key(1), (3, 7))
    for transform in (jax.vmap(last, (None, 0, None)), jax.vmap(jax.grad(last), (None, 0, None))):
        chex.assert_trees_all_close(transform(2.0, batch, scan), transform(2.0, batch, jax.lax.scan), rtol=1e-6)


def test_a_body_without_randomness_and_one_without_carry():
    chex.assert_trees_all_equal(scan(lambda c, x: (c + x, c * x), 1.0, jnp.arange(4.0)), (7.0, jnp.array([0.0, 1.0, 4.0, 12.0])))
    carry, ys = scan(lambda c, x: (c, x * x), (), jnp.arange(3.0))
    assert carry == ()
    chex.assert_trees_all_equal(ys, jnp.array([0.0, 1.0, 4.0]))
