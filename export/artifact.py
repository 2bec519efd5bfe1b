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

from ._arrays import write_batches
from ._bisect import differs_from_keras, differs_from_plain
from ._inputs import Batch, check_raw, examples, random_inputs, real_inputs
from ._isolated import DEVICES, FORMS, PLAIN, Form, run_everywhere
from ._manifest import MANIFEST, ONNX, PARITY, SAMPLES, SAVED_MODEL, write_json, write_manifest
from ._publish import published
from ._recorded import decision_of
from ._served import Served, raw_samples, served, with_gates
from .errors import ParityError
from .onnx_model import DEFAULT_OPSET, describe_onnx, write_onnx
from .parity import Parity, compare
from .preprocessing import Preprocessing
from .saved_model import saved_model_runner, write_saved_model

FORMATS = ("saved_model", "onnx")
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
    activation: str | None = None,
    labels: Sequence[Any] | None = None,
    samples: Any = None,
    formats: Sequence[str] = FORMATS,
    opset: int = DEFAULT_OPSET,
    layout: str | None = None,
    device: str | None = None,
    name: str | None = None,
    gates: bool = False,
    overwrite: bool = False,
    batch_sizes: Sequence[int] = (1, 2, 7, 32),
    atol: float = 1e-5,
    rtol: float | None = None,
    seed: int = 0,
) -> Artifact:
    """Exports a model as an artifact, which appears at its path only after it has been proven.

    The reloaded SavedModel and onnxruntime (not optimised, optimised, on CUDA where there is one, each provider in a
    process of its own) are each compared with Keras. Inputs and outputs have the model's names; where Keras made a name
    up, a single one is called "input" or "output".

    Args:
        model: A Keras model of any kind, with any number of inputs and outputs.
        path: The folder to make.
        preprocessing: From raw input to the model's, where it has one input; None leaves its input as it is.
        activation: From the model's output to the artifact's, where it has one output, which is then called
            "probabilities": "softmax", "sigmoid" or None.
        labels: A name for each element along the last axis of a single output.
        samples: Real raw inputs, compared beside random ones: an array, or arrays by name or as the model takes them.
            A model that has never seen an input is built on them.
        formats: "saved_model", "onnx" or both.
        opset: The version of ONNX's operations.
        layout: Where images have their channels, at inputs and outputs: "nhwc", "nchw" or None, as the model has them.
        device: "cuda" makes it an error if onnxruntime has no CUDA here, "cpu" leaves it out; None uses it where it is.
        name: What to call the model; its own name by default.
        gates: Whether to add an output "carry": for each example and highway block the mean of its carry gate.
        overwrite: Whether an artifact already there may be replaced. It stays as it is if the export fails.
        batch_sizes: Sizes of the batches that are compared.
        atol: Largest absolute difference allowed.
        rtol: Adds to it in proportion to the largest output; by default 0, without an activation 1e-4.
        seed: Of the random inputs.

    Returns:
        The artifact.

    Raises:
        FileExistsError: If something is there already.
        DeviceError: If CUDA was asked for and is not there.
        ExportError: If the model cannot be converted, or onnxruntime crashes.
        ParityError: If a form of it computes something else.
        ValueError: If an argument is not usable.

    Example:
        >>> export(model, "classifier", preprocessing=Preprocessing("uint8", scale=1 / 255), labels=["cat", "dog"])
    """
    formats = _checked(formats, device)
    function = served(model, preprocessing, activation, layout, samples)
    function = with_gates(function) if gates else function
    real = raw_samples(function, samples)
    if real is not None:
        check_raw(real, function.inputs)
    inputs = {**random_inputs(function.inputs, batch_sizes, seed, real), **real_inputs(real, batch_sizes)}
    expected = {key: function.numpy(batch) for key, batch in inputs.items()}
    _check_labels(labels, function, next(iter(expected.values())))
    tolerance = {
        "atol": atol,
        "rtol": (0.0 if activation else 1e-4) if rtol is None else rtol,
        "decision": decision_of(activation, function.gates.output if function.gates else None),
    }
    with published(path, overwrite, lambda target: (target / MANIFEST).is_file()) as folder:
        folder.mkdir()
        if "saved_model" in formats:
            write_saved_model(function, folder / SAVED_MODEL)
        if "onnx" in formats:
            write_onnx(function, folder / ONNX, opset, labels)
        parity = _prove(function, folder, inputs, expected, tolerance, device)
        parity |= {"seed": seed, "recorded": _record(folder / SAMPLES, inputs, expected)}
        if function.trained_precision:
            parity["float32_against_trained_precision"] = _precision_change(
                replace(function, model=model), inputs, expected
            )
        write_json(folder / PARITY, parity)
        about = {"name": name or model.name, "labels": None if labels is None else [str(label) for label in labels]}
        manifest = write_manifest(folder, about | _describe(function, folder, next(iter(expected.values()))))
    return Artifact(Path(path), manifest, parity)


def _checked(formats: Sequence[str], device: str | None) -> tuple[str, ...]:
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    if not formats or not set(formats) <= set(FORMATS):
        raise ValueError(f"Expected formats to be of {FORMATS}. Received: formats={formats!r}")
    if device is not None and device not in DEVICES:
        raise ValueError(f"Expected device to be one of {(*DEVICES, None)}. Received: device={device!r}")
    return formats


def _check_labels(labels: Sequence[Any] | None, function: Served, expected: Batch) -> None:
    if labels is None:
        return
    if len(function.answers) != 1:
        raise ValueError(f"Expected one output for labels. Received: the outputs {', '.join(function.answers)}")
    classes = expected[function.answers[0]].shape[-1]
    if len(labels) != classes:
        raise ValueError(f"Expected a label for each of {classes} outputs. Received: {len(labels)} labels")


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
    function: Served,
    folder: Path,
    inputs: Mapping[str, Batch],
    expected: Mapping[str, Batch],
    tolerance: Mapping[str, Any],
    device: str | None,
) -> dict[str, Any]:
    candidates: dict[str, Any] = {}
    absent: dict[str, str] = {}
    if (folder / SAVED_MODEL).is_dir():
        candidates["SavedModel"] = saved_model_runner(folder / SAVED_MODEL)
    if (folder / ONNX).is_file():
        answers, absent = run_everywhere(folder / ONNX, inputs, device)
        candidates |= answers
    records = []
    for name, candidate in candidates.items():
        try:
            records.append(compare(expected, candidate, inputs, names=("Keras", name), **tolerance))
        except ParityError as error:
            if name not in FORMS:
                raise
            where = _where(function, folder / ONNX, inputs, expected, candidate, tolerance, FORMS[name])
            raise ParityError(f"{error}. {where}") from error
    return summarise(records, absent, "Keras")


def _where(
    function: Served,
    model: Path,
    inputs: Mapping[str, Batch],
    expected: Mapping[str, Batch],
    candidate: Mapping[str, Batch],
    tolerance: Mapping[str, Any],
    form: Form,
) -> str:
    """Names the tensor at which an ONNX file parts from Keras, on the first input where it does."""
    for name, batch in inputs.items():
        try:
            compare({name: expected[name]}, {name: candidate[name]}, {name: batch}, **tolerance)
        except ParityError:
            # The form without optimisation is judged first: where another one fails, that one has passed.
            return (
                differs_from_keras(function, model, batch) if form == PLAIN else differs_from_plain(model, batch, form)
            )
    return ""


def _record(path: Path, inputs: Mapping[str, Batch], expected: Mapping[str, Batch]) -> list[str]:
    """Stores the smallest inputs and Keras's outputs, at least one of them; returns their names."""
    recorded: dict[str, Batch] = {}
    size = 0
    for name in sorted(inputs, key=lambda name: examples(inputs[name])):
        arrays = {f"input/{key}": x for key, x in inputs[name].items()}
        arrays |= {f"output/{key}": y for key, y in expected[name].items()}
        size += sum(array.nbytes for array in arrays.values())
        if recorded and size > _RECORDED_BYTES:
            break
        recorded[name] = arrays
    write_batches(path, recorded)
    return list(recorded)


def _precision_change(trained: Served, inputs: Mapping[str, Batch], expected: Mapping[str, Batch]) -> dict[str, Any]:
    """How far float32 moves the outputs from those of the half precision the model was trained in. Told, not judged."""
    pairs = [
        (y.astype("float32"), expected[name][output])
        for name, batch in inputs.items()
        for output, y in trained.numpy(batch).items()
        if output in trained.answers
    ]
    agreements = np.concatenate([np.ravel(np.argmax(a, -1) == np.argmax(b, -1)) for a, b in pairs])
    return {
        "trained_precision": trained.trained_precision,
        "max_abs_diff": max(float(np.max(np.abs(a - b))) for a, b in pairs),
        "argmax_agreement": float(np.mean(agreements)),
    }


def _describe(function: Served, folder: Path, expected: Batch) -> dict[str, Any]:
    floats = [y.dtype for y in expected.values() if y.dtype.kind == "f"]
    exported = max(floats, key=lambda dtype: dtype.itemsize, default=np.dtype("float32")).name
    raw = function.inputs[0].preprocessing
    about = {
        "formats": [name for name, file in (("saved_model", SAVED_MODEL), ("onnx", ONNX)) if (folder / file).exists()],
        "inputs": [{"name": i.name, "shape": list(i.shape), "dtype": i.dtype} for i in function.inputs],
        "outputs": [
            {"name": name, "shape": [None, *shape[1:]], "dtype": expected[name].dtype.name}
            for name, shape in zip(function.outputs, function.output_shapes, strict=True)
        ],
        "preprocessing": raw.to_dict() if raw else None,
        "activation": function.activation,
        "layout": function.layout,
        "precision": {"exported": exported, "trained": function.trained_precision or exported},
        "versions": _versions(),
    }
    if function.gates is not None:
        about["gates"] = function.gates.to_dict()
    return about | (describe_onnx(folder / ONNX) if (folder / ONNX).is_file() else {})


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
