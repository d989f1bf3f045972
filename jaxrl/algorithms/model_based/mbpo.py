"""Model-based policy optimisation: soft actor-critic on short rollouts of a learned model that begin at stored steps.

    fill the replay memory D_env with random steps
    repeat
        fit the ensemble of models to D_env
        draw M starts for each environment step of this round of acting from D_env
        k times, in all of them: act with pi in the model, a random elite each time, and store the step in D_model
        repeat
            take T steps in each of E environments with pi, and store them in D_env
            G times: one step of soft actor-critic on a minibatch of which a share is from D_env, the rest from D_model

A rollout that terminates goes on from another start: all of D_model are steps of the model. D_model keeps the rollouts of the
last few updates. The model is fitted, and rolled out, once in an update, as in the source's code. Terminations are learned, too;
see ``jaxrl.blocks.dynamics_models``. With one member, which then is the elite, this is MBPO without an ensemble.

Source: Janner et al. (2019), "When to trust your model: model-based policy optimization", algorithm 2 and appendix C; soft
actor-critic: Haarnoja et al. (2018). The defaults are the source's, with layers and numbers of steps that suit small tasks.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.algorithms.deep import sac
from jaxrl.blocks import dynamics_models, networks, off_policy, replay
from jaxrl.blocks.dynamics_models import Ensemble
from jaxrl.blocks.off_policy import Experience
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm, random_order
from jaxrl.core.config import require_divisor
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import View
from jaxrl.core.scan import scan
from jaxrl.errors import require_between, require_counts, require_positive


@struct.dataclass
class Config(sac.Config):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    model_learning_rate: float = 1e-3  # of the members' Adam
    real_ratio: float = 0.05  # chance that a step of a minibatch is a real one, in [0, 1]
    num_gradient_steps: int = static(default=10)  # G, of soft actor-critic in each round of learning (count)
    num_members: int = static(default=7)  # N, models in the ensemble (count)
    num_elites: int = static(default=5)  # K, those with the least error, which predict (count)
    probabilistic: bool = static(default=True)  # models with a variance
    model_hidden: tuple[int, ...] = static(default=(200, 200, 200))  # layer sizes of each model
    model_activation: str = static(default="swish")  # between its layers: tanh, relu, swish or gelu
    model_gradient_steps: int = static(default=200)  # of each model in an update (count)
    model_batch_size: int = static(default=256)  # stored steps in one of them (count)
    rollout_length: int = static(default=1)  # k, steps of the model (count)
    rollouts_per_step: int = static(default=50)  # M, for each environment step (count)
    updates_kept: int = static(default=1)  # whose rollouts D_model holds (count)

    @property
    def num_rollouts(self) -> int:
        """Rollouts of the model side by side, in an update."""
        return self.rollouts_per_step * self.steps_per_update

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        self.require_task("mbpo", env)
        dynamics_models.require_task("mbpo", env)
        dynamics_models.require_members("mbpo", self)
        dynamics_models.require_held_out("mbpo", self.steps_before_first_update)
        networks.require_sizes("mbpo", "model_hidden", self.model_hidden)
        networks.activation(self.model_activation)
        counts = "model_gradient_steps", "model_batch_size", "rollout_length", "rollouts_per_step", "updates_kept"
        require_counts("mbpo", self, *counts)
        require_divisor("mbpo", "the rollouts of an update", self.num_rollouts, "num_elites", self.num_elites)
        require_between("mbpo", self, 0, 1, "real_ratio")
        require_positive("mbpo", self, "model_learning_rate")


@struct.dataclass
class State(sac.State):
    """As that of soft actor-critic, whose ``buffer`` is D_env. model: the ensemble. imagined: D_model."""

    model: dynamics_models.State
    imagined: ReplayBuffer


def ensemble(env: Environment, config: Config) -> Ensemble:
    """Returns the ensemble whose state is ``State.model``."""
    return Ensemble(
        env.observation_space,
        env.action_space,
        learning_rate=config.model_learning_rate,
        num_members=config.num_members,
        num_elites=config.num_elites,
        hidden=config.model_hidden,
        activation=config.model_activation,
        probabilistic=config.probabilistic,
    )


def make(env: Environment, config: Config) -> Algorithm:
    """Builds model-based policy optimisation on an environment whose observations are a Box of reals."""
    begin, policy, probabilities, learn = sac.parts(env, config)
    model = ensemble(env, config)

    def init(key):
        agent_key, model_key = jax.random.split(key)
        agent = begin(agent_key)
        capacity = config.updates_kept * config.num_rollouts * config.rollout_length
        imagined = replay.create(jax.tree.map(lambda leaf: leaf[0], agent.buffer.items), capacity)
        known = model.observe(model.init(model_key), replay.newest(agent.buffer, config.steps_before_first_update))
        return State(**vars(agent), model=known, imagined=imagined)

    def imagine(key, state):
        """Rolls the model out from stored steps, k steps each, and stores them in D_model."""
        starts_key, rollout_key = jax.random.split(key)
        act, size = policy(state, False), config.num_rollouts

        def step(obs, key):
            order_key, act_key, model_key, start_key = jax.random.split(key, 4)
            order = random_order(order_key, size)  # each rollout meets another elite than a step ago
            obs = jax.tree.map(lambda leaf: leaf[order], obs)
            raw = act(act_key, View(obs, None, ())).extras["raw_action"]
            rows = jax.tree.map(lambda leaf: leaf.reshape(config.num_elites, -1, *leaf.shape[1:]), (obs, raw))
            next_obs, reward, terminated = rollout.flattened(model.step(model_key, state.model, *rows))
            other = _drawn(start_key, state.buffer, size).obs
            return _where(terminated, other, next_obs), Experience(obs, raw, reward, next_obs, terminated, None, None)

        starts = _drawn(starts_key, state.buffer, size).obs
        _, steps = scan(step, starts, jax.random.split(rollout_key, config.rollout_length))
        return replace(state, imagined=replay.add(state.imagined, rollout.flattened(steps)))

    def learn_from_both(state, key):
        real_key, imagined_key, choice_key, *keys = jax.random.split(key, 5)
        batches = _drawn(real_key, state.buffer, config.batch_size), _drawn(imagined_key, state.imagined, config.batch_size)
        real = jax.random.uniform(choice_key, (config.batch_size,), jnp.float32) < config.real_ratio
        return learn(state, keys, _where(real, *batches))

    # Take T steps in each of E environments with pi, and store them; G times learn.
    act_and_learn = off_policy.updates(env, config, policy, learn_from_both)

    def update(state, key):
        fit_key, imagine_key, learn_key = jax.random.split(key, 3)
        # Fit the ensemble of models to D_env.
        fitting = config.model_gradient_steps, config.model_batch_size
        known, model_metrics = model.fit(fit_key, state.model, state.buffer, *fitting)
        # Roll it out from stored steps.
        state = imagine(imagine_key, replace(state, model=known))
        state, metrics = act_and_learn(state, learn_key)
        newest = replay.newest(state.buffer, min(config.steps_per_update, config.buffer_size))
        return replace(state, model=model.observe(state.model, newest)), metrics | model_metrics

    return Algorithm(init, update, policy, probabilities=probabilities)


def _drawn(key: jax.Array, buffer: ReplayBuffer, count: int) -> Experience:
    """Draws stored steps with replacement, Experience[count]: more than there are, if need be."""
    return replay.items_at(buffer, replay.uniform(key, count, buffer.size))


def _where(chosen: jax.Array, first: PyTree, second: PyTree) -> PyTree:
    """Returns items of the first batch where bool[B] holds, else of the second; leaves [B, ...]."""
    return jax.tree.map(lambda one, other: jnp.where(chosen.reshape(-1, *(1,) * (one.ndim - 1)), one, other), first, second)
