"""Shows, on standard error, how far a training run is."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .._progress import LINE_SECONDS
from ..devices.selection import Devices
from ..tasks import Task
from ..tasks.task import Figure
from .evaluation import EVALUATION_BATCH
from .recipe import Recipe


@contextmanager
def progress_bar(
    recipe: Recipe, examples: Mapping[str, int], devices: Devices, task: Task, verbose: bool
) -> Iterator[list[keras.callbacks.Callback]]:
    """Keras callbacks that show the devices, then epoch, examples per second, the figure that ranks runs, time left.

    `examples` are the numbers of examples by their part: the figure is of "validation" if there is one, else of "test".
    On a terminal it is a bar; else a line for each epoch, and for each minute of a long one. Of several processes, only
    that of rank 0 shows something, and none does unless it is `verbose`.
    """
    if not (verbose and devices.hosts.writes):
        yield []
        return
    figure = f"{'validation' if 'validation' in examples else 'test'} {task.figures[0].title}"
    columns = (
        TextColumn(f"epoch {{task.fields[epoch]}}/{recipe.epochs}"),
        BarColumn(),
        TextColumn(f"{{task.fields[rate]:.0f}} examples/s, {figure} {{task.fields[reached]}},"),
        TimeElapsedColumn(),
        TextColumn("+"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    try:
        yield [Bar(progress, recipe, examples, devices, task.figures[0], figure)]
    finally:
        if progress.live.is_started:
            progress.stop()


class Bar(keras.callbacks.Callback):
    """Updates a bar of Rich's, or prints lines where there is no terminal."""

    reached = "-"
    begun = False

    def __init__(
        self,
        progress: Progress,
        recipe: Recipe,
        examples: Mapping[str, int],
        devices: Devices,
        figure: Figure,
        title: str,
    ) -> None:
        super().__init__()
        self.progress, self.devices, self.figure, self.title = progress, devices, figure, title
        self.epochs, self.examples, self.batch_size = recipe.epochs, examples["train"], recipe.batch_size
        measured = examples.get("validation", examples["test"])
        self.measured_batches = -(-measured // devices.round_up(EVALUATION_BATCH))
        self.costs = _costs(recipe)
        self.task = progress.add_task("", total=sum(self.costs) * self.examples, epoch=1, rate=0.0, reached="-")

    def on_train_begin(self, logs: Any = None) -> None:
        # What is left of an epoch takes a `fit` of its own, and begins once more.
        if not self.begun:
            _show_devices(self.devices)
        self.begun = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # A resumed run did some of this epoch before, which says nothing about its speed now.
        batches = -(-self.examples // self.batch_size)
        self.epoch, self.skipped = epoch, (batches - self.params["steps"]) * self.batch_size
        self.started = self.printed = time.perf_counter()
        self.progress.update(self.task, epoch=epoch + 1)
        if self.progress.console.is_terminal and not self.progress.live.is_started:
            self.progress.start()
            if not self.progress.tasks[0].completed:
                # What a resumed run did before counts neither for the elapsed time nor for the speed.
                self.progress.reset(self.task, completed=self._completed(0))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._show((batch + 1) * self.batch_size)

    def on_test_begin(self, logs: Any = None) -> None:
        self.measuring = time.perf_counter()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        share = f"measured {(batch + 1) / self.measured_batches:.0%}"
        now, terminal = time.perf_counter(), self.progress.console.is_terminal
        if terminal and now - self.measuring > 1:
            self.progress.update(self.task, reached=share)
        elif not terminal and now - self.printed >= LINE_SECONDS:
            self.printed = now
            print(f"epoch {self.epoch + 1}/{self.epochs}: {self.title} {share}", file=sys.stderr, flush=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (name := f"val_{self.figure.name}") in logs:
            self.reached = self.figure.text(logs[name])
        self._show(self.examples - self.skipped, ended=True)

    def on_train_end(self, logs: Any = None) -> None:
        # A terminal has room for the bar of one training run at a time.
        if self.progress.live.is_started:
            self.progress.stop()

    def _show(self, done: int, ended: bool = False) -> None:
        now = time.perf_counter()
        done = min(done, self.examples - self.skipped)
        elapsed, completed = now - self.started, self._completed(done)
        rate = done / elapsed
        if self.progress.console.is_terminal:
            self.progress.update(self.task, completed=completed, rate=rate, reached=self.reached)
        elif ended or now - self.printed >= LINE_SECONDS:
            self.printed = now
            speed = (completed - self._completed(0)) / elapsed
            left = timedelta(seconds=round((sum(self.costs) * self.examples - completed) / speed))
            share = "" if ended else f" ({(self.skipped + done) / self.examples:.0%})"
            reached = f"{self.title} {self.reached}" if ended else "training"
            line = f"epoch {self.epoch + 1}/{self.epochs}{share}: {rate:.0f} examples/s, {reached}, {left} left"
            print(line, file=sys.stderr, flush=True)

    def _completed(self, done: int) -> int:
        return sum(self.costs[: self.epoch]) * self.examples + self.costs[self.epoch] * (self.skipped + done)


def _costs(recipe: Recipe) -> list[int]:
    """What an example costs in each epoch: images may grow, and a pixel of a larger one takes as long."""
    heights = [recipe.augment.height(epoch / recipe.epochs) for epoch in range(recipe.epochs)]
    tallest = max(filter(None, heights), default=1)
    return [(height or tallest) ** 2 for height in heights]


def _show_devices(devices: Devices) -> None:
    """Writes the number, kind, models, memory and libraries of the devices in a line on standard error."""
    report = devices.report()
    kind = report["kind"].upper()
    what = f"the {kind}" if report["count"] == 1 else f"{report['count']} {kind}s"
    if report["processes"] > 1:
        what += f" in {report['processes']} processes"
    memory = (f"{size / 1e9:.0f} GB" for size in report["memory_bytes"] or ())
    known = [*dict.fromkeys([*report["names"], *memory]), f"Keras on {report['backend']}"]
    known += [f"{name} {report[key]}" for name, key in (("CUDA", "cuda"), ("driver", "driver")) if report[key]]
    print(f"Training on {what}: {', '.join(known)}", file=sys.stderr, flush=True)
