"""Shows, on standard error, how far a measurement is."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .._progress import LINE_SECONDS


@contextmanager
def meter(what: str, batches: int) -> Iterator[list[keras.callbacks.Callback]]:
    """Callbacks that show how far a measurement of so many batches is; none if `what`, such as "test examples", is "".

    On a terminal it is a bar, which goes when the measurement ends; else a line for each minute.
    """
    if not what:
        yield []
        return
    console, name = Console(stderr=True), TextColumn(f"measuring the {what}")
    columns = name, BarColumn(), TimeElapsedColumn(), TextColumn("+"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield [_Meter(progress, what, batches)]


class _Meter(keras.callbacks.Callback):
    """Updates the bar, or prints the lines."""

    def __init__(self, progress: Progress, what: str, batches: int) -> None:
        super().__init__()
        self.progress, self.what, self.batches = progress, what, batches
        self.task = progress.add_task("", total=batches)

    def on_test_begin(self, logs: Any = None) -> None:
        self.started = self.printed = time.perf_counter()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        now, done = time.perf_counter(), batch + 1
        self.progress.update(self.task, completed=done)
        if self.progress.disable and now - self.printed >= LINE_SECONDS:
            self.printed = now
            left = timedelta(seconds=round((now - self.started) / done * (self.batches - done)))
            print(f"measuring the {self.what} ({done / self.batches:.0%}): {left} left", file=sys.stderr, flush=True)
