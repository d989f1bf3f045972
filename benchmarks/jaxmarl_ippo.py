"""IPPO as a user of JaxMARL writes it: one feed-forward network for all agents, one jitted update. Does not need jaxrl.

The agents of all environments are one batch, from which minibatches are drawn step by step and agent by agent. Every end of an
episode counts as an end of the task, as usual there.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


class Config(NamedTuple):
    """As ``jaxrl.algorithms.multiagent.mappo.Config``, but for what its IPPO adds to this: normalised values."""

    num_envs: int
    num_steps: int
    num_epochs: int
    num_minibatches: int
    hidden: Sequence[int]
    learning_rate: float
    gamma: float
    gae_lambda: float
    clip_eps: float
    ent_coef: float
    vf_coef: float
    max_grad_norm: float


class Game(NamedTuple):
    """An environment that begins anew by itself, with N agents.

    reset: ``(key) -> (obs float32[N, F], state)``.
    step: ``(key, state, action int32[N]) -> (obs, state, reward float32[N], done bool[])``.
    """

    reset: Callable
    step: Callable
    num_agents: int
    obs_size: int
    num_actions: int


class State(NamedTuple):
    """key: of all to come. params, opt_state: of the network. games: E under way. obs: float32[E, N, F], what is seen there."""

    key: jax.Array
    params: Any
    opt_state: Any
    games: Any
    obs: jax.Array


class Steps(NamedTuple):
    """Steps to be trained on, leaves [T, E, N, ...]."""

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


class Network(nn.Module):
    """Observations float32[..., F] -> logits float32[..., A] and values float32[...], from layers of their own."""

    hidden: Sequence[int]
    num_actions: int

    @nn.compact
    def __call__(self, obs):
        return self.tower(obs, self.num_actions, 0.01), self.tower(obs, 1, 1.0)[..., 0]

    def tower(self, x, outputs, scale):
        for size in self.hidden:
            x = nn.tanh(nn.Dense(size, kernel_init=nn.initializers.lecun_normal())(x))
        return nn.Dense(outputs, kernel_init=nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal"))(x)


def jaxmarl_game(environment: str) -> Game:
    """Returns an environment of JaxMARL; of what its agents see, their silent neighbours' messages are left out."""
    import jaxmarl

    env = jaxmarl.make(environment)
    agents, unheard = env.agents, env.dim_c * (env.num_agents - 1)
    obs_size = env.observation_space(agents[0]).shape[0] - unheard

    def together(values):
        return jnp.stack([values[agent] for agent in agents])

    def reset(key):
        obs, state = env.reset(key)
        return together(obs)[:, :obs_size], state

    def step(key, state, action):
        obs, state, reward, done, _ = env.step(key, state, dict(zip(agents, action, strict=True)))
        return together(obs)[:, :obs_size], state, together(reward), done["__all__"]

    return Game(reset, step, env.num_agents, obs_size, env.action_space(agents[0]).n)


def loop(config: Config, game: Game) -> tuple[Callable, Callable]:
    """Returns ``init: (key) -> State`` and ``update: (State) -> (State, metrics)``, which makes T steps and epochs on them."""
    network = Network(config.hidden, game.num_actions)
    optimiser = optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.learning_rate, eps=1e-5))

    def init(key):
        next_key, network_key, reset_key = jax.random.split(key, 3)
        obs, games = jax.vmap(game.reset)(jax.random.split(reset_key, config.num_envs))
        params = network.init(network_key, obs)
        return State(next_key, params, optimiser.init(params), games, obs)

    def play(state, key):
        def step(carry, key):
            games, obs = carry
            act_key, step_key = jax.random.split(key)
            logits, value = network.apply(state.params, obs)
            action = jax.random.categorical(act_key, logits)
            keys = jax.random.split(step_key, config.num_envs)
            seen, games, reward, done = jax.vmap(game.step)(keys, games, action)
            over = jnp.broadcast_to(done[:, None], reward.shape)
            return (games, seen), Steps(obs, action, _log_prob(logits, action), value, reward, over)

        return jax.lax.scan(step, (state.games, state.obs), jax.random.split(key, config.num_steps))

    def advantages(steps, beyond):
        def before(carry, step):
            advantage, value = carry
            goes_on = 1.0 - step.done
            error = step.reward + config.gamma * goes_on * value - step.value
            advantage = error + config.gamma * config.gae_lambda * goes_on * advantage
            return (advantage, step.value), advantage

        return jax.lax.scan(before, (jnp.zeros_like(beyond), beyond), steps, reverse=True)[1]

    def loss(params, batch):
        steps, advantage, target = batch
        logits, value = network.apply(params, steps.obs)
        log_p = jax.nn.log_softmax(logits)
        ratio = jnp.exp(_log_prob(logits, steps.action) - steps.log_prob)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - config.clip_eps, 1 + config.clip_eps)
        near = steps.value + jnp.clip(value - steps.value, -config.clip_eps, config.clip_eps)
        value_loss = 0.5 * jnp.maximum(jnp.square(value - target), jnp.square(near - target)).mean()
        entropy = -(jnp.exp(log_p) * log_p).sum(-1).mean()
        policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
        return policy_loss + config.vf_coef * value_loss - config.ent_coef * entropy

    def learn(carry, batch):
        params, opt_state = carry
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, opt_state = optimiser.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    def update(state):
        next_key, play_key, order_key = jax.random.split(state.key, 3)
        (games, obs), steps = play(state, play_key)
        advantage = advantages(steps, network.apply(state.params, obs)[1])
        count = config.num_steps * config.num_envs * game.num_agents
        data = jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[3:]), (steps, advantage, advantage + steps.value))

        def epoch(carry, key):
            order = jax.random.permutation(key, count).reshape(config.num_minibatches, -1)
            return jax.lax.scan(learn, carry, jax.tree.map(lambda leaf: leaf[order], data))

        keys = jax.random.split(order_key, config.num_epochs)
        (params, opt_state), losses = jax.lax.scan(epoch, (state.params, state.opt_state), keys)
        return State(next_key, params, opt_state, games, obs), {"loss": losses.mean(), "reward": steps.reward.mean()}

    return init, update


def _log_prob(logits: jax.Array, action: jax.Array) -> jax.Array:
    return -optax.softmax_cross_entropy_with_integer_labels(logits, action)
