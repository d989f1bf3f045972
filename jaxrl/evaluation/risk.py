"""Evaluating the risk of a policy exactly, on the model of a finite environment."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks.networks import QNetwork
from jaxrl.blocks.utilities import shortfall, tail_mean
from jaxrl.blocks.value_heads import Head
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.finite import TabularModel, single_precision, tabulate
from jaxrl.core.rollout import View
from jaxrl.errors import EnvError, require, require_discount, require_number
from jaxrl.evaluation.policy_tables import Spaces, greedy_actions, require_alike
from jaxrl.solvers.mdp.distributional import distributional_evaluation, require_support


@struct.dataclass
class ExactCVaR:
    """Evaluates the conditional value at risk of the return of a learner's greedy policy, by the law of its return.

    Metrics: ``greedy_exact_cvar``; ``greedy_exact_cvar_error``, the largest amount by which the means of the laws miss their own
    equation: rounding, unless returns lie beyond the atoms. In an environment with a stock (``with_stock``) the policy begins
    with the first stock -b whose objective b + E[min(G - b, 0)] / tau the learner itself believes to be the largest; then
    ``greedy_best_cvar`` is that of the stock which is truly the best. The learner's state must hold the parameters of the
    network as ``params``, as that of DQN does, and its policy must depend on the observation alone.

    Build it with ``ExactCVaR.of(env, level, atoms, network, head)``.

    Source: Pires (2025); Bauerle and Ott (2011); Rockafellar and Uryasev (2000).
    """

    model: TabularModel
    level: jax.Array
    gamma: jax.Array
    atoms: jax.Array  # float32[N]
    target: jax.Array  # float32[B], b, one for each first stock; 0 without a stock
    stock: jax.Array  # float32[X], of every state; 0 without a stock
    starts: jax.Array  # float32[B, X], the initial distribution with each of the first stocks
    head: Head
    network: QNetwork = static()
    spaces: Spaces = static()
    masked: bool = static(default=False)

    @classmethod
    def of(
        cls,
        env: Environment,
        level: float,
        atoms: Any,
        network: QNetwork,
        head: Head,
        gamma: float = 1.0,
        max_states: int = 10_000,
    ) -> "ExactCVaR":
        """Tabulates the environment.

        Args:
            env: a finite environment without agents.
            level: tau in (0, 1], the share of the worst returns that counts.
            atoms: float[N], rising: the returns whose probabilities are computed, exactly if no other return is possible.
            network: the learner's, ``dqn.q_network(env, config)``.
            head: the learner's, ``value_heads.make(config)``.
            gamma: the learner's discount, in [0, 1].

        Raises:
            ConfigError: the level or the discount is out of range, the atoms do not rise, or the head is not the network's.
            EnvError: the environment has agents, is not finite, or is too large.
        """
        where = "ExactCVaR"
        require_single_agent(where, env, "Use TeamReturn or Exploitability.", EnvError)
        require_number(where, "level", level, 0, 1, "0.1 is common.", above=True)
        require_discount(where, gamma)
        must = f"head must have as many outputs for each action as the network ({network.num_atoms})"
        require(head.num_atoms == network.num_atoms, where, must, head.num_atoms, "Give value_heads.make(config).")
        support, model = require_support(where, atoms), tabulate(env)
        stock = _stock(model)
        first = np.unique(stock[model.initial > 0])
        starts = np.where(stock == first[:, None], model.initial, 0.0)
        starts = starts / starts.sum(1, keepdims=True)
        single = partial(jnp.asarray, dtype=jnp.float32)
        numbers = single(level), single(gamma), single(support), single(-first), single(stock), single(starts)
        spaces, masked = Spaces.of(env), env.action_mask_fn is not None
        return cls(single_precision(model), *numbers, head, network, spaces, masked)

    def validate(self, task: Any) -> None:
        """Raises EnvError where the task is an environment of other spaces."""
        require_alike("ExactCVaR", self.spaces, task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        model, (_, num_actions) = self.model, self.model.action_mask.shape
        view = View(model.observation, model.action_mask if self.masked else None, (), state=model.state)
        action = greedy_actions("ExactCVaR", key, algorithm, state, view, self.stock.shape)
        policy = jax.nn.one_hot(action, num_actions)
        laws = distributional_evaluation(model, policy, self.gamma, self.atoms, 0.0)
        cvar = tail_mean(self.atoms, jnp.matmul(self.starts, laws.law, precision="highest"), self.level)
        outputs: Any = self.network.apply(state.params, model.observation)
        worth = jnp.take_along_axis(shortfall(*self.head.law(outputs), self.stock[:, None]), action[:, None], 1)[:, 0]
        believed = self.target + jnp.matmul(self.starts, worth, precision="highest") / self.level
        metrics = {"greedy_exact_cvar": cvar[believed.argmax()], "greedy_exact_cvar_error": laws.mean_residual}
        return metrics | ({"greedy_best_cvar": cvar.max()} if len(self.target) > 1 else {})


def _stock(model: TabularModel) -> np.ndarray:
    """Returns the stock that every state shows, float32[X], 0 where none is shown."""
    observation: Any = model.observation
    shown = observation["stock"] if isinstance(observation, dict) and "stock" in observation else np.zeros(model.num_states)
    return np.asarray(shown, np.float32)
