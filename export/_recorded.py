"""What an artifact remembers: inputs, the outputs that Keras gave at export, and how near to them others must be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._arrays import read_batches
from ._inputs import Batch
from ._manifest import PARITY, SAMPLES
from ._safety import check_arrays, read_json

DECISIONS = {"softmax": "argmax", "sigmoid": "threshold", None: None}


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
    return inputs, outputs, tolerance | {"decision": DECISIONS[manifest["activation"]]}
