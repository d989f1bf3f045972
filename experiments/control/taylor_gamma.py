"""From a short horizon to a long one: the Taylor expansion of a value in its discount, from 0.9 to 0.99, in random processes.

Source: Tang, Rowland, Munos and Valko (2021), "Taylor Expansion of Discount Factors".
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from envs.random_mdps import random_mdp
from jaxrl.core.finite import TabularModel
from jaxrl.experiment import Claim, Quantity, Results, at, derived, draw, every, exact, final, largest
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation
from jaxrl.solvers.mdp.taylor import taylor_expansion, truncation_bound

GAMMA, TO, STATES = 0.9, 0.99, 10
BOUNDS = {0: 90.0, 5: 53.1441, 20: 10.9419, 60: 0.161731}  # order: the largest error that rewards in [0, 1] allow, 100 0.9^(K+1)
FEW, MANY = 1, 100  # episodes from each state
ESTIMATES = {"exact": 0, "1 episode": FEW, "10 episodes": 10, "100 episodes": MANY}
MIDDLE = 25  # the order that is best for one episode, found on other seeds
LONGEST = 256  # steps of an episode; one in 5e11 is longer


@dataclass(frozen=True)
class Config:
    """Taylor expansions of the value of random processes in the discount."""

    seeds: int = 512
    """Random processes, each with its own episodes (count)."""
    order: int = 100
    """The last order of the expansions (count), at least 60."""


QUICK = Config(seeds=8)


def returns(key: jax.Array, model: TabularModel) -> jax.Array:
    """Returns the rewards of ``MANY`` episodes from every state, float[MANY, X].

    An episode ends after each step with the chance 1 - GAMMA, so that its expected sum is the value under GAMMA.
    """
    cumulative, reward = jnp.cumsum(model.probability[:, 0], -1), model.reward[:, 0, 0]

    def step(carry, key):
        state, alive, total = carry
        moves, ends = jax.random.uniform(key, (2, *state.shape))
        total = total + jnp.where(alive, reward[state], 0.0)
        state = jnp.minimum((cumulative[state] <= moves[..., None]).sum(-1), STATES - 1)
        return (state, alive & (ends < GAMMA), total), None

    first = jnp.broadcast_to(jnp.arange(STATES), (MANY, STATES))
    start = first, jnp.ones(first.shape, bool), jnp.zeros(first.shape)
    return jax.lax.scan(step, start, jax.random.split(key, LONGEST))[0][2]


def errors(key: jax.Array, order: int) -> dict[str, jax.Array]:
    """Returns the largest error of a state after each order, float[order + 1], by what the expansion begins with."""
    process_key, episode_key = jax.random.split(key)
    model = random_mdp.table(random_mdp.dense(process_key, STATES, 1))
    policy = jnp.ones((STATES, 1))
    truth = policy_evaluation(model, policy, TO).value
    sampled = returns(episode_key, model)
    found = {}
    for estimate, episodes in ESTIMATES.items():
        base = sampled[:episodes].mean(0) if episodes else None
        value = taylor_expansion(model, policy, GAMMA, TO, order, base).value
        found[estimate] = jnp.abs(value - truth).max(-1)
    return found


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Measures the errors in float64, a row for each process and a position for each order."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(results.root), config.seeds)
        found = jax.jit(jax.vmap(lambda key: errors(key, config.order)))(keys)
        for estimate, error in jax.device_get(found).items():
            bound = np.asarray(truncation_bound(GAMMA, TO, np.arange(config.order + 1), 1.0))
            values = {"error": error}
            if estimate == "exact":
                values["beyond_bound"] = error - bound
            yield {"estimate": estimate}, values


def error_for_ever(order: int) -> float:
    """Returns the error of the expansion where one state pays 1 for ever."""
    paid, state = np.ones((1, 1, 1)), np.zeros(1, np.int32)
    following, ends, legal = np.zeros((1, 1, 1), np.int32), np.zeros((1, 1, 1), bool), np.ones((1, 1), bool)
    model = TabularModel(following, np.ones((1, 1, 1)), paid, ends, np.ones(1), legal, state, state, (1,))
    with jax.enable_x64(True):
        return 1 / (1 - TO) - float(taylor_expansion(model, np.ones((1, 1)), GAMMA, TO, order).value[-1, 0])


def figures(results: Results) -> None:
    """Draws the errors by the order."""
    orders = np.arange(results.values("error", estimate="exact").shape[1])
    arms = {estimate: {"estimate": estimate} for estimate in ESTIMATES}
    options = {"y_scale": "log", "floor": 1e-3, "title": "Discount 0.99 by an expansion around 0.9"}
    draw.lines(results, "taylor", "error", arms, "Order K", "Largest error (reward units)", x=orders, **options)


def error(order: int, estimate: str) -> Quantity:
    """The largest error of a state after this order."""
    return at("error", order, estimate=estimate)


def best_order(estimate: str) -> Quantity:
    """The order of the smallest mean error."""
    text = f"best order (estimate={estimate})"
    return derived(text, lambda results: results.values("error", estimate=estimate).mean(0).argmin())


CLAIMS = (
    *(
        Claim(
            f"Where one state pays 1 for ever, the expansion from 0.9 to 0.99 misses the value of 100 by {bound:.4g} after order "
            f"{order}, the most that rewards in [0, 1] allow",
            "Tang et al. (2021), the bound of a truncated expansion; restated after its numbers had been seen",
            exact(f"error after order {order}", lambda order=order: error_for_ever(order)).equals(bound, 1e-5 * bound),
        )
        for order, bound in BOUNDS.items()
    ),
    Claim(
        "From the exact value the error stays below this bound after every order, in all of 512 random processes",
        "Tang et al. (2021), the bound of a truncated expansion",
        largest("beyond_bound", estimate="exact") <= 0.0,
    ),
    Claim(
        "From the exact value the error falls from order 0 to 5, from 5 to 20 and from 20 to 60",
        "Tang et al. (2021), convergence of the expansion",
        every(error(more, "exact") < error(less, "exact") for less, more in ((0, 5), (5, 20), (20, 60))),
    ),
    Claim(
        f"From values estimated by one episode a state, order {MIDDLE} has a smaller error than order 0 and than order 100: a U",
        "Tang et al. (2021), bias and noise by the order",
        every(
            [
                error(MIDDLE, "1 episode") < error(0, "1 episode"),
                error(MIDDLE, "1 episode") < final("error", estimate="1 episode"),
            ]
        ),
    ),
    Claim(
        "From one episode a state the best order is at most 40, and it is higher from 100 episodes",
        "Tang et al. (2021), bias and noise by the order",
        every([best_order("1 episode") <= 40, best_order("100 episodes") > best_order("1 episode")]),
    ),
)
