"""Reward models and their fit: gradients, invariances, the exact optimum from scipy, seeds as members, bootstrap weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import envs
from jaxrl.algorithms.preferences import ensembles, reward_fitting
from jaxrl.algorithms.preferences.ensembles import Aggregated
from jaxrl.algorithms.preferences.labellers import Labeller, ask
from jaxrl.algorithms.preferences.losses import bradley_terry_loss
from jaxrl.algorithms.preferences.metrics import HeldOut
from jaxrl.algorithms.preferences.reward_models import MLP, Linear, Tabular
from jaxrl.algorithms.preferences.segments import Preferences, collect, sample_pairs, scores, single_steps
from jaxrl.core import rollout
from jaxrl.core.spaces import Box, Discrete
from jaxrl.core.transforms import with_reward
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError
from jaxrl.testing.conformance import check_environment
from jaxrl.training.runner import run

KEY = jax.random.key(0)


def grid_data(num_segments=60, num_pairs=200, length=5):
    env = envs.make("reward_grid", rows=2, columns=3)
    segments = collect(KEY, env, rollout.uniform_policy(env), num_segments, length)
    first, second = sample_pairs(jax.random.key(1), num_segments, num_pairs)
    return env, ask(jax.random.key(2), Labeller(), segments, first, second)


@pytest.mark.parametrize("flip_rate", [0.0, 0.1])
def test_loss_and_gradient_by_hand(flip_rate):
    with jax.enable_x64(True):
        for d, label in ((0.7, 1.0), (-1.2, 0.0), (2.0, 0.25), (0.0, 0.5)):
            p = (1 - flip_rate) / (1 + np.exp(-d)) + flip_rate / (1 + np.exp(d))
            expected = -label * np.log(p) - (1 - label) * np.log(1 - p)
            slope = (1 - 2 * flip_rate) * np.exp(-d) / (1 + np.exp(-d)) ** 2
            gradient = (-label / p + (1 - label) / (1 - p)) * slope
            found = jax.value_and_grad(bradley_terry_loss)(d, label, flip_rate)
            np.testing.assert_allclose(found, (expected, gradient), rtol=1e-6, atol=1e-12)


def test_loss_stays_finite_where_a_label_is_impossible():
    loss, gradient = jax.value_and_grad(bradley_terry_loss)(jnp.float32(200.0), 0.0)
    np.testing.assert_allclose([loss, gradient], [200.0, 1.0], rtol=1e-6)
    loss, gradient = jax.value_and_grad(bradley_terry_loss)(jnp.float32(200.0), 0.0, 0.05)
    np.testing.assert_allclose(loss, -np.log(0.05), rtol=1e-5)
    assert abs(float(gradient)) < 1e-6


def test_gradient_of_the_fit_is_that_of_finite_differences():
    env, data = grid_data()
    model = Tabular.of(env, reads=("obs", "action", "next_obs"))
    with jax.enable_x64(True):
        table = jax.random.normal(KEY, (6, 4, 6), jnp.float64)

        def loss(table):
            d = reward_fitting.differences(model, table, data.segments, data.first, data.second)
            return bradley_terry_loss(d, data.label).mean() + 0.1 * reward_fitting.penalty(table, None)

        gradient = jax.grad(loss)(table)
        direction = jax.random.normal(jax.random.key(3), table.shape, jnp.float64)
        change = (loss(table + 1e-5 * direction) - loss(table - 1e-5 * direction)) / 2e-5
        np.testing.assert_allclose((gradient * direction).sum(), change, rtol=1e-7)


def test_a_constant_reward_changes_nothing_on_segments_of_equal_length():
    env, data = grid_data()
    model = Tabular.of(env, reads=("next_obs",))
    with jax.enable_x64(True):
        table = jax.random.normal(KEY, (6,), jnp.float64)
        one, other = (
            reward_fitting.differences(model, table + shift, data.segments, data.first, data.second) for shift in (0.0, 5.0)
        )
        np.testing.assert_allclose(one, other, atol=1e-12)
        shorter = data.segments._replace(mask=data.segments.mask.at[data.first[0], -1].set(False))
        changed = reward_fitting.differences(model, table + 5.0, shorter, data.first[:1], data.second[:1])
        same = reward_fitting.differences(model, table, shorter, data.first[:1], data.second[:1])
        np.testing.assert_allclose(changed - same, -5.0, atol=1e-12)


def test_both_ways_of_looking_segments_up_agree():
    env, data = grid_data()
    model = MLP.of(env, hidden=(8,))
    params = model.init(KEY)
    every = reward_fitting.differences(model, params, data.segments, data.first, data.second)
    few = reward_fitting.differences(model, params, data.segments, data.first[:7], data.second[:7])
    np.testing.assert_allclose(every[:7], few, atol=1e-5)


@pytest.mark.parametrize("anchored", [False, True])
def test_the_fit_reaches_the_optimum_that_scipy_finds(anchored):
    env, data = grid_data()
    model = Tabular.of(env, reads=("next_obs",), init_scale=0.5)
    config = reward_fitting.Config(
        model, learning_rate=0.02, weight_decay=0.05, num_epochs=50, num_minibatches=1, anchored=anchored
    )
    done = run(reward_fitting.make, data, config, seeds=2, num_updates=20)
    begun = [reward_fitting.begin(jax.random.split(jax.random.fold_in(seed_key(s), 0))[1], config, 200).params for s in range(2)]
    score = np.zeros((60, 6))
    next_obs = np.asarray(data.segments.next_obs)
    np.add.at(score, (np.repeat(np.arange(60), 5), next_obs.ravel()), 1.0)
    features = score[np.asarray(data.first)] - score[np.asarray(data.second)]
    label = np.asarray(data.label, np.float64)
    for seed in range(2):
        centre = np.asarray(begun[seed], np.float64) if anchored else np.zeros(6)

        def objective(x, centre=centre):
            d = features @ x
            return np.mean(np.logaddexp(0, -d) + (1 - label) * d) + 0.025 * np.sum((x - centre) ** 2)

        best = optimize.minimize(objective, np.zeros(6), method="BFGS", options={"gtol": 1e-8}).x
        np.testing.assert_allclose(done.state.reward_params[seed], best, atol=2e-3)


def seed_key(seed):
    return jax.random.fold_in(jax.random.key(0), jnp.uint32(seed))


def test_seeds_are_members_of_an_ensemble():
    env, data = grid_data()
    model = Tabular.of(env, reads=("next_obs",))
    config = reward_fitting.Config(model, num_minibatches=4, bootstrap=True)
    done = run(reward_fitting.make, data, config, seeds=3, num_updates=2)
    repetitions = np.asarray(done.state.member.repetitions)
    np.testing.assert_array_equal(repetitions.sum(1), 200)
    assert (repetitions == np.round(repetitions)).all()
    assert not np.array_equal(repetitions[0], repetitions[1])
    together = Aggregated(model, "worst_case")
    obs = jnp.arange(6)
    found = together(done.state.reward_params, obs, obs * 0, obs)
    np.testing.assert_allclose(found, np.asarray(done.state.reward_params).min(0))
    assert done.state.preferences is None  # nothing of the shared data set is copied to the seeds


def test_bootstrap_counts_weigh_the_loss():
    """Two comparisons, one of them repeated: the fit is that of the repeated data set."""
    pool = single_steps(jnp.arange(3), jnp.zeros(3, jnp.int32))
    model = Tabular(Discrete(3), Discrete(1), ("obs",))
    config = reward_fitting.Config(model, learning_rate=0.05, weight_decay=0.1, num_epochs=200, num_minibatches=1)
    first, second, label = jnp.array([0, 1, 1]), jnp.array([1, 2, 2]), jnp.array([1.0, 0.0, 0.0])
    repeated = Preferences(pool, first, second, label, jnp.ones(3))
    weighted = Preferences(pool, first, second, label, jnp.array([1.0, 2.0, 0.0]))
    member = reward_fitting.begin(KEY, config, 3)
    one = reward_fitting.fit(KEY, member, repeated, config)[0].params
    other = reward_fitting.fit(KEY, member, weighted, config)[0].params
    np.testing.assert_allclose(one, other, atol=1e-4)
    counted = reward_fitting.fit(KEY, member.replace(repetitions=jnp.array([1.0, 2.0, 0.0])), repeated, config)[0].params
    np.testing.assert_allclose(one, counted, atol=1e-4)


def test_an_ensemble_per_seed_shares_that_seeds_data():
    env, data = grid_data()
    config = ensembles.Config(
        reward_fitting.Config(Tabular.of(env, init_scale=1.0), num_minibatches=4, bootstrap=True), num_members=4
    )
    done = run(ensembles.make, data, config, seeds=2, num_updates=2)
    assert done.state.reward_params.shape == (2, 4, 6, 4)
    assert len(np.unique(np.asarray(done.state.reward_params)[:, :, 0, 0])) == 8
    assert done.metrics["loss"].shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("single", [1.0, 4.0]), ("mean", [2.0, 2.0]), ("worst_case", [1.0, 0.0]), ("uncertainty_weighted", [2 - 0.5, 2 - 2.0])],
)
def test_aggregates_by_hand(name, expected):
    def model(params, obs, action, next_obs):
        return params * jnp.ones(2) if params.ndim else params

    found = ensembles.AGGREGATES[name](jnp.array([[1.0, 4.0], [3.0, 0.0]]), *([0.5] if name.startswith("uncertainty") else []))
    np.testing.assert_allclose(found, expected)


def test_a_learned_reward_goes_into_with_reward():
    """A model, and an ensemble of it, is a reward function for the transform; built again it finds the compiled program."""
    env = envs.make("reward_grid", rows=1, columns=2)
    for kind in (Linear, Tabular, MLP):
        assert kind.of(env) == kind.of(env)
        assert hash(kind.of(env)) == hash(kind.of(env))
    model = MLP.of(env, hidden=(4,))
    members = jax.vmap(model.init)(jax.random.split(KEY, 3))
    reward = Aggregated(MLP.of(env, hidden=(4,)), "uncertainty_weighted", 0.5)
    learned, again = (with_reward(env, reward, params) for params in (members, jax.tree.map(jnp.zeros_like, members)))
    check_environment(learned, KEY, rebuilt=again)


def test_linear_and_tabular_agree_on_one_part():
    env = envs.make("reward_grid", rows=2, columns=2)
    weights = jnp.array([1.0, -2.0, 3.0, 0.5])
    obs = jnp.array([[0, 1], [2, 3]])
    linear, tabular = (kind.of(env, reads=("obs",))(weights, obs, obs * 0, obs) for kind in (Linear, Tabular))
    np.testing.assert_allclose(linear, tabular)
    np.testing.assert_allclose(tabular, weights.reshape(2, 2))


@pytest.mark.each
def test_a_network_learns_from_continuous_observations():
    """Preferences by minus the squared observation: held-out accuracy well above chance on all seeds."""
    obs = jax.random.uniform(KEY, (400, 3, 1), minval=-2.0, maxval=2.0)
    mask = jnp.ones((400, 3), bool)
    pool = single_steps(obs[:, 0], obs[:, 0])._replace(obs=obs, action=obs, next_obs=obs, mask=mask)
    pool = pool._replace(reward=-jnp.square(obs[..., 0]))
    first, second = sample_pairs(jax.random.key(1), 400, 1000)
    data = ask(KEY, Labeller(rationality=np.inf), pool, first, second)
    space = Box(-2.0, 2.0, (1,))
    model = MLP(space, space, ("obs",), hidden=(16,))
    held_out = HeldOut(ask(KEY, Labeller(rationality=np.inf), pool, *sample_pairs(jax.random.key(2), 400, 500)), model)
    config = reward_fitting.Config(model, learning_rate=1e-2)
    done = run(reward_fitting.make, data, config, seeds=4, num_updates=20, chunk_length=20, evaluators=(held_out,))
    assert (done.evaluations["held_out_accuracy"][:, -1] > 0.93).all()
    assert done.metrics["loss"][:, -1].max() < 0.2
    score = scores(model, jax.tree.map(lambda leaf: leaf[0], done.state.reward_params), pool)
    assert np.corrcoef(score, pool.reward.sum(1))[0, 1] > 0.9


def alternating(num_pairs, weight=None):
    """Comparisons in which the first of two responses always wins, and comparisons of two others that nobody labelled."""
    pool = single_steps(jnp.arange(4), jnp.zeros(4, jnp.int32))
    number = jnp.arange(num_pairs, dtype=jnp.int32)
    first, second = jnp.where(number < 8, 0, 2), jnp.where(number < 8, 1, 3)
    weight = jnp.ones(num_pairs) if weight is None else weight
    return Preferences(pool, first, second, jnp.ones(num_pairs), weight)


def test_the_accuracy_of_a_perfect_model_is_one_however_few_labels_there_are():
    """8 of 160 comparisons are labelled; most of ten minibatches hold none, and each counted as half right."""
    data = alternating(160, weight=(jnp.arange(160) < 8).astype(jnp.float32))
    model = Tabular(Discrete(4), Discrete(1), ("obs",))
    config = reward_fitting.Config(model, learning_rate=1e-6)
    member = reward_fitting.begin(KEY, config, 160).replace(params=jnp.array([[9.0], [-9.0], [0.0], [5.0]])[:, 0])
    metrics = reward_fitting.fit(KEY, member, data, config)[1]
    np.testing.assert_allclose(metrics["accuracy"].mean, 1.0)
    np.testing.assert_allclose(metrics["accuracy"].count, 160.0, rtol=1e-5)  # weights are scaled to a mean of 1
    assert float(metrics["loss"].mean) < 1e-6
    held_out = HeldOut(data, model)(KEY, None, reward_fitting.Fit(member, None))
    np.testing.assert_allclose(held_out["held_out_accuracy"].mean, 1.0)
    nothing = reward_fitting.fit(KEY, member, alternating(160, jnp.zeros(160)), config)[1]
    assert np.isnan(nothing["accuracy"].mean)  # a missing value, which no seed is blamed for
    assert float(nothing["accuracy"].total) == 0.0


def test_minibatches_need_not_divide_the_comparisons():
    """97 comparisons in 10 minibatches are fitted as 100 of which three have weight 0, to the last bit."""
    env, data = grid_data(num_pairs=97)
    model = Tabular.of(env, reads=("next_obs",))
    config = reward_fitting.Config(model, learning_rate=0.01, num_epochs=3)
    member = reward_fitting.begin(KEY, config, 97)
    found, metrics = reward_fitting.fit(KEY, member, data, config)
    columns = (jnp.pad(column, (0, 3)) for column in (data.first, data.second, data.label, data.weight))
    filled = Preferences(data.segments, *columns)
    expected, its = reward_fitting.fit(KEY, member, filled, config)
    np.testing.assert_array_equal(found.params, expected.params)
    assert not np.array_equal(found.params, member.params)
    assert float(metrics["accuracy"].mean) == float(its["accuracy"].mean)
    whole = config.replace(num_minibatches=97)
    done = run(reward_fitting.make, data, whole, seeds=1, num_updates=1)
    assert np.isfinite(done.metrics["loss"]).all()


def test_separable_labels_are_noticed():
    """Without decay the difference grows for ever; with some it ends where the slope of the likelihood is the decay's."""
    model = Tabular(Discrete(4), Discrete(1), ("obs",))
    config = reward_fitting.Config(model, learning_rate=0.1, weight_decay=0.0, num_epochs=100, num_minibatches=1)
    data = alternating(8)
    growing = run(reward_fitting.make, data, config, seeds=1, num_updates=8).metrics["largest_difference"][0]
    assert (np.diff(growing) > 0.05).all()
    held = config.replace(weight_decay=0.05, num_epochs=300)
    kept = run(reward_fitting.make, data, held, seeds=1, num_updates=4).metrics["largest_difference"][0]
    assert abs(kept[-1] - kept[-2]) < 1e-3
    # d = r_0 - r_1 with r_1 = -r_0: sigmoid(-d) = decay * d / 2.
    root = optimize.brentq(lambda d: 1 / (1 + np.exp(d)) - 0.05 * d / 2, 0, 50)
    np.testing.assert_allclose(kept[-1], root, rtol=1e-3)


def test_padding_that_is_no_number_does_not_reach_the_gradient():
    """NaN behind the mask, and in a pair of weight 0 none: loss and fit are those without it."""
    obs = jax.random.normal(KEY, (6, 3, 2))
    mask = jnp.ones((6, 3), bool).at[:, 2].set(False)
    space = Box(-np.inf, np.inf, (2,))
    model = MLP(space, space, ("obs", "next_obs"), hidden=(4,))
    config = reward_fitting.Config(model, num_minibatches=1)
    member = reward_fitting.begin(KEY, config, 3)
    fits = []
    for padding in (0.0, jnp.nan, 7.0):
        seen = jnp.where(mask[..., None], obs, padding)
        pool = single_steps(obs[:, 0], obs[:, 0])._replace(obs=seen, action=seen, next_obs=seen, mask=mask)
        data = Preferences(pool, jnp.array([0, 2, 4]), jnp.array([1, 3, 5]), jnp.ones(3), jnp.ones(3))
        state, metrics = reward_fitting.fit(KEY, member, data, config)
        fits.append((jax.tree.leaves(state.params), float(metrics["loss"].mean)))
    for params, loss in fits[1:]:
        assert loss == fits[0][1]
        for one, other in zip(params, fits[0][0], strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_number_that_names_no_segment_has_no_score():
    """In compiled code, where nothing can be refused: index 99 in a pool of 4 was that of the last segment."""
    model = Tabular(Discrete(4), Discrete(1), ("obs",))
    pool = single_steps(jnp.arange(4), jnp.zeros(4, jnp.int32))
    for pairs in (2, 5):  # the two ways of looking segments up
        first = jnp.array([0, 99, -1, 2, 3][:pairs])
        found = jax.jit(lambda first: reward_fitting.differences(model, jnp.arange(4.0), pool, first, first * 0 + 1))(first)
        np.testing.assert_array_equal(np.isnan(found), np.array([False, True, True, False, False])[:pairs])


@pytest.mark.slow
def test_members_that_may_disagree_do():
    """Nine in ten intervals of an anchored and bootstrapped ensemble hold the true reward of about that many responses."""
    worlds, members, responses, pairs = 12, 40, 10, 100
    model = Tabular(Discrete(responses), Discrete(1), ("obs",), init_scale=1.0)
    config = reward_fitting.Config(
        model, learning_rate=0.1, weight_decay=1 / pairs, num_epochs=200, num_minibatches=1, bootstrap=True, anchored=True
    )

    def inside(key, config):
        gold_key, pair_key, label_key, fit_key = jax.random.split(key, 4)
        gold = jax.random.normal(gold_key, (responses,))
        pool = single_steps(jnp.arange(responses), jnp.zeros(responses, jnp.int32))._replace(reward=gold[:, None])
        data = ask(label_key, Labeller(), pool, *sample_pairs(pair_key, responses, pairs))

        def fit(key):
            return reward_fitting.fit(key, reward_fitting.begin(key, config, pairs), data, config)[0].params

        rewards = jax.vmap(fit)(jax.random.split(fit_key, members))
        rewards, gold = rewards - rewards.mean(1, keepdims=True), gold - gold.mean()
        low, high = jnp.quantile(rewards, jnp.array([0.05, 0.95]), axis=0)
        return ((low <= gold) & (gold <= high)).mean(), rewards.std(0).mean()

    covered, spread = jax.jit(jax.vmap(lambda key: inside(key, config)))(jax.random.split(KEY, worlds))
    assert 0.75 < float(covered.mean()) < 0.97
    assert float(spread.mean()) > 0.1
    alike = config.replace(bootstrap=False, anchored=False)
    covered, spread = jax.jit(jax.vmap(lambda key: inside(key, alike)))(jax.random.split(KEY, worlds))
    assert float(covered.mean()) < 0.1
    assert float(spread.mean()) < 1e-2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_minibatches": 201}, r"must not exceed the number of comparisons \(200\), got 201. Try 200"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"flip_rate": 0.5}, "flip_rate must lie in"),
        ({"num_epochs": 0}, "num_epochs must be an integer of at least 1"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(changes, message):
    env, data = grid_data()
    config = reward_fitting.Config(Tabular.of(env)).replace(**changes)
    with pytest.raises(ConfigError, match=message):
        run(reward_fitting.make, data, config, seeds=2, num_updates=2)


def test_wrong_models_and_tasks():
    env = envs.make("cartpole")
    with pytest.raises(SpaceError, match="every part that is read must be Discrete"):
        Tabular.of(env)
    with pytest.raises(UnknownNameError, match="Did you mean 'action'"):
        Linear.of(env, reads=("actions",))
    with pytest.raises(ConfigError, match="at least one layer"):
        MLP.of(env, hidden=())
    with pytest.raises(UnknownNameError, match="Did you mean 'worst_case'"):
        Aggregated(MLP.of(env), "worst")
    with pytest.raises(ConfigError, match="must be Preferences, or draw some from a key"):
        run(reward_fitting.make, {"a": 1}, reward_fitting.Config(MLP.of(env)), num_updates=1)
