"""``check_algorithm`` finds out whether an algorithm keeps the protocol of ``jaxrl.core.algorithm``.

It reads the declarations of ``make`` and its Config, traces ``init``, ``update``, the policy and the evaluators without computing
anything, makes a few updates in several ways that must come to the same, and counts what the trained policy does. Each check is
one function of ``declaration``, ``structure``, ``running`` or ``acting``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxrl.core import contracts
from jaxrl.core.algorithm import Algorithm
from jaxrl.testing.conformance.algorithm import acting, declaration, running, structure
from jaxrl.testing.conformance.algorithm.structure import acts, states_probabilities
from jaxrl.testing.conformance.algorithm.subject import WHERE, Subject
from jaxrl.testing.conformance.checks import Check, Report, always, examine


def check_algorithm(
    make: Callable[..., Algorithm],
    task: Any,
    config: Any,
    key: jax.Array,
    *,
    evaluators: Sequence[Callable] = (),
    rebuilt: tuple[Any, Any] | None = None,
    trained: bool = True,
    eager: bool = True,
) -> Report:
    """Checks an algorithm against the protocol, on a task and with a configuration that are as small as possible.

    Args:
        make: ``(task, config) -> Algorithm``.
        task: an Environment, a data set or a game. Hand an environment to ``check_environment`` first.
        config: the algorithm's Config.
        key: one key; the same key checks the same runs.
        evaluators: as for ``jaxrl.run``, to be checked with it.
        rebuilt: task and configuration built a second time, if possible with other numbers: they must find the compiled program
            of the first. None takes copies.
        trained: whether updates are made, which compiles a handful of programs; False skips the checks that need any.
        eager: whether an update is also made without being compiled as a whole, which can take a minute for a large one.

    Raises:
        AlgorithmError: at the first check that fails, saying what must hold and what was found.
        ConfigError, EnvError, EvaluatorError: likewise, where the fault is not the algorithm's.
    """
    evaluators = contracts.evaluators_of(WHERE, evaluators, task)
    return examine(_CHECKS, Subject(make, task, config, key, evaluators, rebuilt, trained, eager))


def _declares_steps(subject: Subject) -> bool:
    return subject.env is not None and contracts.declared_steps(WHERE, subject.config).per_update is not None


def _is_evaluated(subject: Subject) -> bool:
    return bool(subject.evaluators)


def _is_trained(subject: Subject) -> bool:
    return subject.trained


def _is_trained_and_evaluated(subject: Subject) -> bool:
    return _is_trained(subject) and _is_evaluated(subject)


def _is_resumed(subject: Subject) -> bool:
    return subject.trained and running.can_be_resumed(subject)


def _is_swept(subject: Subject) -> bool:
    return subject.trained and bool(jax.tree.leaves(subject.config))


def _is_eager(subject: Subject) -> bool:
    return subject.trained and subject.eager


def _acts(subject: Subject) -> bool:
    return subject.trained and acts(subject)


def _acts_within_mask(subject: Subject) -> bool:
    return _acts(subject) and subject.env is not None and subject.env.action_mask_fn is not None


def _acts_by_probabilities(subject: Subject) -> bool:
    return _acts(subject) and states_probabilities(subject)


# In this order, because the later ones run what the earlier ones have found to be sound.
_CHECKS = (
    Check(declaration.check_arguments, always),
    Check(declaration.check_make_equal_when_rebuilt, always),
    Check(declaration.check_config_is_a_struct, always),
    Check(declaration.check_traced_fields_are_scalars, always),
    Check(declaration.check_static_fields_are_hashable, always),
    Check(declaration.check_rebuilt_compiles_once, always),
    Check(declaration.check_validate, always),
    Check(declaration.check_declared_steps, always),
    Check(structure.check_init_structure, always),
    Check(structure.check_update_structure, always),
    Check(structure.check_metrics, always),
    Check(structure.check_policy_structure, acts),
    Check(structure.check_probabilities_structure, states_probabilities),
    Check(structure.check_given_keys_are_used, always),
    Check(structure.check_keys_are_used_once, always),
    Check(structure.check_metrics_are_always_the_same, always),
    Check(structure.check_traced_twice_the_same, always),
    Check(structure.check_evaluators, _is_evaluated),
    Check(structure.check_dtypes_are_explicit, always),
    Check(structure.check_steps_per_update, _declares_steps),
    Check(running.check_values_stay_finite, _is_trained),
    Check(running.check_evaluations_are_finite, _is_trained_and_evaluated),
    Check(running.check_same_key_same_result, _is_trained),
    Check(running.check_chunks_change_nothing, _is_trained),
    Check(running.check_resuming_changes_nothing, _is_resumed),
    Check(running.check_batched_equals_single, _is_trained),
    Check(running.check_sweep_equals_plain, _is_swept),
    Check(running.check_compiled_equals_eager, _is_eager),
    Check(acting.check_actions_in_space, _acts),
    Check(acting.check_actions_are_legal, _acts_within_mask),
    Check(acting.check_probabilities_are_distributions, _acts_by_probabilities),
    Check(acting.check_greedy_is_the_mode, _acts_by_probabilities),
    Check(acting.check_frequencies, _acts_by_probabilities),
)
