"""Checks an artifact on disk again: its files, its models, and that they compute what Keras did at export.

Keras is not needed, and TensorFlow only for the SavedModel: the reference is what was recorded at export.
"""

import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ._inputs import Batch, Raw, random_inputs, recorded_sizes
from ._isolated import DEVICES, run_everywhere
from ._manifest import ONNX, SAVED_MODEL, check_files, read_manifest, why_not_batchable
from ._proof import summarise
from ._recorded import read_recorded
from .errors import ExportError, VerificationError
from .onnx_model import check_onnx
from .parity import compare
from .saved_model import check_saved_model, saved_model_runner

_FRESH_BATCHES = (1, 3, 16)
_REFERENCE = "Keras, recorded at export"


def verify(artifact: str | Path, *, device: str | None = None) -> dict[str, Any]:
    """Verifies an artifact.

    Every file is compared with its hash; onnx's checker runs; onnxruntime in every form this machine has, and the
    SavedModel where TensorFlow is installed, must agree with the outputs recorded at export, and with each other on
    fresh random inputs.

    Args:
        artifact: The folder.
        device: "cuda" makes it an error if onnxruntime has no CUDA here, "cpu" leaves it out; None uses it where it is.

    Returns:
        What was compared, in the form of parity.json, with the number of `files`, the `seed` of the fresh inputs, and
        `not_batched`, why the server and `Predictor.predict` do not batch it, or None where they do.

    Raises:
        FileNotFoundError: If there is no artifact.
        VerificationError: If a file is missing, changed, unexpected or not valid; the message names it.
        ParityError: If something is computed differently.
        DeviceError: If CUDA was asked for and is not there.

    Example:
        >>> verify("classifier")["max_abs_diff"]
        1.1920929e-07
    """
    if device is not None and device not in DEVICES:
        raise ValueError(f"Expected device to be one of {(*DEVICES, None)}. Received: device={device!r}")
    folder = Path(artifact)
    manifest = read_manifest(folder)
    files = check_files(folder, manifest)
    inputs, recorded, tolerance = read_recorded(folder, manifest)
    seed = secrets.randbits(32)
    raw = [Raw.from_manifest(declared, manifest["preprocessing"]) for declared in manifest["inputs"]]
    drawn = random_inputs(recorded_sizes(raw, inputs.values()), _FRESH_BATCHES, seed, like=next(iter(inputs.values())))
    fresh = {f"fresh {name}": batch for name, batch in drawn.items()}
    candidates, absent = _outputs(folder, manifest["formats"], inputs | fresh, device)
    name, first = next(iter(candidates.items()))
    records = [
        compare(recorded, outputs, inputs, names=(_REFERENCE, candidate), **tolerance)
        for candidate, outputs in candidates.items()
    ]
    records += [
        compare(first, outputs, fresh, names=(name, candidate), **tolerance)
        for candidate, outputs in candidates.items()
        if candidate != name
    ]
    batching = {"not_batched": why_not_batchable(manifest)}
    return {"files": files, "seed": seed, **batching, **summarise(records, absent, _REFERENCE)}


def _outputs(
    folder: Path, formats: list[str], batches: dict[str, Batch], device: str | None
) -> tuple[dict[str, dict[str, Batch]], dict[str, str]]:
    """What every form gives on every batch, and why some are not there."""
    outputs: dict[str, dict[str, Batch]] = {}
    absent: dict[str, str] = {}
    if "onnx" in formats:
        try:
            check_onnx(folder / ONNX)
        except ExportError as error:
            raise VerificationError(str(error)) from error
        outputs, absent = run_everywhere(folder / ONNX, batches, device)
    if "saved_model" in formats:
        if find_spec("tensorflow") is None:
            absent["SavedModel"] = "TensorFlow is not installed."
        else:
            check_saved_model(folder / SAVED_MODEL)
            run = saved_model_runner(folder / SAVED_MODEL)
            outputs["SavedModel"] = {name: run(batch) for name, batch in batches.items()}
    if not outputs:
        raise VerificationError(f"Expected a form that can run here. Received: {folder}, {absent}")
    return outputs, absent
