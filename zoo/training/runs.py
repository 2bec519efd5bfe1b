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

import csv
import json
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._files import BESIDE, replacing
from .recipe import Recipe

LOCK = ".lock"


class TrainingError(RuntimeError):
    """Training that cannot go on, such as a loss that is not finite; the run's status says "failed"."""


@dataclass(frozen=True)
class Run:
    """A training run and its folder.

    Attributes:
        path: The folder.
        record: The contents of run.json.
    """

    path: Path
    record: dict[str, Any]

    @property
    def status(self) -> str:
        return self.record["status"]

    @property
    def status_now(self) -> str:
        """The status, but "killed" for a run that says "running" when nobody trains there."""
        return "killed" if self.status == "running" and not is_claimed(self.path) else self.status

    @property
    def epochs_done(self) -> int:
        """The epochs that were finished."""
        try:
            with (self.path / "history.csv").open(newline="") as file:
                return sum(1 for _ in csv.DictReader(file))
        except FileNotFoundError:
            return 0

    @property
    def recipe(self) -> Recipe:
        return Recipe.from_dict(self.record["recipe"])

    @property
    def results(self) -> dict[str, Any]:
        return self.record["results"]

    @property
    def source(self) -> dict[str, Any]:
        """The data source's name, class names and preprocessing, as plain data."""
        return self.record["source"]

    @property
    def model_path(self) -> Path:
        return self.path / "model.keras"


def open_run(path: "str | Path | Run") -> Run:
    """The run in a folder.

    Args:
        path: The folder; a `Run` comes back as it is now on disk.

    Returns:
        A `Run`.

    Raises:
        ValueError: If there is no run.

    Example:

    >>> import zoo
    >>> zoo.open_run("nowhere")
    Traceback (most recent call last):
    ValueError: Expected the folder of a run, with a run.json. Received: 'nowhere'
    """
    folder = path.path if isinstance(path, Run) else Path(path)
    record = _read(folder)
    if not _is_ours(record):
        raise ValueError(f"Expected a run.json of keras-skip. Received: {str(folder / 'run.json')!r}")
    return _checked(folder, record)


def open_complete_run(path: "str | Path | Run") -> Run:
    """The run in a folder; a ValueError if it is not complete."""
    run = open_run(path)
    if run.status != "complete":
        raise ValueError(f"Expected a complete run. Received: {str(run.path)!r}, which is {run.status}")
    return run


def _read(folder: Path) -> Any:
    """The contents of a folder's run.json, ours or not."""
    try:
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"Expected the folder of a run, with a run.json. Received: {str(folder)!r}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"Expected a run.json in JSON. Received: {str(folder / 'run.json')!r}: {error}") from None


def is_ours(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return (folder / "run.json").is_file() and _is_ours(_read(folder))


def _is_ours(record: Any) -> bool:
    """Other tools call a file run.json too."""
    return isinstance(record, dict) and record.keys() >= {"recipe", "source", "status", "started"}


def _checked(folder: Path, record: dict[str, Any]) -> Run:
    """The run of a record of ours; raises a ValueError if a field that this version needs is missing or wrong."""
    run = Run(folder, {"overrides": {}, "results": {}, **record})
    kinds = {"source": dict, "overrides": dict, "results": dict, "status": str, "started": str}
    wrong = [name for name, kind in kinds.items() if not isinstance(run.record[name], kind)]
    try:
        whole = not wrong and run.source.keys() >= {"class_names", "preprocessing"}
        if whole and isinstance(run.source["name"], str) and run.recipe:
            return run
        reason = f"a wrong {' and '.join(wrong) or 'source'}"
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise ValueError(f"Expected the record of a run. Received: {str(folder / 'run.json')!r}, with {reason}")


def list_runs(folder: str | Path) -> list[Run]:
    """The runs in a folder and below it, the oldest first.

    A run.json that cannot be read, or a damaged one of ours, is skipped with a warning; one of another tool is ignored.

    Args:
        folder: Such as "runs".

    Returns:
        A list of `Run`.

    Example:

    >>> import zoo
    >>> zoo.list_runs("nowhere")
    []
    """
    found = []
    for path in Path(folder).rglob("run.json"):
        try:
            record = _read(path.parent)
            if _is_ours(record):
                found.append(_checked(path.parent, record))
        except ValueError as error:
            warnings.warn(f"{error}; it is skipped", stacklevel=2)
    return sorted(found, key=lambda run: (run.record["started"], str(run.path)))


# What `summary` says of a run.
COLUMNS = (
    "run",
    "status",
    "network",
    "data",
    "epochs",
    "settings",
    "validation_accuracy",
    "test_accuracy",
    "train_accuracy",
    "seconds",
)


def summary(run: Run) -> dict[str, Any]:
    """A run as a row of `COLUMNS`: what was set differently from its recipe, and what it reached, where it is known.

    The training accuracy is that of the trained network, on the training images as they are.
    """
    settings = {name: value for name, value in run.record["overrides"].items() if name not in ("source", "epochs")}
    figures = ("validation_accuracy", "test_accuracy", "train_accuracy", "seconds")
    return {
        "run": run.path.as_posix(),
        "status": run.status_now,
        "network": run.recipe.network,
        "data": Path(run.source["name"]).name,
        "epochs": f"{run.epochs_done}/{run.recipe.epochs}",
        "settings": " ".join(f"{name}={value}" for name, value in settings.items()),
        **{name: run.results.get(name) for name in figures},
    }


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Raises FileExistsError if something is there; with `overwrite`, if it is anything but a run."""
    if not folder.exists() or (folder.is_dir() and not _contents(folder)):
        return
    if overwrite and is_ours(folder):
        return
    if overwrite:
        raise FileExistsError(f"Expected a run to overwrite. Received: {str(folder)!r}, which holds no run of ours")
    raise FileExistsError(
        f"Expected a folder that does not exist yet. Received: {str(folder)!r}; choose another, or ask to overwrite it"
    )


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
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


def is_claimed(folder: Path) -> bool:
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
        process = open_run(folder).record["process"]
    except (ValueError, KeyError):
        return ""
    return f", where process {process['pid']} on {process['host']} is"


def start_run(folder: Path, record: dict[str, Any]) -> Run:
    """Writes a new run.json into a claimed folder, and removes old files from it, checkpoints before the record."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    run = update(Run(folder, {}), **record)
    for path in _contents(folder):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "run.json":
            path.unlink()
    (folder / "checkpoints").mkdir()
    return run


def tidy(folder: Path) -> None:
    """Removes what a killed process was writing; for a folder that is claimed."""
    for path in folder.rglob(".*"):
        if BESIDE.match(path.name):
            path.unlink()


def _contents(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != LOCK and not BESIDE.match(path.name)]


def update(run: Run, **changes: Any) -> Run:
    """The run with changes to its record, on disk as well."""
    record = {**run.record, **changes}
    with replacing(run.path / "run.json") as beside:
        beside.write_text(json.dumps(record, indent=2) + "\n")
    return Run(run.path, record)


def revision() -> str | None:
    """The git revision of this package's source, marked if it was changed since; None outside a checkout."""
    here = Path(__file__)
    tracked = ["git", "ls-files", "--error-unmatch", here.name]
    described = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        for command in (tracked, described):
            answer = subprocess.run(command, cwd=here.parent, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
