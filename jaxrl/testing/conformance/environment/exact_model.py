"""Requirements of a finite environment: its outcomes are distributions, agree with sampled steps, and with their table."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core import contracts
from jaxrl.core.environment import PyTree
from jaxrl.core.finite import TabularModel, from_table
from jaxrl.testing.conformance.comparison import first_difference, joined, matches, on_host, take
from jaxrl.testing.conformance.environment.subject import (
    BATCH,
    WHERE,
    Subject,
    batched_observations,
    batched_outcomes,
    batched_resets,
    batched_steps,
    require,
    reset_shapes,
)
from jaxrl.testing.conformance.frequencies import SIGNIFICANCE, chi_square, joint_chance

NUM_PAIRS, NUM_REPEATS = 8, 4  # states with an action, and batches sampled from each, for the test of frequencies


def check_outcomes_structure(subject: Subject) -> None:
    jax.eval_shape(partial(contracts.outcomes, WHERE, subject.env), reset_shapes(subject)[1])


def check_probabilities(subject: Subject) -> None:
    initial = subject.initial.probability[None]
    for where, probability in (("outcomes_fn", subject.outcomes.probability), ("initial_fn", initial)):
        total, lowest = probability.sum(-1), probability.min()
        require(lowest >= 0, f"{where} must return no negative probability", float(lowest), "Check the formula.")
        worst = float(total[np.abs(total - 1).argmax()])
        require(abs(worst - 1) < 1e-5, f"{where} must return probabilities that sum to 1", worst, "Check the formula.")


def check_observations_follow_from_states(subject: Subject) -> None:
    step = subject.played.step
    difference = first_difference(batched_observations(subject.env, step.state), step.obs)
    must = "observe_fn must observe what step_fn returned"
    require(not difference, must, difference, "Use one function for both.")


def check_steps_are_possible_outcomes(subject: Subject) -> None:
    step, outcomes = on_host(subject.played.step), subject.outcomes
    found = matches((step.state, step.reward, step.terminated), tuple(outcomes[1:])) & (outcomes.probability > 0)
    strange = np.flatnonzero(~found.any(-1))
    must = "step_fn must return a state, reward and termination that have positive probability in outcomes_fn"
    value = take((subject.played.state, subject.played.action, step), strange[0]) if len(strange) else None
    require(not len(strange), must, value, "Derive it with jaxrl.core.finite.finite.")


def check_frequencies(subject: Subject) -> None:
    env, played, initial = subject.env, subject.played, subject.initial
    # From the half with more outcomes, which has more to show.
    pairs = np.argsort(-(subject.outcomes.probability > 0).sum(-1), kind="stable")[: BATCH // 2 : BATCH // 2 // NUM_PAIRS]
    keys = jax.random.split(jax.random.fold_in(subject.key, 1), (1 + len(pairs), NUM_REPEATS, BATCH))
    resets = [on_host(batched_resets(env, each)[1]) for each in keys[0]]
    tests = [chi_square(joined(resets), initial.state, np.asarray(initial.probability))]
    for pair, pair_keys in zip(pairs, keys[1:], strict=True):
        state, action = take((played.state, played.action), np.full(BATCH, pair))
        step = joined([on_host(batched_steps(env, each, state, action)) for each in pair_keys])
        outcomes = take(subject.outcomes, pair)
        tests.append(chi_square((step.state, step.reward, step.terminated), tuple(outcomes[1:]), outcomes.probability))
    chance = joint_chance(tests)
    must = f"sampled steps and resets must be as frequent as their probabilities say (chi-square test at {SIGNIFICANCE})"
    require(chance >= SIGNIFICANCE, must, f"a chance of {chance:.1e}", "Derive both with jaxrl.core.finite.finite.")


def _going_on(model: TabularModel) -> np.ndarray:
    """Returns the states in which an episode can be under way, bool[X]: first ones, and those reached without terminating."""
    reached = (model.probability > 0) & ~model.terminated
    going_on = model.initial > 0
    going_on[model.next_state[reached]] = True
    return going_on


def check_terminal_states_are_absorbing(subject: Subject) -> None:
    env, model = subject.env, subject.model
    possible = model.probability > 0
    going_on = _going_on(model)
    ends = np.unique(model.next_state[possible & model.terminated & going_on[:, None, None]])
    ends = ends[~going_on[ends]]
    if not len(ends):
        return
    state, action = _pairs(subject, np.resize(ends, BATCH))
    outcomes = on_host(batched_outcomes(env, state, action))
    possible = outcomes.probability > 0
    stays = matches(on_host(state), outcomes.state) & outcomes.terminated
    must = "in a state that is reached by terminating only, every action must stay there and terminate"
    require(stays[possible].all(), must, "an action that leads on", "Return the state itself, terminated.")
    reward = outcomes.reward[possible]
    must = "in a state that is reached by terminating only, every reward must be 0"
    require(not reward.any(), must, reward[reward != 0][:3], "Pay the last reward on entering it.")


def check_table_agrees(subject: Subject) -> None:
    env, model = subject.env, subject.model
    again = from_table(model, env.max_steps)
    going_on = np.flatnonzero(_going_on(model))
    rows = np.resize(going_on[:: -(-len(going_on) // BATCH)], BATCH)
    state, action = _pairs(subject, rows)
    sampled = on_host(batched_outcomes(env, state, action))
    exact = on_host(batched_outcomes(again, jnp.asarray(rows, jnp.int32), action))
    exact = exact._replace(state=take(model.state, exact.state))
    possible = exact.probability > 0
    difference = first_difference(sampled.probability, exact.probability) or first_difference(
        take(tuple(sampled[1:]), possible), take(tuple(exact[1:]), possible)
    )
    must = "outcomes_fn must agree with its table"
    require(not difference, must, difference, "Let it compute the same in float32 and float64; use integers for states.")


def _pairs(subject: Subject, rows: np.ndarray) -> tuple[PyTree, jax.Array]:
    """Returns the states of these rows of the table, with a random legal action in each."""
    model = subject.model
    draws = np.random.default_rng(0).random((len(rows), model.num_actions)) * model.action_mask[rows]
    joint = np.stack(np.unravel_index(draws.argmax(-1), model.joint_shape), axis=-1).astype(np.int32)
    action = joint[:, 0] if subject.env.num_agents is None else joint
    return jax.tree.map(jnp.asarray, take(model.state, rows)), jnp.asarray(action)
