"""Alpha-rank: how often evolving populations play each profile of a game, in the limit of rare mutations.

Each player is a population of m individuals that all play one action, until a mutant comes up. Its action takes over the
population with the fixation probability

    rho(d) = (1 - exp(-alpha d)) / (1 - exp(-alpha d m)),    1 / m at d = 0,

where d is how much more the mutant earns, and alpha, the intensity of selection, is in units of one over those of payoffs. So the
populations wander among the profiles of actions, and the ranking is the stationary distribution. As alpha grows it concentrates
on the sinks of the better-response graph. Probabilities are kept as logarithms throughout: no alpha is too large.

All functions are pure, and vmap over games of one shape and over alpha.

Source: Omidshafiei et al. (2019), "Alpha-rank: multi-agent evaluation by evolution", sections 3.3 and 3.4.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, require_count, require_within
from jaxrl.solvers.markov_chain import stationary_logits
from jaxrl.solvers.normal_form import symmetric_table, unilateral_deviations


class AlphaRank(NamedTuple):
    """The stationary distribution of the evolving populations.

    probability: float[A_0, ..., A_{N-1}], of each profile; of a single population float[A], of each action.
    log_probability: of the same shape, where the probability itself would be rounded to 0.
    imbalance: float[], by which share the flow into a profile differs from the flow out of it, at most: the residual.
    """

    probability: jax.Array
    log_probability: jax.Array
    imbalance: jax.Array


def alpha_rank(payoff: Any, alpha: Any = 100.0, population: Any = 50) -> AlphaRank:
    """Ranks the profiles of a game, with a population for each player.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        alpha: the intensity of selection, a positive number.
        population: m, individuals in each population (count), at least 2.

    Raises:
        ConfigError: the payoffs are no game or not finite, or an argument is out of range. Traced values are not checked.
    """
    _require_selection("alpha_rank", alpha, population)
    successor, gains = unilateral_deviations(payoff)
    return _ranked(_all_pairs(successor, _log_fixation(alpha * gains, population)), np.shape(payoff)[1:])


def alpha_rank_of_limit(payoff: Any, noise: Any = 1e-3) -> AlphaRank:
    """Ranks the profiles of a game in the limit of strong selection: a mutant takes over if it gains, and seldom otherwise.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        noise: the probability, in (0, 0.5], with which a mutant takes over that earns less; it is 1 - noise for one that earns
            more, and 1/2 for one that earns the same.

    Raises:
        ConfigError: the payoffs are no game or not finite, or the noise is out of range. Traced values are not checked.

    Source: Rowland et al. (2019), "Multiagent evaluation under incomplete information", section 2.2.
    """
    require_within("alpha_rank_of_limit", "noise", noise, 0, 0.5, "1e-3, say.", above=True)
    successor, gains = unilateral_deviations(payoff)
    noise = jnp.asarray(noise, jnp.result_type(float))
    rates = jnp.where(gains > 0, jnp.log1p(-noise), jnp.where(gains < 0, jnp.log(noise), jnp.log(0.5)))
    return _ranked(_all_pairs(successor, rates), np.shape(payoff)[1:])


def alpha_rank_of_population(payoff: Any, alpha: Any = 100.0, population: Any = 50) -> AlphaRank:
    """Ranks the actions of a symmetric game of two players, who are of one population.

    Args:
        payoff: float[2, A, A], the second table the transpose of the first.
        alpha, population: as for ``alpha_rank``; a mutant earns what its action earns against the resident one, less what the
            resident one earns against it.

    Raises:
        ConfigError: the game is not symmetric, or as for ``alpha_rank``.
    """
    where = "alpha_rank_of_population"
    _require_selection(where, alpha, population)
    table = symmetric_table(where, payoff, "Use alpha_rank, which gives every player a population.")
    return _ranked(_log_fixation(alpha * (table.T - table), population), table.shape[:1])


def _require_selection(where: str, alpha: Any, population: Any) -> None:
    require_within(where, "alpha", alpha, 0, np.inf, "100 is common.", above=True, below=True)
    if not is_traced(population):
        require_count(where, "population", population, 2)


def _log_fixation(gain: Any, population: Any) -> jax.Array:
    """Returns the logarithm of the fixation probability of a mutant that gains so much, alpha included."""
    gain = jnp.asarray(gain, jnp.result_type(gain, jnp.float32) if is_traced(gain) else jnp.result_type(float))
    size = jnp.abs(gain)
    some = size > 0
    size = jnp.where(some, size, 1.0)

    def log_taken(part):  # log(1 - exp(-part))
        return jnp.log(-jnp.expm1(-part))

    log_rate = log_taken(size) - log_taken(population * size) - jnp.where(gain < 0, (population - 1) * size, 0.0)
    return jnp.where(some, log_rate, -jnp.log(jnp.asarray(population, gain.dtype)))


def _all_pairs(successor: np.ndarray, log_rates: jax.Array) -> jax.Array:
    """Returns the rates of going from each profile to each other, float[P, P]; minus infinity where two players would move."""
    profiles = successor.shape[0]
    table = jnp.full((profiles, profiles), -jnp.inf, log_rates.dtype)
    return table.at[np.arange(profiles)[:, None], successor].set(log_rates)


def _ranked(log_rates: jax.Array, shape: tuple[int, ...]) -> AlphaRank:
    logits, imbalance = stationary_logits(log_rates)
    log_probability = jax.nn.log_softmax(logits).reshape(shape)
    return AlphaRank(jnp.exp(log_probability), log_probability, imbalance)
