"""The virtual environment that holds the peers, apart from ours because their requirements are not ours."""

import json
import platform as host
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from benchmarks.measure import ROOT

FOLDER = ROOT / ".venv-peers"
LIBRARIES = ("torch", "rejax", "gymnax", "jaxmarl", "navix", "stable-baselines3", "mctx", "flax", "optax", "nashpy")
# There are compiled packages of open_spiel for these machines alone; elsewhere its jobs fail and the others go on.
HAS_OPEN_SPIEL = (sys.platform, host.machine()) == ("linux", "x86_64")
LIBRARIES += ("open_spiel",) if HAS_OPEN_SPIEL else ()


class PeersError(Exception):
    """The peers could not be installed."""


def requirements(platform: str) -> list[list[str]]:
    """Returns what is installed, in this order: torch first, then the others with our own versions of jax, flax and optax.

    Args:
        platform: of our jax, for example ``"cpu"`` or ``"gpu"``; the peers get the same.
    """
    jax = "jax[cuda13]" if platform == "gpu" else "jax"
    others = ["rejax==0.1.3", "gymnax==0.0.9", "jaxmarl==0.2.0", "navix==0.7.4", "stable-baselines3==2.9.2", "mctx==0.0.71"]
    others += ["nashpy==0.0.43", *(["open_spiel==2.0.2"] if HAS_OPEN_SPIEL else [])]
    others += [f"{name}=={metadata.version(name)}" for name in ("flax", "optax")]
    return [["torch==2.13.0"], [*others, f"{jax}=={metadata.version('jax')}"]]


def interpreter(platform: str, folder: Path = FOLDER) -> Path:
    """Returns the peers' interpreter; the first call installs it, which takes minutes.

    Raises:
        PeersError: something could not be installed.
    """
    wanted = requirements(platform)
    marker, python = folder / "installed.json", folder / "bin" / "python"
    if not (marker.exists() and json.loads(marker.read_text()) == wanted):
        _call([sys.executable, "-m", "venv", "--clear", str(folder)])
        for packages in wanted:
            _call([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
        marker.write_text(json.dumps(wanted))
    return python


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise PeersError(errors[-1])
