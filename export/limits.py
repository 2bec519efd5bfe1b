"""Limits on the time and the memory of each step of an export, so that an endless one does not take the caller along.

    KERAS_SKIP_MAX_SECONDS      by default two hours
    KERAS_SKIP_MAX_GIGABYTES    by default nine tenths of the memory that is free when the step begins

A step in a process of its own is killed. Tracing and converting need the caller's model, and so run in the caller's
process: they are interrupted, which takes effect between two operations of Python. Memory is watched only on Linux.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import ExportError

SECONDS, GIGABYTES = "KERAS_SKIP_MAX_SECONDS", "KERAS_SKIP_MAX_GIGABYTES"
_TWO_HOURS, _SHARE, _GB = 7200.0, 0.9, 1e9
_PERIOD = 0.1
# Linux says here how much memory the machine has free, and how much a container may use.
_FREE, _CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")


class _Interrupted(BaseException):
    """Not an Exception, since the converter catches those and continues."""


@dataclass(frozen=True)
class Limits:
    """The limits of a step.

    Attributes:
        seconds: The time.
        gigabytes: The memory; infinite if the free memory is not known.
    """

    seconds: float
    gigabytes: float

    @classmethod
    def now(cls) -> "Limits":
        """Reads them from the environment."""
        return cls(_read_environment(SECONDS, _TWO_HOURS), _read_environment(GIGABYTES, _SHARE * _free_memory()))


def _read_environment(name: str, default: float) -> float:
    given = os.environ.get(name, str(default))
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ValueError(f"Expected {name} to be a number above 0. Received: {name}={given}")
    return value


def _free_memory() -> float:
    """Free memory in gigabytes."""
    found = [float("inf")]
    if _FREE.is_file():
        lines = dict(line.split(":", 1) for line in _FREE.read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024 / _GB)
    if _CONTAINER.is_file() and (limit := _CONTAINER.read_text().strip()).isdigit():
        found.append(int(limit) / _GB)
    return min(found)


def _used_memory(pid: int) -> float:
    """The gigabytes of memory that a process holds; 0 if that is not known, or the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _GB
    except (OSError, ValueError, IndexError):
        return 0.0


@contextmanager
def watch_process(pid: int, stop: Callable[[], object], before: float = 0.0) -> Iterator[list[str]]:
    """Watches a process while something runs in it.

    Args:
        pid: The process.
        stop: Is called once it exceeds a limit, again and again until it ends.
        before: Gigabytes that do not count.

    Yields:
        A list, to which the limits that it exceeded are added.
    """
    limits, start, over = Limits.now(), time.monotonic(), threading.Event()
    exceeded: list[str] = []

    def watch() -> None:
        while not over.wait(_PERIOD):
            if time.monotonic() - start > limits.seconds:
                exceeded.append(f"more than {limits.seconds:g} seconds ({SECONDS})")
            elif _used_memory(pid) - before > limits.gigabytes:
                exceeded.append(f"more than {limits.gigabytes:.3g} GB of memory ({GIGABYTES})")
            if exceeded:
                stop()

    watcher = threading.Thread(target=watch, name="keras-skip limits", daemon=True)
    watcher.start()
    try:
        yield exceeded
    finally:
        over.set()
        watcher.join()


@contextmanager
def enforce_limits(doing: str) -> Iterator[None]:
    """Interrupts this thread once it exceeds a limit.

    Args:
        doing: The name of the step, for the message.

    Raises:
        ExportError: If it exceeds a limit, which the message names.
    """
    thread, pid = threading.get_ident(), os.getpid()
    raise_there = ctypes.pythonapi.PyThreadState_SetAsyncExc
    exceeded: list[str] = []
    try:
        with watch_process(
            pid, lambda: raise_there(ctypes.c_ulong(thread), ctypes.py_object(_Interrupted)), _used_memory(pid)
        ) as exceeded:
            yield
    except _Interrupted:
        raise ExportError(f"Expected {doing} to end. Received: it took {exceeded[0]}") from None
    finally:
        raise_there(ctypes.c_ulong(thread), None)
