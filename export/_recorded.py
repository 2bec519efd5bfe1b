"""What an artifact remembers: inputs, the outputs that Keras gave at export, and how near to them others must be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays import read_batches
from ._inputs import Batch
from ._manifest import PARITY, SAMPLES, gates_output
from ._safety import check_arrays, read_json
from ._served import PROBABILITIES

# What the arrays of a recorded batch are, before their names.
INPUT, OUTPUT, ALLOWED, UNSETTLED = "input/", "output/", "allowed/", "unsettled/"
_DECISIONS = {"softmax": "argmax", "sigmoid": "threshold", None: None}


def decision_of(activation: str | None, gates: str | None) -> str | None | dict[str, str | None]:
    """What the outputs decide, as `compare` takes it. Gates, in the output of that name, decide nothing."""
    decision = _DECISIONS[activation]
    return decision if gates is None or decision is None else {PROBABILITIES: decision}


def read_recorded(
    folder: Path, manifest: Mapping[str, Any]
) -> tuple[dict[str, Batch], dict[str, Batch], dict[str, Any]]:
    """Reads what was recorded at export.

    Returns:
        Inputs and outputs, by the name of their batch, and the tolerances as `compare` takes them.

    Raises:
        VerificationError: If a file is not what is written at export.
    """
    parity = read_json(folder / PARITY)
    check_arrays(folder / SAMPLES)
    batches = read_batches(folder / SAMPLES)
    inputs, outputs, unsettled, allowed = (
        {
            name: {key.removeprefix(kind): x for key, x in arrays.items() if key.startswith(kind)}
            for name, arrays in batches.items()
        }
        for kind in (INPUT, OUTPUT, UNSETTLED, ALLOWED)
    )
    # Artifacts from before there were precisions agree in every decision.
    first = {"agreement": 1.0, **parity["comparisons"][0]}
    tolerance: dict[str, Any] = {"atol": first["atol"], "agreement": first["agreement"], "unsettled": unsettled}
    tolerance["floor"] = next(iter(allowed.values())) or _of_scale(outputs, first["rtol"])
    return inputs, outputs, tolerance | {"decision": decision_of(manifest["activation"], gates_output(manifest))}


def _of_scale(outputs: Mapping[str, Batch], rtol: float) -> Batch:
    """What older artifacts allow: a share of the largest value of an output."""
    floors: Batch = {}
    for batch in outputs.values():
        for name, y in batch.items():
            largest = rtol * np.max(np.abs(y), initial=0.0)
            floors[name] = np.maximum(floors.get(name, np.zeros(1)), largest)
    return floors
