"""AlphaZero: outcomes and loss by hand, the probes, and tic-tac-toe against the best replies of all opponents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.planning import alphazero
from jaxrl.algorithms.planning.alphazero import Config, Position
from jaxrl.blocks.networks import ActorCritic
from jaxrl.blocks.search import Prediction
from jaxrl.core import rollout
from jaxrl.core.rollout import View
from jaxrl.errors import AlgorithmError, ConfigError, EnvError, SpaceError
from jaxrl.evaluation import Exploitability
from jaxrl.training.runner import run
from tests import probes
from tests.copies import copies
from tests.own_networks import Residual

SMALL = Config(
    learning_rate=1e-2,
    weight_decay=0.0,
    num_simulations=4,
    num_envs=8,
    num_steps=4,
    num_gradient_steps=8,
    batch_size=32,
    buffer_size=256,
    hidden=(16,),
)


def trained(env, num_updates=30, **changes):
    config = SMALL.replace(**changes)
    done = run(alphazero.make, env, config, seeds=2, num_updates=num_updates, chunk_length=10)
    assert not done.summary.failed_seeds
    return config, done


def values(env, config, done, obs):
    """Returns the values of a batch of observations, [2, B]."""
    network = ActorCritic(env.observation_space, env.action_space, config.hidden, config.activation, config.channels)
    return np.asarray(jax.vmap(lambda params: network.apply(params, obs, None, ())[1])(done.state.params))


def actions(env, config, done, obs, state, mask=None, greedy=True):
    algorithm = alphazero.make(env, config)
    view = View(obs, mask, (), state=state)
    return np.asarray(jax.vmap(lambda s: algorithm.policy(s, greedy)(jax.random.key(0), view).action)(done.state))


# ---- the pieces


def test_outcomes_of_games_are_won_and_lost_by_the_mover():
    """Random games: z is +-1 or 0 as the game ended, from the view of who is to move; unfinished ones go on with the value."""
    env, num_steps, beyond = envs.make("tic_tac_toe"), 23, 0.25
    policy = rollout.uniform_policy(env)

    def noting(key, view):
        return policy(key, view)._replace(extras={"policy": jnp.zeros((5, 9)), "value": jnp.full(5, 7.0)})

    _, batch = rollout.unroll(jax.random.key(1), env, noting, rollout.start(jax.random.key(0), env, 5), num_steps)

    def predict(obs, mask):
        return Prediction(jnp.zeros(mask.shape), jnp.full(mask.shape[:-1], beyond))

    found = np.asarray(alphazero.positions(env, predict, 0.9, batch).outcome).reshape(num_steps, 5)
    mover, reward, done = np.asarray(batch.mask.sum(-1).argmax(-1)), np.asarray(batch.reward), np.asarray(batch.terminated)
    next_mover = np.asarray(batch.next_mask.sum(-1).argmax(-1))
    for game in range(5):
        for start in range(num_steps):
            player, total, weight = mover[start, game], 0.0, 1.0
            for t in range(start, num_steps):
                total += weight * reward[t, game, player]
                weight *= 0.9
                if done[t, game]:
                    break
            else:
                total += weight * beyond * (1 if next_mover[-1, game] == player else -1)
            np.testing.assert_allclose(found[start, game], total, rtol=1e-5, atol=1e-6)


def test_the_loss_is_that_of_the_paper():
    logits, value = np.array([[0.0, 1.0, 5.0], [2.0, 0.0, 0.0]]), np.array([0.5, -1.0])
    batch = Position(
        jnp.zeros(2),
        jnp.array([[True, True, False]] * 2),
        jnp.array([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]]),
        jnp.array([1.0, -1.0]),
    )
    params = {"w": jnp.array([3.0, 4.0])}
    found, metrics = alphazero.loss(
        lambda params: lambda obs, mask: Prediction(jnp.asarray(logits), jnp.asarray(value)), 0.01, params, batch
    )
    log_p = logits[:, :2] - np.log(np.exp(logits[:, :2]).sum(1, keepdims=True))
    policy_loss = -(np.asarray(batch.policy)[:, :2] * log_p).sum(1).mean()
    np.testing.assert_allclose(found, 0.125 + policy_loss + 0.01 * 25, rtol=1e-6)
    np.testing.assert_allclose(metrics["policy_loss"], policy_loss, rtol=1e-6)


# ---- probes


def test_values_of_the_probes_with_one_action():
    for env, gamma, obs, expected in (
        (probes.constant_reward(), 0.8, [0], [1.0]),
        (probes.delayed_reward(), 0.8, [0, 1], [0.8, 1.0]),
        (probes.observation_dependent_reward(), 0.8, [0, 1], [-1.0, 1.0]),
        (probes.limit_or_end(), 0.5, [0, 1], [2.0, 1.0]),
    ):
        config, done = trained(env, num_updates=60, gamma=gamma)
        np.testing.assert_allclose(values(env, config, done, jnp.array(obs)), [expected] * 2, atol=0.1)


def test_actions_are_chosen_by_what_they_pay():
    env = probes.action_dependent_reward()
    config, done = trained(env)
    np.testing.assert_array_equal(actions(env, config, done, jnp.array([0, 1]), jnp.array([0, 1])), [[0, 1]] * 2)
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), 1.0, atol=0.1)


def test_illegal_actions_are_never_taken():
    env = probes.masked_action()
    config, done = trained(env)
    state, mask = jnp.zeros(64, jnp.int32), jnp.array([[True, True, False]] * 64)
    np.testing.assert_array_equal(actions(env, config, done, state, state, mask), 0)
    assert actions(env, config, done, state, state, mask, greedy=False).max() <= 1
    np.testing.assert_allclose(values(env, config, done, state[:1]), 0.5, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "changes"),
    [
        (probes.nested_observation, {}),
        (probes.image_observation, {"channels": (2,)}),
        (probes.nested_observation, {"network": Residual}),
    ],
    ids=["nested", "image", "own"],
)
def test_observations_of_all_kinds(env, changes):
    _, done = trained(env(), num_updates=20, **changes)
    np.testing.assert_allclose(np.asarray(done.metrics["episode_return"])[:, -1], 1.0, atol=0.05)
    assert np.asarray(done.metrics["value_loss"])[:, -1].max() < 0.02


# ---- games


@pytest.mark.slow
def test_no_opponent_wins_a_game_of_tic_tac_toe():
    env = envs.make("tic_tac_toe")
    evaluators = (Exploitability.of(env, 1.0),)
    done = run(alphazero.make, env, Config(gumbel_scale=5.0), seeds=2, num_updates=80, evaluators=evaluators, chunk_length=80)
    np.testing.assert_allclose(done.evaluations["greedy_exploitability"][:, -1], 0.0, atol=1e-6)


# ---- refusals


def test_a_policy_that_is_not_told_the_state_says_so():
    env = probes.constant_reward()
    algorithm = alphazero.make(env, SMALL)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    with pytest.raises(AlgorithmError, match="alphazero: a search with the true model must see the state"):
        algorithm.policy(state, True)(jax.random.key(0), View(jnp.zeros(1, jnp.int32), None, ()))


@pytest.mark.parametrize(
    ("env", "changes", "kind", "message"),
    [
        (envs.make("pendulum"), {}, SpaceError, "action_space must be Discrete"),
        (envs.make("climb"), {}, EnvError, "must have action masks"),
        (copies(probes.constant_reward(), 3), {}, ConfigError, "no agent axis or two agents"),
        (envs.make("catch"), {"num_simulations": 0}, ConfigError, "num_simulations must be an integer of at least 1"),
        (envs.make("catch"), {"buffer_size": 100}, ConfigError, r"buffer_size must be at least batch_size \(256\), got 100"),
        (envs.make("catch"), {"num_steps": 1000}, ConfigError, r"at least num_envs \* num_steps \(64000\)"),
        (envs.make("catch"), {"gumbel_scale": -1.0}, ConfigError, "gumbel_scale"),
        (envs.make("catch"), {"gamma": 1.5}, ConfigError, "gamma"),
    ],
)
def test_tasks_and_values_that_do_not_fit_are_refused(env, changes, kind, message):
    with pytest.raises(kind, match=f"alphazero: .*{message}"):
        Config(**changes).validate(env)
