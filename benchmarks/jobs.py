"""Our jobs, each in a process of its own: ``python -m benchmarks.jobs '{"job": "stepping", "environment": "cartpole", ...}'``."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import envs
from benchmarks.measure import Case, outcome, serve, speed
from jaxrl import platform, provenance, rollout, runner
from jaxrl.deep import ppo
from jaxrl.evaluation import Episodes
from jaxrl.tabular import q_learning

ALGORITHMS = {"ppo": ppo, "q_learning": q_learning}
STEPS_PER_BLOCK = 64  # of each environment in one unroll


def training(algorithm: str, environment: str, seeds: int, updates: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Trains with the algorithm's default configuration, through ``jaxrl.runner.run``; a piece is ``updates`` updates."""
    module = ALGORITHMS[algorithm]
    config = module.Config()

    def build() -> Callable[[int], None]:
        env = envs.make(environment)

        def work(count: int) -> None:
            done = runner.run(module.make, env, config, seeds=seeds, num_updates=count * updates, chunk_length=updates)
            if done.summary.failed_seeds:
                raise RuntimeError(f"seeds with values that are not finite: {dict(done.summary.failed_seeds)}")

        return work

    return speed({"train": Case(build, seeds * updates * config.steps_per_update)}, seconds, _device())


def learning(algorithm: str, environment: str, seeds: int, updates: int, episodes: int) -> Iterator[dict[str, Any]]:
    """Trains once and then evaluates the policies, as they are sampled: ``returns``, the mean over episodes of each seed."""
    module = ALGORITHMS[algorithm]
    config = module.Config()

    def work() -> dict[str, Any]:
        env = envs.make(environment)
        evaluator = Episodes(env, num_episodes=episodes, modes=("sampled",))
        done = runner.run(
            module.make, env, config, seeds=seeds, num_updates=updates, chunk_length=updates, evaluators=(evaluator,)
        )
        return {"returns": done.evaluations["sampled_return"][:, -1].tolist()}

    return outcome("learn", seeds * updates * config.steps_per_update, work, _device())


def stepping(
    environment: str,
    parameters: Mapping[str, Any],
    blocks: Mapping[str, int],
    seconds: float,
    devices: int | None = None,
    reset_pool: int = 0,
) -> Iterator[dict[str, Any]]:
    """Steps an environment with uniformly random actions.

    Args:
        environment, parameters: see ``envs.make``.
        blocks: number of environments -> how many blocks of ``STEPS_PER_BLOCK`` steps make a piece.
        seconds: see ``speed``.
        devices: over how many devices the environments are spread; by default over all.
        reset_pool: see ``rollout.unroll``.
    """
    used = jax.devices()[:devices]

    def case(num_envs: int, num_blocks: int) -> Case:
        shared = used[:num_envs]
        per_device = -(-num_envs // len(shared))

        def build() -> Callable[[int], None]:
            env = envs.make(environment, **parameters)
            mesh = Mesh(np.asarray(shared), ("environment",))
            keys = jax.random.split(jax.random.key(0), len(shared))
            keys = jax.device_put(keys, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))
            state = keys, begin(mesh, per_device, env, keys)

            def work(count: int) -> None:
                nonlocal state
                seen = None
                for _ in range(count):
                    state, seen = step_blocks(mesh, num_blocks, reset_pool, env, *state)
                jax.block_until_ready((state, seen))

            return work

        return Case(build, per_device * len(shared) * num_blocks * STEPS_PER_BLOCK)

    return speed({width: case(int(width), count) for width, count in blocks.items()}, seconds, _device())


@functools.partial(jax.jit, static_argnames=("mesh", "per_device"))
def begin(mesh: Mesh, per_device: int, env: Any, keys: jax.Array) -> rollout.Episode:
    """Begins ``per_device`` episodes on each of D devices; keys: [D]."""
    return _on_each_device(mesh, lambda env, keys: rollout.start(keys[0], env, per_device), env, keys)


@functools.partial(jax.jit, static_argnames=("mesh", "num_blocks", "reset_pool"), donate_argnames=("episodes",))
def step_blocks(mesh: Mesh, num_blocks: int, reset_pool: int, env: Any, keys: jax.Array, episodes: rollout.Episode) -> Any:
    """Takes ``num_blocks * STEPS_PER_BLOCK`` random steps in every environment.

    Args:
        mesh: D devices.
        num_blocks, reset_pool: see ``stepping``.
        env: the environment.
        keys: [D].
        episodes: where the environments stand, spread over the devices.

    Returns:
        The next ``(keys, episodes)``, and the sums over all steps of observations, rewards and ends of episodes, float32[D]
        each. Without the sums the compiler would leave out what nobody looks at.
    """
    policy = rollout.uniform_policy(env)

    def on_device(env, keys, episodes):
        def block(carry, key):
            episodes, sums = carry
            episodes, batch = rollout.unroll(key, env, policy, episodes, STEPS_PER_BLOCK, reset_pool)
            seen = _total(batch.next_obs), _total(batch.reward), _total(batch.done)
            return (episodes, jax.tree.map(jnp.add, sums, seen)), None

        next_key, blocks_key = jax.random.split(keys[0])
        start = episodes, (jnp.float32(0),) * 3
        (episodes, sums), _ = jax.lax.scan(block, start, jax.random.split(blocks_key, num_blocks))
        return (next_key[None], episodes), jax.tree.map(lambda total: total[None], sums)

    return _on_each_device(mesh, on_device, env, keys, episodes)


def _on_each_device(mesh: Mesh, function: Callable, env: Any, *split: Any) -> Any:
    spread, replicated = PartitionSpec(mesh.axis_names), PartitionSpec()
    specs = (replicated, *(spread for _ in split))
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=spread, check_vma=False)(env, *split)


def _total(tree: Any) -> jax.Array:
    return sum((jnp.sum(leaf, dtype=jnp.float32) for leaf in jax.tree.leaves(tree)), jnp.float32(0))


def machine() -> Iterator[dict[str, Any]]:
    """Reports the versions and devices, and which environments there are."""
    yield {"versions": provenance.versions(), "environments": sorted(envs.REGISTRY)}


def _device() -> str:
    return jax.devices()[0].device_kind


JOBS: Mapping[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "machine": machine,
    "training": training,
    "learning": learning,
    "stepping": stepping,
}

if __name__ == "__main__":
    platform.setup()
    serve(JOBS)
