"""Every algorithm of the library keeps the protocol."""

import jax
import pytest

import jaxrl
from jaxrl.algorithms.deep import dqn
from jaxrl.algorithms.multiagent import iql, minimax_q
from jaxrl.algorithms.tabular import entropic_td, q_learning
from jaxrl.core.spaces import MultiDiscrete
from jaxrl.errors import SpaceError
from tests import probes
from tests.copies import copies
from tests.marks import every, rest_is_slow
from tests.small_algorithms import CASES

COMPILED = ("q_learning", "cfr")  # quickly enough for every test run


def check(name, **options):
    make, task, config = CASES[name]
    # Uncompiled updates are compared in the tests of jax's own switches, for all algorithms at once.
    return jaxrl.check_algorithm(make, task(), config(), jax.random.key(0), rebuilt=(task(), config()), eager=False, **options)


@pytest.mark.parametrize("name", every(CASES))
def test_algorithm_keeps_the_protocol_as_far_as_it_shows_while_traced(name):
    assert "dtypes are explicit" in check(name, trained=False).passed


@pytest.mark.parametrize("name", rest_is_slow(CASES, COMPILED))
def test_algorithm_keeps_the_protocol(name):
    assert "batched equals single" in check(name).passed


@pytest.mark.parametrize(("learner", "agents"), [(dqn, 0), (q_learning, 0), (entropic_td, 0), (iql, 2), (minimax_q, 2)])
def test_learners_of_action_values_refuse_actions_of_several_parts(learner, agents):
    alone = probes.nested_action()
    env = copies(alone, agents) if agents else alone
    alternative = "MAPPO" if agents else "(?i:ppo)"
    for space in (env.action_space, MultiDiscrete((2, 3))):
        with pytest.raises(SpaceError, match=f"the action.space must be Discrete, got .*{alternative}"):
            jaxrl.run(learner.make, env.replace(action_space=space), learner.Config(), seeds=1, num_updates=1)
