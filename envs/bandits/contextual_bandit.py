"""A contextual bandit that stands in for a language model: contexts are prompts, actions are whole responses.

Everything about a policy on it can be summed up exactly. Beside the reward of every response ("gold", what people really want),
the world knows how often each response is among those that were labelled (its coverage) and features that a reward model or a
policy may be linear in. ``draw`` makes a new world from a key and ``sample_pairs`` pairs to be labelled; both can be vmapped.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require


@struct.dataclass
class Params:
    gold: jax.Array  # float32[X, K], what each response to each context is worth
    coverage: jax.Array  # float32[X, K], how likely each response is to be drawn for a label, sums to 1 over K
    features: jax.Array  # float32[X, K, D]


def draw(
    key: jax.Array,
    num_contexts: int,
    num_responses: int,
    num_features: int = 8,
    zipf: float = 0.0,
    linear: jax.Array | float = 0.0,
) -> Params:
    """Draws a world.

    Args:
        key: one key.
        num_contexts, num_responses, num_features: X, K and D; static.
        zipf: the response of rank i (ranks are random, blind to gold) is labelled in proportion to ``i ** -zipf``; 0 is uniform.
        linear: in [0, 1], the share of the variance of gold that is linear in the features. Gold has variance 1.
    """
    feature_key, weight_key, noise_key, rank_key = jax.random.split(key, 4)
    features = jax.random.normal(feature_key, (num_contexts, num_responses, num_features), jnp.float32)
    weight = jax.random.normal(weight_key, (num_features,), jnp.float32)
    explained = jnp.dot(features, weight / jnp.linalg.norm(weight), precision="highest")
    noise = jax.random.normal(noise_key, (num_contexts, num_responses), jnp.float32)
    linear = jnp.asarray(linear, jnp.float32)
    gold = jnp.sqrt(linear) * explained + jnp.sqrt(1.0 - linear) * noise
    share = (1.0 + jnp.arange(num_responses)) ** -jnp.asarray(zipf, jnp.float32)
    coverage = jax.vmap(jax.random.permutation, in_axes=(0, None))(jax.random.split(rank_key, num_contexts), share / share.sum())
    return Params(gold, coverage, features)


def sample_pairs(key: jax.Array, params: Params, num_pairs: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws contexts uniformly and two different responses to each by coverage; returns int32[P] each: context, first, second."""
    context_key, first_key, second_key = jax.random.split(key, 3)
    context = jax.random.randint(context_key, (num_pairs,), 0, params.gold.shape[0], jnp.int32)
    last = params.gold.shape[1] - 1

    def two(context, first_draw, second_draw):
        # By inverse distribution functions, which need one uniform number each however many responses there are.
        upto = jnp.cumsum(params.coverage[context])
        first = jnp.minimum(jnp.searchsorted(upto, first_draw * upto[-1], side="right"), last)
        before = jnp.where(first > 0, upto[first - 1], 0.0)
        mass = upto[first] - before
        point = second_draw * (upto[-1] - mass)
        point = point + jnp.where(point >= before, mass, 0.0)  # steps over the first response
        second = jnp.minimum(jnp.searchsorted(upto, point, side="right"), last)
        clash = second == first  # only ever by rounding at an edge
        return first, jnp.where(clash, jnp.where(first == last, first - 1, first + 1), second)

    first, second = jax.vmap(two)(
        context,
        jax.random.uniform(first_key, (num_pairs,), jnp.float32),
        jax.random.uniform(second_key, (num_pairs,), jnp.float32),
    )
    return context, first.astype(jnp.int32), second.astype(jnp.int32)


def outcomes(state, action, params):
    """One outcome: the response is paid and the episode is over. State X is absorbing."""
    over = params.gold.shape[0]
    reward = jnp.where(state < over, params.gold[jnp.minimum(state, over - 1), action], 0.0)
    return Outcomes(jnp.ones(1, jnp.float32), jnp.full(1, over, jnp.int32), reward[None], jnp.ones(1, bool))


def initial(params):
    """Every context is equally likely."""
    count = params.gold.shape[0]
    return Initial(jnp.full(count, 1 / count, jnp.float32), jnp.arange(count, dtype=jnp.int32))


def of(params: Params) -> Environment:
    """Builds the environment of a world. Observation: the context's number, X once the episode is over. Actions: responses."""
    contexts, responses = params.gold.shape
    return finite(params, outcomes, initial, Discrete(contexts + 1), Discrete(responses), max_steps=1)


def make(
    num_contexts: int = 16,
    num_responses: int = 50,
    num_features: int = 8,
    zipf: float = 0.0,
    linear: float = 1.0,
    seed: int = 0,
) -> Environment:
    """Builds a contextual bandit on a world drawn from a seed. Actions: responses. Observation: the context's number.

    Args:
        num_contexts, num_responses, num_features: X, K and D.
        zipf: how unevenly responses are labelled: the one of rank i in proportion to ``i ** -zipf``; 0 is uniform.
        linear: in [0, 1], the share of the variance of gold that is linear in the features.
        seed: numbers the draw of the world.

    Raises:
        ConfigError: a number is out of range.
    """
    where = "contextual_bandit"
    for name, count, least in (
        ("num_contexts", num_contexts, 1),
        ("num_responses", num_responses, 2),
        ("num_features", num_features, 1),
    ):
        require(count >= least, where, f"{name} must be at least {least}", count, f"Set {name} to {least} or more.")
    require(zipf >= 0, where, "zipf must not be negative", zipf, "0 labels all responses alike.")
    require(0 <= linear <= 1, where, "linear must lie in [0, 1]", linear, "It is a share of the variance.")
    return of(draw(jax.random.key(seed), num_contexts, num_responses, num_features, zipf, linear))
