"""Policies from actors and from action values: what a network or a table says of observations, turned into actions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl.blocks import distributions, exploration, value_heads
from jaxrl.blocks.exploration import epsilon_greedy, epsilon_greedy_probabilities
from jaxrl.core import spaces
from jaxrl.core.rollout import Decision, Policy, View
from jaxrl.core.spaces import Space


def behaviour(act: Callable, action_space: Space, choose: Callable, policy_head: str = "gaussian") -> Policy:
    """Returns the policy of an actor for a batch of environments: one step of a sequence.

    Args:
        act: ``(obs [1, E, ...], first [1, E], memory [E, ...]) -> (outputs, memories [1, E, ...])``.
        action_space: what it acts in.
        choose: ``sample`` or ``mode``.
        policy_head: the distribution over the actions of a Box, see ``jaxrl.blocks.distributions.of_space``.
    """

    def decide(key: jax.Array, view: View) -> Decision:
        obs = jax.tree.map(lambda leaf: leaf[None], view.obs)
        # The rollout zeroes the memory itself where an episode ends, so no step is a first one here.
        first = jnp.zeros((1, jax.tree.leaves(view.obs)[0].shape[0]), bool)
        outputs, memories = jax.tree.map(lambda leaf: leaf[0], act(obs, first, view.memory))
        raw = choose(distributions.of_space(action_space, outputs, view.mask, policy_head), key)
        return Decision(spaces.from_unit(action_space, raw), {"raw_action": raw, "outputs": outputs}, memories)

    return decide


def action_probabilities(act: Callable, action_space: Space, view: View) -> jax.Array:
    """Returns the probabilities float32[E, ..., A] with which a feed-forward actor takes each action of a Discrete space."""
    obs = jax.tree.map(lambda leaf: leaf[None], view.obs)
    outputs, _ = act(obs, jnp.zeros((1, jax.tree.leaves(view.obs)[0].shape[0]), bool), ())
    return distributions.of_space(action_space, outputs[0], view.mask).probs


def mixture(policies: jax.Array) -> Policy:
    """Returns the policy that follows table m in environments m, m + M, m + 2 M, ...

    It notes the log-probability of its action as ``extras["log_prob"]``.

    Args:
        policies: float32[M, X, A], the probabilities of the actions for each observation number; several tables give episodes of
            different quality.
    """

    def act(key: jax.Array, view: View) -> Decision:
        table = jnp.arange(view.obs.shape[0]) % policies.shape[0]
        log_probs = jnp.log(policies[table, view.obs])
        action = jax.random.categorical(key, log_probs).astype(jnp.int32)
        return Decision(action, {"log_prob": value_heads.chosen(log_probs, action)})

    return act


def noting_log_prob(policy: Policy, probabilities: Callable) -> Policy:
    """Returns a policy of Discrete actions that notes the log-probability of its action as ``extras["log_prob"]``.

    Args:
        policy: sampled with these probabilities.
        probabilities: ``(view) -> float32[E, A]``, as ``Algorithm.probabilities`` with a state.
    """

    def act(key: jax.Array, view: View) -> Decision:
        decision = policy(key, view)
        chance = value_heads.chosen(probabilities(view), decision.action)
        return decision._replace(extras=decision.extras | {"log_prob": jnp.log(chance)})

    return act


def sample(distribution: Any, key: jax.Array) -> Any:
    """Draws an action."""
    return distribution.sample(seed=key)


def mode(distribution: Any, key: jax.Array) -> Any:
    """Returns the most likely action."""
    return distribution.mode()


def epsilon_greedy_over(values_of: Callable, epsilon_of: Callable, random_ties: bool = True) -> tuple[Callable, Callable]:
    """Returns how a learner of action values acts: the functions ``policy`` and ``probabilities`` of its ``Algorithm``.

    Sampled, it explores: with probability epsilon it takes a uniform legal action.

    Args:
        values_of: ``(state, obs) -> float32[E, ..., A]``, the action values of a batch of observations.
        epsilon_of: ``(state) -> float32[]``, the probability in [0, 1] of a uniform action.
        random_ties: whether ties are broken at random: a table that starts as zeros would take the first action everywhere,
            and so explore nothing. A network has none.

    Returns:
        ``policy``: ``(state, greedy) -> Policy``, and ``probabilities``: ``(state, view) -> float32[E, ..., A]``.
    """
    return epsilon_greedy_with_memory(lambda state, obs, memory: (values_of(state, obs), ()), epsilon_of, random_ties)


def epsilon_greedy_with_memory(values_of: Callable, epsilon_of: Callable, random_ties: bool = True) -> tuple[Callable, Callable]:
    """As ``epsilon_greedy_over``, where what was seen before changes the values.

    Args:
        values_of: ``(state, obs, memory) -> (float32[E, ..., A], memory)``, with memory PyTree[E, ...] before and after ``obs``.
        epsilon_of, random_ties: as for ``epsilon_greedy_over``.
    """

    def policy(state: Any, greedy: bool) -> Policy:
        def act(key: jax.Array, view: View) -> Decision:
            values, memory = values_of(state, view.obs, view.memory)
            if greedy:
                return Decision(exploration.greedy(values, view.mask), memory=memory)
            return Decision(epsilon_greedy(key, values, epsilon_of(state), view.mask, random_ties), memory=memory)

        return act

    def probabilities(state: Any, view: View) -> jax.Array:
        values, _ = values_of(state, view.obs, view.memory)
        return epsilon_greedy_probabilities(values, epsilon_of(state), view.mask, random_ties)

    return policy, probabilities


def softmax_over(preferences_of: Callable) -> tuple[Callable, Callable]:
    """Returns how a learner of preferences acts: the functions ``policy`` and ``probabilities`` of its ``Algorithm``.

    Sampled, it takes each legal action with a chance in proportion to the exponential of its preference; greedily, the first of
    those it prefers most.

    Args:
        preferences_of: ``(state, obs) -> float32[E, ..., A]``, of a batch of observations.

    Returns:
        ``policy``: ``(state, greedy) -> Policy``, and ``probabilities``: ``(state, view) -> float32[E, ..., A]``.
    """

    def policy(state: Any, greedy: bool) -> Policy:
        def act(key: jax.Array, view: View) -> Decision:
            preferences = preferences_of(state, view.obs)
            if greedy:
                return Decision(exploration.greedy(preferences, view.mask))
            return Decision(exploration.boltzmann(key, preferences, 1.0, view.mask))

        return act

    def probabilities(state: Any, view: View) -> jax.Array:
        return exploration.boltzmann_probabilities(preferences_of(state, view.obs), 1.0, view.mask)

    return policy, probabilities
