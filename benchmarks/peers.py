"""The peers' jobs, written as their users would write them: vmapped and jitted, on one device.

Runs in an interpreter of its own, which need not have jaxrl.

rejax: PPO and DQN on gymnax's CartPole. gymnax: random steps. stable-baselines3: PPO on Gymnasium's CartPole.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any

from benchmarks.measure import Case, outcome, serve, speed

STEPS_PER_BLOCK = 64  # as in our jobs
NUM_ENVS, NUM_STEPS = 4, 128
# The configuration of jaxrl.deep.ppo.Config in rejax's words.
PPO = {
    "num_envs": NUM_ENVS,
    "num_steps": NUM_STEPS,
    "num_epochs": 4,
    "num_minibatches": 4,
    "learning_rate": 2.5e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_eps": 0.2,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "agent_kwargs": {"activation": "tanh", "hidden_layer_sizes": (64, 64)},
}
# The default configuration, but learning from the first step on, so that every piece costs the same.
DQN = {"fill_buffer": 0}
ALGORITHMS: Mapping[str, dict[str, Any]] = {"ppo": PPO, "dqn": DQN}


def rejax_training(algorithm: str, seeds: int, steps: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Trains without any evaluation; a piece is ``steps`` environment steps of each seed, going on where the last one ended."""
    import jax
    import rejax

    def build() -> Callable[[int], None]:
        budget = {"total_timesteps": steps, "eval_freq": steps, "skip_initial_evaluation": True}
        learner = rejax.get_algo(algorithm).create(env="CartPole-v1", **budget, **ALGORITHMS[algorithm])
        learner = learner.replace(eval_callback=lambda learner, state, key: ())
        init, train = learner.init_state, lambda state: learner.train(train_state=state)[0]
        key = jax.random.PRNGKey(0)
        if seeds > 1:
            init, train, key = jax.vmap(init), jax.vmap(train), jax.random.split(key, seeds)
        train = jax.jit(train)
        state = jax.jit(init)(key)

        def work(count: int) -> None:
            nonlocal state
            for _ in range(count):
                state = train(state)
            jax.block_until_ready(state)

        return work

    return speed({"train": Case(build, seeds * steps)}, seconds, jax.devices()[0].device_kind)


def rejax_learning(seeds: int, steps: int) -> Iterator[dict[str, Any]]:
    """Trains PPO once and then evaluates it, rejax's way (128 episodes): ``returns``, the mean of each seed."""
    import jax
    import rejax

    def work() -> dict[str, Any]:
        budget = {"total_timesteps": steps, "eval_freq": steps, "skip_initial_evaluation": True}
        learner = rejax.get_algo("ppo").create(env="CartPole-v1", **budget, **PPO)
        _, (_, returns) = jax.jit(jax.vmap(learner.train))(jax.random.split(jax.random.PRNGKey(0), seeds))
        return {"returns": returns[:, -1].mean(-1).tolist()}

    return outcome("learn", seeds * steps, work, jax.devices()[0].device_kind)


def gymnax_stepping(environment: str, blocks: Mapping[str, int], seconds: float) -> Iterator[dict[str, Any]]:
    """Steps an environment with uniformly random actions; arguments as for our job."""
    import gymnax
    import jax
    import jax.numpy as jnp

    def case(num_envs: int, num_blocks: int) -> Case:
        def build() -> Callable[[int], None]:
            env, params = gymnax.make(environment)

            def step(carry, key):
                obs, state = carry
                action_key, step_key = jax.random.split(key)
                action = jax.vmap(env.action_space(params).sample)(jax.random.split(action_key, num_envs))
                keys = jax.random.split(step_key, num_envs)
                obs, state, reward, done, _ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys, state, action, params)
                return (obs, state), (obs, reward, done)

            def block(carry, key):
                carry, sums = carry
                carry, seen = jax.lax.scan(step, carry, jax.random.split(key, STEPS_PER_BLOCK))
                return (
                    carry,
                    tuple(total + jnp.sum(leaf, dtype=jnp.float32) for total, leaf in zip(sums, seen, strict=True)),
                ), None

            @jax.jit
            def step_blocks(key, carry):
                next_key, blocks_key = jax.random.split(key)
                start = carry, (jnp.float32(0),) * 3
                (carry, sums), _ = jax.lax.scan(block, start, jax.random.split(blocks_key, num_blocks))
                return (next_key, carry), sums

            reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
            state = jax.random.PRNGKey(0), reset(jax.random.split(jax.random.PRNGKey(1), num_envs), params)

            def work(count: int) -> None:
                nonlocal state
                seen = None
                for _ in range(count):
                    state, seen = step_blocks(*state)
                jax.block_until_ready((state, seen))

            return work

        return Case(build, num_envs * num_blocks * STEPS_PER_BLOCK)

    return speed({width: case(int(width), count) for width, count in blocks.items()}, seconds, jax.devices()[0].device_kind)


def stable_baselines3_training(seconds: float) -> Iterator[dict[str, Any]]:
    """Trains PPO with the library's default configuration; a piece is one rollout of 2048 steps and the learning from it."""
    from stable_baselines3 import PPO

    steps = 2048

    def build() -> Callable[[int], None]:
        model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu")  # the device that the library advises for it

        def work(count: int) -> None:
            for _ in range(count):
                model.learn(steps, reset_num_timesteps=False)

        return work

    return speed({"train": Case(build, steps)}, seconds, "cpu")


def versions(packages: list[str]) -> Iterator[dict[str, Any]]:
    """Reports the versions of this interpreter and of these packages."""
    yield {"python": platform.python_version(), "packages": {name: metadata.version(name) for name in packages}}


JOBS: Mapping[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "versions": versions,
    "rejax_training": rejax_training,
    "rejax_learning": rejax_learning,
    "gymnax_stepping": gymnax_stepping,
    "stable_baselines3_training": stable_baselines3_training,
}

if __name__ == "__main__":
    serve(JOBS)
