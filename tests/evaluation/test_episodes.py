"""Evaluation by episodes and exactly."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gridworlds import corridor, frozen_lake, gridworld
from envs.matrix_games import named
from envs.random_mdps import random_mdp
from jaxrl.algorithms.multiagent import iql
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Step
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import Decision, last_step, uniform_policy
from jaxrl.errors import AlgorithmError, ConfigError, EnvError, UnknownNameError
from jaxrl.evaluation import AgentValues, Episodes, ExactValue, Exploitability, NashConv, TeamReturn, evaluate, follow
from jaxrl.evaluation.episodes import MODES
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.training.runner import run
from tests import oracles, probes
from tests.core.test_rollout import MEMORY, counter, remember
from tests.marks import slow
from tests.solvers.models import best_policy


def test_only_the_first_episode_counts():
    outcome = evaluate(jax.random.key(0), counter(5.0, 100), remember, 3, memory=MEMORY)
    np.testing.assert_array_equal(outcome.return_, 15.0)
    np.testing.assert_array_equal(outcome.length, 5)


def test_an_episode_is_followed_to_its_time_limit_and_beyond_its_end():
    env = envs.make("cartpole")
    found = jax.jit(lambda key: follow(key, env, lambda key, view: Decision(view.t % 2)))(jax.random.key(0))
    np.testing.assert_array_equal(found.action[:5], [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(found.obs[1:], found.outcome.obs[:-1])
    assert len(found.action) == env.max_steps
    assert found.outcome.terminated.any()
    states = jax.tree.map(lambda leaf: leaf[7], found.state)
    np.testing.assert_allclose(env.step(jax.random.key(0), states, 1).obs, found.outcome.obs[7], rtol=1e-6)


def test_what_an_environment_reports_is_measured_whatever_the_algorithm():
    """The account of a trader who always holds half: the same numbers as those of its episode, step by step."""
    env = envs.make("single_asset", max_steps=6)

    def half(key, view):
        return Decision(jnp.ones(view.obs.shape[0], jnp.int32))

    pairs = (("wealth", "last"), ("fee", "sum"), ("position", "mean"))
    key = jax.random.key(3)
    outcome = jax.jit(lambda key: evaluate(key, env, half, 2, info=pairs))(key)
    steps = follow_all(key, env, half, 2)
    assert outcome.info.keys() == {"wealth_last", "fee_sum", "position_mean"}
    np.testing.assert_allclose(outcome.info["wealth_last"], steps["wealth"][-1], rtol=1e-6)
    np.testing.assert_allclose(outcome.info["fee_sum"], steps["fee"].sum(0), rtol=1e-5)
    np.testing.assert_allclose(outcome.info["position_mean"], steps["position"].mean(0), rtol=1e-5)

    made = Algorithm(None, None, lambda state, greedy: half)  # pyright: ignore[reportArgumentType]
    found = Episodes(env, num_episodes=2, info=pairs)(key, made, None)
    assert {"greedy_wealth_last", "sampled_fee_sum", "greedy_position_mean"} <= set(found)
    np.testing.assert_allclose(found["greedy_wealth_last"], outcome.info["wealth_last"].mean(), rtol=1e-6)


def follow_all(key, env, policy, num_episodes):
    """Returns what the environment reports of the first steps of several episodes, with the keys of ``evaluate``."""
    start_key, play_key = jax.random.split(key)
    episodes, reports = rollout.start(start_key, env, num_episodes), []
    for t in range(env.max_steps):
        policy_key, env_key = jax.random.split(jax.random.fold_in(play_key, t))
        decision = policy(policy_key, rollout.view(env, episodes))
        episodes, seen = rollout.advance_all(env_key, env, episodes, decision)
        reports.append(seen.info)
    assert bool(seen.done.all())
    return jax.tree.map(lambda *leaves: np.stack(leaves), *reports)


def _ends_by_chance(key, state, action, params):
    start, count = state
    count = count + 1
    return Step(jnp.stack([start, count]), (start, count), count, count >= 1 + jnp.floor(3 * start), {"count": count})


def test_reports_after_the_end_do_not_count():
    """Episodes of 1, 2 and 3 steps side by side; each step reports its number, counted from 1."""
    env = dataclasses.replace(counter(100.0, 100), step_fn=_ends_by_chance, max_steps=8)
    pairs = tuple(("count", reduction) for reduction in ("sum", "mean", "last"))
    found = evaluate(jax.random.key(0), env, remember, 16, memory=MEMORY, info=pairs)
    length = np.asarray(found.length, np.float32)
    assert len(set(length.tolist())) > 2
    np.testing.assert_array_equal(found.info["count_last"], length)
    np.testing.assert_array_equal(found.info["count_sum"], length * (length + 1) / 2)
    np.testing.assert_allclose(found.info["count_mean"], (length + 1) / 2, rtol=1e-6)


def test_reports_that_do_not_exist_are_refused():
    made = Algorithm(None, None, lambda state, greedy: uniform_policy(ANYTHING))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownNameError, match=r"Episodes: no entry of Step.info is named 'wealth'"):
        Episodes(ANYTHING, info=(("wealth", "last"),))(jax.random.key(0), made, None)
    for info in (("wealth",), (("wealth", "median"),), (("wealth", "sum"), ("wealth", "sum"))):
        with pytest.raises(ConfigError, match="info"):
            Episodes(ANYTHING, info=info)  # pyright: ignore[reportArgumentType]


def test_memory_is_handed_on_along_an_episode():
    env = counter(100.0, 6)
    found = follow(jax.random.key(0), env, remember, memory=MEMORY)
    assert float(found.outcome.reward.sum()) == float(evaluate(jax.random.key(0), env, remember, 1, memory=MEMORY).return_[0])


def test_an_episode_is_followed_by_a_policy_that_reads_its_last_step():
    """It does the other action than a step ago."""

    def alternate(key, view):
        return Decision(1 - view.action, memory=view.memory)

    env = envs.make("cartpole")
    found = follow(jax.random.key(0), env, alternate, last_step(env), num_steps=6)
    np.testing.assert_array_equal(found.action, [1, 0, 1, 0, 1, 0])


def test_discounting_and_time_limits():
    outcome = evaluate(jax.random.key(0), counter(100.0, 3), remember, 2, gamma=0.5, memory=MEMORY)
    np.testing.assert_allclose(outcome.discounted_return, 1 + 0.5 * 2 + 0.25 * 3)


def test_episodes_of_different_lengths_are_not_under_represented():
    """The mean return of the uniform policy on the lake is its known success rate within the time limit, 0.013940."""
    lake = envs.make("frozen_lake")
    outcome = jax.jit(lambda key: evaluate(key, lake, uniform_policy(lake), 40_000))(jax.random.key(0))
    assert float(outcome.return_.mean()) == pytest.approx(0.013940, abs=0.002)


def test_agents_get_a_return_each():
    game = envs.make("prisoners_dilemma")

    def defect_against_cooperation(key, view):
        return Decision(jnp.tile(jnp.array([1, 0], jnp.int32), (2, 1)))

    outcome = evaluate(jax.random.key(0), game, defect_against_cooperation, 2)
    np.testing.assert_array_equal(outcome.return_, [[0.0, -3.0]] * 2)


# ---- exact values


def tabular(policy):
    """An algorithm that takes actions with fixed probabilities [X, A], by the state's number; its mode is the likeliest one."""
    table = jnp.asarray(policy, jnp.float32)

    def act(state, greedy):
        return lambda key, view: Decision(table[view.obs].argmax(-1))

    return Algorithm(None, None, act, probabilities=lambda state, view: table[view.obs])


def measured(exact, policy):
    metrics = jax.jit(lambda key: exact(key, tabular(policy), None))(jax.random.key(0))
    errors = [metrics.pop(f"{mode}_exact_value_error") for mode in MODES]
    bounded = all(error.count for error in errors)
    return {name: float(value) for name, value in metrics.items()}, max(float(e.mean) for e in errors) if bounded else None


ANYTHING = random_mdp.make("garnet", num_states=12, seed=3)  # nothing ends it


@pytest.mark.parametrize("gamma", [0.9, 0.9999, 0.99995])
def test_exact_values_of_random_policies_and_of_the_best(gamma):
    """Against linear solves in float64. A discount close to 1 leaves the values without a single common digit in float32."""
    model, exact = tabulate(ANYTHING), ExactValue.of(ANYTHING, gamma)
    best = best_policy(model, gamma)
    optimum = oracles.start_value(model, oracles.policy_values(model, best, gamma))
    assert float(exact.optimum) == pytest.approx(optimum, rel=1e-3)
    found, _ = measured(exact, best)
    assert found["greedy_optimality_gap"] == pytest.approx(0.0, abs=1e-6 * optimum)
    assert found["greedy_exact_value"] == pytest.approx(optimum, rel=1e-3)
    policy = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    found, error = measured(exact, policy)
    gap = optimum - oracles.start_value(model, oracles.policy_values(model, policy, gamma))
    assert found["sampled_optimality_gap"] == pytest.approx(gap, rel=2e-3)
    gamma = float(exact.gamma)  # as float32 has it: the bound is of the rounding along the way
    optimum, value = (oracles.start_value(model, oracles.policy_values(model, way, gamma)) for way in (best, policy))
    assert abs(found["sampled_optimality_gap"] - (optimum - value)) <= error


@pytest.mark.parametrize("gamma", [1 - 1e-6, 1 - 1e-9])
def test_a_discount_that_float32_cannot_tell_from_one_is_refused(gamma):
    with pytest.raises(ConfigError, match="tell gamma from 1 to a thousandth"):
        ExactValue.of(ANYTHING, gamma)


def test_the_gap_is_accurate_where_values_have_no_digits_to_spare():
    """One action in one state is worth 1e-4 less than the best; values are of the order of 1e4."""
    model, exact = tabulate(ANYTHING), ExactValue.of(ANYTHING, 0.9999)
    gamma = float(exact.gamma)
    nearly = best_policy(model, gamma)
    nearly[0] = 0.999 * nearly[0] + 0.0005 * np.eye(3)[nearly[0].argmax() - 1] + 0.0005 * np.eye(3)[nearly[0].argmax() - 2]
    optimum, value = (
        oracles.start_value(model, oracles.policy_values(model, policy, gamma)) for policy in (best_policy(model, gamma), nearly)
    )
    found, _ = measured(ExactValue.of(ANYTHING, gamma), nearly)
    assert found["sampled_optimality_gap"] == pytest.approx(optimum - value, rel=1e-2)
    assert optimum - value < 1e-4 * optimum


def test_without_discount_a_policy_that_rests_earns_nothing_and_one_that_pays_for_ever_loses_much():
    lake = frozen_lake.make(slip=0.0)
    idle = np.eye(4)[np.zeros(16, int)]  # into the left wall
    found, error = measured(ExactValue.of(lake, 1.0), idle)
    assert found["greedy_exact_value"] == 0.0
    assert found["greedy_optimality_gap"] == 1.0
    assert error is None  # nothing bounds how long it rests
    cliff = envs.make("cliff_walking")
    found, error = measured(ExactValue.of(cliff, 1.0), np.eye(4)[np.zeros(tabulate(cliff).observation.max() + 1, int)])
    assert -1e7 < found["greedy_exact_value"] < -1e6
    assert error is None


def test_values_that_add_up_for_ever_are_refused():
    with pytest.raises(ConfigError, match="at gamma = 1 a policy must end the episode"):
        ExactValue.of(ANYTHING, 1.0)


@pytest.mark.parametrize("gamma", [1.5, -1.0, float("nan")])
def test_discounts_that_are_none(gamma):
    with pytest.raises(ConfigError, match="ExactValue: gamma must lie in"):
        ExactValue.of(ANYTHING, gamma)
    with pytest.raises(ConfigError, match="Episodes: gamma must lie in"):
        Episodes(ANYTHING, gamma)
    with pytest.raises(ConfigError, match="evaluate: gamma must lie in"):
        evaluate(jax.random.key(0), ANYTHING, uniform_policy(ANYTHING), 2, gamma=gamma)


@pytest.mark.parametrize("modes", [("greddy",), (), "greedy"])
def test_modes_that_are_none(modes):
    with pytest.raises(ConfigError, match=r"modes must be some of \('greedy', 'sampled'\)"):
        Episodes(ANYTHING, modes=modes)


def test_what_each_agent_earns_is_a_column_in_all_tables(tmp_path):
    """The row player of battle of the sexes earns 3 or 2 where the column player earns 2 or 3, and both nothing elsewhere."""
    env = envs.make("battle_of_the_sexes")
    directory = RunDirectory.create(tmp_path, "each", {})
    played = Episodes(env, num_episodes=8)
    config = iql.Config(num_envs=4, num_steps=4)
    done = run(iql.make, env, config, seeds=3, num_updates=4, evaluators=(played,), sinks=(Recorder(directory),))
    directory.close()
    for tables, prefix in ((done.metrics, ""), (done.evaluations, "greedy_"), (done.evaluations, "sampled_")):
        each = [tables[f"{prefix}agent_return/{agent}"] for agent in range(2)]
        assert not np.array_equal(*each)
        total = tables["episode_return" if tables is done.metrics else f"{prefix}return"]
        np.testing.assert_allclose(each[0] + each[1], total, rtol=1e-5)
        np.testing.assert_array_equal(directory.curves(f"{prefix}agent_return/1").values, each[1])


def test_evaluators_of_one_run_have_columns_of_their_own():
    """A gap of undiscounted returns and a gap of discounted values are two columns: no two evaluators share one."""
    climb = envs.make("climb")
    evaluators = (NashConv(named.CLIMB), TeamReturn.of(climb), Exploitability.of(climb, 0.9), Episodes(climb, num_episodes=2))
    done = run(iql.make, climb, iql.Config(num_steps=2), seeds=1, num_updates=1, evaluators=evaluators)
    assert {"greedy_return_gap", "greedy_optimality_gap", "greedy_exact_return", "greedy_exact_value"} <= set(done.evaluations)


def named_evaluators():
    lake, climb = frozen_lake.make(), envs.make("climb")
    of_one = (Episodes(lake, num_episodes=2, discounted=True), ExactValue.of(lake, 0.9))
    of_many = (
        NashConv(named.CLIMB),
        TeamReturn.of(climb),
        Exploitability.of(climb, 0.9),
        Episodes(climb, num_episodes=2),
        AgentValues.of(climb, 0.9),
    )
    return [*((lake, evaluator) for evaluator in of_one), *((climb, evaluator) for evaluator in of_many)]


@pytest.mark.parametrize(("env", "evaluator"), named_evaluators(), ids=lambda given: type(given).__name__)
def test_every_measure_of_a_policy_says_of_which(env, evaluator):
    """One name has one meaning, whoever measures it: the mode of the policy, or the policy that is sampled."""
    actions = env.action_space.n

    def policy(state, greedy):
        return lambda key, view: Decision(jnp.zeros_like(view.obs))

    def uniform(state, view):
        return jnp.full((*view.obs.shape, actions), 1 / actions, jnp.float32)

    names = set(evaluator(jax.random.key(0), Algorithm(None, None, policy, probabilities=uniform), None))
    greedy, sampled = ({name.removeprefix(mode) for name in names if name.startswith(mode)} for mode in ("greedy_", "sampled_"))
    assert greedy == sampled
    assert len(names) == 2 * len(greedy) > 0


def test_policies_that_cannot_be_evaluated_exactly():
    exact = ExactValue.of(ANYTHING, 0.9)
    right = tabular(oracles.uniform(tabulate(ANYTHING)))
    for wrong, message in (
        (right._replace(memory=jnp.zeros(3)), "the policy must depend on the observation alone, got 'a memory'"),
        (tabular(np.full((12, 4), 0.25)), r"probabilities must have shape \[12, 3\], .* got \[12, 4\]"),
        (right._replace(policy=lambda state, greedy: lambda key, view: Decision(jnp.zeros((12, 1)))), r"got 'float32\[12, 1\]'"),
        (right._replace(policy=None), "the algorithm must have a policy"),
    ):
        with pytest.raises((EnvError, AlgorithmError), match=message):
            exact(jax.random.key(0), wrong, None)


def test_models_of_another_map_are_refused_before_anything_is_computed():
    """The tables have other sizes, and a look-up beyond them would be clipped to the last row."""
    small, large = corridor.make(3), corridor.make(30)
    for evaluator in (ExactValue.of(large, 0.9), Episodes(large)):
        with pytest.raises(EnvError, match="must have the spaces of the task"):
            run(q_learning.make, small, q_learning.Config(), seeds=1, num_updates=1, evaluators=(evaluator,))


def test_exact_value_is_of_one_agent():
    with pytest.raises(EnvError, match="must have no agent axis, got 2"):
        ExactValue.of(envs.make("prisoners_dilemma"), 0.9)


@pytest.mark.parametrize("gamma", [0.9, slow(1.0)])
def test_large_models_are_evaluated_by_sweeps(gamma):
    """A room of 2,116 cells, whose matrix would take 18 MB for each seed."""
    rows = tuple("." * 46 for _ in range(45)) + ("." * 45 + "G",)
    room = gridworld.make(rows, slip=0.1)
    model, exact = tabulate(room), ExactValue.of(room, gamma)
    assert not exact.dense
    policy = 0.2 * np.ones(4) / 4 + 0.8 * np.array([0.0, 0.5, 0.5, 0.0])  # mostly down and right
    policy = np.tile(policy, (model.num_states, 1))
    found, error = measured(exact, policy)
    expected = oracles.start_value(model, oracles.policy_values(model, policy, gamma))
    assert abs(found["sampled_exact_value"] - expected) <= error + 1e-6
    assert found["sampled_exact_value"] == pytest.approx(expected, abs=1e-4)


def test_exact_value_respects_masks():
    exact = ExactValue.of(probes.masked_action(), 0.9)
    assert float(exact.optimum) == 0.5
    assert exact.masked


def test_exact_value_of_the_lake():
    assert float(ExactValue.of(envs.make("frozen_lake"), 0.99).optimum) == pytest.approx(0.542026, abs=1e-6)


def test_team_return_of_the_pursuit():
    """An optimal pair needs 3.121267 steps on average; one that draws its moves uniformly is worth what episodes show."""
    env = envs.make("pursuit")
    exact = TeamReturn.of(env)
    assert float(exact.optimum) == pytest.approx(-3.121267, abs=1e-5)
    uniform = Algorithm(None, None, lambda state, greedy: uniform_policy(env), probabilities=_uniform_probabilities)
    metrics = jax.jit(lambda key: exact(key, uniform, None))(jax.random.key(0))
    played = jax.jit(lambda key: evaluate(key, env, uniform_policy(env), 4096))(jax.random.key(1)).return_.mean()
    assert float(metrics["sampled_exact_return"]) == pytest.approx(float(played), abs=1.0)
    assert float(metrics["sampled_return_gap"]) == pytest.approx(-3.121267 - float(metrics["sampled_exact_return"]), abs=1e-4)


def test_team_returns_are_those_of_as_many_steps_as_an_episode_has():
    env = envs.make("pursuit", max_steps=4)
    model = tabulate(env)
    team = model.replace(reward=model.reward.mean(-1))
    exact = TeamReturn.of(env)
    assert float(exact.optimum) == pytest.approx(oracles.start_value(team, oracles.horizon_values(team, 4)), abs=1e-5)
    uniform = Algorithm(None, None, lambda state, greedy: uniform_policy(env), probabilities=_uniform_probabilities)
    found = jax.jit(lambda key: exact(key, uniform, None))(jax.random.key(0))["sampled_exact_return"]
    expected = oracles.start_value(team, oracles.horizon_values(team, 4, oracles.uniform(team)))
    assert float(found) == pytest.approx(expected, abs=1e-5)


def _uniform_probabilities(state, view):
    return jnp.full((*view.obs.shape[:2], 5), 0.2)


def test_team_return_is_of_teams():
    with pytest.raises(EnvError, match="the environment must have an agent axis, got None"):
        TeamReturn.of(probes.masked_action())
