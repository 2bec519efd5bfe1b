"""Reads and writes the Open Inference Protocol, version 2, over HTTP: from a body to arrays, and back.

https://github.com/kserve/open-inference-protocol, with the extension for binary tensors: with the header
`Inference-Header-Content-Length`, the body is that many bytes of JSON, followed by the data of each input that has
`binary_data_size`, in their order and little-endian. Nothing here depends on a server, a model or a runtime.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from ...storage.arrays import Batch
from ..errors import RequestError
from .datatypes import DATATYPES
from .json_arrays import make_array, parse_json

HEADER_LENGTH = "inference-header-content-length"
_DTYPES = {datatype: np.dtype(dtype) for dtype, datatype in DATATYPES.items()}
# Parameters of other extensions, which would change the meaning of a request.
_FOREIGN = ("shared_memory_region", "classification")


@dataclass(frozen=True)
class InferRequest:
    """The request of a client.

    Attributes:
        id: The client's name for the request, which the answer repeats.
        inputs: Arrays by name.
        outputs: Whether the data of each requested output is binary; empty requests all outputs.
        binary: Whether data is binary if `outputs` is empty.
    """

    id: str | None
    inputs: Batch
    outputs: Mapping[str, bool]
    binary: bool


def parse_request(
    body: bytes, header_length: str | None, check_tensor: Callable[[str, list[int], str], None]
) -> InferRequest:
    """Reads the body of an inference request.

    Args:
        body: The whole body.
        header_length: The header of the binary extension, if it was sent.
        check_tensor: Takes the name, the shape and the datatype of each input before its data is read, and raises a
            RequestError if the model does not take them.

    Returns:
        The request; its arrays have the shapes and types that it declares.

    Raises:
        RequestError: If it does not follow the protocol.
    """
    size = _read_header_size(body, header_length)
    content = parse_json(body[:size])
    _require(isinstance(content, dict), "the body to be a JSON object", content)
    return read_content(content, memoryview(body)[size:], check_tensor)


def read_content(
    content: Mapping[str, Any], raw: memoryview, check_tensor: Callable[[str, list[int], str], None]
) -> InferRequest:
    """Reads an inference request from its JSON and the binary data behind it.

    Args:
        content: The JSON object.
        raw: The data of the inputs that have `binary_data_size`, in their order.
        check_tensor: As in `parse_request`.

    Raises:
        RequestError: If it does not follow the protocol.
    """
    identity = content.get("id")
    _require(identity is None or isinstance(identity, str), "id to be a string", identity)
    tensors = content.get("inputs")
    _require(isinstance(tensors, list) and tensors, "inputs to be a list of at least one tensor", tensors)
    assert isinstance(tensors, list)
    inputs: Batch = {}
    for tensor in tensors:
        _require(isinstance(tensor, dict), "an input to be a JSON object", tensor)
        name = tensor.get("name")
        _require(isinstance(name, str), "an input to have a name", name)
        _require(name not in inputs, "each input once", name)
        inputs[name], raw = _read_array(name, tensor, raw, check_tensor)
    if len(raw):
        raise RequestError(f"Expected no bytes after the data of the inputs. Received: {len(raw)} more")
    parameters = _read_parameters(content, "the request")
    return InferRequest(
        identity, inputs, _read_outputs(content.get("outputs")), _read_flag(parameters, "binary_data_output", False)
    )


def render_response(request: InferRequest, model: str, version: str, outputs: Batch) -> tuple[bytes, dict[str, str]]:
    """Renders the body that answers a request.

    Args:
        request: The request, whose outputs are among those of the model.
        model: The model's name.
        version: The model's version.
        outputs: Every output of the model.

    Returns:
        The body and the headers.

    Raises:
        RequestError: If a number in JSON is not finite, which JSON cannot hold.
    """
    wanted = request.outputs or dict.fromkeys(outputs, request.binary)
    tensors: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, binary in wanted.items():
        array = np.ascontiguousarray(outputs[name])
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": DATATYPES[array.dtype.name],
            "shape": list(outputs[name].shape),
        }
        if binary:
            parts.append(_to_little_endian(array).tobytes())
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        elif not is_finite(array):
            raise RequestError(f"Expected input for which {name} is finite. Received: NaN or infinity in {name}")
        else:
            tensor["data"] = array.ravel()
        tensors.append(tensor)
    content: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        content["id"] = request.id
    header = orjson.dumps(content | {"outputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not parts:
        return header, {"content-type": "application/json"}
    return b"".join([header, *parts]), {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(header))}


def is_finite(array: np.ndarray) -> bool:
    """Whether an array holds neither NaN nor infinity."""
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _require(holds: Any, expected: str, received: Any) -> None:
    if not holds:
        raise RequestError(f"Expected {expected}. Received: {_shorten(received)}")


def _shorten(value: Any) -> str:
    text = "nothing" if value is None else repr(value) if not isinstance(value, list | dict) else type(value).__name__
    return text if len(text) <= 80 else f"{text[:80]}..."


def _read_header_size(body: bytes, header_length: str | None) -> int:
    if header_length is None:
        return len(body)
    _require(header_length.isascii() and header_length.isdigit(), f"{HEADER_LENGTH} to be a number", header_length)
    if len(header_length) > 12 or int(header_length) > len(body):
        raise RequestError(
            f"Expected {HEADER_LENGTH} of at most the body's {len(body)} bytes. Received: {header_length[:20]}"
        )
    return int(header_length)


def _read_parameters(owner: Mapping[str, Any], of: str) -> Mapping[str, Any]:
    parameters = owner.get("parameters", {})
    _require(isinstance(parameters, dict), f"the parameters of {of} to be a JSON object", parameters)
    for name in _FOREIGN:
        if name in parameters:
            raise RequestError(f"Expected no extension but binary_tensor_data. Received: {name} in {of}")
    return parameters


def _read_flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    _require(isinstance(value, bool), f"{name} to be true or false", value)
    return value


def _read_outputs(outputs: Any) -> dict[str, bool]:
    wanted: dict[str, bool] = {}
    _require(outputs is None or isinstance(outputs, list), "outputs to be a list", outputs)
    for output in outputs or ():
        _require(isinstance(output, dict) and isinstance(output.get("name"), str), "an output to have a name", output)
        name = output["name"]
        _require(name not in wanted, "each output once", name)
        wanted[name] = _read_flag(_read_parameters(output, name), "binary_data", False)
    return wanted


def _read_array(
    name: str, tensor: Mapping[str, Any], raw: memoryview, check_tensor: Callable[[str, list[int], str], None]
) -> tuple[np.ndarray, memoryview]:
    """Reads one input, and returns it with the rest of the binary data."""
    shape, datatype = tensor.get("shape"), tensor.get("datatype")
    fits = isinstance(shape, list) and len(shape) <= 32 and all(type(n) is int and 0 <= n < 2**31 for n in shape)
    _require(fits, f"the shape of {name} to be a list of sizes", shape if not isinstance(shape, list) else str(shape))
    assert isinstance(shape, list)
    dtype = _DTYPES.get(datatype) if isinstance(datatype, str) else None
    _require(dtype is not None, f"the datatype of {name} to be one of {', '.join(_DTYPES)}", datatype)
    assert dtype is not None and isinstance(datatype, str)
    check_tensor(name, shape, datatype)
    size = _read_parameters(tensor, name).get("binary_data_size")
    if size is None:
        data = tensor.get("data")
        _require(isinstance(data, list), f"{name} to have data, a list", data)
        return make_array(name, data or [], shape, dtype), raw
    _require("data" not in tensor, f"{name} to have data or binary_data_size", "both")
    _require(type(size) is int and size >= 0, f"the binary_data_size of {name} to be a number of bytes", size)
    expected = math.prod(shape) * dtype.itemsize
    if size != expected or size > len(raw):
        raise RequestError(
            f"Expected {expected} bytes for {name} of {datatype} and shape {shape}. "
            f"Received: binary_data_size {size}, {len(raw)} bytes left"
        )
    values = np.frombuffer(raw[:size], dtype.newbyteorder("<")).astype(dtype, copy=False)
    if dtype.kind == "b" and values.view("uint8").max(initial=0) > 1:
        raise RequestError(f"Expected {name} to hold 0 or 1, as BOOL. Received: other bytes")
    return values.reshape(shape), raw[size:]


def _to_little_endian(array: np.ndarray) -> np.ndarray:
    return array if sys.byteorder == "little" else array.byteswap()


def describe_tensors(tensors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Describes inputs or outputs of artifact.json as the protocol does."""
    return [
        {
            "name": tensor["name"],
            "datatype": DATATYPES[tensor["dtype"]],
            "shape": [-1 if n is None else n for n in tensor["shape"]],
        }
        for tensor in tensors
    ]
