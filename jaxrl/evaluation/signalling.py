"""Measures of a code: how much the first action of an agent says about what it saw, and whether like things have like signals.

Source: Shannon (1948), mutual information; Brighton and Kirby (2006), "Understanding linguistic evolution by visualizing the
emergence of topographic mappings", topographic similarity.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Discrete
from jaxrl.errors import EnvError, require, require_real
from jaxrl.evaluation.policy_tables import Spaces, action_probabilities, greedy_actions, require_alike


def mutual_information(prior: jax.Array, code: jax.Array) -> jax.Array:
    """Returns how much a signal says about a meaning, in bits: at least 0 and at most the entropy of either.

    Args:
        prior: float[M], the probabilities of the meanings.
        code: float[M, S], those of the signals for each meaning.

    Returns:
        float[], sum over m and s of p(m) p(s | m) log2(p(s | m) / p(s)).
    """
    signal = jnp.dot(prior, code, precision="highest")
    ratio = jnp.where(code > 0, code, 1.0) / jnp.where((code > 0) & (signal > 0), signal, 1.0)
    terms = jnp.where(code > 0, code * jnp.log2(ratio), 0.0).sum(-1)
    return jnp.maximum(jnp.dot(prior, terms, precision="highest"), 0.0)


def topographic_similarity(code: jax.Array, meanings: Any, signals: Any) -> jax.Array:
    """Returns the correlation between how far meanings and how far their signals are from each other, over all pairs of meanings.

    Args:
        code: float[M, S], the probabilities of the signals for each meaning, independent from one meaning to another.
        meanings: float[M, M], the distances of meanings, not all the same.
        signals: float[S, S], the distances of signals.

    Returns:
        float[] in [-1, 1], Pearson's correlation with the expected distance of two signals; 0 if all these are the same.
    """
    first, second = np.triu_indices(code.shape[0], 1)
    apart = jnp.asarray(meanings, code.dtype)[first, second]
    expected = jnp.einsum("is,st,jt->ij", code, jnp.asarray(signals, code.dtype), code, precision="highest")[first, second]
    apart, expected = apart - apart.mean(), expected - expected.mean()
    scale = jnp.sqrt(jnp.square(apart).sum() * jnp.square(expected).sum())
    varies = jnp.abs(expected).max() > 1e-6 * jnp.abs(jnp.asarray(signals)).max()
    return jnp.where(varies, (apart * expected).sum() / jnp.where(varies, scale, 1.0), 0.0)


@struct.dataclass
class Signalling:
    """Evaluates the code in which an agent tells others what it sees as an episode begins, exactly.

    Metrics: ``greedy_information``, how much the agent's first action says about the state in which the episode began, in bits,
    and ``greedy_topographic_similarity`` if distances are given; ``sampled_information`` and ``sampled_topographic_similarity``
    of the policy that is sampled, where the algorithm can say with which probabilities it acts. The policies must depend on their
    observations alone. Build it with ``Signalling.of(env)``.
    """

    prior: jax.Array  # float32[M], of the initial states
    obs: Any  # PyTree[M, N, ...], what the agents see in them
    mask: jax.Array | None  # bool[M, N, A]
    meanings: jax.Array | None  # float32[M, M], distances
    signals: jax.Array | None  # float32[A, A], distances
    sender: int = static()
    spaces: Spaces = static()

    @classmethod
    def of(cls, env: Environment, sender: int = 0, meanings: Any = None, signals: Any = None) -> "Signalling":
        """Lists the initial states, whose number in this list is the meaning.

        Args:
            env: a finite environment with agents and discrete actions.
            sender: the number of the agent that signals.
            meanings: float[M, M], how far the meanings are from each other, not all the same; None measures no similarity.
            signals: float[A, A], how far the actions are from each other; given together with ``meanings``.

        Raises:
            EnvError: the environment is not finite, has no such agent, or other actions.
            ConfigError: the distances have other shapes, or are all the same.
        """
        where, count = "Signalling", env.num_agents or 0
        require(env.is_finite, where, "the environment must be finite", "outcomes_fn=None", "Write it by finite().", EnvError)
        must = f"sender must be one of the {count} agents, counted from 0"
        require(0 <= sender < count, where, must, sender, "0 is the first one.", EnvError)
        space: Any = env.action_space
        require(isinstance(space, Discrete), where, "the action_space must be Discrete", space, "Number the signals.", EnvError)
        assert env.initial_fn is not None
        assert env.observe_fn is not None
        start = env.initial_fn(env.params)
        obs = jax.vmap(env.observe_fn, in_axes=(0, None))(start.state, env.params)
        mask = None if env.action_mask_fn is None else jax.vmap(env.action_mask)(start.state)
        given, fix = meanings is not None, "Give both, or none."
        require(given == (signals is not None), where, "meanings and signals must be given together", (meanings, signals), fix)
        if given:
            total = len(start.probability)
            meanings, signals = require_real(where, "meanings", meanings), require_real(where, "signals", signals)
            for name, table, size in (("meanings", meanings, total), ("signals", signals, space.n)):
                must = f"{name} must have shape {(size, size)}"
                require(table.shape == (size, size), where, must, table.shape, "Give the distance of each pair.")
            pairs = meanings[np.triu_indices(total, 1)]
            differ = pairs.size > 0 and np.ptp(pairs) > 0
            require(differ, where, "the distances of meanings must not all be the same", pairs, "Count attributes that differ.")
            meanings, signals = jnp.asarray(meanings, jnp.float32), jnp.asarray(signals, jnp.float32)
        prior = jnp.asarray(start.probability, jnp.float32)
        return cls(prior, obs, mask, meanings, signals, sender, Spaces.of(env))

    def validate(self, task: Any) -> None:
        """Raises EnvError where the task is an environment of other spaces."""
        require_alike("Signalling", self.spaces, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        actions: Any = self.spaces.action
        shape = len(self.prior), self.spaces.agents or 1
        view = View(self.obs, self.mask, ())

        def measures(code, mode):
            metrics = {f"{mode}_information": mutual_information(self.prior, code)}
            if self.meanings is not None and self.signals is not None:
                similarity = topographic_similarity(code, self.meanings, self.signals)
                metrics[f"{mode}_topographic_similarity"] = similarity
            return metrics

        action = greedy_actions("Signalling", key, algorithm, state, view, shape)[:, self.sender]
        metrics = measures(jax.nn.one_hot(action, actions.n), "greedy")
        if algorithm.probabilities is not None:
            code = action_probabilities("Signalling", algorithm, state, view, (*shape, actions.n))[:, self.sender]
            metrics |= measures(code, "sampled")
        return metrics
