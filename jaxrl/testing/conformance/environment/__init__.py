"""``check_environment`` finds out whether an environment keeps the protocol of ``jaxrl.core.environment``.

It plays random legal actions, looks at the structure of everything that the functions return, traces them twice, compares batched
with single calls, and holds the sampled steps of a finite environment against its outcome probabilities. Each check is a function
of ``protocol`` or ``exact_model``.
"""

import jax

from jaxrl.core.environment import Environment
from jaxrl.testing.conformance.checks import Check, Report, always, examine
from jaxrl.testing.conformance.environment import exact_model, protocol
from jaxrl.testing.conformance.environment.subject import Subject


def check_environment(env: Environment, key: jax.Array, rebuilt: Environment | None = None, tabulated: bool = True) -> Report:
    """Checks an environment against the protocol.

    Args:
        env: the environment.
        key: one key; the same key checks the same states.
        rebuilt: the environment built by its factory a second time, if possible with other numbers: it must find the compiled
            program of the first. None skips this check.
        tabulated: whether to walk all states of a finite environment; False skips the checks that need its table.

    Raises:
        EnvError: at the first check that fails, saying what must hold and what was found.
    """
    return examine(_CHECKS, Subject(env, key, rebuilt, tabulated))


def _is_rebuilt(subject: Subject) -> bool:
    return subject.rebuilt is not None


def _is_masked(subject: Subject) -> bool:
    return subject.env.action_mask_fn is not None


def _is_observed_globally(subject: Subject) -> bool:
    return subject.env.global_obs_fn is not None


def _is_finite(subject: Subject) -> bool:
    return subject.env.is_finite


def _is_tabulated(subject: Subject) -> bool:
    return subject.env.is_finite and subject.tabulated


# In this order, because the later ones run what the earlier ones have found to be sound.
_CHECKS = (
    Check(protocol.check_record, always),
    Check(protocol.check_static_fields_equal_when_rebuilt, always),
    Check(protocol.check_params_are_arrays, always),
    Check(protocol.check_reset_structure, always),
    Check(protocol.check_step_structure, always),
    Check(protocol.check_dtypes_are_explicit, always),
    Check(protocol.check_mask_structure, _is_masked),
    Check(protocol.check_global_observation_structure, _is_observed_globally),
    Check(exact_model.check_outcomes_structure, _is_finite),
    Check(protocol.check_given_keys_are_used, always),
    Check(protocol.check_keys_are_used_once, always),
    Check(protocol.check_rebuilt_compiles_once, _is_rebuilt),
    Check(protocol.check_some_action_is_legal, _is_masked),
    Check(protocol.check_traced_twice_the_same, always),
    Check(protocol.check_same_key_same_result, always),
    Check(protocol.check_batched_equals_single, always),
    Check(protocol.check_observations_in_space, always),
    Check(exact_model.check_probabilities, _is_finite),  # steps drawn from what is no distribution are paid NaN
    Check(protocol.check_rewards_are_finite, always),
    Check(exact_model.check_observations_follow_from_states, _is_finite),
    Check(exact_model.check_steps_are_possible_outcomes, _is_finite),
    Check(exact_model.check_frequencies, _is_finite),
    Check(exact_model.check_terminal_states_are_absorbing, _is_tabulated),
    Check(exact_model.check_table_agrees, _is_tabulated),
)
