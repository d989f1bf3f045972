"""``jaxrl`` and ``python -m jaxrl``: the command line, see ``jaxrl.cli.main``."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import jaxrl
from jaxrl.errors import JaxrlError, require

INTERRUPTED = 130  # the exit status that a shell reports for a program ended by Ctrl-C
NO_READER = 141  # the exit status that a shell reports for a program whose output has lost its reader


def require_own_packages() -> None:
    """Raises ConfigError where a folder of the user's stands for one of our packages, as ``python -m`` lets it."""
    ours = Path(jaxrl.__file__).parents[1]
    for name in ("envs", "experiments"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).parents[1] if spec is not None and spec.origin else None
        must, fix = f"the package {name} must be the one of jaxrl", f"Start the command jaxrl, or rename your folder {name}."
        require(found == ours, "jaxrl", must, spec.origin if spec is not None else None, fix)


def leave_at_once(*_: object) -> None:
    """Ends the process after Ctrl-C, as long as there is nothing to keep.

    Python's own handler raises an exception. While modules are imported, it can arise in a callback of the garbage collector,
    where Python drops it, and the command would go on.
    """
    os.write(2, b"interrupted before anything was computed\n")
    os._exit(INTERRUPTED)


leave_at_once.gives_way = True  # pyright: ignore[reportFunctionMemberAccess] to jaxrl.training.graceful_stop


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
