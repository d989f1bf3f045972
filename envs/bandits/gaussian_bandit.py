"""Gaussian bandits: every arm pays a normal number around its mean; an episode is a bandit problem of ``max_steps`` pulls.

Three kinds share these rules. ``make``: the means are given. ``make_testbed``: every episode draws its means from N(0, 1), so a
mean over episodes is one over problems. ``make_random_walk``: the means walk at random while the episode goes on.

Source: Sutton and Barto (2018), section 2.3 (the 10-armed testbed) and exercise 2.5 (the non-stationary one).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require


@struct.dataclass
class Params:
    """All float32 and traced. A field that is None is not drawn."""

    mean: jax.Array  # [K], the centre of each arm's mean at the start of an episode
    deviation: jax.Array  # [], of a reward around the arm's mean
    spread: jax.Array | None  # [], deviation of the means around their centres
    drift: jax.Array | None  # [], deviation of the change of every mean in a step


def reset(key, params):
    """Draws the means of the arms, which are the state. There is nothing to observe: always 0."""
    state = params.mean
    if params.spread is not None:
        state = state + params.spread * jax.random.normal(key, state.shape, jnp.float32)
    return jnp.int32(0), state


def step(key, state, action, params):
    """Pays, and lets the means walk. ``info["regret"]`` is how much more the best arm would have paid on average."""
    reward_key, drift_key = jax.random.split(key)
    reward = state[action] + params.deviation * jax.random.normal(reward_key, (), jnp.float32)
    regret = state.max() - state[action]
    if params.drift is not None:
        state = state + params.drift * jax.random.normal(drift_key, state.shape, jnp.float32)
    return Step(jnp.int32(0), state, reward, jnp.bool_(False), {"regret": regret})


def expected_maximum(num_arms: int) -> float:
    """Returns the expected mean of the best of K arms of the testbed, by quadrature in float64: 1.538753 for 10 arms."""
    from scipy import integrate, stats

    require(num_arms >= 1, "gaussian_bandit.expected_maximum", "num_arms must be at least 1", num_arms, "Count the arms.")

    def density(x):
        return x * num_arms * stats.norm.pdf(x) * stats.norm.cdf(x) ** (num_arms - 1)

    return float(integrate.quad(density, -12, 12, epsabs=1e-12, limit=200)[0])


def _build(where: str, mean: np.ndarray, deviation: float, spread: float | None, drift: float | None, max_steps: int):
    require(mean.ndim == 1 and mean.size >= 1, where, "there must be a mean for each arm", mean.tolist(), "Name at least one.")
    require(bool(np.isfinite(mean).all()), where, "the means must be finite", mean.tolist(), "Replace those that are not.")
    for name, value in (("deviation", deviation), ("spread", spread), ("drift", drift)):
        require(value is None or value >= 0, where, f"{name} must not be negative", value, "0 leaves the randomness out.")
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "1000 is the default.")
    optional = [None if value is None else jnp.float32(value) for value in (spread, drift)]
    params = Params(jnp.asarray(mean, jnp.float32), jnp.float32(deviation), *optional)
    return Environment(params, reset, step, Discrete(1), Discrete(len(mean)), max_steps=max_steps)


def make(means: Sequence[float] = (0.0, 0.5, 1.0), deviation: float = 1.0, max_steps: int = 1000) -> Environment:
    """Builds a Gaussian bandit. Actions: arms. Observation: always 0.

    Args:
        means: of each arm.
        deviation: of a reward around its mean.
        max_steps: pulls in an episode.

    Raises:
        ConfigError: there is no arm, or a number is out of range.
    """
    return _build("gaussian_bandit", np.asarray(means, np.float64), deviation, None, None, max_steps)


def make_testbed(num_arms: int = 10, spread: float = 1.0, deviation: float = 1.0, max_steps: int = 1000) -> Environment:
    """Builds the testbed: every episode is a new bandit. Actions: arms. Observation: always 0.

    Args:
        num_arms: K, at least 1.
        spread: deviation of the arms' means around 0.
        deviation: of a reward around its mean.
        max_steps: pulls in an episode.

    Raises:
        ConfigError: a number is out of range.
    """
    where = "bandit_testbed"
    require(num_arms >= 1, where, "num_arms must be at least 1", num_arms, "10 is the default.")
    return _build(where, np.zeros(num_arms), deviation, spread, None, max_steps)


def make_random_walk(num_arms: int = 10, drift: float = 0.01, deviation: float = 1.0, max_steps: int = 10_000) -> Environment:
    """Builds the non-stationary bandit: all means begin at 0 and walk at random. Actions: arms. Observation: always 0.

    Args:
        num_arms: K, at least 1.
        drift: deviation of the change of every mean in a step.
        deviation: of a reward around its mean.
        max_steps: pulls in an episode.

    Raises:
        ConfigError: a number is out of range.
    """
    where = "random_walk_bandit"
    require(num_arms >= 1, where, "num_arms must be at least 1", num_arms, "10 is the default.")
    return _build(where, np.zeros(num_arms), deviation, None, drift, max_steps)
