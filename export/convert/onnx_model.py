"""Writes an ONNX file that onnx's checker accepts."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ExportError, error_line
from ..model.endpoint import Endpoint
from ..storage.onnx_files import save_model
from ..storage.safety import check_onnx_file
from .conversion import convert_endpoint
from .operation_counts import check_operations, count_operations

if TYPE_CHECKING:
    import keras
    from onnx import ModelProto

_PRODUCER = "keras-skip"
# The version of the entries in the file's metadata.
_VERSION = "1"


def write_onnx(
    endpoint: Endpoint,
    path: Path,
    opset: int,
    labels: Sequence[str] | None = None,
    convert: "Callable[[Endpoint, int], ModelProto]" = convert_endpoint,
) -> None:
    """Writes an endpoint to a new file, and checks the file with onnx.

    Some faults, such as a wrong number of groups, show only in a run, so the file is to be proven next.
    """
    model = convert(endpoint, opset)
    check_operations(count_operations(model))
    _add_metadata(model, endpoint, labels)
    save_model(model, path)
    del model
    check_onnx(path)


def _add_metadata(model: "ModelProto", endpoint: Endpoint, labels: Sequence[str] | None) -> None:
    """Adds the metadata with which the file can be used without its artifact."""
    from keras_skip import __version__

    raw = endpoint.inputs[0].preprocessing
    about = {
        "producer": f"{_PRODUCER}, {_producer(model)}",
        "version": _VERSION,
        "labels": None if labels is None else json.dumps([str(label) for label in labels], ensure_ascii=False),
        "preprocessing": None if raw is None else json.dumps(raw.to_dict()),
        "activation": endpoint.activation,
        "layout": endpoint.layout,
        "weights_sha256": hash_weights(endpoint.model),
    }
    model.doc_string, model.producer_name, model.producer_version = "", _PRODUCER, __version__
    for key, value in about.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)


def hash_weights(model: "keras.Model") -> str:
    """Returns the hash of a model's weights in their order, which does not depend on a file format."""
    digest = hashlib.sha256()
    for weight in model.weights:
        values = np.ascontiguousarray(weight.numpy())
        digest.update(f"{values.dtype.name} {values.shape}".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check_onnx(path: Path) -> "ModelProto":
    """Reads an ONNX file and runs onnx's checker with type and shape inference.

    Returns:
        The model.

    Raises:
        ExportError: If the file is not a valid model.
        VerificationError: If it is no ONNX file, or refers to files elsewhere.
    """
    import onnx
    from google.protobuf.message import DecodeError

    check_onnx_file(path)
    try:
        model = onnx.load(path)
        # The checker takes files above 2 GB only by their path.
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, DecodeError) as error:
        raise ExportError(
            f"Expected a model that onnx's checker accepts. Received: {path.name} ({error_line(error)})"
        ) from error
    return model


def describe_file(path: Path) -> dict[str, Any]:
    """Returns the fields of a manifest that describe an ONNX file."""
    return describe_model(check_onnx(path))


def _producer(model: "ModelProto") -> str:
    # tf2onnx adds its commit to the version, which releases do not know.
    return f"{model.producer_name} {model.producer_version}".removesuffix(" None")


def describe_model(model: "ModelProto") -> dict[str, Any]:
    """Returns the fields of a manifest that describe an ONNX model."""
    return {
        "operations": count_operations(model),
        "weights_sha256": {entry.key: entry.value for entry in model.metadata_props}.get("weights_sha256"),
        "opset": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "ir_version": model.ir_version,
        "producer": _producer(model),
    }
