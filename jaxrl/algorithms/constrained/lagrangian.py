"""A Lagrangian constraint: any learner earns the most it can while the discounted costs of its episodes stay within a budget.

    repeat
        improve    the learner by an update of its own, paid  r - lambda c
        price      lambda <- [lambda + eta (J_c - d)]+,  J_c the mean discounted cost of the episodes that ended in this update

It stands around a learner rather than in it: the price is a traced part of the environment's parameters
(``transforms.with_price``), and the steps come back with the learner's metrics (``rollout.BLOCK``). So PPO, DQN, SAC, TD3, the
tabular ones and one of a user's own take it. With I costs, lambda, d and J_c are vectors, and lambda c is the sum over costs.

A replay memory would mix the prices of all times. So rewards and costs are kept apart here, beside the learner's buffer and in
its places, and before each update the stored rewards are made those at the present price. The price is one number during an
update: where this has many rounds (``num_rounds`` of DQN), it moves seldom. A learner without a ``ReplayBuffer`` keeps the prices
in what it has learned: a table, a critic and the model of Dyna-Q follow lambda as quickly as they learn.

The price must move slowly beside the learner (two time scales). Near a saddle point lambda and the policy go to and fro, and a
best policy within a budget may have to randomise, which no greedy policy does: the budget is kept on average over time. It is the
policy that acts which keeps it, its exploration included; a greedy policy may cost more or less. An episode that a time limit
cuts costs what it has cost until then.

Metrics of episodes are those of the environment's own reward; ``episode_cost`` is J_c, ``multiplier`` is lambda after the update.
Evaluators are built on the environment itself and see no price.

Source: Altman (1999), "Constrained Markov Decision Processes", chapter 3; Borkar (2005), "An Actor-Critic Algorithm for
Constrained Markov Decision Processes" (two time scales); Tessler, Mankowitz and Mannor (2019), "Reward Constrained Policy
Optimization", algorithm 1 (the penalised reward); with PPO: Ray, Achiam and Amodei (2019), "Benchmarking Safe Exploration in Deep
Reinforcement Learning".
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import replay
from jaxrl.blocks.around import AroundLearner, acting_as
from jaxrl.blocks.lagrangian import init as first_multiplier
from jaxrl.blocks.lagrangian import penalised, updated
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import Average, average
from jaxrl.core.config import Discounted, require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.transforms import Charged, cost_shape, with_price
from jaxrl.errors import AlgorithmError, require, require_between, require_numbers

WHERE = "lagrangian"


@struct.dataclass
class Config(AroundLearner):
    """Hyper-parameters; those of the learner are nested. The discount of rewards and costs is the learner's."""

    where: ClassVar[str] = WHERE

    learner: Any  # the configuration of the learner
    make_learner: Callable = static()  # its ``make``, for example ``ppo.make`` or ``q_learning.make``
    # d, of the expected discounted cost of an episode, in units of the cost: one for all costs, or a tuple with one for each.
    budget: float | tuple[float, ...] = 1.0
    multiplier_rate: float = 0.01  # eta, at least 0; much less than what the learner learns in an update
    cost: str = static(default="cost")  # which entry of ``Step.info`` holds the costs, one number or a vector

    def validate(self, env: Environment) -> None:
        """Raises ConfigError, EnvError or SpaceError where these values cannot run on ``env``."""
        require_single_agent(WHERE, env, "Constrain one agent.")
        require_numbers(WHERE, self)
        require_between(WHERE, self, 0, float("inf"), "multiplier_rate")
        shape = cost_shape(WHERE, env, self.cost)
        if isinstance(self.budget, tuple):
            must, fix = f"budget must be one number, or a tuple with one for each cost, {shape}", "Set budget=1.0."
            require((len(self.budget),) == shape, WHERE, must, self.budget, fix)
        must, fix = "config.learner must have gamma", "Take one of the library's learners that discount."
        require(isinstance(self.learner, Discounted), WHERE, must, type(self.learner).__name__, fix)
        self.validate_learner(env)

    @property
    def budgets(self) -> jax.Array:
        """d, float32[], or float32[I] where each cost has its own."""
        each = self.budget if isinstance(self.budget, tuple) else (self.budget,)
        together = jnp.stack([jnp.asarray(one, jnp.float32) for one in each])
        return together if isinstance(self.budget, tuple) else together[0]


class Account(NamedTuple):
    """The account of a stored step: reward float32[], which it paid, and cost float32[] or float32[I]."""

    reward: jax.Array
    cost: jax.Array


@struct.dataclass
class State:
    """learner: the learner's state. multiplier: float32[] or float32[I], lambda.

    accounts: of the stored steps, Account[C] in the places of the learner's buffer; None if the learner has no buffer.
    """

    learner: PyTree
    multiplier: jax.Array
    accounts: ReplayBuffer | None


def make(env: Environment, config: Config) -> Algorithm:
    """Builds a learner on an environment whose costs have a price."""
    shape, gamma = cost_shape(WHERE, env, config.cost), config.learner.gamma
    acting = config.make_learner(env, config.learner)  # its policy does not depend on the reward

    def learner(multiplier, reward_weight=1.0):
        return config.make_learner(with_price(env, config.cost, multiplier, gamma, reward_weight), config.learner)

    def init(key):
        multiplier = first_multiplier(*shape)
        state = learner(multiplier).init(key)
        # The same draws on purpose: see accounts.
        return State(state, multiplier, accounts(state, lambda price: learner(price, 0.0).init(jax.random.clone(key)), shape))

    def update(state, key):
        # Improve the learner by an update of its own, paid r - lambda c.
        learner_state, metrics = learner(state.multiplier).update(repriced(state), key)
        metrics, block = rollout.apart(WHERE, metrics)
        charged: Charged = block.info[rollout.BLOCK]
        # lambda <- [lambda + eta (J_c - d)]+, by the episodes that ended.
        cost = ended_costs(block.done, charged.total)
        some = cost.count > 0
        mean = jnp.where(some, cost.total / jnp.where(some, cost.count, 1.0), 0.0)
        multiplier = updated(state.multiplier, mean, config.budgets, config.multiplier_rate, some)
        own = block._replace(reward=charged.reward, return_=charged.return_, info={})
        measured = rollout.episode_metrics(own) | {"episode_cost": cost, "multiplier": multiplier}
        booked = stored(state.accounts, rollout.flattened(Account(charged.reward, charged.cost)))
        return State(learner_state, multiplier, booked), metrics | measured

    return acting_as(acting, init, update)


def ended_costs(done: jax.Array, total: jax.Array) -> Average:
    """Returns the mean discounted cost of the episodes that ended, of each cost. done: bool[T, E]. total: ``Charged.total``."""
    return average(total, done.reshape(*done.shape, *(1,) * (total.ndim - done.ndim)), axis=(0, 1))


def buffer_of(state: PyTree) -> ReplayBuffer | None:
    """Returns the replay memory of a learner, None if it has none.

    Raises:
        AlgorithmError: there are several, or its steps have no rewards that could be changed.
    """
    found = [node for node in jax.tree.leaves(state, is_leaf=_is_buffer) if _is_buffer(node)]
    if not found:
        return None
    must, fix = "a learner must have one replay memory, of single steps with a reward each", "Take DQN, SAC or TD3."
    reward = getattr(found[0].items, "reward", None)
    rewarded = reward is not None and reward.shape == (found[0].capacity,)
    require(len(found) == 1 and rewarded, WHERE, must, f"{len(found)}, {type(found[0].items).__name__}", fix, AlgorithmError)
    return found[0]


def _is_buffer(node: Any) -> bool:
    return isinstance(node, ReplayBuffer)


def accounts(state: PyTree, begun: Callable[[jax.Array], PyTree], shape: tuple[int, ...]) -> ReplayBuffer | None:
    """Returns the accounts of the steps that a learner begins with: its rewards, and its costs apart.

    Its first steps are random and do not depend on what they are paid. So a learner that begins with the same key, and is paid
    one cost alone, has this cost in the places of the rewards.

    Args:
        state: of the learner at its first price, 0.
        begun: ``(multiplier) -> state`` at another price, without the environment's own reward.
        shape: of the costs.
    """
    buffer = buffer_of(state)
    if buffer is None:
        return None
    units = jnp.eye(max(sum(shape), 1), dtype=jnp.float32).reshape(-1, *shape)
    costs = [buffer_of(begun(-unit)).items.reward for unit in units]  # type: ignore[union-attr]
    items = Account(buffer.items.reward, jnp.stack(costs, -1).reshape(-1, *shape))
    return ReplayBuffer(items, buffer.position, buffer.size)


def repriced(state: State) -> PyTree:
    """Returns the learner's state in which all stored rewards are those at the present price."""
    if state.accounts is None:
        return state.learner
    kept: Account = state.accounts.items
    reward = penalised(kept.reward, kept.cost, state.multiplier)

    def reprice(node):
        return replace(node, items=node.items._replace(reward=reward)) if _is_buffer(node) else node

    return jax.tree.map(reprice, state.learner, is_leaf=_is_buffer)


def stored(kept: ReplayBuffer | None, steps: Account) -> ReplayBuffer | None:
    """Returns the accounts with those of an update, Account[T * E], which may be more than the learner's buffer keeps."""
    if kept is None:
        return None
    early = max(len(steps.reward) - kept.capacity, 0)
    kept = replace(kept, position=(kept.position + early) % kept.capacity)
    return replay.add(kept, jax.tree.map(lambda leaf: leaf[early:], steps))
