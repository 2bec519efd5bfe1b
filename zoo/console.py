"""What the command line looks like: quiet libraries, a progress bar, tables.

Rich and Keras are imported where they are used.
"""

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def import_quietly(*packages: str) -> None:
    """Imports packages without their start-up noise; what they print is shown if that fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for name in ("absl", "tensorflow", "tf2onnx", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with _stderr_held_back():
        for package in packages:
            import_module(package)
        keras, tensorflow = map(sys.modules.get, ("keras", "tensorflow"))
        if keras and tensorflow and keras.backend.backend() == "tensorflow":
            # The search for accelerators is as noisy as the import.
            tensorflow.config.list_logical_devices()


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Holds back what C++ writes to the file descriptor before TensorFlow reads its own settings."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def progress_bar(epochs: int, examples: int, batch_size: int) -> "Iterator[keras.callbacks.Callback]":
    """A Keras callback that shows, on standard error, epoch, images per second, test accuracy and time left."""
    import keras
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn(f"epoch {{task.fields[epoch]}}/{epochs}"),
        BarColumn(),
        TextColumn("{task.fields[rate]:.0f} images/s, test accuracy {task.fields[accuracy]},"),
        TimeElapsedColumn(),
        TextColumn("+"),
        TimeRemainingColumn(),
    )

    class Bar(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            progress.start()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.before, self.started = epoch * examples, time.perf_counter()
            progress.update(task, epoch=epoch + 1)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            done = min((batch + 1) * batch_size, examples)
            rate = done / (time.perf_counter() - self.started)
            progress.update(task, completed=self.before + done, rate=rate)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            progress.update(task, accuracy=f"{logs['val_accuracy']:.2%}")

    progress = Progress(*columns, console=Console(stderr=True))
    task = progress.add_task("", total=epochs * examples, epoch=0, rate=0.0, accuracy="-")
    try:
        yield Bar()
    finally:
        if progress.live.is_started:
            progress.stop()


def show_record(title: str, rows: Mapping[str, Any]) -> None:
    """A table of two columns; empty values are left out."""
    show_table(title, (), [(name, value) for name, value in rows.items() if value not in ("", None)])


def show_table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """A table on standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE, show_header=bool(columns))
    for place in range(len(rows[0])):
        table.add_column(columns[place] if columns else "", overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)
