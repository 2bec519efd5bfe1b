"""Checks an artifact on disk again: its files, its models, and that they compute what Keras did at export.

Keras is not needed, and TensorFlow only for the SavedModel: the reference is what was recorded at export.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .convert.onnx_model import check_onnx, describe_model
from .convert.saved_model import check_saved_model, load_saved_model, saved_model_tensors
from .errors import ExportError, VerificationError, error_line
from .model.inputs import Raw, draw_inputs, set_recorded_sizes
from .proof.channels import count_channels, split_channels
from .proof.parity import compare
from .proof.prove import summarise
from .proof.recording import read_recorded
from .runtime.processes import run_everywhere
from .runtime.providers import Device, check_device
from .storage.agreement import check_onnx_agrees, check_tensors
from .storage.arrays import Batch
from .storage.manifest import ONNX, PARITY, SAVED_MODEL, check_files, read_manifest, why_not_batchable
from .storage.safety import read_json

_FRESH_BATCHES = (1, 3, 16)
_REFERENCE = "Keras, recorded at export"


def verify(artifact: str | Path, *, device: Device | None = None) -> dict[str, Any]:
    """Verifies an artifact.

    Every file is compared with its hash, and artifact.json with the models, and onnx's checker runs. onnxruntime in
    every form this machine has, and the SavedModel if TensorFlow is installed, must agree with the outputs recorded at
    export, and with each other on fresh random inputs.

    Args:
        artifact: The folder.
        device: "cuda" makes it an error if onnxruntime has no CUDA here, "cpu" leaves it out; None uses it where it is.

    Returns:
        The comparisons, in the form of parity.json, with the number of `files`, the `seed` of the fresh inputs, `weak`
        (the outputs for which the proof at export shows little, and why), and `not_batched` (why the server and
        `Predictor.predict` do not batch it; None if they do).

    Raises:
        FileNotFoundError: If there is no artifact.
        VerificationError: If a file is missing, changed, unexpected or not valid, or if artifact.json contradicts a
            model; the message names it.
        ParityError: If something is computed differently.
        DeviceError: If CUDA was asked for and is not there.
        ValueError: If the device is not one of those above.

    Example:
        >>> verify("classifier")["max_abs_diff"]
        1.1920929e-07
    """
    check_device(device, optional=True)
    folder = Path(artifact)
    manifest = read_manifest(folder)
    files = check_files(folder, manifest)
    inputs, recorded, tolerance = read_recorded(folder, manifest)
    seed = secrets.randbits(32)
    declared = [Raw.from_manifest(one, manifest["preprocessing"]) for one in manifest["inputs"]]
    raw = [_match_scale(one, [batch[one.name] for batch in inputs.values()]) for one in declared]
    seen = {name: np.concatenate([batch[name].ravel() for batch in inputs.values()]) for name in (r.name for r in raw)}
    drawn = draw_inputs(set_recorded_sizes(raw, inputs.values()), _FRESH_BATCHES, seed, like=seen)
    fresh = {f"fresh {name}": batch for name, batch in drawn.items()}
    candidates, absent = _run_forms(folder, manifest, inputs | fresh, device)
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
    about = {"weak": read_json(folder / PARITY).get("weak", {}), "not_batched": why_not_batchable(manifest)}
    return {"files": files, "seed": seed, **about, **summarise(records, absent, _REFERENCE)}


def _match_scale(raw: Raw, recorded: list[np.ndarray]) -> Raw:
    """An input whose floats are drawn as large as recorded ones: what may differ was measured on those."""
    if raw.preprocessing is not None or np.dtype(raw.dtype).kind != "f":
        return raw
    rows = np.concatenate([split_channels(x, count_channels(recorded)) for x in recorded]).astype("float64")
    return replace(raw, normal=(rows.mean(axis=0), rows.std(axis=0)))


def _run_forms(
    folder: Path, manifest: Mapping[str, Any], batches: dict[str, Batch], device: Device | None
) -> tuple[dict[str, dict[str, Batch]], dict[str, str]]:
    """What every form gives on every batch, and why some are not there."""
    outputs: dict[str, dict[str, Batch]] = {}
    absent: dict[str, str] = {}
    if "onnx" in manifest["formats"]:
        try:
            model = check_onnx(folder / ONNX)
        except ExportError as error:
            raise VerificationError(str(error)) from error
        check_onnx_agrees(folder, manifest, model, describe_model(model))
        outputs, absent = run_everywhere(folder / ONNX, batches, device)
    if "saved_model" in manifest["formats"]:
        if find_spec("tensorflow") is None:
            absent["SavedModel"] = "TensorFlow is not installed."
        else:
            check_saved_model(folder / SAVED_MODEL)
            outputs["SavedModel"] = _run_saved_model(folder / SAVED_MODEL, manifest, batches)
    if not outputs:
        raise VerificationError(f"Expected a form that can run here. Received: {folder}, {absent}")
    return outputs, absent


def _run_saved_model(path: Path, manifest: Mapping[str, Any], batches: dict[str, Batch]) -> dict[str, Batch]:
    try:
        run = load_saved_model(path)
        check_tensors(manifest, saved_model_tensors(run), path)
        return {name: run(batch) for name, batch in batches.items()}
    except VerificationError:
        raise
    except Exception as error:  # Whatever TensorFlow raises for a program that does not fit together.
        raise VerificationError(f"Expected a SavedModel that runs. Received: {path} ({error_line(error)})") from error
