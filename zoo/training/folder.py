"""The run folder, which says everything about a training run.

    runs/NAME/
      run.json        recipe, overrides, seed, versions, revision, environment, status, results
      history.csv     a row per epoch
      tensorboard/    the same figures as events
      checkpoints/    the last two states, from which a run that was stopped goes on
      model.keras     the trained network
      gradients.csv   how far the gradient reached, where that was to be recorded
      report.html     all of it to look at: curves, confusions, mistakes, gradients, gates, parity, recipe
      .lock           held by the process that trains; the kernel releases it, however that process ends

The status is "running", "complete", "failed" or "interrupted"; "running" without a process that holds the lock is a run
that was killed. A run that is to replace another is in RUN.new until it is complete. Files are written beside their
place and moved there in one step, so that none is ever half there.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .._files import TEMPORARY
from .interruption import TrainingError

LOCK = ".lock"


def read_record(folder: Path) -> Any:
    """The contents of a folder's run.json, ours or not."""
    try:
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"Expected the folder of a run, with a run.json. Received: {str(folder)!r}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"Expected a run.json in JSON. Received: {str(folder / 'run.json')!r}: {error}") from None


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return (folder / "run.json").is_file() and is_run_record(read_record(folder))


def is_run_record(record: Any) -> bool:
    """Other tools call a file run.json too."""
    return isinstance(record, dict) and record.keys() >= {"recipe", "source", "status", "started"}


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Raises FileExistsError if something is there; with `overwrite`, if it is anything but a run."""
    if not folder.exists() or (folder.is_dir() and not _contents(folder)):
        return
    if overwrite and holds_run(folder):
        return
    if overwrite:
        raise FileExistsError(f"Expected a run to overwrite. Received: {str(folder)!r}, which holds no run of ours")
    raise FileExistsError(
        f"Expected a folder that does not exist yet. Received: {str(folder)!r}; choose another, or ask to overwrite it"
    )


def choose_folder(folder: Path, overwrite: bool) -> Path:
    """The folder in which a run is trained: its own, or one next to the run that it replaces.

    Args:
        folder: The folder of the run.
        overwrite: Whether a run in that folder may be replaced.

    Raises:
        FileExistsError: If something is there that may not be replaced.
    """
    refuse_existing(folder, overwrite)
    if not (folder / "run.json").exists():
        return folder
    real = folder.resolve() if folder.is_symlink() or folder.name in ("", "..") else folder
    if os.path.ismount(real):
        raise FileExistsError(
            f"Expected a folder that can be moved, to overwrite it. Received: the mount point {str(folder)!r}"
        )
    beside = real.with_name(f"{real.name}.new")
    if beside.exists() and not (holds_run(beside) and read_record(beside).get("replaces") == real.name):
        raise FileExistsError(
            f"Expected nothing in {str(beside)!r}, where the run that replaces {str(folder)!r} is trained. "
            "Received: something else"
        )
    return beside


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Makes the folder if need be, and keeps other processes from training in it.

    Raises:
        OSError: If the folder cannot be made or written to.
        TrainingError: If another process trains there.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=1)
    except Timeout:
        holder = _holder(folder)
        raise TrainingError(
            f"Expected a run in which no other process is training. Received: {str(folder)!r}{holder}"
        ) from None
    except OSError as error:
        raise type(error)(
            f"Expected a folder that can be written to. Received: {str(folder)!r}: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process trains in the folder now."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / LOCK, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:
        # Where nothing can be written nobody trains.
        return False


def _holder(folder: Path) -> str:
    try:
        process = read_record(folder)["process"]
        return f", where process {process['pid']} on {process['host']} is"
    except (ValueError, KeyError, TypeError):
        return ""


def clear(folder: Path) -> None:
    """Removes old files from a claimed folder, but not its record."""
    for path in _contents(folder):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "run.json":
            path.unlink()


def remove_partial_files(folder: Path) -> None:
    """Removes what a killed process was writing; for a folder that is claimed."""
    for path in folder.rglob(".*"):
        if TEMPORARY.match(path.name):
            path.unlink()


def _contents(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != LOCK and not TEMPORARY.match(path.name)]
