"""How the command line looks: quiet libraries, tables, the ends of interrupted runs.

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
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .._progress import LINE_SECONDS
from .columns import lines

if TYPE_CHECKING:
    from ..data import Source


def import_quietly(*packages: str, find_devices: bool = True) -> None:
    """Imports packages without their start-up noise, and has TensorFlow find its devices, which is as noisy."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for name in ("absl", "tensorflow", "tf2onnx", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with quietly():
        for package in packages:
            import_module(package)
        if "keras" in packages and find_spec("tensorflow"):
            # On every backend Keras imports it sooner or later, to write the configuration of a layer for example.
            import_module("tensorflow")
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
    """Yields a function that shows on a terminal how much of the data is read; it takes that and the total."""
    from rich.console import Console
    from rich.progress import Progress

    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("reading the images", visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def say_reading(source: "Source | str | None", *parts: str) -> None:
    """Says on standard error whether the images of some parts, by default all, stay encoded."""
    from ..data.streaming.source import explain_reading

    if source and not isinstance(source, str) and (said := explain_reading(source, parts)):
        print(said, file=sys.stderr)


@contextmanager
def predicting() -> Iterator[Callable[[int, float, int], None]]:
    """Yields a function that shows how far a prediction is; it takes the rows, the bytes read, and all bytes.

    On a terminal it is a bar with the time left; else a line for each minute.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    screen, started = Console(stderr=True), time.perf_counter()
    printed, first = started, 0
    text = TextColumn("{task.fields[rows]:,} inputs, {task.fields[rate]:,.0f}/s,")
    columns = (BarColumn(), text, TimeElapsedColumn(), TextColumn("+"), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", rows=0, rate=0.0)

        def show(rows: int, read: float, total: int) -> None:
            nonlocal printed, first
            first = first or rows
            now = time.perf_counter()
            rate = (rows - first) / (now - started)
            bar.update(task, completed=read, total=total, rows=rows, rate=rate)
            if bar.disable and now - printed >= LINE_SECONDS:
                printed = now
                print(f"{read / total:.0%}: {rows:,} inputs, {rate:,.0f}/s", file=sys.stderr, flush=True)

        yield show


class _Steps(logging.Handler):
    """Hands each message to a function."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())


@contextmanager
def steps(logger: str) -> Iterator[None]:
    """Shows on a terminal what a library logs that it is doing, and for how long the command has run."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    screen, log = Console(stderr=True), logging.getLogger(logger)
    if not screen.is_terminal:
        yield
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=screen, transient=True) as shown:
        task, level = shown.add_task("", total=None), log.level
        handler = _Steps(lambda step: shown.update(task, description=step))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False  # to handlers that libraries install
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
            log.propagate = True


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
    """A table on standard output, as wide as the terminal; elsewhere each row is one line, and no cell is empty.

    Characters that standard output cannot encode appear as in Python's strings.
    """
    from rich.console import Console
    from rich.text import Text

    screen = Console()
    cells = [[" ".join(str(cell).splitlines()) for cell in row] for row in rows]
    if not screen.is_terminal:
        # Two spaces or more are between two cells, for awk -F '  +'.
        cells = [[cell or "-" for cell in row] for row in cells]
    text = "\n".join(lines(columns, cells, screen.width if screen.is_terminal else None))
    title, text = (part.encode(screen.encoding, "backslashreplace").decode(screen.encoding) for part in (title, text))
    # Rich would break lines that are too long, which could then not be copied in one piece.
    screen.print(Text(title, style="italic"), Text(f"{text}\n"), sep="\n", soft_wrap=True)
