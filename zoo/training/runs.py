"""Runs on disk: opens and lists them, updates their records, and puts a complete run in its final folder."""

import csv
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._files import replace_file
from ..devices.hosts import is_first_process
from ..tasks import task_of
from .folder import REPLACED, clear, is_locked, is_run_record, read_record, refuse_existing, remove_replaced
from .recipe import Recipe


@dataclass(frozen=True)
class Run:
    """A training run in its folder.

    Attributes:
        path: The folder.
        record: The contents of run.json.
    """

    path: Path
    record: dict[str, Any]

    def __fspath__(self) -> str:
        """The folder, so a run may stand wherever the folder of one may, as in `zoo.load(run)`."""
        return str(self.path)

    def __repr__(self) -> str:
        recipe, results = self.record.get("recipe", {}), self.record.get("results", {})
        facts = {"recipe": recipe.get("name"), "status": self.record.get("status")}
        name = f"test_{task_of(self.record.get('source', {})).figures[0].name}"
        if name in results:
            facts[name] = round(results[name], 4)
        return f"Run({str(self.path)!r}, {', '.join(f'{name}={value!r}' for name, value in facts.items())})"

    @property
    def status(self) -> str:
        return self.record["status"]

    @property
    def status_now(self) -> str:
        """The status, or "killed" if it says "running" and no process trains there."""
        return "killed" if self.status == "running" and not is_locked(self.path) else self.status

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        try:
            with (self.path / "history.csv").open(encoding="utf-8", newline="") as file:
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
        """The data source's name, task, class names and preprocessing, as plain data."""
        return self.record["source"]

    @property
    def model_path(self) -> Path:
        return self.path / "model.keras"


def open_run(path: "str | Path | Run") -> Run:
    """Opens the run in a folder.

    Args:
        path: The folder, or a `Run` to read again from disk.

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
    record = read_record(folder)
    if not is_run_record(record):
        raise ValueError(f"Expected a run.json of keras-skip. Received: {str(folder / 'run.json')!r}")
    return _validate(folder, record)


def open_complete_run(path: "str | Path | Run") -> Run:
    """Opens the run in a folder; raises a ValueError if it is not complete."""
    run = open_run(path)
    if run.status != "complete":
        raise ValueError(f"Expected a complete run. Received: {str(run.path)!r}, which is {run.status}")
    return run


def run_of_weights(network: str, weights: str | os.PathLike[str]) -> Run | None:
    """Opens the run that is given as weights of a network; None if they are given by name or in a file.

    Raises:
        ValueError: If the run is not complete, or of another network.
    """
    from ..weights.catalogue import find

    if find(network, weights) is not None or not (Path(weights) / "run.json").is_file():
        return None
    run = open_complete_run(Path(weights))
    if run.recipe.network != network:
        raise ValueError(
            f"Expected {run.recipe.network}, the network of the run {str(run.path)!r}. Received: {network}"
        )
    return run


def _validate(folder: Path, record: dict[str, Any]) -> Run:
    """Makes a run of our record; raises a ValueError if a field is missing or has the wrong type."""
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
    """Lists the runs in a folder and below it, the oldest first.

    Skips each run.json that is damaged, with a warning, and ignores those of other tools.

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
            record = read_record(path.parent)
            if is_run_record(record):
                found.append(_validate(path.parent, record))
        except ValueError as error:
            warnings.warn(f"{error}; it is skipped", stacklevel=2)
    return sorted(found, key=lambda run: (run.record["started"], str(run.path)))


# The columns of `summary`.
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
    "task",
    "figure",
    "validation",
    "test",
    "train",
)


def summary(run: Run) -> dict[str, Any]:
    """Summarises a run as a row of `COLUMNS`: the settings that differ from its recipe, and its results so far.

    "figure" is the one that ranks runs of the task, on the parts in the columns after it. On the training examples it
    is that of the trained network, without augmentation.
    """
    task = task_of(run.source)
    ranking = task.figures[0].name
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
        "task": task.name,
        "figure": ranking,
        **{part: run.results.get(f"{part}_{ranking}") for part in ("validation", "test", "train")},
    }


def start_run(folder: Path, record: dict[str, Any], keep_initial: Callable[[Path], None] = lambda folder: None) -> Run:
    """Writes a new run.json into a locked folder. Removes old files, and old checkpoints before anything else.

    `keep_initial` then writes the network that the run starts from, before there is a first checkpoint.
    """
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    run = update(Run(folder, {}), **record)
    clear(folder)
    (folder / "checkpoints").mkdir()
    keep_initial(folder)
    return run


def update(run: Run, **changes: Any) -> Run:
    """Changes the record of a run, on disk too, and returns the new run."""
    record = {**run.record, **changes}
    with replace_file(run.path / "run.json") as beside:
        beside.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Run(run.path, record)


def commit_run(run: Run) -> Run:
    """Moves a complete run to its final folder, and removes the run that it replaces."""
    if "replaces" not in run.record or not is_first_process():
        return run
    folder = run.path.with_name(run.record["replaces"])
    if folder != run.path:
        if folder.exists():
            refuse_existing(folder, overwrite=True)
            # If this move is cut off, the next call finds the old run inside the new one and removes it.
            os.rename(folder, run.path / REPLACED)
        os.rename(run.path, folder)
    remove_replaced(folder)
    return update(Run(folder, {name: value for name, value in run.record.items() if name != "replaces"}))
