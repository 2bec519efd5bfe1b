"""What the command line looks like: quiet libraries, progress, tables, the ends of interrupted runs.

Rich and Keras are imported where they are used.
"""

import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .columns import lines

if TYPE_CHECKING:
    import keras

    from ..devices.selection import Devices

# Between two lines of progress where there is no terminal.
LINE_SECONDS = 60


def import_quietly(*packages: str, find_devices: bool = True) -> None:
    """Imports packages without their start-up noise, and has TensorFlow find its devices, which is as noisy."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for name in ("absl", "tensorflow", "tf2onnx", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with quietly():
        for package in packages:
            import_module(package)
        keras, tensorflow = map(sys.modules.get, ("keras", "tensorflow"))
        if find_devices and keras and tensorflow and keras.backend.backend() == "tensorflow":
            tensorflow.config.list_logical_devices()


@contextmanager
def quietly() -> Iterator[None]:
    """Holds back what is written to standard error, by C++ too; it is shown if that ends in more than a sentence."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except (ValueError, ImportError):
            raise
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def reading() -> Iterator[Callable[[int, int], None]]:
    """A function that shows, on a terminal, how much of the data is read; to be called with that and with the whole."""
    from rich.console import Console
    from rich.progress import Progress

    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("reading the images", visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


@contextmanager
def progress_bar(
    epochs: int, examples: int, batch_size: int, devices: "Devices"
) -> "Iterator[list[keras.callbacks.Callback]]":
    """Keras callbacks that show, on standard error, the devices, then epoch, images per second, accuracy, time left.

    On a terminal it is a bar; else a line for each epoch, and for each minute of a long one. Of several processes, that
    of rank 0 alone shows something.
    """
    import keras
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    batches = -(-examples // batch_size)
    columns = (
        TextColumn(f"epoch {{task.fields[epoch]}}/{epochs}"),
        BarColumn(),
        TextColumn("{task.fields[rate]:.0f} images/s, accuracy {task.fields[accuracy]},"),
        TimeElapsedColumn(),
        TextColumn("+"),
        TimeRemainingColumn(),
    )
    screen = Console(stderr=True)

    class Bar(keras.callbacks.Callback):
        accuracy = "-"
        begun = False

        def on_train_begin(self, logs: Any = None) -> None:
            # What is left of an epoch takes a `fit` of its own, and begins once more.
            if not self.begun:
                _say_devices(devices)
            self.begun = True

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            # What a resumed run had done before is no measure of how fast it is now.
            self.epoch, self.skipped = epoch, (batches - self.params["steps"]) * batch_size
            self.started = self.said = time.perf_counter()
            if screen.is_terminal and not progress.live.is_started:
                progress.start()
                progress.reset(task, completed=self._completed(0), accuracy=self.accuracy)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self._show((batch + 1) * batch_size)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.accuracy = f"{logs['val_accuracy']:.2%}"
            self._show(examples - self.skipped, ended=True)

        def on_train_end(self, logs: Any = None) -> None:
            # A terminal has room for the bar of one training at a time.
            if progress.live.is_started:
                progress.stop()

        def _show(self, done: int, ended: bool = False) -> None:
            now = time.perf_counter()
            done = min(done, examples - self.skipped)
            rate = done / (now - self.started)
            completed = self._completed(done)
            if screen.is_terminal:
                progress.update(task, completed=completed, epoch=self.epoch + 1, rate=rate, accuracy=self.accuracy)
            elif ended or now - self.said >= LINE_SECONDS:
                self.said = now
                left = timedelta(seconds=round((epochs * examples - completed) / rate))
                share = "" if ended else f" ({completed / examples - self.epoch:.0%})"
                accuracy = f"accuracy {self.accuracy}" if ended else "training"
                line = f"epoch {self.epoch + 1}/{epochs}{share}: {rate:.0f} images/s, {accuracy}, {left} left"
                print(line, file=sys.stderr, flush=True)

        def _completed(self, done: int) -> int:
            return self.epoch * examples + self.skipped + done

    progress = Progress(*columns, console=screen)
    task = progress.add_task("", total=epochs * examples, epoch=1, rate=0.0, accuracy="-")
    try:
        yield [Bar()] if devices.hosts.writes else []
    finally:
        if progress.live.is_started:
            progress.stop()


def _say_devices(devices: "Devices") -> None:
    """A line on standard error: how many, of which kind and model, with what memory and libraries."""
    report = devices.report()
    kind = report["kind"].upper()
    what = f"the {kind}" if report["count"] == 1 else f"{report['count']} devices of the kind {kind}"
    if report["processes"] > 1:
        what += f" in {report['processes']} processes"
    memory = (f"{size / 1e9:.0f} GB" for size in report["memory_bytes"] or ())
    known = [*dict.fromkeys([*report["names"], *memory]), f"Keras on {report['backend']}"]
    known += [f"{name} {report[key]}" for name, key in (("CUDA", "cuda"), ("driver", "driver")) if report[key]]
    print(f"Training on {what}: {', '.join(known)}", file=sys.stderr, flush=True)


@contextmanager
def interruptible() -> "Iterator[None]":
    """Turns an interruption into its message and the exit code of its signal; a second Ctrl-C has no message."""
    import typer

    from ..training.interruption import Interrupted

    try:
        yield
    except KeyboardInterrupt as error:
        if isinstance(error, Interrupted):
            print(f"Interrupted. {error}", file=sys.stderr)
        raise typer.Exit(128 + getattr(error, "signum", signal.SIGINT)) from None


def show_record(title: str, rows: Mapping[str, Any]) -> None:
    """A table of two columns; empty values are left out."""
    show_table(title, (), [(name, value) for name, value in rows.items() if value not in ("", None)])


def show_table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """A table on standard output, as wide as the terminal; elsewhere each row is one line."""
    from rich.console import Console
    from rich.text import Text

    screen = Console()
    cells = [[" ".join(str(cell).splitlines()) for cell in row] for row in rows]
    text = "\n".join(lines(columns, cells, screen.width if screen.is_terminal else None))
    # Rich would break lines that are too long, which could then not be copied in one piece.
    screen.print(Text(title, style="italic"), Text(f"{text}\n"), sep="\n", soft_wrap=True)
