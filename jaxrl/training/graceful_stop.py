"""Ctrl-C, and the end that a cluster asks for, at a moment when nothing is lost."""

import signal
import threading
from typing import Any


class GracefulStop:
    """Turns Ctrl-C, and the request to end that cluster schedulers send (SIGTERM), into a stop at the next safe moment.

    A second one takes effect at once: then the chunk that is being written may be lost, and the last checkpoint counts.
    """

    def __init__(self):
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "GracefulStop":
        if threading.current_thread() is threading.main_thread():
            for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                if signal.getsignal(number) is usual:  # somebody else's handler, or being told to ignore it, stays
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def obey(self) -> None:
        """Raises KeyboardInterrupt where a stop was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
