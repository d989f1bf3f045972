"""Policy gradients where only chance helps: REINFORCE with and without a baseline in the short corridor; and A2C on CartPole.

Three cells look alike and the middle one swaps its two actions, so that no deterministic policy arrives. A policy that goes right
with probability p is worth -2 (2 - p) / (p (1 - p)), at most -(6 + 4 sqrt 2) at p = 2 - sqrt 2. The learners begin at p = 0.05.

A2C is the preset of PPO that makes one step on each short block of several environments: its gradient is that of REINFORCE with a
critic as its baseline, on n-step returns.

Source: Sutton and Barto (2018), example 13.1 and figures 13.1 and 13.2; Williams (1992); A2C: Mnih et al. (2016).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.tabular import reinforce
from jaxrl.core.finite import tabulate
from jaxrl.evaluation import Episodes, ExactValue
from jaxrl.experiment import Arm, Claim, Results, draw, exact, final
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation

BEST = 2 - np.sqrt(2)  # the probability of going right
OPTIMUM = -(6 + 4 * np.sqrt(2))
RIGHT = 1  # the action
PLAIN = reinforce.Config(learning_rate=2.0**-13, baseline_rate=0.0, gamma=1.0)
LEARNERS = {
    "no baseline": PLAIN,
    "baseline": replace(PLAIN, learning_rate=2.0**-9, baseline_rate=2.0**-6),
}


A2C = replace(ppo.A2C, learning_rate=2e-3)  # chosen with seeds of another root than the one the claims are checked with
CARTPOLE = {"policy": "learns on CartPole", "method": "A2C"}


@dataclass(frozen=True)
class Config:
    """REINFORCE with and without a baseline in the short corridor, A2C on CartPole."""

    seeds: int = 256
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 20_000
    """Environment steps of each learner (count): some 1000 episodes without a baseline, 1600 with one."""
    a2c_seeds: int = 8
    """Independent learners on CartPole (count)."""
    a2c_env_steps: int = 500_000
    """Environment steps of each of them, over which their learning rate falls to 0 (count)."""


QUICK = Config(seeds=8, env_steps=2_000, a2c_seeds=2, a2c_env_steps=2_000)


def first_state(key: jax.Array) -> reinforce.State:
    """Goes right with probability 0.05."""
    state = reinforce.make(envs.make("short_corridor"), PLAIN).init(key)
    return replace(state, theta=jnp.log(jnp.array([[0.95, 0.05]], jnp.float32)))


def arms(config: Config) -> Iterator[Arm]:
    """Both learners from p = 0.05, and at a policy that stays uniform, where their gradients have the same mean; and A2C."""
    env = envs.make("short_corridor")
    for policy, initial in (("learns", first_state), ("stays uniform", None)):
        for name, learner in LEARNERS.items():
            algorithm = learner if initial else replace(learner, learning_rate=0.0)
            factors = {"policy": policy, "method": name}
            evaluators = (ExactValue.of(env, 1.0),)
            yield Arm(
                factors, reinforce.make, env, algorithm, config.seeds, config.env_steps, initial=initial, evaluators=evaluators
            )
    cartpole, learner = envs.make("cartpole"), A2C.annealed(config.a2c_env_steps)
    steps = {"env_steps": config.a2c_env_steps, "evaluators": (Episodes(cartpole),)}
    yield Arm(CARTPOLE, ppo.make, cartpole, learner, config.a2c_seeds, **steps, show=("greedy_return", "sampled_return"))


def measure(config: Config, results: Results):
    """Measures the probability of going right, and the mean square of the gradient of an episode."""
    for method in LEARNERS:
        theta = results.states(policy="learns", method=method).theta
        yield {"policy": "learns", "method": method}, {"right": jax.nn.softmax(theta)[:, 0, RIGHT, None]}
        square = results.values("gradient_square", "metrics", policy="stays uniform", method=method)
        episodes = results.values("episodes", "metrics", policy="stays uniform", method=method)
        total = np.where(episodes > 0, square * episodes, 0.0)  # an update without an episode has no square; another NaN stays
        half = square.shape[1] // 2  # once the baseline is learned
        mean = total[:, half:].sum(1) / episodes[:, half:].sum(1)
        yield {"policy": "stays uniform", "method": method}, {"square": mean[:, None]}


def figures(results: Results) -> None:
    """Draws what the learned policies are worth, exactly, while learning, and where they end."""
    options = {"optimum": OPTIMUM, "title": "Short corridor", "label": "Exact value of the policy (reward units)"}
    draw.curves(results, "sampled_exact_value", options, policy="learns")
    draw.ends(results, "right", {"label": "Probability of going right"}, policy="learns")
    draw.curves(results, "greedy_return", {"optimum": 500.0, "title": "A2C on CartPole"}, **CARTPOLE)


def worth(method: str):
    """The exact value of the policy at the end."""
    return final("sampled_exact_value", policy="learns", method=method)


def value_of(right: float) -> float:
    """The exact value of a policy that goes right with this probability."""
    with jax.enable_x64(True):
        model = tabulate(envs.make("short_corridor"))
        policy = jnp.broadcast_to(jnp.array([1 - right, right]), (model.num_states, 2))
        return float(policy_evaluation(model, policy, 1.0).start_value(model))


CLAIMS = (
    Claim(
        "After 20,000 steps in the short corridor, the policies of REINFORCE with a baseline are worth at least -12.5 on average",
        "Sutton and Barto (2018), figure 13.2",
        worth("baseline") >= -12.5,
    ),
    Claim(
        "They go right with a probability of 0.586 on average, up to 0.05",
        "Sutton and Barto (2018), example 13.1",
        final("right", policy="learns", method="baseline").within(BEST - 0.05, BEST + 0.05),
    ),
    Claim(
        "After 20,000 steps the policies with a baseline are worth more than those without",
        "Sutton and Barto (2018), figure 13.2",
        worth("baseline") - worth("no baseline") > 0.0,
    ),
    Claim(
        "At the uniform policy, the square of an episode's gradient is smaller with a baseline: its mean is the same, so its "
        "variance is smaller",
        "Sutton and Barto (2018), section 13.4",
        final("square", policy="stays uniform", method="no baseline") - final("square", policy="stays uniform", method="baseline")
        > 0.0,
    ),
    Claim(
        "After half a million steps on CartPole, A2C's greedy policy keeps the pole up for at least 400 of 500 steps on average",
        "Mnih et al. (2016)",
        final("greedy_return", **CARTPOLE) >= 400.0,
    ),
    *(
        Claim(text, "Sutton and Barto (2018), example 13.1", exact(name, lambda right=right: value_of(right)).equals(value, 1e-4))
        for text, name, right, value in (
            ("The best policy is worth -11.656854", "value at p = 0.586", BEST, OPTIMUM),
            ("Going right 95 % of the time is worth -44.2105", "value at p = 0.95", 0.95, -44.2105),
            ("Going right 5 % of the time is worth -82.1053", "value at p = 0.05", 0.05, -82.1053),
        )
    ),
)
