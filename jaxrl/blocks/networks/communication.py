"""Networks in which the agents of a team talk before they act.

``CommNet`` is a ``network`` for multi-agent learners whose agents share one network (``jaxrl.blocks.networks``):

    mappo.Config(network=CommNet(num_agents=5), centralized=False)

Source: Sukhbaatar, Szlam and Fergus (2016), "Learning multiagent communication with backpropagation", section 3.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxrl.blocks.networks.layers import MLP, activation, dense, orthogonal
from jaxrl.core import spaces
from jaxrl.core.spaces import Space
from jaxrl.errors import require, require_count


@dataclass(frozen=True)
class CommNet:
    """Builds networks of a team: ``(observation_space, num_outputs) -> flax module``.

        h_i = f(E o_i)
        in each round:  c_i = mean of h_j over the other agents,  h_i <- f(H h_i + C c_i)
        outputs_i = D h_i

    with H and C of each round's own, and biases. The outputs move with the agents where these are numbered otherwise.

    num_agents: N. The rows of what the module is shown are those of the agents of one step, then those of the next.
    size: of h. rounds: of talk. activation: f.
    talks: False leaves out the means, the same network for agents that are alone.
    output_scale: of the orthogonal weights of D; a small one starts a policy near uniform.

    An agent that observes nothing but zeros is not there: the means leave it out.

    Raises:
        ConfigError: a number is no positive integer, or the rows are no whole teams.
        UnknownNameError: there is no such activation.
    """

    num_agents: int
    size: int = 64
    rounds: int = 2
    activation: str = "relu"
    talks: bool = True
    output_scale: float = 0.1

    def __post_init__(self):
        for name in ("num_agents", "size", "rounds"):
            require_count("CommNet", name, getattr(self, name))
        activation(self.activation)

    def __call__(self, observation_space: Space, num_outputs: int) -> "TalkingTeam":
        return TalkingTeam(self, observation_space, num_outputs)


class TalkingTeam(nn.Module):
    """The module of ``CommNet``: called with observations PyTree[B N, ...], returns float32[B N, num_outputs]."""

    shape: Any
    observation_space: Space
    num_outputs: int

    @nn.compact
    def __call__(self, obs):
        shape = self.shape
        x = spaces.flatten(self.observation_space, obs)
        must = f"CommNet: observations must be those of whole teams of num_agents ({shape.num_agents})"
        require(len(x) % shape.num_agents == 0, "network", must, len(x), "Use one network for all agents, and their number.")
        x = x.reshape(-1, shape.num_agents, x.shape[-1])
        there = (x != 0).any(-1, keepdims=True).astype(jnp.float32)
        others = jnp.maximum(there.sum(-2, keepdims=True) - there, 1.0)
        h = MLP((shape.size,), shape.activation)(x)
        for number in range(shape.rounds):
            onward = dense(shape.size, 1.0, f"own_{number}")(h)
            if shape.talks:
                said = there * h
                heard = (said.sum(-2, keepdims=True) - said) / others
                onward += nn.Dense(shape.size, use_bias=False, kernel_init=orthogonal(), name=f"heard_{number}")(heard)
            h = activation(shape.activation)(onward)
        return dense(self.num_outputs, shape.output_scale, "outputs")(h.reshape(-1, shape.size))
