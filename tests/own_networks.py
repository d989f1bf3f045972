"""Networks as users write them, for the field ``network`` of the deep algorithms."""

import dataclasses

from flax import linen as nn

from jaxrl.core import spaces
from jaxrl.core.spaces import Space


class Residual(nn.Module):
    """Two residual blocks."""

    observation_space: Space
    num_outputs: int
    width: int = 16

    @nn.compact
    def __call__(self, obs):
        x = nn.Dense(self.width)(spaces.flatten(self.observation_space, obs))
        for _ in range(2):
            x = x + nn.Dense(self.width)(nn.relu(x))
        return nn.Dense(self.num_outputs)(nn.relu(x))


@dataclasses.dataclass(frozen=True)
class OfWidth:
    """Builds residual networks of a width."""

    width: int

    def __call__(self, observation_space, num_outputs):
        return Residual(observation_space, num_outputs, self.width)


class Convolution(nn.Module):
    """Sees images as they are."""

    observation_space: Space
    num_outputs: int

    @nn.compact
    def __call__(self, obs):
        x = nn.relu(nn.Conv(4, (2, 2))(obs))
        return nn.Dense(self.num_outputs)(x.reshape(x.shape[0], -1))


def too_wide(observation_space, num_outputs):
    """Returns one output too many."""
    return Residual(observation_space, num_outputs + 1)


def no_module(observation_space, num_outputs):
    """Returns a function."""
    return lambda obs: obs
