"""Mixers: the value of a joint action as a function of the values of each agent's own action.

Source: Rashid et al. (2018), QMIX: Monotonic value function factorisation for deep multi-agent reinforcement learning,
section 4.1.
"""

import flax.linen as nn
import jax.numpy as jnp


class MonotonicMixer(nn.Module):
    """Q_tot = w_2' elu(W_1' q + b_1) + b_2, where W_1 and w_2 are not negative: no agent's value ever lowers the joint one.

    So the joint action of which Q_tot is largest is that in which every agent's own value is largest. Weights and biases are
    functions of the global state: one linear layer each, and two layers for b_2.

    size: of the layer in between.

    Called with the agents' values float32[..., N] and the global state float32[..., S], returns float32[...].
    """

    size: int = 32

    @nn.compact
    def __call__(self, values, state):
        agents = values.shape[-1]
        first = jnp.abs(nn.Dense(agents * self.size)(state)).reshape(*state.shape[:-1], agents, self.size)
        hidden = nn.elu((values[..., None] * first).sum(-2) + nn.Dense(self.size)(state))
        second = jnp.abs(nn.Dense(self.size)(state))
        bias = nn.Dense(1)(nn.relu(nn.Dense(self.size)(state)))[..., 0]
        return (hidden * second).sum(-1) + bias
