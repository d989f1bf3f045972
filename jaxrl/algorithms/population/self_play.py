"""Self-play: any learner plays one seat of a game of two against itself, as it is or as it was.

    the pool holds the learner as it begins
    repeat
        for each new episode draw the learner's seat, and its opponent: the learner as it is, or a snapshot m of the pool with
            chances in proportion to    1                    opponents="uniform"   fictitious self-play
                                        (1 - p_m)^k          opponents="hard"      prioritised fictitious self-play
                                        p_m (1 - p_m)        opponents="even"
        improve    the learner by an update of its own
        record     p_m, the share of games that it has won against m
        every ``snapshot_every`` updates, add it to the pool

With ``opponents="latest"`` it plays the learner as it is alone, which is plain self-play. In games without a cycle this improves
it; in rock, paper, scissors it chases its own tail, while the average of the snapshots comes to rest.

A pool that is full lets its oldest snapshot go, or (``keep="reservoir"``) keeps a fair sample of all there were. A snapshot that
is replaced in the course of an episode plays on as its successor, and such an episode is not counted in p. Opponents sample from
their policies, as the learner does.

One learner takes both seats in turn (``shared_parameters``): what a player observes must be made from its own point of view, or
``agent_ids`` shows it the seat. Otherwise each seat has a learner of its own, and each plays the other's snapshots.

It stands around a learner rather than in it: the opponents are a traced part of the environment's parameters
(``transforms.with_opponent``). So PPO, DQN, tabular Q-learning and one of a user's own take it, if they have no memory. The
policy is that of both players, so that evaluators are built on the game itself; ``PoolAverage`` measures the average of the pool.

Source: Heinrich, Lanctot and Silver (2015), "Fictitious Self-Play in Extensive-Form Games"; Vinyals et al. (2019), "Grandmaster
level in StarCraft II using multi-agent reinforcement learning", Methods, for the chances; Bansal et al. (2018), "Emergent
Complexity via Multi-Agent Competition", section 3.2, for opponents of all ages.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import agents, opponents, snapshots
from jaxrl.blocks.around import AroundLearner
from jaxrl.blocks.opponents import Pool
from jaxrl.core import counters, masks, rollout
from jaxrl.core.algorithm import Algorithm, require_policy
from jaxrl.core.averages import average, pooled
from jaxrl.core.config import require_agents
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Decision, View
from jaxrl.core.transforms import Played, seen_from, with_opponent
from jaxrl.errors import AlgorithmError, EnvError, require, require_between, require_counts, require_numbers, unknown_name
from jaxrl.evaluation.policy_tables import action_probabilities
from jaxrl.solvers import extensive
from jaxrl.solvers.extensive import ExtensiveGame

WHERE = "self_play"
OPPONENTS = "latest", "uniform", "hard", "even"
KEEP = "newest", "reservoir"


@struct.dataclass
class Config(AroundLearner):
    """Hyper-parameters; those of the learner are nested. Floats are traced: sweeping them recompiles nothing."""

    where: ClassVar[str] = WHERE

    learner: Any  # the configuration of the learner
    make_learner: Callable = static()  # its ``make``, for example ``ppo.make`` or ``dqn.make``
    power: float = 1.0  # k of "hard", at least 0
    latest_share: float = 0.0  # of episodes against the learner as it is, beside those against snapshots, in [0, 1]
    forgetting: float = 0.05  # the share of all earlier results that an update forgets, in [0, 1]
    opponents: str = static(default="uniform")  # or latest, hard, even
    keep: str = static(default="newest")  # or reservoir: what a full pool keeps
    pool_size: int = static(default=16)  # M, snapshots of a learner that are kept (count)
    snapshot_every: int = static(default=10)  # updates (count)
    shared_parameters: bool = static(default=True)  # one learner for both seats; False: each its own
    agent_ids: bool = static(default=False)  # show the learner which seat it has (shared parameters)

    def validate(self, env: Environment) -> None:
        """Raises ConfigError, EnvError, SpaceError or UnknownNameError where these values cannot run on ``env``."""
        require_agents(WHERE, env, "Take a game of two.", count=2)
        for kind, name, known in (("opponents", self.opponents, OPPONENTS), ("keep", self.keep, KEEP)):
            if name not in known:
                raise unknown_name(WHERE, kind, name, known)
        require_counts(WHERE, self, "pool_size", "snapshot_every")
        require_numbers(WHERE, self)
        require_between(WHERE, self, 0, 1, "latest_share", "forgetting")
        require_between(WHERE, self, 0, float("inf"), "power")
        agents.require_ids(WHERE, self)
        if self.shared_parameters:
            agents.require_one_role(WHERE, env, "Set shared_parameters=False.")
        against = opening(env, self)
        self.validate_learner(against)
        learner = self.make_learner(against, self.learner)
        require_policy(WHERE, learner, "Take one of the library's learners that act.")
        must, fix = "the learner must have no memory", "Set memory_size=0."
        require(not jax.tree.leaves(learner.memory), WHERE, must, learner.memory, fix, AlgorithmError)


@struct.dataclass
class State:
    """R learners, 1 that takes both seats or 2 with one each.

    learner: their states, every leaf with a leading axis R. pool: of each, likewise. updates: int32[], made so far.
    """

    learner: PyTree
    pool: Pool
    updates: jax.Array


@dataclass(frozen=True)
class Opponent:
    """The play of a snapshot. algorithm: of the learner. zeros: a state of it, which lends what snapshots lack."""

    algorithm: Algorithm
    zeros: Callable

    def __call__(self, key: jax.Array, snapshot: PyTree, obs: PyTree, mask: PyTree, t: jax.Array) -> PyTree:
        """Returns an action of the sampled policy; see ``with_opponent``."""
        obs, mask, t = jax.tree.map(lambda leaf: leaf[None], (obs, mask, t))
        policy: Any = self.algorithm.policy
        action = policy(snapshots.completed(snapshot, self.zeros()), False)(key, View(obs, mask, (), t)).action
        return jax.tree.map(lambda leaf: leaf[0], action)


@dataclass(frozen=True)
class Anyone:
    """An opponent that plays uniformly at random, before there is a learner. space: of the actions."""

    space: Any

    def __call__(self, key: jax.Array, snapshot: PyTree, obs: PyTree, mask: PyTree, t: jax.Array) -> PyTree:
        """Returns a random legal action; see ``with_opponent``."""
        return masks.sample(key, self.space, mask, ())


def opening(env: Environment, config: Config, seat: jax.Array | int = -1) -> Environment:
    """Returns the game as a learner begins it: its episodes are against the learner as it is."""
    chance = jnp.zeros(config.pool_size + 1, jnp.float32).at[-1].set(1.0)
    number = jnp.full(config.pool_size + 1, opponents.LATEST, jnp.int32)
    return with_opponent(env, Anyone(env.action_space), (), number, chance, seat, config.agent_ids)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds self-play on a game of two.

    Metrics beside those of the learner:
        win_rate: the share of games that were won in this update, ties counting half.
        agent_return: [2], what learners earned in each seat.
        pool: how many snapshots there are.
        hardest_win_rate: the lowest estimate of p among the snapshots.
    """
    count = 1 if config.shared_parameters else 2
    seats = jnp.full(1, -1, jnp.int32) if config.shared_parameters else jnp.arange(2, dtype=jnp.int32)
    acting = config.make_learner(opening(env, config), config.learner)  # its policy does not depend on the opponent
    shapes: Any = jax.eval_shape(acting.init, jax.random.key(0))
    read = snapshots.read_by_policy(acting, shapes, first_view(env, config))
    opponent = Opponent(acting, partial(snapshots.zeros, shapes))

    def init(key):
        def begin(key, seat):
            learner = config.make_learner(opening(env, config, seat), config.learner).init(key)
            return learner, opponents.create(snapshots.taken(learner, read), config.pool_size)

        learner, pool = jax.vmap(begin)(jax.random.split(key, count), seats)
        return State(learner, pool, counters.zeros())

    def improve(learner, pool, latest, seat, key):
        """Makes an update of one learner against the pool of its opponent, and records the results in it."""
        chance = opponents.chances(pool, config.opponents, config.power, config.latest_share)
        everyone = jax.tree.map(lambda kept, leaf: jnp.concatenate([kept, leaf[None]]), pool.snapshots, latest)
        number = jnp.append(pool.number, opponents.LATEST)
        against = with_opponent(env, opponent, everyone, number, chance, seat, config.agent_ids)
        learner, metrics = config.make_learner(against, config.learner).update(learner, key)
        metrics, block = rollout.apart(WHERE, metrics)
        played: Played = block.info[rollout.BLOCK]
        pool = opponents.recorded(pool, played.slot, played.number, played.lead, block.done, config.forgetting)
        return learner, pool, metrics | measured(block, played)

    def update(state, key):
        play_key, pool_key = jax.random.split(key)
        other = partial(jax.tree.map, lambda leaf: leaf[::-1])  # the learner in the other seat: itself where there is one
        latest = snapshots.taken(state.learner, read)
        keys = jax.random.split(play_key, count)
        # Every learner plays one seat against the pool of the other, and improves by an update of its own.
        learner, pool, metrics = jax.vmap(improve)(state.learner, other(state.pool), other(latest), seats, keys)
        # Every so many updates, each is added to its own pool.
        pool, updates = other(pool), counters.advanced(state.updates)
        add = partial(opponents.add, keep=config.keep, where=updates % config.snapshot_every == 0)
        pool = jax.vmap(add)(jax.random.split(pool_key, count), pool, snapshots.taken(learner, read))
        there = opponents.present(pool)
        return State(learner, pool, updates), pooled(metrics, 1) | {
            "pool": there.sum(-1).mean(dtype=jnp.float32),
            "hardest_win_rate": jnp.where(there, opponents.win_rate(pool), 1.0).min(),
        }

    def of_seats(function, state, view):
        """Applies ``(state of a learner, seat, view)`` to both seats; the axis of the agents comes after that of the batch."""

        def of(seat):
            learner = jax.tree.map(lambda leaf: leaf[seat % count], state.learner)
            return function(learner, seat, seen_by(env, config, seat, view))

        return jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), of(0), of(1))

    def policy(state, greedy):
        def act(key, view):
            keys, play = jax.random.split(key), require_policy(WHERE, acting)
            return Decision(of_seats(lambda learner, seat, view: play(learner, greedy)(keys[seat], view).action, state, view))

        return act

    def probabilities(state, view):
        found: Any = acting.probabilities
        return of_seats(lambda learner, seat, view: found(learner, view), state, view)

    return Algorithm(init, update, policy, probabilities=probabilities if acting.probabilities else None)


def measured(block: rollout.Transition, played: Played) -> dict[str, Any]:
    """Returns ``win_rate`` and ``agent_return`` of the episodes that ended in a block [T, E]."""
    won = jnp.where(played.lead > 0, 1.0, jnp.where(played.lead < 0, 0.0, 0.5))
    in_seat = block.done[..., None] & (played.seat[..., None] == jnp.arange(2))
    return {
        "win_rate": average(won, block.done),
        "agent_return": average(jnp.broadcast_to(block.return_[..., None], in_seat.shape), in_seat, axis=(0, 1)),
    }


def first_view(env: Environment, config: Config) -> View:
    """Returns the view of a learner in one environment, by shape and dtype."""
    against = opening(env, config)
    return jax.eval_shape(lambda key: rollout.view(against, rollout.start(key, against, 1)), jax.random.key(0))


def seen_by(env: Environment, config: Config, seat: int, view: View) -> View:
    """Returns what the learner in a seat sees of a batch of games, View[B, ...] of View[B, 2, ...]."""
    obs, mask = jax.tree.map(lambda leaf: leaf[:, seat], (view.obs, view.mask))
    if config.agent_ids:
        batch = jax.tree.leaves(obs)[0].shape[0]
        obs = seen_from(env.observation_space, jnp.full(batch, seat, jnp.int32), obs)
    return View(obs, mask, (), view.t)


def member(state: State, index: jax.Array) -> State:
    """Returns a state that acts as the snapshot in one place of the pools does. index: int32[]."""
    snapshot = jax.tree.map(lambda leaf: leaf[:, index], state.pool.snapshots)
    return State(snapshots.completed(snapshot, state.learner), state.pool, state.updates)


@struct.dataclass
class PoolAverage:
    """Evaluates the average of the snapshots in the pool, exactly, in a finite game: each as likely, and drawn once for a game.

    Metrics: ``pool_exploitability``, the mean of what the two players could gain by best responses to the other's average, and
    ``pool_nash_conv``, the sum. The learner itself is measured by ``jaxrl.evaluation.Exploitability`` or ``NashConv``. Build it
    with ``PoolAverage.of(env)``.

    game: the extensive form. masked: whether the environment has masks.
    """

    game: ExtensiveGame
    masked: bool = static(default=False)

    @classmethod
    def of(cls, env: Environment) -> "PoolAverage":
        """Walks all ways through a finite game; see ``extensive.from_environment``, also for errors."""
        return cls(extensive.from_environment(env), env.action_mask_fn is not None)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: State) -> dict[str, jax.Array]:
        must, fix = "the algorithm must know its probabilities", "Take a learner of discrete actions, such as PPO."
        require(algorithm.probabilities is not None, "PoolAverage", must, None, fix, EnvError)
        legal = jnp.swapaxes(jnp.asarray(self.game.legal), 0, 1)  # the agents side by side, each in its own information set
        obs = jax.tree.map(lambda leaf: jnp.swapaxes(jnp.asarray(leaf), 0, 1), self.game.information)
        view = View(obs, legal if self.masked else None, ())

        def strategies(index):
            found = action_probabilities("PoolAverage", algorithm, member(state, index), view, legal.shape)
            return jnp.swapaxes(found, 0, 1)

        places = state.pool.number.shape[1]
        policies = jax.vmap(strategies, out_axes=1)(jnp.arange(places))  # [2, M, I, A]
        there = opponents.present(state.pool).astype(jnp.float32)
        weight = jnp.broadcast_to(there / there.sum(-1, keepdims=True), (2, places))
        gain = extensive.regrets(self.game, extensive.mixed(self.game, policies, weight))
        return {"pool_exploitability": gain.mean(), "pool_nash_conv": gain.sum()}
