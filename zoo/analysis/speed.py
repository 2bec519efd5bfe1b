"""How long a network takes for its answers, in Keras and as it was exported: measured in turns, kept with its run."""

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
    """Milliseconds for the answers to a batch: medians over rounds in which both took their turn."""

    batch: int
    keras: float
    exported: float
    rounds: int

    def told(self) -> dict[str, str | int]:
        """What people read, by the heading of its column."""
        return {
            "images at once": self.batch,
            "Keras": f"{self.keras:.3g} ms",
            "onnxruntime": f"{self.exported:.3g} ms",
            "times as fast": f"{self.keras / self.exported:.2f}",
        }


def measure(
    model: "keras.Model",
    preprocessing: Preprocessing,
    exported: Callable[[np.ndarray], object],
    images: np.ndarray,
    batches: Iterable[int] = BATCHES,
) -> list[Speed]:
    """Times a network beside its export, both from raw pixels.

    Args:
        model: The network, of preprocessed images.
        preprocessing: What turns raw pixels into its inputs.
        exported: What answers to a batch of raw pixels, such as an `export.load(artifact)`.
        images: Raw pixels, (examples, height, width, channels); they are repeated for batches above their number.
        batches: How many images to answer to at once.

    Returns:
        A `Speed` for each size of the batch.

    Example:

    >>> import export, zoo
    >>> from zoo import speed
    >>> digits, model = zoo.load_source("digits"), zoo.load("runs/demo")  # doctest: +SKIP
    >>> exported = export.load("runs/demo/export")  # doctest: +SKIP
    >>> speed.measure(model, digits.preprocessing, exported, digits.test_images)  # doctest: +SKIP
    """
    import keras

    from ..data.batches import to_data_format
    from ..training.learner import jit_compile

    predictor = keras.Model(model.inputs, model.outputs)
    predictor.compile(jit_compile=jit_compile())

    def of_keras(batch: np.ndarray) -> np.ndarray:
        return predictor.predict_on_batch(to_data_format(preprocessing(batch)))

    found = []
    for size in batches:
        batch = np.resize(images, (size, *images.shape[1:]))
        pair = (of_keras, exported)
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
    """Keeps in a run's folder what was measured, and on what."""
    import keras

    found = {"processor": processor(), "backend": keras.backend.backend(), "rows": [s._asdict() for s in speeds]}
    with replace_file(folder / FILE) as beside:
        beside.write_text(json.dumps(found, indent=1) + "\n")


def read(folder: Path) -> dict[str, Any] | None:
    """What `write` has kept, with the rows as `Speed`s; None where nothing was measured."""
    path = folder / FILE
    if not path.is_file():
        return None
    found = json.loads(path.read_text())
    return {**found, "rows": [Speed(**row) for row in found["rows"]]}


def forget(folder: Path) -> None:
    """Removes what `write` has kept: the export that was measured is another one now."""
    (folder / FILE).unlink(missing_ok=True)
