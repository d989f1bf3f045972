"""Every algorithm of the library on a task of its own, both as small as they can be: what tests of all algorithms go through."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import envs
from jaxrl.algorithms.constrained import lagrangian
from jaxrl.algorithms.deep import dqn, ppo, pqn, sac, td3
from jaxrl.algorithms.exploration import inapplicable, intrinsic
from jaxrl.algorithms.games import cfr, dynamics, lola, psro
from jaxrl.algorithms.model_based import mbpo
from jaxrl.algorithms.multiagent import (
    coma,
    dial,
    friend_or_foe_q,
    independent_reinforce,
    iql,
    maddpg,
    madqn,
    mappo,
    mean_field_ac,
    mean_field_q,
    minimax_q,
    nash_q,
    roth_erev,
    sparse_q,
)
from jaxrl.algorithms.offline import (
    behaviour_cloning,
    cql,
    decision_transformer,
    fitted_q_evaluation,
    implicit_q_learning,
    inverse_model,
    td3_bc,
)
from jaxrl.algorithms.planning import alphazero, cem_mpc, muzero
from jaxrl.algorithms.population import pbt, self_play
from jaxrl.algorithms.preferences import ensembles, reward_fitting, rlhf
from jaxrl.algorithms.preferences.labellers import Labeller, ask
from jaxrl.algorithms.preferences.reward_models import Tabular
from jaxrl.algorithms.preferences.segments import collect, sample_pairs
from jaxrl.algorithms.tabular import (
    double_q_learning,
    dyna_q,
    entropic_td,
    log_q_learning,
    n_step_sarsa,
    option_q_learning,
    primal_dual_q,
    q_learning,
    r_learning,
    reinforce,
    sarsa,
    sarsa_lambda,
)
from jaxrl.blocks import bonuses, datasets
from jaxrl.blocks.action_labels import Labelled
from jaxrl.blocks.applicability import Classifier
from jaxrl.blocks.options import primitive, with_options
from jaxrl.blocks.tiles import line_tiles
from jaxrl.core import rollout
from jaxrl.core.finite import tabulate
from jaxrl.core.transforms import with_temperature
from jaxrl.solvers import extensive
from tests import probes


class Case(NamedTuple):
    """An algorithm, ready to be made. task, config: functions that build them, since jax must not start while tests are read."""

    make: Callable
    task: Callable[[], Any]
    config: Callable[[], Any]


def env(name: str, **parameters: Any) -> Callable[[], Any]:
    """Returns the function that builds an environment of the catalogue."""
    return functools.partial(envs.make, name, **parameters)


reward_grid = env("reward_grid", rows=2, columns=2)


def carrying_options() -> Any:
    """Returns a corridor whose learner chooses among its actions."""
    return with_options(envs.make("corridor"), primitive(8, 2))


def bounded_game() -> Any:
    """Returns a game whose players see a temperature."""
    return with_temperature(envs.make("climb"), 0.1, 10.0)


def comparisons() -> Any:
    """Returns twelve labelled comparisons of segments of random behaviour."""
    world = reward_grid()
    segments = collect(jax.random.key(0), world, rollout.uniform_policy(world), 8, 3)
    first, second = sample_pairs(jax.random.key(1), 8, 12)
    return ask(jax.random.key(2), Labeller(), segments, first, second)


def recorded(name: str, **parameters: Any) -> Callable[[], Any]:
    """Returns the function that records random play in an environment of the catalogue: four episodes of at most six steps."""

    def collect() -> Any:
        world = envs.make(name, **parameters)
        return datasets.collect(jax.random.key(0), world, rollout.uniform_policy(world), 4, 6)

    return collect


def recordings() -> Any:
    """Returns the task from which every seed draws its own data, of a random policy on the frozen lake."""
    return datasets.Collected(envs.make("frozen_lake"), jnp.full((1, 16, 4), 0.25, jnp.float32), 4, 6)


def evaluated() -> Any:
    """Returns the task of evaluating a policy from random play in the corridor."""
    data = recorded("corridor")()
    table = np.full((data.observation_space.n, 2), [0.25, 0.75], np.float32)
    return fitted_q_evaluation.Evaluated.of_table(table, data)


def line_sweeps() -> log_q_learning.Sweeps:
    """Returns a corridor of four cells with tiles two cells wide."""
    model = tabulate(envs.make("corridor", length=4, slip=0.1))
    return log_q_learning.sweeps(model, line_tiles(4, 2), np.ones((4, 2), bool))


def poker() -> extensive.ExtensiveGame:
    """Returns Kuhn poker as its extensive game."""
    return extensive.from_environment(envs.make("kuhn"))


def payoffs() -> np.ndarray:
    """Returns the table of a game of two players with two and three actions, float[2, 2, 3]."""
    return np.array([[[1.0, 3.0, -2.0], [0.0, -1.0, 2.0]], [[-1.0, 0.0, 2.0], [0.5, 1.0, -2.0]]])


def dilemma() -> np.ndarray:
    """Returns the table of a prisoner's dilemma, float[2, 2, 2]."""
    return np.array([[[-1.0, -3.0], [0.0, -2.0]], [[-1.0, 0.0], [-3.0, -2.0]]])


def fitting(**changes: Any) -> reward_fitting.Config:
    """Returns the configuration of a tabular reward model."""
    model = Tabular.of(reward_grid(), reads=("next_obs",), init_scale=1.0)
    return reward_fitting.Config(model, learning_rate=0.05, num_epochs=2, num_minibatches=2, **changes)


def differing() -> reward_fitting.Config:
    """Returns that of a model that differs from seed to seed: members of an ensemble must."""
    return fitting(bootstrap=True, anchored=True, weight_decay=0.1)


def loop() -> rlhf.Config:
    """Returns the configuration of reinforcement learning from preferences with a tabular learner."""
    sizes = {"num_rounds": 2, "num_segments": 4, "segment_length": 3, "num_queries": 4, "learner_updates": 2}
    return rlhf.Config(fitting(), q_learning.Config(num_steps=4), q_learning.make, **sizes)


def counting() -> intrinsic.Config:
    """Returns the configuration of a tabular learner that is paid for what it has rarely seen."""
    learner = q_learning.Config(num_envs=2, num_steps=4)
    return intrinsic.Config(learner, bonuses.Count.of(envs.make("frozen_lake")), q_learning.make)


def constrained() -> lagrangian.Config:
    """Returns the configuration of a learner with replay whose costs must stay within a budget."""
    return lagrangian.Config(dqn.Config(num_steps=2, **OFF_POLICY), dqn.make, budget=0.5)


def against_itself() -> self_play.Config:
    """Returns the configuration of a learner that plays against its own snapshots, and is shown its seat."""
    sizes = {"pool_size": 3, "snapshot_every": 2}
    return self_play.Config(small(ppo.Config)(), ppo.make, opponents="hard", agent_ids=True, keep="reservoir", **sizes)


def population() -> pbt.Config:
    """Returns the configuration of tabular learners of whom the worst copies the best."""
    learner = q_learning.Config(num_envs=2, num_steps=4, learning_rate_min=0.0)
    return pbt.Config(learner, q_learning.make, (("learning_rate", 0.01, 1.0),), num_members=3, num_replaced=1, interval=2)


def sparing() -> inapplicable.Config:
    """Returns the configuration of a tabular learner that is spared what it has seen to do nothing."""
    learner = q_learning.Config(num_envs=2, num_steps=4)
    sizes = {"num_gradient_steps": 2, "batch_size": 4, "buffer_size": 16, "hidden": (4,)}
    return inapplicable.Config(learner, Classifier.of(envs.make("frozen_lake"), **sizes), q_learning.make)


def partly_labelled() -> Labelled:
    """Returns the task of which half of the episodes keep their actions."""
    return Labelled(recordings(), 0.5)


def curious(kind: Callable) -> Callable[[], Any]:
    """Returns the function that builds the configuration of PPO with a learned bonus on CartPole."""

    def config() -> intrinsic.Config:
        bonus = kind(envs.make("cartpole"), num_features=3, hidden=(4,))
        return intrinsic.Config(small(ppo.Config)(), bonus, ppo.make)

    return config


def small(config: Callable, **changes: Any) -> Callable[[], Any]:
    """Returns the function that builds a configuration of PPO or of what is built on it."""
    sizes = {"num_envs": 2, "num_steps": 4, "num_epochs": 2, "num_minibatches": 1, "hidden": (4,)}
    return functools.partial(config, **(sizes | changes))


def whole(config: Callable, **changes: Any) -> Callable[[], Any]:
    """Returns the function that builds a configuration of a tabular learner."""
    return functools.partial(config, **({"num_envs": 2, "num_steps": 4} | changes))


def searching(config: Callable, **changes: Any) -> Callable[[], Any]:
    """Returns the function that builds a configuration of a learner that plans."""
    sizes = {"num_simulations": 3, "num_envs": 2, "num_gradient_steps": 2, "batch_size": 4, "buffer_size": 16, "hidden": (4,)}
    return functools.partial(config, **(sizes | changes))


ATTENTION: dict[str, Any] = {"memory": "attention", "memory_size": 4, "memory_length": 3, "memory_heads": 2}
RUNNING_MOMENTS = {"normalize_observation": True, "normalize_reward": True, "normalize_value": True}
OFF_POLICY: dict[str, Any] = {"num_rounds": 2, "batch_size": 4, "buffer_size": 16, "learning_starts": 8, "hidden": (4,)}
ON_POLICY: dict[str, Any] = {"num_envs": 2, "num_steps": 4, "num_critic_steps": 2, "hidden": (4,)}
MODEL: dict[str, Any] = {"num_members": 2, "model_hidden": (4,), "model_gradient_steps": 2, "model_batch_size": 4}
IMAGINED: dict[str, Any] = {"num_elites": 1, "rollouts_per_step": 1, "rollout_length": 2, "num_gradient_steps": 2}
PLANS: dict[str, Any] = {"horizon": 2, "num_candidates": 4, "num_best": 2, "num_iterations": 2, "num_members": 2}
TALK: dict[str, Any] = {"num_envs": 2, "num_steps": 2, "hidden": (4,), "memory_size": 3}
OFFLINE: dict[str, Any] = {"num_gradient_steps": 2, "batch_size": 4, "hidden": (4,)}
CASES = {
    "q_learning": Case(q_learning.make, env("frozen_lake"), whole(q_learning.Config)),
    "sarsa": Case(sarsa.make, env("frozen_lake"), whole(sarsa.Config)),
    "n_step_sarsa": Case(n_step_sarsa.make, env("frozen_lake"), whole(n_step_sarsa.Config, n=3)),
    "sarsa_lambda": Case(sarsa_lambda.make, env("frozen_lake"), whole(sarsa_lambda.Config)),
    "double_q_learning": Case(double_q_learning.make, env("frozen_lake"), whole(double_q_learning.Config)),
    "dyna_q": Case(dyna_q.make, env("frozen_lake"), whole(dyna_q.Config, planning_steps=2)),
    "option_q_learning": Case(option_q_learning.make, carrying_options, whole(option_q_learning.Config)),
    "intra_option_q_learning": Case(option_q_learning.make, carrying_options, whole(option_q_learning.Config, intra_option=True)),
    "primal_dual_q": Case(primal_dual_q.make, env("hazard_grid"), whole(primal_dual_q.Config)),
    "r_learning": Case(r_learning.make, env("frozen_lake"), whole(r_learning.Config)),
    "reinforce": Case(reinforce.make, env("corridor"), whole(reinforce.Config)),
    "entropic_td": Case(entropic_td.make, env("corridor"), whole(entropic_td.Config)),
    "iql": Case(iql.make, env("climb"), whole(iql.Config, beta=0.5, leniency=2.0)),
    "dial": Case(dial.make, env("lewis"), functools.partial(dial.Config, **TALK, mute_inactive=False)),
    "rial": Case(dial.make, env("lewis"), functools.partial(dial.Config, **TALK, channel="rial", message_size=2)),
    "independent_reinforce": Case(independent_reinforce.make, env("lewis"), whole(independent_reinforce.Config)),
    "roth_erev": Case(roth_erev.make, env("lewis"), whole(roth_erev.Config)),
    "minimax_q": Case(minimax_q.make, env("soccer"), whole(minimax_q.Config)),
    "nash_q": Case(nash_q.make, env("chicken"), whole(nash_q.Config)),
    "mean_field_q": Case(mean_field_q.make, env("ising", size=3), whole(mean_field_q.Config, neighbourhood="torus", inertia=0.5)),
    "mean_field_ac": Case(
        mean_field_ac.make, env("gaussian_squeeze", num_agents=3), whole(mean_field_ac.Config, shared_parameters=False)
    ),
    "friend_q": Case(friend_or_foe_q.make, env("grid_game_1"), whole(friend_or_foe_q.Config)),
    "ppo": Case(ppo.make, env("cartpole"), small(ppo.Config)),
    "ppo_continuous": Case(ppo.make, env("pendulum"), small(ppo.Config, **RUNNING_MOMENTS)),
    "ppo_beta": Case(ppo.make, env("pendulum"), small(ppo.Config, policy_head="beta", target_kl=0.01)),
    "ppo_nested": Case(ppo.make, probes.nested_action, small(ppo.Config)),
    "ppo_recurrent": Case(ppo.make, env("t_maze"), small(ppo.Config, memory_size=3)),
    "ppo_attention": Case(ppo.make, env("t_maze"), small(ppo.Config, **ATTENTION)),
    "dqn": Case(
        dqn.make,
        env("cartpole"),
        functools.partial(dqn.Config, num_steps=2, **OFF_POLICY),
    ),
    "dqn_rainbow": Case(
        dqn.make,
        env("cartpole"),
        functools.partial(
            dqn.Config,
            num_steps=2,
            **(OFF_POLICY | {"hidden": (4, 4)}),
            double=True,
            dueling=True,
            n_steps=3,
            prioritised=True,
            averaging=True,
            head="categorical",
            num_atoms=5,
        ),
    ),
    "pqn": Case(pqn.make, env("cartpole"), small(pqn.Config)),
    "sac": Case(sac.make, env("pendulum"), functools.partial(sac.Config, num_steps=2, **OFF_POLICY)),
    "sac_discrete": Case(sac.make, env("cartpole"), functools.partial(sac.Config, num_steps=2, **OFF_POLICY)),
    "td3": Case(td3.make, env("pendulum"), functools.partial(td3.Config, **OFF_POLICY)),
    "mbpo": Case(mbpo.make, env("pendulum"), functools.partial(mbpo.Config, num_steps=2, **OFF_POLICY, **MODEL, **IMAGINED)),
    "mbpo_discrete": Case(
        mbpo.make, env("cartpole"), functools.partial(mbpo.Config, num_steps=2, **OFF_POLICY, **MODEL, **IMAGINED)
    ),
    "cem_mpc": Case(
        cem_mpc.make,
        env("pendulum"),
        functools.partial(cem_mpc.Config, num_steps=2, num_gradient_steps=2, **OFF_POLICY, **PLANS),
    ),
    "dqn_recurrent": Case(
        dqn.make,
        env("t_maze", length=1),
        functools.partial(
            dqn.Config,
            num_steps=2,
            **OFF_POLICY,
            memory_size=3,
            sequence_length=4,
            burn_in=1,
        ),
    ),
    "dqn_attention": Case(
        dqn.make,
        env("t_maze", length=1),
        functools.partial(dqn.Config, num_steps=2, **OFF_POLICY, **ATTENTION, sequence_length=4, burn_in=1),
    ),
    "dqn_r2d2": Case(
        dqn.make,
        env("t_maze", length=1),
        functools.partial(
            dqn.Config,
            num_steps=2,
            **OFF_POLICY,
            memory_size=3,
            sequence_length=4,
            burn_in=1,
            n_steps=2,
            prioritised=True,
        ),
    ),
    "alphazero": Case(alphazero.make, env("catch", rows=3, columns=3), searching(alphazero.Config, num_steps=4)),
    "alphazero_game": Case(alphazero.make, env("tic_tac_toe"), searching(alphazero.Config, num_steps=4)),
    "muzero": Case(
        muzero.make,
        env("catch", rows=3, columns=3),
        searching(muzero.Config, unroll_steps=1, bootstrap_steps=1, latent_size=3, **OFF_POLICY),
    ),
    "mappo": Case(mappo.make, env("speaker_listener"), small(mappo.Config)),
    "madqn": Case(madqn.make, env("speaker_listener"), functools.partial(madqn.Config, **OFF_POLICY, shared_parameters=False)),
    "vdn": Case(madqn.make, env("two_step"), functools.partial(madqn.Config, **OFF_POLICY, mixer="sum", agent_ids=True)),
    "qmix": Case(madqn.make, env("two_step"), functools.partial(madqn.Config, **OFF_POLICY, mixer="monotonic", agent_ids=True)),
    "coma": Case(coma.make, env("two_step"), functools.partial(coma.Config, **ON_POLICY)),
    "independent_actor_critic": Case(
        coma.make, env("climb"), functools.partial(coma.Config, **ON_POLICY, critic="own", shared_parameters=False)
    ),
    "central_critic": Case(
        coma.make, env("two_step"), functools.partial(coma.Config, **ON_POLICY, critic="central", agent_ids=True)
    ),
    "maddpg": Case(
        maddpg.make, env("simple_spread", num_agents=2, continuous=True), functools.partial(maddpg.Config, **OFF_POLICY)
    ),
    "mappo_attention": Case(mappo.make, env("speaker_listener"), small(mappo.Config, **ATTENTION)),
    "self_play": Case(self_play.make, env("kuhn"), against_itself),
    "sparse_q": Case(sparse_q.make, env("climb"), whole(sparse_q.Config, solver="max_plus")),
    "pbt": Case(pbt.make, env("frozen_lake"), population),
    "mappo_bounded": Case(mappo.make, bounded_game, small(mappo.Config, bounded=True, normalize_advantage=False)),
    "ippo": Case(mappo.make, env("climb"), small(mappo.Config, centralized=False, shared_parameters=False)),
    "behaviour_cloning": Case(
        behaviour_cloning.make, recorded("maximisation_bias"), functools.partial(behaviour_cloning.Config, **OFFLINE)
    ),
    "cql": Case(cql.make, recordings, functools.partial(cql.Config, **OFFLINE)),
    "implicit_q_learning": Case(
        implicit_q_learning.make, recorded("pendulum"), functools.partial(implicit_q_learning.Config, **OFFLINE)
    ),
    "inverse_model": Case(inverse_model.make, partly_labelled, functools.partial(inverse_model.Config, **OFFLINE, context=2)),
    "fitted_q_evaluation": Case(fitted_q_evaluation.make, evaluated, functools.partial(fitted_q_evaluation.Config, **OFFLINE)),
    "decision_transformer": Case(
        decision_transformer.make,
        recorded("corridor"),
        functools.partial(decision_transformer.Config, **OFFLINE, context=2, width=4, num_layers=1, num_heads=2),
    ),
    "td3_bc": Case(td3_bc.make, recorded("pendulum"), functools.partial(td3_bc.Config, **OFFLINE)),
    "reward_fitting": Case(reward_fitting.make, comparisons, differing),
    "ensembles": Case(ensembles.make, comparisons, lambda: ensembles.Config(differing(), num_members=2)),
    "rlhf": Case(rlhf.make, reward_grid, loop),
    "intrinsic": Case(intrinsic.make, env("frozen_lake"), counting),
    "intrinsic_rnd": Case(intrinsic.make, env("cartpole"), curious(bonuses.RND.of)),
    "intrinsic_icm": Case(intrinsic.make, env("cartpole"), curious(bonuses.ICM.of)),
    "lagrangian": Case(lagrangian.make, env("hazard_grid"), constrained),
    "inapplicable": Case(inapplicable.make, env("frozen_lake"), sparing),
    "cfr": Case(cfr.make, poker, functools.partial(cfr.Config, start="random", iterations_per_update=2)),
    "lola": Case(lola.make, dilemma, functools.partial(lola.Config, lookahead=1.0)),
    "psro": Case(psro.make, poker, functools.partial(psro.Config, capacity=4, episodes=8, oracle="monte_carlo")),
    "log_q_learning": Case(log_q_learning.make, line_sweeps, functools.partial(log_q_learning.Config, averaging_rate=0.5)),
    "dynamics": Case(dynamics.make, payoffs, functools.partial(dynamics.Config, iterations_per_update=3)),
}
