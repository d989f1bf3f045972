"""Learning dynamics in normal-form games. Each is one pure function of a payoff table, a scan over steps: jit it, vmap it over
games or starts. All return the same record, ``Course``; it stands in ``play`` with the loop, and in ``starts`` stand calls for
many starts or games.

    function                rule                    in two-player zero-sum games
    fictitious_play         best_responses          the averages converge to equilibrium
    smooth_fictitious_play  logit_responses         averages and play converge to the logit equilibrium
    risk_averse_play        risk_averse_responses   see there: players who avoid variance play no zero-sum game
    replicator              replication             the averages converge to equilibrium, play circles around it
      with mutation                                 averages and play converge to within the rate of mutation
    regret_matching         regret_proportions      the averages converge to equilibrium
    multiplicative_weights  exponential_weights     the averages come near equilibrium, play moves away from it
      optimistic                                    averages and play converge to equilibrium
    policy_gradient         softmax_gradients       play moves away from equilibrium
    extragradient           extrapolated_gradients  averages and play converge to equilibrium
    mirror_prox             extrapolated_weights    averages and play converge to equilibrium

In other games the averages need not converge. The joint play of regret matching converges to the set of coarse correlated
equilibria, and that of multiplicative weights comes within a distance of it that falls with the step.

Payoff tables are float[N, A_0, ..., A_{N-1}] and profiles sequences of N strategies, as in ``jaxrl.solvers.normal_form``.
"""

from jaxrl.solvers.dynamics.exponential_weights import (
    exponential_weights,
    extrapolated_weights,
    mirror_prox,
    multiplicative_weights,
)
from jaxrl.solvers.dynamics.fictitious_play import (
    best_responses,
    fictitious_play,
    logit_responses,
    risk_averse_play,
    risk_averse_responses,
    smooth_fictitious_play,
)
from jaxrl.solvers.dynamics.gradients import extragradient, extrapolated_gradients, policy_gradient, softmax_gradients
from jaxrl.solvers.dynamics.play import Course, History, Play, Rule, begin, play_once, require_countable
from jaxrl.solvers.dynamics.regret_matching import regret_matching, regret_proportions
from jaxrl.solvers.dynamics.replicator import populations, replication, replicator, require_step_size
from jaxrl.solvers.dynamics.starts import PureStarts, from_pure_starts, from_starts, over_games

__all__ = [
    "Course",
    "History",
    "Play",
    "PureStarts",
    "Rule",
    "begin",
    "best_responses",
    "exponential_weights",
    "extragradient",
    "extrapolated_gradients",
    "extrapolated_weights",
    "fictitious_play",
    "from_pure_starts",
    "from_starts",
    "logit_responses",
    "mirror_prox",
    "multiplicative_weights",
    "over_games",
    "play_once",
    "policy_gradient",
    "populations",
    "regret_matching",
    "regret_proportions",
    "replication",
    "replicator",
    "require_countable",
    "require_step_size",
    "risk_averse_play",
    "risk_averse_responses",
    "smooth_fictitious_play",
    "softmax_gradients",
]
