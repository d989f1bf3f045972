"""What eight devices must and must not change: checks for a process of its own, since a process's devices are fixed.

``python -m tests.many_devices fast`` makes those that take seconds, ``slow`` the others. It prints, as JSON, what went wrong.
"""

import functools
import json
import re
import signal
import sys
import tempfile
import traceback

import chex
import jax
import jax.numpy as jnp
import numpy as np

import envs
from jaxrl.algorithms.deep import dqn, ppo
from jaxrl.algorithms.multiagent import mappo
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.batch_axis import DeviceGroup
from jaxrl.training import data_parallel, platform, seed_axis
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.inputs import Inputs
from jaxrl.training.runner import run
from jaxrl.training.seed_axis import Layout

DEVICES = 8
platform.setup(cpu_devices=DEVICES)  # before an environment makes its first array; a process that has its devices keeps them
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
TOLERANCE = {"rtol": 1e-3, "atol": 1e-5}  # of networks, whose sums are taken in another order
PPO = ppo.Config(num_envs=16, num_steps=16, num_epochs=2, num_minibatches=2, hidden=(8,))
LARGE = {"large ppo": (ppo.make, envs.make("cartpole"), ppo.Config(num_envs=64, num_steps=32))}  # is only compiled
CASES = {
    "q_learning": (q_learning.make, envs.make("cliff_walking"), q_learning.Config(num_envs=16, num_steps=20)),
    "ppo": (ppo.make, envs.make("cartpole"), PPO.replace(normalize_observation=True, normalize_reward=True)),
    "ppo with memory": (ppo.make, envs.make("cartpole"), PPO.replace(memory_size=4)),
    "mappo": (
        mappo.make,
        envs.make("simple_spread"),
        mappo.Config(num_envs=16, num_steps=16, num_epochs=1, num_minibatches=2, hidden=(8,)),
    ),
    "mappo with networks and memories of their own": (
        mappo.make,
        envs.make("simple_spread"),
        mappo.Config(
            num_envs=16, num_steps=8, num_epochs=1, num_minibatches=2, hidden=(8,), memory_size=4, shared_parameters=False
        ),
    ),
    "dqn": (
        dqn.make,
        envs.make("cartpole"),
        dqn.Config(num_envs=16, num_steps=2, num_rounds=4, batch_size=32, learning_starts=64, buffer_size=512, hidden=(8,)),
    ),
}
OPTIONS = {"num_updates": 6, "chunk_length": 2}


@functools.cache
def on(devices, name, seeds=16, vmap_width=None):
    return run(*CASES[name], seeds=seeds, devices=jax.devices()[:devices], vmap_width=vmap_width, **OPTIONS)


def same_state(mine, yours):
    chex.assert_trees_all_equal(*(jax.device_get(done.state) for done in (mine, yours)))


def close(mine, yours):
    """Counts and actions are equal; floats nearly."""
    for part in ("metrics", "state"):
        chex.assert_trees_all_close(*(jax.device_get(getattr(done, part)) for done in (mine, yours)), **TOLERANCE)


def compiled(name, devices, num_seeds):
    """Compiles two updates of a case."""
    make, task, config = (CASES | LARGE)[name]
    layout = Layout.of(make, task, config, devices, num_seeds, None)
    keys = jax.device_put(jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(layout.size)), layout.split)
    configs = jax.device_put(seed_axis.spread(config, layout.size), layout.split)
    task = jax.device_put(task, layout.replicated)
    carries = seed_axis.begin(make, layout, Inputs.of("task", task), configs, keys)
    return seed_axis.chunk.lower(make, layout, 2, Inputs.of("task", task), configs, keys, carries, np.int32(0)).compile()


def collectives(text):
    return [word for word in COLLECTIVES if re.search(rf" {word}(-start)?\(", text)]


def tables_do_not_depend_on_devices():
    same_state(on(8, "q_learning"), on(1, "q_learning"))
    close(on(8, "q_learning"), on(1, "q_learning"))  # means over environments are sums, too


def networks_depend_on_devices_within_tolerance():
    close(on(8, "ppo"), on(1, "ppo"))


def seeds_need_no_collectives():
    for name in ("q_learning", "ppo"):
        text = compiled(name, jax.devices(), 16).as_text()
        assert "num_partitions=8" in text
        assert not collectives(text)


def seeds_may_be_uneven():
    sixteen = on(1, "q_learning")
    for seeds in (11, 3):
        few = on(8, "q_learning", seeds)
        assert few.state.q.shape[0] == seeds
        chex.assert_trees_all_equal(*(jax.device_get(done.state.q)[:seeds] for done in (few, sixteen)))
        chex.assert_trees_all_close(few.metrics, jax.tree.map(lambda leaf, n=seeds: leaf[:n], sixteen.metrics), **TOLERANCE)


class CtrlC:
    """A sink that presses Ctrl-C after the first chunk, once: a second time would be obeyed at once."""

    def begin(self, plan):
        self.pressed = False

    def chunk(self, chunk):
        if not self.pressed:
            self.pressed = True
            signal.raise_signal(signal.SIGINT)

    def end(self, summary):
        pass


def stopped(train, folder, **options):
    """Breaks a run off and returns how many updates it had made."""
    done = train(**OPTIONS, **options, sinks=(CtrlC(),), checkpoints=Checkpoints(folder, seconds_between=1e9))
    assert done.summary.interrupted
    return next(iter(done.metrics.values())).shape[1]


def a_checkpoint_of_eight_devices_goes_on_with_fewer():
    for devices in (1, 3):
        with tempfile.TemporaryDirectory() as folder:
            made = stopped(functools.partial(run, *CASES["q_learning"]), folder, seeds=16, devices=jax.devices())
            assert 0 < made < OPTIONS["num_updates"]
            options = {"seeds": 16, "devices": jax.devices()[:devices], "checkpoints": Checkpoints(folder), **OPTIONS}
            resumed = run(*CASES["q_learning"], **options)
            whole = on(1, "q_learning")
            same_state(resumed, whole)
            later = {name: values[:, made:] for name, values in whole.metrics.items()}
            chex.assert_trees_all_close(resumed.metrics, later, **TOLERANCE)


def one_run_on_eight_devices(name):
    shared = data_parallel.run(*CASES[name], seeds=[3], **OPTIONS)
    episodes = shared.state.episodes.t
    assert [piece.data.shape for piece in episodes.addressable_shards] == [(1, 2)] * DEVICES
    params = jax.tree.leaves(shared.state.q if name == "q_learning" else shared.state.params)
    assert all(leaf.is_fully_replicated for leaf in params)
    close(shared, run(*CASES[name], seeds=[3], devices=jax.devices()[:1], **OPTIONS))


def one_run_is_divided():
    alone, shared = compiled("large ppo", jax.devices()[:1], 1), compiled("large ppo", [DeviceGroup(jax.devices())], 1)
    text = shared.as_text()
    assert not collectives(alone.as_text())
    assert "all-reduce" in collectives(text)
    # What every device repeats is the order of the minibatches and the optimiser's step.
    share = shared.cost_analysis()["flops"] / alone.cost_analysis()["flops"]
    assert 1 / DEVICES <= share < 1.5 / DEVICES, share


def two_runs_on_four_devices_each():
    both = data_parallel.run(*CASES["ppo"], seeds=[3, 5], devices_per_seed=4, **OPTIONS)
    close(both, run(*CASES["ppo"], seeds=[3, 5], devices=jax.devices()[:1], vmap_width=1, **OPTIONS))


def a_checkpoint_of_a_shared_run_goes_on_alone():
    together = functools.partial(data_parallel.run, *CASES["q_learning"], seeds=[3])
    alone = functools.partial(run, *CASES["q_learning"], seeds=[3], devices=jax.devices()[:1])
    whole = alone(**OPTIONS)
    for first, second in ((together, alone), (alone, together)):
        with tempfile.TemporaryDirectory() as folder:
            made = stopped(first, folder)
            resumed = second(checkpoints=Checkpoints(folder), **OPTIONS)
        assert resumed.metrics["td_error"].shape == (1, OPTIONS["num_updates"] - made)
        chex.assert_trees_all_close(*(jax.device_get(done.state) for done in (resumed, whole)), **TOLERANCE)


def named(*checks):
    return {check.__name__.replace("_", " "): check for check in checks}


def of_one_run(*names):
    return {f"one run on eight devices: {name}": functools.partial(one_run_on_eight_devices, name) for name in names}


CHECKS = {
    "fast": named(
        tables_do_not_depend_on_devices,
        networks_depend_on_devices_within_tolerance,
        seeds_need_no_collectives,
        seeds_may_be_uneven,
        a_checkpoint_of_eight_devices_goes_on_with_fewer,
        one_run_is_divided,
    )
    | of_one_run("q_learning", "ppo"),
    "slow": named(
        two_runs_on_four_devices_each,
        a_checkpoint_of_a_shared_run_goes_on_alone,
    )
    | of_one_run(*(name for name in CASES if name not in ("q_learning", "ppo"))),
}


def main(pace):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process started in the background ignores Ctrl-C
    assert len(jax.devices()) == DEVICES
    wrong = {}
    for name, check in CHECKS[pace].items():
        try:
            check()
        except Exception:
            wrong[name] = traceback.format_exc()
        print(name, file=sys.stderr, flush=True)
    print(json.dumps(wrong))


if __name__ == "__main__":
    main(sys.argv[1])
