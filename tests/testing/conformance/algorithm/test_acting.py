"""check_algorithm on what the policy does: a broken one for each check."""

import jax
import jax.numpy as jnp
import pytest

from jaxrl.core.rollout import Decision
from tests.testing.conformance.algorithm.subject import Acting, Changed, broken, require_caught


def beyond_the_space(decision, key, view):
    return decision._replace(action=decision.action + 3)


def any_action(decision, key, view):
    return decision._replace(action=decision.action * 0 + jnp.arange(decision.action.size, dtype=jnp.int32) % 3)


def improbable(right, config):
    return right._replace(probabilities=lambda state, view: 0.9 * right.probabilities(state, view))


def probabilities_without_mask(right, config):
    return right._replace(probabilities=lambda state, view: jax.nn.softmax(state.logits[view.obs]))


def flat_probabilities(right, config):
    def probabilities(state, view):
        return jax.nn.softmax(jnp.where(view.mask, 0.5 * state.logits[view.obs], -1e9))

    return right._replace(probabilities=probabilities)


def least_likely(right, config):
    def policy(state, greedy):
        def act(key, view):
            last = jnp.where(view.mask, -state.logits[view.obs], -jnp.inf).argmax(-1).astype(jnp.int32)
            return Decision(last) if greedy else right.policy(state, False)(key, view)

        return act

    return right._replace(policy=policy)


BROKEN = [
    broken("actions in space", r"actions in Discrete\(n=3\), got 'values in \(3, 5\)'", Acting(beyond_the_space)),
    broken("actions are legal", r"policy\(state, False\) must take legal actions alone, got '\d+ illegal", Acting(any_action)),
    broken("probabilities are distributions", r"sum to 1, got 0\.(9|89)", Changed(improbable)),
    broken("probabilities are distributions", r"give illegal actions 0", Changed(probabilities_without_mask)),
    broken("greedy is the mode", r"take an action that is most probable", Changed(least_likely)),
    broken("frequencies", r"as frequent as probabilities say.*got 'a chance of", Changed(flat_probabilities)),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.check)
def test_broken_algorithm_is_caught(broken):
    require_caught(broken)
