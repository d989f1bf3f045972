"""What is compared with what, and at which sizes."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

Learners = Literal["ppo", "mappo", "learning", "dqn", "sac", "td3", "pqn", "q_learning", "muzero", "offline"]
Group = Literal[Learners, "recording", "data_parallel", "reward_fit", "games", "stepping"]
GROUPS: tuple[Group, ...] = get_args(Group)
OURS = "jaxrl"
NO_RESETS = f"{OURS}, no resets (wrong)"
POOL = f"{OURS}, reset pool of 4"
PPO_STEPS_PER_UPDATE = 512  # of one seed: 4 environments, 128 steps
# The defaults of rejax's DQN in our words. Both learn from the first step on, or nearly: ours fills one minibatch with random
# steps. Rejax samples without replacement, ours with; epsilon falls over a tenth of a piece of rejax's work.
DQN = {
    "learning_rate": 3e-4,
    "epsilon_steps": 409.6,
    "target_step_size": 0.01,
    "target_interval": 1,
    "num_steps": 1,
    "num_rounds": 256,
    "batch_size": 256,
    "buffer_size": 131_072,
    "learning_starts": 256,
    "hidden": (64, 64),
    "activation": "swish",
    "double": True,
}
# Likewise its SAC and TD3, which act and learn once a step in one environment, and its PQN.
_REPLAYED = {"learning_rate": 3e-4, "target_step_size": 0.01, "batch_size": 256, "buffer_size": 131_072, "learning_starts": 256}
_REPLAYED |= {"critic_learning_rate": 3e-4, "num_envs": 1, "hidden": (64, 64)}
SAC = {**_REPLAYED, "temperature_learning_rate": 3e-4, "num_steps": 1, "num_rounds": 256}
TD3 = {**_REPLAYED, "exploration_noise": 0.3, "num_steps": 2, "num_rounds": 128, "activation": "swish"}
PQN = {"learning_rate": 3e-4, "lambda_": 0.9, "num_envs": 64, "num_steps": 64, "num_epochs": 1, "num_minibatches": 16}
# The heads of a DQN beside its mean, both of 51 numbers.
HEADS = {
    "C51": {"head": "categorical", "num_atoms": 51, "value_min": 0.0, "value_max": 100.0},
    "quantiles": {"head": "quantile", "num_atoms": 51, "huber_delta": 1.0},
    "prioritised": {"prioritised": True},
    "three steps": {"n_steps": 3},
}
# AlphaZero's defaults, written out for the peers.
SEARCHED = {"num_envs": 64, "num_steps": 16, "num_simulations": 32, "max_considered": 16, "gumbel_scale": 1.0, "hidden": (64, 64)}
SEARCHED |= {"num_gradient_steps": 32, "batch_size": 256, "buffer_size": 16_384, "learning_rate": 1e-3, "weight_decay": 1e-4}
# MAPPO's defaults, written out for the peer, whose critic learns values as they are. A third of them are PPO's.
IPPO = {"num_envs": 16, "num_steps": 128, "num_epochs": 4, "num_minibatches": 4, "hidden": (64, 64), "learning_rate": 7e-4}
IPPO |= {"gamma": 0.99, "gae_lambda": 0.95, "clip_eps": 0.2, "ent_coef": 0.01, "vf_coef": 1.0, "max_grad_norm": 10.0}
IPPO_PARAMETERS = 2 * (14 * 64 + 64 + 64 * 64 + 64) + (64 * 5 + 5) + (64 + 1)  # 14 numbers are seen, of 5 actions one is taken
# Games in extensive form: ours, and its name in open_spiel.
EXTENSIVE = {"kuhn": ("Kuhn poker", "kuhn_poker"), "leduc": ("Leduc poker", "leduc_poker")}
# Up to which answers of ours and of a peer agree, which count in float32 and in float64.
VALUES_AGREE = 1e-4  # chips, at stakes of 1 and more
EXAMINED = 40  # iterations of CFR+ after which its exploitability is compared: rounding grows, to 2e-4 after 150 on Leduc poker
PLAYS_AGREE = 1e-6  # all plays are the same
PROFILES_AGREE = 1e-5
STRIDE = 20  # steps of the replicator that are made in one where the peer chooses its own
OFFLINE_STEPS = 100  # gradient steps in one update
_OFFLINE = {"hidden": (256, 256), "batch_size": 256, "learning_rate": 3e-4}
OFFLINE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "behaviour_cloning": ("Behaviour cloning", _OFFLINE),
    "cql": ("CQL", {**_OFFLINE, "gamma": 0.99, "alpha": 1.0, "target_step_size": 0.005}),
}
OFF_POLICY: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "dqn": ("DQN CartPole", "cartpole", DQN),
    "sac": ("SAC Pendulum", "pendulum", SAC),
    "td3": ("TD3 Pendulum", "pendulum", TD3),
    "pqn": ("PQN CartPole", "cartpole", PQN),
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    ppo_seeds: tuple[int, ...] = (1, 8, 64, 256)
    mappo_seeds: tuple[int, ...] = (1, 64)
    rejax_seeds: tuple[int, ...] = (1, 64, 256)
    q_learning_seeds: tuple[int, ...] = (1, 1024, 8192)
    recording: tuple[tuple[str, str, int, int], ...] = (("ppo", "cartpole", 64, 49), ("q_learning", "frozen_lake", 1024, 50))
    """Algorithm, environment, seeds, updates in a chunk: a twentieth of a published run."""
    data_parallel: tuple[tuple[int, int], ...] = ((64, 64), (256, 64), (64, 256))
    """Environments of one seed, width of its two hidden layers."""
    reward_fit_seeds: tuple[int, ...] = (1, 64)
    learning_seeds: int = 8
    learning_updates: int = 976  # of 512 steps: half a million steps
    games: int = 1024
    cfr: tuple[tuple[str, int], ...] = (("kuhn", 10_000), ("leduc", 200))  # games in extensive form, iterations in a piece
    dynamics: tuple[int, int] = (100, 2000)  # actions of each player, steps in a piece
    num_envs: tuple[int, ...] = (1, 64, 1024, 8192)
    environments: int | None = None  # how many of the registry, None for all
    off_policy_seeds: tuple[int, ...] = (1, 16)
    off_policy_steps: int = 4096  # of one seed, in one piece
    muzero_seeds: tuple[int, ...] = (1, 16)
    offline_seeds: tuple[int, ...] = (1, 16)
    offline_episodes: tuple[int, int] = (100, 1000)  # how many, and their steps
    repeats: int = 5
    training_seconds: float = 2.5  # at least, in one repeat
    stepping_seconds: float = 0.6  # likewise; half a second is enough, but this is planned from a single measurement
    shorten: bool = False  # whether a piece of work is made as small as it can be


FULL = Sizes()
QUICK = Sizes(
    ppo_seeds=(1,),
    mappo_seeds=(1,),
    rejax_seeds=(1,),
    q_learning_seeds=(8,),
    recording=(("q_learning", "frozen_lake", 2, 2),),
    data_parallel=((4, 8),),
    reward_fit_seeds=(1,),
    learning_seeds=2,
    learning_updates=4,
    games=8,
    cfr=(("kuhn", 10),),
    dynamics=(5, 20),
    num_envs=(1, 8),
    environments=1,
    off_policy_seeds=(1,),
    off_policy_steps=256,
    muzero_seeds=(1,),
    offline_seeds=(1,),
    offline_episodes=(2, 8),
    repeats=2,
    training_seconds=0.02,
    stepping_seconds=0.02,
    shorten=True,
)


class Entry(NamedTuple):
    """One side of a comparison.

    contender: the library, with what sets it apart from other entries of the same library.
    module: where the job is, ``benchmarks.jobs`` or ``benchmarks.peers``.
    arguments: ``job`` and what it takes.
    """

    contender: str
    module: str
    arguments: Mapping[str, Any]

    @property
    def is_ours(self) -> bool:
        return self.contender.startswith(OURS)


class Comparison(NamedTuple):
    """Jobs that do the same work and are measured in turn.

    entries: peers first; without peers there may be ours alone.
    repeats: how often each is measured.
    seeds: independent learners, None where nothing learns.
    restarts: ours is started twice, so that the second start finds the compiled programs of the first.
    within: by how much answers to the same task may differ; None where there are none.
    """

    group: Group
    name: str
    entries: Sequence[Entry]
    repeats: int
    seeds: int | None = None
    restarts: bool = False
    within: float | None = None


# Environments that others have too, and the parameters with which they are the same task.
# Gymnax's deep sea shows an image and ours a number; its continuous mountain car stops at the flag instead of at the wall.
GYMNAX = {
    "acrobot": "Acrobot-v1",
    "cartpole": "CartPole-v1",
    "catch": "Catch-bsuite",
    "deep_sea": "DeepSea-bsuite",
    "four_rooms": "FourRooms-misc",
    "mountain_car": "MountainCar-v0",
    "mountain_car_continuous": "MountainCarContinuous-v0",
    "pendulum": "Pendulum-v1",
}
JAXMARL = {"simple_spread": "MPE_simple_spread_v3", "coin_game": "coin_game"}
NAVIX = {"doorkey": "Navix-DoorKey-8x8-v0", "empty_room": "Navix-Empty-8x8-v0"}
PEERS = {"gymnax": GYMNAX, "jaxmarl": JAXMARL, "navix": NAVIX}
# Finite, for one agent: these are stepped from their tables, too.
TABULATED = ("catch", "cliff_walking", "deep_sea", "frozen_lake", "four_rooms", "random_mdp", "windy_grid")
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "deep_sea": {"size": 8, "seed": None},
    "four_rooms": {"start": (4, 1), "goal": (8, 9), "slip": 1 / 3},
    "simple_spread": {"lagging": True},
    "doorkey": {"size": 8, "view": "all", "max_steps": 100},
    "empty_room": {"size": 8, "view": "all", "max_steps": 100},
}


def comparisons(sizes: Sizes, groups: Sequence[Group], environments: Sequence[str], devices: int) -> Iterator[Comparison]:
    """Lists all comparisons.

    Args:
        sizes: how much.
        groups: which kinds.
        environments: the names in the registry.
        devices: how many devices there are; with one, "one device" and "all devices" are the same.
    """
    makers = {
        "ppo": _ppo,
        "mappo": _mappo,
        "learning": _learning,
        **{name: functools.partial(_off_policy, name) for name in OFF_POLICY},
        "q_learning": _q_learning,
        "muzero": _muzero,
        "offline": _offline,
        "recording": _recording,
        "data_parallel": functools.partial(_data_parallel, devices=devices),
        "reward_fit": _reward_fit,
        "games": _games,
    }
    for group in GROUPS:
        if group in groups and group != "stepping":
            yield from makers[group](sizes)
    if "stepping" in groups:
        for environment in environments[: sizes.environments]:
            yield _stepping(sizes, environment, devices)


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _ppo(sizes: Sizes) -> Iterator[Comparison]:
    for seeds in sizes.ppo_seeds:
        updates = 2 if sizes.shorten else _clamp(512 // seeds, 2, 64)
        task = {"seeds": seeds, "seconds": sizes.training_seconds}
        entries = []
        if seeds in sizes.rejax_seeds:
            steps = updates * PPO_STEPS_PER_UPDATE
            arguments = {"job": "rejax_training", "algorithm": "ppo", "steps": steps, **task}
            entries.append(Entry("rejax", "benchmarks.peers", arguments))
        if seeds == 1:
            arguments = {"job": "stable_baselines3_training", "seconds": sizes.training_seconds}
            entries.append(Entry("stable-baselines3, its defaults", "benchmarks.peers", arguments))
        arguments = {"job": "training", "algorithm": "ppo", "environment": "cartpole", "updates": updates, **task}
        entries.append(Entry(OURS, "benchmarks.jobs", arguments))
        yield Comparison("ppo", f"PPO CartPole, {_count(seeds, 'seed')}", entries, sizes.repeats, seeds, restarts=True)


def _mappo(sizes: Sizes) -> Iterator[Comparison]:
    """Simple spread in 16 environments with three agents each, 2048 steps an update: critics of their own, or a central one.

    The peer's critic, and ours beside it, learn values as they are; by default ours learns them in units of their moments.
    """
    for seeds in sizes.mappo_seeds:
        updates = 2 if sizes.shorten else _clamp(64 // seeds, 2, 32)
        task = {"job": "training", "algorithm": "mappo", "environment": "simple_spread", "seeds": seeds, "updates": updates}
        task["seconds"] = sizes.training_seconds
        theirs = {"job": "jaxmarl_training", "environment": JAXMARL["simple_spread"], "config": IPPO}
        theirs["parameters"] = IPPO_PARAMETERS
        theirs |= {name: task[name] for name in ("seeds", "updates", "seconds")}
        entries = [Entry("jaxmarl, plain loop", "benchmarks.peers", theirs)]
        variants = {"IPPO, values as they are": {"centralized": False, "normalize_value": False, **IPPO}}
        variants |= {"IPPO": {"centralized": False}, "MAPPO": {"centralized": True}}
        for name, changes in variants.items():
            entries.append(Entry(f"{OURS}, {name}", "benchmarks.jobs", {**task, "changes": changes}))
        yield Comparison("mappo", f"MAPPO simple spread, {_count(seeds, 'seed')}", entries, sizes.repeats, seeds)


def _learning(sizes: Sizes) -> Iterator[Comparison]:
    seeds, updates = sizes.learning_seeds, sizes.learning_updates
    theirs = {"job": "rejax_learning", "seeds": seeds, "steps": updates * PPO_STEPS_PER_UPDATE}
    task = {"algorithm": "ppo", "environment": "cartpole", "seeds": seeds, "updates": updates}
    ours = {"job": "learning", "episodes": 128, **task}
    entries = [Entry("rejax", "benchmarks.peers", theirs), Entry(OURS, "benchmarks.jobs", ours)]
    steps = updates * PPO_STEPS_PER_UPDATE
    yield Comparison("learning", f"PPO CartPole, {_count(seeds, 'seed')}, {steps:,} steps each", entries, 1, seeds)


def _off_policy(algorithm: str, sizes: Sizes) -> Iterator[Comparison]:
    """Learners of action values in rejax's configuration; DQN with its other heads and samplings beside it."""
    title, environment, config = OFF_POLICY[algorithm]
    rounds, envs = config.get("num_rounds", 1), config.get("num_envs", 1)
    per_update = rounds * envs * config["num_steps"]
    for seeds in sizes.off_policy_seeds:
        updates = _clamp(sizes.off_policy_steps // (per_update * seeds), 1, 64)
        task = {"algorithm": algorithm, "seeds": seeds, "seconds": sizes.training_seconds}
        theirs = {"job": "rejax_training", "steps": updates * per_update, **task}
        ours = {"job": "training", "environment": environment, "updates": updates, **task}
        entries = [
            Entry("rejax, its defaults", "benchmarks.peers", theirs),
            Entry(OURS, "benchmarks.jobs", {**ours, "changes": dict(config)}),
        ]
        if algorithm == "dqn":
            heads = ((f"{OURS}, {name}", {**config, **changes}) for name, changes in HEADS.items())
            entries += [Entry(name, "benchmarks.jobs", {**ours, "changes": changes}) for name, changes in heads]
        yield Comparison(algorithm, f"{title}, {_count(seeds, 'seed')}", entries, sizes.repeats, seeds)


def _q_learning(sizes: Sizes) -> Iterator[Comparison]:
    for seeds in sizes.q_learning_seeds:
        updates = 2 if sizes.shorten else _clamp(65536 // seeds, 16, 1024)
        task = {"algorithm": "q_learning", "environment": "frozen_lake", "seeds": seeds, "updates": updates}
        entry = Entry(OURS, "benchmarks.jobs", {"job": "training", "seconds": sizes.training_seconds, **task})
        name = f"Q-learning FrozenLake, {_count(seeds, 'seed')}"
        yield Comparison("q_learning", name, [entry], sizes.repeats, seeds)


def _muzero(sizes: Sizes) -> Iterator[Comparison]:
    """The search of Gumbel MuZero and learning from it, in a game by turns: AlphaZero, which searches with the true rules.

    A step is a move. Self-play alone bounds from above what any loop around mctx can reach.
    """
    for seeds in sizes.muzero_seeds:
        task = {"seeds": seeds, "updates": 1 if sizes.shorten else _clamp(8 // seeds, 1, 8), "seconds": sizes.training_seconds}
        theirs = {"job": "mctx_training", "config": SEARCHED, **task}
        entries = [
            Entry(f"mctx, {name}", "benchmarks.peers", {**theirs, "learns": learns})
            for name, learns in (("self-play alone", False), ("plain loop", True))
        ]
        ours = {"job": "training", "algorithm": "alphazero", "environment": "tic_tac_toe", "changes": SEARCHED, **task}
        entries.append(Entry(OURS, "benchmarks.jobs", ours))
        yield Comparison("muzero", f"Gumbel AlphaZero tic-tac-toe, {_count(seeds, 'seed')}", entries, sizes.repeats, seeds)


def _offline(sizes: Sizes) -> Iterator[Comparison]:
    """Learning from a data set in memory; a step is a gradient step."""
    episodes, length = sizes.offline_episodes
    for (algorithm, (title, config)), seeds in itertools.product(OFFLINE.items(), sizes.offline_seeds):
        updates = 1 if sizes.shorten else _clamp(16 // seeds, 1, 8)
        task = {"algorithm": algorithm, "episodes": episodes, "length": length, "seeds": seeds}
        task |= {"seconds": sizes.training_seconds}
        theirs = {"job": "flax_training", "config": config, "steps": updates * OFFLINE_STEPS, **task}
        entries = [
            Entry(f"flax and optax, {name}", "benchmarks.peers", {**theirs, "scanned": scanned})
            for name, scanned in (("minibatches from numpy", False), ("lax.scan", True))
        ]
        changes = {"num_gradient_steps": OFFLINE_STEPS, **config}
        ours = {"job": "offline", "updates": updates, "changes": changes, **task}
        entries.append(Entry(OURS, "benchmarks.jobs", ours))
        yield Comparison("offline", f"{title}, {_count(seeds, 'seed')}", entries, sizes.repeats, seeds)


def _recording(sizes: Sizes) -> Iterator[Comparison]:
    """What it costs to keep what a run measures, and to be able to go on with it: twenty chunks, as by default."""
    for algorithm, environment, seeds, updates in sizes.recording:
        task = {"job": "training", "algorithm": algorithm, "environment": environment, "seeds": seeds, "updates": updates}
        entries = [
            Entry(name, "benchmarks.jobs", {**task, "seconds": sizes.training_seconds, "recorded": recorded})
            for name, recorded in ((OURS, False), (f"{OURS}, recorded", True))
        ]
        name = f"{algorithm} {environment}, {_count(seeds, 'seed')}, kept on disk or not"
        yield Comparison("recording", name, entries, sizes.repeats, seeds)


def _data_parallel(sizes: Sizes, devices: int) -> Iterator[Comparison]:
    """One seed of PPO on one device, and with its environments divided over all of them."""
    for num_envs, width in sizes.data_parallel if devices > 1 else ():
        updates = 1 if sizes.shorten else _clamp(2**15 // (num_envs * width), 1, 8)
        task = {"job": "training", "algorithm": "ppo", "environment": "cartpole", "seeds": 1, "updates": updates}
        task |= {"seconds": sizes.training_seconds, "changes": {"num_envs": num_envs, "hidden": (width, width)}}
        entries = [
            Entry(f"{OURS}, one device", "benchmarks.jobs", {**task, "devices": 1}),
            Entry(f"{OURS}, {devices} devices together", "benchmarks.jobs", {**task, "together": True}),
        ]
        name = f"PPO CartPole, 1 seed, {num_envs} environments, 2x{width}"
        yield Comparison("data_parallel", name, entries, sizes.repeats, 1)


def _reward_fit(sizes: Sizes) -> Iterator[Comparison]:
    """Bradley-Terry fits of a 2x64 network; a step is a comparison that is learned from."""
    for seeds in sizes.reward_fit_seeds:
        task = {"pairs": 20 if sizes.shorten else 1000, "length": 50, "seconds": sizes.training_seconds}
        entries = [Entry("torch", "benchmarks.peers", {"job": "torch_reward_fit", **task})] if seeds == 1 else []
        epochs = 1 if sizes.shorten else _clamp(32 // seeds, 1, 8)
        arguments = {"job": "reward_fit", "seeds": seeds, "epochs": epochs, **task}
        entries.append(Entry(OURS, "benchmarks.jobs", arguments))
        name = f"Reward fit, comparisons of 50-step segments, {_count(seeds, 'seed')}"
        yield Comparison("reward_fit", name, entries, sizes.repeats, seeds)


def _games(sizes: Sizes) -> Iterator[Comparison]:
    """Zero-sum 10x10 games: ours to a NashConv of 1e-3, by vmapped regret matching; scipy exactly, one after another."""
    task = {"games": sizes.games, "actions": 10, "seconds": sizes.training_seconds}
    entries = [Entry("scipy, HiGHS", "benchmarks.peers", {"job": "linear_programmes", **task})]
    for name, width in ((f"{OURS}, all games vmapped", sizes.games), (f"{OURS}, 32 games vmapped", min(32, sizes.games))):
        entries.append(Entry(name, "benchmarks.jobs", {"job": "zero_sum_games", "width": width, **task}))
    yield Comparison("games", f"{sizes.games:,} zero-sum games, 10x10", entries, sizes.repeats)
    yield from _iterated_games(sizes)


def _iterated_games(sizes: Sizes) -> Iterator[Comparison]:
    """Games solved step by step, each in one compiled call: CFR+ with alternating updates, fictitious play, the replicator."""
    for game, iterations in sizes.cfr:
        title, theirs = EXTENSIVE[game]
        task = {"iterations": iterations, "examined": EXAMINED, "seconds": sizes.training_seconds}
        entries = [
            Entry("open_spiel, C++", "benchmarks.peers", {"job": "open_spiel_cfr", "game": theirs, **task}),
            Entry(OURS, "benchmarks.jobs", {"job": "extensive_form", "game": game, **task}),
        ]
        name = f"CFR+ on {title}, {iterations:,} iterations"
        yield Comparison("games", name, entries, sizes.repeats, within=VALUES_AGREE)
    actions, steps = sizes.dynamics
    task = {"actions": actions, "steps": steps, "seconds": sizes.training_seconds}
    peers = {
        "fictitious_play": (("nashpy", "nashpy_fictitious_play"),),
        "replicator": (
            ("open_spiel, Runge-Kutta", "open_spiel_replicator"),
            ("nashpy, steps of its choice", "nashpy_replicator"),
        ),
    }
    for dynamic, theirs in peers.items():
        entries = [Entry(name, "benchmarks.peers", {"job": job, **task}) for name, job in theirs]
        ours = {"job": "normal_form", "dynamic": dynamic, **task}
        entries.append(Entry(OURS, "benchmarks.jobs", ours))
        if dynamic == "replicator":
            entries.append(Entry(f"{OURS}, {STRIDE} steps in one", "benchmarks.jobs", {**ours, "stride": STRIDE}))
        title, noun = {"fictitious_play": ("Fictitious play", "plays"), "replicator": ("Replicator", "steps")}[dynamic]
        within = PLAYS_AGREE if dynamic == "fictitious_play" else PROFILES_AGREE
        name = f"{title}, {actions}x{actions}, {steps:,} {noun}"
        yield Comparison("games", name, entries, sizes.repeats, within=within)


def _stepping(sizes: Sizes, environment: str, devices: int) -> Comparison:
    blocks = {str(width): 1 if sizes.shorten else _clamp(16384 // width, 4, 1024) for width in sizes.num_envs}
    task = {"job": "stepping", "environment": environment, "parameters": PARAMETERS.get(environment, {})}
    task |= {"seconds": sizes.stepping_seconds}
    entries = []
    for peer, names in PEERS.items():
        if environment in names:
            arguments = {"job": f"{peer}_stepping", "environment": names[environment]}
            arguments |= {"blocks": blocks, "seconds": sizes.stepping_seconds}
            entries.append(Entry(peer, "benchmarks.peers", arguments))
    entries.append(Entry(OURS, "benchmarks.jobs", {"blocks": blocks, **task}))
    if devices > 1:
        several = {width: count for width, count in blocks.items() if width != "1"}  # one environment is on one device anyway
        entries.append(Entry(f"{OURS}, one device", "benchmarks.jobs", {"blocks": several, "devices": 1, **task}))
    if any(environment in names for names in PEERS.values()):
        entries.append(Entry(POOL, "benchmarks.jobs", {"blocks": blocks, "reset_pool": 4, **task}))
        entries.append(Entry(NO_RESETS, "benchmarks.jobs", {"blocks": blocks, "reset_pool": None, **task}))
    if environment in TABULATED:
        entries.append(Entry(f"{OURS}, from its table", "benchmarks.jobs", {"blocks": blocks, "tabulated": True, **task}))
    return Comparison("stepping", environment, entries, sizes.repeats)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
