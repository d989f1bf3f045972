"""Neural networks. The only room that imports flax.linen; algorithms see modules with ``init`` and ``apply``.

    layers        initialisation, layers, and a network of the user's
    actor_critic  policies, and a policy beside a value
    attention     causal transformers over sequences of steps
    memory        what an episode has shown up to now: a GRU, or a transformer that looks back
    values        action values: of all actions, or of one that is given
    communication agents that talk before they act; a ``network`` as described below
    mixers        the value of a team, of those of its agents
    latent_model  a model of an environment in states of its own
    dynamics_model  a model of an environment in its own observations
    convolutional ordinary convolutions, with edges of zeros or on a torus; a ``network`` as described below
    graphs        graph networks, with outputs for each node or for the graph; a ``network`` as described below
    equivariant   convolutions that turn with the image, exactly or nearly; a ``network`` as described below

A network of your own takes the place of the layers that a configuration names: every deep algorithm has the field ``network``. It
is a function ``(observation_space, num_outputs) -> flax module``, and the module is called with a batch of observations
PyTree[B, ...] and returns float32[B, num_outputs]: logits, means (of Beta policies, two numbers for each entry of an action) or
action values, or the values of states. A module class with
these two fields is such a function itself:

    class Residual(nn.Module):
        observation_space: Space
        num_outputs: int

        @nn.compact
        def __call__(self, obs):
            x = nn.Dense(64)(spaces.flatten(self.observation_space, obs))
            x = x + nn.Dense(64)(nn.relu(x))
            return nn.Dense(self.num_outputs)(nn.relu(x))

    ppo.Config(network=Residual)

Actor and critic get one each. The function stands at module level, or is a frozen dataclass that is called: made again, it must
be equal, so that its compiled program is found.

Initialisation uses no LAPACK: QR under vmap can hang on a CPU with two cores, and thousands of seeds are initialised at once.
"""

from jaxrl.blocks.networks.actor_critic import Actor, ActorCritic, actor_critic
from jaxrl.blocks.networks.attention import CausalTransformer, DecisionTransformer
from jaxrl.blocks.networks.communication import CommNet, TalkingTeam
from jaxrl.blocks.networks.convolutional import Convolution, ConvolutionalNetwork
from jaxrl.blocks.networks.dynamics_model import DynamicsModel
from jaxrl.blocks.networks.equivariant import (
    EquivariantNetwork,
    GroupConvolution,
    LiftingConvolution,
    pool_group,
    relaxation_penalty,
)
from jaxrl.blocks.networks.graphs import GraphConvolution, GraphNetwork, GraphPooling
from jaxrl.blocks.networks.latent_model import LatentModel
from jaxrl.blocks.networks.layers import (
    ACTIVATIONS,
    CNN,
    MLP,
    Own,
    activation,
    orthogonal,
    orthonormal_columns,
    require_layers,
    require_sizes,
)
from jaxrl.blocks.networks.memory import GRU, MEMORY_FIELDS, GTrXL, Recent, require_memory
from jaxrl.blocks.networks.mixers import MonotonicMixer
from jaxrl.blocks.networks.values import Critic, QNetwork, critics

__all__ = [
    "ACTIVATIONS",
    "CNN",
    "GRU",
    "MEMORY_FIELDS",
    "MLP",
    "Actor",
    "ActorCritic",
    "CausalTransformer",
    "CommNet",
    "Convolution",
    "ConvolutionalNetwork",
    "Critic",
    "DecisionTransformer",
    "DynamicsModel",
    "EquivariantNetwork",
    "GTrXL",
    "GraphConvolution",
    "GraphNetwork",
    "GraphPooling",
    "GroupConvolution",
    "LatentModel",
    "LiftingConvolution",
    "MonotonicMixer",
    "Own",
    "QNetwork",
    "Recent",
    "TalkingTeam",
    "activation",
    "actor_critic",
    "critics",
    "orthogonal",
    "orthonormal_columns",
    "pool_group",
    "relaxation_penalty",
    "require_layers",
    "require_memory",
    "require_sizes",
]
