"""Names the dynamic dimensions of an ONNX graph: "batch", "height" and "width" of images, "length" of sequences."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..model.endpoint import Endpoint
from ..model.inputs import RawInput
from .graph import infer_shapes

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

BATCH = "batch"
_SPATIAL = {3: ("length",), 4: ("height", "width"), 5: ("depth", "height", "width")}


def name_dimensions(model: "ModelProto", endpoint: Endpoint) -> "ModelProto":
    """Names the dynamic dimensions of the inputs, and gives all values the shapes that onnx infers from them."""
    graph = model.graph
    names = dimension_names(endpoint.inputs, endpoint.channels_first)
    by_name = {value.name: value for value in graph.input}
    for raw, own in zip(endpoint.inputs, names, strict=True):
        _set_names(by_name[raw.name], own)
    for value in graph.output:
        # The converter has set names of its own.
        _set_names(value, [None] * len(value.type.tensor_type.shape.dim))
    del graph.value_info[:]
    known = {BATCH, *(name for own in names for name in own)}
    inferred = infer_shapes(model)
    for value, better in zip(graph.output, inferred.output, strict=True):
        dims = [dim.dim_param if dim.dim_param in known else None for dim in better.type.tensor_type.shape.dim]
        _set_names(value, [BATCH, *dims[1:]] if dims else [])
    for value in inferred.value_info:
        # onnx makes up names for sizes that it cannot infer.
        _set_names(
            value, [dim.dim_param if dim.dim_param in known else None for dim in value.type.tensor_type.shape.dim]
        )
    graph.value_info.extend(inferred.value_info)
    return model


def _set_names(value: "ValueInfoProto", names: Sequence[str | None]) -> None:
    """Names the dimensions of a tensor that have no fixed size."""
    for dim, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
        if not dim.HasField("dim_value"):
            dim.ClearField("dim_param")
            if name:
                dim.dim_param = name


def dimension_names(inputs: Sequence[RawInput], channels_first: bool) -> list[list[str | None]]:
    """Returns a name for each dynamic dimension of each input, and None for the others.

    If several inputs have dynamic sizes, each gets its own names, since equal names mean equal sizes to onnxruntime.
    """
    several = sum(None in raw.shape[1:] for raw in inputs) > 1
    return [_name_axes(raw, channels_first, f"{raw.name}_" if several else "") for raw in inputs]


def _name_axes(raw: RawInput, channels_first: bool, prefix: str) -> list[str | None]:
    rank = len(raw.shape)
    spatial = _SPATIAL.get(rank, ("length",) if rank == 2 else ())
    first = 2 if channels_first and rank > 3 else 1
    names: list[str | None] = [BATCH]
    for axis, size in enumerate(raw.shape[1:], start=1):
        index = axis - first
        own = spatial[index] if 0 <= index < len(spatial) else f"dim_{axis}"
        names.append(f"{prefix}{own}" if size is None else None)
    return names
