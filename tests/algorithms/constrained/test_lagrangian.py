"""A Lagrangian constraint: the price by hand, stored rewards at the present price, learners unchanged, and a choice that must be
mixed."""

import dataclasses
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.constrained import lagrangian
from jaxrl.algorithms.deep import dqn, ppo, pqn, sac, td3
from jaxrl.algorithms.planning import alphazero
from jaxrl.algorithms.tabular import dyna_q, n_step_sarsa, q_learning, reinforce, sarsa_lambda
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.contracts import declared_steps
from jaxrl.core.rollout import Decision
from jaxrl.errors import AlgorithmError, ConfigError, EnvError
from jaxrl.testing.conformance import check_environment
from jaxrl.training.runner import run
from tests import probes
from tests.marks import slow

KEY = jax.random.key(0)
TABLE = q_learning.Config(num_envs=2, num_steps=16, gamma=0.9)


@dataclasses.dataclass(frozen=True)
class Costly:
    """The last action costs 1, or with ``several`` there are two costs: of the last action 1, and of every step 0.5."""

    step: object
    several: bool

    def __call__(self, key, state, action, params):
        first = (action == 1) if jnp.issubdtype(action.dtype, jnp.integer) else action[..., 0] > 0
        first = first.astype(jnp.float32)
        cost = jnp.stack([first, jnp.float32(0.5)]) if self.several else first
        return self.step(key, state, action, params)._replace(info={"cost": cost})


def costly(env, several=False):
    return dataclasses.replace(env, step_fn=Costly(env.step_fn, several))


def constrained(learner=TABLE, make=q_learning.make, **changes):
    return lagrangian.Config(learner, make, **changes)


# ---- the price


@pytest.mark.parametrize("several", [False, True])
def test_the_price_follows_the_costs_of_the_episodes_that_ended(several):
    """Recomputed on the host: discounted over whole episodes, also those that span several updates."""
    env, budget = costly(envs.make("corridor", length=5, max_steps=9), several), (0.5, 0.75) if several else 0.5
    config = constrained(TABLE.replace(num_steps=2), budget=budget, multiplier_rate=0.3)
    algorithm = lagrangian.make(env, config)

    @jax.jit
    def steps_of(state, key):
        paying = lagrangian.with_price(env, "cost", state.multiplier, 0.9)
        return rollout.apart("test", q_learning.make(paying, config.learner).update(state.learner, key)[1])[1]

    state, update, price, ended = jax.jit(algorithm.init)(KEY), jax.jit(algorithm.update), 0.0, 0
    np.testing.assert_array_equal(state.multiplier, np.zeros(2) if several else 0.0)
    for number in range(30):
        key = jax.random.fold_in(KEY, number)
        block = steps_of(state, key)
        state, metrics = update(state, key)
        cost, done = np.asarray(block.info[rollout.BLOCK].total), np.asarray(block.done)
        if done.any():
            mean = cost[done].mean(0)
            price, ended = np.maximum(price + 0.3 * (mean - np.asarray(budget)), 0.0), ended + 1
            np.testing.assert_allclose(metrics["episode_cost"].mean, mean, rtol=1e-5)
        np.testing.assert_allclose(state.multiplier, np.broadcast_to(price, state.multiplier.shape), rtol=1e-5, atol=1e-6)
    assert 0 < ended < 30
    assert np.max(price) > 0


def test_costs_are_discounted_over_the_episode_and_paid_at_the_price():
    env = costly(envs.make("corridor", length=4))
    priced = lagrangian.with_price(env, "cost", 2.0, 0.5)
    (_, state), total = priced.reset(KEY), 0.0
    for t, action in enumerate([1, 0, 1, 1, 1]):  # the end is entered by the last of them
        step = priced.step(KEY, state, jnp.int32(action))
        own = env.step(KEY, state.state, jnp.int32(action))
        total += 0.5**t * action
        charged = step.info[rollout.BLOCK]
        assert (float(charged.cost), float(charged.total)) == (action, total)
        assert float(step.reward) == float(own.reward) - 2.0 * action
        state = step.state
    assert step.terminated
    assert float(priced.step(KEY, state, jnp.int32(1)).info[rollout.BLOCK].cost) == 0.0
    assert not priced.is_finite
    check_environment(priced, KEY)


def test_at_a_price_of_nothing_the_learner_is_the_learner_itself():
    env = envs.make("hazard_grid")
    algorithm, alone = lagrangian.make(env, constrained(multiplier_rate=0.0)), q_learning.make(env, TABLE)
    state, learner = jax.jit(algorithm.init)(KEY), jax.jit(alone.init)(KEY)
    constrained_update, update = jax.jit(algorithm.update), jax.jit(alone.update)
    for number in range(3):
        key = jax.random.fold_in(KEY, number)
        state, metrics = constrained_update(state, key)
        learner, own = update(learner, key)
        np.testing.assert_array_equal(state.learner.q, learner.q)
        for name in ("episodes", "episode_return", "episode_length"):
            np.testing.assert_array_equal(metrics[name], own[name])


# ---- replay


OFF_POLICY = {"num_rounds": 2, "batch_size": 4, "buffer_size": 24, "learning_starts": 8, "hidden": (4,)}
REPLAYED = {
    "dqn": ("hazard_grid", dqn, dqn.Config(num_envs=2, num_steps=2, n_steps=2, **OFF_POLICY)),
    "dqn, small buffer": ("hazard_grid", dqn, dqn.Config(num_envs=2, num_steps=3, **(OFF_POLICY | {"buffer_size": 8}))),
    "sac": ("pendulum", sac, sac.Config(num_steps=2, num_envs=2, **OFF_POLICY)),
    "td3": ("pendulum", td3, td3.Config(num_envs=2, **OFF_POLICY)),
}


@pytest.mark.parametrize(
    ("name", "several"),
    [("dqn", True), ("dqn, small buffer", False), slow("dqn", False), slow("sac", False), slow("sac", True), slow("td3", False)],
)
def test_stored_rewards_are_those_at_the_present_price(name, several):
    """Of every stored step, the random first ones too: what it paid and what it cost are those of its state and action."""
    task, module, learner = REPLAYED[name]
    env = costly(envs.make(task), several)
    price = jnp.array([3.0, 2.0]) if several else jnp.float32(3.0)
    algorithm = lagrangian.make(env, constrained(learner, module.make, budget=0.0, multiplier_rate=0.0))
    plain = jax.jit(module.make(env, learner).init)(KEY)
    state, update = jax.jit(algorithm.init)(KEY), jax.jit(algorithm.update)
    np.testing.assert_array_equal(state.learner.buffer.items.reward, plain.buffer.items.reward)
    for number in range(5):  # the buffer is full after three of them, and the oldest steps are written over
        check_accounts(state, several)
        state = update(replace(state, multiplier=price), jax.random.fold_in(KEY, number))[0]
    check_accounts(state, several)
    size, own, cost = int(state.accounts.size), state.accounts.items.reward, state.accounts.items.cost
    assert size == state.accounts.capacity
    expected = np.asarray(own) - (
        3.0 * np.asarray(cost[:, 0]) + 2.0 * np.asarray(cost[:, 1]) if several else 3.0 * np.asarray(cost)
    )
    np.testing.assert_allclose(lagrangian.repriced(state).buffer.items.reward, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.learner.buffer.items.reward, expected, rtol=1e-5, atol=1e-6)


def check_accounts(state, several):
    """The accounts stand in the places of the steps: a cost is that of the stored action, a reward that of hazard grid."""
    buffer, kept = state.learner.buffer, state.accounts
    assert (int(kept.position), int(kept.size)) == (int(buffer.position), int(buffer.size))
    size = int(kept.size)
    action, cost = np.asarray(buffer.items.action)[:size], np.asarray(kept.items.cost)[:size]
    first = (action == 1) if action.ndim == 1 else action[:, 0] > 0
    np.testing.assert_array_equal(cost[:, 0] if several else cost, first)
    if several:
        np.testing.assert_array_equal(cost[:, 1], 0.5)
    if action.ndim == 1:
        np.testing.assert_array_equal(np.asarray(kept.items.reward)[:size], -1.0)


# ---- learning


def test_a_choice_that_must_be_mixed():
    """One step; action 1 pays 1 more in state 1 and costs 1: with a budget of 0.25 for states of equal chance, p = 1/2 there.

    The price of this choice is 1, where both actions are worth the same.
    """
    env = costly(probes.action_dependent_reward())
    # Advantages in units of the reward: the entropy bonus then damps the going to and fro.
    smooth = {"learning_rate": 1e-2, "ent_coef": 0.1, "normalize_advantage": False, "gamma": 0.9}
    learner = ppo.Config(num_envs=16, num_steps=4, num_minibatches=1, hidden=(8,), **smooth)
    config = constrained(learner, ppo.make, budget=0.25, multiplier_rate=0.03)
    done = run(lagrangian.make, env, config, seeds=4, num_updates=400, chunk_length=400)
    late = slice(300, None)
    np.testing.assert_allclose(done.metrics["episode_cost"][:, late].mean(1), 0.25, atol=0.05)
    np.testing.assert_allclose(done.metrics["multiplier"][:, late].mean(1), 1.0, atol=0.2)


SMALL = {"num_envs": 2, "num_steps": 4, "num_minibatches": 1, "hidden": (4,)}
LEARNERS = {
    "ppo": ("hazard_grid", ppo, ppo.Config(**SMALL)),
    "ppo_attention": ("hazard_grid", ppo, ppo.Config(**SMALL, memory="attention", memory_size=4, memory_length=3)),
    "pqn": ("hazard_grid", pqn, pqn.Config(**SMALL)),
    "dqn": ("hazard_grid", dqn, dqn.Config(num_steps=2, **OFF_POLICY)),
    "dqn_newest": ("hazard_grid", dqn, dqn.Config(num_steps=2, num_rounds=2, hidden=(4,)).without_replay()),
    "sac": ("pendulum", sac, sac.Config(num_steps=2, **OFF_POLICY)),
    "td3": ("pendulum", td3, td3.Config(**OFF_POLICY)),
    "dyna_q": ("hazard_grid", dyna_q, dyna_q.Config(num_steps=4)),
    "n_step_sarsa": ("hazard_grid", n_step_sarsa, n_step_sarsa.Config(num_steps=4)),
    "sarsa_lambda": ("hazard_grid", sarsa_lambda, sarsa_lambda.Config(num_steps=4)),
    "reinforce": ("hazard_grid", reinforce, reinforce.Config(num_steps=4)),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_takes_a_constraint_unchanged(name):
    """As far as it shows while traced."""
    task, module, learner = LEARNERS[name]
    env = costly(envs.make(task))
    config = constrained(learner, module.make)
    config.validate(env)
    algorithm = lagrangian.make(env, config)
    state = jax.eval_shape(algorithm.init, KEY)
    after, metrics = jax.eval_shape(algorithm.update, state, KEY)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"episode_cost", "multiplier", "episode_return"} <= set(metrics)
    assert rollout.BLOCK not in metrics
    assert (state.accounts is None) == (getattr(state.learner, "buffer", None) is None)
    assert declared_steps("test", config) == declared_steps("test", learner)


# ---- errors


def silent(env, config):
    """A learner that does not hand its steps on."""
    inner = q_learning.make(env, config)

    def update(state, key):
        state, metrics = inner.update(state, key)
        return state, {"td_error": metrics["td_error"]}

    return Algorithm(inner.init, update, lambda state, greedy: lambda key, view: Decision(view.obs))


def test_learners_that_cannot_be_constrained_are_refused():
    env = envs.make("hazard_grid")
    with pytest.raises(AlgorithmError, match=r"lagrangian: a learner must measure its episodes .*, got \['td_error'\]"):
        run(lagrangian.make, env, constrained(make=silent), seeds=1, num_updates=1)
    search = alphazero.Config(num_simulations=3, num_envs=2, num_steps=4, batch_size=4, buffer_size=16, hidden=(4,))
    with pytest.raises(AlgorithmError, match=r"one replay memory, of single steps with a reward each.*Take DQN, SAC or TD3"):
        run(lagrangian.make, env, constrained(search, alphazero.make), seeds=1, num_updates=1)
    with pytest.raises(ConfigError, match=r"config.learner must have gamma"):
        constrained(constrained(), lagrangian.make).validate(env)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"multiplier_rate": -1.0}, ConfigError, "multiplier_rate must be at least 0"),
        ({"budget": np.nan}, ConfigError, "budget must be a finite number"),
        ({"budget": (1.0, 2.0)}, ConfigError, r"budget must be one number, or a tuple with one for each cost, \(\)"),
        ({"cost": "costs"}, EnvError, r"must report 'costs' in Step.info, one number or a vector, got \{'cost': \(\)\}"),
        ({"learner": q_learning.Config(gamma=2.0)}, ConfigError, "q_learning: gamma must lie in"),
    ],
    ids=str,
)
def test_what_cannot_run_is_refused_before_tracing(changes, error, message):
    with pytest.raises(error, match=message):
        run(lagrangian.make, envs.make("hazard_grid"), replace(constrained(), **changes), seeds=1, num_updates=1)


def test_environments_without_costs_or_with_agents_are_refused():
    with pytest.raises(EnvError, match=r"must report 'cost' in Step.info, one number or a vector, got \{\}"):
        constrained().validate(envs.make("corridor"))
    with pytest.raises(ConfigError, match="no agent axis, got 2"):
        constrained().validate(envs.make("climb"))
    with pytest.raises(EnvError, match="with_price: the environment must have no agent axis, got 2"):
        lagrangian.with_price(envs.make("climb"), "cost", 1.0, 0.9)
