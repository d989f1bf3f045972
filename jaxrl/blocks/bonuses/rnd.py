"""Random network distillation: a bonus for observations on which a predictor has not learned yet to imitate a random network.

    target f: observation -> R^K, random and fixed
    repeat, for each block of steps
        pay each step i(s') = |g(s') - f(s')|^2 / sigma
        sigma <- the running deviation of the discounted sums of |g(s') - f(s')|^2
        minimise E |g(s') - f(s')|^2 over the parameters of the predictor g, by Adam

Quantities in observations are normalised by their running mean and deviation and cut to [-10, 10]; discrete parts are one-hot
vectors. The sums that sigma measures go on through the ends of episodes, as exploration does.

Source: Burda et al. (2019), "Exploration by random network distillation", sections 2.2 and 2.4, algorithm 1. Theirs fits values
of the bonus by a second head without ends of episodes, and cuts observations to [-5, 5]; here a learner has one reward, the sum
of both.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import moments, networks, optimisers
from jaxrl.blocks.bonuses.bonus import require_minibatches, require_spaces
from jaxrl.blocks.networks import QNetwork
from jaxrl.core import rollout, spaces
from jaxrl.core.algorithm import epochs_of_minibatches
from jaxrl.core.averages import pooled
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Transition
from jaxrl.core.spaces import Space
from jaxrl.errors import require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class State:
    """params, opt_state: of the predictor. target: parameters of the random network.

    observations: the running moments of observations. returns: the running moments of discounted sums of errors.
    """

    params: PyTree
    opt_state: PyTree
    target: PyTree
    observations: moments.Moments
    returns: moments.RewardScaling


@struct.dataclass
class RND:
    """The error of a network that imitates a random one, in units of its running deviation."""

    observation_space: Space = static()
    learning_rate: float = 1e-3  # of Adam
    gamma: float = 0.99  # discount of the sums whose deviation is the unit of the bonus, in [0, 1]
    num_features: int = static(default=32)  # K, outputs of both networks (count)
    num_epochs: int = static(default=1)  # passes over a block (count)
    num_minibatches: int = static(default=1)  # in each pass (count); must divide the steps
    hidden: tuple[int, ...] = static(default=(64,))  # layer sizes of the target; the predictor has its last layer twice
    activation: str = static(default="relu")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    # A network of your own in place of these layers: (observation_space, num_outputs) -> flax module; see jaxrl.blocks.networks.
    network: Any = static(default=None)

    @classmethod
    def of(cls, env: Environment, **options: Any) -> "RND":
        """Builds the bonus for an environment's spaces; options are the other fields."""
        return cls(env.observation_space, **options)

    def validate(self, env: Environment, steps: int | None = None) -> None:
        """Raises ConfigError, EnvError or SpaceError where the bonus cannot be paid on ``env``."""
        require_spaces("rnd", self, env)
        networks.require_layers("rnd", self, env.observation_space)
        require_counts("rnd", self, "num_features")
        require_minibatches("rnd", self, steps)
        require_numbers("rnd", self)
        require_between("rnd", self, 0, 1, "gamma")
        require_positive("rnd", self, "learning_rate")

    def init(self, key: jax.Array, num_envs: int) -> State:
        """Draws both networks."""
        target_key, predictor_key = jax.random.split(key)
        one = spaces.example(self.observation_space)
        obs = jax.tree.map(lambda leaf: leaf[None], one)
        params = self._predictor.init(predictor_key, obs)
        target = self._target.init(target_key, obs)
        returns = moments.init_reward_scaling(num_envs)
        return State(params, self._adam.init(params), target, moments.init(one), returns)

    def __call__(self, state: State, obs: PyTree, action: PyTree, next_obs: PyTree) -> jax.Array:
        """Returns the error in units of its deviation, float32[...]."""
        deviation = jnp.sqrt(state.returns.moments.variance + moments.EPSILON)
        return self.errors(state, state.params, self._normalized(state, next_obs)) / deviation

    def update(self, key: jax.Array, state: State, block: Transition) -> tuple[State, dict[str, Any]]:
        """Learns to imitate the target on what a block has shown. Metric: ``predictor_loss``, the mean error on the way."""
        error = self.errors(state, state.params, self._normalized(state, block.next_obs))
        returns, _ = moments.scale_rewards(state.returns, error, jnp.zeros_like(block.done), self.gamma)
        state = replace(state, returns=returns, observations=moments.update(state.observations, block.next_obs))

        def loss(params, obs):
            mean = self.errors(state, params, obs).mean()
            return mean, {"predictor_loss": mean}

        shown = rollout.flattened(self._normalized(state, block.next_obs))
        step = optimisers.gradient_step(loss, self._adam)
        carry = state.params, state.opt_state
        (params, opt_state), metrics = epochs_of_minibatches(key, step, carry, shown, self.num_epochs, self.num_minibatches)
        return replace(state, params=params, opt_state=opt_state), pooled(metrics)

    def errors(self, state: State, params: PyTree, obs: PyTree) -> jax.Array:
        """Returns |g(s) - f(s)|^2 of normalised observations, float32[...]."""
        target: Any = self._target.apply(state.target, obs)
        predicted: Any = self._predictor.apply(params, obs)
        return jnp.square(predicted - target).sum(-1)

    def _normalized(self, state: State, obs: PyTree) -> PyTree:
        return moments.normalize_observation(state.observations, obs, self.observation_space)

    @property
    def _target(self) -> QNetwork:
        return self._of_layers(self.hidden)

    @property
    def _predictor(self) -> QNetwork:
        return self._of_layers((*self.hidden, self.hidden[-1]))

    def _of_layers(self, hidden: tuple[int, ...]) -> QNetwork:
        """Returns a network from observations to K numbers, which is all that a Q-network is."""
        layers = partial(QNetwork, channels=self.channels, network=self.network)
        return layers(self.observation_space, self.num_features, hidden, self.activation)

    @property
    def _adam(self) -> Any:
        return optimisers.adam(self.learning_rate, jnp.inf, eps=1e-8)
