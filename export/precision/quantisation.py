"""Rewrites ONNX files in int8 and int4, which must be accurate and either faster or, for int4, smaller.

    accuracy(int8) >= accuracy(fp32) - max_accuracy_drop / 100        on labelled examples
    median of time(fp32) / time(int8) > 1                             in rounds, on batches of 32; for int8_dynamic of 1
    bytes(int4) / bytes(fp32) <= 0.9

Both sides run under onnxruntime with all optimisations, in a process of their own. The first rule needs at least
100 / max_accuracy_drop examples: with fewer, one more error costs more than is allowed.
"""

import json
import math
import platform
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import PrecisionError
from ..model.inputs import count_examples, split_batch
from ..runtime.processes import OPTIMISED, run_forms, run_tasks
from ..runtime.worker import ANSWER, RACE, TO_INT4, TO_INT8, TO_INT8_DYNAMIC
from ..storage.arrays import Batch
from .files import open_beside, replace_file
from .tolerances import INT4, INT8, INT8_DYNAMIC, Precision

_BATCH, _RACED = 32, (1, 32)
# In percentage points. Accuracy is measured this finely if it may not drop at all.
_FINEST = 0.5
_MOST_BYTES = 0.9


@dataclass(frozen=True)
class Settings:
    """The settings of a quantisation, which depend on the processor.

    Attributes:
        activations: "uint8" or "int8"; weights are always int8.
        reduce_range: Whether weights use only seven bits.
        reason: The property of the processor that decided.
    """

    activations: Literal["uint8", "int8"]
    reduce_range: bool
    reason: str


def choose_settings(machine: str | None = None, flags: Sequence[str] | None = None) -> Settings:
    """Chooses the settings for a processor, which is this machine's by default.

    An x86 without VNNI adds pairs of products in 16 bits, which overflow unless weights have seven bits.

    Args:
        machine: The name of the processor, as in `platform.machine()`.
        flags: The features of the processor, as in /proc/cpuinfo.
    """
    machine = (machine or platform.machine()).lower()
    if machine in ("aarch64", "arm64"):
        return Settings("int8", reduce_range=False, reason="ARM")
    if {"avx512_vnni", "avx_vnni"} & set(_read_cpu_flags() if flags is None else flags):
        return Settings("uint8", reduce_range=False, reason="VNNI")
    return Settings("uint8", reduce_range=True, reason="no VNNI that is known of")


def _read_cpu_flags() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])


def check_test_data(labels: np.ndarray, count: int, classes: int | None, max_accuracy_drop: float) -> None:
    """Raises a ValueError unless labelled examples can measure the allowed drop of accuracy.

    Args:
        labels: The class of each example.
        count: How many examples there are.
        classes: How many classes there are, if that is known.
        max_accuracy_drop: In percentage points.
    """
    if not -100 <= max_accuracy_drop <= 100:
        raise ValueError(
            f"Expected max_accuracy_drop to be between -100 and 100. Received: max_accuracy_drop={max_accuracy_drop!r}"
        )
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"Expected a class for each of {count} test inputs, as a whole number. "
            f"Received: labels of shape {labels.shape} and dtype {labels.dtype}"
        )
    if classes is not None and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"Expected the classes of test inputs from 0 to {classes - 1}. Received: {labels.min()} to {labels.max()}"
        )
    needed = math.ceil(100 / abs(max_accuracy_drop or _FINEST) - 1e-9)
    if count < needed:
        raise ValueError(
            f"Expected at least {needed} test inputs to measure a drop of {max_accuracy_drop:g} points of accuracy. "
            f"Received: {count}, of which each is worth {100 / count:.3g} points"
        )


def rewrite_quantised(
    model: Path,
    precision: Precision,
    calibration: Batch | None,
    test: Batch,
    labels: np.ndarray,
    max_accuracy_drop: float,
    *,
    batchable: bool,
) -> dict[str, Any]:
    """Rewrites an ONNX file in a quantised precision, if that is accurate enough and faster, or for int4 smaller.

    Args:
        model: The file in fp32, whose one output has a value for each class.
        precision: One of `QUANTISED`.
        calibration: For int8: raw inputs, which measure the ranges of activations.
        test: Raw inputs, which measure the accuracy.
        labels: The classes of the test inputs.
        max_accuracy_drop: In percentage points.
        batchable: Whether examples are independent, so that they can be split into batches.

    Returns:
        The bytes, accuracy and time, for int8 and int8_dynamic also the settings, and for int8 the activations with the
        largest errors, ready for JSON.

    Raises:
        PrecisionError: If it costs more accuracy than allowed, is not faster (int4: smaller), or answers depend on the
            batch.
        ExportError: If the file cannot be quantised.
    """
    if not batchable:
        raise PrecisionError(
            f"Expected a network whose examples are independent for precision={precision!r}. Received: one whose "
            "answers depend on the other examples of their batch"
        )
    with open_beside(model) as target:
        record = _quantise(model, target, precision, calibration)
        record |= _judge(model, target, precision, test, labels, max_accuracy_drop)
        return record | {"bytes": replace_file(model, target, precision)}


def _judge(
    model: Path, target: Path, precision: Precision, test: Batch, labels: np.ndarray, max_accuracy_drop: float
) -> dict[str, Any]:
    accuracy = {name: _measure_accuracy(file, test, labels) for name, file in (("fp32", model), (precision, target))}
    drop = 100 * (accuracy["fp32"] - accuracy[precision])
    # Accuracies are multiples of one example.
    if drop > max_accuracy_drop + 1e-9:
        raise PrecisionError(
            f"Expected {precision} to cost at most {max_accuracy_drop:g} points of accuracy. Received: {drop:.2f} "
            f"points, {accuracy[precision]:.2%} instead of {accuracy['fp32']:.2%} on {len(labels)} examples"
        )
    before, after = (file.stat().st_size for file in (model, target))
    if precision == INT4 and after > _MOST_BYTES * before:
        raise PrecisionError(
            f"Expected int4 to take at most {_MOST_BYTES:.0%} of the bytes of fp32. "
            f"Received: {after} bytes instead of {before}, since only dense layers become smaller"
        )
    latency = race(model, target, test, precision)
    # A server runs requests for int8_dynamic one at a time.
    decisive = latency[0 if precision == INT8_DYNAMIC else -1]
    if precision != INT4 and not decisive["speedup"] > 1:
        raise PrecisionError(
            f"Expected {precision} to be faster than fp32. Received: {decisive[f'{precision}_ms']:.3g} ms instead of "
            f"{decisive['fp32_ms']:.3g} ms for a batch of {decisive['batch']}, {decisive['speedup']:.2f} times as fast"
        )
    return {
        "accuracy": {**accuracy, "drop": drop, "max_drop": max_accuracy_drop, "examples": len(labels)},
        "latency": latency,
    }


def _quantise(model: Path, target: Path, precision: Precision, calibration: Batch | None) -> dict[str, Any]:
    """Writes the quantised file, and returns the settings to record."""
    arguments: dict[str, Any] = {"source": str(model), "target": str(target)}
    about: dict[str, Any] = {}
    task, batches = TO_INT4, None
    if precision != INT4:
        chosen = choose_settings()
        arguments["reduce_range"] = chosen.reduce_range
        about["settings"] = {**asdict(chosen), "weights": "int8", "per_channel": True}
    if precision == INT8_DYNAMIC:
        task = TO_INT8_DYNAMIC
        # onnxruntime quantises the inputs of a layer in no other type.
        about["settings"]["activations"] = "uint8"
    if precision == INT8:
        assert calibration is not None
        arguments["activations"] = chosen.activations
        about["calibration_examples"] = count_examples(calibration)
        task, batches = TO_INT8, _split(calibration)
    with tempfile.TemporaryDirectory(prefix="keras-skip-") as name:
        folder = Path(name)
        run_tasks(folder, [(task, arguments)], ["quantisation"], batches)
        worst = json.loads((folder / f"{ANSWER}-0").read_text(encoding="utf-8"))
    return about | ({"worst_layers": worst} if worst else {})


def _measure_accuracy(model: Path, test: Batch, labels: np.ndarray) -> float:
    (outputs,) = run_forms(model, _split(test), (OPTIMISED,)).values()
    decided = np.concatenate([np.argmax(next(iter(batch.values())), axis=-1) for batch in outputs.values()])
    return float(np.mean(decided == labels))


def _split(batch: Batch) -> dict[str, Batch]:
    return {str(i): part for i, part in enumerate(split_batch(batch, _BATCH))}


def race(fp32: Path, quantised: Path, batch: Batch, precision: Precision = INT8) -> list[dict[str, Any]]:
    """Times two files in rounds, in which each runs once.

    Returns:
        For each batch size the median milliseconds of both files, and the speedup of the quantised one, which is the
        median ratio of the rounds.
    """
    sized = {str(size): {name: np.resize(x, (size, *x.shape[1:])) for name, x in batch.items()} for size in _RACED}
    with tempfile.TemporaryDirectory(prefix="keras-skip-") as name:
        folder = Path(name)
        run_tasks(
            folder,
            [(RACE, {"models": [str(fp32), str(quantised)], "device": "cpu"})],
            [f"fp32 against {precision}"],
            sized,
        )
        seconds = json.loads((folder / f"{ANSWER}-0").read_text(encoding="utf-8"))
    found = []
    for size, rounds in seconds.items():
        one, other = (statistics.median(times[i] for times in rounds) * 1000 for i in (0, 1))
        speedup = statistics.median(a / b for a, b in rounds)
        times = {"fp32_ms": one, f"{precision}_ms": other}
        found.append({"batch": int(size), **times, "speedup": speedup, "rounds": len(rounds)})
    return found
