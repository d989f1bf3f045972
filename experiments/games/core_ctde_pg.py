"""Policy gradients of several agents: credit for what each one does, in the bar game, in climb and on a grid.

In the bar game 30 agents pick one of 4 nights, each of which is worth x exp(-x / 3) with x guests: at most 3.330064 in all, if 21
agents crowd into one night for the good of the others. Agents learn by REINFORCE, paid what all nights are worth, what their own
night is worth to them, or what all nights would lose without them; or by actor-critics that are paid what all nights are worth.

Source: Foerster et al. (2018), Counterfactual multi-agent policy gradients; Wolpert and Tumer (2002), Collective intelligence,
data routing and Braess' paradox; Lowe et al. (2017); Claus and Boutilier (1998) for climb.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.matrix_games import bar_game, named
from jaxrl.algorithms.multiagent import coma, independent_reinforce, maddpg
from jaxrl.blocks.advantages import counterfactual_baseline
from jaxrl.evaluation import Episodes
from jaxrl.experiment import Arm, Claim, Quantity, Results, area, draw, exact, final
from jaxrl.report import game_figures
from jaxrl.solvers import dynamics

BAR, GRID, SPREAD, CLIMB = "bar game", "spread grid", "simple spread", "climb"
SIZES = {"agents": 30, "nights": 4, "capacity": 3.0}
OPTIMUM, BALANCED = 3.330064, 2.469343
AGENTS, STANDING_STILL = 3, -47.8  # on simple spread: what a team earns in 25 steps, measured over 4000 episodes
REWARDS = {"difference reward": "difference", "shared reward": "team", "own reward": "own"}
# Chosen on root 1, each kind of learner for itself.
REINFORCE = independent_reinforce.Config(baseline_rate=0.05, num_steps=100)
RATES = {"difference reward": 3.0, "shared reward": 1.0, "own reward": 3.0}
PLAYING = coma.Config(ent_coef=0.0, num_steps=1, num_critic_steps=4, agent_ids=True, hidden=(64,))
ACTOR_CRITICS = {
    "own critic": replace(PLAYING, critic="own", learning_rate=4e-2, critic_learning_rate=1e-2),
    "counterfactual critic": replace(PLAYING, critic="counterfactual", learning_rate=2e-2, critic_learning_rate=3e-3),
}
IN_THE_BAR = (*REWARDS, *ACTOR_CRITICS)
# Policies that stay as they are, near uniform, and critics that learn what they earn.
WATCHING = coma.Config(
    learning_rate=0.0, critic_learning_rate=3e-3, ent_coef=0.0, gae_lambda=0.95, num_steps=48, num_critic_steps=8, agent_ids=True
)
CRITICS = {f"{critic} critic": replace(WATCHING, critic=critic) for critic in ("own", "central")}
FORCES = maddpg.Config(
    critic_learning_rate=2e-3, exploration_noise=0.2, num_envs=8, num_steps=4, num_rounds=125, learning_starts=2_000
)


@dataclass(frozen=True)
class Config:
    """Credit in the bar game, gradients on a grid, and the basins of climb."""

    seeds: int = 32
    """Independent teams of each kind (count)."""
    env_steps: int = 2_000
    """Plays of the bar game of each team that learns by REINFORCE (count)."""
    critic_plays: int = 10_000
    """Plays of the bar game of each team of actor-critics (count)."""
    grid_seeds: int = 16
    """Teams on the grid, which act at random (count)."""
    grid_steps: int = 100_000
    """Environment steps of each of them, from which its critics learn (count)."""
    spread_seeds: int = 5
    """Teams in the plane that learn by MADDPG (count)."""
    spread_steps: int = 200_000
    """Environment steps of each of them (count)."""
    blocks: int = 64
    """Blocks of experience by which the variance of a gradient is estimated (count)."""
    starts: int = 4_096
    """Pairs of policies in climb that follow the exact gradient (count)."""


QUICK = Config(
    seeds=2,
    env_steps=200,
    critic_plays=64,
    grid_seeds=2,
    grid_steps=1_600,
    spread_seeds=2,
    spread_steps=6_000,
    blocks=2,
    starts=16,
)


def arms(config: Config) -> Iterator[Arm]:
    """REINFORCE with three rewards and actor-critics with two kinds of credit in the bar game, and critics on the grid."""
    team = bar_game.make(**SIZES)
    seen = {"evaluators": (Episodes(team, num_episodes=64, modes=("sampled",)),), "show": ("sampled_return",)}
    for learner, reward in REWARDS.items():
        env, algorithm = bar_game.make(**SIZES, reward=reward), replace(REINFORCE, learning_rate=RATES[learner])
        yield Arm(
            {"task": BAR, "learner": learner}, independent_reinforce.make, env, algorithm, config.seeds, config.env_steps, **seen
        )
    for learner, algorithm in ACTOR_CRITICS.items():
        yield Arm({"task": BAR, "learner": learner}, coma.make, team, algorithm, config.seeds, config.critic_plays, **seen)
    grid = envs.make("spread_grid")
    for learner, algorithm in CRITICS.items():
        steps, shown = config.grid_steps, ("value_loss",)
        yield Arm({"task": GRID, "learner": learner}, coma.make, grid, algorithm, config.grid_seeds, steps, show=shown)
    spread = envs.make("simple_spread", num_agents=AGENTS, continuous=True)
    episodes = Episodes(spread, num_episodes=128, modes=("greedy",))
    shown = {"evaluators": (episodes,), "show": ("greedy_return",)}
    yield Arm(
        {"task": SPREAD, "learner": "MADDPG"}, maddpg.make, spread, FORCES, config.spread_seeds, config.spread_steps, **shown
    )


def ends(starts: int, key: jax.Array) -> np.ndarray:
    """Returns how often pairs of policies of climb end in each joint action, float[3, 3]: by exact steps from anywhere."""
    climb = partial(dynamics.policy_gradient, num_steps=5_000, step_size=0.1)
    first = jax.random.dirichlet(key, jnp.ones(3), (2, starts))
    last = dynamics.from_starts(climb, named.TABLES["climb"], list(np.asarray(first))).profile
    counts = np.zeros((3, 3))
    np.add.at(counts, tuple(strategy.argmax(-1) for strategy in last), 1.0)
    return counts / starts


def measure(config: Config, results: Results):
    """Measures how much gradients vary on the grid, and where the exact gradient of climb leads."""
    grid, keys = envs.make("spread_grid"), jax.random.split(jax.random.key(results.root), config.blocks)
    for learner, algorithm in CRITICS.items():
        factors = {"task": GRID, "learner": learner}
        of_seed = jax.jit(lambda state, algorithm=algorithm: coma.gradient_variance(grid, algorithm, state, keys))
        yield factors, {"gradient_variance": np.asarray(jax.vmap(of_seed)(results.run(**factors).state))[:, None]}
    for (row, column), share in np.ndenumerate(ends(config.starts, jax.random.key(results.root))):
        yield {"task": CLIMB, "learner": f"{'abc'[row]}{'abc'[column]}"}, {"share": share}


def figures(results: Results) -> None:
    """Draws what all nights are worth over time, how much gradients vary, and where pairs end in climb."""
    found = {learner: results.curves("sampled_return", task=BAR, learner=learner) for learner in IN_THE_BAR}
    lines = {learner: (curve.env_steps, curve.values / SIZES["agents"]) for learner, curve in found.items()}
    draw.relation(results, "bar_game", lines, "Plays", "Worth of all nights (reward units)", title="Bar game: whose credit helps")
    draw.ends(results, "gradient_variance", {"label": "Variance of the actor's gradient"}, task=GRID)
    draw.curves(
        results, "greedy_return", {"title": "MADDPG in the plane", "label": f"Return, sum over {AGENTS} agents"}, task=SPREAD
    )
    joint = [f"{row}{column}" for row in "abc" for column in "abc"]
    shares = {"exact policy gradient": [float(results.final("share", task=CLIMB, learner=pair)[0]) for pair in joint]}
    text = (
        "Pairs of policies begin anywhere, by a uniform law, and make 5000 steps of 0.1 along the gradient of what they expect "
        "to earn together. bc is no equilibrium: there the gradient vanishes on the way to bb."
    )
    title = "Where the policy gradient leads in climb"
    game_figures.bars(
        results.directory, "climb", shares, joint, "Share of starts", x_label="Joint action", title=title, text=text
    )


def baseline_gradient() -> float:
    """Returns the largest entry of the policy gradient of COMA's baselines, over all joint actions of three agents."""
    value_key, logit_key = jax.random.split(jax.random.key(0))
    value, logits = jax.random.normal(value_key, (4, 4, 4)), 2 * jax.random.normal(logit_key, (3, 4))
    joint = jnp.indices((4, 4, 4)).reshape(3, -1)  # [N, A ** N]

    def total(logits):
        log_prob = jax.nn.log_softmax(logits)
        taken = jnp.take_along_axis(log_prob, joint, 1)
        beside = [jnp.moveaxis(value, i, -1)[tuple(np.delete(joint, i, 0))] for i in range(3)]
        of_agents = [
            counterfactual_baseline(q, jnp.broadcast_to(jnp.exp(row), q.shape)) for q, row in zip(beside, log_prob, strict=True)
        ]
        return (jax.lax.stop_gradient(jnp.exp(taken.sum(0)) * jnp.stack(of_agents)) * taken).sum()

    return float(jnp.abs(jax.grad(total)(logits)).max())


def worth(learner: str, of=final) -> Quantity:
    """The worth of all nights to a kind of learner, in reward units."""
    return of("sampled_return", task=BAR, learner=learner) / SIZES["agents"]


def variability(learner: str) -> Quantity:
    """The variance of the gradient of a team on the grid."""
    return final("gradient_variance", task=GRID, learner=learner)


BUDGET = "After 2000 plays of the bar game"
CLAIMS = (
    Claim(
        f"{BUDGET} agents paid by difference rewards reach at least 93 % of the best worth of all nights, 3.330064",
        "Wolpert and Tumer (2002)",
        worth("difference reward") >= 0.93 * OPTIMUM,
    ),
    *(
        Claim(
            f"{BUDGET} all nights are worth less to agents paid by {whose} than to those paid by difference rewards",
            "Wolpert and Tumer (2002)",
            worth(learner) < worth("difference reward"),
        )
        for learner, whose in (("shared reward", "a shared reward"), ("own reward", "their own night"))
    ),
    Claim(
        f"{BUDGET} agents paid by their own night settle where guests are balanced, worth 2.469343, to 2 %",
        "Wolpert and Tumer (2002)",
        worth("own reward").within(0.98 * BALANCED, 1.02 * BALANCED),
    ),
    Claim(
        "While actor-critics learn the bar game from a shared reward, all nights are worth more to those with a counterfactual "
        "critic than to those with critics of their own",
        "Foerster et al. (2018)",
        worth("counterfactual critic", area) > worth("own critic", area),
    ),
    Claim(
        "On the grid, the gradient of a team that acts at random varies less with a central critic than with critics of its own",
        "Foerster et al. (2018), on central-V and IAC",
        variability("central critic") < variability("own critic"),
    ),
    Claim(
        "After 200,000 steps of simple spread with forces of any size MADDPG does better than agents who stand still, -47.8",
        "Lowe et al. (2017), cooperative navigation",
        final("greedy_return", task=SPREAD, learner="MADDPG") / AGENTS > STANDING_STILL,
    ),
    Claim(
        "The baselines of COMA have no policy gradient, to 1e-5, over all joint actions of three agents",
        "Foerster et al. (2018), equation 6",
        exact("largest entry of the gradient", baseline_gradient) <= 1e-5,
    ),
    Claim(
        "The best worth of all nights is 3.330064, with 3, 3, 3 and 21 guests",
        "exhaustive search",
        exact("optimum", lambda: bar_game.optimum(**SIZES)[0]).equals(OPTIMUM, 1e-6),
    ),
    Claim(
        "Balanced guests, 7, 7, 8 and 8, are worth 2.469343",
        "x exp(-x / 3), summed over the nights",
        exact("balanced worth", lambda: float(bar_game.worth(np.array([7, 7, 8, 8]), 3.0))).equals(BALANCED, 1e-6),
    ),
)
