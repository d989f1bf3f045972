"""Requirements of an environment, an algorithm and an evaluator before anything is computed.

The functions here look at structures, shapes and dtypes, while a function is traced or before: that costs nothing at run time.
Only the probabilities of a finite environment's first outcomes are computed, once, before a run. ``jaxrl.training.runner.run``
calls them on its way, and ``jaxrl.testing.conformance`` begins with them and goes on to look at numbers. ``where`` is always who
asks.
"""

from jaxrl.core.contracts.algorithms import (
    algorithm,
    changed_state,
    evaluation,
    first_state,
    next_state,
    require_metrics,
)
from jaxrl.core.contracts.environments import (
    QUICK,
    legal,
    of_all_agents,
    opening,
    outcomes,
    require_environment,
    require_record,
    seen_by_all,
    transition,
)
from jaxrl.core.contracts.inputs import (
    DeclaredSteps,
    declared_steps,
    equal_when_rebuilt,
    evaluators_of,
    require_config,
    require_make,
    require_names,
    require_own_config,
    require_task,
    validate,
)
from jaxrl.core.contracts.mistakes import hint, mistakes, raised_at, said
from jaxrl.core.contracts.structures import (
    describe,
    described,
    is_array,
    mismatch,
    short,
    traced,
    translated,
)

__all__ = [
    "QUICK",
    "DeclaredSteps",
    "algorithm",
    "changed_state",
    "declared_steps",
    "describe",
    "described",
    "equal_when_rebuilt",
    "evaluation",
    "evaluators_of",
    "first_state",
    "hint",
    "is_array",
    "legal",
    "mismatch",
    "mistakes",
    "next_state",
    "of_all_agents",
    "opening",
    "outcomes",
    "raised_at",
    "require_config",
    "require_environment",
    "require_make",
    "require_metrics",
    "require_names",
    "require_own_config",
    "require_record",
    "require_task",
    "said",
    "seen_by_all",
    "short",
    "traced",
    "transition",
    "translated",
    "validate",
]
