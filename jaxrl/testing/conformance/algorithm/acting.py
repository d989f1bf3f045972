"""How a policy acts: inside the action space, within the mask, and as often as its probabilities say."""

from typing import Any

import jax
import numpy as np

from jaxrl.core import masks
from jaxrl.testing.conformance.algorithm.subject import NUM_REPEATS, Subject, require
from jaxrl.testing.conformance.frequencies import SIGNIFICANCE, chi_square, joint_chance


def check_actions_in_space(subject: Subject) -> None:
    env: Any = subject.env
    acts = subject.acts
    for greedy, action in ((False, acts.sampled), (True, acts.greedy)):
        must = f"policy(state, {greedy}) must return actions in {env.action_space}"
        bounds = jax.tree.map(lambda leaf: (leaf.min().item(), leaf.max().item()), action)
        require(env.action_space.contains(action), must, f"values in {bounds}", "See jaxrl.core.spaces.from_unit for boxes.")


def check_actions_are_legal(subject: Subject) -> None:
    env: Any = subject.env
    acts = subject.acts
    for greedy, action in ((False, acts.sampled), (True, acts.greedy)):
        taken = np.asarray(masks.is_legal(env.action_space, acts.mask, action))
        must = f"policy(state, {greedy}) must take legal actions alone"
        found = f"{np.sum(~taken)} illegal ones of {taken.size}"
        require(taken.all(), must, found, "Give view.mask to the distribution, or to jaxrl.blocks.exploration.")


def check_probabilities_are_distributions(subject: Subject) -> None:
    acts = subject.acts
    total, lowest = acts.probabilities.sum(-1), acts.probabilities.min()
    require(lowest >= 0, "probabilities must not be negative", float(lowest), "Check the formula.")
    worst = float(total.flat[np.abs(total - 1).argmax()])
    require(abs(worst - 1) < 1e-4, "probabilities must sum to 1", worst, "Divide by their sum over the legal actions.")
    if acts.mask is not None:
        illegal = float(np.where(acts.mask, 0, acts.probabilities).max())
        require(illegal == 0, "probabilities must give illegal actions 0", illegal, "Use view.mask as policy does.")


def check_greedy_is_the_mode(subject: Subject) -> None:
    acts = subject.acts
    taken = np.take_along_axis(acts.probabilities, acts.greedy[..., None], axis=-1)[..., 0]
    short = float((acts.probabilities.max(-1) - taken).max())
    must = "policy(state, True) must take an action that is most probable"
    require(short <= 1e-5, must, f"one that is less probable by {short:.2g}", "Take the argmax of the probabilities.")


def check_frequencies(subject: Subject) -> None:
    acts = subject.acts
    actions = np.arange(acts.probabilities.shape[-1], dtype=np.int32)
    tests = []
    for view, repeats in zip(acts.views, acts.repeats, strict=True):
        stated = acts.probabilities[view].reshape(-1, len(actions))  # of each agent, if there are several
        for probability, taken in zip(stated, repeats.reshape(NUM_REPEATS, -1).T, strict=True):
            tests.append(chi_square(taken, actions, probability))
    chance = joint_chance(tests)
    must = f"sampled actions must be as frequent as probabilities say (chi-square test at {SIGNIFICANCE})"
    require(chance >= SIGNIFICANCE, must, f"a chance of {chance:.1e}", "Derive both from one distribution.")
