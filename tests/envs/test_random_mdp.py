"""Random decision processes: the laws they are drawn from, their exact models, and solving many at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.random_mdps import random_mdp
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests import oracles

KEYS = jax.random.split(jax.random.key(0), 400)


def draws(kind, *arguments):
    """Draws 400 processes. Returns their parameters as NumPy arrays with a leading axis."""
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: random_mdp.KINDS[kind](key, *arguments)))(KEYS))


def matrices(params):
    """Returns the transitions [..., A, X, X] in float64."""
    probability = np.asarray(params.probability, np.float64)
    matrix = np.zeros((*probability.shape[:-1], probability.shape[-3]))
    np.put_along_axis(matrix, params.next_state, probability, axis=-1)
    return np.moveaxis(matrix, -3, -2)


@pytest.mark.parametrize("kind", random_mdp.KINDS)
def test_rows_are_distributions_and_rewards_uniform(kind):
    params = draws(kind, 6, 2)
    assert params.probability.min() >= 0
    np.testing.assert_allclose(params.probability.sum(-1), 1.0, atol=1e-5)
    assert params.next_state.dtype == np.int32
    assert params.reward.shape == (400, 6, 2)
    np.testing.assert_allclose([params.reward.mean(), params.reward.var()], [1 / 2, 1 / 12], atol=0.01)
    assert len({row.tobytes() for row in params.probability}) == 400  # each key draws another one


@pytest.mark.parametrize("concentration", [0.3, 1.0, 5.0])
def test_dense_rows_are_dirichlet(concentration):
    """Mean 1 / X and variance (1 / X) (1 - 1 / X) / (X c + 1)."""
    probability = draws("dense", 5, 2, concentration).probability
    np.testing.assert_allclose(probability.mean((0, 1, 2)), 1 / 5, atol=0.01)
    assert probability.var() == pytest.approx(0.2 * 0.8 / (5 * concentration + 1), rel=0.05)


def test_garnet_successors_and_gaps():
    """Successors are different and each set alike; the gaps of b - 1 cuts have mean 1 / b and second moment 2 / (b (b + 1))."""
    params = draws("garnet", 6, 2, 3)
    assert params.next_state.shape == (400, 6, 2, 3)
    assert (np.diff(np.sort(params.next_state, -1), axis=-1) > 0).all()
    counts = np.bincount(params.next_state.ravel(), minlength=6)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 20.5  # chi-square, 5 degrees of freedom, 0.1 %
    np.testing.assert_allclose(params.probability.mean((0, 1, 2)), 1 / 3, atol=0.01)
    assert (params.probability**2).mean() == pytest.approx(2 / 12, rel=0.03)


@pytest.mark.parametrize("num_successors", [1, 6])
def test_garnet_at_its_limits(num_successors):
    params = draws("garnet", 6, 2, num_successors)
    assert params.probability.shape[-1] == num_successors
    np.testing.assert_allclose(params.probability.sum(-1), 1.0, atol=1e-5)


def test_reversible_chains_are_in_detailed_balance():
    """With the stationary law found from the matrix itself: pi_x P_xy = pi_y P_yx for every action."""
    for matrix in matrices(draws("reversible", 6, 2))[:20].reshape(-1, 6, 6):
        values, vectors = np.linalg.eig(matrix.T)
        law = np.real(vectors[:, np.argmax(np.real(values))])
        law /= law.sum()
        assert law.min() > 0
        flow = law[:, None] * matrix
        np.testing.assert_allclose(flow, flow.T, atol=1e-6)
        np.testing.assert_allclose(np.imag(values), 0.0, atol=1e-6)
        assert np.ptp(law) > 1e-3  # not uniform


def test_symmetric_chains():
    matrix = matrices(draws("symmetric", 6, 2))
    np.testing.assert_allclose(matrix, np.swapaxes(matrix, -1, -2), atol=1e-6)
    np.testing.assert_allclose(matrix.sum(-2), 1.0, atol=1e-5)


def test_dense_chains_are_not_reversible():
    """What the tests above find is no accident."""
    matrix = matrices(draws("dense", 6, 1))[0, 0]
    flow = np.linalg.matrix_power(matrix, 200)[0][:, None] * matrix
    assert np.abs(flow - flow.T).max() > 0.01


def test_along_a_ring():
    params = random_mdp.dense(KEYS[0], 5, 2)
    for share in (0.0, 0.9, 1.0):
        mixed = random_mdp.along_a_ring(params, share)
        expected = share * np.roll(np.eye(5), 1, axis=1) + (1 - share) * matrices(params)
        np.testing.assert_allclose(matrices(mixed), expected, atol=1e-6)
        assert mixed.reward is params.reward
    np.testing.assert_array_equal(np.linalg.matrix_power(matrices(mixed)[0], 5), np.eye(5))


def test_around_a_centre():
    """Rows have the centre's as their mean, and variance p (1 - p) / (c + 1)."""
    centre = random_mdp.dense(jax.random.key(1), 4, 2)
    for concentration in (5.0, 50.0):
        params = jax.vmap(lambda key, c=concentration: random_mdp.around(key, centre, c))(KEYS)
        probability, p = np.asarray(params.probability), np.asarray(centre.probability)
        np.testing.assert_allclose(probability.mean(0), p, atol=0.06)
        np.testing.assert_allclose(probability.var(0).sum(), (p * (1 - p)).sum() / (concentration + 1), rtol=0.1)
        np.testing.assert_array_equal(params.reward, np.broadcast_to(centre.reward, params.reward.shape))


@pytest.mark.parametrize("kind", random_mdp.KINDS)
def test_table_is_the_tabulated_model(kind):
    env = random_mdp.make(kind, num_states=7, num_actions=2)
    walked, direct = tabulate(env), random_mdp.table(env.params)
    assert walked.num_states == 7
    assert direct.joint_shape == walked.joint_shape
    for name in ("next_state", "probability", "reward", "terminated", "initial", "action_mask", "observation", "state"):
        ours, theirs = np.asarray(getattr(direct, name)), getattr(walked, name)
        possible = walked.probability > 0 if name == "next_state" else ...
        np.testing.assert_allclose(ours[possible], theirs[possible], atol=1e-6, err_msg=name)


def test_many_are_solved_at_once():
    """Value iteration vmapped over keys, against an oracle on the tables of the same environments one by one."""
    keys = KEYS[:8]

    @jax.jit
    @jax.vmap
    def solve(key):
        return value_iteration(random_mdp.table(random_mdp.garnet(key, 10, 3, 2)), 0.9).value

    values = solve(keys)
    for key, value in zip(keys, values, strict=True):
        model = tabulate(random_mdp.of(random_mdp.garnet(key, 10, 3, 2)))
        np.testing.assert_allclose(value, oracles.value_iteration(model, 0.9), atol=1e-4)


def test_many_are_stepped_at_once():
    """Steps vmapped over processes: the successors of each are as frequent as its own table says."""
    params = jax.vmap(lambda key: random_mdp.dense(key, 4, 2))(KEYS[:16])
    env = random_mdp.of(params)

    def successors(params, key):
        step = env.replace(params=params).step
        return jax.vmap(step, in_axes=(0, None, None))(jax.random.split(key, 4000), jnp.int32(1), jnp.int32(1)).state

    states = np.asarray(jax.jit(jax.vmap(successors))(params, jax.random.split(jax.random.key(5), 16)))
    expected = 4000 * np.asarray(params.probability)[:, 1, 1]
    counts = (states[..., None] == np.arange(4)).sum(1)
    assert ((counts - expected) ** 2 / expected).sum() < 84.0  # chi-square, 48 degrees of freedom, 0.1 %


@pytest.mark.parametrize("kind", random_mdp.KINDS)
def test_one_state_and_one_action(kind):
    model = tabulate(random_mdp.make(kind, num_states=1, num_actions=1))
    reward = float(model.reward[0, 0, 0])
    assert oracles.start_value(model, oracles.value_iteration(model, 0.5)) == pytest.approx(2 * reward)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(num_states=0), "num_states"),
        (dict(num_actions=0), "num_actions"),
        (dict(num_successors=2), "takes no num_successors"),
        (dict(kind="garnet", num_states=4, num_successors=5), r"1 \.\. 4"),
        (dict(max_steps=0), "max_steps"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ConfigError, match=message):
        random_mdp.make(**parameters)


def test_unknown_kind():
    with pytest.raises(UnknownNameError, match="'garnet'"):
        random_mdp.make("garnett")


def test_the_exact_table_is_the_table_with_rows_that_sum_to_one():
    params = random_mdp.dense(jax.random.key(0), 50, 2)
    exact, plain = random_mdp.exact_table(params), random_mdp.table(params)
    assert exact.probability.dtype == exact.reward.dtype == np.float64
    np.testing.assert_allclose(exact.probability.sum(-1), 1.0, atol=1e-15)
    for name in ("probability", "reward", "initial", "next_state"):
        np.testing.assert_allclose(getattr(exact, name), getattr(plain, name), atol=1e-7)
