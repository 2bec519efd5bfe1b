"""How training ends early: on an error, or after the current step on Ctrl-C and SIGTERM."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TrainingError(RuntimeError):
    """Training has failed, for example because the loss is not finite; the status of the run is "failed"."""


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and has saved a checkpoint.

    Attributes:
        signum: The signal: SIGINT (Ctrl-C) or SIGTERM.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum


class Stop:
    """Holds the number of the signal that asked to stop, or None."""

    signum: int | None = None


@contextmanager
def catch_stop_signals() -> Iterator[Stop]:
    """Catches the first SIGINT and the first SIGTERM inside the block; the second one acts as usual.

    Outside the main thread Python allows no handlers, so nothing is caught.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    before: dict[int, signal._HANDLER] = {}

    def note(signum: int, frame: FrameType | None) -> None:
        stop.signum = signum
        signal.signal(signum, before[signum])

    for signum in (signal.SIGINT, signal.SIGTERM):
        before[signum] = signal.getsignal(signum)
        signal.signal(signum, note)
    try:
        yield stop
    finally:
        for taken, handler in before.items():
            signal.signal(taken, handler)
