"""The artifact: a folder that holds a trained network for serving, and the proof that its forms compute the same thing.

    saved_model/    TensorFlow's form
    model.onnx      ONNX
    artifact.json   names, shapes, types, labels, preprocessing, opset, versions, and the hash of every file
    parity.json     what was compared with what, on which inputs, and every figure
    samples.npz     inputs, and what Keras made of them: whoever has the artifact can check it without Keras

Both models take raw input and give what `activation` says; preprocessing is part of the graph.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ._inputs import check_raw, random_inputs, real_inputs
from ._manifest import MANIFEST, ONNX, PARITY, SAMPLES, SAVED_MODEL, write_json, write_manifest
from ._publish import published
from ._served import INPUT, OUTPUT, Served, served
from .onnx_model import DEFAULT_OPSET, check_onnx, write_onnx
from .parity import Parity, compare
from .preprocessing import Preprocessing
from .saved_model import saved_model_runner, write_saved_model

DECISIONS = {"softmax": "argmax", "sigmoid": "threshold", None: None}
_RECORDED_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Artifact:
    """An exported network on disk.

    Attributes:
        path: The folder.
        metadata: The contents of artifact.json.
        parity: The contents of parity.json.
    """

    path: Path
    metadata: dict[str, Any]
    parity: dict[str, Any]

    @property
    def onnx(self) -> Path:
        """The ONNX file."""
        return self.path / ONNX

    @property
    def saved_model(self) -> Path:
        """The SavedModel's folder."""
        return self.path / SAVED_MODEL


def export(
    model: Any,
    path: str | Path,
    *,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    activation: str | None = "softmax",
    labels: Sequence[Any] | None = None,
    samples: np.ndarray | None = None,
    opset: int = DEFAULT_OPSET,
    name: str | None = None,
    overwrite: bool = False,
    batch_sizes: Sequence[int] = (1, 2, 7, 32),
    atol: float = 1e-5,
    rtol: float | None = None,
    seed: int = 0,
) -> Artifact:
    """Exports a model as an artifact, which appears at its path only after it has been proven.

    The reloaded SavedModel and onnxruntime (not optimised, optimised, on CUDA where there is one) are each compared
    with Keras.

    Args:
        model: A built Keras model with one input and one output, usually giving logits.
        path: The folder to make.
        preprocessing: From raw input to the model's; None leaves the model's own input as it is.
        activation: From the model's output to the artifact's: "softmax", "sigmoid" or None.
        labels: A name for each output.
        samples: Real raw inputs, compared beside random ones.
        opset: The version of ONNX's operations.
        name: What to call the model; its own name by default.
        overwrite: Whether an artifact already there may be replaced. It stays as it is if the export fails.
        batch_sizes: Sizes of the batches that are compared.
        atol: Largest absolute difference allowed.
        rtol: Adds to it in proportion to the largest output; by default 0, without an activation 1e-4.
        seed: Of the random inputs.

    Returns:
        The artifact.

    Raises:
        FileExistsError: If something is there already.
        ExportError: If the model cannot be converted.
        ParityError: If a form of it computes something else.
        ValueError: If an argument is not usable.

    Example:
        >>> export(model, "classifier", preprocessing=Preprocessing("uint8", scale=1 / 255), labels=["cat", "dog"])
    """
    function = served(model, preprocessing, activation)
    if samples is not None:
        check_raw(samples := np.asarray(samples), function.shape, function.preprocessing.dtype)
    inputs = {
        **random_inputs(function.shape, function.preprocessing, batch_sizes, seed, samples),
        **real_inputs(samples, batch_sizes),
    }
    expected = {key: function.numpy(x) for key, x in inputs.items()}
    output_shape = next(iter(expected.values())).shape
    if labels is not None and len(labels) != output_shape[-1]:
        raise ValueError(f"Expected a label for each of {output_shape[-1]} outputs. Received: {len(labels)} labels")
    rtol = (0.0 if activation else 1e-4) if rtol is None else rtol
    with published(path, overwrite, lambda target: (target / MANIFEST).is_file()) as folder:
        folder.mkdir()
        write_saved_model(function, folder / SAVED_MODEL)
        write_onnx(function, folder / ONNX, opset)
        parity = _prove(folder, inputs, expected, atol, rtol, DECISIONS[activation])
        parity |= {"seed": seed, "recorded": _record(folder / SAMPLES, inputs, expected)}
        if function.trained_precision:
            parity["float32_against_trained_precision"] = _precision_change(
                replace(function, model=model), inputs, expected
            )
        write_json(folder / PARITY, parity)
        about = {"name": name or model.name, "labels": None if labels is None else [str(label) for label in labels]}
        manifest = write_manifest(folder, about | _describe(function, folder / ONNX))
    return Artifact(Path(path), manifest, parity)


def summarise(comparisons: list[Parity], absent: Mapping[str, str], reference: str) -> dict[str, Any]:
    """Puts records together with the worst of their figures, and names what could not be compared."""
    agreements = [c.argmax_agreement for c in comparisons if c.argmax_agreement is not None]
    return {
        "max_abs_diff": max(c.max_abs_diff for c in comparisons),
        "max_rel_diff": max(c.max_rel_diff for c in comparisons),
        "argmax_agreement": min(agreements, default=None),
        "comparisons": [
            *({"status": "compared", **c.to_dict()} for c in comparisons),
            *(
                {"status": "not available", "reference": reference, "candidate": c, "reason": r}
                for c, r in absent.items()
            ),
        ],
    }


def _prove(
    folder: Path,
    inputs: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    atol: float,
    rtol: float,
    decision: str | None,
) -> dict[str, Any]:
    from ._sessions import onnx_runners

    runners, absent = onnx_runners(folder / ONNX)
    candidates = {"SavedModel": saved_model_runner(folder / SAVED_MODEL), **runners}
    records = [
        compare(expected, run, inputs, atol=atol, rtol=rtol, decision=decision, names=("Keras", candidate))
        for candidate, run in candidates.items()
    ]
    return summarise(records, absent, "Keras")


def _record(path: Path, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> list[str]:
    """Stores the smallest inputs and Keras's outputs, at least one of them; returns their names."""
    names: list[str] = []
    size = 0
    for name in sorted(inputs, key=lambda name: len(inputs[name])):
        size += inputs[name].nbytes + expected[name].nbytes
        if names and size > _RECORDED_BYTES:
            break
        names.append(name)
    arrays = {
        f"{kind}_{i}": of[n] for i, n in enumerate(names) for kind, of in (("input", inputs), ("output", expected))
    }
    np.savez(path, allow_pickle=False, **arrays)
    return names


def _precision_change(
    trained: Served, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """How far float32 moves the outputs from those of the half precision the model was trained in. Told, not judged."""
    pairs = [(trained.numpy(x).astype("float32"), expected[name]) for name, x in inputs.items()]
    agreements = np.concatenate([np.ravel(np.argmax(a, -1) == np.argmax(b, -1)) for a, b in pairs])
    return {
        "trained_precision": trained.trained_precision,
        "max_abs_diff": max(float(np.max(np.abs(a - b))) for a, b in pairs),
        "argmax_agreement": float(np.mean(agreements)),
    }


def _describe(function: Served, onnx_file: Path) -> dict[str, Any]:
    import onnx

    model = check_onnx(onnx_file)
    (output,) = model.graph.output
    dims = [d.dim_value if d.HasField("dim_value") else None for d in output.type.tensor_type.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type).name
    return {
        "inputs": [{"name": INPUT, "shape": list(function.shape), "dtype": function.preprocessing.dtype}],
        "outputs": [{"name": OUTPUT, "shape": dims, "dtype": dtype}],
        "preprocessing": function.preprocessing.to_dict(),
        "activation": function.activation,
        "precision": {"exported": dtype, "trained": function.trained_precision or dtype},
        "opset": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".removesuffix(" None"),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    import keras
    import onnx
    import onnxruntime
    import tensorflow as tf
    import tf2onnx

    modules = {
        "keras": keras,
        "numpy": np,
        "onnx": onnx,
        "onnxruntime": onnxruntime,
        "tensorflow": tf,
        "tf2onnx": tf2onnx,
    }
    versions = {name: module.__version__ for name, module in modules.items()}
    with suppress(metadata.PackageNotFoundError):
        versions["keras-skip"] = metadata.version("keras-skip")
    return versions
