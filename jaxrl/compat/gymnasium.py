"""Our environments with the interface of gymnasium, for code that is written against it. Needs the extra ``gymnasium``.

``to_gymnasium`` gives a ``gymnasium.Env``, ``to_gymnasium_vector`` a ``gymnasium.vector.VectorEnv`` that steps all of its
environments in one compiled program. Both return numpy arrays that the caller may keep and write to.

- ``terminated`` and ``truncated`` are kept apart; ``truncated`` says that ``env.max_steps`` was reached without termination.
- A seed s begins the stream of random numbers ``jax.random.key(s)``. Each reset and each step splits it, ``key, now =
  jax.random.split(key)``, and uses ``now``; a reset without a seed goes on with the stream.
- Where the environment forbids actions, ``info["action_mask"]`` is what ``action_space.sample(mask=...)`` takes: int8[A], 1 =
  legal, of a Discrete space, a tuple of these for a MultiDiscrete one, and of a Tuple or Dict a tuple or dict of masks, None
  where nothing is masked. Beside it stands what the step of the environment tells in its info.
- Actions outside their space are refused: cut what a policy draws with ``gymnasium.wrappers.ClipAction``.

A loop on the host pays for every call, a tenth of a millisecond or more. Where the learner is written in jax, too,
``jaxrl.training.runner`` leaves the host out of the loop.

Source: Towers et al. (2024), Gymnasium, version 1.1 or later.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.compat import stepping
from jaxrl.compat.spaces import Render, fetch, rendering, row, to_action, to_host, to_info, to_mask, to_space
from jaxrl.compat.stepping import Stream
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import View
from jaxrl.errors import ConfigError, EnvError, missing_package, require

try:
    import gymnasium
    from gymnasium.error import ResetNeeded
    from gymnasium.vector import AutoresetMode
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    raise missing_package("jaxrl.compat.gymnasium", "gymnasium", "gymnasium", error) from error


def to_gymnasium(env: Environment, render_mode: str | None = None, render: Render | None = None) -> "GymnasiumEnv":
    """Returns the environment as a ``gymnasium.Env``.

    Args:
        env: an environment without an agent axis.
        render_mode: None or "rgb_array".
        render: draws one state, ``state -> uint8[H, W, 3]``; ``functools.partial(envs.rendering.render, env)`` for ours.

    Raises:
        EnvError: it has several agents.
        ConfigError: it cannot be drawn in this mode.
    """
    return GymnasiumEnv(env, render_mode, render)


def to_gymnasium_vector(
    env: Environment,
    num_envs: int,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    render_mode: str | None = None,
    render: Render | None = None,
) -> "GymnasiumVectorEnv":
    """Returns ``num_envs`` copies of the environment as a ``gymnasium.vector.VectorEnv``.

    It returns what ``gymnasium.vector.SyncVectorEnv`` returns over as many of ``to_gymnasium(env)``, with the same seeds and in
    every mode, but for the rounding of numbers that are not whole; rewards are float32.

    Args:
        env: an environment without an agent axis.
        num_envs: how many.
        autoreset_mode: when the next episode begins: with the step after the one that ended the last (``NEXT_STEP``; the
            action of that step is ignored), with that same step (``SAME_STEP``; what it led to is in
            ``infos["final_obs"]`` and ``infos["final_info"]``), or with ``reset(options={"reset_mask": done})``
            (``DISABLED``).
        render_mode: None or "rgb_array".
        render: draws one state, ``state -> uint8[H, W, 3]``.

    Raises:
        EnvError: it has several agents.
        ConfigError: another argument cannot be used.
    """
    return GymnasiumVectorEnv(env, num_envs, autoreset_mode, render_mode, render)


def _require_one_agent(where: str, env: Environment) -> None:
    require_single_agent(where, env, "Use jaxrl.compat.pettingzoo.to_pettingzoo.", EnvError)


class GymnasiumEnv(gymnasium.Env[Any, Any]):
    """One environment with the interface of gymnasium; see ``to_gymnasium``."""

    def __init__(self, env: Environment, render_mode: str | None, render: Render | None):
        _require_one_agent("to_gymnasium", env)
        self.metadata = rendering("to_gymnasium", render_mode, render)
        self.render_mode, self._render = render_mode, render
        self.observation_space, self.action_space = to_space(env.observation_space), to_space(env.action_space)
        self._env: Environment = jax.device_put(env)
        self._stream: Stream | None = None
        self._under_way = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode; see ``gymnasium.Env.reset``. There are no options."""
        super().reset(seed=seed)
        if seed is None and self._stream is not None:
            key = self._stream.key
        else:
            key = stepping.key(int(self.np_random.integers(2**32)) if seed is None else seed)
        self._stream, view = stepping.begin(self._env, key)
        self._under_way = True
        return self._shown(fetch(view), {})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes a step; see ``gymnasium.Env.step``.

        Raises:
            gymnasium.error.ResetNeeded: no episode is under way.
            SpaceError: the action lies outside its space.
        """
        if self._stream is None or not self._under_way:
            raise ResetNeeded("to_gymnasium: an episode must be under way before a step. Call reset().")
        action = to_action("to_gymnasium", self._env.action_space, action)
        self._stream, view, outcome = stepping.step(self._env, self._stream, action)
        view, outcome = fetch((view, outcome))
        obs, info = self._shown(view, outcome.info)
        terminated, truncated = bool(outcome.terminated), bool(outcome.truncated)
        self._under_way = not (terminated or truncated)
        return obs, float(outcome.reward), terminated, truncated, info

    def render(self) -> Any:
        """Returns the picture of the state, uint8[H, W, 3], or None where no ``render_mode`` was chosen."""
        if self.render_mode is None or self._render is None:
            return None
        if self._stream is None:
            raise ResetNeeded("to_gymnasium: an episode must have begun before it is drawn. Call reset().")
        return self._render(fetch(self._stream.state))

    def _shown(self, view: View, info: dict) -> tuple[Any, dict[str, Any]]:
        info = to_info(info)
        if view.mask is not None:
            info["action_mask"] = to_mask(self._env.action_space, view.mask)
        return to_host(self._env.observation_space, view.obs), info


STEPS = {  # which program makes a step
    AutoresetMode.NEXT_STEP: stepping.step_or_begin,
    AutoresetMode.SAME_STEP: stepping.step_and_begin,
    AutoresetMode.DISABLED: stepping.step_all,
}


class GymnasiumVectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """Many copies of an environment with the interface of gymnasium; see ``to_gymnasium_vector``."""

    def __init__(
        self,
        env: Environment,
        num_envs: int,
        autoreset_mode: AutoresetMode | str,
        render_mode: str | None,
        render: Render | None,
    ):
        where = "to_gymnasium_vector"
        _require_one_agent(where, env)
        require(num_envs >= 1, where, "num_envs must be at least 1", num_envs, "Count the environments.")
        modes = [mode.value for mode in AutoresetMode]
        known = isinstance(autoreset_mode, AutoresetMode) or autoreset_mode in modes
        require(known, where, f"autoreset_mode must be one of {modes}", autoreset_mode, "Use gymnasium.vector.AutoresetMode.")
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = rendering(where, render_mode, render) | {"autoreset_mode": self.autoreset_mode}
        self.render_mode, self._render = render_mode, render
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = to_space(env.observation_space), to_space(env.action_space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._env: Environment = jax.device_put(env)
        self._standing: tuple[Stream, View] | None = None  # where the environments stand, and what they show there
        self._done = np.zeros(num_envs, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins episodes; see ``gymnasium.vector.VectorEnv.reset``.

        Args:
            seed: s gives environment i the seed s + i, so seeds that lie closer than ``num_envs`` share streams; or a seed for
                each, None where the stream goes on.
            options: ``{"reset_mask": bool[num_envs]}`` begins an episode there only.

        Raises:
            ConfigError: there are more or fewer seeds than environments, or the mask cannot be used.
        """
        super().reset(seed=seed if isinstance(seed, (int, np.integer)) else None)
        chosen, seeds = self._chosen(options or {}), self._seeds(seed)
        keys = stepping.keys([one or 0 for one in seeds])
        if self._standing is not None:
            seeded = chosen & np.array([one is not None for one in seeds])
            keys = jnp.where(seeded, keys, self._standing[0].key)
        if self._standing is None or chosen.all():
            streams, view = stepping.begin_all(self._env, keys)
        else:
            streams, view = self._standing
            streams, view = stepping.begin_chosen(self._env, streams._replace(key=keys), view, chosen)
        self._standing = streams, view
        self._done &= ~chosen
        view = fetch(view)
        return to_host(self._env.observation_space, view.obs), _packed(self._masks(view), chosen)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Takes a step in every environment; see ``gymnasium.vector.VectorEnv.step`` and ``to_gymnasium_vector``.

        Raises:
            gymnasium.error.ResetNeeded: an environment has no episode under way, and none may begin by itself.
            SpaceError: an action lies outside its space.
        """
        if self._standing is None or (self.autoreset_mode is AutoresetMode.DISABLED and self._done.any()):
            needy = np.flatnonzero(self._done) if self._done.any() else "all"
            fix = 'Call reset(), or reset(options={"reset_mask": done}) for those whose episode is over.'
            raise ResetNeeded(f"to_gymnasium_vector: episodes must be under way before a step, missing in {needy}. {fix}")
        actions = to_action("to_gymnasium_vector", self._env.action_space, actions, (self.num_envs,))
        streams, moved = STEPS[self.autoreset_mode](self._env, self._standing[0], actions)
        self._standing = streams, moved.view
        view, outcome, stepped = fetch((moved.view, moved.outcome, moved.stepped))
        done = self._done = outcome.terminated | outcome.truncated
        infos = _packed(self._masks(view), np.ones(self.num_envs, np.bool_))
        if moved.successor is None:
            infos |= _packed(outcome.info, stepped)
        else:
            infos |= _packed(outcome.info, ~done)
            if done.any():
                infos |= self._final(fetch(moved.successor), outcome.info, done)
        flags = np.array(outcome.terminated), np.array(outcome.truncated)
        return to_host(self._env.observation_space, view.obs), np.array(outcome.reward), *flags, infos

    def render(self) -> Any:
        """Returns a picture of each state, or None where no ``render_mode`` was chosen."""
        if self.render_mode is None or self._render is None:
            return None
        if self._standing is None:
            raise ResetNeeded("to_gymnasium_vector: episodes must have begun before they are drawn. Call reset().")
        states = fetch(self._standing[0].state)
        return tuple(self._render(row(states, i)) for i in range(self.num_envs))

    def _final(self, successor: View, info: dict, done: np.ndarray) -> dict[str, Any]:
        """Returns the entries of the infos that tell how episodes ended."""
        final_obs = np.full(self.num_envs, None, object)
        ended = jax.tree.map(lambda leaf: leaf[done], successor.obs)
        leaves, structure = jax.tree.flatten(to_host(self._env.observation_space, ended))
        for i, place in enumerate(np.flatnonzero(done)):
            final_obs[place] = structure.unflatten([leaf[i] for leaf in leaves])
        final_info = _packed(info | self._masks(successor), done)
        return {"final_obs": final_obs, "_final_obs": done.copy(), "final_info": final_info, "_final_info": done.copy()}

    def _masks(self, view: View) -> dict[str, Any]:
        return {} if view.mask is None else {"action_mask": to_mask(self._env.action_space, view.mask)}

    def _chosen(self, options: dict[str, Any]) -> np.ndarray:
        """Returns where an episode is to begin, bool[num_envs]."""
        mask = options.get("reset_mask")
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        usable = isinstance(mask, np.ndarray) and mask.shape == (self.num_envs,) and mask.dtype == np.bool_ and mask.any()
        must = f"reset_mask must be a numpy array of {self.num_envs} booleans, one of them True"
        require(bool(usable), "to_gymnasium_vector", must, mask, "Pass terminated | truncated of the last step.")
        if self._standing is None and not mask.all():
            raise ResetNeeded("to_gymnasium_vector: the first reset must begin all episodes. Call reset() without a reset_mask.")
        return mask

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        """Returns a seed for each environment, None where its stream goes on."""
        if seed is None and self._standing is None:
            seed = int(self.np_random.integers(2**32))
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (int, np.integer)):
            return [int(seed) + i for i in range(self.num_envs)]
        seeds = list(seed)
        must, fix = f"there must be a seed for each of the {self.num_envs} environments", "Pass one seed for all of them."
        require(len(seeds) == self.num_envs, "to_gymnasium_vector", must, seeds, fix, ConfigError)
        missing = [i for i, one in enumerate(seeds) if one is None] if self._standing is None else []
        drawn = self.np_random.integers(2**32, size=len(missing)) if missing else []
        for i, one in zip(missing, drawn, strict=True):
            seeds[i] = int(one)
        return seeds


def _packed(info: dict, present: np.ndarray) -> dict[str, Any]:
    """Returns infos as gymnasium batches them: ``_name`` says for which environments ``name`` holds a value, 0 elsewhere.

    A tuple of masks becomes an array of objects, one tuple for each environment, None elsewhere.
    """
    if not present.any():
        return {}
    packed: dict[str, Any] = {}
    for name, value in info.items():
        if isinstance(value, dict):
            packed[name] = _packed(value, present)
        elif value is None or isinstance(value, tuple):
            packed[name] = np.full(len(present), None, object)
            for i in np.flatnonzero(present).tolist():
                packed[name][i] = row(value, i)
        else:
            packed[name] = np.array(value)
            packed[name][~present] = 0
        packed[f"_{name}"] = present.copy()
    return packed
