"""What a tabular learner that keeps its next action did, step by step, for references that learn from the same steps."""

from typing import NamedTuple

import jax


class Taken(NamedTuple):
    """One step of one environment without chance. next_action is that of s', whatever came after where the episode ended."""

    obs: int
    action: int
    reward: float
    next_obs: int
    terminated: bool
    next_action: int


def follow(make, env, config, num_steps, seed=0):
    """Returns the steps that a learner takes, which makes one step in each update, and its table after each of them."""
    algorithm = make(env, config.replace(num_envs=1, num_steps=1))
    state, update = jax.jit(algorithm.init)(jax.random.key(seed)), jax.jit(algorithm.update)
    world = jax.jit(lambda state, action: env.step(jax.random.key(0), state, action))
    steps, tables = [], []
    for key in jax.random.split(jax.random.key(seed + 1), num_steps):
        before = jax.tree.map(lambda leaf: leaf[0], state.episodes)
        obs, action, step = before.obs, state.action[0], world(before.state, state.action[0])
        assert int(before.t) < env.max_steps - 1, "cut episodes are not followed"
        state, _ = update(state, key)
        row = (int(obs), int(action), float(step.reward), int(step.obs), bool(step.terminated), int(state.action[0]))
        steps.append(Taken(*row))
        tables.append(state.q)
    return steps, tables
