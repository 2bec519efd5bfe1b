"""The tasks of the worker that convert to a target and run it."""

from pathlib import Path

from ..errors import ExportError, error_line
from ..runtime.worker import INPUTS
from ..storage.arrays import read_batches, write_batches
from . import TARGETS


def convert(here: Path, answer: Path, target: str, source: str, path: str) -> None:
    """Converts a file or folder of an artifact."""
    chosen = TARGETS[target]
    assert chosen.convert is not None
    try:
        chosen.convert(Path(source), Path(path))
    except ExportError:
        raise
    except Exception as error:  # The converters have no common base for their errors.
        raise ExportError(f"Cannot convert this network to {chosen.title}: {error_line(error)}") from error
    answer.touch()


def run(here: Path, answer: Path, target: str, path: str) -> None:
    """Runs a target on every batch."""
    chosen = TARGETS[target]
    assert chosen.open is not None
    try:
        compute = chosen.open(Path(path))
        answers = {name: compute(batch) for name, batch in read_batches(here / INPUTS).items()}
    except ExportError:
        raise
    except Exception as error:  # Nor do the runtimes.
        raise ExportError(f"{chosen.title} cannot run {path}: {error_line(error)}") from error
    write_batches(answer, answers)
