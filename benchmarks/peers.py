"""The peers' jobs, written as their users would write them: vmapped and jitted, on one device.

Runs in an interpreter of its own, which need not have jaxrl.

rejax: PPO, DQN and PQN on gymnax's CartPole, SAC and TD3 on its Pendulum. gymnax, JaxMARL and navix: random steps.
stable-baselines3: PPO on Gymnasium's CartPole. torch: the fit of a reward model. scipy: linear programmes. mctx: AlphaZero on
tic-tac-toe. flax and optax: behaviour cloning and CQL.
"""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from benchmarks.measure import Case, outcome, serve, speed

STEPS_PER_BLOCK = 64  # as in our jobs
NUM_ENVS, NUM_STEPS = 4, 128
# The configuration of jaxrl.algorithms.deep.ppo.Config in rejax's words.
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
REPLAYED = {"fill_buffer": 0}
ALGORITHMS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "ppo": ("CartPole-v1", PPO),
    "dqn": ("CartPole-v1", REPLAYED),
    "sac": ("Pendulum-v1", REPLAYED),
    "td3": ("Pendulum-v1", REPLAYED),
    "pqn": ("CartPole-v1", {}),
}


def rejax_training(algorithm: str, seeds: int, steps: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Trains without any evaluation; a piece is ``steps`` environment steps of each seed, going on where the last one ended."""
    import jax
    import rejax

    def build() -> Callable[[int], None]:
        budget = {"total_timesteps": steps, "eval_freq": steps, "skip_initial_evaluation": True}
        environment, config = ALGORITHMS[algorithm]
        learner = rejax.get_algo(algorithm).create(env=environment, **budget, **config)
        learner = learner.replace(eval_callback=lambda learner, state, key: ())
        return _learners(seeds, learner.init_state, lambda state: learner.train(train_state=state), 1)

    return speed({"train": Case(build, seeds * steps)}, seconds, jax.devices()[0].device_kind)


def _learners(seeds: int, init: Callable, step: Callable, calls: int) -> Callable[[int], None]:
    """Returns the work of a learner, or of several that are vmapped, each piece going on where the last one ended.

    Args:
        seeds: how many learners.
        init, step: ``(key) -> state`` and ``(state) -> (state, anything)`` of one.
        calls: of ``step`` in one piece.
    """
    import jax

    key = jax.random.PRNGKey(0)
    if seeds > 1:
        init, step, key = jax.vmap(init), jax.vmap(step), jax.random.split(key, seeds)
    step = jax.jit(step)
    state = jax.jit(init)(key)

    def work(count: int) -> None:
        nonlocal state
        found = None
        for _ in range(count * calls):
            state, found = step(state)
        jax.block_until_ready((state, found))

    return work


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


def mctx_training(config: Mapping[str, Any], seeds: int, updates: int, learns: bool, seconds: float) -> Iterator[dict[str, Any]]:
    """Plays tic-tac-toe against itself, and ``learns`` from it or not; a piece is ``updates`` updates, a step a move."""
    import jax

    from benchmarks import mctx_alphazero

    sizes = mctx_alphazero.Config(**config)

    def build() -> Callable[[int], None]:
        init, self_play, update = mctx_alphazero.loop(sizes)
        return _learners(seeds, init, update if learns else self_play, updates)

    steps = seeds * updates * sizes.num_envs * sizes.num_steps
    return speed({"train": Case(build, steps)}, seconds, jax.devices()[0].device_kind)


def flax_training(
    algorithm: str, config: Mapping[str, Any], episodes: int, length: int, seeds: int, steps: int, scanned: bool, seconds: float
) -> Iterator[dict[str, Any]]:
    """Learns from a data set in memory; a piece is ``steps`` gradient steps of each seed.

    ``scanned`` has them in one program with the data, otherwise a jitted step follows minibatches that numpy draws.
    """
    import jax

    from benchmarks import flax_offline, offline_data

    sizes = flax_offline.Config(**config)

    def build() -> Callable[[int], None]:
        drawn = offline_data.draw(episodes, length)
        data = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), drawn)
        init, step = flax_offline.learner(algorithm, sizes)
        if not scanned:
            read = ("obs", "action") if algorithm == "behaviour_cloning" else data._fields
            return _minibatches(seeds, init, step, data, read, sizes.batch_size, steps)
        learn = flax_offline.scanned(step, jax.device_put(data), sizes.batch_size, steps)
        return _learners(seeds, lambda key: (key, init(key)), learn, 1)

    return speed({"train": Case(build, seeds * steps)}, seconds, jax.devices()[0].device_kind)


def _minibatches(
    seeds: int, init: Callable, step: Callable, data: Any, read: Sequence[str], batch_size: int, steps: int
) -> Callable[[int], None]:
    """Returns the work of learners whose minibatches numpy draws: ``steps`` calls of a jitted step in one piece.

    Args:
        seeds: how many learners, vmapped.
        init, step: ``(key) -> state`` and ``(state, batch) -> (state, loss)`` of one.
        data: arrays [N, ...] in a named tuple, of which only the fields ``read`` are looked at.
        batch_size, steps: of a minibatch and of a piece.
    """
    import jax
    import numpy as np

    rng, key, shape = np.random.default_rng(0), jax.random.PRNGKey(0), (batch_size,)
    if seeds > 1:
        init, step, key, shape = jax.vmap(init), jax.vmap(step), jax.random.split(key, seeds), (seeds, batch_size)
    step = jax.jit(step, donate_argnums=0)
    state = jax.jit(init)(key)
    blank = {name: None for name in data._fields if name not in read}

    def work(count: int) -> None:
        nonlocal state
        for _ in range(count * steps):
            places = rng.integers(len(data.action), size=shape)
            state, _ = step(state, data._replace(**blank, **{name: getattr(data, name)[places] for name in read}))
        jax.block_until_ready(state)

    return work


def gymnax_stepping(environment: str, blocks: Mapping[str, int], seconds: float) -> Iterator[dict[str, Any]]:
    """Steps an environment with uniformly random actions; arguments as for our job."""
    import gymnax

    def connect() -> tuple[Callable, Callable, Callable]:
        env, params = gymnax.make(environment)

        def step(key, state, action):
            obs, state, reward, done, _ = env.step(key, state, action, params)
            return state, (obs, reward, done)

        return lambda key: env.reset(key, params)[1], env.action_space(params).sample, step

    return _random_stepping(connect, blocks, seconds)


def jaxmarl_stepping(environment: str, blocks: Mapping[str, int], seconds: float) -> Iterator[dict[str, Any]]:
    """Steps an environment with uniformly random actions of all agents; arguments as for our job."""
    import jax
    import jaxmarl

    def connect() -> tuple[Callable, Callable, Callable]:
        env = jaxmarl.make(environment)

        def sample(key):
            keys = jax.random.split(key, env.num_agents)
            return {agent: env.action_space(agent).sample(keys[i]) for i, agent in enumerate(env.agents)}

        def step(key, state, action):
            obs, state, reward, done, _ = env.step(key, state, action)
            return state, (obs, reward, done["__all__"])

        return lambda key: env.reset(key)[1], sample, step

    return _random_stepping(connect, blocks, seconds)


def navix_stepping(environment: str, blocks: Mapping[str, int], seconds: float) -> Iterator[dict[str, Any]]:
    """Steps an environment with uniformly random actions; arguments as for our job."""
    import navix

    def connect() -> tuple[Callable, Callable, Callable]:
        env = navix.make(environment)

        def step(key, timestep, action):
            after = env.step(timestep, action)  # its states carry their own keys
            return after, (after.observation, after.reward, after.is_done())

        return env.reset, env.action_space.sample, step

    return _random_stepping(connect, blocks, seconds)


def _random_stepping(
    connect: Callable[[], tuple[Callable, Callable, Callable]], blocks: Mapping[str, int], seconds: float
) -> Iterator[dict[str, Any]]:
    """Steps environments with uniformly random actions.

    Args:
        connect: ``() -> (reset, sample, step)``, each for one environment: ``(key) -> state``, ``(key) -> action`` and
            ``(key, state, action) -> (state, (obs, reward, done))``.
        blocks, seconds: as for our job.
    """
    import jax
    import jax.numpy as jnp

    def total(tree) -> Any:
        return sum((jnp.sum(leaf, dtype=jnp.float32) for leaf in jax.tree.leaves(tree)), jnp.float32(0))

    def case(num_envs: int, num_blocks: int) -> Case:
        def build() -> Callable[[int], None]:
            reset, sample, step_one = connect()

            def step(state, key):
                action_key, step_key = jax.random.split(key)
                action = jax.vmap(sample)(jax.random.split(action_key, num_envs))
                return jax.vmap(step_one)(jax.random.split(step_key, num_envs), state, action)

            def block(carry, key):
                state, sums = carry
                state, seen = jax.lax.scan(step, state, jax.random.split(key, STEPS_PER_BLOCK))
                return (state, jax.tree.map(jnp.add, sums, tuple(total(part) for part in seen))), None

            @jax.jit
            def step_blocks(key, state):
                next_key, blocks_key = jax.random.split(key)
                start = state, (jnp.float32(0),) * 3
                (state, sums), _ = jax.lax.scan(block, start, jax.random.split(blocks_key, num_blocks))
                return (next_key, state), sums

            keys = jax.random.split(jax.random.PRNGKey(1), num_envs)
            state = jax.random.PRNGKey(0), jax.jit(jax.vmap(reset))(keys)

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


def torch_reward_fit(pairs: int, length: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Fits a reward model as our job does: the same network, data, minibatches and optimiser; a piece is one epoch."""
    import torch

    def build() -> Callable[[int], None]:
        torch.manual_seed(0)
        obs = torch.randn(pairs, 2, length, 4)
        action = torch.nn.functional.one_hot(torch.randint(2, (pairs, 2, length)), 2).float()
        data, label = torch.cat([obs, action], -1), torch.randint(2, (pairs,)).float()
        layers = (torch.nn.Linear(6, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        network = torch.nn.Sequential(*layers)
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
        loss = torch.nn.BCEWithLogitsLoss()

        def work(count: int) -> None:
            for _ in range(count):
                for batch in torch.randperm(pairs).chunk(10):
                    score = network(data[batch]).sum((-1, -2))
                    optimiser.zero_grad()
                    loss(score[:, 0] - score[:, 1], label[batch]).backward()
                    optimiser.step()

        return work

    return speed({"train": Case(build, pairs)}, seconds, "cpu")


def linear_programmes(games: int, actions: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Solves random zero-sum games by linear programming, ``max v`` with ``v <= x' R``; a piece is all games, a step a game."""
    import numpy as np
    from scipy import optimize

    def build() -> Callable[[int], None]:
        rows = np.random.default_rng(0).normal(size=(games, actions, actions))
        cost = np.append(np.zeros(actions), -1.0)
        equal = np.append(np.ones(actions), 0.0)[None]
        bounds = [(0, None)] * actions + [(None, None)]

        def work(count: int) -> None:
            for row in rows[np.arange(count * games) % games]:
                most = np.column_stack([-row.T, np.ones(actions)])
                solution = optimize.linprog(cost, most, np.zeros(actions), equal, np.ones(1), bounds, method="highs")
                if solution.status:
                    raise RuntimeError(solution.message)

        return work

    return speed({"solve": Case(build, games)}, seconds, "cpu")


def versions(packages: list[str]) -> Iterator[dict[str, Any]]:
    """Reports the versions of this interpreter and of these packages."""
    yield {"python": platform.python_version(), "packages": {name: metadata.version(name) for name in packages}}


JOBS: Mapping[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "versions": versions,
    "rejax_training": rejax_training,
    "rejax_learning": rejax_learning,
    "mctx_training": mctx_training,
    "flax_training": flax_training,
    "gymnax_stepping": gymnax_stepping,
    "jaxmarl_stepping": jaxmarl_stepping,
    "navix_stepping": navix_stepping,
    "stable_baselines3_training": stable_baselines3_training,
    "torch_reward_fit": torch_reward_fit,
    "linear_programmes": linear_programmes,
}

if __name__ == "__main__":
    serve(JOBS)
