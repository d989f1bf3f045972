"""Networks: initialisation that cannot hang, orthogonality, memory that resets, convolution against a direct sum."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks.networks import (
    CNN,
    GRU,
    MLP,
    ActorCritic,
    QNetwork,
    activation,
    orthogonal,
    orthonormal_columns,
    require_layers,
)
from jaxrl.core.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from jaxrl.errors import ConfigError
from tests.own_networks import Convolution, OfWidth, Residual, no_module, too_wide


@pytest.mark.parametrize("shape", [(64, 64), (4, 64), (64, 2), (256, 256), (3, 3, 2, 8)])
def test_orthogonal(shape):
    matrix = np.asarray(orthogonal(2.0)(jax.random.key(0), shape)).reshape(-1, shape[-1]) / 2.0
    small = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    np.testing.assert_allclose(small.T @ small, np.eye(small.shape[1]), atol=3e-6)


def test_orthonormal_columns_span_what_qr_spans():
    matrix = jax.random.normal(jax.random.key(1), (12, 5))
    q, r = np.linalg.qr(np.asarray(matrix, np.float64))
    np.testing.assert_allclose(orthonormal_columns(matrix), q * np.sign(np.diag(r)), atol=1e-5)


def uses_lapack(compiled):
    return 'custom_call_target="lapack' in compiled.as_text()


def test_lapack_would_be_noticed():
    assert uses_lapack(jax.jit(jnp.linalg.qr).lower(jnp.eye(3)).compile())


def test_a_thousand_seeds_are_initialised_without_lapack():
    """QR under vmap can hang on two cores; the compiled program must not contain it."""
    network = ActorCritic(Box(-1.0, 1.0, (4,)), Discrete(2))

    def init(key):
        return jax.jit(network.init)(key, jnp.zeros((1, 1, 4)), jnp.zeros((1, 1), bool), ())

    compiled = jax.jit(jax.vmap(init)).lower(jax.random.split(jax.random.key(0), 1024)).compile()
    assert not uses_lapack(compiled)
    params = compiled(jax.random.split(jax.random.key(0), 1024))
    kernel = np.asarray(params["params"]["actor"]["Dense_1"]["kernel"])
    assert kernel.shape == (1024, 64, 64)
    np.testing.assert_allclose(kernel[1000] @ kernel[1000].T, 2 * np.eye(64), atol=1e-5)
    assert len(np.unique(kernel[:, 0, 0])) == 1024


def test_recurrent_initialisation_has_no_lapack_either():
    network = ActorCritic(Box(-1.0, 1.0, (4,)), Discrete(2), memory_size=16)
    arguments = jnp.zeros((1, 1, 4)), jnp.zeros((1, 1), bool), jnp.zeros((1, 16))
    assert not uses_lapack(jax.jit(lambda key: network.init(key, *arguments)).lower(jax.random.key(0)).compile())


def test_memory_is_forgotten_where_an_episode_starts():
    gru = GRU(6)
    x = jax.random.normal(jax.random.key(0), (8, 2, 3))
    first = jnp.zeros((8, 2), bool).at[5, 0].set(True)
    params = jax.jit(gru.init)(jax.random.key(1), jnp.zeros((2, 6)), (x, first))
    memory = jax.random.normal(jax.random.key(2), (2, 6))
    last, memories = gru.apply(params, memory, (x, first))
    np.testing.assert_array_equal(last, memories[-1])
    _, restarted = gru.apply(params, jnp.zeros((2, 6)), (x[5:], jnp.zeros((3, 2), bool)))
    np.testing.assert_allclose(memories[5:, 0], restarted[:, 0], atol=1e-6)
    assert np.abs(memories[5:, 1] - restarted[:, 1]).max() > 1e-3  # the other environment goes on
    one_by_one = memory
    for t in range(8):
        one_by_one, _ = gru.apply(params, one_by_one, (x[t : t + 1], first[t : t + 1]))
    np.testing.assert_allclose(one_by_one, last, atol=1e-6)


def test_convolution_is_a_direct_sum():
    net = CNN((2,), "relu")
    image = jax.random.normal(jax.random.key(0), (5, 6, 3))
    params = jax.jit(net.init)(jax.random.key(1), image)
    kernel, bias = (np.asarray(params["params"]["Conv_0"][name]) for name in ("kernel", "bias"))
    padded = np.pad(np.asarray(image), ((1, 1), (1, 1), (0, 0)))
    direct = np.array([[np.tensordot(padded[r : r + 3, c : c + 3], kernel, 3) + bias for c in range(6)] for r in range(5)])
    np.testing.assert_allclose(net.apply(params, image), np.maximum(direct, 0).ravel(), atol=1e-5)


def test_mlp_shapes_and_swish():
    net = MLP((8, 4), "swish", 3)
    x = jnp.ones((2, 5, 7))
    assert net.apply(jax.jit(net.init)(jax.random.key(0), x), x).shape == (2, 5, 3)
    np.testing.assert_allclose(activation("swish")(jnp.array([0.0, 50.0, -50.0])), [0.0, 50.0, 0.0], atol=1e-6)


def test_swish_is_x_times_the_sigmoid_and_has_its_two_limits():
    """x sigmoid(b x) is swish(b x) / b: x / 2 where b is small, and relu where it is large (Ramachandran et al. 2017)."""
    swish, x = activation("swish"), jnp.linspace(-6.0, 6.0, 49)
    np.testing.assert_allclose(swish(x), np.asarray(x) / (1 + np.exp(-np.asarray(x))), rtol=1e-6)
    np.testing.assert_allclose(swish(1e-4 * x) / 1e-4, x / 2, rtol=0, atol=2e-3)
    np.testing.assert_allclose(swish(1e4 * x) / 1e4, np.maximum(x, 0), rtol=1e-6, atol=1e-6)
    far = jnp.array([-1e30, 1e30])
    np.testing.assert_allclose(swish(far), [0.0, 1e30], rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(swish))(far), [0.0, 1.0])


def test_a_head_for_every_part_of_an_action():
    """One layer has the outputs of all parts, in the order of the parts; only boxes have deviations."""
    action = Dict.of(move=Tuple.of(Discrete(4), Box(-1.0, 1.0, (2,))), levers=MultiDiscrete((2, 3)))
    network = ActorCritic(Box(-1.0, 1.0, (3,)), action, (8,))
    obs, first = jnp.ones((2, 5, 3)), jnp.zeros((2, 5), bool)
    params = jax.jit(network.init)(jax.random.key(0), obs, first, ())
    assert params["params"]["actor"]["Dense_1"]["kernel"].shape == (8, 11)
    assert jax.tree.map(jnp.shape, params["params"]["log_std"]) == {"move": (None, (2,)), "levers": None}
    params["params"]["actor"]["Dense_1"]["bias"] = jnp.arange(11.0)
    params["params"]["actor"]["Dense_1"]["kernel"] = jnp.zeros((8, 11))
    outputs, _ = network.apply(params, obs, first, ())
    np.testing.assert_array_equal(outputs["levers"], jnp.broadcast_to(jnp.arange(5.0), (2, 5, 5)))
    np.testing.assert_array_equal(outputs["move"][0], jnp.broadcast_to(jnp.arange(5.0, 9.0), (2, 5, 4)))
    mean, log_std = outputs["move"][1]
    np.testing.assert_array_equal(mean, jnp.broadcast_to(jnp.arange(9.0, 11.0), (2, 5, 2)))
    np.testing.assert_array_equal(log_std, jnp.zeros((2, 5, 2)))


def test_a_beta_head_has_two_outputs_for_every_entry_of_a_box():
    action = Dict.of(move=Tuple.of(Discrete(4), Box(-1.0, 1.0, (2,))), levers=MultiDiscrete((2, 3)))
    network = ActorCritic(Box(-1.0, 1.0, (3,)), action, (8,), policy_head="beta")
    obs, first = jnp.ones((2, 5, 3)), jnp.zeros((2, 5), bool)
    params = jax.jit(network.init)(jax.random.key(0), obs, first, ())
    assert set(params["params"]) == {"actor", "critic"}  # no deviations
    params["params"]["actor"]["Dense_1"]["bias"] = jnp.arange(13.0)
    params["params"]["actor"]["Dense_1"]["kernel"] = jnp.zeros((8, 13))
    outputs, _ = network.apply(params, obs, first, ())
    np.testing.assert_array_equal(outputs["move"][0][0, 0], jnp.arange(5.0, 9.0))
    np.testing.assert_array_equal(outputs["move"][1][0][0, 0], jnp.arange(9.0, 11.0))
    np.testing.assert_array_equal(outputs["move"][1][1][0, 0], jnp.arange(11.0, 13.0))
    policy = network.distribution(outputs)
    np.testing.assert_allclose(policy.parts["move"][1].alpha[0, 0], 1 + np.log1p(np.exp([9.0, 10.0])), rtol=1e-6)


def test_agents_share_a_core_but_not_a_memory():
    """Agents on an axis of their own are as many sequences."""
    network = ActorCritic(Box(-1.0, 1.0, (3,)), Discrete(2), (4,), memory_size=5)
    obs = jax.random.normal(jax.random.key(0), (6, 2, 3, 3))  # [T, B, N, F]
    first, memory = jnp.zeros((6, 2), bool).at[3, 1].set(True), jax.random.normal(jax.random.key(1), (2, 3, 5))
    params = jax.jit(network.init)(jax.random.key(2), obs, first, memory)
    outputs, memories = network.apply(params, obs, first, memory, method="act")
    for agent in range(3):
        alone = network.apply(params, obs[:, :, agent], first, memory[:, agent], method="act")
        np.testing.assert_allclose(outputs[:, :, agent], alone[0], atol=1e-6)
        np.testing.assert_allclose(memories[:, :, agent], alone[1], atol=1e-6)


def test_agent_ids_and_a_central_critic():
    """A numbered agent differs from another that sees the same; the central critic looks at the global observation alone."""
    network = ActorCritic(Box(-1.0, 1.0, (3,)), Discrete(2), (4,), agent_ids=3, centralized=True, num_values=3)
    obs, first = jnp.ones((1, 2, 3, 3)), jnp.zeros((1, 2), bool)
    global_obs = jax.random.normal(jax.random.key(0), (1, 2, 7))
    params = jax.jit(network.init)(jax.random.key(1), obs, first, (), global_obs)
    outputs, value = network.apply(params, obs, first, (), global_obs)
    assert outputs.shape == (1, 2, 3, 2)
    assert value.shape == (1, 2, 3)
    assert np.abs(outputs[..., 0, :] - outputs[..., 1, :]).max() > 1e-5
    np.testing.assert_array_equal(network.apply(params, 5 * obs, first, (), global_obs)[1], value)
    assert np.abs(network.apply(params, obs, first, (), 2 * global_obs)[1] - value).max() > 1e-3


SPACES = {
    "vector": (Box(-1.0, 1.0, (3,)), Residual),
    "discrete": (Discrete(4), Residual),
    "nested": (Dict.of(a=Discrete(4), b=Box(0.0, 1.0, (2, 2))), OfWidth(8)),
    "image": (Box(0.0, 1.0, (4, 4, 1)), Convolution),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_network_of_the_users_sees_one_batch_axis_of_whatever_is_observed(name):
    space, own = SPACES[name]
    network = QNetwork(space, 5, network=own)
    obs = jax.vmap(jax.vmap(space.sample))(jax.random.split(jax.random.key(0), (2, 3)))
    params = jax.jit(network.init)(jax.random.key(1), obs)
    found = network.apply(params, obs)
    assert found.shape == (2, 3, 5)
    (inner,) = params["params"]["values"].values()
    alone = own(space, 5).apply({"params": inner}, jax.tree.map(lambda leaf: leaf[1], obs))
    np.testing.assert_allclose(found[1], alone, rtol=1e-5)


@pytest.mark.parametrize("centralized", [False, True])
def test_actor_and_critic_are_networks_of_the_users(centralized):
    """The critic of three agents sees ten global numbers, or what each agent sees."""
    more = {"centralized": True, "num_values": 3} if centralized else {}
    network = ActorCritic(Discrete(4), Box(-1.0, 1.0, (2,)), network=Residual, **more)
    obs, first, global_obs = jnp.zeros((5, 2, 3), jnp.int32), jnp.zeros((5, 2), bool), jnp.zeros((5, 2, 10))
    params = jax.jit(network.init)(jax.random.key(0), obs, first, (), global_obs)
    (mean, log_std), values = network.apply(params, obs, first, (), global_obs)
    assert (mean.shape, log_std.shape, values.shape) == ((5, 2, 3, 2), (5, 2, 3, 2), (5, 2, 3))
    moved = network.apply(params, obs, first, (), global_obs + 1)[1]
    assert np.array_equal(moved, values) != centralized


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": Residual(Discrete(2), 1)}, "network must be a function .* -> flax module.*Give the module class"),
        ({"network": "Residual"}, "network must be a function"),
        ({"network": lambda space, outputs: Residual(space, outputs)}, "at module level, or a frozen dataclass"),
        ({"network": Residual, "channels": (4,)}, r"must come without channels, got \(4,\). Leave channels out"),
        ({"network": Residual, "memory_size": 3}, "must come without memory_size, got 3"),
    ],
)
def test_networks_that_cannot_be_used_are_refused(changes, message):
    config = types.SimpleNamespace(**{"hidden": (4,), "activation": "relu", "channels": (), "memory_size": 0} | changes)
    with pytest.raises(ConfigError, match=f"here: .*{message}"):
        require_layers("here", config, Box(0.0, 1.0, (4, 4, 1)), "memory_size")
    for sound in (None, Residual, OfWidth(3)):
        config = types.SimpleNamespace(hidden=(4,), activation="relu", channels=(), memory_size=0, network=sound)
        require_layers("here", config, Discrete(2), "memory_size")


@pytest.mark.parametrize(
    ("own", "message"), [(too_wide, r"outputs of shape \(2, 5\), got \(2, 6\)"), (no_module, "a flax module")]
)
def test_what_a_network_returns_is_checked(own, message):
    with pytest.raises(ConfigError, match=f"network: network must return {message}"):
        QNetwork(Discrete(4), 5, network=own).init(jax.random.key(0), jnp.zeros(2, jnp.int32))
