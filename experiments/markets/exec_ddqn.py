"""Optimal execution with double DQN when liquidity varies in time, against schedules that are optimal where one can be computed.

Four tasks: constant impact, impact that rises or falls linearly, and a latent mean-reverting impact that the agent can only guess
from how far its own sales have moved the price. The referee of the first three is a quadratic programme.

Source: Macri and Lillo (2024), "Reinforcement Learning for Optimal Execution when Liquidity is Time-Varying"; the schedules:
Almgren and Chriss (2001). The sizes of the impacts are ours.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.trading import execution, schedules
from jaxrl.algorithms.deep import dqn
from jaxrl.core import rollout
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Decision
from jaxrl.experiment.claims import Claim, Verdict, recorded
from jaxrl.experiment.session import Session
from jaxrl.report import figures
from jaxrl.results.run_directory import RunDirectory
from jaxrl.statistics import bootstrap_interval

LOTS, STEPS = 20, 10
RISING = tuple(np.linspace(1.0, 3.0, STEPS).tolist())
# Liquidity is good at first, so that it pays to sell early, and the first sales show how it goes on.
LATENT = dict(speed=0.3, spread=0.5, factor=0.7)
CASES: dict[str, dict[str, Any]] = {
    "constant": dict(temporary=1.0, permanent=0.5),
    "rising": dict(temporary=RISING, permanent=tuple(h / 2 for h in RISING)),
    "falling": dict(temporary=RISING[::-1], permanent=tuple(h / 2 for h in RISING[::-1])),
    "latent": dict(temporary=1.0, permanent=0.5, **LATENT),
}


@dataclass(frozen=True)
class Config:
    """Double DQN on optimal execution."""

    seeds: int = 10
    """Independent learners, trained side by side (count)."""
    updates: int = 60
    """Updates of each learner (count), each of num_envs * num_steps * num_rounds environment steps."""
    latent_updates: int = 150
    """Updates where liquidity is latent (count): its costs are far noisier."""
    paths: int = 10_000
    """Paths on which every policy and schedule is judged, the same for all (count)."""
    algorithm: dqn.Config = field(
        default_factory=lambda: dqn.Config(
            learning_rate=5e-4,
            gamma=1.0,
            epsilon_steps=300_000.0,
            huber_delta=jnp.inf,  # costs are skewed, and a loss that cuts large errors would learn less than their mean
            target_step_size=0.005,
            target_interval=1,
            num_envs=128,
            num_steps=1,
            num_gradient_steps=1,
            num_rounds=100,
            batch_size=256,
            buffer_size=200_000,
            learning_starts=12_800,
            hidden=(64, 64),
            double=True,
        )
    )
    """Hyper-parameters, chosen on seeds of root 1."""


QUICK = Config(
    seeds=2,
    updates=2,
    latent_updates=2,
    paths=100,
    algorithm=replace(Config().algorithm, num_envs=16, num_rounds=5, batch_size=16, learning_starts=160, buffer_size=1_000),
)


def run(config: Config, session: Session) -> None:
    """Trains on each task, then judges learners and schedules on the same paths.

    What is judged is the target network: it is the running mean of the network over the last few hundred gradient steps.
    """
    for number, (case, parameters) in enumerate(CASES.items()):
        env = execution.make(LOTS, num_steps=STEPS, **parameters)
        done = session.train(
            dqn.make,
            env,
            config.algorithm,
            seeds=config.seeds,
            num_updates=config.latent_updates if case == "latent" else config.updates,
            variant=case,
            show=("episode_return", "loss"),
        )
        key = jax.random.fold_in(jax.random.key(1), number)  # not the key of training
        cost, sold = _learned_costs(config.paths, env, config.algorithm, averaged(done.state), key)
        session.record({"cost": np.asarray(cost)[:, None]}, f"{case}: double DQN")
        session.record({"sold": np.asarray(sold)}, f"{case}: double DQN, sales")
        for name, lots in _schedules(env).items():
            cost, _ = _cost(config.paths, env, Schedule(STEPS, tuple(lots.tolist())), key)
            session.record({"cost": np.full((config.seeds, 1), cost)}, f"{case}: {name}")
        best = schedules.optimal(LOTS, *_mean_impacts(env))
        session.record({"sold": best}, f"{case}: quadratic programme, sales")
        session.record({"cost": schedules.cost(best, *_mean_impacts(env))}, f"{case}: quadratic programme")
        _draw(session.directory, case)


def averaged(states: dqn.State) -> dqn.State:
    """Returns the learners with the target network in place of the network."""
    return replace(states, params=states.target_params)


@dataclass(frozen=True)
class Schedule:
    """The policy that sells a fixed number of lots at every step, whatever the price."""

    num_steps: int
    lots: tuple[int, ...]

    def __call__(self, key, view):
        step = jnp.round((1.0 - view.obs[:, 0]) * self.num_steps).astype(jnp.int32)
        return Decision(jnp.asarray(self.lots, jnp.int32)[step])


def _mean_impacts(env: Environment) -> tuple[np.ndarray, np.ndarray]:
    """Returns the expected temporary and permanent impact of each step, float64[T]: what a schedule made beforehand can know."""
    params = env.params
    factor = 1 + (float(params.factor) - 1) * (1 - float(params.speed)) ** np.arange(STEPS)
    return np.asarray(params.temporary, np.float64) * factor, np.asarray(params.permanent, np.float64) * factor


def _schedules(env: Environment) -> dict[str, np.ndarray]:
    return {
        "equal sales": schedules.whole_lots(schedules.twap(LOTS, STEPS)),
        "front-loaded": schedules.whole_lots(schedules.front_loaded(LOTS, STEPS)),
        "mean parameters": schedules.optimal_lots(LOTS, *_mean_impacts(env)),
    }


def _play(paths: int, env: Environment, policy: Callable, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean cost over paths, float32[], quote currency, and the mean sales of each step, float32[T]."""
    start_key, play_key = jax.random.split(key)
    episodes = rollout.start(start_key, env, paths)
    _, batch = rollout.unroll(play_key, env, policy, episodes, STEPS)
    return -batch.reward.sum(0).mean() * env.params.cost_scale, batch.action.mean(1, dtype=jnp.float32)


_cost = jax.jit(_play, static_argnums=(0, 2))


@functools.partial(jax.jit, static_argnums=0)
def _learned_costs(paths: int, env: Environment, config: dqn.Config, states: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.vmap(lambda state: _play(paths, env, dqn.make(env, config).policy(state, True), key))(states)


def _draw(run: RunDirectory, case: str) -> None:
    variants = [f"{case}: {name}" for name in ("double DQN", "equal sales", "front-loaded", "mean parameters")]
    figures.distribution(run, "cost", variants=variants, label="Cost of the sale (quote currency)", name=f"cost_{case}")
    step = np.arange(1, STEPS + 1)
    names = ("double DQN", "quadratic programme")
    sales = {name: (step, run.curves("sold", f"{case}: {name}, sales", "metrics").values) for name in names}
    figures.relation(
        run, f"sales_{case}", sales, "Step", f"Lots sold ({case} impact)", note="The learner's are means over paths."
    )


def _costs(run: RunDirectory, case: str, name: str = "double DQN") -> np.ndarray:
    return recorded(run, "cost", f"{case}: {name}").astype(np.float64)


def _at_most(case: str, name: str, bar: float) -> Callable[[RunDirectory], Verdict]:
    def check(run: RunDirectory) -> Verdict:
        ratio = bootstrap_interval(_costs(run, case) / _costs(run, case, name), np.mean)
        return Verdict(ratio.estimate <= bar, ratio.estimate, f"cost over that of {name} <= {bar:g}", ratio.low, ratio.high)

    return check


def _cheaper(case: str, name: str) -> Callable[[RunDirectory], Verdict]:
    def check(run: RunDirectory) -> Verdict:
        saved = bootstrap_interval(_costs(run, case, name) - _costs(run, case), np.mean)
        criterion = f"cost of {name} minus that of double DQN, same paths: interval above 0"
        return Verdict(saved.low > 0, saved.estimate, criterion, saved.low, saved.high)

    return check


def _cost_ratio(run: RunDirectory) -> Verdict:
    none = np.zeros(STEPS)
    best, equal = schedules.optimal(LOTS, np.asarray(RISING), none), schedules.twap(LOTS, STEPS)
    ratio = schedules.cost(best, np.asarray(RISING), none) / schedules.cost(equal, np.asarray(RISING), none)
    return Verdict(abs(ratio - 0.8886) < 5e-5, ratio, "0.8886 within 0.00005")


_SOURCE = "Macri and Lillo (2024)"
CLAIMS = (
    Claim(
        "Impact rising from 1 to 3 over ten steps: the optimum costs 0.8886 of equal sales",
        "Almgren and Chriss (2001), by Lagrange's rule",
        _cost_ratio,
    ),
    Claim("Constant impact: double DQN costs at most 1.03 of equal sales", _SOURCE, _at_most("constant", "equal sales", 1.03)),
    *(
        Claim(f"{case.capitalize()} impact: double DQN {words}", _SOURCE, check)
        for case in ("rising", "falling")
        for words, check in (
            ("costs at most 1.04 of the quadratic programme", _at_most(case, "quadratic programme", 1.04)),
            ("costs less than equal sales", _cheaper(case, "equal sales")),
        )
    ),
    Claim("Latent impact: double DQN costs less than equal sales", _SOURCE, _cheaper("latent", "equal sales")),
    Claim(
        "Latent impact: double DQN costs less than the best schedule for the expected impact",
        _SOURCE,
        _cheaper("latent", "mean parameters"),
    ),
)
