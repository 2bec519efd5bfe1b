"""Converts transposed convolutions, to which TensorFlow passes the size of the result.

Along each axis with n elements:

    full = (n - 1) * stride + (kernel - 1) * dilation + 1
    start = max(full - size, 0) // 2 for padding "SAME", 0 for "VALID"
    result = the full map with zeros behind it up to n * stride, from start to start + size

Zeros appear if a stride is longer than its kernel. The bias is added to them too; tf2onnx would pad after the bias.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from .building import Rewrite, apply, constant, replace_node

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node


def convert_transposed_convolution(graph: "Graph", node: "Node") -> None:
    """Replaces Conv2DBackpropInput or Conv3DBackpropInputV2 with ConvTranspose."""
    size, kernel, x, *bias = node.input
    rank = graph.get_rank(kernel)
    last = node.get_attr_str("data_format").endswith("C")
    axes = range(1, rank - 1) if last else range(2, rank)
    strides, dilations = ([node.get_attr_value(name)[axis] for axis in axes] for name in ("strides", "dilations"))
    reach = [(k - 1) * d + 1 for k, d in zip(graph.get_shape(kernel), dilations, strict=False)]
    same = node.get_attr_str("padding") == "SAME"
    before, sizes = graph.get_shape(x), graph.get_shape(node.output[0])
    fixed = sizes is not None and all(before[axis] >= 0 and sizes[axis] >= 0 for axis in axes)

    first = apply(graph, "Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)]) if last else x
    weights = apply(graph, "Transpose", kernel, perm=[rank - 1, rank - 2, *range(rank - 2)])
    attributes: dict[str, Any] = {
        "strides": strides,
        "dilations": dilations,
        "output_padding": [stride - 1 for stride in strides],
    }
    if fixed:
        full = [(before[axis] - 1) * s + r for axis, s, r in zip(axes, strides, reach, strict=True)]
        over = [f - sizes[axis] for f, axis in zip(full, axes, strict=True)]
        starts = [max(o, 0) // 2 if same else 0 for o in over]
        attributes["pads"] = [*starts, *(max(o, 0) - start for o, start in zip(over, starts, strict=True))]
        attributes["output_padding"] = [max(-o, 0) for o in over]
    y = apply(graph, "ConvTranspose", first, weights, *bias, **attributes)
    if not fixed:
        y = _crop(graph, y, size, list(axes), strides, same)
    perm = [0, *range(2, rank), 1] if last else list(range(rank))
    replace_node(graph, node, "Transpose", y, perm=perm)


def _crop(graph: "Graph", y: str, size: str, axes: list[int], strides: list[int], same: bool) -> str:
    """Crops the result from the full map, whose channels come first."""
    from onnx import TensorProto

    spatial = constant(graph, [i + 2 for i in range(len(axes))], np.int64)
    sizes = apply(graph, "Gather", apply(graph, "Cast", size, to=TensorProto.INT64), constant(graph, axes, np.int64))
    starts = constant(graph, [0] * len(axes), np.int64)
    if same:
        padded = apply(graph, "Gather", apply(graph, "Shape", y), spatial)
        full = apply(graph, "Sub", padded, constant(graph, [stride - 1 for stride in strides], np.int64))
        over = apply(graph, "Max", apply(graph, "Sub", full, sizes), starts)
        starts = apply(graph, "Div", over, constant(graph, 2, np.int64))
    return apply(graph, "Slice", y, starts, apply(graph, "Add", starts, sizes), spatial)


REWRITES: dict[str, Rewrite] = {
    "Conv2DBackpropInput": convert_transposed_convolution,
    "Conv3DBackpropInputV2": convert_transposed_convolution,
}
