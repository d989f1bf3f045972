"""Bonuses for what is new: rewards that are learned while an agent explores, and that fall where it has been.

    Count   one over the root of the number of visits, exactly; of discrete observations
    RND     the error of a network that imitates a random one
    ICM     the error of a model that predicts the features of the next observation

A bonus is a pytree whose numbers can be swept; ``Bonus.of(env, ...)`` builds one for the spaces of an environment. Its state is
learned from blocks of steps. Between two blocks it pays by the state as it is: what a block shows lowers the bonus from the next
block on. ``jaxrl.algorithms.exploration.intrinsic`` pays it to any learner.
"""

from jaxrl.blocks.bonuses.bonus import Bonus
from jaxrl.blocks.bonuses.count import Count
from jaxrl.blocks.bonuses.icm import ICM
from jaxrl.blocks.bonuses.rnd import RND

__all__ = ["ICM", "RND", "Bonus", "Count"]
