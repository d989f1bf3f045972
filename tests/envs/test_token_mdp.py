"""Token MDP: the tree of prefixes, exact probabilities of strings, and what the best string is worth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.token_mdps import token_mdp
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, UnknownNameError
from tests.oracles import start_value, value_iteration


def test_strings_are_listed_in_order():
    text = token_mdp.strings(3, 2)
    np.testing.assert_array_equal(text, [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]])
    assert token_mdp.strings(4, 5).shape == (1024, 5)


@pytest.mark.parametrize(("vocabulary", "length"), [(3, 4), (2, 1), (1, 3)])
def test_every_string_is_paid_its_score(vocabulary, length):
    env = token_mdp.make(vocabulary=vocabulary, length=length)
    scores = env.params.score.reshape(-1)
    text = token_mdp.strings(vocabulary, length)

    @jax.jit
    @jax.vmap
    def write(tokens):
        _, state = env.reset(jax.random.key(0))
        rewards, ends = [], []
        for token in tokens:
            step = env.step(jax.random.key(0), state, token)
            state = step.state
            rewards.append(step.reward)
            ends.append(step.terminated)
        return jnp.stack(rewards), jnp.stack(ends)

    rewards, ends = write(text)
    np.testing.assert_array_equal(rewards[:, -1], scores)
    assert not rewards[:, :-1].any()
    np.testing.assert_array_equal(ends, np.broadcast_to(np.arange(length) == length - 1, ends.shape))


def test_states_are_prefixes():
    model = tabulate(token_mdp.make(vocabulary=3, length=3))
    assert model.num_states == 1 + 3 + 9 + 27 == envs.make("token_mdp", vocabulary=3, length=3).observation_space.n
    np.testing.assert_array_equal(np.sort(model.observation), np.arange(40))


def test_optimal_value_is_the_best_score():
    env = envs.make("token_mdp", kind="bigram", seed=3)
    model = tabulate(env)
    assert start_value(model, value_iteration(model, 1.0)) == pytest.approx(float(env.params.score.max()), abs=1e-6)


def test_probabilities_of_strings():
    """Against products along every string, and against sampled strings (chi-square)."""
    vocabulary, length = 3, 3
    prefixes = token_mdp.first_node(vocabulary, length)
    policy = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (prefixes, vocabulary)))
    found = np.asarray(jax.jit(lambda policy: token_mdp.string_log_probabilities(policy, length))(policy), np.float64)
    expected = []
    for tokens in token_mdp.strings(vocabulary, length):
        node, total = 0, 0.0
        for token in tokens:
            total += float(policy[node, token])
            node = vocabulary * node + 1 + int(token)
        expected.append(total)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)

    env = token_mdp.make(vocabulary=vocabulary, length=length)

    def write(key):
        reset_key, step_key, *token_keys = jax.random.split(key, 2 + length)
        _, node = env.reset(reset_key)
        for token_key in token_keys:
            token = jax.random.categorical(token_key, policy[node]).astype(jnp.int32)
            node = env.step(step_key, node, token).state
        return node - prefixes

    written = jax.jit(jax.vmap(write))(jax.random.split(jax.random.key(1), 20_000))
    counts = np.bincount(np.asarray(written), minlength=27)
    probability = np.exp(found) / np.exp(found).sum()
    often = 20_000 * probability >= 5  # the rest is one class, as the test's approximation needs about five
    counts = np.append(counts[often], counts[~often].sum())
    probability = np.append(probability[often], probability[~often].sum())
    from scipy import stats

    assert stats.chisquare(counts, 20_000 * probability).pvalue > 1e-3


def test_kinds_of_scores():
    keys = jax.random.split(jax.random.key(0), 2000)
    for kind in token_mdp.KINDS.values():
        scores = np.asarray(jax.vmap(lambda key, kind=kind: kind(key, 3, 4))(keys))
        assert scores.shape == (2000, 81)
        assert abs(scores[:, 5].mean()) < 0.15
    bigram = np.asarray(token_mdp.bigram(keys[0], 3, 4), np.float64).reshape(3, 3, 3, 3)
    # How the last token changes the score depends on the one before it alone.
    change = bigram[..., 1] - bigram[..., 0]
    np.testing.assert_allclose(change, np.broadcast_to(change[0, 0], change.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (dict(vocabulary=0), ConfigError, "vocabulary"),
        (dict(length=0), ConfigError, "length"),
        (dict(vocabulary=10, length=8), ConfigError, "10,000,000 strings"),
        (dict(kind="bigrams"), UnknownNameError, "Did you mean 'bigram'"),
    ],
)
def test_wrong_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        envs.make("token_mdp", **parameters)
