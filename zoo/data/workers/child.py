"""What a worker process runs first, in place of the user's program; see `stream`."""

import logging
import os
import signal
import sys
import threading
from types import FrameType

# How long a worker lives on after SIGTERM.
_GRACE_SECONDS = 30
# The parent starts this process with these blocked, until it is ready for them; Windows has no such masks.
SIGNALS = signal.SIGINT, signal.SIGTERM
CAN_WAIT = hasattr(signal, "pthread_sigmask")


def prepare() -> None:
    """Readies the process before it imports NumPy and grain."""
    # There is a process for each core already.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"
    # grain would import JAX, if it is installed, to walk through nested structures; without it, grain's own code does.
    sys.modules["jax"] = None  # type: ignore[assignment]
    logging.getLogger("absl").setLevel(logging.ERROR)
    # Ctrl-C and SIGTERM may go to all processes of a group. The parent still needs the batches of its last step, and
    # ends its workers then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)
    if CAN_WAIT:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def follow_parent(worker: int, count: int) -> None:
    """Ends this process with its parent, even if that is killed; for `worker_init_fn` of grain."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    assert parent is not None, "a worker is a child"
    parent.join()
    os._exit(1)


def _end_later(signum: int, frame: FrameType | None) -> None:
    timer = threading.Timer(_GRACE_SECONDS, os._exit, [128 + signum])
    timer.daemon = True
    timer.start()


if __name__ == "__mp_main__":
    prepare()
