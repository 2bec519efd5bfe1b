"""Checks an artifact on disk again: its files, its models, and that they compute what Keras did at export.

Keras is not needed, and TensorFlow only for the SavedModel: the reference is what was recorded at export.
"""

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ._inputs import random_inputs
from ._manifest import ONNX, PARITY, SAMPLES, SAVED_MODEL, check_files, read_manifest
from .artifact import DECISIONS, summarise
from .errors import ExportError, VerificationError
from .onnx_model import check_onnx
from .parity import compare
from .preprocessing import Preprocessing
from .saved_model import saved_model_runner

_FRESH_BATCHES = (1, 3, 16)


def verify(artifact: str | Path) -> dict[str, Any]:
    """Verifies an artifact.

    Every file is compared with its hash; onnx's checker runs; onnxruntime in every form this machine has, and the
    SavedModel where TensorFlow is installed, must agree with the outputs recorded at export, and with each other on
    fresh random inputs.

    Args:
        artifact: The folder.

    Returns:
        What was compared, in the form of parity.json, with the number of `files` and the `seed` of the fresh inputs.

    Raises:
        FileNotFoundError: If there is no artifact.
        VerificationError: If a file is missing, changed, unexpected or not valid; the message names it.
        ParityError: If something is computed differently.

    Example:
        >>> verify("classifier")["max_abs_diff"]
        1.1920929e-07
    """
    from ._sessions import onnx_runners

    folder = Path(artifact)
    manifest = read_manifest(folder)
    files = check_files(folder, manifest)
    try:
        check_onnx(folder / ONNX)
    except ExportError as error:
        raise VerificationError(str(error)) from error
    inputs, recorded, tolerance = _recorded(folder)
    tolerance["decision"] = DECISIONS[manifest["activation"]]
    runners, absent = onnx_runners(folder / ONNX)
    candidates = {**runners, **_saved_model(folder / SAVED_MODEL, absent)}
    seed = secrets.randbits(32)
    fresh = random_inputs(
        tuple(manifest["inputs"][0]["shape"]),
        Preprocessing.from_dict(manifest["preprocessing"]),
        _FRESH_BATCHES,
        seed,
        like=next(iter(inputs.values())),
    )
    name, plain = next(iter(runners.items()))
    records = [
        compare(recorded, run, inputs, names=("Keras, recorded at export", candidate), **tolerance)
        for candidate, run in candidates.items()
    ]
    records += [
        compare(plain, run, fresh, names=(name, candidate), **tolerance)
        for candidate, run in candidates.items()
        if candidate != name
    ]
    return {"files": files, "seed": seed, **summarise(records, absent, "Keras, recorded at export")}


def _recorded(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    parity = json.loads((folder / PARITY).read_text(encoding="utf-8"))
    with np.load(folder / SAMPLES, allow_pickle=False) as arrays:
        inputs = {name: arrays[f"input_{i}"] for i, name in enumerate(parity["recorded"])}
        outputs = {name: arrays[f"output_{i}"] for i, name in enumerate(parity["recorded"])}
    tolerance = {key: parity["comparisons"][0][key] for key in ("atol", "rtol")}
    return inputs, outputs, tolerance


def _saved_model(path: Path, absent: dict[str, str]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    try:
        return {"SavedModel": saved_model_runner(path)}
    except ImportError:
        absent["SavedModel"] = "TensorFlow is not installed."
        return {}
