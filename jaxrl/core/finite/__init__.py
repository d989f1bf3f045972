"""Finite environments: write the outcome probabilities once, get the sampled environment and its exact model.

The author gives ``outcomes(state, action, params) -> Outcomes`` (every successor with its probability) and
``initial(params) -> Initial``. ``finite`` derives ``reset`` and ``step`` by sampling; ``tabulate`` walks the reachable
states into a ``TabularModel``. The two therefore cannot disagree. ``from_table`` turns a model back into an environment.
"""

from jaxrl.core.finite.model import TabularModel, byte_rows, require_model, require_shapes, require_tables, single_precision
from jaxrl.core.finite.outcomes import Initial, Outcomes, finite, observe_state, sample_index
from jaxrl.core.finite.table import Table, from_table
from jaxrl.core.finite.tabulation import tabulate

__all__ = [
    "Initial",
    "Outcomes",
    "Table",
    "TabularModel",
    "byte_rows",
    "finite",
    "from_table",
    "observe_state",
    "require_model",
    "require_shapes",
    "require_tables",
    "sample_index",
    "single_precision",
    "tabulate",
]
