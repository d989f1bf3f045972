"""Transforms: an environment in, a changed environment out. Algorithms and exact solvers cannot tell the difference.

Every transform changes the sampled functions and, where the environment is finite, its outcome probabilities alike, so that
``jaxrl.core.finite.tabulate`` of the result is still the exact model of what is sampled. The changed functions are frozen
dataclasses: applied again to the same environment with the same functions, a transform gives an environment that compares
equal and finds its compiled program. Functions handed in must therefore live at module level, or be frozen dataclasses.
"""

from jaxrl.core.transforms.actions import with_copied_actions, with_discrete_actions
from jaxrl.core.transforms.bonuses import BonusParams, Earning, Paid, with_bonus
from jaxrl.core.transforms.inner import LimitOfInner
from jaxrl.core.transforms.masking import Masked, MaskParams, with_action_mask, with_mask
from jaxrl.core.transforms.observations import with_observation
from jaxrl.core.transforms.opponents import Match, OpponentParams, Played, seat_space, seen_from, with_opponent
from jaxrl.core.transforms.prices import Charged, PriceParams, Spending, cost_shape, with_price
from jaxrl.core.transforms.rewards import RewardParams, Seen, Shaping, with_potential, with_reward
from jaxrl.core.transforms.states import STATES, with_reported_states
from jaxrl.core.transforms.steps import with_steps, with_time_limit
from jaxrl.core.transforms.stocks import Stocked, StockParams, with_stock
from jaxrl.core.transforms.temperatures import TemperatureParams, Tempered, with_temperature

__all__ = [
    "STATES",
    "BonusParams",
    "Charged",
    "Earning",
    "LimitOfInner",
    "MaskParams",
    "Masked",
    "Match",
    "OpponentParams",
    "Paid",
    "Played",
    "PriceParams",
    "RewardParams",
    "Seen",
    "Shaping",
    "Spending",
    "StockParams",
    "Stocked",
    "TemperatureParams",
    "Tempered",
    "cost_shape",
    "seat_space",
    "seen_from",
    "with_action_mask",
    "with_bonus",
    "with_copied_actions",
    "with_discrete_actions",
    "with_mask",
    "with_observation",
    "with_opponent",
    "with_potential",
    "with_price",
    "with_reported_states",
    "with_reward",
    "with_steps",
    "with_stock",
    "with_temperature",
    "with_time_limit",
]
