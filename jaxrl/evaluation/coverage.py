"""Coverage: after how many steps an agent that follows no reward has seen a share of the states.

The agent acts at random, and now and then begins an option instead, which it follows to its end. Without options this is the
random walk.

Source: Machado, Bellemare and Bowling (2017), "A Laplacian Framework for Option Discovery in Reinforcement Learning", section 4;
Klissarov and Machado (2023), "Deep Laplacian-based Options for Temporally-Extended Exploration", for the rate of options.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.blocks.options import Options
from jaxrl.core.finite import TabularModel, require_model, sample_index, single_precision
from jaxrl.errors import is_traced, require, require_count, require_index, require_number


def cover_steps(
    keys: jax.Array, model: TabularModel, options: Options, option_rate: Any, start: int, share: float, max_steps: int
) -> jax.Array:
    """Returns the steps until a share of the states has been seen, float32[S]: infinite if ``max_steps`` were too few.

    Args:
        keys: key[S], one for each of S agents, which walk side by side in one compiled program.
        model: the environment's tables, with one agent. Where an episode ends, the agent is back at the start.
        options: over the states of the model, those of one step not among them.
        option_rate: probability in [0, 1] that an agent without an option begins one, uniformly drawn from those that may begin;
            else, and where none may, it takes a uniform legal action. 0 is the random walk. Traced.
        start: the number of the first state.
        share: of all states that must be seen, in (0, 1], rounded up to whole states.
        max_steps: after which an agent gives up (count).

    Raises:
        ConfigError: an argument is out of range, or the options are over other states or actions.
        EnvError: the tables are unsound.
    """
    where = "cover_steps"
    require_model(where, model)
    require_number(where, "option_rate", option_rate, 0, 1, "0.1 is common.")
    require_index(where, "start", start, model.num_states)
    require_number(where, "share", share, 0, 1, "0.9 is common.", above=True)
    require_count(where, "max_steps", max_steps)
    shape = (options.count, model.num_states, model.num_actions)
    must, found = f"options.policy must have shape {list(shape)}", np.shape(options.policy)
    require(found == shape, where, must, found, "Give options over the states of the model: options.at(model.observation).")
    tables = model if is_traced(model) else single_precision(model.tables)
    needed = int(np.ceil(share * model.num_states - 1e-9))
    return _cover_steps(keys, tables, options, jnp.asarray(option_rate, jnp.float32), start, needed, max_steps)


@partial(jax.jit, static_argnames=("start", "needed", "max_steps"))
def _cover_steps(keys, model, options, option_rate, start, needed, max_steps) -> jax.Array:
    one = partial(_walk, model, jax.tree.map(jnp.asarray, options), option_rate, start, needed, max_steps)
    return jax.vmap(one)(keys)


def _walk(model, options, option_rate, start, needed, max_steps, key) -> jax.Array:
    def choose(key, here, option, follows):
        """Returns the option and whether one is followed: the one under way, a new one, or none."""
        rate_key, option_key = jax.random.split(key)
        may_begin = options.initiation[:, here]
        begins = ~follows & may_begin.any() & (jax.random.uniform(rate_key, (), jnp.float32) < option_rate)
        drawn = sample_index(option_key, may_begin / jnp.maximum(may_begin.sum(), 1))
        return jnp.where(begins, drawn, option), follows | begins

    def step(carry):
        key, here, option, follows, seen, count = carry
        key, choice_key, action_key, outcome_key, end_key = jax.random.split(key, 5)
        option, follows = choose(choice_key, here, option, follows)
        legal = model.action_mask[here]
        action = sample_index(action_key, jnp.where(follows, options.policy[option, here], legal / legal.sum()))
        outcome = sample_index(outcome_key, model.probability[here, action])
        there, over = model.next_state[here, action, outcome], model.terminated[here, action, outcome]
        ends = over | (jax.random.uniform(end_key, (), jnp.float32) < options.termination[option, there])
        seen = seen.at[there].set(True)
        return key, jnp.where(over, start, there), option, follows & ~ends, seen, count + 1

    def goes_on(carry):
        return (carry[4].sum() < needed) & (carry[5] < max_steps)

    here = jnp.int32(start)
    seen = jnp.zeros(model.num_states, bool).at[here].set(True)
    carry = jax.lax.while_loop(goes_on, step, (key, here, jnp.int32(0), jnp.bool_(False), seen, jnp.int32(0)))
    return jnp.where(carry[4].sum() >= needed, carry[5].astype(jnp.float32), jnp.inf)
