"""The run folder, which says everything about a training run.

    runs/NAME/
      run.json        recipe, seed, versions, revision, status ("running", "complete", "failed"), results
      history.csv     a row per epoch
      tensorboard/    the same figures as events
      checkpoints/    the state after the last epoch
      model.keras     the trained network

Files are written beside their place and moved there in one step, so that none is ever half there.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import Recipe


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
    try:
        record = json.loads((folder / "run.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"Expected the folder of a run, with a run.json. Received: {str(folder)!r}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"Expected a run.json in JSON. Received: {str(folder / 'run.json')!r}: {error}") from None
    return Run(folder, record)


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Raises FileExistsError if something is there; with `overwrite`, if it is anything but a run."""
    if not folder.exists() or (overwrite and (folder / "run.json").is_file()):
        return
    if overwrite:
        raise FileExistsError(f"Expected a run to overwrite. Received: {str(folder)!r}, which holds no run.json")
    raise FileExistsError(
        f"Expected a folder that does not exist yet. Received: {str(folder)!r}; choose another, or ask to overwrite it"
    )


def start_run(folder: Path, record: dict[str, Any]) -> Run:
    """A new folder with its run.json; a run that is there is removed."""
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "checkpoints").mkdir(parents=True)
    return update(Run(folder, {}), **record)


def update(run: Run, **changes: Any) -> Run:
    """The run with changes to its record, on disk as well."""
    record = {**run.record, **changes}
    with replacing(run.path / "run.json") as beside:
        beside.write_text(json.dumps(record, indent=2) + "\n")
    return Run(run.path, record)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside the target to write to; it takes the target's place when the block ends well, and goes when not."""
    first, dot, suffixes = path.name.partition(".")
    beside = path.with_name(f".{first}-{uuid.uuid4().hex[:8]}{dot}{suffixes}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


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
