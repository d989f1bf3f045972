"""Learned models on Pendulum: how many environment steps they save, and how good they are.

Soft actor-critic without a model; model-based policy optimisation (MBPO) with an ensemble of models and with a single one; and
model-predictive control by the cross-entropy method (CEM-MPC) on an ensemble, and on the true model as a bound. An ensemble alone
is fitted to random steps, to see its error fall.

Source: Moerland et al. (2020), "Model-based reinforcement learning: a survey"; Janner et al. (2019); Chua et al. (2018).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs
from jaxrl.algorithms.deep import sac
from jaxrl.algorithms.model_based import mbpo
from jaxrl.algorithms.planning import cem_mpc
from jaxrl.blocks import off_policy, replay
from jaxrl.evaluation import Episodes
from jaxrl.evaluation.episodes import evaluate
from jaxrl.experiment import Arm, Claim, Results, area, draw, every, final, share

BAR = -200.0  # return of an episode; a random policy has about -1200
EVERY = 200  # environment steps between two evaluations
FIT = 100  # environment steps between two fits of a model
COUNTS = 200, 800, 3_200  # random steps to which an ensemble is fitted
NEVER = 10  # a seed that does not reach the bar counts as one that takes so many times the budget of SAC
NAMES = SAC, ENSEMBLE, SINGLE, CEM = "SAC", "MBPO, 5 models", "MBPO, 1 model", "CEM-MPC"
ERRORS = {"task": "random steps"}
# Hyper-parameters were chosen on root 1.
AGENT: dict[str, Any] = dict(learning_rate=1e-3, critic_learning_rate=1e-3, temperature_learning_rate=1e-3, gamma=0.98)
AGENT |= dict(target_step_size=0.01, learning_starts=200, num_rounds=FIT, batch_size=128, buffer_size=10_000, hidden=(64, 64))
MODEL: dict[str, Any] = dict(model_hidden=(64, 64), model_gradient_steps=400, model_batch_size=128, num_members=5)
MODEL |= dict(num_gradient_steps=8, real_ratio=0.25, rollout_length=2, rollouts_per_step=20, updates_kept=2)
PLANNING: dict[str, Any] = dict(horizon=20, num_candidates=64, num_best=8, num_iterations=3, num_members=3, hidden=(64, 64))
PLANNING |= dict(num_steps=FIT, learning_starts=200, num_gradient_steps=400, batch_size=128)


@dataclass(frozen=True)
class Config:
    """SAC, MBPO and CEM-MPC on Pendulum."""

    seeds: int = 8
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 8_000
    """Environment steps of SAC (count); MBPO takes half of them."""
    planning_env_steps: int = 1_600
    """Of CEM-MPC (count)."""
    actor_critic: sac.Config = field(default_factory=lambda: sac.Config(**AGENT))
    """Hyper-parameters of SAC."""
    model_based: mbpo.Config = field(default_factory=lambda: mbpo.Config(**AGENT, **MODEL))
    """Hyper-parameters of MBPO with an ensemble."""
    planning: cem_mpc.Config = field(default_factory=lambda: cem_mpc.Config(**PLANNING))
    """Hyper-parameters of CEM-MPC."""
    episodes: int = 8
    """Of an evaluation (count)."""


# One model in both arms of MBPO, which thus share a program.
FEW: dict[str, Any] = dict(num_rounds=4, num_steps=2, batch_size=4, hidden=(4,), learning_starts=8, num_gradient_steps=1)
LITTLE: dict[str, Any] = dict(
    num_members=1, num_elites=1, model_hidden=(4,), model_gradient_steps=1, model_batch_size=4, rollouts_per_step=1
)
SHORT: dict[str, Any] = dict(horizon=2, num_candidates=2, num_best=1, num_iterations=1, num_members=2)
QUICK = Config(2, 32, 16, sac.Config(**FEW), mbpo.Config(**FEW, **LITTLE), cem_mpc.Config(**FEW, **SHORT), 1)


def arms(config: Config) -> Iterator[Arm]:
    """The four learners; greedy policies are evaluated every 200 steps, that of CEM-MPC at the end, as it plans in each step."""
    env = envs.make("pendulum")
    played = (Episodes(env, num_episodes=config.episodes, modes=("greedy",)),)
    alone = replace(config.model_based, num_members=1, num_elites=1)
    every = EVERY // FIT
    half, planned = config.env_steps // 2, config.planning_env_steps
    for name, make, learner, env_steps, evaluators, chunk in (
        (SAC, sac.make, config.actor_critic, config.env_steps, played, every),
        (ENSEMBLE, mbpo.make, config.model_based, half, played, every),
        (SINGLE, mbpo.make, alone, half, played, every),
        (CEM, cem_mpc.make, config.planning, planned, played, 14),
    ):
        factors = {"task": "pendulum", "algorithm": name}
        yield Arm(factors, make, env, learner, config.seeds, env_steps, evaluators=evaluators, chunk_length=chunk)


@partial(jax.jit, static_argnames=("most", "num_steps"))
def model_errors(key: jax.Array, config: cem_mpc.Config, counts: jax.Array, most: int, num_steps: int) -> dict[str, jax.Array]:
    """Returns the error and the spread of ensembles fitted to the first few of ``most`` random steps, float32[len(counts)]."""
    env = envs.make("pendulum")
    model = cem_mpc.ensemble(env, config)
    data_key, test_key, init_key, fit_key = jax.random.split(key, 4)
    sizes: Any = replace(config, num_envs=4, learning_starts=most, buffer_size=most)
    (_, buffer), (_, test) = (off_policy.begin(key, env, sizes) for key in (data_key, test_key))
    begun = model.observe(model.init(init_key), replay.newest(buffer, most))

    def of(count):
        state, _ = model.fit(fit_key, begun, replace(buffer, size=count), num_steps, config.batch_size)
        found = model.predict(state, test.items.obs, test.items.action)
        truth = jnp.concatenate([test.items.next_obs - test.items.obs, test.items.reward[:, None]], axis=-1)
        scale = truth.std(0)
        error = jnp.square((found.mean.mean(0) - truth) / scale).mean()
        return {"test_error": jnp.sqrt(error), "test_spread": (found.spread / scale).mean()}

    return jax.vmap(of)(counts)


def measure(config: Config, results: Results):
    """Measures the steps until a greedy policy first is at the bar; errors of models by their data; plans on the true model."""
    for name in NAMES[:3]:
        factors = {"task": "pendulum", "algorithm": name}
        curves = results.curves("greedy_return", **factors)
        reached = curves.values >= BAR
        first = np.where(reached.any(1), np.asarray(curves.env_steps)[reached.argmax(1)], NEVER * config.env_steps)
        yield factors, {"steps_to_bar": first[:, None].astype(float)}
    keys = jax.random.split(jax.random.key(results.root), config.seeds)
    sizes = jnp.asarray(COUNTS, jnp.int32), max(COUNTS), 8 * config.planning.num_gradient_steps
    found = jax.vmap(lambda key: model_errors(key, config.planning, *sizes))(keys)
    for place, count in enumerate(COUNTS):
        yield ERRORS | {"steps": count}, {name: np.asarray(values[:, place : place + 1]) for name, values in found.items()}
    env, plans = envs.make("pendulum"), config.planning
    memory, episodes = cem_mpc.plan_memory(env, plans), max(2, 4 * config.episodes)
    play = jax.jit(lambda key: evaluate(key, env, cem_mpc.planner(env, plans), episodes, memory=memory).return_)
    yield (
        {"task": "pendulum", "algorithm": "CEM-MPC on the true model"},
        {"true_model_return": np.asarray(play(keys[0]))[:, None]},
    )


def figures(results: Results) -> None:
    """Draws the return over the environment steps, and the error and the spread of models against their data."""
    draw.curves(results, "greedy_return", {"title": "Pendulum"}, task="pendulum")
    label = {"of": ERRORS, "x_scale": "log", "y_scale": "log", "title": "Models of Pendulum"}
    draw.against(results, "errors", "test_error", "steps", "Random steps", "Root-mean-square error (deviations)", **label)
    draw.against(results, "spreads", "test_spread", "steps", "Random steps", "Spread of members (deviations)", **label)


def to_bar(name: str):
    """The environment steps after which a greedy policy first is at the bar."""
    return final("steps_to_bar", algorithm=name)


def falls(metric: str, few: int, many: int):
    """The statement that a measure of models is smaller after more steps."""
    return final(metric, steps=many) - final(metric, steps=few) < 0.0


CLAIMS = (
    Claim(
        "In most seeds MBPO with five models reaches a return of -200 on Pendulum in at most half of SAC's environment steps",
        "Janner et al. (2019), figure 2; the bar is ours",
        share(to_bar(ENSEMBLE) * 2.0 - to_bar(SAC) <= 0.0) > 0.5,
    ),
    Claim(
        "MBPO with a single model does so, too",
        "Zheng et al. (2023), who ask whether ensembles are necessary; the bar is ours",
        share(to_bar(SINGLE) * 2.0 - to_bar(SAC) <= 0.0) > 0.5,
    ),
    Claim(
        "On average over its training MBPO with five models has a larger return than MBPO with one",
        "Chua et al. (2018), figure 4; Janner et al. (2019)",
        area("greedy_return", algorithm=ENSEMBLE) - area("greedy_return", algorithm=SINGLE) > 0.0,
    ),
    Claim(
        "After 1600 steps CEM-MPC on the learned models costs at most 200 an episode on average",
        "Chua et al. (2018); the bar is ours",
        final("greedy_return", algorithm=CEM) >= BAR,
    ),
    Claim(
        "The same plans on the true model cost at most 200 an episode on average",
        "the bar is that of the learned models",
        final("true_model_return") >= BAR,
    ),
    Claim(
        "The error of an ensemble on fresh random steps falls with its data: from 200 to 800, and from 800 to 3200 steps",
        "Chua et al. (2018)",
        every(falls("test_error", few, many) for few, many in itertools.pairwise(COUNTS)),
    ),
    Claim(
        "So does the spread of its members, from 200 to 3200 steps",
        "Chua et al. (2018): it stands for what data would tell",
        falls("test_spread", COUNTS[0], COUNTS[-1]),
    ),
)
