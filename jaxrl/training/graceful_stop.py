"""Ctrl-C, and the end that a cluster asks for, at a moment when nothing is lost."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

INTERRUPTED = 130  # the exit status that a shell reports for a program ended by Ctrl-C


def leave_at_once(*_: object) -> None:
    """Ends the process after Ctrl-C: the handler of a command that has nothing to keep yet.

    Python's own handler raises an exception. While modules are imported, it can arise in a callback of the garbage collector,
    where Python drops it, and the command would go on.
    """
    os.write(2, b"interrupted before anything was computed\n")
    os._exit(INTERRUPTED)


# The answers to the first and to the second request.
HEARD = (
    "stopping at the next safe moment, with all results kept; "
    "once more stops as soon as compiled code returns, and the chunk of that moment may be lost",
    "stopping as soon as compiled code returns",
)

# Of each signal, the handlers that a graceful stop may replace.
SIGNALS = ((signal.SIGINT, (signal.default_int_handler, leave_at_once)), (signal.SIGTERM, (signal.SIG_DFL,)))


class GracefulStop:
    """Turns Ctrl-C, and the request to end that cluster schedulers send (SIGTERM), into a stop at the next safe moment.

    A second one does not wait for that moment: it takes effect as soon as compiled code returns, which nothing can interrupt.
    Then the chunk that is being computed or written may be lost, and the last checkpoint counts. One stop may serve a whole
    command: a request that comes when nothing is left to stop is not forgotten by those who come after.
    """

    def __init__(self, say: Callable[[str], None] | None = None):
        """say: tells the user at once that the request was heard, also while compiled code runs; None for silence."""
        self.asked = False
        self._say = say
        self._heard = 0
        self._twice = False
        self._before: dict[int, Any] = {}
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._wakeup = -1

    def __enter__(self) -> "GracefulStop":
        if threading.current_thread() is threading.main_thread():
            for number, usual in SIGNALS:
                if signal.getsignal(number) in usual:  # somebody else's handler, or being told to ignore it, stays
                    self._before[number] = signal.signal(number, self._ask)
            if self._say is not None and self._before:
                self._listen(self._say)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._ends is not None:
            signal.set_wakeup_fd(self._wakeup)
            for end in self._ends:
                end.close()
            self._ends = None

    @property
    def kept(self) -> str:
        """The results that a stop leaves, in words: a second request does not wait for a checkpoint."""
        last = "every arm goes on from its last checkpoint, or begins again where it has none yet"
        return last if self._twice else "all results so far are kept"

    def obey(self) -> None:
        """Raises KeyboardInterrupt where a stop was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, *_: object) -> None:
        self._twice = self.asked or self._heard > 1  # of two requests in compiled code, Python's handlers learn as of one
        self.asked = True
        if self._twice:
            raise KeyboardInterrupt

    def _listen(self, say: Callable[[str], None]) -> None:
        """Has a thread say that a signal came: Python's own handlers wait until compiled code returns."""
        hears, speaks = socket.socketpair()
        speaks.setblocking(False)
        self._ends = hears, speaks
        self._wakeup = signal.set_wakeup_fd(speaks.fileno(), warn_on_full_buffer=False)

        def wait() -> None:
            try:
                while number := hears.recv(1):
                    self._heard += number[0] in self._before
                    if number[0] in self._before and self._heard <= len(HEARD):
                        say(HEARD[self._heard - 1])
            except OSError:  # closed
                return

        threading.Thread(target=wait, daemon=True).start()
