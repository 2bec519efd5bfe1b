"""How training ends early: on an error, or after the current step on Ctrl-C and SIGTERM."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TrainingError(RuntimeError):
    """Training that cannot go on, such as a loss that is not finite; the run's status says "failed"."""


class Interrupted(KeyboardInterrupt):
    """Training that was asked to stop, and has kept all it had done.

    Attributes:
        signum: The signal: SIGINT (Ctrl-C) or SIGTERM.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum


class Stop:
    """Whether to stop: the number of the signal that came, or None."""

    signum: int | None = None


@contextmanager
def catch_stop_signals() -> Iterator[Stop]:
    """Takes SIGINT and SIGTERM for the length of the block; a second one of a kind acts as if nobody had taken it.

    Outside the main thread, where Python allows no handlers, nothing is taken.
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
