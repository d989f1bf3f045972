"""One player of a game of two: the other seat is taken by an opponent that is part of the environment."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.config import require_agents
from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.rollout import BLOCK
from jaxrl.core.spaces import Discrete, Space, Tuple
from jaxrl.core.transforms.inner import LimitOfInner


@struct.dataclass
class OpponentParams:
    """env: PyTree, parameters of the game.

    opponents: PyTree[K, ...], of K opponents. number: int32[K], by which each is told from those that stood in its place before.
    chance: float32[K], the probability of each at the start of an episode.
    seat: int32[], the learner's, 0 or 1; -1 draws it for each episode.
    """

    env: PyTree
    opponents: PyTree
    number: jax.Array
    chance: jax.Array
    seat: jax.Array


class Match(NamedTuple):
    """The state of a game against an opponent.

    state: PyTree, of the game. other: PyTree, what the opponent observes.
    seat: int32[], the learner's. slot, number: int32[], the place of the opponent and its number when the episode began.
    lead: float32[], by how much the learner has earned more than its opponent. t: int32[], steps so far.
    """

    state: PyTree
    other: PyTree
    seat: jax.Array
    slot: jax.Array
    number: jax.Array
    lead: jax.Array
    t: jax.Array


class Played(NamedTuple):
    """The report of a step, for the learner of an opponent's strength: the fields of ``Match`` after the step."""

    seat: jax.Array
    slot: jax.Array
    number: jax.Array
    lead: jax.Array


def with_opponent(
    env: Environment,
    act: Callable,
    opponents: PyTree,
    number: jax.Array,
    chance: jax.Array,
    seat: jax.Array | int = -1,
    show_seat: bool = False,
) -> Environment:
    """Gives one seat of a game to an opponent, drawn for each episode from several.

    Opponents are a traced part of the environment's parameters. If one is replaced by another in the course of an episode, the
    episode goes on against the new one, and ``number`` tells. ``Step.info`` asks for the steps (``rollout.BLOCK``) and reports
    who played, ``Played``. The result is not finite even if the environment is.

    Args:
        env: an environment of two agents.
        act: ``(key, opponent, obs, mask, t) -> action``, of one opponent in one environment; ``t``: int32[].
        opponents: PyTree[K, ...].
        number, chance, seat: see ``OpponentParams``.
        show_seat: whether the learner, and the opponent, see which seat they have: see ``seen_from``.

    Returns:
        The environment without agents, with ``params`` of type ``OpponentParams`` and states of type ``Match``.

    Raises:
        ConfigError: the environment has not two agents.
    """
    require_agents("with_opponent", env, "Two play.", count=2)
    params = OpponentParams(env.params, opponents, number, chance, jnp.asarray(seat, jnp.int32))
    seen = _Seen(env.observation_space, show_seat)
    mask = env.action_mask_fn and _OwnMask(env.action_mask_fn)
    return dataclasses.replace(
        env,
        params=params,
        reset_fn=_Reset(env.reset_fn, seen),
        step_fn=_Step(env.step_fn, env.action_mask_fn, act, seen),
        observation_space=seat_space(env.observation_space) if show_seat else env.observation_space,
        num_agents=None,
        roles=None,
        action_mask_fn=mask,
        global_obs_fn=None,
        outcomes_fn=None,
        initial_fn=None,
        observe_fn=None,
        limit_fn=env.limit_fn and LimitOfInner(env.limit_fn),
    )


def seat_space(space: Space) -> Space:
    """Returns the space of an observation with the seat: numbers become twice as many, others are paired with Discrete(2)."""
    return Discrete(2 * space.n) if isinstance(space, Discrete) else Tuple.of(space, Discrete(2))


def seen_from(space: Space, seat: Any, obs: PyTree) -> PyTree:
    """Returns observations with the seat from which they are made, in ``seat_space``.

    Args:
        space: of the observations.
        seat: int32, 0 or 1; broadcasts to the batch axes of the observations.
        obs: PyTree[..., ...].
    """
    if isinstance(space, Discrete):
        return (obs + seat * space.n).astype(jnp.int32)
    return obs, jnp.asarray(seat, jnp.int32)


@dataclass(frozen=True)
class _Seen:
    space: Space
    show_seat: bool

    def __call__(self, obs: PyTree, seat: jax.Array) -> PyTree:
        own = jax.tree.map(lambda leaf: leaf[seat], obs)
        return seen_from(self.space, seat, own) if self.show_seat else own


@dataclass(frozen=True)
class _OwnMask:
    function: Callable

    def __call__(self, state, params):
        return jax.tree.map(lambda leaf: leaf[state.seat], self.function(state.state, params.env))


@dataclass(frozen=True)
class _Reset:
    reset: Callable
    seen: _Seen

    def __call__(self, key, params):
        game_key, opponent_key, seat_key = jax.random.split(key, 3)
        obs, state = self.reset(game_key, params.env)
        slot = jax.random.categorical(opponent_key, jnp.log(params.chance)).astype(jnp.int32)
        drawn = jax.random.randint(seat_key, (), 0, 2, jnp.int32)
        seat = jnp.where(params.seat < 0, drawn, params.seat)
        match = Match(state, self.seen(obs, 1 - seat), seat, slot, params.number[slot], jnp.float32(0.0), jnp.int32(0))
        return self.seen(obs, seat), match


@dataclass(frozen=True)
class _Step:
    step: Callable
    mask: Callable | None
    act: Callable
    seen: _Seen

    def __call__(self, key, state, action, params):
        act_key, step_key = jax.random.split(key)
        seat = state.seat
        mask = None if self.mask is None else jax.tree.map(lambda leaf: leaf[1 - seat], self.mask(state.state, params.env))
        opponent = jax.tree.map(lambda leaf: leaf[state.slot], params.opponents)
        answer = self.act(act_key, opponent, state.other, mask, state.t)
        joint = jax.tree.map(lambda own, other: jnp.stack([own, other])[jnp.array([0, 1]) ^ seat], action, answer)
        inner: Step = self.step(step_key, state.state, joint, params.env)
        lead = (state.lead + inner.reward[seat] - inner.reward[1 - seat]).astype(jnp.float32)
        match = Match(inner.state, self.seen(inner.obs, 1 - seat), seat, state.slot, state.number, lead, state.t + 1)
        info = inner.info | {BLOCK: Played(seat, state.slot, state.number, lead)}
        return Step(self.seen(inner.obs, seat), match, inner.reward[seat], inner.terminated, info)
