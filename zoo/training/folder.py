"""The run folder on disk: everything about a training run.

    runs/NAME/
      run.json        recipe, overrides, seed, versions, revision, environment, status, results
      history.csv     a row per epoch
      tensorboard/    the same figures as events
      checkpoints/    the last two states, from which an interrupted run resumes
      model.keras     the trained network
      gradients.csv   the norms of the gradients, if they were recorded
      report.html     a page: curves, confusions, mistakes, gradients, gates, parity, recipe
      .lock           held by the process that trains; the kernel releases it when the process ends

The status is "running", "complete", "failed" or "interrupted". A run that says "running" was killed if no process holds
the lock. With `overwrite` the new run is trained in RUN.new, where it can be resumed, and replaces the old one once it
is complete. Its record names the run that it `replaces`, so that a later call can finish a move that was cut off. What
else lies in the old folder moves to the new one. Each file is written under another name and renamed, so that none is
ever incomplete.
"""

import difflib
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
REPLACED = ".replaced"
# What a run consists of, with its exports and its measured speed.
_OWN = {
    *(LOCK, REPLACED, "run.json", "history.csv", "tensorboard", "checkpoints", "model.keras", "report.html"),
    *("initial.keras", "initial.weights.h5", "teacher.keras", "gradients.csv", "speed.json", "export", "export-tta"),
}


def hint_at_run(folder: Path) -> str:
    """A sentence on the name of a network without weights, or on runs with similar names; empty for other paths."""
    from ..networks.catalogue import MODELS

    name = str(folder)
    if name in MODELS:
        return f". {name} is a network: name its weights too, or train it first"
    try:
        runs = [
            path.name for path in folder.parent.iterdir() if path.suffix != ".new" and (path / "run.json").is_file()
        ]
    except OSError:
        return ""
    near = difflib.get_close_matches(folder.name, runs, cutoff=0.5)
    return f". Did you mean {' or '.join(str(folder.parent / one) for one in near)}?" if near else ""


def read_record(folder: Path) -> Any:
    """Reads a folder's run.json, which may be another tool's."""
    try:
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"Expected the folder of a run, with a run.json. Received: {str(folder)!r}{hint_at_run(folder)}"
        ) from None
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"Expected a run.json in JSON. Received: {str(folder / 'run.json')!r}: {error}") from None


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return (folder / "run.json").is_file() and is_run_record(read_record(folder))


def is_run_record(record: Any) -> bool:
    """Whether the contents of a run.json are ours: other tools use that name too."""
    return isinstance(record, dict) and record.keys() >= {"recipe", "source", "status", "started"}


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Raises a FileExistsError if the folder holds anything; with `overwrite`, if it holds anything but a run."""
    if not folder.exists() or (folder.is_dir() and not _contents(folder)):
        return
    if overwrite and holds_run(folder):
        return
    if overwrite:
        raise FileExistsError(f"Expected a run to overwrite. Received: {str(folder)!r}, which holds no run")
    raise FileExistsError(f"{str(folder)!r} already exists. Choose another folder, or overwrite the run in it")


def choose_folder(folder: Path, overwrite: bool) -> Path:
    """Chooses the folder to train a run in: its own, or one next to the run that it replaces.

    Args:
        folder: The folder of the run.
        overwrite: Whether a run in that folder may be replaced.

    Raises:
        FileExistsError: If the folder holds something that may not be replaced.
    """
    refuse_existing(folder, overwrite)
    if not (folder / "run.json").exists():
        return folder
    real = folder.resolve() if folder.is_symlink() or folder.name in ("", "..") else folder
    if os.path.ismount(real):
        raise FileExistsError(
            f"{str(folder)!r} is a mount point and cannot be replaced by a new run. Choose a folder inside it"
        )
    beside = real.with_name(f"{real.name}.new")
    if beside.exists() and not (holds_run(beside) and read_record(beside).get("replaces") == real.name):
        raise FileExistsError(
            f"{str(beside)!r} is in the way: a run that replaces {str(folder)!r} is first trained there. Move it away"
        )
    return beside


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Makes the folder if it is missing, and keeps other processes from training in it.

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
        raise TrainingError(f"Another process is training in {str(folder)!r}{_holder(folder)}") from None
    except OSError as error:
        raise type(error)(f"The folder {str(folder)!r} cannot be written: {error.strerror}") from error
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
        # Nobody trains in a folder that cannot be written.
        return False


def _holder(folder: Path) -> str:
    try:
        process = read_record(folder)["process"]
        return f": process {process['pid']} on {process['host']}"
    except (ValueError, KeyError, TypeError):
        return ""


def clear(folder: Path) -> None:
    """Removes a run, except for its run.json, from a locked folder."""
    for path in _contents(folder):
        if path.name in _OWN - {"run.json"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_replaced(folder: Path) -> None:
    """Removes the run that a complete one has replaced, and moves what else lay in its folder to the new one.

    What has the name of something in the new folder gets the ending ".old".
    """
    replaced = folder / REPLACED
    for path in _contents(replaced) if replaced.is_dir() else ():
        if path.name not in _OWN:
            target = folder / path.name
            while os.path.lexists(target):
                target = target.with_name(f"{target.name}.old")
            os.rename(path, target)
    shutil.rmtree(replaced, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Removes the files that a killed process left incomplete in a locked folder."""
    for path in folder.rglob(".*"):
        if TEMPORARY.match(path.name):
            path.unlink()


def _contents(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != LOCK and not TEMPORARY.match(path.name)]
