"""Every argument of solvers, blocks, measures and price sources: one of another kind, shape or range is a typed error.

Each function is called with sound arguments of which one is replaced. The error must name it, so that no other check answers.
"""

import functools
import re
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import envs
from envs.matrix_games import named
from envs.trading import prices
from jaxrl.algorithms.preferences import losses as preference_losses
from jaxrl.blocks import losses, returns
from jaxrl.blocks.options import primitive
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.evaluation import finance
from jaxrl.evaluation.coverage import cover_steps
from jaxrl.solvers import (
    alpha_rank,
    cfr,
    cooperative,
    dynamics,
    equilibria,
    evolutionary,
    extensive,
    graph_drawing,
    hedonic,
    kl_optimal,
    lemke_howson,
    markov_chain,
    markov_games,
    memory_one,
    normal_form,
    quantal_response,
    random_matching,
    sink_equilibria,
    stackelberg,
    zero_sum,
)
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.backups import action_values, greedy_policy
from jaxrl.solvers.mdp.entropic import certainty_equivalents, entropic_value_iteration
from jaxrl.solvers.mdp.laplacian import eigen_options, laplacian
from jaxrl.solvers.mdp.policy_evaluation import policy_chain, policy_evaluation, return_of_policy
from jaxrl.solvers.mdp.policy_iteration import policy_iteration
from jaxrl.solvers.mdp.value_iteration import value_iteration

NAN, INF = np.nan, np.inf
NO_NUMBER = ("a", None, 1j, {}, [0.5, "a"], [[0.5], [0.5, 0.5]])
SHARE = (*NO_NUMBER, NAN, INF, -0.1, 1.5, True)  # in [0, 1]
POSITIVE = (*NO_NUMBER, NAN, 0.0, -1.0, True)
FINITE = (*POSITIVE, INF)
COUNT = ("a", None, NAN, 2.5, 0, -1, True, [3])
INDEX = ("a", None, NAN, 0.5, -1, 99, True, [0])
NUMBERS = ("a", 1j, [[0.5], [0.5, 0.5]], ["a", "b"])
FLAGS = (*NUMBERS, np.zeros(3), np.zeros(3, int))
TABLE = (*NUMBERS, NAN, 1.0, np.zeros(0), np.full((2, 2, 2), NAN), np.full((2, 2, 2), INF), np.zeros((2, 0, 2)))
LAW = (*NUMBERS, 1.0, np.zeros(0), np.full((2, 2), NAN), np.full((2, 2), INF), np.full((2, 2), 0.6), [[1.5, -0.5]] * 2)


class Door(NamedTuple):
    """call: the function. sound: arguments that it accepts. unsound: values that it must refuse, by argument.

    names: a regular expression for what messages call an argument that has another name there.
    """

    call: Any
    sound: dict
    unsound: dict
    names: dict = {}


@functools.cache
def corridor():
    return tabulate(envs.make("corridor"))


@functools.cache
def pennies():
    return tabulate(envs.make("matching_pennies"))


@functools.cache
def kuhn():
    return extensive.from_environment(envs.make("kuhn"))


def policy_of(model):
    return np.full((model.num_states, model.num_actions), 1 / model.num_actions)


MIXED = [np.full(2, 0.5)] * 2
STEPS = dict(reward=np.zeros(3), next_value=np.zeros(3), terminated=np.zeros(3, bool), truncated=np.zeros(3, bool), gamma=0.9)
SEQUENCE = (*NUMBERS, 0.0, np.zeros(0), np.zeros(2), np.zeros((3, 2)))
OF_STEPS = dict(reward=SEQUENCE, next_value=SEQUENCE, terminated=FLAGS, truncated=FLAGS, gamma=SHARE)
ITEM = dict(value=0.5, target=1.0)
OF_ITEM = dict(value=NUMBERS, target=NUMBERS)
RECORD = np.linspace(-0.1, 0.1, 12)
OF_RECORD = (*NUMBERS, 0.5, [0.1, INF])
PROFILE = dict(names=dict(profile="strateg", joint="joint", payoff="payoff", starts="start"))


def games():
    payoff = named.CHICKEN
    for name in ("regrets", "nash_conv", "exploitability", "expected_payoffs"):
        yield (
            name,
            Door(getattr(normal_form, name), dict(payoff=payoff, profile=MIXED), dict(payoff=TABLE, profile=LAW), **PROFILE),
        )
    sound = dict(payoff=payoff, profile=MIXED, player=0)
    unsound = dict(payoff=TABLE, profile=(*NUMBERS, [[0.5, NAN]] * 2), player=INDEX)
    yield "action_payoffs", Door(normal_form.action_payoffs, sound, unsound, **PROFILE)
    yield "normal_form.best_response", Door(normal_form.best_response, sound, unsound, **PROFILE)
    for name in ("correlated_regrets", "coarse_correlated_regrets"):
        sound, unsound = dict(payoff=payoff, joint=np.full((2, 2), 0.25)), dict(payoff=TABLE, joint=LAW)
        yield name, Door(getattr(normal_form, name), sound, unsound, **PROFILE)
    course = dict(payoff=TABLE, num_steps=COUNT, num_records=COUNT, start=[x for x in LAW if x is not None])
    sound = dict(payoff=payoff, num_steps=4, num_records=1, start=MIXED)
    alias = dict(names=dict(start="strateg"))
    yield "fictitious_play", Door(dynamics.fictitious_play, sound, course, **alias)
    rates = course | dict(step_size=FINITE)
    mutations = rates | dict(mutation=(*NO_NUMBER, NAN, INF, -0.1))
    yield "replicator", Door(dynamics.replicator, sound | dict(step_size=0.01, mutation=0.1), mutations, **alias)
    for name in ("multiplicative_weights", "extragradient", "mirror_prox"):
        yield name, Door(getattr(dynamics, name), sound | dict(step_size=0.1), rates, **alias)
    rates = course | dict(temperature=FINITE)
    yield "smooth_fictitious_play", Door(dynamics.smooth_fictitious_play, sound | dict(temperature=0.1), rates, **alias)
    priors = dict(payoff=TABLE, prior=[x for x in LAW if x is not None])
    yield "sink_equilibria", Door(sink_equilibria.sink_equilibria, dict(payoff=payoff, prior=np.full((2, 2), 0.25)), priors)
    selection = dict(payoff=TABLE, alpha=FINITE, population=(*COUNT, 1))
    for name in ("alpha_rank", "alpha_rank_of_population"):
        yield name, Door(getattr(alpha_rank, name), dict(payoff=payoff, alpha=1.0, population=10), selection)
    noises = dict(payoff=TABLE, noise=(*SHARE, 0.0, 0.6))
    yield "alpha_rank_of_limit", Door(alpha_rank.alpha_rank_of_limit, dict(payoff=payoff, noise=0.1), noises)
    tolerances = dict(payoff=TABLE, tolerance=(*NO_NUMBER, NAN, -1.0))
    stable = evolutionary.evolutionarily_stable_strategies
    yield "evolutionarily_stable_strategies", Door(stable, dict(payoff=payoff, tolerance=1e-9), tolerances)
    mixes = tolerances | dict(strategy=(*NUMBERS, [1.0], [0.5, NAN], [2.0, -1.0], [0.4, 0.4]))
    yield "stability", Door(evolutionary.stability, dict(payoff=payoff, strategy=[0.5, 0.5], tolerance=1e-9), mixes)
    shares = (*NUMBERS, [0.5, 0.5], [[0.5, NAN]], [[0.4, 0.4]], [[1.0]])
    sound = dict(payoff=payoff, starts=[[0.5, 0.5]], rests=[[0.5, 0.5]], num_steps=2, radius=0.1)
    unsound = dict(payoff=TABLE, starts=shares, rests=shares, num_steps=COUNT, radius=(*NO_NUMBER, NAN, 0.0, 1.0))
    yield "basins", Door(evolutionary.basins, sound, unsound)
    for name in ("pure_commitment", "mixed_commitment"):
        yield name, Door(getattr(stackelberg, name), dict(payoff=payoff), dict(payoff=TABLE))
    rates = dict(payoff=TABLE, precision=(*NO_NUMBER, NAN, INF, -1.0, [1.0]), max_steps=COUNT)
    yield "logit_equilibrium", Door(quantal_response.logit_equilibrium, dict(payoff=payoff, precision=1.0, max_steps=99), rates)
    sound = dict(payoff=[[np.eye(2)]], players=[2], tolerance=1e-9)
    tables = (*NUMBERS, 1.0, [[np.zeros((2, 3))]], [[np.full((2, 2), NAN)]], [[np.eye(2), np.eye(2)]], [[np.zeros((0, 0))]])
    unsound = dict(payoff=tables, players=("a", None, 2, [1], [2, 2], [2.5], [-1], [True]), tolerance=(*NO_NUMBER, NAN, -1.0))
    yield "random_matching", Door(random_matching.pure_equilibria, sound, unsound)
    sound = dict(payoff=payoff, levels=2, start=MIXED)
    levels = dict(payoff=TABLE, levels=COUNT, start=[x for x in LAW if x is not None])
    yield "level_k", Door(quantal_response.level_k, sound, levels, **alias)
    levels |= dict(tau=(*NO_NUMBER, NAN, INF, -1.0, [1.0]))
    yield "cognitive_hierarchy", Door(quantal_response.cognitive_hierarchy, sound | dict(tau=1.0), levels, **alias)
    sound = dict(payoff=payoff, num_steps=4, num_records=1, start=MIXED)
    worths = dict(worth=(*NUMBERS, NAN, 1.0, np.zeros(0), np.zeros(3), np.array([0, NAN]), np.array([0, INF]), np.ones(4)))
    for name in ("shapley_value", "banzhaf_value", "least_core", "nucleolus"):
        yield name, Door(getattr(cooperative, name), dict(worth=np.arange(4.0)), worths)
    opinions = dict(values=(*NUMBERS, NAN, 1.0, np.zeros(2), np.zeros((2, 3)), np.full((2, 2), NAN)))
    for name in ("additive", "fractional", "modified_fractional"):
        yield name, Door(getattr(hedonic, name), dict(values=np.eye(2)), opinions)
    utilities = dict(utility=(*NUMBERS, NAN, 1.0, np.zeros(2), np.zeros((2, 3)), np.full((2, 4), INF)))
    yield "structures", Door(hedonic.structures, dict(utility=np.zeros((2, 4))), utilities)
    yield "partitions", Door(hedonic.partitions, dict(players=2), dict(players=(*COUNT, 10)))
    draws = functools.partial(cooperative.shapley_samples, jax.random.key(0), lambda members: members.sum() * 1.0)
    yield "shapley_samples", Door(draws, dict(players=2, num_orders=2), dict(players=COUNT, num_orders=(*COUNT, 1)))
    powers = course | dict(averaging=(*NO_NUMBER, NAN, INF))
    yield "regret_matching", Door(dynamics.regret_matching, sound | dict(averaging=0.0), powers, **alias)
    sound = dict(payoff=payoff, label=0, max_pivots=9)
    yield "lemke_howson", Door(lemke_howson.lemke_howson, sound, dict(payoff=TABLE, label=INDEX, max_pivots=COUNT))
    sound = dict(payoff=np.eye(2), row_mask=np.ones(2, bool), column_mask=np.ones(2, bool), max_pivots=9)
    masks = ("a", np.ones(2), np.ones(3, bool), [1, 0], np.zeros(2, bool))
    unsound = dict(payoff=(*TABLE, [[NAN, 0.0]] * 2), row_mask=masks, column_mask=masks, max_pivots=COUNT)
    yield "zero_sum", Door(zero_sum.solve, sound, unsound)
    sound = dict(payoff=payoff, tolerance=1e-9)
    unsound = dict(payoff=TABLE, tolerance=(*NO_NUMBER, NAN, -1.0))
    yield "support_enumeration", Door(equilibria.support_enumeration, sound, unsound)
    objectives = ("fairest", ["a", "b"], np.ones(3), np.full((2, 2), NAN))
    unsound = dict(payoff=TABLE, objective=objectives)
    yield "correlated_equilibrium", Door(equilibria.correlated_equilibrium, dict(payoff=payoff, objective="egalitarian"), unsound)
    unsound = dict(payoff=TABLE, directions=COUNT)
    yield "correlated_payoffs", Door(equilibria.correlated_payoffs, dict(payoff=payoff, directions=3), unsound)
    strategy = memory_one.of_cooperation(0.5, (0.5,) * 4)
    sound = dict(payoff=payoff, profile=[strategy] * 2, gamma=0.9)
    unsound = dict(payoff=TABLE, profile=LAW, gamma=(*SHARE, 1.0))
    yield "memory_one.values", Door(memory_one.values, sound, unsound, **PROFILE)
    unsound = dict(first=SHARE, after=("a", None, 0.5, (0.5,) * 3, (0.5, 0.5, 0.5, 1.5), (0.5, 0.5, 0.5, NAN)))
    yield "of_cooperation", Door(memory_one.of_cooperation, dict(first=0.5, after=(0.5,) * 4), unsound)
    strategy = np.asarray(extensive.uniform_strategy(kuhn()))
    for name in ("realizations", "expected_payoffs", "regrets", "nash_conv", "exploitability"):
        call = functools.partial(getattr(extensive, name), kuhn())
        yield f"extensive.{name}", Door(call, dict(strategy=strategy), dict(strategy=(*LAW, 2 * strategy, NAN * strategy)))
    for name in ("counterfactual_values", "best_response"):
        call = functools.partial(getattr(extensive, name), kuhn())
        sound, unsound = dict(strategy=strategy, player=0), dict(strategy=(*LAW, 2 * strategy), player=INDEX)
        yield f"extensive.{name}", Door(call, sound, unsound)
    powers = [
        cfr.Rule(**{name: value}) for name in ("averaging", "positive_power", "negative_power") for value in ("a", 1j, NAN, -INF)
    ]
    rules = [*powers, *(cfr.Rule(sampling="outcome", exploration=value) for value in ("a", 1j, NAN, INF, 0.0, 1.1))]
    unsound = dict(num_iterations=COUNT, num_records=COUNT, rule=rules)
    sound = dict(num_iterations=4, num_records=1, rule=cfr.Rule(sampling="outcome"), key=jax.random.key(0))
    names = {"rule": "averaging|positive_power|negative_power|exploration"}
    yield "cfr", Door(functools.partial(cfr.cfr, kuhn()), sound, unsound, names)


def models():
    tolerance, sweeps = (*NO_NUMBER, NAN, -1.0, True), (*NO_NUMBER, NAN, 0, -1)
    sound = dict(model=corridor(), gamma=0.9, tolerance=1e-3, max_sweeps=9)
    unsound = dict(gamma=SHARE, tolerance=tolerance, max_sweeps=sweeps)
    yield "value_iteration", Door(value_iteration, sound, unsound)
    yield "host.solve", Door(host.solve, sound, unsound | dict(max_sweeps=COUNT))
    entropic = {name: value for name, value in sound.items() if name != "gamma"} | dict(risk_aversion=1.0)
    unsound = dict(risk_aversion=FINITE, tolerance=tolerance, max_sweeps=sweeps)
    yield "entropic_value_iteration", Door(entropic_value_iteration, entropic, unsound)
    unsound = dict(gamma=SHARE, max_improvements=sweeps)
    yield (
        "policy_iteration",
        Door(policy_iteration, dict(model=corridor(), gamma=0.9, max_improvements=9), unsound),
    )
    value = (*NUMBERS, 1.0, np.zeros(0), np.zeros(3))
    states = np.zeros(corridor().num_states)
    unsound = dict(value=value, gamma=SHARE)
    yield "action_values", Door(action_values, dict(model=corridor(), value=states, gamma=0.9), unsound)
    sound, unsound = dict(model=corridor(), value=states, risk_aversion=1.0), dict(value=value, risk_aversion=FINITE)
    yield "certainty_equivalents", Door(certainty_equivalents, sound, unsound)
    policy = policy_of(corridor())
    unsound = dict(values=(*NUMBERS, 1.0, np.zeros(3), NAN * policy))
    yield "greedy_policy", Door(greedy_policy, dict(model=corridor(), values=policy), unsound)
    laws = (*LAW, 2 * policy, NAN * policy, policy[:1])
    sound = dict(model=corridor(), policy=policy, gamma=0.9, beyond=states, max_steps=9)
    unsound = dict(policy=laws, gamma=SHARE, beyond=(*NUMBERS, 1.0, NAN * states, states[:1]), max_steps=COUNT)
    unsound["max_steps"] = [count for count in COUNT if count is not None]
    yield "policy_evaluation", Door(policy_evaluation, sound, unsound)
    sound, unsound = dict(model=corridor(), policy=policy, gamma=0.9), dict(policy=laws, gamma=SHARE)
    yield "policy_chain", Door(policy_chain, sound, unsound)
    yield "host.evaluate", Door(host.evaluate, sound, unsound)
    steps = ("a", None, NAN, 2.5, -1, True, [3])
    sound, unsound = dict(model=corridor(), policy=policy, num_steps=3), dict(policy=laws, num_steps=steps)
    yield "return_of_policy", Door(return_of_policy, sound, unsound)
    unsound = dict(gamma=SHARE, num_steps=steps)
    yield "host.finite_horizon", Door(host.finite_horizon, dict(model=corridor(), gamma=0.9, num_steps=3), unsound)
    chain = markov_chain.Chain(np.zeros((1, 2), np.int32), np.array([[0.5, 0.4]]), np.array(0.9))
    sound = dict(chain=chain, paid=np.ones((1, 1)), beyond=np.ones((1, 1)), negligible=0.1, max_steps=9)
    unsound = dict(
        paid=(1.0, np.ones(2), np.ones((2, 1)), [["a"]], np.full((1, 1), NAN)),
        beyond=(*NUMBERS, 1.0, np.ones(2), np.full((1, 1), NAN)),
    )
    unsound |= dict(negligible=[share for share in SHARE if share is not None], max_steps=("a", NAN, 2.5, 0, True))
    yield "discounted_sums", Door(markov_chain.discounted_sums, sound, unsound, names=dict(paid="paid|payments"))
    policies = np.full((pennies().num_states, 2, 2), 0.5)
    laws = (*LAW, 2 * policies, NAN * policies, policies[0])
    sound = dict(model=pennies(), policies=policies, gamma=0.9, tolerance=1e-3)
    unsound = dict(policies=laws, gamma=SHARE, tolerance=tolerance)
    names = dict(names=dict(policies="policy"))
    for name in ("regrets", "nash_conv", "exploitability"):
        yield f"markov_games.{name}", Door(getattr(markov_games, name), sound, unsound, **names)
    sound, unsound = sound | dict(max_sweeps=9), unsound | dict(max_sweeps=sweeps)
    yield "markov_games.evaluate", Door(markov_games.evaluate, sound, unsound, **names)
    yield "best_response", Door(markov_games.best_response, sound | dict(player=0), unsound | dict(player=INDEX), **names)
    yield "for_player", Door(markov_games.for_player, dict(model=pennies(), player=0), dict(player=INDEX))
    sound = dict(model=pennies(), gamma=0.9, tolerance=1e-3, max_sweeps=9)
    yield "shapley", Door(markov_games.shapley, sound, dict(gamma=SHARE, tolerance=tolerance, max_sweeps=sweeps))


def graphs():
    matrices = (*NUMBERS, 1.0, np.zeros((2, 3)), np.eye(2, k=1), np.full((2, 2), NAN), -np.ones((2, 2)))
    yield "laplacian", Door(laplacian, dict(joins=np.ones((3, 3))), dict(joins=matrices))
    vectors = np.arange(float(corridor().num_states))[:, None]
    tables = (*NUMBERS, 1.0, vectors[:, 0], vectors[1:], NAN * vectors)
    yield "eigen_options", Door(eigen_options, dict(model=corridor(), vectors=vectors), dict(vectors=tables, gamma=(*SHARE, 1.0)))
    options = primitive(corridor().num_states, corridor().num_actions)
    sound = dict(keys=jax.random.split(jax.random.key(0), 2), model=corridor(), options=options, option_rate=0.5, start=0)
    unsound = dict(options=[options.at(np.arange(2))], option_rate=SHARE, start=INDEX, share=(*SHARE, 0.0), max_steps=COUNT)
    yield "cover_steps", Door(cover_steps, sound | dict(share=0.9, max_steps=9), unsound)
    sound = dict(key=jax.random.key(0), transitions=np.zeros((4, 2), int), num_states=3, num_features=2, num_steps=3)
    pairs = (*NUMBERS, 1, np.zeros(2, int), np.zeros((4, 2)), np.full((4, 2), 3), np.full((4, 2), -1))
    unsound = {name: COUNT for name in ("num_states", "num_features", "num_steps", "batch_size")}
    unsound |= dict(transitions=pairs, learning_rate=FINITE, penalty=FINITE)
    yield "graph_drawing", Door(graph_drawing.graph_drawing, sound, unsound)


def responses():
    numbers = (*NUMBERS, 0.5, np.zeros(0), np.zeros(2))
    sound = dict(log_reference=np.log([0.2, 0.3, 0.5]), reward=np.zeros(3), beta=0.1)
    reference = (*numbers, np.full(3, NAN), np.full(3, -INF), np.full(3, INF))
    unsound = dict(log_reference=reference, reward=(*numbers, np.full(3, NAN)), beta=FINITE)
    yield "kl_optimal", Door(kl_optimal.kl_optimal, sound, unsound)
    yield "optimal_value", Door(kl_optimal.optimal_value, sound, unsound)
    unsound = dict(reference=(*numbers, np.ones(3)), score=(*numbers, np.full(3, NAN)), n=(*NO_NUMBER, NAN, 0, True))
    yield "best_of_n", Door(kl_optimal.best_of_n, dict(reference=np.full(3, 1 / 3), score=np.arange(3.0), n=2), unsound)
    yield "best_of_n_kl", Door(kl_optimal.best_of_n_kl, dict(n=2), dict(n=(*NO_NUMBER, NAN, INF, 0, True)))
    sound = dict(log_reference=np.zeros(3), preference=np.full((3, 3), 0.5), behaviour=np.full(3, 1 / 3), tau=0.1)
    preference = (*NUMBERS, 0.5, np.full(3, 0.5), np.full((3, 3), 1.5), np.full((3, 3), NAN))
    unsound = dict(log_reference=reference, preference=preference, behaviour=(*numbers, np.ones(3)), tau=FINITE)
    yield "psi_optimal", Door(functools.partial(kl_optimal.psi_optimal, psi=kl_optimal.logit), sound, unsound)
    yield "logit", Door(kl_optimal.logit, dict(probability=0.5), dict(probability=SHARE))
    unsound = dict(difference=NUMBERS, label=SHARE, flip_rate=(*SHARE, 0.5))
    yield (
        "bradley_terry_loss",
        Door(preference_losses.bradley_terry_loss, dict(difference=0.1, label=1.0, flip_rate=0.1), unsound),
    )


def blocks():
    one = {name: part for name, part in STEPS.items() if name != "truncated"}
    of_one = dict(reward=NUMBERS, next_value=NUMBERS, terminated=FLAGS, gamma=SHARE)
    yield "one_step_target", Door(returns.one_step_target, one, of_one)
    yield "td_error", Door(returns.td_error, one | dict(value=np.zeros(3)), of_one | dict(value=(*NUMBERS, np.zeros(2))))
    yield "lambda_returns", Door(returns.lambda_returns, STEPS | dict(trace_decay=0.9), OF_STEPS | dict(trace_decay=SHARE))
    yield "discounted_returns", Door(returns.discounted_returns, STEPS, OF_STEPS)
    yield "n_step_returns", Door(returns.n_step_returns, STEPS | dict(num_steps=2), OF_STEPS | dict(num_steps=COUNT))
    critic, of_critic = STEPS | dict(value=np.zeros(3)), OF_STEPS | dict(value=SEQUENCE)
    gae = critic | dict(gae_lambda=0.9), of_critic | dict(gae_lambda=SHARE)
    yield "generalized_advantage", Door(returns.generalized_advantage, *gae)
    weights = dict(log_ratio=SEQUENCE, clip_rho=FINITE, clip_c=FINITE)
    sound = critic | dict(log_ratio=np.zeros(3), clip_rho=1.0, clip_c=1.0)
    yield "vtrace", Door(returns.vtrace, sound, of_critic | weights)
    pair = dict(log_probability=NUMBERS, advantage=NUMBERS)
    yield "policy_gradient_loss", Door(losses.policy_gradient_loss, dict(log_probability=0.1, advantage=1.0), pair)
    sound = dict(log_ratio=0.1, advantage=1.0, clip_eps=0.2)
    unsound = dict(log_ratio=NUMBERS, advantage=NUMBERS, clip_eps=POSITIVE)
    yield "clipped_surrogate_loss", Door(losses.clipped_surrogate_loss, sound, unsound)
    yield "squared_value_loss", Door(losses.squared_value_loss, ITEM, OF_ITEM)
    sound, unsound = ITEM | dict(old_value=0.4, clip_eps=0.2), OF_ITEM | dict(old_value=NUMBERS, clip_eps=POSITIVE)
    yield "clipped_value_loss", Door(losses.clipped_value_loss, sound, unsound)
    yield "huber_loss", Door(losses.huber_loss, ITEM | dict(delta=1.0), OF_ITEM | dict(delta=POSITIVE))
    yield "kl_k1", Door(losses.kl_k1, dict(log_ratio=0.1), dict(log_ratio=NUMBERS))
    yield "kl_k3", Door(losses.kl_k3, dict(log_ratio=0.1), dict(log_ratio=NUMBERS))
    for name in ("itakura_saito_loss", "exponential_squared_loss", "softplus_loss", "mean_variance_loss"):
        yield name, Door(getattr(losses, name), ITEM | dict(risk_aversion=1.0), OF_ITEM | dict(risk_aversion=FINITE))
    options, end = (*NUMBERS, 0.5, np.zeros(0), np.zeros((2, 2))), (*NUMBERS, 0.0, 1)
    sound = dict(reward=0.0, next_values=np.zeros(3), terminated=False, gamma=0.9)
    unsound = dict(reward=NUMBERS, next_values=options, terminated=end, gamma=SHARE)
    masks = ("a", np.ones(3), np.ones(2, bool))  # at the end of an episode no action need be legal
    masked, of_masked = sound | dict(next_mask=np.ones(3, bool)), unsound | dict(next_mask=masks)
    yield "q_learning_target", Door(losses.q_learning_target, masked, of_masked)
    double = masked | dict(next_selector=np.zeros(3)), of_masked | dict(next_selector=options)
    yield "double_q_target", Door(losses.double_q_target, *double)
    yield "sarsa_target", Door(losses.sarsa_target, sound | dict(next_action=0), unsound | dict(next_action=INDEX))
    law = sound | dict(next_probabilities=np.full(3, 1 / 3)), unsound | dict(next_probabilities=(*options, np.ones(3)))
    yield "expected_sarsa_target", Door(losses.expected_sarsa_target, *law)


def records():
    names = dict(names=dict(returns="record|returns", wealth="record|wealth", traced="traded", log_returns="record"))
    for name in ("growth", "max_drawdown"):
        yield name, Door(getattr(finance, name), dict(returns=RECORD), dict(returns=OF_RECORD), **names)
    for name in ("sharpe_ratio", "volatility"):
        sound, unsound = dict(returns=RECORD, bars_per_year=252), dict(returns=OF_RECORD, bars_per_year=FINITE)
        yield name, Door(getattr(finance, name), sound, unsound, **names)
    sound, unsound = dict(returns=RECORD, level=0.05), dict(returns=OF_RECORD, level=(*SHARE, 0.0, [0.05]))
    yield "conditional_value_at_risk", Door(finance.conditional_value_at_risk, sound, unsound, **names)
    yield "simple_returns", Door(finance.simple_returns, dict(log_returns=RECORD), dict(log_returns=NUMBERS), **names)
    for name in ("returns_of_wealth", "drawdown"):
        yield name, Door(getattr(finance, name), dict(wealth=1 + RECORD), dict(wealth=OF_RECORD), **names)
    sound = dict(traded=np.ones(3), wealth=np.ones(3), bars_per_year=252)
    record = (*OF_RECORD, np.ones(2), np.ones(1))
    unsound = dict(traded=(*record, -np.ones(3)), wealth=record, bars_per_year=FINITE)
    yield "turnover", Door(finance.turnover, sound, unsound, names=dict(traded="record|traded", wealth="record|wealth"))
    series = dict(returns=(*OF_RECORD, [0.1], [0.1, NAN], np.zeros((2, 2, 2))))
    yield "optimal_block_length", Door(finance.optimal_block_length, dict(returns=RECORD), series, **names)
    sound = dict(
        returns=RECORD, statistic=finance.growth, block_length=2.0, confidence=0.9, method="percentile", resamples=9, seed=0
    )
    length = [value for value in (*FINITE, 0.5) if value is not None]
    unsound = series | dict(block_length=length, confidence=(*SHARE, 0, 1), method=("a", None, 1), resamples=COUNT)
    unsound |= dict(seed=("a", None, NAN, 2.5, -1, True), statistic=(lambda record: record,))
    yield "block_bootstrap_interval", Door(finance.block_bootstrap_interval, sound, unsound, **names)
    sound = dict(returns=RECORD, reference=RECORD, statistic=finance.growth)
    pairs = dict(returns=(*OF_RECORD, RECORD[:3]), reference=(*OF_RECORD, RECORD[:3]))
    yield "intervals_over_time", Door(finance.intervals_over_time, sound, pairs, names=dict.fromkeys(pairs, "record|returns"))
    sound = dict(size=5, block_length=2.0, resamples=3, generator=np.random.default_rng(0))
    unsound = dict(size=COUNT, block_length=length, resamples=COUNT)
    yield "stationary_indices", Door(finance.stationary_indices, sound, unsound)
    series, names = (
        (*NUMBERS, 1.0, np.zeros(0), [1.0, NAN, 2.0], [1.0, INF, 2.0], [1.0, 0.0, 2.0]),
        dict(names=dict(prices="price")),
    )
    yield "historical", Door(prices.historical, dict(prices=np.ones(5)), dict(prices=series), **names)
    sound = dict(prices=np.ones(5), block_length=2.0, start=1.0)
    starts = [value for value in FINITE if value is not None]
    unsound = dict(prices=series, block_length=(*FINITE, 0.5), start=starts)
    yield "block_bootstrap", Door(prices.block_bootstrap, sound, unsound, **names)
    rate = (*NO_NUMBER, NAN, INF, [0.1])
    unsound = dict(drift=rate, volatility=(*rate, -0.1), start=FINITE)
    yield "gbm", Door(prices.gbm, dict(drift=0.05, volatility=0.2, start=1.0), unsound)
    sound = dict(drift=(0.1, 0.2), volatility=(0.1, 0.2), monthly_switch=0.1, start=1.0)
    rates = (*NO_NUMBER, (), 0.1, (0.1,), (0.1, NAN), (0.1, INF))
    unsound = dict(drift=rates, volatility=(*rates, (0.1, -0.1)), monthly_switch=(*SHARE, 1.0), start=FINITE)
    yield "regime_switching", Door(prices.regime_switching, sound, unsound)
    draw = functools.partial(prices.paths, prices.gbm(), jax.random.key(0))
    counts = ("a", None, 2.5, 0, -1, True)
    yield "paths", Door(draw, dict(num_paths=2, num_bars=3), dict(num_paths=counts, num_bars=counts))


def answers(door: Door, argument: str) -> list[str]:
    """Returns how the function answers to unsound values of an argument, other than by an error that names it."""
    missed = []
    for value in door.unsound[argument]:
        try:
            found = door.call(**door.sound | {argument: value})
        except (ConfigError, EnvError) as error:
            if not re.search(rf"\b({door.names.get(argument, argument)})", str(error).partition(": ")[2]):
                missed.append(f"{argument}={value!r}: {error}")
        except Exception as error:
            missed.append(f"{argument}={value!r}: {type(error).__name__}: {str(error)[:80]}")
        else:
            missed.append(f"{argument}={value!r}: {str(found)[:80]}")
    return missed


GROUPS = (games, models, graphs, responses, blocks, records)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_unsound_arguments_are_refused(group):
    missed = [f"{name}: {answer}" for name, door in group() for argument in door.unsound for answer in answers(door, argument)]
    assert not missed, "\n".join(missed)


def test_an_argument_that_is_not_checked_is_found():
    door = Door(lambda share: share + 0.0, dict(share=0.5), dict(share=("a", 1.5)))
    assert [answer.partition(": ")[2] for answer in answers(door, "share")][1] == "1.5"
    assert len(answers(door, "share")) == 2


def test_sound_arguments_are_accepted():
    for name in (
        "kl_optimal",
        "bradley_terry_loss",
        "one_step_target",
        "huber_loss",
        "sharpe_ratio",
        "historical",
        "greedy_policy",
    ):
        door = dict(found for group in GROUPS for found in group())[name]
        door.call(**door.sound)
