"""The peers' jobs, written as their users would write them: vmapped and jitted, on one device.

Runs in an interpreter of its own, which need not have jaxrl.

rejax: PPO, DQN and PQN on gymnax's CartPole, SAC and TD3 on its Pendulum. gymnax, JaxMARL and navix: random steps; JaxMARL also
IPPO on simple spread.
stable-baselines3: PPO on Gymnasium's CartPole. torch: the fit of a reward model. scipy: linear programmes. open_spiel and nashpy:
games, step by step. mctx: AlphaZero on tic-tac-toe. flax and optax: behaviour cloning and CQL.
"""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from benchmarks import game_data
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


def jaxmarl_training(
    environment: str, config: Mapping[str, Any], parameters: int, seeds: int, updates: int, seconds: float
) -> Iterator[dict[str, Any]]:
    """Trains IPPO on an environment of JaxMARL; a piece is ``updates`` updates, a step one of the environment.

    Fails unless the network has as many ``parameters`` as ours.
    """
    import jax

    from benchmarks import jaxmarl_ippo

    sizes = jaxmarl_ippo.Config(**config)

    def build() -> Callable[[int], None]:
        init, update = jaxmarl_ippo.loop(sizes, jaxmarl_ippo.jaxmarl_game(environment))
        found = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init, jax.random.PRNGKey(0)).params))
        if found != parameters:
            raise RuntimeError(f"the network has {found} parameters, and ours {parameters}")
        return _learners(seeds, init, update, updates)

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


def open_spiel_cfr(game: str, iterations: int, examined: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Solves a game in extensive form by CFR+ in C++; a piece is ``iterations`` iterations, going on where the last one ended.

    The answer is as in our job.
    """
    import pyspiel

    def build() -> Callable[[int], Any]:
        solver = pyspiel.CFRPlusSolver(pyspiel.load_game(game))

        def work(count: int) -> Any:
            for _ in range(count * iterations):
                solver.evaluate_and_update_policy()
            return solver

        return work

    def answer(solver) -> Mapping[str, float]:
        tree, average = pyspiel.load_game(game), solver.average_policy()
        value = pyspiel.expected_returns(tree.new_initial_state(), average, -1, True)[0]
        early = pyspiel.CFRPlusSolver(tree)
        for _ in range(examined):
            early.evaluate_and_update_policy()
        return {"value": value, "exploitability": pyspiel.exploitability(tree, early.average_policy())}

    return speed({"iterate": Case(build, iterations, answer)}, seconds, "cpu")


def nashpy_fictitious_play(actions: int, steps: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Plays ``steps`` times, at first the first action of both players, which count as played once; a piece is all plays."""
    import nashpy
    import numpy as np

    table = game_data.payoffs(actions)

    def play() -> Any:
        first = [np.eye(1, actions)[0], np.eye(1, actions)[0]]
        counts: Any = first
        for counts in nashpy.Game(*table).fictitious_play(steps - 1, play_counts=first):  # noqa: B007 (the last one)
            pass
        return counts

    return _followed(play, table, steps, seconds)


def nashpy_replicator(actions: int, steps: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Follows the replicator for the time of ``steps`` steps, seen after each of them.

    Its integrator is scipy's ``odeint``, which chooses its own steps.
    """
    import nashpy
    import numpy as np

    table, times = game_data.payoffs(actions), game_data.STEP * np.arange(steps + 1)

    def follow() -> Any:
        x0, y0 = game_data.uniform(actions)
        return [course[-1] for course in nashpy.Game(*table).asymmetric_replicator_dynamics(x0, y0, times)]

    return _followed(follow, table, steps, seconds)


def open_spiel_replicator(actions: int, steps: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Follows the replicator by the classical Runge-Kutta method of fourth order, as ours does; a piece is all steps."""
    import numpy as np
    from open_spiel.python.egt import dynamics

    table = game_data.payoffs(actions)

    def follow() -> Any:
        growth = dynamics.MultiPopulationDynamics(table, dynamics.replicator)
        state, step = np.concatenate(game_data.uniform(actions)), game_data.STEP
        for _ in range(steps):
            first = growth(state)
            second = growth(state + step / 2 * first)
            third = growth(state + step / 2 * second)
            state = state + step / 6 * (first + 2 * second + 2 * third + growth(state + step * third))
        return np.split(state, 2)

    return _followed(follow, table, steps, seconds)


def _followed(follow: Callable[[], Any], table: Any, steps: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Returns the job of a dynamic, each piece of which follows it from the beginning: ``() -> two strategies``."""

    def work(count: int) -> Any:
        found = None
        for _ in range(count):
            found = follow()
        return found

    case = Case(lambda: work, steps, lambda profile: game_data.described(table, *profile))
    return speed({"iterate": case}, seconds, "cpu")


def versions(packages: list[str]) -> Iterator[dict[str, Any]]:
    """Reports the versions of this interpreter and of these packages."""
    yield {"python": platform.python_version(), "packages": {name: metadata.version(name) for name in packages}}


JOBS: Mapping[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "versions": versions,
    "rejax_training": rejax_training,
    "rejax_learning": rejax_learning,
    "mctx_training": mctx_training,
    "jaxmarl_training": jaxmarl_training,
    "flax_training": flax_training,
    "gymnax_stepping": gymnax_stepping,
    "jaxmarl_stepping": jaxmarl_stepping,
    "navix_stepping": navix_stepping,
    "stable_baselines3_training": stable_baselines3_training,
    "torch_reward_fit": torch_reward_fit,
    "linear_programmes": linear_programmes,
    "open_spiel_cfr": open_spiel_cfr,
    "open_spiel_replicator": open_spiel_replicator,
    "nashpy_fictitious_play": nashpy_fictitious_play,
    "nashpy_replicator": nashpy_replicator,
}

if __name__ == "__main__":
    serve(JOBS)
