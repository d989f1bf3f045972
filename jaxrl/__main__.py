"""``jaxrl`` and ``python -m jaxrl``: the command line, see ``jaxrl.cli.main``."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import jaxrl
from jaxrl.errors import JaxrlError, require
from jaxrl.training.graceful_stop import leave_at_once

NO_READER = 141  # the exit status that a shell reports for a program whose output has lost its reader


def require_own_packages() -> None:
    """Raises ConfigError where a folder of the user's stands for one of our packages, as ``python -m`` lets it."""
    ours = Path(jaxrl.__file__).parents[1]
    for name in ("envs", "experiments"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).parents[1] if spec is not None and spec.origin else None
        must, fix = f"the package {name} must be the one of jaxrl", f"Start the command jaxrl, or rename your folder {name}."
        require(found == ours, "jaxrl", must, spec.origin if spec is not None else None, fix)


def main() -> int:
    """Runs one command and returns the exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave_at_once)
    try:
        require_own_packages()
    except JaxrlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from jaxrl.cli.main import main as run_command

    try:
        try:
            return run_command()
        finally:  # here, where a reader that has left (``jaxrl list | head -1``) can be met quietly
            sys.stdout.flush()
    except SystemExit as leave:
        if isinstance(leave.__context__, BrokenPipeError):  # rich met it first
            return NO_READER
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes when it ends
        return NO_READER


if __name__ == "__main__":
    sys.exit(main())
