"""The benchmark command: workers, what is compared, the arithmetic of the report, and one whole run at tiny sizes."""

import inspect
import json
import signal
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import envs
from benchmarks import __main__ as command
from benchmarks import (
    flax_offline,
    game_data,
    jaxmarl_ippo,
    jobs,
    mctx_alphazero,
    measure,
    offline_data,
    peer_environment,
    peers,
    plan,
    report,
)
from benchmarks.measure import JobError, Worker, in_turn
from benchmarks.peer_environment import PeersError
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.multiagent import mappo
from jaxrl.algorithms.offline import behaviour_cloning, cql
from jaxrl.algorithms.planning import alphazero
from jaxrl.blocks import offline
from jaxrl.blocks.off_policy import Experience

# A worker without jax: the first piece of its work takes 0.2 s more than the others, which take 10 ms each.
WORKER = """
import os, sys, time
from benchmarks.measure import Case, outcome, serve, speed

def build():
    print("noise from a library", flush=True)
    first = True
    def work(count):
        nonlocal first
        time.sleep(0.01 * count + 0.2 * first)
        first = False
    return work

def dying():
    yield {}
    print("out of luck", file=sys.stderr, flush=True)
    os._exit(3)

def raising():
    yield {}
    raise ValueError("no such thing")

def silent():
    time.sleep(60)
    yield {}

serve({
    "speed": lambda seconds: speed({"train": Case(build, 7)}, seconds, "abacus"),
    "outcome": lambda: outcome("learn", 7, lambda: {"returns": [1.0]}, "abacus"),
    "dying": dying, "raising": raising, "silent": silent,
})
"""


def start(job, **arguments):
    return Worker([sys.executable, "-c", WORKER], {"job": job, **arguments})


def test_the_first_piece_is_not_part_of_the_speed():
    with start("speed", seconds=0.05) as worker:
        ready = worker.report()
        repeats = [worker.repeat()["cases"]["train"] for _ in range(2)]
    assert ready["device"] == "abacus"
    assert 0.15 < ready["ready_seconds"]["train"] < 2
    assert 0 < ready["baseline_bytes"] <= ready["peak_bytes"]
    for repeat in repeats:
        assert repeat["steps"] % 7 == 0
        assert repeat["steps"] / 7 * 0.01 <= repeat["seconds"]
        assert repeat["seconds"] >= 0.02


def test_an_outcome_is_measured_once():
    with start("outcome") as worker:
        worker.report()
        assert worker.repeat()["cases"]["learn"]["returns"] == [1.0]
        with pytest.raises(JobError, match="ended with status 0"):
            worker.repeat()


@pytest.mark.parametrize(("job", "reason"), [("dying", "status 3: out of luck"), ("raising", "ValueError: no such thing")])
def test_a_worker_that_fails_says_why(job, reason):
    with start(job) as worker:
        worker.report()
        with pytest.raises(JobError, match=reason):
            worker.repeat()


def test_a_worker_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(measure, "SILENCE_LIMIT", 0.3)
    with start("silent") as worker, pytest.raises(JobError, match="no answer"):
        worker.report()


def test_jobs_take_turns_and_a_failed_one_is_left_out():
    order = []

    class Scripted:
        def __init__(self, name, lives):
            self.name, self.lives = name, lives

        def repeat(self):
            order.append(self.name)
            self.lives -= 1
            if self.lives < 0:
                raise JobError("worn out")
            return {"lives": self.lives}

    reports, failures = in_turn({"peer": Scripted("peer", 1), "ours": Scripted("ours", 9)}, 3)
    assert order == ["peer", "ours", "peer", "ours", "ours"]
    assert failures == {"peer": "worn out"}
    assert [len(reports[name]) for name in ("peer", "ours")] == [1, 3]


def recorded(contender, seconds, device="cpu"):
    entry = plan.Entry(contender, "benchmarks.jobs", {"job": "training"})
    comparison = plan.Comparison("ppo", "a task", [entry], len(seconds), seeds=2)
    begin = {"device": device, "baseline_bytes": 1_000_000, "peak_bytes": 5_000_000, "ready_seconds": {"train": 4.0}}
    repeats = [{"peak_bytes": 6_000_000, "cases": {"train": {"steps": 100, "seconds": s}}} for s in seconds]
    return report.record(comparison, entry, [begin], repeats)


def test_medians_and_ratios():
    ours, peer = recorded("jaxrl", [1.0, 2.0, 4.0]), recorded("rejax", [5.0, 4.0, 4.0])
    case = ours["cases"]["train"]
    assert (case["median"], case["lowest"], case["highest"]) == (50, 25, 100)
    assert ours["peak_bytes"] == 6_000_000
    (ratio,) = report.ratios([peer, ours])
    assert (ratio["ours"], ratio["peer"]) == ("jaxrl", "rejax")
    assert (ratio["ratio"], ratio["lowest"], ratio["highest"]) == (2, 1, 5)
    assert report.ratios([ours, recorded("rejax", [1.0], device="gpu")])[0]["peer"] == "rejax on gpu"


def test_tables_show_what_there_is():
    made = report.tables([recorded("jaxrl", [1.0]), recorded("rejax", [2.0])])
    cells = [[list(column.cells) for column in table.columns] for table in made]
    assert cells[0] == [
        ["a task"] * 2,
        ["jaxrl", "rejax"],
        ["100", "50"],
        ["±0 %"] * 2,
        ["4.0"] * 2,
        [""] * 2,
        ["5"] * 2,
        ["2.00"] * 2,
    ]
    assert cells[1][-2:] == [["2.00"], ["2.00 .. 2.00"]]
    assert len(made) == 2
    assert not report.tables([recorded("jaxrl", [])])


@pytest.mark.parametrize("sizes", [plan.FULL, plan.QUICK], ids=["full", "quick"])
def test_every_planned_job_exists_and_takes_its_arguments(sizes):
    planned = list(plan.comparisons(sizes, plan.GROUPS, sorted(envs.REGISTRY), devices=2))
    modules = {"benchmarks.jobs": jobs.JOBS, "benchmarks.peers": peers.JOBS}
    for comparison in planned:
        contenders = [entry.contender for entry in comparison.entries]
        assert len(set(contenders)) == len(contenders)
        for entry in comparison.entries:
            arguments = json.loads(json.dumps(entry.arguments))
            inspect.signature(modules[entry.module][arguments.pop("job")]).bind(**arguments)
    if sizes is plan.FULL:
        assert {comparison.group for comparison in planned} == set(plan.GROUPS)
        assert {comparison.name for comparison in planned if comparison.group == "stepping"} == set(envs.REGISTRY)
        assert sizes.repeats >= 5


def test_one_device_is_only_set_apart_where_there_are_more():
    def contenders(devices):
        (comparison,) = plan.comparisons(plan.FULL, ["stepping"], ["lqr"], devices)
        return [entry.contender for entry in comparison.entries]

    assert contenders(1) == ["jaxrl"]
    assert contenders(2) == ["jaxrl", "jaxrl, one device"]


def stepped(contender, rates):
    entry = plan.Entry(contender, "benchmarks.jobs", {"job": "stepping"})
    comparison = plan.Comparison("stepping", "cartpole", [entry], 1)
    cases = {width: {"steps": rate, "seconds": 1.0} for width, rate in rates.items()}
    begin = {"device": "cpu", "baseline_bytes": 1, "peak_bytes": 1, "ready_seconds": dict.fromkeys(rates, 1.0)}
    return report.record(comparison, entry, [begin], [{"peak_bytes": 1, "cases": cases}])


def test_what_resets_cost_is_held_against_steps_without_them():
    records = [stepped(name, {"8": rate, "64": 2 * rate}) for name, rate in ((plan.OURS, 80), (plan.NO_RESETS, 100))]
    made = report.tables([*records, stepped("gymnax", {"8": 40, "64": 80})])
    (resets,) = (table for table in made if "bare step" in str(table.title))
    assert [list(column.cells) for column in resets.columns] == [["cartpole"], ["exact"], ["25"], ["25"]]
    ratios = report.ratios([*records, stepped("gymnax", {"8": 40, "64": 80})])
    assert {(one["ours"], one["ratio"]) for one in ratios} == {(plan.OURS, 2.0)}


def test_rejax_is_given_our_configuration():
    config, theirs = ppo.Config(), dict(peers.PPO)
    network = theirs.pop("agent_kwargs")
    assert network == {"activation": config.activation, "hidden_layer_sizes": config.hidden}
    for name, value in theirs.items():
        assert getattr(config, name) == value
    assert config.steps_per_update == plan.PPO_STEPS_PER_UPDATE
    assert peers.STEPS_PER_BLOCK == jobs.STEPS_PER_BLOCK


@pytest.mark.parametrize("name", list(plan.OFF_POLICY))
def test_learners_can_run_in_rejaxs_configuration(name):
    _, environment, changes = plan.OFF_POLICY[name]
    for extra in ({}, *(plan.HEADS.values() if name == "dqn" else ())):
        config = jobs.ALGORITHMS[name].Config(**changes, **extra)
        config.validate(envs.make(environment))
        if name != "pqn":
            assert (config.num_envs, config.num_gradient_steps, config.steps_per_update) == (1, 1, 256)
    (comparison,) = plan.comparisons(plan.QUICK, (name,), (), 1)
    theirs, ours, *_ = (entry.arguments for entry in comparison.entries)
    assert theirs["steps"] == ours["updates"] * config.steps_per_update


def shapes(params):
    return sorted(leaf.shape for leaf in jax.tree.leaves(params))


def test_mctx_is_given_our_configuration():
    config, theirs = alphazero.Config(), mctx_alphazero.Config(**plan.SEARCHED)
    for name, value in theirs._asdict().items():
        assert getattr(config, name) == value
    assert (config.gamma, config.activation, config.max_grad_norm) == (1.0, "relu", np.inf)
    ours = jax.eval_shape(alphazero.make(envs.make("tic_tac_toe"), config).init, jax.random.key(0))
    init, _, _ = mctx_alphazero.loop(theirs)
    state = jax.eval_shape(init, jax.random.key(0))
    assert shapes(state.params) == shapes(ours.params)
    assert state.buffer.outcome.shape == ours.buffer.items.outcome.shape
    for comparison in plan.comparisons(plan.FULL, ("muzero",), (), 1):
        *peer, us = (entry.arguments for entry in comparison.entries)
        assert {(one["seeds"], one["updates"]) for one in (*peer, us)} == {(comparison.seeds, us["updates"])}


def test_the_peers_tic_tac_toe_has_our_rules():
    env, rng, ends = envs.make("tic_tac_toe"), np.random.default_rng(0), []
    step, move = jax.jit(env.step), jax.jit(mctx_alphazero.move)
    for _ in range(30):
        (_, state), stones, over, mover = env.reset(jax.random.key(0)), jnp.zeros((2, 9), bool), False, 0
        while not over:
            cell = rng.choice(np.flatnonzero(~np.asarray(stones).any(0)))
            action = np.where(np.arange(2) == mover, cell, 0).astype(np.int32)
            made = step(jax.random.key(0), state, action)
            stones, reward, over = move(stones, cell)
            assert (reward, over) == (made.reward[mover], made.terminated)
            state, mover = made.state, 1 - mover
        ends.append(float(reward))
    assert set(ends) == {0.0, 1.0}  # draws and wins were seen


def test_what_the_peers_games_came_to_is_seen_by_the_player_to_move():
    # Two games: one is won in its third move and another one begins; one is not over.
    reward, over = jnp.array([[0.0, 0], [0, 0], [1, 0], [0, 0]]), jnp.array([[0, 0], [0, 0], [1, 0], [0, 0]], bool)
    outcome = mctx_alphazero.outcomes(reward, over, jnp.array([0.5, 0.25]))
    assert outcome.T.tolist() == [[1.0, -1.0, 1.0, -0.5], [0.25, -0.25, 0.25, -0.25]]


def test_mctx_plays_legal_games_and_learns_from_them():
    small = {"num_envs": 4, "num_steps": 6, "num_simulations": 4, "hidden": (8,), "num_gradient_steps": 2, "batch_size": 8}
    init, _, update = mctx_alphazero.loop(mctx_alphazero.Config(**{**plan.SEARCHED, **small, "buffer_size": 48}))
    update, begun = jax.jit(update), init(jax.random.PRNGKey(0))
    first, _ = update(begun)
    second, losses = update(first)
    assert (int(first.written), int(second.written)) == (24, 48)
    buffer = second.buffer
    assert (first.buffer.policy.sum(-1) > 0).sum() == 24
    np.testing.assert_allclose(buffer.policy.sum(-1), 1.0, rtol=1e-5)
    counts = np.asarray(buffer.stones.sum(-1))
    assert set(np.unique(counts[:, 0] - counts[:, 1])) <= {0, -1}  # the player to move has as many stones, or one less
    assert float((buffer.policy * buffer.stones.any(1)).max()) == 0.0  # no weight where a stone stands
    assert losses.shape == (2,)
    assert jnp.isfinite(losses).all()
    assert any((old != new).any() for old, new in zip(*map(jax.tree.leaves, (begun.params, first.params)), strict=True))


@pytest.mark.parametrize("learns", [False, True])
def test_a_step_of_mctx_is_a_move(learns):
    small = {"num_envs": 2, "num_steps": 3, "num_simulations": 2, "hidden": (4,), "num_gradient_steps": 1, "batch_size": 4}
    config = {**plan.SEARCHED, **small, "buffer_size": 6}
    work = peers.mctx_training(config, seeds=2, updates=2, learns=learns, seconds=0.001)
    assert set(next(work)["ready_seconds"]) == {"train"}
    assert next(work)["cases"]["train"]["steps"] % (2 * 2 * 3 * 2) == 0


def test_flax_is_given_our_configuration():
    for name, (_, settings) in plan.OFFLINE.items():
        config, theirs = jobs.ALGORITHMS[name].Config(), flax_offline.Config(**settings)
        for field, value in settings.items():
            assert getattr(config, field) == value
        assert (config.activation, config.max_grad_norm) == ("relu", np.inf)
        assert theirs.batch_size == config.batch_size
    for comparison in plan.comparisons(plan.FULL, ("offline",), (), 1):
        *peer, us = (entry.arguments for entry in comparison.entries)
        assert {one["steps"] for one in peer} == {us["updates"] * us["changes"]["num_gradient_steps"]}


@pytest.mark.parametrize("algorithm", list(plan.OFFLINE))
def test_the_offline_peer_has_our_network_and_our_loss(algorithm):
    data = jobs.data_set(1, 5)
    steps = jax.tree.map(lambda leaf: leaf[0], offline_data.draw(1, 5))
    steps = steps._replace(terminated=np.arange(5) == 1)
    batch = Experience(steps.obs, steps.action, steps.reward, steps.next_obs, steps.terminated, None, None)
    init, step = flax_offline.learner(algorithm, flax_offline.Config((8,), 5, 1e-3))
    theirs, other = init(jax.random.key(0)), init(jax.random.key(1)).params
    if algorithm == "cql":
        config = cql.Config(hidden=(8,))
        network: Any = cql.q_network(data, config)
        ours, beyond = (like(network.init(jax.random.key(0), steps.obs), params) for params in (theirs.params, other))
        expected = cql.loss(network, config, ours, (batch, cql.targets(network, config, ours, beyond, batch)))[0]
        theirs = theirs._replace(target_params=other)
    else:
        actor = offline.actor_network(data, behaviour_cloning.Config(hidden=(8,)))
        ours = like(offline.init_actor(jax.random.key(0), actor, steps.obs), theirs.params)
        expected = offline.likelihood_loss(actor, ours, batch)[0]
    np.testing.assert_allclose(step(theirs, steps)[1], expected, rtol=1e-5)


def like(ours, theirs):
    """Returns their parameters in our structure; in both the leaves are sorted by layer."""
    return jax.tree.unflatten(jax.tree.structure(ours), jax.tree.leaves(theirs))


@pytest.mark.parametrize("algorithm", list(plan.OFFLINE))
def test_an_offline_step_is_a_gradient_step(algorithm):
    _, config = plan.OFFLINE[algorithm]
    config, task = {**config, "hidden": [4], "batch_size": 4}, {"episodes": 2, "length": 3, "seeds": 2, "seconds": 0.001}
    works = [peers.flax_training(algorithm, config, steps=5, scanned=scanned, **task) for scanned in (False, True)]
    works.append(jobs.offline(algorithm, updates=1, changes={**config, "num_gradient_steps": 5}, **task))
    for work in works:
        assert set(next(work)["ready_seconds"]) == {"train"}
        assert next(work)["cases"]["train"]["steps"] % (2 * 5) == 0


def test_scanned_minibatches_are_learned_from():
    drawn = jax.tree.map(lambda leaf: leaf[0], offline_data.draw(1, 64))
    data = jax.device_put(drawn._replace(action=(drawn.obs[:, 0] > 0).astype(np.int32)))
    init, step = flax_offline.learner("behaviour_cloning", flax_offline.Config((16,), 32, 1e-2))
    learn = jax.jit(flax_offline.scanned(step, data, 32, 100))
    _, losses = learn((jax.random.PRNGKey(0), init(jax.random.PRNGKey(1))))
    assert losses.shape == (100,)
    assert losses[-10:].mean() < 0.3 * losses[0]


def test_jaxmarl_is_given_our_configuration():
    config, theirs = mappo.Config(centralized=False, normalize_value=False), jaxmarl_ippo.Config(**plan.IPPO)
    for name, value in theirs._asdict().items():
        assert getattr(config, name) == value
    assert (config.activation, config.shared_parameters, config.clip_value) == ("tanh", True, True)
    env = envs.make("simple_spread")
    ours = jax.eval_shape(mappo.make(env, config).init, jax.random.key(0)).params
    state = jax.eval_shape(jaxmarl_ippo.loop(theirs, spread())[0], jax.random.key(0))
    assert shapes(state.params) == shapes(ours)
    assert sum(leaf.size for leaf in jax.tree.leaves(ours)) == plan.IPPO_PARAMETERS
    for comparison in plan.comparisons(plan.FULL, ("mappo",), (), 1):
        peer, *us = (entry.arguments for entry in comparison.entries)
        assert {(one["seeds"], one["updates"]) for one in us} == {(peer["seeds"], peer["updates"])}


def spread():
    """Our simple spread in the peer's words; its episodes never end."""
    env = envs.make("simple_spread")

    def step(key, state, action):
        made = env.step(key, state, action)
        return made.obs, made.state, made.reward, made.terminated

    return jaxmarl_ippo.Game(env.reset, step, 3, env.observation_space.shape[0], 5)


def paid_for_action(num_agents=2):
    """A task without a state: every agent is paid 1 for its action 1, and every step is the last one."""

    def reset(key):
        return jnp.ones((num_agents, 3)), ()

    def step(key, state, action):
        return jnp.ones((num_agents, 3)), (), (action == 1).astype(jnp.float32), jnp.bool_(True)

    return jaxmarl_ippo.Game(reset, step, num_agents, 3, 2)


def test_the_plain_loop_of_ippo_learns_what_pays():
    config = jaxmarl_ippo.Config(**{**plan.IPPO, "num_envs": 4, "num_steps": 16, "hidden": (8,), "learning_rate": 1e-2})
    init, update = jaxmarl_ippo.loop(config, paid_for_action())
    update, state = jax.jit(update), init(jax.random.key(0))
    rewards = []
    for _ in range(20):
        state, metrics = update(state)
        rewards.append(float(metrics["reward"]))
    assert rewards[0] < 0.7
    assert rewards[-1] > 0.9
    assert state.obs.shape == (4, 2, 3)


ITERATED = {
    "cfr": (peers.open_spiel_cfr, jobs.extensive_form, {"iterations": 50}, {"game": "kuhn_poker"}, {"game": "kuhn"}),
    "plays": (peers.nashpy_fictitious_play, jobs.normal_form, {"actions": 8}, {}, {"dynamic": "fictitious_play"}),
    "open_spiel": (peers.open_spiel_replicator, jobs.normal_form, {"actions": 8}, {}, {"dynamic": "replicator"}),
    "nashpy": (peers.nashpy_replicator, jobs.normal_form, {"actions": 8}, {}, {"dynamic": "replicator", "stride": plan.STRIDE}),
}


@pytest.mark.parametrize("name", list(ITERATED))
def test_games_end_where_the_peers_end(name):
    pytest.importorskip("pyspiel" if name in ("cfr", "open_spiel") else "nashpy")
    theirs, ours, task, *own = ITERATED[name]
    task = {"seconds": 0.001, **task, **({"examined": 20} if name == "cfr" else {"steps": 200})}
    reports = [next(job(**task, **arguments)) for job, arguments in zip((theirs, ours), own, strict=True)]
    peer, us = (report["answers"]["iterate"] for report in reports)
    assert us == pytest.approx(peer, abs={"cfr": plan.VALUES_AGREE, "plays": plan.PLAYS_AGREE}.get(name, plan.PROFILES_AGREE))
    far = next(ours(**{**task, **({"examined": 19} if name == "cfr" else {"steps": 140})}, **own[1]))["answers"]["iterate"]
    assert far != pytest.approx(peer, abs=plan.PROFILES_AGREE)  # the numbers tell answers apart


def test_plays_add_up_without_rounding():
    table = game_data.payoffs(5)
    assert (table * game_data.GRID == np.round(table * game_data.GRID)).all()
    assert np.abs(table).max() <= 1
    _, steps = plan.FULL.dynamics
    assert steps <= game_data.MOST_PLAYS


@pytest.mark.parametrize(("actions", "steps"), [plan.FULL.dynamics, plan.QUICK.dynamics, (8, 200)])
def test_no_two_answers_to_what_was_played_tie(actions, steps):
    row = np.round(game_data.payoffs(actions)[0] * game_data.GRID).astype(int)
    earned = [row[:, 0], -row[0]]
    for _ in range(steps - 1):
        assert all((sums == sums.max()).sum() == 1 for sums in earned)
        first, second = (sums.argmax() for sums in earned)
        earned = [earned[0] + row[:, second], earned[1] - row[first]]


def test_a_profile_is_described_by_what_it_earns():
    pennies = np.array([[[1.0, -1], [-1, 1]], [[-1.0, 1], [1, -1]]])
    found = game_data.described(pennies, np.array([3, 1]), np.array([0.5, 0.5]))
    assert found == {"payoff": 0.0, "nash_conv": 0.5, "row": 0.125, "column": 0.25}


def test_answers_that_differ_fail_ours():
    comparison = plan.Comparison("games", "a game", (), 1, within=0.1)

    def found(contender, value):
        start = {"device": "abacus", "peak_bytes": 1, "answers": {"iterate": {"other": 1.0, "value": value}}}
        return report.record(comparison, plan.Entry(contender, "", {}), [start], [])

    records = [found("nashpy", 0.0), found(plan.OURS, 0.05), found(f"{plan.OURS}, far", 0.2), found(f"{plan.OURS}, lost", np.nan)]
    wrong = report.disagreements(records, 0.1)
    assert wrong == {
        f"{plan.OURS}, far": "value is 0.2, and 0 by nashpy",
        f"{plan.OURS}, lost": "value is nan, and 0 by nashpy",
    }
    missing = report.record(comparison, plan.Entry("dead", "", {}), [], [])
    assert report.disagreements([missing, records[1]], 0.1) == {}


def test_the_steps_that_are_counted_were_taken():
    # CartPole pays 1 for every step, so the sum of rewards counts them.
    devices = jax.devices()[:2]
    mesh = Mesh(np.asarray(devices), ("environment",))
    env = envs.make("cartpole")
    keys = jax.device_put(jax.random.split(jax.random.key(0), 2), NamedSharding(mesh, PartitionSpec("environment")))
    episodes = jobs.begin(mesh, 3, env, keys)
    (keys, episodes), (observations, rewards, ends) = jobs.step_blocks(mesh, 2, 4, env, keys, episodes)
    steps = 2 * jobs.STEPS_PER_BLOCK * 3
    assert rewards.tolist() == [steps, steps]
    assert episodes.t.shape == (6,)
    assert 0 < ends.min() < steps / 8  # a random pole falls after about 20 steps
    assert observations[0] != observations[1]  # the devices do not repeat each other


def test_without_resets_episodes_go_on_for_ever():
    env = envs.make("reward_grid", rows=2, columns=2, rewards=(1.0,) * 4, max_steps=3)
    mesh, keys = Mesh(np.asarray(jax.devices()[:1]), ("environment",)), jax.random.split(jax.random.key(0), 1)
    (_, episodes), (_, rewards, ends) = jobs.step_blocks(mesh, 2, None, env, keys, jobs.begin(mesh, 3, env, keys))
    assert rewards.tolist() == [2 * jobs.STEPS_PER_BLOCK * 3]
    assert ends.tolist() == [0]
    assert episodes.t.tolist() == [0, 0, 0]


@pytest.mark.parametrize("tabulated", [False, True])
def test_an_environment_is_stepped_as_it_is_or_from_its_table(tabulated):
    work = jobs.stepping("frozen_lake", {}, {"4": 1}, 0.001, tabulated=tabulated)
    assert set(next(work)["ready_seconds"]) == {"4"}
    assert next(work)["cases"]["4"]["steps"] >= 4 * jobs.STEPS_PER_BLOCK


def test_the_games_that_are_counted_were_solved():
    rows = np.random.default_rng(0).normal(size=(6, 3, 3))
    gaps = jobs.solve_games(4, np.stack([rows, -rows], 1).astype(np.float32))
    assert gaps.shape == (6,)
    assert gaps.max() <= jobs.SOLVED


def test_a_game_that_is_not_solved_fails_the_job(monkeypatch):
    monkeypatch.setattr(jobs, "SOLVED", -1.0)
    with pytest.raises(RuntimeError, match="not solved"):
        next(jobs.zero_sum_games(games=4, actions=3, width=4, seconds=0.01))


def test_peers_are_installed_once_per_set_of_requirements(tmp_path, monkeypatch):
    calls = []

    def call(arguments):
        calls.append(arguments)
        (tmp_path / "peers").mkdir(exist_ok=True)

    monkeypatch.setattr(peer_environment, "_call", call)
    for platform, expected in (("cpu", 3), ("cpu", 3), ("gpu", 6)):
        python = peer_environment.interpreter(platform, tmp_path / "peers")
        assert len(calls) == expected
    assert python.parent == tmp_path / "peers" / "bin"
    assert calls[1][-1] == "torch==2.13.0"
    assert calls[2][-1] == f"jax=={jax.__version__}"
    assert calls[5][-1] == f"jax[cuda13]=={jax.__version__}"


def test_a_failed_installation_gives_its_reason():
    program = "import sys; print('ERROR: no network', file=sys.stderr); print('hint', file=sys.stderr); sys.exit(1)"
    with pytest.raises(PeersError, match="ERROR: no network"):
        peer_environment._call([sys.executable, "-c", program])


@pytest.mark.slow
def test_without_peers_the_reason_is_kept(tmp_path, capsys):
    missing = tmp_path / "python"
    assert command.main(["--quick", "--groups", "dqn", "--peers-python", str(missing), "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("*.json")
    assert str(missing) in json.loads(file.read_text())["peers"]["reason"]
    assert "without the peers" in capsys.readouterr().out


@pytest.mark.slow
def test_the_whole_command(tmp_path, capsys):
    assert command.main(["--quick", "--no-peers", "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("*-quick.json")
    results = json.loads(file.read_text())
    assert results["failures"] == []
    groups = {"ppo", "mappo", "learning", *plan.OFF_POLICY, "q_learning", "muzero", "offline", "recording", "reward_fit"}
    groups |= {"games", "stepping"}
    groups |= {"data_parallel"} if len(jax.devices()) > 1 else set()
    assert {one["group"] for one in results["records"]} == groups
    for one in results["records"]:
        assert one["cases"]
        for case in one["cases"].values():
            assert min(case["steps_per_second"]) > 0
            assert len(case["seconds"]) == (1 if one["group"] == "learning" else plan.QUICK.repeats)
        assert one["peak_bytes"] >= one["starts"][0]["baseline_bytes"] > 0  # equal where little is added to the imports
        assert len(one["starts"]) == (2 if one["group"] == "ppo" else 1)
    assert results["machine"]["cores"] >= 1
    assert results["ratios"] == []
    assert "Training" in capsys.readouterr().out


@pytest.mark.slow
def test_ctrl_c_ends_the_command_and_its_workers(tmp_path):
    arguments = ["--quick", "--no-peers", "--groups", "ppo", "--out", str(tmp_path)]
    restore = (  # a test run in the background inherits an ignored Ctrl-C
        "import signal, runpy; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('benchmarks', run_name='__main__')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", restore, *arguments],
        cwd=measure.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "PPO CartPole" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == command.INTERRUPTED
    assert "interrupted" in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_ctrl_c_keeps_what_had_been_measured(tmp_path, monkeypatch, capsys):
    compare, asked = command._compare, []

    def first_only(comparison, interpreters):
        if asked:
            raise KeyboardInterrupt
        asked.append(comparison.name)
        return compare(comparison, interpreters)

    monkeypatch.setattr(command, "_compare", first_only)
    arguments = ["--quick", "--no-peers", "--groups", "q_learning", "stepping", "--out", str(tmp_path)]
    assert command.main(arguments) == command.INTERRUPTED
    (file,) = tmp_path.glob("*-quick.json")
    results = json.loads(file.read_text())
    assert results["interrupted"]
    assert [one["name"] for one in results["records"]] == asked
    assert "what had been measured is stored" in capsys.readouterr().out
