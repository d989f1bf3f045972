"""A data set of random numbers, of which ours and the peers learn: speed depends on its sizes alone. Needs numpy alone."""

from typing import NamedTuple

import numpy as np

OBS_SIZE, NUM_ACTIONS = 17, 6  # the sizes of HalfCheetah, with numbered actions


class Steps(NamedTuple):
    """N episodes of T steps, which a time limit cuts. obs, next_obs: float32[N, T, OBS_SIZE]. action: int32[N, T].

    reward: float32[N, T]. terminated: bool[N, T], nowhere.
    """

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_obs: np.ndarray
    terminated: np.ndarray


def draw(episodes: int, length: int) -> Steps:
    """Returns N = ``episodes`` episodes of T = ``length`` steps."""
    rng, shape = np.random.default_rng(0), (episodes, length)
    seen = rng.standard_normal((episodes, length + 1, OBS_SIZE), np.float32)
    action = rng.integers(NUM_ACTIONS, size=shape, dtype=np.int32)
    reward = rng.standard_normal(shape, np.float32)
    return Steps(seen[:, :-1], action, reward, seen[:, 1:], np.zeros(shape, bool))
