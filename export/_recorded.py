"""What an artifact remembers: inputs, the outputs that Keras gave at export, and how near to them others must be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._arrays import read_batches
from ._inputs import Batch
from ._manifest import PARITY, SAMPLES, gates_output
from ._safety import check_arrays, read_json
from ._served import PROBABILITIES

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
    inputs, outputs = (
        {
            name: {key.removeprefix(kind): x for key, x in arrays.items() if key.startswith(kind)}
            for name, arrays in batches.items()
        }
        for kind in ("input/", "output/")
    )
    # Artifacts from before there were precisions agree in every decision.
    first = {"agreement": 1.0, **parity["comparisons"][0]}
    tolerance = {key: first[key] for key in ("atol", "rtol", "agreement")}
    return inputs, outputs, tolerance | {"decision": decision_of(manifest["activation"], gates_output(manifest))}
