"""Policy gradients of a finite horizon: all epochs together, or one by one from the last, which is dynamic policy gradient.

    dynamic                                            simultaneous
    for h = H - 1, ..., 0                              repeat N times
        repeat N times                                     for all h
            theta_h <- theta_h + alpha grad_h J_h              theta_h <- theta_h + alpha grad_h J_0

with pi_h(a | x) in proportion to exp theta_h(x, a), and J_h the value of epochs h .. H - 1, from a state drawn from the initial
distribution. Both give every epoch N updates. The dynamic method trains an epoch when those after it are done, so that its
gradient is one of a fixed problem, a bandit in each state; the simultaneous one visits late epochs as often as the policy comes
there, and learns early ones from values that still move.

Exact gradients are grad_h J (x, a) = d_h(x) pi_h(a | x) [Q_h(x, a) - V_h(x)], where d_h(x) is the chance to be in x at epoch h.
Sampled ones are the means of grad ln pi_h(a | x) G_h over B episodes, G_h being the rewards from epoch h on.

Source: Klein, Weissmann and Doering (2024), "Beyond Stationarity: Convergence Analysis of Stochastic Softmax Policy Gradient
Methods".
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel, sample_index
from jaxrl.errors import EnvError, is_traced, require, require_count, require_within
from jaxrl.solvers.mdp.backups import action_values
from jaxrl.solvers.mdp.finite_horizon import backward_induction, evaluation
from jaxrl.solvers.mdp.problem import require_problem


class EpochPolicy(NamedTuple):
    """The policy that a gradient method ends with.

    theta: float[H, X, A], preferences. value: float[], its exact value from the initial distribution.
    gap: float[], by how much the best policy is worth more.
    """

    theta: jax.Array
    value: jax.Array
    gap: jax.Array


def dynamic_policy_gradient(
    model: TabularModel, horizon: int, learning_rate: Any, num_updates: Any, *, key: Any = None, batch_size: int | None = None
) -> EpochPolicy:
    """Trains the last epoch, freezes it, and goes backwards.

    Args:
        model: the environment's tables, with one reward and no illegal action.
        horizon: H, epochs, at least 1; static.
        learning_rate: alpha, at least 0.
        num_updates: N of every epoch, at least 0. Traced, like alpha: several may be vmapped.
        key: one key, of sampled gradients; left out, gradients are exact.
        batch_size: B, episodes of one sampled gradient; static.

    Raises:
        ConfigError: an argument is out of range, or one of ``key`` and ``batch_size`` is given without the other.
        EnvError: the model has a reward for each of several agents or an illegal action, or its tables are unsound.
    """
    _require("dynamic_policy_gradient", model, horizon, learning_rate, num_updates, key, batch_size)
    theta = _dynamic(model.tables, horizon, learning_rate, num_updates, key, batch_size)
    return _judged(model, theta)


def simultaneous_policy_gradient(
    model: TabularModel, horizon: int, learning_rate: Any, num_updates: Any, *, key: Any = None, batch_size: int | None = None
) -> EpochPolicy:
    """Trains all epochs together, by gradients of the value from the first one. Arguments as ``dynamic_policy_gradient``."""
    _require("simultaneous_policy_gradient", model, horizon, learning_rate, num_updates, key, batch_size)
    theta = _simultaneous(model.tables, horizon, learning_rate, num_updates, key, batch_size)
    return _judged(model, theta)


def _require(where, model, horizon, learning_rate, num_updates, key, batch_size) -> None:
    require_problem(where, model)
    require_count(where, "horizon", horizon)
    require_within(where, "learning_rate", learning_rate, 0, jnp.inf, "1.0 is common.", below=True)
    require_within(where, "num_updates", num_updates, 0, 2**30, "100 is common.")
    if not is_traced(num_updates):
        whole = np.issubdtype(np.asarray(num_updates).dtype, np.integer)
        require(whole, where, "num_updates must be whole", num_updates, "100 is common.")
    both, fix = (key is None) == (batch_size is None), "Give both, such as batch_size=32, or none for exact gradients."
    require(both, where, "key and batch_size belong together", batch_size, fix)
    if batch_size is not None:
        require_count(where, "batch_size", batch_size)
    if not is_traced(model.action_mask):
        illegal = int((~np.asarray(model.action_mask)).sum())
        fix = "Let an illegal action do what a legal one does."
        require(illegal == 0, where, "every action must be legal in every state", f"{illegal} that are not", fix, EnvError)


def _judged(model: TabularModel, theta: jax.Array) -> EpochPolicy:
    value = evaluation(model, jax.nn.softmax(theta)).start_value(model)
    return EpochPolicy(theta, value, backward_induction(model, theta.shape[0]).start_value(model) - value)


@partial(jax.jit, static_argnames=("horizon", "batch_size"))
def _dynamic(model, horizon, learning_rate, num_updates, key, batch_size) -> jax.Array:
    initial = jnp.asarray(model.initial, jnp.result_type(float))
    first = jnp.zeros((horizon, model.num_states, model.num_actions), initial.dtype)

    def train(carry, epoch):
        theta, following = carry  # following: V_{h+1}, of the policies that are frozen
        values = action_values(model, following, 1.0)

        def update(number, own):
            if batch_size is None:
                gradient = expected_gradient(own, values, initial)
            else:
                sample_key = jax.random.fold_in(jax.random.fold_in(key, epoch), number)
                gradient = _sampled_at(sample_key, model, theta.at[epoch].set(own), epoch, batch_size)
            return own + learning_rate * gradient

        own = jax.lax.fori_loop(0, num_updates, update, theta[epoch])
        return (theta.at[epoch].set(own), (jax.nn.softmax(own) * values).sum(-1)), None

    return jax.lax.scan(train, (first, jnp.zeros_like(initial)), jnp.arange(horizon), reverse=True)[0][0]


@partial(jax.jit, static_argnames=("horizon", "batch_size"))
def _simultaneous(model, horizon, learning_rate, num_updates, key, batch_size) -> jax.Array:
    initial = jnp.asarray(model.initial, jnp.result_type(float))
    first = jnp.zeros((horizon, model.num_states, model.num_actions), initial.dtype)

    def update(number, theta):
        if batch_size is None:
            policy = jax.nn.softmax(theta)
            values = evaluation(model, policy).action_value
            gradient = expected_gradient(theta, values, visits(model, policy))
        else:
            gradient = _sampled_everywhere(jax.random.fold_in(key, number), model, theta, batch_size)
        return theta + learning_rate * gradient

    return jax.lax.fori_loop(0, num_updates, update, first)


def expected_gradient(theta: jax.Array, values: jax.Array, chance: jax.Array) -> jax.Array:
    """Returns d(x) pi(a | x) [Q(x, a) - V(x)], the gradient of a softmax policy, float[..., X, A].

    Args:
        theta: float[..., X, A], preferences. values: float[..., X, A], Q. chance: float[..., X], d.
    """
    policy = jax.nn.softmax(theta)
    return chance[..., None] * policy * (values - (policy * values).sum(-1, keepdims=True))


def visits(model: TabularModel, policy: jax.Array) -> jax.Array:
    """Returns the chance to be in each state at each epoch, before the episode has ended, float[H, X].

    Args:
        model: the environment's tables. policy: float[H, X, A].
    """
    going_on = jnp.where(model.terminated, 0.0, model.probability)

    def onward(chance, own):
        flow = chance[:, None, None] * own[..., None] * going_on
        return jnp.zeros_like(chance).at[model.next_state].add(flow), chance

    return jax.lax.scan(onward, jnp.asarray(model.initial, policy.dtype), policy)[1]


def _played(key: jax.Array, model: TabularModel, logits: jax.Array, state: jax.Array) -> tuple[jax.Array, ...]:
    """Takes a step in each of B episodes, logits float[B, A]; returns action, reward, whether it goes on, successor, [B] each."""
    action_key, outcome_key = jax.random.split(key)
    action = jax.random.categorical(action_key, logits).astype(jnp.int32)
    chance = jnp.asarray(model.probability)[state, action]
    outcome = jax.vmap(sample_index)(jax.random.split(outcome_key, state.shape[0]), chance)
    place = (state, action, outcome)
    reward, ended, successor = (jnp.asarray(leaf)[place] for leaf in (model.reward, model.terminated, model.next_state))
    return action, reward, ~ended, successor


def _first_states(key: jax.Array, model: TabularModel, batch_size: int) -> jax.Array:
    return jax.vmap(sample_index, (0, None))(jax.random.split(key, batch_size), jnp.asarray(model.initial))


def _sampled_at(key, model, theta, epoch, batch_size) -> jax.Array:
    """Returns the gradient of one epoch's preferences, float[X, A], from episodes that begin with it."""
    start_key, first_key, rest_key = jax.random.split(key, 3)
    state = _first_states(start_key, model, batch_size)
    action, reward, alive, successor = _played(first_key, model, theta[epoch, state], state)

    def follow(later, carry):
        at, alive, total = carry
        _, reward, going_on, at = _played(jax.random.fold_in(rest_key, later), model, theta[later, at], at)
        return at, alive & going_on, total + jnp.where(alive, reward, 0.0)

    total = reward.astype(theta.dtype)
    total = jax.lax.fori_loop(epoch + 1, theta.shape[0], follow, (successor, alive, total))[2]
    score = jax.nn.one_hot(action, theta.shape[-1], dtype=theta.dtype) - jax.nn.softmax(theta[epoch, state])
    return jnp.zeros_like(theta[0]).at[state].add(score * total[:, None]) / batch_size


def _sampled_everywhere(key, model, theta, batch_size) -> jax.Array:
    """Returns the gradient of all epochs' preferences, float[H, X, A], from episodes that begin with the first one."""
    start_key, play_key = jax.random.split(key)
    horizon, _, actions = theta.shape

    def step(carry, entry):
        (state, alive), (own, key) = carry, entry
        action, reward, going_on, successor = _played(key, model, own[state], state)
        reward = jnp.where(alive, reward, 0.0).astype(theta.dtype)
        return (successor, alive & going_on), (state, action, reward, alive)

    start = _first_states(start_key, model, batch_size), jnp.ones(batch_size, bool)
    _, (state, action, reward, alive) = jax.lax.scan(step, start, (theta, jax.random.split(play_key, horizon)))
    returns = jnp.cumsum(reward[::-1], 0)[::-1]
    place = (jnp.arange(horizon)[:, None], state)
    score = jax.nn.one_hot(action, actions, dtype=theta.dtype) - jax.nn.softmax(theta[place])
    return jnp.zeros_like(theta).at[place].add(score * jnp.where(alive, returns, 0.0)[..., None]) / batch_size
