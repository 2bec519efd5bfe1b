"""A Keras model as an ONNX file that onnx's checker accepts and onnxruntime runs.

The default opset is 17: up to it global average pooling stays one operation, at 18 it falls apart, and the converter
goes no further.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import _saving
from ._conversion import converted
from ._inputs import zeros
from ._isolated import PLAIN, run_forms
from ._proof import prove
from ._publish import published
from ._reference import checked_reference
from ._safety import check_onnx_file
from ._saving import save
from ._served import Served, served
from ._structure import check_operations, operations
from .errors import ExportError, in_one_line
from .preprocessing import Preprocessing

OPSETS = range(13, 19)
DEFAULT_OPSET = 17
# The version of what these entries mean.
_VERSION = "1"


def to_onnx(
    model: Any,
    path: str | Path,
    *,
    opset: int = DEFAULT_OPSET,
    preprocessing: Preprocessing | dict[str, Any] | None = None,
    activation: str | None = None,
    layout: str | None = None,
    samples: Any = None,
    overwrite: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
) -> Path:
    """Writes the model, for inference, as an ONNX file with a dynamic batch, and proves the file against Keras.

    A model under a half-precision policy is written in float32, with the same weights. Inputs and outputs have the
    model's names; where Keras made a name up, a single one is called "input" or "output". Dynamic dimensions are named:
    "batch", "height" and "width" of images, "length" of sequences.

    Args:
        model: A Keras model.
        path: The file to write.
        opset: The version of ONNX's operations, 13 to 18.
        preprocessing: Put before a model with one input; None leaves its input as it is.
        activation: Put after a model with one output, which is then called "probabilities": "softmax", "sigmoid" or
            None.
        layout: Where images have their channels: "nhwc", "nchw" or None, as the model has them.
        samples: Real raw inputs, compared in addition to random ones; needed if the model has never seen an input, or
            takes only sizes or integers that the export does not find by trying.
        overwrite: Whether a file already there may be replaced.
        atol: Absolute difference from Keras allowed in addition to roundings, as in `export`.
        rtol: Difference allowed as a share of the range of each channel, as in `export`.

    Returns:
        The file.

    Raises:
        FileExistsError: If something is there already.
        ExportError: If an operation cannot be converted, which the message names, or if the weights are larger than
            2 GB; no file is left.
        ParityError: If onnxruntime computes something else.
        ValueError: If an argument is not usable.

    Example:
        >>> to_onnx(model, "classifier.onnx")
        >>> onnxruntime.InferenceSession("classifier.onnx").run(["output"], {"input": images})
    """
    function = served(model, preprocessing, activation, layout, samples)
    reference = checked_reference(function, model, samples, atol=atol, rtol=rtol)
    with published(path, overwrite, Path.is_file) as building:
        write_onnx(function, building, opset)
        if any(file != building for file in building.parent.iterdir()):
            raise ExportError(
                f"Expected at most {_saving.LARGEST / 1e9:.1f} GB of weights for a file of its own. "
                f"Received: {function.model.name} with more, which export() writes into a folder"
            )
        prove(reference, onnx=building)
    return Path(path)


def write_onnx(function: Served, path: Path, opset: int, labels: Sequence[Any] | None = None) -> None:
    """Writes a served function to a path where nothing is; the checker has seen it and onnxruntime has run it."""
    if opset not in OPSETS:
        raise ValueError(f"Expected opset to be between {OPSETS[0]} and {OPSETS[-1]}. Received: opset={opset!r}")
    model = converted(function, opset)
    check_operations(operations(model))
    _describe(model, function, labels)
    save(model, path)
    del model
    check_onnx(path)
    # The checker lets pass what only shows when it runs, such as the wrong number of groups.
    run_forms(path, {"zeros": zeros(function.inputs)}, (PLAIN,))


def _describe(model: Any, function: Served, labels: Sequence[Any] | None) -> None:
    """Writes into the model what whoever finds the file alone wants to know."""
    raw = function.inputs[0].preprocessing
    about = {
        "producer": f"keras-skip, {_producer(model)}",
        "version": _VERSION,
        "labels": None if labels is None else json.dumps([str(label) for label in labels], ensure_ascii=False),
        "preprocessing": None if raw is None else json.dumps(raw.to_dict()),
        "activation": function.activation,
        "layout": function.layout,
        "weights_sha256": weights_hash(function.model),
    }
    model.doc_string = ""
    for key, value in about.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)


def weights_hash(model: Any) -> str:
    """Hash of the values of a model's weights, in the model's order, whatever file they are in."""
    digest = hashlib.sha256()
    for weight in model.weights:
        values = np.ascontiguousarray(weight.numpy())
        digest.update(f"{values.dtype.name} {values.shape}".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check_onnx(path: Path) -> Any:
    """Reads an ONNX file and runs onnx's checker, type and shape inference included.

    Returns:
        The model.

    Raises:
        ExportError: If the file is not a valid model.
        VerificationError: If it is none at all, or leads elsewhere.
    """
    import onnx
    from google.protobuf.message import DecodeError

    check_onnx_file(path)
    try:
        model = onnx.load(path)
        # By its path the file can be larger than what fits one message.
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, DecodeError) as error:
        raise ExportError(
            f"Expected a model that onnx's checker accepts. Received: {path.name} ({in_one_line(error)})"
        ) from error
    return model


def describe_onnx(path: Path) -> dict[str, Any]:
    """What an artifact says of its ONNX file."""
    return describe(check_onnx(path))


def _producer(model: Any) -> str:
    # tf2onnx puts the commit it was built from behind its version, which a release does not know.
    return f"{model.producer_name} {model.producer_version}".removesuffix(" None")


def describe(model: Any) -> dict[str, Any]:
    """The fields of a manifest that describe an ONNX model."""
    return {
        "operations": operations(model),
        "weights_sha256": {entry.key: entry.value for entry in model.metadata_props}.get("weights_sha256"),
        "opset": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "ir_version": model.ir_version,
        "producer": _producer(model),
    }
