"""Our jobs, each in a process of its own: ``python -m benchmarks.jobs '{"job": "stepping", "environment": "cartpole", ...}'``."""

import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import envs
from benchmarks import game_data, offline_data
from benchmarks.measure import Case, outcome, serve, speed
from jaxrl.algorithms.deep import dqn, ppo, pqn, sac, td3
from jaxrl.algorithms.multiagent import mappo
from jaxrl.algorithms.offline import behaviour_cloning, cql
from jaxrl.algorithms.planning import alphazero
from jaxrl.algorithms.preferences import reward_fitting
from jaxrl.algorithms.preferences.reward_models import MLP
from jaxrl.algorithms.preferences.segments import Preferences, Segments
from jaxrl.algorithms.tabular import q_learning
from jaxrl.blocks.datasets import Dataset
from jaxrl.core import rollout
from jaxrl.core.environment import Step
from jaxrl.core.finite import from_table, tabulate
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box, Discrete
from jaxrl.evaluation import Episodes
from jaxrl.results import provenance
from jaxrl.results.progress import Progress
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.solvers import cfr, dynamics, extensive
from jaxrl.solvers.dynamics import regret_matching
from jaxrl.training import data_parallel, platform, runner
from jaxrl.training.checkpoint import Checkpoints

ALGORITHMS = {"dqn": dqn, "mappo": mappo, "ppo": ppo, "pqn": pqn, "q_learning": q_learning, "sac": sac, "td3": td3}
ALGORITHMS |= {"alphazero": alphazero, "behaviour_cloning": behaviour_cloning, "cql": cql}
STEPS_PER_BLOCK = 64  # of each environment in one unroll
SOLVER_STEPS = 1536  # on 1024 games of another key 1024 were enough for all
SOLVED = 1e-3  # NashConv


def training(
    algorithm: str,
    environment: str,
    seeds: int,
    updates: int,
    seconds: float,
    changes: Mapping[str, Any] | None = None,
    recorded: bool = False,
    devices: int | None = None,
    together: bool = False,
) -> Iterator[dict[str, Any]]:
    """Trains with the algorithm's default configuration, changed if asked for, through ``jaxrl.training.runner.run``.

    A piece is ``updates`` updates. With ``recorded`` a results folder, lines of progress and checkpoints follow it, as the
    command line has them. ``devices`` says how many are used, by default all; with ``together`` they share every seed.
    """
    module, config = ALGORITHMS[algorithm], _configured(algorithm, changes)

    def build() -> Callable[[int], None]:
        env = envs.make(environment)

        def work(count: int) -> None:
            options: dict[str, Any] = {"run": data_parallel.run} if together else {}
            with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
                if recorded:
                    directory = RunDirectory(Path(folder))
                    options["sinks"] = (Recorder(directory), Progress(stream=nowhere))
                    options["checkpoints"] = Checkpoints(directory.checkpoints())
                used = jax.local_devices()[:devices]
                _run(module.make, env, config, seeds, updates, count, devices=used, **options)

        return work

    return speed({"train": Case(build, seeds * updates * config.steps_per_update)}, seconds, _device())


def offline(
    algorithm: str,
    episodes: int,
    length: int,
    seeds: int,
    updates: int,
    seconds: float,
    changes: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Learns from a data set in memory that the seeds share; a piece is ``updates`` updates, a step a gradient step."""
    module, config = ALGORITHMS[algorithm], _configured(algorithm, changes)

    def build() -> Callable[[int], None]:
        data = jax.device_put(data_set(episodes, length))
        return functools.partial(_run, module.make, data, config, seeds, updates)

    return speed({"train": Case(build, seeds * updates * config.num_gradient_steps)}, seconds, _device())


def data_set(episodes: int, length: int) -> Dataset:
    """Returns random episodes of ``length`` steps each, cut by a time limit."""
    steps = offline_data.draw(episodes, length)
    last = np.broadcast_to(np.arange(length) == length - 1, (episodes, length))
    rest: dict[str, Any] = dict.fromkeys(("mask", "next_mask", "log_prob"))
    rest["observation_space"] = Box(-np.inf, np.inf, (offline_data.OBS_SIZE,))
    rest["action_space"] = Discrete(offline_data.NUM_ACTIONS)
    return Dataset(*steps, last, np.ones_like(last), **rest)


def _configured(algorithm: str, changes: Mapping[str, Any] | None) -> Any:
    """Returns the default configuration with changes; lists, which came as JSON, are tuples."""
    items = (changes or {}).items()
    return ALGORITHMS[algorithm].Config(**{name: tuple(value) if isinstance(value, list) else value for name, value in items})


def _run(make: Any, task: Any, config: Any, seeds: int, updates: int, count: int, run: Any = runner.run, **options: Any) -> None:
    """Trains for ``count`` chunks of ``updates`` updates, and fails if a seed does."""
    done = run(make, task, config, seeds=seeds, num_updates=count * updates, chunk_length=updates, **options)
    if done.summary.failed_seeds:
        raise RuntimeError(f"seeds with values that are not finite: {dict(done.summary.failed_seeds)}")


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


def reward_fit(seeds: int, pairs: int, length: int, epochs: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Fits a 2x64 network to comparisons of segments, ten minibatches an epoch; a piece is ``epochs`` epochs of each seed."""
    model = MLP(Box(-np.inf, np.inf, (4,)), Discrete(2))
    config = reward_fitting.Config(model, num_epochs=epochs)

    def build() -> Callable[[int], None]:
        obs_key, action_key, label_key = jax.random.split(jax.random.key(0), 3)
        obs = jax.random.normal(obs_key, (2 * pairs, length, 4))
        action = jax.random.randint(action_key, (2 * pairs, length), 0, 2, jnp.int32)
        pool = Segments(obs, action, obs, jnp.ones((2 * pairs, length), bool))
        number = jnp.arange(pairs, dtype=jnp.int32)
        label = jax.random.bernoulli(label_key, shape=(pairs,)).astype(jnp.float32)
        data = Preferences(pool, number, number + pairs, label, jnp.ones(pairs))
        return functools.partial(_run, reward_fitting.make, data, config, seeds, 1)

    return speed({"train": Case(build, seeds * epochs * pairs)}, seconds, _device())


def zero_sum_games(games: int, actions: int, width: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Solves random zero-sum games in one compiled call, and fails unless the NashConv of each ends at ``SOLVED`` or below.

    A piece is all games, a step is a game; ``width`` games are vmapped, and these groups follow one another.
    """

    def build() -> Callable[[int], None]:
        rows = np.random.default_rng(0).normal(size=(games, actions, actions))
        payoffs = jnp.asarray(np.stack([rows, -rows], 1), jnp.float32)

        def work(count: int) -> None:
            for _ in range(count):
                worst = float(solve_games(width, payoffs).max())
                if worst > SOLVED:
                    raise RuntimeError(f"a game was not solved: its NashConv is {worst}")

        return work

    return speed({"solve": Case(build, games)}, seconds, _device())


@functools.partial(jax.jit, static_argnames=("width",))
def solve_games(width: int, payoffs: jax.Array) -> jax.Array:
    """Returns the NashConv of every game's average strategies, float32[G]; payoffs: float32[G, 2, A, B]."""
    solve = functools.partial(
        regret_matching, num_steps=SOLVER_STEPS, plus=True, predictive=True, alternating=True, averaging=1.0
    )
    return jax.lax.map(solve, payoffs, batch_size=width).history.average_nash_conv[:, -1]


def extensive_form(game: str, iterations: int, examined: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Solves a game in extensive form by CFR+ in one compiled call; a piece is ``iterations`` iterations, from the first on.

    The answer is the value after them, and the exploitability after ``examined`` iterations.
    """

    def build() -> Callable[[int], Any]:
        tree = extensive.from_environment(envs.make(game))
        return _again(lambda: solve_extensive(iterations, tree))

    def answer(course: cfr.Course) -> Mapping[str, Any]:
        early = solve_extensive(examined, extensive.from_environment(envs.make(game)))
        return {"value": course.value[-1, 0], "exploitability": early.exploitability[-1]}

    return speed({"iterate": Case(build, iterations, answer)}, seconds, _device())


def normal_form(dynamic: str, actions: int, steps: int, seconds: float, stride: int = 1) -> Iterator[dict[str, Any]]:
    """Follows a dynamic in one compiled call; a piece is ``steps`` steps, from the first on. See ``follow``.

    The replicator makes ``stride`` of its steps in one, so that fewer lead as far.
    """
    table = game_data.payoffs(actions)

    def build() -> Callable[[int], Any]:
        payoff = jnp.asarray(table, jnp.float32)
        return _again(lambda: follow(dynamic, steps // stride, stride, payoff))

    return speed({"iterate": Case(build, steps, lambda profile: game_data.described(table, *profile))}, seconds, _device())


@functools.partial(jax.jit, static_argnames=("iterations",))
def solve_extensive(iterations: int, game: extensive.ExtensiveGame) -> cfr.Course:
    """Makes so many iterations of CFR+."""
    return cfr.cfr(game, iterations, cfr.PLUS)


@functools.partial(jax.jit, static_argnames=("dynamic", "steps", "stride"))
def follow(dynamic: str, steps: int, stride: int, payoff: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the averages of fictitious play, or the last profile of the replicator, in steps of ``stride * STEP``.

    payoff: float32[2, A, A].
    """
    if dynamic == "fictitious_play":
        return dynamics.fictitious_play(payoff, steps).average
    start = game_data.uniform(payoff.shape[1])
    return dynamics.replicator(payoff, steps, start=start, step_size=stride * game_data.STEP).profile


def _again(solve: Callable[[], Any]) -> Callable[[int], Any]:
    """Returns work each piece of which solves the same from the beginning; it returns the answer."""

    def work(count: int) -> Any:
        found = None
        for _ in range(count):
            found = jax.block_until_ready(solve())
        return found

    return work


def stepping(
    environment: str,
    parameters: Mapping[str, Any],
    blocks: Mapping[str, int],
    seconds: float,
    devices: int | None = None,
    reset_pool: int | None = 0,
    tabulated: bool = False,
) -> Iterator[dict[str, Any]]:
    """Steps an environment with uniformly random actions.

    Args:
        environment, parameters: see ``envs.make``.
        blocks: number of environments -> how many blocks of ``STEPS_PER_BLOCK`` steps make a piece.
        seconds: see ``speed``.
        devices: over how many devices the environments are spread; by default over all.
        reset_pool: see ``rollout.unroll``; None steps on and on, without any account of time or episodes, which is wrong and
            shows what the account costs.
        tabulated: whether the environment is first made into its table, whose observation is the state's number.
    """
    used = jax.devices()[:devices]

    def case(num_envs: int, num_blocks: int) -> Case:
        shared = used[:num_envs]
        per_device = -(-num_envs // len(shared))

        def build() -> Callable[[int], None]:
            env = envs.make(environment, **parameters)
            if tabulated:
                env = from_table(tabulate(env), env.max_steps)
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
def step_blocks(mesh: Mesh, num_blocks: int, reset_pool: int | None, env: Any, keys: jax.Array, episodes: rollout.Episode) -> Any:
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
            if reset_pool is None:
                episodes, steps = _step_on(key, env, policy, episodes)
                seen = _total(steps.obs), _total(steps.reward), _total(steps.terminated)
            else:
                episodes, batch = rollout.unroll(key, env, policy, episodes, STEPS_PER_BLOCK, reset_pool)
                seen = _total(batch.next_obs), _total(batch.reward), _total(batch.done)
            return (episodes, jax.tree.map(jnp.add, sums, seen)), None

        next_key, blocks_key = jax.random.split(keys[0])
        start = episodes, (jnp.float32(0),) * 3
        (episodes, sums), _ = jax.lax.scan(block, start, jax.random.split(blocks_key, num_blocks))
        return (next_key[None], episodes), jax.tree.map(lambda total: total[None], sums)

    return _on_each_device(mesh, on_device, env, keys, episodes)


def _step_on(key: jax.Array, env: Any, policy: rollout.Policy, episodes: rollout.Episode) -> tuple[rollout.Episode, Step]:
    """Takes ``STEPS_PER_BLOCK`` steps in every environment, past the ends of episodes."""
    num_envs = episodes.t.shape[0]

    def step(episodes, keys):
        policy_key, step_keys = keys
        decision = policy(policy_key, rollout.view(env, episodes))
        steps = jax.vmap(env.step)(step_keys, episodes.state, decision.action)
        return episodes.replace(state=steps.state, obs=steps.obs), steps

    policy_key, step_key = jax.random.split(key)
    keys = jax.random.split(policy_key, STEPS_PER_BLOCK), jax.random.split(step_key, (STEPS_PER_BLOCK, num_envs))
    return scan(step, episodes, keys)


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
    "offline": offline,
    "learning": learning,
    "reward_fit": reward_fit,
    "zero_sum_games": zero_sum_games,
    "extensive_form": extensive_form,
    "normal_form": normal_form,
    "stepping": stepping,
}

if __name__ == "__main__":
    platform.setup()
    serve(JOBS)
