"""Limits the time and the memory of each step of an export, so that an endless step does not block the caller.

    KERAS_SKIP_MAX_SECONDS      two hours by default
    KERAS_SKIP_MAX_GIGABYTES    nine tenths of the memory that is free when the step begins, by default

A step in a process of its own is killed. Tracing and converting need the caller's model, so they run in the caller's
process and are interrupted, which takes effect between two operations of Python. Only on Linux is memory limited.
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
# On Linux these files hold the free memory of the machine and the memory that a container may use.
_FREE, _CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")


class _Interrupted(BaseException):
    """Ends a step. It is no Exception, because the converter catches those and continues."""


@dataclass(frozen=True)
class Limits:
    """The limits of a step.

    Attributes:
        seconds: The time.
        gigabytes: The memory; infinite if the free memory is unknown.
    """

    seconds: float
    gigabytes: float

    @classmethod
    def now(cls) -> "Limits":
        """Reads the limits from the environment."""
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
    """Returns the free memory in gigabytes."""
    found = [float("inf")]
    if _FREE.is_file():
        lines = dict(line.split(":", 1) for line in _FREE.read_text(encoding="utf-8").splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024 / _GB)
    if _CONTAINER.is_file() and (limit := _CONTAINER.read_text(encoding="utf-8").strip()).isdigit():
        found.append(int(limit) / _GB)
    return min(found)


def _used_memory(pid: int) -> float:
    """Returns the gigabytes of memory that a process holds; 0 if that is unknown, or the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / _GB
    except (OSError, ValueError, IndexError):
        return 0.0


@contextmanager
def watch_process(pid: int, stop: Callable[[], object], before: float = 0.0) -> Iterator[list[str]]:
    """Watches a process while something runs in it.

    Args:
        pid: The process.
        stop: Called when it exceeds a limit, repeatedly until the process ends.
        before: Gigabytes that do not count.

    Yields:
        A list to which every exceeded limit is added.
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
    """Interrupts this thread if it exceeds a limit.

    Args:
        doing: The name of the step, for the message.

    Raises:
        ExportError: If it exceeds a limit; the message names the limit.
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
        raise ExportError(f"Stopped {doing}: it took {exceeded[0]}.") from None
    finally:
        raise_there(ctypes.c_ulong(thread), None)
