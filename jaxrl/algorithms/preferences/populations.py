"""Direct preference losses where everything is known: all pairs of a few responses, labelled with their probabilities.

A policy is a table of logits over K responses, and the loss an exact mean instead of one over samples, so that optima can be
compared with closed forms, and descent followed for as long as one likes. Call it in float64: ``with jax.enable_x64(True)``.

Source: Azar et al. (2023), whose section 5 studies losses this way.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.algorithms.preferences import direct
from jaxrl.algorithms.preferences.direct import Config, Pairs
from jaxrl.errors import require
from jaxrl.solvers.kl_optimal import kl_optimal, logit, psi_optimal


class Population(NamedTuple):
    """All that a loss sees of K responses.

    log_reference: float[K], log-probabilities. length: float[K], tokens.
    preference: float[K, K], the probability that the row is preferred to the column, or the weight of this label; what a response
        is against itself does not count.
    """

    log_reference: jax.Array
    length: jax.Array
    preference: jax.Array

    @classmethod
    def bradley_terry(cls, gold: jax.Array, log_reference: jax.Array, length: jax.Array) -> "Population":
        """Returns the population whose labels follow a Bradley-Terry judge of the rewards ``gold``, float[K]."""
        return cls(log_reference, length, jax.nn.sigmoid(gold[:, None] - gold))


def draw_length_free(random: np.random.Generator, num_responses: int) -> tuple[jax.Array, Population]:
    """Draws gold, float[K], uncorrelated with the length, and the Bradley-Terry population that judges by it.

    Gold and the reference's logits are standard normal, lengths 5 to 4 + K tokens, each once.
    """
    gold, reference = random.standard_normal((2, num_responses))
    length = random.permutation(np.arange(5.0, 5.0 + num_responses))
    free = length - length.mean()
    gold = jnp.asarray(gold - gold.mean() - free * (gold @ free) / (free @ free))
    return gold, Population.bradley_terry(gold, jax.nn.log_softmax(jnp.asarray(reference)), jnp.asarray(length))


def draw_texts(key: jax.Array, num_responses: int) -> Population:
    """Draws K responses of 5 to 49 tokens among very many: long ones are unlikely under the reference, as of language models.

    Gold is standard normal, whatever the length. A token costs half a nat, and noise of deviation 1 is added.
    """
    gold_key, length_key, noise_key = jax.random.split(key, 3)
    length = jax.random.randint(length_key, (num_responses,), 5, 50).astype(float)
    log_reference = -0.5 * length + jax.random.normal(noise_key, (num_responses,))
    return Population.bradley_terry(jax.random.normal(gold_key, (num_responses,)), log_reference, length)


def expected_loss(name: str, config: Config, population: Population, log_policy: jax.Array) -> jax.Array:
    """Returns the mean of a loss over all ordered pairs of different responses, each weighted by its label, float[].

    Args:
        name: a loss of ``direct.LOSSES``.
        config: its numbers.
        population: K responses.
        log_policy: float[K], log-probabilities; of a few responses among very many they need not sum to 1.
    """
    first, second = map(jnp.asarray, np.nonzero(~np.eye(log_policy.shape[0], dtype=bool)))
    pairs = direct.pairs_of(log_policy, population.log_reference, population.length, first, second)
    return jnp.sum(population.preference[first, second] * direct.loss(name)(pairs, config)) / len(first)


def tabular_loss(name: str, config: Config, population: Population, logits: jax.Array) -> jax.Array:
    """Returns ``expected_loss`` of the policy with these logits, float[K]."""
    return expected_loss(name, config, population, jax.nn.log_softmax(logits))


def optimum(name: str, config: Config, population: Population) -> jax.Array:
    """Returns the log-probabilities that minimise the expected loss, float[K], by BFGS from the reference."""
    from scipy import optimize

    value_and_grad = jax.jit(jax.value_and_grad(lambda logits: tabular_loss(name, config, population, logits)))

    def evaluate(logits):
        value, gradient = value_and_grad(jnp.asarray(logits))
        return float(value), np.asarray(gradient)

    start = np.asarray(population.log_reference)
    found = optimize.minimize(evaluate, start, jac=True, method="BFGS", options={"gtol": 1e-11})
    return jax.nn.log_softmax(jnp.asarray(found.x))


def optimum_errors(
    random: np.random.Generator, num_responses: int, beta: float, length_price: float
) -> dict[str, dict[str, Any]]:
    """Compares minimisers on Bradley-Terry data with their closed forms: loss -> name -> number.

    ``variation``, of DPO and of Psi-PO with the logit: the total variation distance from the reference tilted by gold.
    ``length_slope``, of R-DPO with the price alpha of a token: by how many nats its tilt falls or rises with a token.

    Args:
        random: draws gold and the population, see ``draw_length_free``.
        num_responses: K.
        beta: strength of the reference.
        length_price: alpha.

    Source: Rafailov et al. (2023), equation 4; Azar et al. (2023), section 4.2; Park et al. (2024).
    """
    gold, world = draw_length_free(random, num_responses)
    tilted = jnp.exp(kl_optimal(world.log_reference, gold, beta))
    dpo = optimum("dpo", Config(beta=beta), world)
    uniform = jnp.full(num_responses, 1 / num_responses)
    psi_po = psi_optimal(world.log_reference, world.preference, uniform, beta, logit)
    found = {
        loss: {"variation": 0.5 * jnp.abs(jnp.exp(policy) - tilted).sum()} for loss, policy in (("dpo", dpo), ("psi_po", psi_po))
    }
    tilt = optimum("r_dpo", Config(beta=beta, length=length_price), world) - world.log_reference - gold / beta
    return found | {"r_dpo": {"length_slope": np.polyfit(np.asarray(world.length), np.asarray(tilt), 1)[0]}}


def robust_error(margin: jax.Array, config: Config) -> jax.Array:
    """Returns how far the robust loss, averaged over flipped labels, is from DPO's on the right ones at most, float[].

    Args:
        margin: float[N], by how much the preferred response's logit is above the other's.
        config: its ``flip_rate`` is that of the labels and of the loss.
    """
    right, wrong = pair(margin), pair(-margin)
    mean = (1 - config.flip_rate) * direct.robust(right, config) + config.flip_rate * direct.robust(wrong, config)
    return jnp.abs(mean - direct.dpo(right, config)).max()


def length_correlations(key: jax.Array, num_worlds: int, config: Config) -> dict[str, jax.Array]:
    """Trains on labels that do not depend on the length, from a reference that makes long responses unlikely.

    Args:
        key: of the worlds, see ``draw_texts``: 50 responses each.
        num_worlds: S.
        config: of the losses.

    Returns:
        float[S] by loss, the size of the correlation between the length and the loss's own implicit reward after 200 steps:
        the log-probability for CPO and the log-probability per token for SimPO.
    """
    losses = ("cpo", "simpo")

    @jax.vmap
    def correlations(key):
        world = draw_texts(key, 50)
        objectives = [partial(expected_loss, loss, config, world) for loss in losses]
        summed, normalised = descend(objectives, world.log_reference, np.array([200]), step_size=5.0)[:, 0]
        return [jnp.abs(jnp.corrcoef(reward, world.length)[0, 1]) for reward in (summed, normalised / world.length)]

    return dict(zip(losses, correlations(jax.random.split(key, num_worlds)), strict=True))


def pair(margin: jax.Array, shift: float = 0.0) -> Pairs:
    """Returns N pairs of two responses of one token, of which the first is preferred and no other exists.

    Args:
        margin: float[N], by how much the first one's logit is above the other's; the reference prefers neither.
        shift: what the reference's log-probability of the first is raised by, and that of the second lowered.
    """
    chosen, rejected = jax.nn.log_softmax(jnp.stack([margin, jnp.zeros_like(margin)]), axis=0)
    half, one = jnp.full_like(margin, jnp.log(0.5)), jnp.ones_like(margin)
    return Pairs(chosen, rejected, half + shift, half - shift, one, one)


def pair_loss(name: str, config: Config, margin: jax.Array) -> jax.Array:
    """Returns the loss of a pair whose label never changes, summed over margins float[N]."""
    return direct.loss(name)(pair(margin), config).sum()


@jax.jit
def slope_errors(config: Config) -> dict[str, jax.Array]:
    """Returns how far the derivative in the margin, at the reference, lies from its closed form in ``direct.SLOPES``: by loss."""
    at = pair(jnp.zeros(1))

    def along(margin, name):
        moved = at._replace(chosen=at.chosen + margin / 2, rejected=at.rejected - margin / 2)
        return direct.loss(name)(moved, config)[0]

    closed = {name: form(direct.filled(name, config)) for name, form in direct.SLOPES.items()}
    return {name: jnp.abs(jax.grad(along)(1e-12, name) - slope) for name, slope in closed.items()}


@jax.jit
def reference_changes(config: Config) -> dict[str, jax.Array]:
    """Returns by how much another reference changes a loss or its gradient at most: by loss, of ``direct.WITHOUT_REFERENCE``."""
    found = {}
    for name in direct.WITHOUT_REFERENCE:
        value_and_grad = jax.value_and_grad(lambda pairs, name=name: direct.loss(name)(pairs, config).sum())
        one, other = (jnp.hstack(jax.tree.leaves(value_and_grad(pair(jnp.full(1, 0.7), shift)))) for shift in (0.0, 2.0))
        found[name] = jnp.abs(one - other).max()
    return found


def descend(
    objectives: Sequence[Callable[[jax.Array], jax.Array]], start: jax.Array, steps: np.ndarray, step_size: float = 0.1
) -> jax.Array:
    """Follows the gradients of L objectives from one start with a fixed step, all in one program.

    Args:
        objectives: ``(float[K]) -> float[]`` each.
        start: float[K].
        steps: int[C], increasing, the numbers of steps after which to look.
        step_size: of every step.

    Returns:
        float[L, C, K], the parameters.
    """
    require(bool(np.all(np.diff(steps, prepend=0) >= 0)), "descend", "steps must increase from 0", list(steps), "Sort them.")

    def step(_, points):
        return [x - step_size * jax.grad(objective)(x) for objective, x in zip(objectives, points, strict=True)]

    onward = jax.jit(lambda points, count: jax.lax.fori_loop(0, count, step, points))
    points, path = [start] * len(objectives), []
    for count in np.diff(steps, prepend=0):
        points = onward(points, int(count))
        path.append(jnp.stack(points))
    return jnp.stack(path, axis=1)


def margins(losses: Sequence[tuple[str, Config]], steps: np.ndarray) -> jax.Array:
    """Returns the margin of a pair whose label never changes, along the descent of each loss from the reference, float[L, C]."""
    objectives = [partial(pair_loss, name, config) for name, config in losses]
    return descend(objectives, jnp.zeros(1), steps)[..., 0]


def chain_log_ratios(losses: Sequence[tuple[str, Config]], steps: np.ndarray) -> jax.Array:
    """Returns log pi(c) - log pi(a) along the descent of each loss where only a > b and b > c are ever seen, float[L, C].

    The reference is uniform. A strong enough tie to it keeps the ratio finite.
    """
    seen = jnp.zeros((3, 3)).at[0, 1].set(3.0).at[1, 2].set(3.0)  # the mean over six pairs becomes that over these two
    three = Population(jnp.log(jnp.full(3, 1 / 3)), jnp.ones(3), seen)
    logits = descend([partial(tabular_loss, name, config, three) for name, config in losses], jnp.zeros(3), steps)
    return logits[..., 2] - logits[..., 0]


def logarithmic_steps(last: int) -> np.ndarray:
    """Returns about ten numbers of steps per decade, int[C], up to the power of ten next to ``last``.

    The last eleven span the last decade.
    """
    decades = round(np.log10(last))
    return np.unique(np.round(np.geomspace(1, 10**decades, 10 * decades + 1)).astype(int))
