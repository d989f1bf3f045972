"""Lewis signalling games: how often urns, policy gradients and a channel of bits find a code, and how often states are pooled.

Source: Lewis (1969); Skyrms (2010), Signals; Roth and Erev (1995); Argiento, Pemantle, Skyrms and Volkov (2009), Learning to
signal; Barrett (2006), Numerical simulations of the Lewis signaling game; Foerster et al. (2016) for the channel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from envs.extensive_games import lewis
from jaxrl.algorithms.multiagent import dial, independent_reinforce, roth_erev
from jaxrl.core.algorithm import require_policy
from jaxrl.core.rollout import View
from jaxrl.evaluation import Episodes, Signalling, TeamReturn
from jaxrl.evaluation.signalling import mutual_information, topographic_similarity
from jaxrl.experiment import Arm, Claim, Results, draw, final, share
from jaxrl.report import game_figures

ROTH_EREV, REINFORCE, DIAL = "Roth-Erev urns", "REINFORCE", "DIAL"
LEARNERS = {
    ROTH_EREV: (roth_erev.make, roth_erev.Config()),
    REINFORCE: (independent_reinforce.make, independent_reinforce.Config(learning_rate=0.1, gamma=1.0)),
}
STATES = (2, 3, 4)
PAIRS = (*((ROTH_EREV, states) for states in STATES), (REINFORCE, 3))
# The one signal of the game says nothing: two bits of a channel take its place.
MUTE = lewis.make(4, signals=1)
CHANNEL = dial.Config(learning_rate=2e-3, num_steps=2, message_size=2, mute_inactive=False, hidden=(32,), memory_size=32)
# Four states are two attributes of two values each, and so are four signals: how many of the two differ.
HAMMING = np.array([[(i ^ j).bit_count() for j in range(4)] for i in range(4)], float)


@dataclass(frozen=True)
class Config:
    """Pairs of sender and receiver in games of two, three and four states."""

    seeds: int = 2000
    """Pairs of each kind in each game (count)."""
    env_steps: int = 40_000
    """Environment steps of each pair, two a play: first the signal, then the act (count)."""
    channels: int = 100
    """Pairs with a channel of bits (count)."""
    channel_steps: int = 128_000
    """Environment steps of each of these (count)."""


QUICK = Config(seeds=8, env_steps=800, channels=2, channel_steps=640)


def arms(config: Config) -> Iterator[Arm]:
    """Urns in each game, policy gradients in that of three states, and a channel in that of four."""
    for learner, states in PAIRS:
        env, (make, algorithm) = lewis.make(states), LEARNERS[learner]
        distances = HAMMING if states == 4 else None
        yield Arm(
            {"learner": learner, "states": states},
            make,
            env,
            algorithm,
            config.seeds,
            env_steps=config.env_steps,
            evaluators=(TeamReturn.of(env), Signalling.of(env, meanings=distances, signals=distances)),
            show=("sampled_exact_return", "sampled_information"),
        )
    heard, steps = (Episodes(MUTE, num_episodes=512, modes=("greedy",)),), config.channel_steps
    yield Arm({"learner": DIAL, "states": 4}, dial.make, MUTE, CHANNEL, config.channels, env_steps=steps, evaluators=heard)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Measures the codes of the channel as ``Signalling`` does those of signals, of the greedy policy."""
    team, policy_of = dial.Team(MUTE, CHANNEL), require_policy(DIAL, dial.make(MUTE, CHANNEL))
    obs = jnp.stack([1 + jnp.arange(4), jnp.zeros(4, jnp.int32)], -1)

    def measures(state):
        sent = policy_of(state, True)(jax.random.key(0), View(obs, None, team.silence(4))).memory.message[:, 0]
        code = jax.nn.one_hot(sent.astype(jnp.int32) @ jnp.array([2, 1]), 4)
        similarity = topographic_similarity(code, HAMMING, HAMMING)
        return {"message_information": mutual_information(jnp.full(4, 0.25), code), "message_similarity": similarity}

    found = jax.tree.map(lambda values: np.asarray(values)[:, None], jax.jit(jax.vmap(measures))(results.states(learner=DIAL)))
    yield {"learner": DIAL, "states": 4}, results.marked(found, learner=DIAL)


def figures(results: Results) -> None:
    """Draws success over time, where the pairs end, and how the codes are."""
    draw.curves(results, "sampled_exact_return", {"title": "Expected success of pairs of sender and receiver"})
    edges, heights = np.linspace(0.2, 1, 17), {}
    for learner, states in PAIRS:
        ends = np.clip(results.final("sampled_exact_return", learner=learner, states=states), 0.2, 1)
        heights[f"{learner}, {states} states"] = np.histogram(ends, edges)[0] / len(ends)
    game_figures.bars(
        results.directory,
        "success",
        heights,
        [f"{edge:.2f}" for edge in edges[:-1]],
        "Share of pairs",
        x_label="Expected success at the end, from this number on",
        title="Where pairs of sender and receiver end",
        text="Exact success of the present pair of policies; partly pooling codes of three states earn 2/3.",
    )
    draw.curves(results, "greedy_agent_return/0", {"title": "Success of pairs with two bits, four states"}, learner=DIAL)
    draw.ends(results, "sampled_information", {"title": "Bits about the state in a signal"})
    draw.ends(results, "greedy_topographic_similarity", {"title": "Topographic similarity of codes of four states"}, states=4)


CLAIMS = (
    Claim(
        "With two states Roth-Erev urns succeed in at least 97 % of plays, the mean of all pairs after 20,000 plays",
        "500 runs of another program: 0.991; with probability 1 in the limit, Argiento et al. (2009)",
        final("sampled_exact_return", learner=ROTH_EREV, states=2) >= 0.97,
    ),
    Claim(
        "With three states between 75 and 97 % of pairs of Roth-Erev urns succeed in more than 90 % of plays after 20,000 plays",
        "500 runs of another program: 85 %; Barrett (2006)",
        share(final("sampled_exact_return", learner=ROTH_EREV, states=3) > 0.9).within(0.75, 0.97),
    ),
    Claim(
        "The codes of Roth-Erev urns for two attributes have a mean topographic similarity within 0.05 of 0",
        "symmetry: no urn knows of attributes",
        final("greedy_topographic_similarity", learner=ROTH_EREV, states=4).within(-0.05, 0.05),
    ),
)
