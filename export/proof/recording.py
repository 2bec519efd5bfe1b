"""Reads the record of an export: inputs, Keras's outputs, and the differences that are allowed from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..errors import VerificationError, error_line
from ..storage.agreement import check_batch
from ..storage.arrays import Batch, read_batches
from ..storage.manifest import PARITY, SAMPLES, gates_output
from ..storage.safety import check_arrays, read_json
from ..storage.schema import PROBABILITIES, Activation
from .measures import Decision
from .unrecorded import draw_unrecorded

# What samples.npz holds: all inputs of the proof, only random ones, or nothing, so that there is no such file.
Record = Literal["all", "synthetic", "none"]
RECORDS: tuple[Record, ...] = get_args(Record)
# The name of an array in a recorded batch begins with its kind.
INPUT, OUTPUT, ALLOWED, UNSETTLED = "input/", "output/", "allowed/", "unsettled/"
_DECISIONS: dict[Activation | None, Decision] = {"softmax": "argmax", "sigmoid": "threshold", None: None}


def check_record(record: str, formats: Sequence[str]) -> None:
    """Raises a ValueError for an unknown record, and for one that would leave a verification nothing to compare."""
    if record not in RECORDS:
        raise ValueError(f"Expected record to be one of {RECORDS}. Received: record={record!r}")
    if record == "none" and "onnx" not in formats:
        raise ValueError(
            'Expected record="none" with the format "onnx", whose forms are compared with each other. '
            f"Received: formats={tuple(formats)}"
        )


def choose_decision(activation: Activation | None, gates: str | None) -> Decision | dict[str, Decision]:
    """Returns the decision of the outputs, as `compare` takes it; an output of gates decides nothing."""
    decision = _DECISIONS[activation]
    return decision if gates is None or decision is None else {PROBABILITIES: decision}


def read_recorded(
    folder: Path, manifest: Mapping[str, Any]
) -> tuple[dict[str, Batch], dict[str, Batch], dict[str, Any]]:
    """Reads the record of an export, or draws inputs if nothing is recorded.

    Returns:
        The inputs and outputs by the name of their batch, and the tolerances as `compare` takes them. There are no
        outputs if nothing is recorded.

    Raises:
        VerificationError: If a file is not as an export writes it.
    """
    try:
        parity = read_json(folder / PARITY)
        # Artifacts that are older than precisions agree in every decision.
        first = {"agreement": 1.0, **parity["comparisons"][0]}
        atol, rtol, agreement = (float(first[key]) for key in ("atol", "rtol", "agreement"))
        if (rms := first.get("rms")) is not None:
            rms = {name: float(value) for name, value in rms.items()}
            if rms.keys() != {output["name"] for output in manifest["outputs"]}:
                raise ValueError(f"the tolerances {rms}")
        tolerances = (atol, rtol, agreement, *(rms or {}).values())
        if not all(0 <= value < float("inf") for value in tolerances):
            raise ValueError(f"the tolerances {', '.join(map(str, tolerances))}")
    except VerificationError:
        raise
    except (LookupError, TypeError, ArithmeticError, ValueError, AttributeError) as error:
        raise VerificationError(f"Expected {folder / PARITY} to be a proof. Received: {error_line(error)}") from error
    tolerance: dict[str, Any] = {"atol": atol, "agreement": agreement, "rms": rms}
    tolerance["decision"] = choose_decision(manifest["activation"], gates_output(manifest))
    if SAMPLES not in manifest["files"]:
        inputs, floor = draw_unrecorded(folder, manifest, parity)
        return inputs, {}, tolerance | {"floor": floor}
    inputs, outputs, unsettled, allowed = _read_samples(folder / SAMPLES, manifest)
    floor = next(iter(allowed.values())) or _old_tolerance(outputs, rtol)
    return inputs, outputs, tolerance | {"unsettled": unsettled, "floor": floor}


def _read_samples(path: Path, manifest: Mapping[str, Any]) -> list[dict[str, Batch]]:
    """Returns inputs, outputs, masks of outputs that depend on rounding, and allowed differences, by batch."""
    check_arrays(path)
    try:
        batches = read_batches(path)
    except (KeyError, IndexError, ValueError) as error:
        raise VerificationError(f"Expected {path} to hold batches. Received: {error_line(error)}") from error
    read = [
        {
            name: {key.removeprefix(kind): x for key, x in arrays.items() if key.startswith(kind)}
            for name, arrays in batches.items()
        }
        for kind in (INPUT, OUTPUT, UNSETTLED, ALLOWED)
    ]
    if not batches or not all(len(x) for batch in read[0].values() for x in batch.values() if x.ndim):
        raise VerificationError(f"Expected {path} to hold batches. Received: no batches, or an empty one")
    for inputs, outputs, unsettled, allowed in zip(*(kind.values() for kind in read), strict=True):
        check_batch(manifest, path, inputs=inputs, outputs=outputs)
        ties = all(
            name in outputs and (x.dtype, x.shape) == (bool, outputs[name].shape) for name, x in unsettled.items()
        )
        floors = all(x.dtype.kind == "f" and x.size and np.all(x >= 0) and np.all(x < np.inf) for x in allowed.values())
        if not (ties and floors):
            raise VerificationError(f"Expected {path} to hold allowed differences. Received: other arrays")
    return read


def _old_tolerance(outputs: Mapping[str, Batch], rtol: float) -> Batch:
    """Returns the differences that older artifacts allow: a share of the largest value of an output."""
    floors: Batch = {}
    for batch in outputs.values():
        for name, y in batch.items():
            largest = rtol * np.max(np.abs(y), initial=0.0)
            floors[name] = np.maximum(floors.get(name, np.zeros(1)), largest)
    return floors
