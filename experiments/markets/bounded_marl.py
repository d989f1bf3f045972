"""One policy for firms of every rationality: shown a temperature, it learns the whole family of logit equilibria of a market.

Two firms choose quantities in a Cournot market. A bounded firm maximises its profit less a temperature times the divergence of
its policy from the uniform one. The shared policy is trained at temperatures drawn anew for each play, and compared with the
equilibrium of each. Its mixture is then fitted to play simulated from a hidden mixture of temperatures.

Source: Evans and Ganesh (2024), Learning and Calibrating Heterogeneous Bounded Rational Market Behaviour with Multi-Agent
Reinforcement Learning; numbers are ours, and there are no human data.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import cournot, one_shot
from jaxrl.algorithms.multiagent import mappo
from jaxrl.core.rollout import View
from jaxrl.core.transforms import with_temperature
from jaxrl.experiment import Arm, Claim, Quantity, Results, draw, every, final
from jaxrl.solvers.quantal_response import logit_equilibrium
from jaxrl.solvers.strategy_mixtures import fit, surprise, trembling

UNIT, ACTIONS = 0.75, 11
QUANTITY = UNIT * np.arange(ACTIONS)
NASH = 3.0  # (a - c) / ((n + 1) b), a quantity of the game
COURNOT, SIMULATED = "Cournot", "simulated duopolies"
BOUNDED, STANDARD, EQUILIBRIUM, NASH_PLAY = "bounded", "standard", "logit equilibrium", "Nash equilibrium"
LOW, HIGH = 0.02, 100.0  # temperatures in training, in units of profit
TEMPERATURES = (LOW, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, HIGH)
HIDDEN = {0.25: 0.3, 1.0: 0.5, 3.0: 0.2}  # temperature -> share of the pairs that are simulated
ROUNDS = 20  # plays of a pair
GRID = np.geomspace(0.05, 20, 25)  # temperatures of a fitted mixture
FIRMS = mappo.Config(
    learning_rate=3e-3,
    ent_coef=1.0,
    num_envs=512,
    num_steps=1,
    num_epochs=2,
    num_minibatches=1,
    centralized=False,
    clip_value=False,
    normalize_advantage=False,
    bounded=True,
)


@dataclass(frozen=True)
class Config:
    """Bounded learners in Cournot markets."""

    seeds: int = 10
    """Learners of each kind (count)."""
    env_steps: int = 500_000
    """Plays of firms (count)."""
    pairs: int = 400
    """Pairs of firms that are simulated, half of them held out (count)."""
    hidden: tuple[int, ...] = (64, 64)
    """Layer sizes of the networks."""


QUICK = Config(seeds=2, env_steps=1_024, pairs=20, hidden=(8,))


MARKET = cournot.make(2, ACTIONS - 1, UNIT, intercept=10.0, slope=1.0, cost=1.0)


def arms(config: Config) -> Iterator[Arm]:
    """The shared policy of firms, and firms who are rational: no entropy counts, and all see one temperature."""
    bounded = replace(FIRMS.annealed(config.env_steps), hidden=config.hidden)
    for learner, high, algorithm in ((BOUNDED, HIGH, bounded), (STANDARD, LOW, replace(bounded, ent_coef=0.0))):
        factors, env = {"market": COURNOT, "learner": learner}, with_temperature(MARKET, LOW, high)
        yield Arm(factors, mappo.make, env, algorithm, config.seeds, config.env_steps, show=("reward", "entropy"))


def policies(arm: Arm, results: Results, temperatures: np.ndarray) -> np.ndarray:
    """Returns the policy of the first firm at each temperature, float64[S, L, A]."""
    probabilities = mappo.make(arm.task, arm.config).probabilities
    assert probabilities is not None
    nothing = jnp.zeros((len(temperatures), 2), jnp.int32)
    logs = jnp.broadcast_to(jnp.log(jnp.asarray(temperatures, jnp.float32))[:, None], nothing.shape)
    view = View({"log_temperature": logs, "obs": nothing}, None, ())
    found = jax.jit(jax.vmap(lambda state: probabilities(state, view)))(results.run(**arm.factors).state)
    return np.asarray(found, np.float64)[:, :, 0]


def equilibria(temperatures: np.ndarray) -> np.ndarray:
    """Returns the strategy of a firm in the logit equilibrium of each temperature, float64[L, A]."""
    table = one_shot.table(MARKET)
    solve = jax.jit(jax.vmap(lambda precision: logit_equilibrium(table, precision).profile[0]))
    found = np.asarray(solve(1 / jnp.asarray(temperatures, jnp.float32)), np.float64)
    return found / found.sum(1, keepdims=True)


def simulated(draw: np.random.Generator, pairs: int, strategies: np.ndarray) -> np.ndarray:
    """Returns how often each pair of firms takes each action, int[P, A], in equilibria of hidden temperatures."""
    kinds = draw.choice(len(HIDDEN), pairs, p=list(HIDDEN.values()))
    return np.stack([draw.multinomial(2 * ROUNDS, strategies[kind]) for kind in kinds])


def fitted(draw: np.random.Generator, pairs: int, strategies: np.ndarray, family: np.ndarray, standard: np.ndarray) -> dict:
    """Returns how surprised models are by pairs that they were not fitted to, and the mean temperature of the mixture."""
    seen, held_out = np.split(simulated(draw, pairs, strategies), 2)
    found = {}
    for model, strategy in ((NASH_PLAY, np.isclose(QUANTITY, NASH) * 1.0), (STANDARD, standard)):
        found[model] = surprise(held_out, trembling(seen, strategy)[None], [1.0])
    weight = fit(seen, family).weight
    return found | {BOUNDED: surprise(held_out, family, weight), "mean": weight @ GRID}


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Compares policies with equilibria, and fits mixtures of them to simulated play.

    ``quantity``: that a firm makes on average at a temperature; ``error``: how far it is from the equilibrium's, as a share of
    it, and ``apart``: how far its policy is from the equilibrium's in total variation, on average over six temperatures;
    ``distance``: in total variation, of the policy at the highest temperature from the uniform one. ``surprise``: the mean
    negative log-likelihood of held-out choices, in nats; ``mean``: temperature of the fitted mixture.
    """
    bounded, standard = arms(config)
    count, hidden = len(TEMPERATURES), np.array(list(HIDDEN))
    learned, exact = policies(bounded, results, np.array([*TEMPERATURES, *GRID])), equilibria(np.array([*TEMPERATURES, *hidden]))
    quantity, best = learned[:, :count] @ QUANTITY, exact[:count] @ QUANTITY
    for place, temperature in enumerate(TEMPERATURES):
        yield {**bounded.factors, "temperature": temperature}, {"quantity": quantity[:, place, None]}
        yield {"market": COURNOT, "learner": EQUILIBRIUM, "temperature": temperature}, {"quantity": float(best[place])}
    error = np.abs(quantity / best - 1)[:, 1:-1].mean(1, keepdims=True)
    distance = np.abs(learned[:, count - 1] - 1 / ACTIONS).sum(1, keepdims=True) / 2
    apart = np.abs(learned[:, 1 : count - 1] - exact[1 : count - 1]).sum(2).mean(1, keepdims=True) / 2
    yield dict(bounded.factors), {"error": error, "apart": apart, "distance": distance}
    draw, plain = np.random.default_rng(results.root), policies(standard, results, np.array([LOW]))
    pairs = zip(learned[:, count:], plain[:, 0], strict=True)
    found = [fitted(draw, config.pairs, exact[count:], family, rational) for family, rational in pairs]
    for model in (BOUNDED, STANDARD, NASH_PLAY):
        mean = {"mean": np.array([[one["mean"]] for one in found])} if model == BOUNDED else {}
        yield {"market": SIMULATED, "learner": model}, {"surprise": np.array([[one[model]] for one in found]), **mean}


def figures(results: Results) -> None:
    """Draws the mean quantity by temperature."""
    lines = {
        name: results.along("quantity", "temperature", market=COURNOT, learner=learner)
        for name, learner in (("shared policy", BOUNDED), ("logit equilibrium", EQUILIBRIUM))
    }
    x_label, title = "Temperature (units of reward)", "One policy for firms of every temperature"
    draw.relation(results, "quantity", lines, x_label, "Mean quantity", x_scale="log", title=title)


def surprised(learner: str) -> Quantity:
    """The surprise at held-out choices."""
    return final("surprise", market=SIMULATED, learner=learner)


PAPER, OURS = "Evans and Ganesh (2024)", "the bar is ours"
MEAN = sum(temperature * share for temperature, share in HIDDEN.items())
CLAIMS = (
    Claim(
        "At a temperature of 0.02 two firms of the shared policy make 3 each, as in the Nash equilibrium, up to 3 %",
        f"{PAPER}; Cournot (1838), (a - c) / ((n + 1) b)",
        final("quantity", market=COURNOT, learner=BOUNDED, temperature=LOW).within(0.97 * NASH, 1.03 * NASH),
    ),
    Claim(
        f"At a temperature of {HIGH:g} the shared policy of firms is uniform, up to 0.05 in total variation",
        f"{PAPER}; {OURS}",
        final("distance", market=COURNOT, learner=BOUNDED) <= 0.05,
    ),
    Claim(
        "At six temperatures of 0.1 to 5 two firms of the shared policy make on average what they make in the logit equilibrium "
        "of each, with a mean error of 5 % or less",
        PAPER,
        final("error", market=COURNOT, learner=BOUNDED) <= 0.05,
    ),
    Claim(
        "At six temperatures of 0.1 to 5 the shared policy of two firms is within 0.05 of the logit equilibrium in total "
        "variation, on average",
        f"{PAPER}; {OURS}: mean quantities change little",
        final("apart", market=COURNOT, learner=BOUNDED) <= 0.05,
    ),
    Claim(
        "A mixture of temperatures that is fitted through the shared policy is less surprised at held-out play of bounded pairs "
        "than the Nash equilibrium, and than a standard learner, both of which may tremble",
        PAPER,
        every(surprised(BOUNDED) < surprised(learner) for learner in (NASH_PLAY, STANDARD)),
    ),
    Claim(
        f"The fitted mixture has the mean temperature of the hidden one, {MEAN:g}, up to 20 %",
        PAPER,
        final("mean", market=SIMULATED, learner=BOUNDED).within(0.8 * MEAN, 1.2 * MEAN),
    ),
)
