"""Swish, tanh and relu in PPO's networks, on CartPole, in Catch and in the four rooms.

Swish is x sigmoid(x). Its source found it in a search for image classifiers, where it takes the place of relu without any other
change; gains there cannot be tested here. All hyper-parameters are therefore the same for the three functions, and were chosen
with tanh. Catch and the four rooms have exact values.

Source: Ramachandran, Zoph and Le (2017), "Searching for Activation Functions"; Schulman et al. (2017) for PPO.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import Episodes, ExactValue
from jaxrl.experiment import Arm, Claim, Quantity, Results, draw, every, final

SWISH, OTHERS = "swish", ("tanh", "relu")
SHARE = 0.95  # of the best function's return
GAMMA = 0.99
ROOMS = ppo.Config(learning_rate=1e-3, gamma=GAMMA, hidden=(32, 32), num_envs=16, clip_value=False)
TASKS = {  # name in texts, metric, optimum and what it measures
    "cartpole": ("CartPole", "greedy_return", 500.0, "Return of the greedy policy (steps)"),
    "catch": ("Catch", "greedy_exact_value", 1.0, "Exact return of the greedy policy (reward units)"),
    "four_rooms": ("the four rooms", "greedy_exact_value", 0.826169, "Exact value of the greedy policy (reward units)"),
}


@dataclass(frozen=True)
class Config:
    """PPO with three activation functions on three tasks. The learning rate falls to 0 over each run."""

    seeds: int = 10
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 500_000
    """Environment steps of each learner on CartPole (count)."""
    catch_env_steps: int = 200_000
    """In Catch (count)."""
    rooms_env_steps: int = 163_840
    """In the four rooms (count)."""
    most_layers: int = 2
    """Hidden layers of a network, at most (count): each takes its time to compile."""


QUICK = Config(seeds=2, env_steps=512, catch_env_steps=512, rooms_env_steps=2_048, most_layers=1)


def arms(config: Config) -> Iterator[Arm]:
    """An arm for each task and function; those of a task differ in the function alone."""
    cartpole, catch, rooms = envs.make("cartpole"), envs.make("catch"), envs.make("four_rooms")
    for task, env, learner, env_steps, evaluator in (
        ("cartpole", cartpole, ppo.Config(), config.env_steps, Episodes(cartpole)),
        ("catch", catch, ppo.Config(), config.catch_env_steps, ExactValue.of(catch, 1.0)),
        ("four_rooms", rooms, ROOMS, config.rooms_env_steps, ExactValue.of(rooms, GAMMA)),
    ):
        for activation in (SWISH, *OTHERS):
            yield Arm(
                {"task": task, "activation": activation},
                ppo.make,
                env,
                replace(learner.annealed(env_steps), hidden=learner.hidden[: config.most_layers], activation=activation),
                seeds=config.seeds,
                env_steps=env_steps,
                evaluators=(evaluator,),
                show=("episode_return",),
            )


def figures(results: Results) -> None:
    """Draws the return of the greedy policies over time, and where the seeds end, on every task."""
    for task, (title, metric, optimum, label) in TASKS.items():
        options = {"title": f"PPO on {title}" if task == "cartpole" else f"PPO in {title}", "optimum": optimum, "label": label}
        draw.curves(results, metric, options | {"name": task}, task=task)
        draw.ends(results, metric, {"name": f"{task}_ends", "label": label}, task=task)


def earned(task: str, activation: str) -> Quantity:
    """The return of the greedy policy at the end, positive on all tasks."""
    return final(TASKS[task][1], task=task, activation=activation)


CLAIMS = tuple(
    Claim(
        f"{'On' if task == 'cartpole' else 'In'} {TASKS[task][0]} PPO's greedy policy earns with swish at least 95 % of the best "
        "of swish, tanh and relu",
        "Ramachandran, Zoph and Le (2017): swish takes the place of relu; no superiority is claimed",
        every(earned(task, SWISH) - earned(task, other) * SHARE >= 0.0 for other in OTHERS),
    )
    for task in TASKS
)
