"""Times a network in Keras and its export, and keeps the figures with its run."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._files import replace_file
from ..data import Preprocessing
from ..devices.environment import processor

if TYPE_CHECKING:
    import keras

FILE = "speed.json"
BATCHES = (1, 32)
# Rounds end when there are enough of them and so many seconds have passed.
LEAST_ROUNDS, SECONDS = 5, 1.0


class Speed(NamedTuple):
    """Milliseconds for a batch: medians over rounds in which both took turns."""

    batch: int
    keras: float
    exported: float
    rounds: int

    def as_row(self) -> dict[str, str | int]:
        """Formats the figures for a table, by the heading of each column."""
        return {
            "batch size": self.batch,
            "Keras": f"{self.keras:.3g} ms",
            "onnxruntime": f"{self.exported:.3g} ms",
            "speedup": f"{self.keras / self.exported:.2f}",
        }


def measure(
    model: "keras.Model",
    preprocessing: Preprocessing,
    exported: Callable[[np.ndarray], object],
    images: np.ndarray,
    batches: Iterable[int] = BATCHES,
) -> list[Speed]:
    """Times a network and its export in turns, both from raw pixels.

    Args:
        model: The network, which takes preprocessed images.
        preprocessing: Turns raw pixels into its inputs.
        exported: Takes a batch of raw pixels, such as `export.load(artifact)`.
        images: Raw pixels, (examples, height, width, channels); repeated for larger batches.
        batches: The batch sizes.

    Returns:
        A `Speed` for each batch size.

    Example:

    >>> import export, zoo
    >>> from zoo import speed
    >>> digits, model = zoo.load_source("digits"), zoo.load("runs/demo")  # doctest: +SKIP
    >>> exported = export.load("runs/demo/export")  # doctest: +SKIP
    >>> speed.measure(model, digits.preprocessing, exported, digits.test_inputs)  # doctest: +SKIP
    """
    import keras

    from ..data.batches import to_data_format
    from ..training.learner import jit_compile

    predictor = keras.Model(model.inputs, model.outputs)
    predictor.compile(jit_compile=jit_compile())

    def predict(batch: np.ndarray) -> np.ndarray:
        return predictor.predict_on_batch(to_data_format(preprocessing(batch)))

    found = []
    for size in batches:
        batch = np.resize(images, (size, *images.shape[1:]))
        pair = (predict, exported)
        for answer in pair:
            answer(batch)  # compiles
        times: list[list[float]] = [[], []]
        end = time.perf_counter() + SECONDS
        while len(times[0]) < LEAST_ROUNDS or time.perf_counter() < end:
            for index in (0, 1) if len(times[0]) % 2 else (1, 0):
                start = time.perf_counter()
                pair[index](batch)
                times[index].append(1e3 * (time.perf_counter() - start))
        found.append(Speed(size, median(times[0]), median(times[1]), len(times[0])))
    return found


def write(folder: Path, speeds: Iterable[Speed]) -> None:
    """Writes the figures and the machine they were measured on into the folder of a run."""
    import keras

    found = {"processor": processor(), "backend": keras.backend.backend(), "rows": [s._asdict() for s in speeds]}
    with replace_file(folder / FILE) as beside:
        beside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any] | None:
    """Reads the file of `write`, with its rows as `Speed`s; returns None if nothing was measured."""
    path = folder / FILE
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return {**found, "rows": [Speed(**row) for row in found["rows"]]}


def forget(folder: Path) -> None:
    """Removes the file of `write`, because the export it was measured on has changed."""
    (folder / FILE).unlink(missing_ok=True)
