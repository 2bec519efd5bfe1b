"""Keras callbacks, one for each task besides the training: history, events, checkpoints, a check of the loss.

What Keras calls validation figures are here figures of the `part` they were measured on: "test", or "validation" where
training examples are held out. Losses are written without the regularisation.
"""

import csv
import math
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from .._files import replace_file
from ..data import Batches
from ..devices.hosts import Hosts
from ..devices.selection import Devices
from ..tasks import Task
from ..tasks.task import measured
from .checkpoints import Checkpoints, Progress, Row
from .interruption import Interrupted, Stop, TrainingError
from .settings import check_interval

# Keras passes the figures as floats or as arrays of one value.
Logs = Mapping[str, float]
# How many steps apart the hosts ask each other whether to stop.
ASK_EVERY = 5


class SetEpoch(keras.callbacks.Callback):
    """Sets the epoch of the data set before Keras fetches its first batch. If the run resumes in the middle of an
    epoch, it also restores the metrics, which Keras resets.
    """

    def __init__(self, batches: Batches, checkpoints: Checkpoints, metrics: Sequence[np.ndarray] | None) -> None:
        super().__init__()
        self.batches, self.checkpoints, self.metrics = batches, checkpoints, metrics

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.batches.epoch = epoch
        if self.metrics is not None:
            self.checkpoints.set_metrics(self.metrics)
            self.metrics = None


class UseAverages(keras.callbacks.Callback):
    """Evaluates a `Learner` with its averaged or slow weights."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self.model.swap()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self.model.swap()


class StopWhenNotFinite(keras.callbacks.Callback):
    """Raises an error once the loss is NaN or infinite. The loss is a running mean, so it stays that way."""

    def __init__(self, every: int = 20) -> None:
        super().__init__()
        self.every = every
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        # Reading the loss waits for the accelerator, so it is not read at every step.
        if batch % self.every == 0:
            self._check(logs["loss"])

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._check(logs["loss"])

    def _check(self, loss: float) -> None:
        if not math.isfinite(float(loss)):
            raise TrainingError(
                f"Expected a finite loss. Received: loss={float(loss)} in epoch {self.epoch + 1}; "
                "a lower optimizer.lr, optimizer.clip_norm=1.0 or a longer schedule.warmup may help"
            )


class History(keras.callbacks.Callback):
    """Appends a row to history.csv after each epoch, and keeps the rows in the progress for the checkpoints.

    After an epoch without an evaluation, the row has no figures of the part.
    """

    def __init__(self, path: Path, progress: Progress, part: str, task: Task) -> None:
        super().__init__()
        self.path, self.progress, self.part, self.task = path, progress, part, task
        figures = ["loss", *(figure.name for figure in task.figures)]
        self.columns = ("epoch", "seconds", "learning_rate", *figures, *(f"{part}_{name}" for name in figures))
        # The file of a killed run may hold one row more than the checkpoint, or part of a row.
        with replace_file(path) as beside:
            self._write(beside, "w", progress.rows, header=True)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.started = time.perf_counter() - self.progress.seconds
        if self.progress.learning_rate is None:
            self.progress.learning_rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.progress.seconds = time.perf_counter() - self.started

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        assert self.progress.learning_rate is not None, "set when the epoch began"
        row: Row = {
            "epoch": epoch + 1,
            "seconds": round(time.perf_counter() - self.started, 3),
            "learning_rate": self.progress.learning_rate,
            **measured(self.task, logs),
        }
        if f"val_{self.task.loss_name}" in logs:
            evaluated = measured(self.task, logs, "val_")
            row |= {f"{self.part}_{name}": value for name, value in evaluated.items()}
        self._write(self.path, "a", [row])
        self.progress.rows.append(row)
        self.progress.seconds, self.progress.learning_rate = 0.0, None

    def _write(self, path: Path, mode: str, rows: list[Row], header: bool = False) -> None:
        with path.open(mode, encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            if header:
                writer.writeheader()
            writer.writerows(rows)


class Events(keras.callbacks.Callback):
    """Writes the rows of the history as TensorBoard scalars. A resumed run writes the file again from its first row."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        super().__init__()
        from tensorboardX.event_file_writer import EventsWriter

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # This writer has no thread, so its errors reach the training.
        self.writer = EventsWriter(str(folder / "events"))
        self.progress = progress
        for row in progress.rows:
            self._write(row)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._write(self.progress.rows[-1])

    def close(self) -> None:
        self.writer.close()

    def _write(self, row: Row) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "epoch"]
        self.writer.write_event(Event(wall_time=time.time(), step=int(row["epoch"]), summary=Summary(value=values)))
        self.writer.flush()


class Checkpoint(keras.callbacks.Callback):
    """Saves the state after each epoch, every so many minutes or steps, and when asked to stop.

    A signal may reach only one of several hosts, or each at another step. So they ask each other every few steps, and
    all stop after the same one; the first host saves the state.

    Args:
        checkpoints: Saves them.
        progress: Kept up to date by the other callbacks, except for its position.
        batches: The training set, which knows the position it began at.
        minutes, steps: How often to save within an epoch; None: never.
        stop: Holds the signal that asked to stop.
        hosts: The processes that train together.
        resume_hint: The message of the interruption.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        progress: Progress,
        batches: Batches,
        minutes: float | None,
        steps: int | None,
        stop: Stop,
        hosts: Hosts,
        resume_hint: str,
    ) -> None:
        super().__init__()
        self.checkpoints, self.progress, self.batches = checkpoints, progress, batches
        self.minutes, self.steps, self.stop, self.resume_hint = minutes, steps, stop, resume_hint
        self.hosts = hosts
        self.saved = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        epoch, first = self.batches.position
        done = first + batch + 1
        # The last batch of an epoch is saved after the evaluation.
        if done == self.batches.batches_per_epoch:
            return
        stops = (self.hosts.count == 1 or batch % ASK_EVERY == 0) and self._stops()
        if stops or self._due(done):
            self._save(epoch, done, stops)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._save(epoch + 1, 0, self._stops())

    def _stops(self) -> bool:
        """Whether this process was asked to stop, or any of those that train together."""
        return self.hosts.any(self.stop.signum is not None)

    def _due(self, done: int) -> bool:
        late = self.minutes is not None and time.monotonic() - self.saved >= 60 * self.minutes
        return late or (self.steps is not None and done % self.steps == 0)

    def _save(self, epoch: int, batch: int, stops: bool) -> None:
        self.progress.epoch, self.progress.batch = epoch, batch
        if self.hosts.writes:
            self.checkpoints.save(self.progress, epoch * self.batches.batches_per_epoch + batch)
        self.saved = time.monotonic()
        if stops:
            raise Interrupted(self.stop.signum or signal.SIGTERM, self.resume_hint)


def check_intervals(minutes: float | None, steps: int | None, gradients: int | None, devices: Devices) -> None:
    """Raises a ValueError if an interval is no number of minutes or steps, or if several devices rule it out."""
    for name, value in (("gradients", gradients), ("checkpoint_steps", steps)):
        if value is not None:
            check_interval(value, name)
    real = isinstance(minutes, (int, float)) and not isinstance(minutes, bool) and minutes >= 0
    if minutes is not None and not real:
        raise ValueError(
            "Expected checkpoint_minutes to be a number of at least 0, or None. "
            f"Received: checkpoint_minutes={minutes!r}"
        )
    if gradients is not None and devices.count > 1:
        raise ValueError(f"Expected one device for gradients. Received: gradients={gradients}, {devices.count} devices")
