"""Verifies an artifact on disk: its files, its models, and that they compute the same as Keras did at export.

The reference is recorded at export, so Keras is not needed, and TensorFlow only for the SavedModel.
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
from .model.inputs import RawInput, draw_inputs, set_recorded_sizes
from .proof.channels import count_channels, split_channels
from .proof.devices import RECORDED, widen_tolerance
from .proof.parity import compare
from .proof.prove import summarise
from .proof.recording import read_recorded
from .proof.unrecorded import NOTHING_RECORDED
from .runtime.processes import FORMS, PLAIN, run_everywhere
from .runtime.providers import Device, check_device
from .storage.agreement import check_onnx_agrees, check_tensors
from .storage.arrays import Batch
from .storage.manifest import ONNX, PARITY, SAVED_MODEL, check_files, read_manifest, why_not_batchable
from .storage.safety import read_json
from .targets.proving import run_targets

_FRESH_BATCHES = (1, 3, 16)


def verify(artifact: str | Path, *, device: Device | None = None) -> dict[str, Any]:
    """Verifies an artifact.

    Every file is compared with its hash, artifact.json with the models, and onnx's checker runs. The SavedModel, if
    TensorFlow is installed, and onnxruntime in every form that this machine has must agree with the outputs recorded at
    export, and with each other on new random inputs. If nothing is recorded, they are only compared with each other.
    Targets whose runtime is installed are checked in the same way.

    Args:
        artifact: The folder.
        device: The device to run on besides the CPU, as in `load`; None takes CUDA if available.

    Returns:
        The comparisons, in the form of parity.json, with the number of `files`, the `seed` of the new inputs, `weak`
        (the outputs about which the proof at export or this one says little, and why), and `not_batched` (why the
        server and `Predictor.predict` do not batch the artifact; None if they do).

    Raises:
        FileNotFoundError: If there is no artifact.
        VerificationError: If a file is missing, changed, unexpected or invalid, or artifact.json contradicts a model;
            the message names the file.
        ParityError: If a form computes something else.
        DeviceError: If the requested device is not there.
        ValueError: If the device is unknown.

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
    declared = [RawInput.from_manifest(one, manifest["preprocessing"]) for one in manifest["inputs"]]
    raw = [_match_scale(one, [batch[one.name] for batch in inputs.values()]) for one in declared]
    seen = {name: np.concatenate([batch[name].ravel() for batch in inputs.values()]) for name in (r.name for r in raw)}
    drawn = draw_inputs(set_recorded_sizes(raw, inputs.values()), _FRESH_BATCHES, seed, like=seen)
    fresh = {f"fresh {name}": batch for name, batch in drawn.items()}
    candidates, absent = _run_forms(folder, manifest, inputs | fresh, device)
    name, first = next(iter(candidates.items()))
    allowed = {key: widen_tolerance(FORMS.get(key, PLAIN).device, tolerance) for key in candidates}
    records = [
        compare(recorded, outputs, inputs, names=(RECORDED, candidate), **allowed[candidate])
        for candidate, outputs in candidates.items()
        if recorded
    ]
    records += [
        compare(first, outputs, fresh, names=(name, candidate), **allowed[candidate])
        for candidate, outputs in candidates.items()
        if candidate != name
    ]
    weak = read_json(folder / PARITY).get("weak", {})
    if not recorded:
        weak = dict.fromkeys((output["name"] for output in manifest["outputs"]), NOTHING_RECORDED) | weak
    about = {"weak": weak, "not_batched": why_not_batchable(manifest)}
    return {"files": files, "seed": seed, **about, **summarise(records, absent, RECORDED)}


def _match_scale(raw: RawInput, recorded: list[np.ndarray]) -> RawInput:
    """Returns an input whose floats are drawn as large as the recorded ones, on which tolerances were measured.

    NaN and infinity, such as missing values of a table, do not count.
    """
    if raw.preprocessing is not None or np.dtype(raw.dtype).kind != "f":
        return raw
    rows = np.concatenate([split_channels(x, count_channels(recorded)) for x in recorded]).astype("float64")
    finite = np.ma.masked_invalid(rows)
    return replace(raw, normal=(np.ma.filled(finite.mean(axis=0), 0), np.ma.filled(finite.std(axis=0), 1)))


def _run_forms(
    folder: Path, manifest: Mapping[str, Any], batches: dict[str, Batch], device: Device | None
) -> tuple[dict[str, dict[str, Batch]], dict[str, str]]:
    """Returns the outputs of every form for every batch, and why some forms are not there."""
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
    answers, missing = run_targets(folder, manifest, batches)
    outputs, absent = outputs | answers, absent | missing
    if not outputs:
        raise VerificationError(f"Expected an artifact that can run here. Received: {folder}, {absent}")
    return outputs, absent


def _run_saved_model(path: Path, manifest: Mapping[str, Any], batches: dict[str, Batch]) -> dict[str, Batch]:
    try:
        run = load_saved_model(path)
        check_tensors(manifest, saved_model_tensors(run), path)
        return {name: run(batch) for name, batch in batches.items()}
    except VerificationError:
        raise
    except Exception as error:  # TensorFlow raises errors of many kinds for an inconsistent program.
        raise VerificationError(f"Expected a SavedModel that runs. Received: {path} ({error_line(error)})") from error
