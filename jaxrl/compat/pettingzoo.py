"""Our games with the interface of PettingZoo, for code that is written against it. Needs the extra ``pettingzoo``.

``to_pettingzoo`` gives a ``pettingzoo.ParallelEnv`` with the agents "agent_0", "agent_1", ... An episode ends for all of them at
once. Seeds, time limits and the refusal of actions outside their space are those of ``jaxrl.compat.gymnasium``.

Where the game forbids actions, ``infos[agent]["action_mask"]`` is what ``action_space(agent).sample(mask)`` takes: int8[A], 1 =
legal, of a Discrete space, and arrays of this kind in the structure of other actions. It is not put into the observation, as
turn-based games of PettingZoo do: the observation of an agent stays the array that its space says, which is what wrappers and
networks for the parallel interface expect, and games with and without a mask look alike.

Source: Terry et al. (2021), PettingZoo, version 1.25 or later.
"""

from typing import Any

import jax
import numpy as np

from jaxrl.compat import stepping
from jaxrl.compat.spaces import Render, fetch, rendering, row, to_action, to_host, to_info, to_mask, to_space
from jaxrl.compat.stepping import Stream
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import View
from jaxrl.errors import EnvError, SpaceError, missing_package, require

try:
    import pettingzoo
    from gymnasium.error import ResetNeeded
    from gymnasium.spaces import Box
except ImportError as error:
    raise missing_package("jaxrl.compat.pettingzoo", "pettingzoo", "pettingzoo", error) from error


def to_pettingzoo(env: Environment, render_mode: str | None = None, render: Render | None = None) -> "PettingZooEnv":
    """Returns the game as a ``pettingzoo.ParallelEnv``.

    Args:
        env: an environment with an agent axis.
        render_mode: None or "rgb_array".
        render: draws one state, ``state -> uint8[H, W, 3]``; ``functools.partial(envs.rendering.render, env)`` for ours.

    Raises:
        EnvError: it has no agent axis.
        ConfigError: it cannot be drawn in this mode.
    """
    return PettingZooEnv(env, render_mode, render)


class PettingZooEnv(pettingzoo.ParallelEnv[str, Any, Any]):
    """A game with the interface of PettingZoo; see ``to_pettingzoo``."""

    def __init__(self, env: Environment, render_mode: str | None, render: Render | None):
        where, fix = "to_pettingzoo", "Use jaxrl.compat.gymnasium.to_gymnasium."
        require(env.num_agents is not None, where, "the environment must have an agent axis", env.num_agents, fix, EnvError)
        self.metadata = rendering(where, render_mode, render) | {"name": "jaxrl"}
        self.render_mode, self._render = render_mode, render
        self.possible_agents = [f"agent_{i}" for i in range(env.num_agents or 0)]
        self.agents: list[str] = []
        # A space for each agent: each has a state of its own, of which its samples are drawn.
        self.observation_spaces = {agent: to_space(env.observation_space) for agent in self.possible_agents}
        self.action_spaces = {agent: to_space(env.action_space) for agent in self.possible_agents}
        seen = jax.eval_shape(lambda key: stepping.global_obs(env, *_seen(stepping.begin(env, key))), jax.random.key(0))
        self.state_space = Box(-np.inf, np.inf, seen.shape, np.dtype(seen.dtype).type)
        self._env: Environment = jax.device_put(env)
        self._standing: tuple[Stream, View] | None = None  # where the game stands, and what it shows there

    def observation_space(self, agent: str) -> Any:
        """Returns the space of an agent's observations, the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """Returns the space of an agent's actions, the same object at every call."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begins an episode; see ``pettingzoo.ParallelEnv.reset``. There are no options.

        Without a seed the stream of random numbers goes on; the first one begins anywhere.
        """
        if seed is None and self._standing is not None:
            key = self._standing[0].key
        else:
            key = stepping.key(int(np.random.default_rng().integers(2**32)) if seed is None else seed)
        self._standing = stepping.begin(self._env, key)
        self.agents = list(self.possible_agents)
        return self._shown(fetch(self._begun()[1]), {})

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Takes a step; see ``pettingzoo.ParallelEnv.step``. The info of the step is given to every agent.

        Raises:
            gymnasium.error.ResetNeeded: no episode is under way.
            SpaceError: an action is missing or lies outside its space.
        """
        if self._standing is None or not self.agents:
            raise ResetNeeded("to_pettingzoo: an episode must be under way before a step. Call reset().")
        named = set(actions) == set(self.agents)
        require(named, "to_pettingzoo", f"there must be an action for each of {self.agents}", actions, "Name each.", SpaceError)
        joint = jax.tree.map(lambda *each: np.stack(each), *(self._action(actions[agent]) for agent in self.agents))
        stream, view, outcome = stepping.step(self._env, self._standing[0], joint)
        self._standing = stream, view
        view, outcome = fetch((view, outcome))
        observations, infos = self._shown(view, outcome.info)
        rewards = {agent: float(reward) for agent, reward in zip(self.agents, outcome.reward, strict=True)}
        terminations = dict.fromkeys(self.agents, bool(outcome.terminated))
        truncations = dict.fromkeys(self.agents, bool(outcome.truncated))
        if outcome.terminated or outcome.truncated:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def state(self) -> np.ndarray:
        """Returns what a centralised critic may see, float32[G]; ``state_space`` is its space.

        It is ``Environment.global_obs``, or where the game names nothing of the kind the observations of all agents, one after
        another, as for ``jaxrl.algorithms.multiagent.mappo``.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        return np.array(stepping.global_obs(self._env, *_seen(self._begun())))

    def render(self) -> np.ndarray | None:
        """Returns the picture of the state, uint8[H, W, 3], or None where no ``render_mode`` was chosen."""
        if self.render_mode is None or self._render is None:
            return None
        return self._render(fetch(self._begun()[0].state))

    def _begun(self) -> tuple[Stream, View]:
        if self._standing is None:
            raise ResetNeeded("to_pettingzoo: an episode must have begun before its state is looked at. Call reset().")
        return self._standing

    def _action(self, action: Any) -> Any:
        return to_action("to_pettingzoo", self._env.action_space, action)

    def _shown(self, view: View, info: dict) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        observations, infos = {}, {}
        for i, agent in enumerate(self.agents):
            observations[agent] = to_host(self._env.observation_space, row(view.obs, i))
            infos[agent] = to_info(info)
            if view.mask is not None:
                infos[agent]["action_mask"] = to_mask(self._env.action_space, row(view.mask, i))
        return observations, infos


def _seen(standing: tuple[Stream, View]) -> tuple[Stream, Any]:
    stream, view = standing
    return stream, view.obs
