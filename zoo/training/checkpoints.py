"""Checkpoints: everything that a resumed training needs to end as if it had never stopped.

    checkpoints/step-000001234.npz     weights, averages, statistics and seeds; optimizer and loss scale; metrics;
                                       position, history and the time that has passed; the best weights, if kept

Each is written under another name and renamed, and the last two are kept, so that one is always complete. The archive
holds a CRC of each array; a checkpoint whose CRC differs is skipped.
"""

import json
import shutil
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from .._files import replace_file
from ..weights.checks import refuse_zip_bomb
from .interruption import TrainingError
from .learner import Learner

KEPT = 2
_BEST = "best/"
# Room on the disk for files that grow: history, events, run.json.
_SPARE = 2**20
_BROKEN = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile)


# A row of the history.
Row = dict[str, float]


@dataclass
class Progress:
    """The progress of a training.

    Attributes:
        epoch, batch: The next batch to train on.
        rows: The rows of the history so far.
        seconds, learning_rate: Of the current epoch: the time so far, and the rate of its first step.
    """

    epoch: int = 0
    batch: int = 0
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    learning_rate: float | None = None


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: Their folder.
        learner: The network to save and restore.
        metrics: The metrics that the learner was compiled with; Keras shows them only after the first step.
    """

    def __init__(self, folder: Path, learner: Learner, metrics: Sequence[keras.metrics.Metric]) -> None:
        self.folder, self.learner = folder, learner
        # The first one follows the loss.
        self.metrics = [learner.metrics[0], *metrics]
        # Those of the best epoch so far, in the order of `_kept`.
        self.best: list[np.ndarray] = []

    def save(self, progress: Progress, step: int) -> None:
        """Writes a checkpoint, then removes all but the last two.

        Raises:
            TrainingError: If a weight is not finite; then nothing is written.
        """
        if keras.backend.backend() == "jax":
            self.learner.jax_state_sync()
        arrays = {name: keras.ops.convert_to_numpy(v) for name, v in self._variables().items()}
        arrays |= {f"{_BEST}{index}": array for index, array in enumerate(self.best)}
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                others = np.size(array) - np.isfinite(array).sum()
                raise TrainingError(
                    f"Expected finite weights. Received: {name} with {others} that are NaN or infinite, "
                    f"in epoch {progress.epoch + 1}; a lower optimizer.lr, optimizer.clip_norm=1.0 or a longer "
                    "schedule.warmup may help"
                )
        written = json.dumps(asdict(progress)).encode()
        with replace_file(self.folder / f"step-{step:09d}.npz") as beside, beside.open("wb") as file:
            np.savez(file, progress=np.frombuffer(written, "uint8"), **arrays)
        for path in self.paths()[:-KEPT]:
            path.unlink()

    def restore(self) -> Progress:
        """Restores the last checkpoint that is whole; returns the progress of a new run if there is none.

        Raises:
            TrainingError: If there are checkpoints, and none is whole or none is of this network.
        """
        found = self.paths()
        for path in reversed(found):
            try:
                arrays = _read(path)
                progress = Progress(**json.loads(arrays.pop("progress").tobytes()))
                variables = self._variables()
                best = [
                    arrays.pop(f"{_BEST}{index}") for index in range(sum(name.startswith(_BEST) for name in arrays))
                ]
                if {name: v.shape for name, v in arrays.items()} != {n: tuple(v.shape) for n, v in variables.items()}:
                    raise ValueError("it belongs to another network")
            except _BROKEN as error:
                warnings.warn(f"{path} cannot be used and is skipped: {error}", stacklevel=2)
                continue
            for name, variable in variables.items():
                variable.assign(arrays[name])
            self.best = best
            for later in found[found.index(path) + 1 :]:
                later.unlink()
            return progress
        if found:
            raise TrainingError(f"All checkpoints are damaged: {', '.join(map(str, found))}")
        return Progress()

    def keep_best(self) -> None:
        """Keeps the weights as they are measured now, averaged ones if there are averages, for `use_best`."""
        if keras.backend.backend() == "jax":
            self.learner.jax_state_sync()
        self.best = [np.array(keras.ops.convert_to_numpy(variable)) for variable in self._kept(measured=True)]

    def use_best(self) -> None:
        """Gives the network the weights that were kept, if there are any."""
        for variable, value in zip(self._kept(), self.best, strict=False):
            variable.assign(value)

    def _kept(self, measured: bool = False) -> list[keras.Variable]:
        """The variables of the network itself; with `measured`, the averages in place of those that have one."""
        averaged = getattr(self.learner, "averaged", ())
        pairs = zip(averaged, self.learner.averages, strict=True) if measured else ()
        averages = {id(variable): average for variable, average in pairs}
        return [averages.get(id(v), v) for layer in self.learner.layers for v in layer.weights]

    def get_metrics(self) -> list[np.ndarray]:
        """Reads the state of the metrics, so that it can be restored after Keras resets them."""
        return [keras.ops.convert_to_numpy(v) for metric in self.metrics for v in metric.variables]

    def set_metrics(self, values: Sequence[np.ndarray]) -> None:
        for variable, value in zip((v for metric in self.metrics for v in metric.variables), values, strict=True):
            variable.assign(value)

    def reset_metrics(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    def paths(self) -> list[Path]:
        """Lists the checkpoints, the oldest first."""
        return sorted(self.folder.glob("step-*.npz"))

    def check_space(self, folder: Path, keep: str = "last") -> None:
        """Checks that the disk can hold the checkpoints, one more while it is written, and the trained network.

        Raises:
            OSError: If there is not enough free space; nothing is written.
        """
        state = sum(_size(v) for v in self._variables().values())
        model = sum(_size(v) for v in self.learner.weights)
        best = model if keep == "best" else 0
        there = sum(path.stat().st_size for path in self.paths())
        needed = (KEPT + 1) * (state + best) + model + _SPARE - there
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise OSError(
                f"The checkpoints and the trained network need {needed / 1e6:.1f} MB of free disk space. "
                f"Only {free / 1e6:.1f} MB are free at {str(folder)!r}"
            )

    def _variables(self) -> dict[str, keras.Variable]:
        """Everything that changes in a step, seeds and loss scale included, by its number."""
        groups = {
            "network": self.learner.variables,
            "optimizer": self.learner.optimizer.variables,
            "metrics": [v for metric in self.metrics for v in metric.variables],
        }
        return {f"{group}/{index}": v for group, variables in groups.items() for index, v in enumerate(variables)}


def _read(path: Path) -> dict[str, np.ndarray]:
    refuse_zip_bomb(path)
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} in it is damaged")
    with np.load(path) as arrays:
        return dict(arrays)


def _size(variable: keras.Variable) -> int:
    return int(np.prod(variable.shape)) * np.dtype(keras.backend.standardize_dtype(variable.dtype)).itemsize
