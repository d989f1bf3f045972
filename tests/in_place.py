"""Whether a training loop writes its replay buffer in place: a copy in every step would cost more than the learning."""

import jax
import jax.numpy as jnp

from jaxrl.training.runner import scan_updates


def assert_buffer_in_place(make, env, config):
    """Compiles eight updates, and looks at the memory that they need beside the state."""
    algorithm = make(env, config)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    updates = jax.jit(lambda state, key: scan_updates(algorithm, state, key, jnp.arange(8)), donate_argnums=0)
    memory = updates.lower(state, jax.random.key(0)).compile().memory_analysis()
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.buffer))
    assert memory.alias_size_in_bytes > size
    assert memory.temp_size_in_bytes < size / 4
