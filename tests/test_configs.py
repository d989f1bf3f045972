"""Configurations that cannot mean what they say: numbers that are none, and two fields that contradict each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.matrix_games import matrix_game
from jaxrl.algorithms.deep import dqn, ppo, pqn, sac, td3
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
from jaxrl.algorithms.preferences import beyond_pairs, direct, ensembles, reward_fitting, rlhf
from jaxrl.algorithms.preferences.ensembles import Aggregated
from jaxrl.algorithms.preferences.labellers import Labeller
from jaxrl.algorithms.preferences.reward_models import MLP, Linear, Tabular
from jaxrl.algorithms.preferences.segments import Preferences, single_steps
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
from jaxrl.blocks import bonuses
from jaxrl.blocks.applicability import Classifier
from jaxrl.blocks.dataset_layouts import from_minari
from jaxrl.blocks.options import primitive, with_options
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import ConfigError, require_at_most, require_numbers
from jaxrl.solvers import extensive
from jaxrl.training.runner import run
from tests import probes
from tests.small_algorithms import line_sweeps

TABLE = np.array([[[1.0, 0], [0, 1]], [[-1, 0], [0, -1]]])
GRID, GAME = envs.make("reward_grid", rows=2, columns=2), matrix_game.make(TABLE)
POOL = single_steps(jnp.arange(4), jnp.zeros(4, jnp.int32))
DATA = Preferences(POOL, jnp.array([0, 2]), jnp.array([1, 3]), jnp.ones(2), jnp.ones(2))
MODEL = Tabular(Discrete(4), Discrete(4), ("obs",), init_scale=1.0)
RECORD = {"observations": np.zeros(2, int), "rewards": np.zeros(1), "terminations": np.ones(1), "truncations": np.zeros(1)}
RECORDED, RECORDED_REAL = (
    from_minari([RECORD | {"actions": action}], Discrete(2), space)
    for action, space in ((np.zeros(1, int), Discrete(3)), (np.zeros((1, 2)), Box(-1.0, 1.0, (2,))))
)
EVALUATED = fitted_q_evaluation.Evaluated.of_table(np.full((2, 3), 1 / 3), RECORDED)
FITTING = reward_fitting.Config(MODEL, num_minibatches=1)
CONFIGS = {
    "q_learning": (q_learning.Config(), GRID),
    "sarsa": (sarsa.Config(), GRID),
    "n_step_sarsa": (n_step_sarsa.Config(), GRID),
    "sarsa_lambda": (sarsa_lambda.Config(), GRID),
    "double_q_learning": (double_q_learning.Config(), GRID),
    "dyna_q": (dyna_q.Config(), GRID),
    "option_q_learning": (option_q_learning.Config(), with_options(GRID, primitive(4, 4))),
    "primal_dual_q": (primal_dual_q.Config(), envs.make("hazard_grid")),
    "r_learning": (r_learning.Config(), GRID),
    "reinforce": (reinforce.Config(), GRID),
    "entropic_td": (entropic_td.Config(), GRID),
    "dial": (dial.Config(num_steps=1), GAME),
    "independent_reinforce": (independent_reinforce.Config(), GAME),
    "iql": (iql.Config(), GAME),
    "sparse_q": (sparse_q.Config(), GAME),
    "roth_erev": (roth_erev.Config(), GAME),
    "minimax_q": (minimax_q.Config(), GAME),
    "nash_q": (nash_q.Config(), GAME),
    "mean_field_q": (mean_field_q.Config(), GAME),
    "mean_field_ac": (mean_field_ac.Config(), GAME),
    "friend_or_foe_q": (friend_or_foe_q.Config(), GAME),
    "ppo": (ppo.Config(), GRID),
    "coma": (coma.Config(), GAME),
    "maddpg": (maddpg.Config(), envs.make("simple_spread", continuous=True)),
    "madqn": (madqn.Config(), GAME),
    "mappo": (mappo.Config(), GAME),
    "dqn": (dqn.Config(), GRID),
    "pqn": (pqn.Config(), GRID),
    "sac": (sac.Config(), GRID),
    "td3": (td3.Config(), envs.make("pendulum")),
    "alphazero": (alphazero.Config(), GRID),
    "muzero": (muzero.Config(), GRID),
    "mbpo": (mbpo.Config(), envs.make("pendulum")),
    "cem_mpc": (cem_mpc.Config(), envs.make("pendulum")),
    "rnd": (bonuses.RND.of(GRID), GRID),
    "icm": (bonuses.ICM.of(GRID), GRID),
    "reward_fitting": (FITTING, DATA),
    "cfr": (cfr.Config(averaging=1.0), extensive.from_environment(GAME)),
    "lola": (lola.Config(), np.stack([np.eye(2), np.eye(2)])),
    "psro": (psro.Config(), extensive.from_environment(GAME)),
    "dynamics": (dynamics.Config(), TABLE),
    "behaviour_cloning": (behaviour_cloning.Config(), RECORDED),
    "cql": (cql.Config(), RECORDED),
    "implicit_q_learning": (implicit_q_learning.Config(), RECORDED),
    "fitted_q_evaluation": (fitted_q_evaluation.Config(), EVALUATED),
    "log_q_learning": (log_q_learning.Config(), line_sweeps()),
    "inverse_model": (inverse_model.Config(), RECORDED),
    "applicability": (Classifier.of(GRID), GRID),
    "td3_bc": (td3_bc.Config(), RECORDED_REAL),
    "decision_transformer": (decision_transformer.Config(), RECORDED),
    "labeller": (Labeller(), None),
    "direct": (direct.Config(beta=0.1, target_margin=1.0, sft=1.0), None),
    "beyond_pairs": (beyond_pairs.Config(), None),
}
INFINITE = {
    "negative_power",
    "positive_power",
    "anneal_updates",
    "max_grad_norm",
    "target_kl",
    "clip_eps",
    "target_noise_clip",
    "huber_delta",
    "epsilon_steps",
    "importance_steps",
    "learning_rate_half_life",
    "learning_rate_hold",
    "decay_steps",
    "rationality",
    "largest_weight",
}
FIELDS = [
    (name, field.name)
    for name, (config, _) in CONFIGS.items()
    for field in dataclasses.fields(config)
    if field.metadata.get("pytree_node", True)
]


def validate(name, config):
    task = CONFIGS[name][1]
    return config.validate() if task is None else config.validate(task)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_defaults_are_sound(name):
    validate(name, CONFIGS[name][0])


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_field_is_a_number(name, field):
    """NaN is refused everywhere, infinity where it means nothing; of a swept field, in any entry."""
    config = CONFIGS[name][0]
    number = getattr(config, field)
    for wrong in (np.nan, np.array([number, np.nan]), -np.inf if field != "skip_below" else np.inf, "much"):
        with pytest.raises(ConfigError, match=field):
            validate(name, config.replace(**{field: wrong}))
    if field in INFINITE:
        validate(name, config.replace(**{field: np.inf}))
    elif field != "skip_below":
        with pytest.raises(ConfigError, match=field):
            validate(name, config.replace(**{field: np.inf}))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "q_learning",
            {"learning_rate": 1e-4},
            r"min must not exceed learning_rate \(0.0001\), got 0.01. Set learning_rate_min=0.0001",
        ),
        ("iql", {"learning_rate": 1e-4}, r"iql: learning_rate_min must not exceed learning_rate \(0.0001\), got 0.01"),
        (
            "entropic_td",
            {"learning_rate_min": 1.0, "learning_rate": 0.5},
            r"learning_rate_min must not exceed .*\(0.5\), got 1.0",
        ),
        ("minimax_q", {"learning_rate": 0.005}, r"learning_rate_final must not exceed learning_rate \(0.005\), got 0.01"),
        ("dqn", {"epsilon_start": 0.01}, r"epsilon_end must not exceed epsilon_start \(0.01\), got 0.05. Set epsilon_end=0.01"),
        ("dqn", {"replay": False}, r"without replay, batch_size must be 10: nothing is kept, got 128. Set batch_size=10"),
        ("dqn", {"replay": False, "batch_size": 10}, "without replay, buffer_size must be 0"),
        ("dqn", {"replay": False, "batch_size": 10, "buffer_size": 0}, "without replay, learning_starts must be 0"),
        ("reward_fitting", {"anchored": True, "weight_decay": 0.0}, "anchored: weight_decay must be positive, got 0.0"),
        (
            "reward_fitting",
            {"anchored": True, "model": Tabular(Discrete(4), Discrete(4))},
            "init_scale must be positive, got 0.0",
        ),
        ("reward_fitting", {"num_minibatches": 3}, r"must not exceed the number of comparisons \(2\), got 3. Try 2"),
        ("mappo", {"taylor_order": 1}, "mappo: taylor_order must be None: the steps of all agents count alike, got 1"),
        ("labeller", {"skip_below": np.inf}, "skip_below must be a number that float32 can hold"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        validate(name, CONFIGS[name][0].replace(**changes))


def test_a_sweep_is_compared_entry_by_entry():
    config = q_learning.Config(learning_rate=np.array([0.5, 0.01, 0.002]))
    with pytest.raises(ConfigError, match=r"learning_rate_min must not exceed learning_rate \(0.002\), got 0.01"):
        run(q_learning.make, GRID, config, seeds=3, num_updates=1)
    both = config.replace(learning_rate_min=np.array([0.5, 0.0, 0.002]))
    assert run(q_learning.make, GRID, both, seeds=3, num_updates=1).metrics["td_error"].shape == (3, 1)
    with pytest.raises(ConfigError, match="learning_rate must be a finite number, got nan"):
        require_numbers("here", q_learning.Config(learning_rate=np.nan))
    require_at_most("here", config, "learning_rate_min", "learning_rate_half_life")


def test_a_small_learning_rate_is_used():
    """The default minimum won: 1e-4 and 1e-2 gave the same table to the last bit."""
    tables = [
        np.asarray(
            run(
                q_learning.make,
                probes.constant_reward(),
                q_learning.Config(learning_rate=rate, learning_rate_min=0.0),
                seeds=1,
                num_updates=1,
            ).state.q
        )
        for rate in (1e-4, 1e-2)
    ]
    assert tables[0].max() < tables[1].max() / 20
    assert tables[0].max() > 0


def test_the_final_rate_of_minimax_q_is_the_rate_at_the_end():
    """After decay_steps the table moves by learning_rate_final, whatever the first rate was."""
    for first in (1.0, 0.5):
        config = minimax_q.Config(
            learning_rate=first, learning_rate_final=0.1, decay_steps=100.0, num_steps=1, gamma=0.0, epsilon=0.0
        )
        algorithm = minimax_q.make(GAME, config)
        state = jax.jit(algorithm.init)(jax.random.key(0)).replace(steps=jnp.int32(100), q=jnp.zeros((2, 1, 4)))
        after, _ = jax.jit(algorithm.update)(state, jax.random.key(1))
        moved = np.abs(after.q[after.visits > 0])
        pay = np.array([1.0, 0.0, 0.0, 1.0])[np.flatnonzero(after.visits[0, 0])]
        np.testing.assert_allclose(moved.max(), 0.1 * pay.max(), rtol=1e-5)


def test_without_replay_is_the_one_way_to_keep_nothing():
    config = dqn.Config(num_envs=3, num_steps=2).without_replay()
    config.validate(GRID)
    assert (config.replay, config.batch_size, config.buffer_size, config.learning_starts) == (False, 6, 0, 0)
    assert config.steps_before_first_update == 0
    assert dqn.Config(num_envs=3, learning_starts=10).steps_before_first_update == 12


def test_a_penalty_belongs_to_one_aggregate():
    with pytest.raises(ConfigError, match=r"penalty must be left out with 'worst_case', got 0\.5"):
        Aggregated(MODEL, "worst_case", 0.5)
    with pytest.raises(ConfigError, match="penalty must be a number of at least 0"):
        Aggregated(MODEL, "uncertainty_weighted", np.nan)
    rewards = jnp.array([[1.0], [3.0]])
    for penalty, expected in ((None, 1.0), (0.5, 1.5)):
        found = Aggregated(_given, "uncertainty_weighted", penalty)(rewards, None, None, None)
        np.testing.assert_allclose(found, [expected])


def _given(params, obs, action, next_obs):
    return params


@pytest.mark.parametrize("model", [Tabular(Discrete(4), Discrete(4)), Linear(Discrete(4), Discrete(4), init_scale=1.0)], ids=str)
def test_members_that_cannot_disagree_are_refused(model):
    config = ensembles.Config(reward_fitting.Config(model, num_minibatches=1))
    must = "members of a model with one optimum must be bootstrapped or anchored.*Set bootstrap=True and anchored=True"
    with pytest.raises(ConfigError, match=must):
        config.validate(DATA)
    config.replace(num_members=1).validate(DATA)
    config.replace(fitting=config.fitting.replace(bootstrap=True)).validate(DATA)
    ensembles.Config(reward_fitting.Config(MLP(Discrete(4), Discrete(4)), num_minibatches=1)).validate(DATA)


def test_nested_configurations_are_checked():
    whole = rlhf.Config(FITTING, q_learning.Config(learning_rate=1e-4), q_learning.make)
    with pytest.raises(ConfigError, match="learning_rate_min must not exceed"):
        whole.validate(GRID)
    with pytest.raises(ConfigError, match="rationality"):
        whole.replace(learner=q_learning.Config(), labeller=Labeller(rationality=np.nan)).validate(GRID)
    learner = dqn.Config(learning_starts=50, buffer_size=100, batch_size=8, num_envs=4)
    assert whole.replace(learner=learner, make_learner=dqn.make).steps_before_first_update == 52
    assert whole.steps_before_first_update == 0


def test_a_flag_is_true_or_false():
    """A text would count as true, whatever it says."""
    for wrong in ("no", "false", 0.5, None):
        with pytest.raises(ConfigError, match=r"double must be True or False.*Set double=False"):
            validate("dqn", dqn.Config(double=wrong))
    validate("dqn", dqn.Config(double=np.bool_(True)))
