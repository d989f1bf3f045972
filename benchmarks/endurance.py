"""The jobs of the soak that stay in one process: ``python -m benchmarks.endurance '{"job": "repeat"}'``.

What a process keeps is read from ``/proc``, so these jobs need Linux.
"""

import gc
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import envs
from benchmarks.measure import serve
from jaxrl.algorithms.deep import dqn, ppo
from jaxrl.algorithms.multiagent import mappo
from jaxrl.algorithms.preferences import reward_fitting
from jaxrl.algorithms.preferences.reward_models import MLP
from jaxrl.algorithms.preferences.segments import Preferences, Segments
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.environment import Environment
from jaxrl.evaluation import Episodes
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.training import platform, runner
from jaxrl.training.checkpoint import Checkpoints

RUNS = ("q_learning", "ppo", "dqn", "mappo", "reward_fitting")
SHAPES = 6


def held() -> dict[str, int]:
    """Returns what this process holds: resident bytes, memory maps, open files, threads, live arrays and their bytes."""
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    arrays = jax.live_arrays()
    return {
        "bytes": 1024 * int(next(line.split()[1] for line in status if line.startswith("VmRSS"))),
        "maps": len(Path("/proc/self/maps").read_text().splitlines()),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "arrays": len(arrays),
        "array_bytes": sum(array.nbytes for array in arrays),
    }


def repeat() -> Iterator[dict[str, Any]]:
    """Trains five small runs again and again, each with tables, checkpoints and evaluations in a folder of its own.

    Everything is built anew each time, as a program does that compares settings: nothing may be compiled again or kept. Reports
    what is held after each round.
    """
    for number in itertools.count():
        for name in RUNS:
            make, task, config = _setting(name)
            evaluators = (Episodes(task, num_episodes=4),) if isinstance(task, Environment) else ()
            with tempfile.TemporaryDirectory() as folder:
                directory = RunDirectory.create(folder, name, config)
                done = runner.run(
                    make,
                    task,
                    config,
                    seeds=2,
                    num_updates=4,
                    chunk_length=2,
                    root=number,
                    evaluators=evaluators,
                    sinks=(Recorder(directory),),
                    checkpoints=Checkpoints(directory.checkpoints(), seconds_between=0.0),
                )
                if done.summary.failed_seeds:
                    raise RuntimeError(f"{name}: seeds with values that are not finite: {dict(done.summary.failed_seeds)}")
                directory.close()
        del done
        yield {"round": number, "runs": (number + 1) * len(RUNS), **held()}


def _setting(name: str) -> tuple[Any, Any, Any]:
    small = {"num_envs": 4, "num_steps": 8, "num_epochs": 1, "num_minibatches": 2, "hidden": (8,)}
    if name == "q_learning":
        return q_learning.make, envs.make("frozen_lake"), q_learning.Config(num_steps=64)
    if name == "ppo":
        return ppo.make, envs.make("cartpole"), ppo.Config(**small)
    if name == "dqn":
        sizes: dict[str, Any] = {"num_rounds": 4, "buffer_size": 64, "learning_starts": 32, "batch_size": 16, "hidden": (8,)}
        return dqn.make, envs.make("catch"), dqn.Config(**sizes)
    if name == "mappo":
        return mappo.make, envs.make("simple_spread"), mappo.Config(**small)
    env = envs.make("cartpole")
    model = MLP(env.observation_space, env.action_space)
    return reward_fitting.make, _comparisons(env, 40), reward_fitting.Config(model, num_epochs=1)


def _comparisons(env: Environment, pairs: int) -> Preferences:
    obs_key, action_key = jax.random.split(jax.random.key(0))
    obs = jax.vmap(jax.vmap(env.observation_space.sample))(jax.random.split(obs_key, (2 * pairs, 10)))
    action = jax.random.randint(action_key, (2 * pairs, 10), 0, 2, jnp.int32)
    number = jnp.arange(pairs, dtype=jnp.int32)
    pool = Segments(obs, action, obs, jnp.ones((2 * pairs, 10), bool))
    return Preferences(pool, number, number + pairs, (number % 2).astype(jnp.float32), jnp.ones(pairs))


def shapes() -> Iterator[dict[str, Any]]:
    """Trains PPO in ``SHAPES`` different shapes, each a program of its own, and then forgets what was compiled.

    Reports what is held before, after every shape, and after ``jax.clear_caches``.
    """
    yield {"step": "before", **held()}
    for number in range(SHAPES):
        config = ppo.Config(num_envs=4, num_steps=8 + number, num_epochs=1, num_minibatches=1, hidden=(8,))
        env = envs.make("cartpole")
        runner.run(ppo.make, env, config, seeds=2, num_updates=2, chunk_length=1, evaluators=(Episodes(env, num_episodes=4),))
        yield {"step": f"{number + 1} shapes", **held()}
    jax.clear_caches()
    yield {"step": "cleared", **held()}


if __name__ == "__main__":
    platform.setup()
    serve({"repeat": repeat, "shapes": shapes})
