"""What is read of a configuration is a protocol, and what algorithms require of a task is required in one place."""

from typing import Any

import jax
import pytest
from flax import struct

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
from jaxrl.core import config as protocol
from jaxrl.core.config import Batched, Config, DeclaresStart, DeclaresSteps, Discounted, EnvironmentConfig, Validates
from jaxrl.core.contracts import declared_steps
from jaxrl.core.spaces import Box
from jaxrl.errors import ConfigError, SpaceError
from tests.small_algorithms import CASES, loop

# The type checker reads this: each is a Config, and each of the first is that of an algorithm that steps environments itself.
STEPPING: tuple[type[EnvironmentConfig], ...] = (
    dqn.Config,
    ppo.Config,
    pqn.Config,
    sac.Config,
    td3.Config,
    dial.Config,
    independent_reinforce.Config,
    coma.Config,
    iql.Config,
    maddpg.Config,
    madqn.Config,
    mappo.Config,
    minimax_q.Config,
    sparse_q.Config,
    roth_erev.Config,
    nash_q.Config,
    mean_field_q.Config,
    mean_field_ac.Config,
    friend_or_foe_q.Config,
    alphazero.Config,
    muzero.Config,
    mbpo.Config,
    cem_mpc.Config,
    double_q_learning.Config,
    dyna_q.Config,
    entropic_td.Config,
    n_step_sarsa.Config,
    option_q_learning.Config,
    primal_dual_q.Config,
    r_learning.Config,
    q_learning.Config,
    reinforce.Config,
    sarsa.Config,
    sarsa_lambda.Config,
)
OTHERS: tuple[type[Config], ...] = (
    behaviour_cloning.Config,
    cfr.Config,
    cql.Config,
    decision_transformer.Config,
    dynamics.Config,
    ensembles.Config,
    fitted_q_evaluation.Config,
    implicit_q_learning.Config,
    inapplicable.Config,
    intrinsic.Config,
    lagrangian.Config,
    inverse_model.Config,
    log_q_learning.Config,
    lola.Config,
    pbt.Config,
    psro.Config,
    reward_fitting.Config,
    rlhf.Config,
    self_play.Config,
    td3_bc.Config,
)
AROUND = (
    inapplicable.Config,
    intrinsic.Config,
    lagrangian.Config,
    pbt.Config,
    rlhf.Config,
    self_play.Config,
)  # a learner, whose steps are theirs


@struct.dataclass
class Bare:
    rate: float = 0.1


@struct.dataclass
class Unsound(Bare):
    @property
    def steps_per_update(self) -> Any:
        return self.rate / 0


def test_every_configuration_keeps_the_protocol():
    listed = {*STEPPING, *OTHERS}
    for name, case in CASES.items():
        config = case.config()
        assert type(config) in listed, name
        assert isinstance(config, Validates), name
        assert config.replace() == config or jax.tree.structure(config.replace()) == jax.tree.structure(config), name
        steps = type(config) in STEPPING
        assert isinstance(config, Batched) == steps, name
        assert isinstance(config, DeclaresSteps) == (steps or isinstance(config, AROUND)), name


def test_what_a_configuration_does_not_say_is_not_asked():
    bare = Bare()
    assert not [kind for kind in (Validates, DeclaresSteps, DeclaresStart, Batched, Discounted) if isinstance(bare, kind)]
    assert declared_steps("test", bare) == (None, 0)
    assert declared_steps("test", dqn.Config(num_envs=2, num_steps=3, learning_starts=5)) == (6 * dqn.Config().num_rounds, 6)


def test_a_loop_declares_the_steps_of_its_learner():
    """Eight steps are collected for comparisons, and each of two updates of the learner takes four."""
    config = loop()
    assert declared_steps("test", config) == (4 * 3 + 2 * 4, 0)
    assert declared_steps("test", config.replace(learner=dqn.Config(learning_starts=7))).before == 7
    assert declared_steps("test", config.replace(learner=Bare())) == (None, 0)
    with pytest.raises(ConfigError, match=r"rlhf: config.learner.steps_per_update must be an integer of at least 1, got ZeroDiv"):
        declared_steps("test", config.replace(learner=Unsound()))


@pytest.mark.parametrize(
    ("check", "arguments", "kind", "message"),
    [
        ("require_single_agent", ("kuhn",), ConfigError, "must have no agent axis, got 2. Use a multi-agent algorithm"),
        ("require_agents", ("corridor", "Use ppo."), ConfigError, r"an agent axis \(num_agents\), got None. Use ppo"),
        ("require_agents", ("kuhn", "Use two.", 3), ConfigError, "must have 3 agents, got 2. Use two"),
        ("require_discrete", ("cartpole", "Discretise it."), SpaceError, "the observation_space must be Discrete, got Box"),
        ("require_discrete_actions", ("pendulum",), SpaceError, "the action_space must be Discrete, got Box"),
    ],
)
def test_requirements_of_a_task(check, arguments, kind, message):
    name, *rest = arguments
    with pytest.raises(kind, match=f"^test: .*{message}"):
        getattr(protocol, check)("test", envs.make(name), *rest)


def test_tasks_that_fit_pass():
    corridor, kuhn = envs.make("corridor"), envs.make("kuhn")
    protocol.require_single_agent("test", corridor)
    protocol.require_discrete("test", corridor, "")
    protocol.require_agents("test", kuhn, "", count=2)
    protocol.require_image("test", "channels", Box(0.0, 1.0, (4, 4, 3)), "")
    protocol.require_divisor("test", "num_envs", 8, "num_minibatches", 4)


def test_images_and_divisors():
    with pytest.raises(SpaceError, match=r"channels need observations of shape \[H, W, C\], got Box.*Set channels=\(\)"):
        protocol.require_image("test", "channels", Box(0.0, 1.0, (4,)), "Set channels=().")
    with pytest.raises(ConfigError, match=r"num_envs \(12\) must be divisible by num_minibatches, got 5. Try num_minibatches=4"):
        protocol.require_divisor("test", "num_envs", 12, "num_minibatches", 5)
    assert [protocol.largest_divisor(12, most) for most in (1, 5, 12, 40)] == [1, 4, 12, 12]
