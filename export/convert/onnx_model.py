"""A Keras model as an ONNX file that onnx's checker accepts and onnxruntime runs.

The default opset is 17: up to it global average pooling stays one operation, at 18 it falls apart, and the converter
goes no further.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ExportError, error_line
from ..model.endpoint import Endpoint
from ..model.inputs import make_zeros
from ..runtime.processes import PLAIN, run_forms
from ..storage.onnx_files import save_model
from ..storage.safety import check_onnx_file
from .conversion import convert_endpoint
from .operation_counts import check_operations, count_operations

if TYPE_CHECKING:
    import keras
    from onnx import ModelProto

OPSETS = range(13, 19)
DEFAULT_OPSET = 17
# The version of what these entries mean.
_VERSION = "1"


def write_onnx(endpoint: Endpoint, path: Path, opset: int, labels: Sequence[str] | None = None) -> None:
    """Writes a served function to a path where nothing is; the checker has seen it and onnxruntime has run it."""
    if opset not in OPSETS:
        raise ValueError(f"Expected opset to be between {OPSETS[0]} and {OPSETS[-1]}. Received: opset={opset!r}")
    model = convert_endpoint(endpoint, opset)
    check_operations(count_operations(model))
    _add_metadata(model, endpoint, labels)
    save_model(model, path)
    del model
    check_onnx(path)
    # The checker lets pass what only shows when it runs, such as the wrong number of groups.
    run_forms(path, {"zeros": make_zeros(endpoint.inputs)}, (PLAIN,))


def _add_metadata(model: "ModelProto", endpoint: Endpoint, labels: Sequence[str] | None) -> None:
    """Writes into the model what whoever finds the file alone wants to know."""
    raw = endpoint.inputs[0].preprocessing
    about = {
        "producer": f"keras-skip, {_producer(model)}",
        "version": _VERSION,
        "labels": None if labels is None else json.dumps([str(label) for label in labels], ensure_ascii=False),
        "preprocessing": None if raw is None else json.dumps(raw.to_dict()),
        "activation": endpoint.activation,
        "layout": endpoint.layout,
        "weights_sha256": hash_weights(endpoint.model),
    }
    model.doc_string = ""
    for key, value in about.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)


def hash_weights(model: "keras.Model") -> str:
    """Hash of the values of a model's weights, in the model's order, whatever file they are in."""
    digest = hashlib.sha256()
    for weight in model.weights:
        values = np.ascontiguousarray(weight.numpy())
        digest.update(f"{values.dtype.name} {values.shape}".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check_onnx(path: Path) -> "ModelProto":
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
            f"Expected a model that onnx's checker accepts. Received: {path.name} ({error_line(error)})"
        ) from error
    return model


def describe_file(path: Path) -> dict[str, Any]:
    """What an artifact says of its ONNX file."""
    return describe_model(check_onnx(path))


def _producer(model: "ModelProto") -> str:
    # tf2onnx puts the commit it was built from behind its version, which a release does not know.
    return f"{model.producer_name} {model.producer_version}".removesuffix(" None")


def describe_model(model: "ModelProto") -> dict[str, Any]:
    """The fields of a manifest that describe an ONNX model."""
    return {
        "operations": count_operations(model),
        "weights_sha256": {entry.key: entry.value for entry in model.metadata_props}.get("weights_sha256"),
        "opset": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "ir_version": model.ir_version,
        "producer": _producer(model),
    }
