"""Model-predictive control by the cross-entropy method, over an ensemble of models that is learned (PETS).

    fill the replay memory with random steps
    repeat
        fit the ensemble of models to the replay memory
        T times in each of E environments
            start from the plan of the step before, shifted by one step
            repeat
                draw plans a_0 .. a_{H-1} from normal distributions
                let every member of the ensemble carry out each plan P times, drawing what follows
                move the distributions towards the plans with the largest mean return
            act by the first action of the mean plan, and store the step

Each imagined trajectory stays with its member from the first step to the last (trajectory sampling, TS-infinity in the source).
After an imagined termination nothing more is paid, and nothing beyond the horizon counts. Rewards and terminations are learned
too, see ``jaxrl.blocks.dynamics_models``; the source knows its rewards.

The plan is the memory of the policy, a mean of zeros at the first step of an episode. The greedy policy acts by the mean of the
last distribution, the sampled one, which explores, by a draw from it; the source has the former alone.

``planner`` also plans on the true model of an environment, by ``View.state``.

Source: Chua et al. (2018), "Deep reinforcement learning in a handful of trials using probabilistic dynamics models", algorithm 1
and sections 4 and 5. The defaults plan less than the source's, for small tasks.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import cross_entropy, dynamics_models, networks, off_policy, replay
from jaxrl.blocks.dynamics_models import Ensemble
from jaxrl.blocks.off_policy import OffPolicyConfig
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import rollout, spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Decision, Episode, Policy
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box
from jaxrl.errors import SpaceError, require, require_between, require_counts, require_numbers, require_positive

# (key, node PyTree[R, B, ...], action [R, B, D]) -> (node, reward float32[R, B], terminated bool[R, B])
Simulator = Callable[[jax.Array, PyTree, jax.Array], tuple[PyTree, jax.Array, jax.Array]]


@struct.dataclass
class Config(OffPolicyConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers and names set shapes: they do."""

    learning_rate: float = 1e-3  # of the members' Adam
    gamma: float = 1.0  # discount of a plan's rewards, in [0, 1]
    deviation: float = 0.5  # of each action at first: in half ranges where actions are bounded, else in their units; positive
    momentum: float = 0.1  # share of the old mean and variance that stays in an iteration, in [0, 1)
    horizon: int = static(default=20)  # H, steps of a plan (count)
    num_candidates: int = static(default=100)  # plans that are drawn in an iteration (count)
    num_best: int = static(default=10)  # of them, those towards which the distributions move (count)
    num_iterations: int = static(default=4)  # of the cross-entropy method, for each action (count)
    num_particles: int = static(default=1)  # P, trajectories of each plan in each model (count)
    num_members: int = static(default=5)  # N, models in the ensemble (count)
    probabilistic: bool = static(default=True)  # models with a variance
    num_steps: int = static(default=50)  # T, of each environment between two fits (count)
    num_gradient_steps: int = static(default=200)  # of each model in a fit (count)
    num_rounds: int = static(default=1)  # fits in one update; its metrics are means (count)
    batch_size: int = static(default=256)  # stored steps in one gradient step (count)
    buffer_size: int = static(default=10_000)  # steps that are kept (count)
    learning_starts: int = static(default=200)  # steps with random actions before the first update, at least (count)
    hidden: tuple[int, ...] = static(default=(200, 200, 200))  # layer sizes of each model
    activation: str = static(default="swish")  # between layers: tanh, relu, swish or gelu

    @property
    def num_elites(self) -> int:
        """All members plan."""
        return self.num_members

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        where = "cem_mpc"
        require_single_agent(where, env)
        dynamics_models.require_task(where, env)
        networks.require_layers(where, self, env.observation_space)
        require(not self.channels, where, "channels must be empty: images are not modelled", self.channels, "Set channels=().")
        counts = "num_envs", "num_steps", "num_gradient_steps", "num_rounds"
        require_counts(where, self, *counts)
        dynamics_models.require_members(where, self)
        require_numbers(where, self)
        require_positive(where, self, "learning_rate")
        self.require_buffer(where)
        dynamics_models.require_held_out(where, self.steps_before_first_update)
        self.require_plan(env)

    def require_plan(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where there are no plans for ``env``: these are of real actions."""
        where, space = "cem_mpc", env.action_space
        must, fix = "the action_space must be a Box of reals", "Use jaxrl.algorithms.planning.muzero for Discrete actions."
        require(isinstance(space, Box) and not space.integer, where, must, space, fix, SpaceError)
        require_counts(where, self, "horizon", "num_candidates", "num_best", "num_iterations", "num_particles")
        must, most = f"num_best must not exceed num_candidates ({self.num_candidates})", self.num_candidates
        require(self.num_best <= most, where, must, self.num_best, f"Set num_best={most}.")
        require_between(where, self, 0, 1, "gamma")
        require_between(where, self, 0, 1, "momentum", below=True)
        require_positive(where, self, "deviation")


@struct.dataclass
class State:
    """model: the ensemble. episodes: E environments under way, with their plans. buffer: the stored steps."""

    model: dynamics_models.State
    episodes: Episode
    buffer: ReplayBuffer


def ensemble(env: Environment, config: Config) -> Ensemble:
    """Returns the ensemble whose state is ``State.model``."""
    return Ensemble(
        env.observation_space,
        env.action_space,
        learning_rate=config.learning_rate,
        num_members=config.num_members,
        num_elites=config.num_members,
        hidden=config.hidden,
        activation=config.activation,
        probabilistic=config.probabilistic,
        network=config.network,
    )


def plan_memory(env: Environment, config: Config) -> jax.Array:
    """Returns the memory of a policy that plans, for one environment: float32[H, D], the mean of its next plan."""
    return jnp.zeros((config.horizon, spaces.flat_size(env.action_space)), jnp.float32)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds model-predictive control on an environment whose observations and actions are Boxes of reals."""
    model, memory = ensemble(env, config), plan_memory(env, config)

    def init(key):
        model_key, begin_key = jax.random.split(key)
        episodes, buffer = off_policy.begin(begin_key, env, config)
        episodes = replace(episodes, memory=jnp.zeros((config.num_envs, *memory.shape), jnp.float32))
        first = replay.newest(buffer, config.steps_before_first_update)
        return State(model.observe(model.init(model_key), first), episodes, buffer)

    def policy(state, greedy):
        def simulate(key, obs, action):
            return model.step(key, state.model, obs, action)

        return _acting(env, config, simulate, lambda view: view.obs, config.num_members, greedy)

    def round_(state, key):
        fit_key, act_key = jax.random.split(key)
        # Fit the ensemble of models to the replay memory.
        fitting = config.num_gradient_steps, config.batch_size
        known, metrics = model.fit(fit_key, state.model, state.buffer, *fitting)
        # T times in each of E environments, plan and act. Store the steps.
        act = policy(replace(state, model=known), False)
        episodes, batch = rollout.unroll(act_key, env, act, state.episodes, config.num_steps)
        steps = off_policy.experience(batch)
        state = State(model.observe(known, steps), episodes, replay.add(state.buffer, steps))
        return state, (metrics | {"planned_return": batch.extras["planned_return"].mean()}, batch)

    def update(state, key):
        state, (metrics, batch) = scan(round_, state, jax.random.split(key, config.num_rounds))
        return state, jax.tree.map(jnp.mean, metrics) | rollout.episode_metrics(batch)

    return Algorithm(init, update, policy, memory=memory)


def planner(env: Environment, config: Config) -> Policy:
    """Returns the greedy policy that plans on the true model of an environment, from its state: nothing is learned.

    Args:
        env: with actions that are a Box of reals.
        config: the sizes of the plans; what else stands in it is not read.

    Returns:
        A policy whose memory is ``plan_memory(env, config)``.

    Raises:
        ConfigError, SpaceError: there are no such plans for ``env``.
    """
    config.require_plan(env)

    def simulate(key, states, action):
        keys = jax.random.split(key, action.shape[:2])
        step = jax.vmap(jax.vmap(env.step))(keys, states, spaces.from_unit(env.action_space, action))
        return step.state, step.reward, step.terminated

    return _acting(env, config, simulate, lambda view: view.state, 1, True)


def _acting(env: Environment, config: Config, simulate: Simulator, start: Callable, rows: int, greedy: bool) -> Policy:
    """Returns the policy that plans by a simulator. start: what it begins with, of a view. rows: R, its models."""
    bounded: Any = env.action_space.bounded  # type: ignore[union-attr]

    def plan(key, node, memory):
        def value(key, plans):
            return plan_values(key, simulate, node, plans, config.gamma, rows, config.num_particles)

        sizes = config.num_iterations, config.num_candidates, config.num_best
        return cross_entropy.maximise(key, value, memory, config.deviation, *sizes, config.momentum, bounded)

    def act(key, view):
        plan_key, draw_key = jax.random.split(key)
        node, memory = start(view), view.memory
        found = jax.vmap(plan)(jax.random.split(plan_key, memory.shape[0]), node, memory)
        raw = found.mean[:, 0]
        if not greedy:
            raw = raw + found.deviation[:, 0] * jax.random.normal(draw_key, raw.shape, jnp.float32)
            raw = jnp.clip(raw, -1.0, 1.0) if bounded else raw
        shifted = jnp.concatenate([found.mean[:, 1:], jnp.zeros_like(memory[:, :1])], axis=1)
        extras = {"raw_action": raw, "planned_return": found.value}
        return Decision(spaces.from_unit(env.action_space, raw), extras, shifted)

    return act


def plan_values(
    key: jax.Array,
    simulate: Simulator,
    node: PyTree,
    plans: jax.Array,
    gamma: jax.Array | float,
    rows: int,
    num_particles: int,
) -> jax.Array:
    """Returns the mean discounted return of plans, float32[C].

    Args:
        key: one key.
        simulate: what follows, each row by a model of its own.
        node: PyTree, where all plans begin.
        plans: float32[C, H, D].
        gamma: discount in [0, 1].
        rows: R, models.
        num_particles: P, trajectories of each plan in each model.
    """
    plans = jnp.repeat(plans, num_particles, axis=0)
    count, horizon, size = plans.shape
    nodes = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, count, *leaf.shape)), node)

    def step(carry, inputs):
        nodes, weight = carry
        key, action = inputs
        nodes, reward, terminated = simulate(key, nodes, jnp.broadcast_to(action, (rows, count, size)))
        # Beyond an end the reward may be anything: it counts for nothing.
        earned = jnp.where(weight > 0, weight * reward, 0.0)
        return (nodes, jnp.where(terminated, 0.0, gamma * weight)), earned

    begin = nodes, jnp.ones((rows, count), jnp.float32)
    _, earned = scan(step, begin, (jax.random.split(key, horizon), plans.swapaxes(0, 1)))
    return earned.sum(0).mean(0).reshape(-1, num_particles).mean(1)
