"""Intrinsic curiosity module: a bonus for steps whose consequence a forward model does not predict in a space of features.

    phi: observation -> R^F, features
    inverse model  a^ = g(phi(s), phi(s')),   L_I = cross-entropy of a^ and a, minimised over g and phi     (equations 2 and 3)
    forward model  phi^ = f(phi(s), a),       L_F = 1/2 |phi^ - phi(s')|^2, minimised over f                (equations 4 and 5)
    bonus          1/2 |phi^ - phi(s')|^2                                                                   (equation 6)

Both losses are minimised together by Adam. L_F does not reach the features, which it would make all equal; the losses therefore
have no parameter in common, and the weight that equation 7 gives each is left out, since Adam divides it out. eta of equation 6
is the weight with which the bonus is paid.

Without the inverse model the features are random and fixed (Burda et al. 2019, section 2.2, "random features"). They then hold
everything that is observed, also what no action has an effect on: noise is never predicted, so its bonus does not fall.

Source: Pathak et al. (2017), "Curiosity-driven exploration by self-supervised prediction", section 2; Burda et al. (2019),
"Large-scale study of curiosity-driven learning".
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import networks, optimisers, value_heads
from jaxrl.blocks.bonuses.bonus import require_minibatches, require_spaces
from jaxrl.blocks.networks import MLP, QNetwork
from jaxrl.core import rollout, spaces
from jaxrl.core.algorithm import epochs_of_minibatches
from jaxrl.core.averages import pooled
from jaxrl.core.config import require_discrete_actions
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Transition
from jaxrl.core.spaces import Space
from jaxrl.errors import require_counts, require_numbers, require_positive


@struct.dataclass
class State:
    """features, forward, inverse: parameters of phi, f and g (None without an inverse model). opt_state: of all learned ones."""

    features: PyTree
    forward: PyTree
    inverse: PyTree
    opt_state: PyTree


@struct.dataclass
class ICM:
    """The error of a forward model in a space of features."""

    observation_space: Space = static()
    action_space: Space = static()
    learning_rate: float = 1e-3  # of Adam
    num_features: int = static(default=32)  # F (count)
    inverse: bool = static(default=True)  # features by which the action is known; False: random ones
    num_epochs: int = static(default=1)  # passes over a block (count)
    num_minibatches: int = static(default=1)  # in each pass (count); must divide the steps
    hidden: tuple[int, ...] = static(default=(64,))  # layer sizes of the features and of each model
    activation: str = static(default="relu")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    # A network of your own in place of the features: (observation_space, num_outputs) -> flax module; see jaxrl.blocks.networks.
    network: Any = static(default=None)

    @classmethod
    def of(cls, env: Environment, **options: Any) -> "ICM":
        """Builds the bonus for an environment's spaces; options are the other fields."""
        return cls(env.observation_space, env.action_space, **options)

    def validate(self, env: Environment, steps: int | None = None) -> None:
        """Raises ConfigError, EnvError or SpaceError where the bonus cannot be paid on ``env``."""
        if self.inverse:
            require_discrete_actions("icm", env, "Set inverse=False, or use RND.")
        require_spaces("icm", self, env)
        networks.require_layers("icm", self, env.observation_space)
        require_counts("icm", self, "num_features")
        require_minibatches("icm", self, steps)
        require_numbers("icm", self)
        require_positive("icm", self, "learning_rate")

    def init(self, key: jax.Array, num_envs: int) -> State:
        """Draws the features and the models."""
        features_key, forward_key, inverse_key = jax.random.split(key, 3)
        obs = jax.tree.map(lambda leaf: leaf[None], spaces.example(self.observation_space))
        features, size = self._features.init(features_key, obs), self.num_features
        forward = self._forward.init(forward_key, jnp.zeros((1, size + spaces.flat_size(self.action_space)), jnp.float32))
        inverse = self._inverse.init(inverse_key, jnp.zeros((1, 2 * size), jnp.float32)) if self.inverse else None
        state = State(features, forward, inverse, ())
        return replace(state, opt_state=self._adam.init(self._learned(state)))

    def __call__(self, state: State, obs: PyTree, action: PyTree, next_obs: PyTree) -> jax.Array:
        """Returns half the squared error of the forward model, float32[...]."""
        return self.forward_errors(state.forward, self.phi(state.features, obs), action, self.phi(state.features, next_obs))

    def update(self, key: jax.Array, state: State, block: Transition) -> tuple[State, dict[str, Any]]:
        """Fits the models to a block. Metrics: ``forward_loss``, and with the inverse model ``inverse_loss``."""

        def loss(learned, steps):
            obs, action, next_obs = steps
            params = learned.get("features", state.features)
            before, after = self.phi(params, obs), self.phi(params, next_obs)
            fixed = jax.lax.stop_gradient((before, after))
            forward_loss = self.forward_errors(learned["forward"], fixed[0], action, fixed[1]).mean()
            if not self.inverse:
                return forward_loss, {"forward_loss": forward_loss}
            inverse_loss = self.inverse_errors(learned["inverse"], before, action, after).mean()
            return forward_loss + inverse_loss, {"forward_loss": forward_loss, "inverse_loss": inverse_loss}

        parts = block.obs, block.action, block.next_obs
        steps = rollout.flattened(parts)
        step = optimisers.gradient_step(loss, self._adam)
        carry = self._learned(state), state.opt_state
        (learned, opt_state), metrics = epochs_of_minibatches(key, step, carry, steps, self.num_epochs, self.num_minibatches)
        return replace(state, **learned, opt_state=opt_state), pooled(metrics)

    def phi(self, params: PyTree, obs: PyTree) -> Any:
        """Returns features, float32[..., F]."""
        return self._features.apply(params, obs)

    def forward_errors(self, params: PyTree, before: jax.Array, action: PyTree, after: jax.Array) -> jax.Array:
        """Returns 1/2 |f(phi(s), a) - phi(s')|^2, float32[...]; before, after: float32[..., F], phi(s) and phi(s')."""
        inputs = jnp.concatenate([before, spaces.flatten(self.action_space, action)], axis=-1)
        predicted: Any = self._forward.apply(params, inputs)
        return 0.5 * jnp.square(predicted - after).sum(-1)

    def inverse_errors(self, params: PyTree, before: jax.Array, action: jax.Array, after: jax.Array) -> jax.Array:
        """Returns minus the logarithm of the probability that g gives the action, float32[...]; arguments as above."""
        logits: Any = self._inverse.apply(params, jnp.concatenate([before, after], axis=-1))
        return -value_heads.chosen(jax.nn.log_softmax(logits), action)

    def _learned(self, state: State) -> dict[str, PyTree]:
        learned = {"forward": state.forward}
        return learned | {"features": state.features, "inverse": state.inverse} if self.inverse else learned

    @property
    def _features(self) -> QNetwork:
        """A network from observations to F numbers, which is all that a Q-network is."""
        layers = self.hidden, self.activation, self.channels
        return QNetwork(self.observation_space, self.num_features, *layers, network=self.network)

    @property
    def _forward(self) -> MLP:
        return MLP(self.hidden, self.activation, self.num_features)

    @property
    def _inverse(self) -> MLP:
        return MLP(self.hidden, self.activation, spaces.flat_size(self.action_space))

    @property
    def _adam(self) -> Any:
        return optimisers.adam(self.learning_rate, jnp.inf, eps=1e-8)
