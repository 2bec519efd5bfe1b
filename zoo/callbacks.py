"""What happens in each epoch beside the training: one Keras callback for each thing.

What Keras calls validation figures are test figures here: they choose nothing. Losses are written as the cross-entropy
alone, without the regularisation.
"""

import csv
import math
import time
from pathlib import Path
from typing import Any

import keras

from .data import Batches
from .runs import TrainingError, replacing

COLUMNS = ("epoch", "seconds", "learning_rate", "loss", "accuracy", "test_loss", "test_accuracy")


class SetEpoch(keras.callbacks.Callback):
    """Tells the data set which epoch it is, before its first batch is fetched."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.epoch = epoch


class UseAverages(keras.callbacks.Callback):
    """Evaluates a `Learner` with its averages."""

    def on_test_begin(self, logs: Any = None) -> None:
        self.model.swap()

    def on_test_end(self, logs: Any = None) -> None:
        self.model.swap()


class StopWhenNotFinite(keras.callbacks.Callback):
    """Stops with an error once the loss is NaN or infinite; the loss is a mean, so it does not become finite again."""

    def __init__(self, every: int = 20) -> None:
        super().__init__()
        self.every = every
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # To read the loss is to wait for the accelerator, so not at every step.
        if batch % self.every == 0:
            self._check(logs["loss"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._check(logs["loss"])

    def _check(self, loss: Any) -> None:
        if not math.isfinite(float(loss)):
            raise TrainingError(
                f"Expected a finite loss. Received: loss={float(loss)} in epoch {self.epoch + 1}; "
                "a lower learning_rate or a longer warmup may help"
            )


class History(keras.callbacks.Callback):
    """Appends a row to history.csv after each epoch, and keeps the rows; the rate is that of the epoch's first step."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()
        self.rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = {
            "epoch": epoch + 1,
            "seconds": round(time.perf_counter() - self.started, 3),
            "learning_rate": self.rate,
            "loss": float(logs["cross_entropy"]),
            "accuracy": float(logs["accuracy"]),
            "test_loss": float(logs["val_cross_entropy"]),
            "test_accuracy": float(logs["val_accuracy"]),
        }
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        self.rows.append(row)


class Events(keras.callbacks.Callback):
    """Writes the figures of each row of the history as TensorBoard scalars, with TensorFlow's own writer alone."""

    def __init__(self, folder: Path, history: History) -> None:
        super().__init__()
        self.folder, self.history = folder, history

    def on_train_begin(self, logs: Any = None) -> None:
        import tensorflow as tf

        if keras.backend.backend() != "tensorflow":
            # TensorFlow would take the memory that the training needs.
            tf.config.set_visible_devices([], "GPU")
        self.tf = tf
        self.writer = tf.summary.create_file_writer(str(self.folder))
        plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        self.metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with self.writer.as_default():
            for name, value in self.history.rows[-1].items():
                if name != "epoch":
                    value = self.tf.constant(value, "float32")
                    self.tf.summary.write(name, value, step=epoch + 1, metadata=self.metadata)
        self.writer.flush()


class Checkpoint(keras.callbacks.Callback):
    """Keeps weights and optimizer state of the last epoch; a kill while it writes leaves the state before."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "last.weights.h5"

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with replacing(self.path) as beside:
            self.model.save_weights(beside)
