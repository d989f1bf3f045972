"""PPO with discrete and continuous actions, and with memory: CartPole, Catch, Pendulum, a linear-quadratic regulator, a T-maze.

Catch and the regulator have exact optima. In the T-maze the cue is shown once and the turn comes ten cells later, so that a
policy without memory can only guess.

Source: Schulman et al. (2017), algorithm 1; memory: Cho et al. (2014), Parisotto et al. (2020), Bakker (2002) for the task. The
optimum of the regulator is that of the discounted algebraic Riccati equation (Bertsekas, vol. 2).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import envs
from envs.control.lqr import OPTIMAL_COST, riccati
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import Episodes, ExactValue
from jaxrl.experiment import Arm, Claim, Results, draw, exact, final

LQR_GAMMA = 0.99

DISCRETE = ppo.Config()
# Learning rates were chosen with seeds of another root than the one the claims are checked with.
T_MAZE = ppo.Config(learning_rate=1e-3, hidden=(32, 32), num_envs=16, num_steps=64, clip_value=False)
ATTENTION = replace(T_MAZE, memory="attention", memory_size=32, memory_length=16, learning_rate=4e-4)
PENDULUM = replace(ppo.CONTINUOUS, gamma=0.9)  # a short horizon is common for this task, whose cost is paid at every step
LQR = replace(ppo.CONTINUOUS, gamma=LQR_GAMMA)


@dataclass(frozen=True)
class Config:
    """PPO on five tasks. The learning rate falls to 0 over each run."""

    seeds: int = 8
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 500_000
    """Environment steps of each learner on CartPole (count)."""
    catch_env_steps: int = 200_000
    """On Catch (count)."""
    pendulum_env_steps: int = 983_040
    """On Pendulum (count)."""
    lqr_env_steps: int = 409_600
    """On the regulator (count)."""
    t_maze_env_steps: int = 409_600
    """In the T-maze (count)."""
    most_layers: int = 2
    """Hidden layers of a network, at most (count): each takes its time to compile."""


QUICK = Config(
    seeds=2,
    env_steps=512,
    catch_env_steps=512,
    pendulum_env_steps=2_048,
    lqr_env_steps=2_048,
    t_maze_env_steps=1_024,
    most_layers=1,
)


def arms(config: Config) -> Iterator[Arm]:
    """One learner on each task, and three in the T-maze, which differ in their memory."""
    cartpole, catch, pendulum = envs.make("cartpole"), envs.make("catch"), envs.make("pendulum")
    lqr, t_maze = envs.make("lqr"), envs.make("t_maze", length=10)
    discounted = Episodes(lqr, gamma=LQR_GAMMA, num_episodes=1024, modes=("greedy",), discounted=True)
    choices = Episodes(t_maze, num_episodes=64)
    for task, policy, env, learner, env_steps, evaluator in (
        ("cartpole", "feed-forward", cartpole, DISCRETE, config.env_steps, Episodes(cartpole)),
        ("catch", "feed-forward", catch, DISCRETE, config.catch_env_steps, ExactValue.of(catch, 1.0)),
        ("pendulum", "feed-forward", pendulum, PENDULUM, config.pendulum_env_steps, Episodes(pendulum)),
        ("lqr", "feed-forward", lqr, LQR, config.lqr_env_steps, discounted),
        ("t_maze", "GRU", t_maze, replace(T_MAZE, memory_size=32), config.t_maze_env_steps, choices),
        ("t_maze", "attention", t_maze, ATTENTION, config.t_maze_env_steps, choices),
        ("t_maze", "feed-forward", t_maze, T_MAZE, config.t_maze_env_steps, choices),
    ):
        yield Arm(
            {"task": task, "policy": policy},
            ppo.make,
            env,
            replace(learner.annealed(env_steps), hidden=learner.hidden[: config.most_layers]),
            seeds=config.seeds,
            env_steps=env_steps,
            evaluators=(evaluator,),
            show=("episode_return",),
        )


def figures(results: Results) -> None:
    """Draws what the greedy policies earn on every task over time."""
    for task, name, metric, options in (
        ("cartpole", "CartPole", "greedy_return", {"optimum": 500.0}),
        ("catch", "Catch", "greedy_exact_value", {"optimum": 1.0, "label": "Exact return of the greedy policy (reward units)"}),
        ("pendulum", "Pendulum", "greedy_return", {}),
        (
            "lqr",
            "the linear-quadratic regulator",
            "greedy_discounted_return",
            {"optimum": -OPTIMAL_COST, "label": "Discounted return of the greedy policy (reward units)"},
        ),
        ("t_maze", "the T-maze", "greedy_return", {"optimum": 1.0}),
    ):
        draw.curves(results, metric, {"title": f"PPO on {name}", "name": task} | options, task=task)


CLAIMS = (
    Claim(
        "After half a million steps on CartPole, PPO's greedy policy keeps the pole up for at least 475 of 500 steps on average",
        "Schulman et al. (2017)",
        final("greedy_return", task="cartpole") >= 475.0,
    ),
    Claim(
        "After 200,000 steps on Catch the exact return of PPO's greedy policy is at least 0.95 on average (optimum 1)",
        "Schulman et al. (2017)",
        final("greedy_exact_value", task="catch") >= 0.95,
    ),
    Claim(
        "After a million steps on Pendulum PPO's greedy policy costs at most 250 an episode on average (random: about 1200)",
        "Schulman et al. (2017)",
        final("greedy_return", task="pendulum") >= -250.0,
    ),
    Claim(
        "The Riccati equation gives the optimal expected discounted cost of the double integrator",
        "Bertsekas, Dynamic Programming and Optimal Control, vol. 2",
        exact("optimal cost", lambda: riccati(envs.make("lqr").params, LQR_GAMMA).cost).equals(OPTIMAL_COST, 1e-5),
    ),
    Claim(
        "On the double integrator the expected discounted cost of PPO's greedy policy is within 10 % of the optimum",
        "Schulman et al. (2017)",
        final("greedy_discounted_return", task="lqr") >= -1.10 * OPTIMAL_COST,
    ),
    Claim(
        "In the T-maze PPO with a GRU turns the right way in at least 95 % of the episodes of its greedy policy",
        "Bakker (2002)",
        final("greedy_return", task="t_maze", policy="GRU") >= 0.95,
    ),
    Claim(
        "In the T-maze PPO with attention as memory turns the right way in at least 95 % of the episodes of its greedy policy",
        "Parisotto et al. (2020); Bakker (2002)",
        final("greedy_return", task="t_maze", policy="attention") >= 0.95,
    ),
    Claim(
        "In the T-maze PPO without memory cannot do better than chance, 50 %",
        "Bakker (2002)",
        final("greedy_return", task="t_maze", policy="feed-forward").within(0.45, 0.55),
    ),
)
