"""One run on several devices, as seen from the host: what is refused, where arrays lie. See also test_many_devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.multiagent import mappo
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core import batch_axis
from jaxrl.core.batch_axis import DeviceGroup, batch_axes
from jaxrl.errors import ConfigError, QuarantineWarning
from jaxrl.results.sinks import Failure
from jaxrl.training import data_parallel, seed_axis
from jaxrl.training.seed_axis import Layout

GRID = envs.make("cliff_walking")
Q = q_learning.Config(num_envs=4, num_steps=5)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (Q.replace(num_envs=5), {}, r"num_envs must be divisible by the number of devices \(2\), got 5. Try num_envs=6, or 1"),
        (Q, {"devices_per_seed": 3}, r"devices_per_seed must divide the number of devices \(2\), got 3"),
        (Q, {"devices_per_seed": 0}, "devices_per_seed must divide"),
        (None, {}, "must have an environment axis"),
    ],
)
def test_what_cannot_be_divided_is_refused(config, options, message):
    with pytest.raises(ConfigError, match=message):
        data_parallel.run(q_learning.make, GRID, config, num_updates=2, **options)


def test_no_device_at_all():
    with pytest.raises(ConfigError, match="at least one device"):
        DeviceGroup([])


def test_every_device_holds_its_environments_and_the_whole_table():
    done = data_parallel.run(q_learning.make, GRID, Q, num_updates=4, chunk_length=2)
    assert done.metrics["td_error"].shape == (1, 4)
    assert done.state.q.is_fully_replicated
    for leaf in jax.tree.leaves(done.state.episodes):
        assert [piece.data.shape[:2] for piece in leaf.addressable_shards] == [(1, 2)] * 2


def make_bad(env, config):
    """Q-learning whose table turns NaN in its second update."""
    good = q_learning.make(env, config)

    def update(state, key):
        state, metrics = good.update(state, key)
        return state.replace(q=jnp.where(state.visits.sum() > config.steps_per_update, jnp.nan, state.q)), metrics

    return good._replace(update=update)


def test_a_seed_that_turns_bad_is_quarantined():
    with pytest.warns(QuarantineWarning):
        done = data_parallel.run(make_bad, GRID, Q, num_updates=4, chunk_length=2)
    assert dict(done.summary.failed_seeds) == {0: Failure(1, "state.q")}
    assert np.isfinite(done.state.q).all()


def test_environment_axes_are_found_wherever_they_are():
    config = mappo.Config(num_envs=4, num_steps=4, hidden=(8,), memory_size=3, shared_parameters=False)
    env = envs.make("simple_spread")

    def shapes(config):
        return seed_axis.abstract_carry(mappo.make, env, config)

    found = dict(zip(_names(shapes(config)), batch_axes(shapes, config), strict=True))
    assert found.pop(".state.learner.critic_memory") == 1  # [agents, environments, ...]
    assert {axis for name, axis in found.items() if ".episodes" in name} == {0}
    assert {axis for name, axis in found.items() if ".episodes" not in name} == {None}


def _names(tree):
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def test_without_devices_that_share_a_run_nothing_is_said():
    for function in (batch_axis.shard_batch, batch_axis.replicate):
        assert not jax.make_jaxpr(function)(np.ones(4)).eqns


def test_layouts_of_seeds_alone_are_as_before():
    layout = Layout.of(q_learning.make, GRID, Q, jax.devices(), 4, None)
    assert layout.mesh.axis_names == (seed_axis.SEED_AXIS,)
    assert layout.batch_axes == ()
    shared = Layout.of(q_learning.make, GRID, Q, [DeviceGroup(jax.devices())], 4, None)
    assert shared.mesh.shape == {seed_axis.SEED_AXIS: 1, batch_axis.BATCH_AXIS: 2}
    assert shared.size == 4


class Limited:
    """A device with this much memory."""

    platform = "gpu"

    def __init__(self, limit, used):
        self.stats = {"bytes_limit": limit, "bytes_in_use": used} if limit else None

    def memory_stats(self):
        return self.stats


def test_together_they_have_as_much_as_the_fullest_has_for_each():
    assert DeviceGroup([Limited(100, 10), Limited(90, 30)]).memory_stats() == {"bytes_limit": 180, "bytes_in_use": 60}
    assert DeviceGroup([Limited(100, 10), Limited(None, None)]).memory_stats() == {}
    assert DeviceGroup([Limited(1, 0)]).platform == "gpu"
