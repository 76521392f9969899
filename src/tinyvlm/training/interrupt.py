"""Stopping between steps: a training step is never cut in half by Ctrl-C or the notebook's stop button."""

import signal
import threading
from types import FrameType
from typing import Any


class Interrupt:
    """While entered, the first SIGINT only sets `asked`; the second raises KeyboardInterrupt at once.

    Does nothing outside the main thread, where Python allows no signal handlers, or where SIGINT is ignored.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None
        self._mine = False

    def __enter__(self) -> "Interrupt":
        main = threading.current_thread() is threading.main_thread()
        self._mine = main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        if self._mine:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._mine:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("Stopping after this step; interrupt again to stop at once.", flush=True)
