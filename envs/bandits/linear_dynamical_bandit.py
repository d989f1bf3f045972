"""Linear dynamical bandits: what the arms pay depends on a hidden state that moves linearly and is seen through noise.

    x' = A x + b_a + process noise      y = C x + observation noise      reward = w_a x + c_a + reward noise

Two kinds share these rules. ``make``: a context moves by itself and every arm weighs it in its own way. ``make_driven``: every
arm pays w x + c_a and pushes the state, so an arm that pays little now may be the best to stay with; ``constant_play`` says what
each pays in the long run. The Kalman filter (``first_belief``, ``next_belief``) makes the best prediction there is from all that
was seen: no learner predicts better.

Source: Zeng et al. (2024), Partially observable contextual bandits with linear payoffs; Mussi et al. (2023), Dynamical linear
bandits, section 2; Kalman (1960).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require


@struct.dataclass
class Params:
    """D state variables, O observed ones, K arms. All float32 and traced."""

    dynamics: jax.Array  # [D, D], A
    push: jax.Array  # [K, D], b
    readout: jax.Array  # [O, D], C
    weight: jax.Array  # [K, D], w
    pay: jax.Array  # [K], c
    process_noise: jax.Array  # [D, D], a square root of the covariance
    observation_noise: jax.Array  # [O], standard deviations
    reward_noise: jax.Array  # [], standard deviation
    start: jax.Array  # [D, D], a square root of the covariance of the first state, whose mean is 0


class Belief(NamedTuple):
    """The law of the hidden state given all that was seen: it is normal. mean: float32[D]; covariance: float32[D, D]."""

    mean: jax.Array
    covariance: jax.Array


def _observe(key, state, params):
    return params.readout @ state + params.observation_noise * jax.random.normal(key, params.observation_noise.shape, jnp.float32)


def reset(key, params):
    """Draws the hidden state and the first observation, float32[O]."""
    state_key, observation_key = jax.random.split(key)
    state = params.start @ jax.random.normal(state_key, (params.start.shape[0],), jnp.float32)
    return _observe(observation_key, state, params), state


def step(key, state, action, params):
    """Pays, then moves. ``info["regret"]`` is how much more the best arm would have paid on average in this hidden state."""
    reward_key, process_key, observation_key = jax.random.split(key, 3)
    mean = params.weight @ state + params.pay
    reward = mean[action] + params.reward_noise * jax.random.normal(reward_key, (), jnp.float32)
    noise = params.process_noise @ jax.random.normal(process_key, state.shape, jnp.float32)
    state = params.dynamics @ state + params.push[action] + noise
    obs = _observe(observation_key, state, params)
    return Step(obs, state, reward, jnp.bool_(False), {"regret": mean.max() - mean[action]})


def _learn(belief: Belief, direction: jax.Array, value: jax.Array, variance: jax.Array) -> Belief:
    """Conditions the belief on one number: ``value`` is ``direction @ state`` plus noise of this variance."""
    mean, covariance = belief
    spread = covariance @ direction
    total = direction @ spread + variance
    # A number that was known already (no noise, no uncertainty) tells nothing.
    gain = jnp.where(total > 1e-12, 1.0 / jnp.maximum(total, 1e-12), 0.0)
    return Belief(mean + gain * (value - direction @ mean) * spread, covariance - gain * jnp.outer(spread, spread))


def _learn_observation(belief: Belief, obs: jax.Array, params: Params) -> Belief:
    # The noises of the entries are independent, so they can be learned one by one: no matrix is inverted.
    for direction, value, deviation in zip(params.readout, obs, params.observation_noise, strict=True):
        belief = _learn(belief, direction, value, deviation**2)
    return belief


@jax.default_matmul_precision("highest")
def first_belief(params: Params, obs: jax.Array) -> Belief:
    """Returns the belief after the first observation, float32[O]."""
    unknown = Belief(jnp.zeros_like(params.start[0]), params.start @ params.start.T)
    return _learn_observation(unknown, obs, params)


@jax.default_matmul_precision("highest")
def next_belief(params: Params, belief: Belief, action: jax.Array, reward: jax.Array, obs: jax.Array) -> Belief:
    """Returns the belief after a step: the reward tells of the state before it, the observation of the one after it.

    Args:
        params: the environment's.
        belief: before the step.
        action, reward: int32[] and float32[], the step.
        obs: float32[O], what was seen after it.
    """
    belief = _learn(belief, params.weight[action], reward - params.pay[action], params.reward_noise**2)
    mean = params.dynamics @ belief.mean + params.push[action]
    noise = params.process_noise @ params.process_noise.T
    covariance = params.dynamics @ belief.covariance @ params.dynamics.T + noise
    return _learn_observation(Belief(mean, covariance), obs, params)


@jax.default_matmul_precision("highest")
def expected_reward(params: Params, belief: Belief) -> jax.Array:
    """Returns the best prediction of what each arm pays now, float32[K]."""
    return params.weight @ belief.mean + params.pay


@jax.default_matmul_precision("highest")
def prediction_variance(params: Params, belief: Belief) -> jax.Array:
    """Returns the mean square error of this prediction for each arm, float32[K]."""
    return jnp.einsum("ki,ij,kj->k", params.weight, belief.covariance, params.weight) + params.reward_noise**2


def constant_play(params: Params) -> np.ndarray:
    """Returns what each arm pays in the long run, per step, to who plays nothing else: c_a + w_a (I - A)^-1 b_a, float64[K].

    Raises:
        ConfigError: the state would grow for ever.
    """
    a, push, weight, pay = (np.asarray(x, np.float64) for x in (params.dynamics, params.push, params.weight, params.pay))
    radius = float(np.abs(np.linalg.eigvals(a)).max())
    must = "the spectral radius of dynamics must be below 1"
    require(radius < 1, "linear_dynamical_bandit.constant_play", must, radius, "Nothing settles otherwise.")
    settled = np.linalg.solve(np.eye(len(a)) - a, push.T).T
    return pay + (weight * settled).sum(-1)


def of(params: Params, max_steps: int = 1000) -> Environment:
    """Builds the environment. Actions: arms. Observation: float32[O]."""
    infinite = float("inf")
    seen = Box(-infinite, infinite, (params.readout.shape[-2],))
    return Environment(params, reset, step, seen, Discrete(params.pay.shape[-1]), max_steps=max_steps)


def _dynamics(random: np.random.Generator, size: int, radius: float) -> np.ndarray:
    matrix = random.standard_normal((size, size))
    return matrix * radius / np.abs(np.linalg.eigvals(matrix)).max()


def _stationary(dynamics: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Returns a square root of the covariance that the state keeps once it has it."""
    from scipy.linalg import solve_discrete_lyapunov

    values, vectors = np.linalg.eigh(solve_discrete_lyapunov(dynamics, noise @ noise.T))
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _require(where: str, counts: dict[str, int], radius: float, noises: dict[str, float]) -> None:
    for name, count in counts.items():
        require(count >= 1, where, f"{name} must be at least 1", count, f"Set {name} to 1 or more.")
    require(0 <= radius < 1, where, "radius must lie in [0, 1)", radius, "It is the spectral radius of the dynamics.")
    for name, noise in noises.items():
        require(noise >= 0, where, f"{name} must not be negative", noise, "It is a standard deviation.")


def make(
    num_arms: int = 5,
    state_size: int = 3,
    observation_size: int = 2,
    radius: float = 0.9,
    process_noise: float = 0.5,
    observation_noise: float = 0.5,
    reward_noise: float = 0.1,
    seed: int = 0,
    max_steps: int = 3000,
) -> Environment:
    """Builds a bandit whose context moves by itself; matrices are drawn from a seed. Actions: arms. Observation: float32[O].

    Args:
        num_arms, state_size, observation_size: K, D and O.
        radius: the spectral radius of the dynamics, in [0, 1).
        process_noise, observation_noise, reward_noise: standard deviations. The first state is as all later ones are.
        seed: numbers the draw: normal matrices, weights of arms uniformly from the unit sphere.
        max_steps: pulls in an episode.

    Raises:
        ConfigError: a number is out of range.
    """
    counts = dict(num_arms=num_arms, state_size=state_size, observation_size=observation_size, max_steps=max_steps)
    noises = dict(process_noise=process_noise, observation_noise=observation_noise, reward_noise=reward_noise)
    _require("linear_dynamical_bandit", counts, radius, noises)
    random = np.random.default_rng(seed)
    dynamics = _dynamics(random, state_size, radius)
    weight = random.standard_normal((num_arms, state_size))
    noise = process_noise * np.eye(state_size)
    return _of_matrices(
        max_steps,
        dynamics=dynamics,
        push=np.zeros((num_arms, state_size)),
        readout=random.standard_normal((observation_size, state_size)),
        weight=weight / np.linalg.norm(weight, axis=-1, keepdims=True),
        pay=np.zeros(num_arms),
        process_noise=noise,
        observation_noise=np.full(observation_size, observation_noise),
        reward_noise=reward_noise,
        start=_stationary(dynamics, noise),
    )


def make_driven(
    num_arms: int = 50,
    input_size: int = 2,
    state_size: int = 2,
    radius: float = 0.6,
    process_noise: float = 0.1,
    reward_noise: float = 0.1,
    seed: int = 0,
    max_steps: int = 10_000,
) -> Environment:
    """Builds a bandit whose arms push the hidden state, of which nothing is seen but what they pay; the observation is 0.

    Arm a is a unit vector u_a; it pushes by B u_a and pays w x + v u_a. Matrices and vectors are drawn from a seed.

    Args:
        num_arms: K. In two dimensions the unit vectors are spread evenly, in more they are drawn uniformly.
        input_size, state_size: of u_a, and D.
        radius: the spectral radius of the dynamics, in [0, 1).
        process_noise, reward_noise: standard deviations. The first state is 0.
        seed: numbers the draw.
        max_steps: pulls in an episode.

    Raises:
        ConfigError: a number is out of range.
    """
    counts = dict(num_arms=num_arms, input_size=input_size, state_size=state_size, max_steps=max_steps)
    _require("driven_bandit", counts, radius, dict(process_noise=process_noise, reward_noise=reward_noise))
    random = np.random.default_rng(seed)
    arms = random.standard_normal((num_arms, input_size))
    if input_size == 2:
        angle = 2 * np.pi * np.arange(num_arms) / num_arms
        arms = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    arms = arms / np.linalg.norm(arms, axis=-1, keepdims=True)
    weight, direct = (vector / np.linalg.norm(vector) for vector in map(random.standard_normal, (state_size, input_size)))
    return _of_matrices(
        max_steps,
        dynamics=_dynamics(random, state_size, radius),
        push=arms @ random.standard_normal((input_size, state_size)),
        readout=np.zeros((1, state_size)),
        weight=np.tile(weight, (num_arms, 1)),
        pay=arms @ direct,
        process_noise=process_noise * np.eye(state_size),
        observation_noise=np.zeros(1),
        reward_noise=reward_noise,
        start=np.zeros((state_size, state_size)),
    )


def _of_matrices(max_steps: int, **matrices) -> Environment:
    return of(Params(**{name: jnp.asarray(matrix, jnp.float32) for name, matrix in matrices.items()}), max_steps)
