"""What a run or weights know about a network's inputs and outputs, as `export.export` takes it."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..data.datasets import is_unnamed
from ..data.recorded import recorded_reader
from ..data.source import Source
from ..tasks import task_of
from ..weights.info import WeightsInfo, weights_info
from .evaluation import resolve_data
from .runs import Run, open_complete_run, run_of_weights

# Real test images, which the proof runs besides random inputs, and training images to calibrate int8 on.
PARITY_SAMPLES, CALIBRATION_IMAGES = 32, 512
TEST_BYTES = 2**30  # of test inputs that measure what int8 costs; more are photos that would fill the memory


def export_options(
    run_or_network: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    *,
    data: Source | str | None = None,
    layout: str | None = None,
    precision: str = "fp32",
) -> dict[str, Any]:
    """Collects what a run or weights know about a network, as arguments of `export.export`.

    With these the exported network takes raw inputs, such as pixels or the rows of a table, and returns named
    probabilities, or numbers in the units of the targets.

    Args:
        run_or_network: A complete run or its folder, or with `weights` a name of `zoo.list_models()`.
        weights: As in `zoo.load`: the name of weights, a file, or a run or its folder.
        data: For a run: where its examples come from, as in `zoo.evaluate`. Default: what it was trained on. A run on
            data in memory needs them here, or its proof has only random inputs.
        layout: "nhwc", "nchw" or None, the axis of the channels of the exported inputs.
        precision: As in `export.export`. One that begins with "int" is measured on the run's own images.

    Returns:
        A dictionary of keyword arguments, `layout` and `precision` among them. For a run it holds `samples` of its test
        examples, and for "int8", "int8_dynamic" and "int4" also `calibration` and `test`.

    Raises:
        ValueError: If there is no such run, or it is not complete; if there are no such weights, or nothing is known
            about them; if the data do not fit; or if the layout or the precision does not go with the task.

    Example:

    >>> import zoo
    >>> options = zoo.export_options("resnet20", weights="digits")
    >>> options["activation"], options["preprocessing"]["dtype"], options["labels"][:3]
    ('softmax', 'uint8', ['0', '1', '2'])

    and `export.export(zoo.load("resnet20", weights="digits"), "artifact", **options)` writes the artifact.
    """
    run = None if weights is None else run_of_weights(str(run_or_network), weights)
    if weights is not None and run is None:
        if data is not None or precision.startswith("int"):
            raise ValueError(
                f"Expected a run for data or precision={precision!r}. Received: {run_or_network}, weights={weights}"
            )
        return options_of_weights(weights_info(str(run_or_network), weights), layout, precision)
    run = run or open_complete_run(Path(run_or_network))
    task = task_of(run.source)
    if precision.startswith("int") and task.name != "classification":
        raise ValueError(f"Expected the run of a classification for precision={precision!r}. Received: {task.name}")
    if layout == "nchw" and task.per_pixel:
        raise ValueError(f"Expected layout='nhwc' for {task.name}, whose labels name the last axis. Received: 'nchw'")
    absent = data is None and is_unnamed(run.source["name"])
    return options_of_run(run, None if absent else resolve_data(run, data)[0], layout, precision)


def options_of_weights(info: WeightsInfo, layout: str | None, precision: str) -> dict[str, Any]:
    """What weights know; see `export_options`."""
    return {
        "preprocessing": {"dtype": "uint8", **info.preprocessing.as_dict(), "channel_axis": _channel_axis(layout)},
        "activation": "softmax",
        "labels": list(info.class_names) or None,
        "image": info.image,
        "layout": layout,
        "precision": precision,
    }


def options_of_run(run: Run, source: Source | None, layout: str | None, precision: str) -> dict[str, Any]:
    """What a run knows, with examples of its data, if they are there; see `export_options`."""
    task, preprocessing = task_of(run.source), run.source["preprocessing"]

    def laid_out(inputs: np.ndarray) -> np.ndarray:
        return np.moveaxis(inputs, -1, 1) if layout == "nchw" else inputs

    known = {
        "preprocessing": {
            "dtype": run.source.get("dtype", "uint8"),
            **preprocessing,
            "channel_axis": _channel_axis(layout),
        },
        "activation": task.activation,
        "labels": run.source["class_names"] or None,
        "task": task.name,
        "target_names": run.source.get("target_names"),
        "table": run.source.get("table"),
        "image": recorded_reader(run.source, source.input_shape if source else ()),
        "layout": layout,
        "precision": precision,
    }
    if source is None:
        return known
    known["samples"] = laid_out(source.test_inputs[task.examples(source, PARITY_SAMPLES)])
    if precision.startswith("int"):
        places = np.linspace(0, len(source.train_inputs) - 1, CALIBRATION_IMAGES).astype(int)
        known["calibration"] = laid_out(source.train_inputs[np.unique(places)])
        most = max(1, TEST_BYTES // max(1, source.test_inputs[:1].nbytes))
        tested = np.unique(np.linspace(0, len(source.test_inputs) - 1, min(most, len(source.test_inputs))).astype(int))
        known["test"] = laid_out(np.asarray(source.test_inputs[tested])), np.asarray(source.test_targets)[tested]
    return known


def _channel_axis(layout: str | None) -> int:
    return 1 if layout == "nchw" else -1
