"""Experiments: one script per paper or figure, and the command line that runs them. See ``python -m experiments``."""

import importlib
from typing import cast

from jaxrl.errors import unknown_name
from jaxrl.experiment.claims import Experiment

# Area -> its scripts, each ``experiments/<area>/<name>.py``.
AREAS: dict[str, tuple[str, ...]] = {
    "control": (
        "cartpole_ppo",
        "core_dqn",
        "four_rooms_ppo",
        "frozen_lake_q_learning",
        "lqr_ppo",
        "pendulum_ppo",
        "t_maze_ppo",
    ),
    "games": (
        "core_ce_lp",
        "core_iql",
        "core_learning_games",
        "core_mappo",
        "core_minimax_q",
        "core_nash",
    ),
    "markets": (
        "exec_ddqn",
        "is_risk",
        "trading_q_learning",
        "walk_forward_trading",
    ),
    "preferences": (
        "bt_rm",
        "dpo_family",
        "rlhf_grid",
        "rm_ensemble",
    ),
}
NAMES = tuple(sorted(name for names in AREAS.values() for name in names))


def load(name: str) -> Experiment:
    """Imports the experiment of this name.

    Raises:
        UnknownNameError: there is none.
    """
    name = name.replace("-", "_")
    if name not in NAMES:
        raise unknown_name("experiments", "experiment", name, NAMES)
    area = next(area for area, names in AREAS.items() if name in names)
    return cast(Experiment, importlib.import_module(f"experiments.{area}.{name}"))
