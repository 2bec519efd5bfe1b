"""Checks `artifact.json` against the models, because servers rely on it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import VerificationError
from ..storage.arrays import Batch
from .manifest import MANIFEST, ONNX, PARITY
from .safety import read_json

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

_SHOWN = 200
_QUANTISED = {"QuantizeLinear", "DynamicQuantizeLinear"}
_PRECISIONS = {"fp16": "float16", "int8": "int8", "int8_dynamic": "int8", "int4": "int4"}
# Name, type and shape of each tensor; a dimension that is no number is dynamic.
Tensors = Iterable[tuple[str, str, tuple[int | str | None, ...]]]


def check_tensors(manifest: Mapping[str, Any], given: Mapping[str, Tensors], file: Path, exact: bool = True) -> None:
    """Raises a VerificationError unless inputs and outputs are those of the manifest.

    Args:
        manifest: The contents of artifact.json.
        given: The tensors by "inputs" and "outputs".
        file: The model.
        exact: Whether the shapes of inputs must be equal, or only fit.
    """
    for kind, tensors in given.items():
        found = {name: (dtype, [n if isinstance(n, int) else None for n in shape]) for name, dtype, shape in tensors}
        declared = {tensor["name"]: (tensor["dtype"], tensor["shape"]) for tensor in manifest[kind]}
        if sorted(found) != sorted(declared):
            _refuse(file, f"the {kind}", ", ".join(declared), ", ".join(found))
        for name, (dtype, shape) in declared.items():
            if found[name][0] != dtype or not _shapes_agree(shape, found[name][1], exact and kind == "inputs"):
                _refuse(file, name, f"of {dtype} and shape {shape}", f"{found[name][0]} and shape {found[name][1]}")


def check_batch(manifest: Mapping[str, Any], file: Path, **batches: Batch) -> None:
    """Raises a VerificationError unless arrays, as `inputs=` or `outputs=`, fit the manifest."""
    given = {kind: [(name, x.dtype.name, x.shape) for name, x in batch.items()] for kind, batch in batches.items()}
    check_tensors(manifest, given, file, exact=False)
    inputs = given.get("inputs", [])
    if len({shape[:1] for _, _, shape in inputs}) > 1:
        _refuse(file, "inputs", "of one batch", f"the shapes {[shape for _, _, shape in inputs]}")


def check_onnx_agrees(
    folder: Path, manifest: Mapping[str, Any], model: "ModelProto", described: Mapping[str, Any]
) -> None:
    """Raises a VerificationError unless the entries, operations and tensors of an ONNX file are those of the manifest.

    Args:
        folder: The artifact.
        manifest: The contents of artifact.json.
        model: The ONNX model.
        described: The fields of a manifest that describe the model.
    """
    file = folder / ONNX
    check_tensors(manifest, _describe_tensors(model), file)
    for name, value in described.items():
        if manifest.get(name, value) != value:
            _refuse(file, name, manifest[name], value)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    for name, is_text in (("labels", False), ("preprocessing", False), ("activation", True), ("layout", True)):
        value = entries.get(name)
        # Older files have no layout.
        if (name != "layout" or name in entries) and not _entry_equals(value, manifest.get(name), is_text):
            _refuse(file, name, manifest.get(name), value)
    _check_precision(folder, manifest, model)


def _check_precision(folder: Path, manifest: Mapping[str, Any], model: "ModelProto") -> None:
    declared = manifest.get("precision")
    parity = read_json(folder / PARITY)
    if declared is None or not isinstance(parity, dict):
        return
    floats = [np.dtype(y["dtype"]) for y in manifest["outputs"] if np.dtype(y["dtype"]).kind == "f"]
    plain = max(floats, key=lambda dtype: dtype.itemsize, default=np.dtype("float32")).name
    precision, trained = parity.get("precision"), parity.get("float32_against_trained_precision")
    name = precision.get("name") if isinstance(precision, dict) else None
    wanted = {"exported": _PRECISIONS.get(str(name), plain)}
    wanted["trained"] = str(trained.get("trained_precision")) if isinstance(trained, dict) else plain
    if declared != wanted:
        _refuse(folder / PARITY, "precision", declared, wanted)
    import onnx

    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    quantised = any(node.op_type in _QUANTISED for node in model.graph.node)
    packed = any(node.op_type == "MatMulNBits" for node in model.graph.node)
    if not {"float16": half, "int8": quantised, "int4": packed}.get(declared["exported"], True):
        _refuse(folder / ONNX, "numbers in", declared["exported"], "none")


def _describe_tensors(model: "ModelProto") -> dict[str, Tensors]:
    fixed = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in fixed]
    return {"inputs": list(map(_describe_tensor, inputs)), "outputs": list(map(_describe_tensor, model.graph.output))}


def _describe_tensor(value: "ValueInfoProto") -> tuple[str, str, tuple[int | None, ...]]:
    import onnx

    kind = value.type.tensor_type
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
    return value.name, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, dims


def _shapes_agree(declared: list[int | None], found: list[int | None], exact: bool) -> bool:
    """Whether shapes agree; a dimension that only one side knows agrees too, unless they must be exact."""
    if exact or len(declared) != len(found):
        return declared == found
    return all(a == b or a is None or b is None for a, b in zip(declared, found, strict=True))


def _entry_equals(entry: str | None, value: Any, is_text: bool) -> bool:
    if entry is None or is_text:
        return bool(entry == value)
    try:
        return bool(json.loads(entry) == value)
    except (ValueError, RecursionError):
        return False


def _refuse(file: Path, name: str, declared: Any, found: Any) -> None:
    shown = (value if isinstance(value, str) else repr(value) for value in (declared, found))
    wanted, received = (text[:_SHOWN] for text in shown)
    raise VerificationError(f"Expected {file} with {name} {wanted}, as {MANIFEST} says. Received: {received}")
