"""Soft actor-critic where its policy is known in closed form, on a linear system, and on Pendulum beside TD3.

Two bandits have soft policies in closed form: of three arms with rewards r it is softmax(r / alpha), and of a real action a with
reward -a^2 it is normal with variance alpha / 2. The double integrator is solved by the Riccati equation.

Source: Haarnoja et al. (2018), "Soft Actor-Critic Algorithms and Applications"; Christodoulou (2019); Fujimoto et al. (2018).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.control import lqr
from jaxrl.algorithms.deep import sac, td3
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Box
from jaxrl.core.transforms import with_time_limit
from jaxrl.evaluation import Episodes
from jaxrl.experiment import Arm, Claim, Results, draw, final, smallest

GAMMA = 0.99
ARMS, ARMS_TEMPERATURE, REAL_TEMPERATURE = (1.0, 0.5, 0.0), 0.5, 0.2
SOFTMAX, SOFT_VALUE = (0.665241, 0.244728, 0.090031), 1.203803
# Hyper-parameters were chosen on root 1.
COMMON = sac.Config(learning_rate=1e-3, critic_learning_rate=1e-3, hidden=(64, 64), num_rounds=100, batch_size=128)
BANDIT = replace(COMMON, gamma=0.0, learn_temperature=False, target_step_size=1.0, num_envs=4, buffer_size=8_000)
PENDULUM = replace(COMMON, gamma=0.98, temperature_learning_rate=1e-3, buffer_size=30_000, target_step_size=0.01)
LQR = replace(COMMON, learning_rate=3e-4, gamma=GAMMA, num_envs=4, num_gradient_steps=2, batch_size=256, buffer_size=50_000)
TD3 = td3.Config(gamma=PENDULUM.gamma, hidden=(64, 64), num_rounds=100, batch_size=128, buffer_size=30_000, target_step_size=0.01)


@dataclass(frozen=True)
class Config:
    """SAC on two bandits, the double integrator and Pendulum; TD3 on Pendulum."""

    seeds: int = 8
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 30_000
    """Environment steps of each learner on Pendulum (count)."""
    lqr_env_steps: int = 40_000
    """On the double integrator (count)."""
    bandit_env_steps: int = 40_000
    """On each bandit (count)."""
    most_layers: int = 2
    """Hidden layers of a network, at most (count): each takes its time to compile."""


QUICK = Config(seeds=2, env_steps=1_200, lqr_env_steps=1_400, bandit_env_steps=1_400, most_layers=1)


def arms(config: Config) -> Iterator[Arm]:
    """SAC on all problems, TD3 on Pendulum."""
    pendulum, integrator = envs.make("pendulum"), envs.make("lqr")
    three = envs.make("gaussian_bandit", means=ARMS, deviation=0.0)
    real = lqr.make([[0.0]], [[0.0]], state_cost=[[0.0]], action_cost=[[1.0]])
    # The optimal control from a start in [-1, 1]^2 never reaches these bounds. Training episodes are short: at random, the state
    # wanders off as far as its time allows.
    integrator = replace(integrator, action_space=Box(-6.0, 6.0, (1,)))
    short = with_time_limit(integrator, 25)
    costs = Episodes(integrator, gamma=GAMMA, num_episodes=4096, modes=("greedy",), discounted=True)
    for task, name, make, env, learner, env_steps, evaluators in (
        ("three arms", "SAC", sac.make, three, replace(BANDIT, temperature=ARMS_TEMPERATURE), config.bandit_env_steps, ()),
        ("real action", "SAC", sac.make, real, replace(BANDIT, temperature=REAL_TEMPERATURE), config.bandit_env_steps, ()),
        ("double integrator", "SAC", sac.make, short, LQR, config.lqr_env_steps, (costs,)),
        ("pendulum", "SAC", sac.make, pendulum, PENDULUM, config.env_steps, (Episodes(pendulum),)),
        ("pendulum", "TD3", td3.make, pendulum, TD3, config.env_steps, (Episodes(pendulum),)),
    ):
        learner = replace(learner, hidden=learner.hidden[: config.most_layers])
        yield Arm({"task": task, "algorithm": name}, make, env, learner, config.seeds, env_steps, evaluators=evaluators)


def measure(config: Config, results: Results):
    """Measures the policies of the bandits: the largest error of a probability, and the variance of the real action."""
    known = {str(arm.factors["task"]): arm for arm in arms(config)}
    arm = known["three arms"]
    probabilities: Any = arm.make(arm.task, arm.config).probabilities
    chosen = jax.vmap(lambda state: probabilities(state, View(jnp.array([0]), None, ()))[0])(results.run(**arm.factors).state)
    chosen = results.marked(chosen, **arm.factors)
    yield arm.factors, {"policy_error": np.abs(chosen - SOFTMAX).max(-1, keepdims=True)}
    arm = known["real action"]
    network = sac.actor_network(arm.task, arm.config)
    outputs = jax.vmap(lambda params: network.apply(params, jnp.zeros((1, 1)))[0])(results.states(**arm.factors).actor)
    yield arm.factors, {"variance": np.exp(2.0 * np.asarray(outputs[:, 1:]))}


def figures(results: Results) -> None:
    """Draws the return on Pendulum and the discounted return on the double integrator over time."""
    draw.curves(results, "greedy_return", {"title": "Pendulum"}, task="pendulum")
    options = {"optimum": -lqr.OPTIMAL_COST, "title": "Double integrator", "label": "Discounted return (reward units)"}
    draw.curves(results, "greedy_discounted_return", options, task="double integrator")


CLAIMS = (
    Claim(
        "In a bandit with rewards 1, 1/2 and 0 at temperature 1/2, SAC's policy is the softmax of its closed form within 0.001",
        "Haarnoja et al. (2017), theorem 1",
        final("policy_error") <= 1e-3,
    ),
    Claim(
        "In that bandit the soft value that SAC's critics learn is 1.2038 within 0.001",
        "Haarnoja et al. (2017), equation 16",
        final("value", task="three arms").equals(SOFT_VALUE, 1e-3),
    ),
    Claim(
        "With reward -a^2 at temperature 0.2, SAC's policy has the variance 0.1 of its closed form within 0.01",
        "the density exp(-a^2 / alpha) is normal with variance alpha / 2",
        final("variance").within(0.09, 0.11),
    ),
    Claim(
        "On the double integrator, SAC's greedy policy costs at most 10 % more than the optimum",
        "Riccati equation: 5.948985",
        final("greedy_discounted_return") >= -1.1 * lqr.OPTIMAL_COST,
    ),
    Claim(
        "After 30,000 steps on Pendulum SAC's greedy policy costs at most 200 an episode in every seed",
        "Haarnoja et al. (2018); the bar is ours (random: about 1200)",
        smallest(final("greedy_return", task="pendulum", algorithm="SAC")) >= -200.0,
    ),
    Claim(
        "After 30,000 steps on Pendulum TD3's greedy policy costs at most 200 an episode on average",
        "Fujimoto et al. (2018); the bar is ours",
        final("greedy_return", task="pendulum", algorithm="TD3") >= -200.0,
    ),
)
