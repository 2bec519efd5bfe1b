"""Converts `keras.ops.slice_update`, with which a language model writes new keys and values into its cache.

    update(x, y, start) = [x before start, y, x from start + size(y) on] along each axis that y does not fill,
    with start clipped to 0 <= start <= size(x) - size(y)

On TensorFlow the operation is XlaDynamicUpdateSlice.
"""

from typing import TYPE_CHECKING

import numpy as np

from .building import Rewrite, apply, constant, replace_node

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node

_END = np.iinfo(np.int64).max


def convert_slice_update(graph: "Graph", node: "Node") -> None:
    """Converts XlaDynamicUpdateSlice to slices and their concatenation."""
    from onnx import TensorProto

    x, update, starts = node.input
    shape, part = graph.get_shape(x), graph.get_shape(update)
    if shape is None or part is None:
        return
    axes = [axis for axis, (size, own) in enumerate(zip(shape, part, strict=True)) if size != own or size < 0]
    size = apply(graph, "Shape", update)
    last = apply(graph, "Sub", apply(graph, "Shape", x), size)
    starts = apply(graph, "Cast", starts, to=TensorProto.INT64)
    starts = apply(graph, "Min", apply(graph, "Max", starts, constant(graph, 0, np.int64)), last)
    ends = apply(graph, "Add", starts, size)
    replace_node(graph, node, "Identity", _put(graph, x, update, starts, ends, axes))


def _put(graph: "Graph", x: str, update: str, starts: str, ends: str, axes: list[int]) -> str:
    """Puts the update in its place along some axes, one after the other."""
    if not axes:
        return update
    axis, *others = axes
    along, after = constant(graph, [axis], np.int64), constant(graph, [axis + 1], np.int64)
    start, end = (apply(graph, "Slice", ends_of, along, after) for ends_of in (starts, ends))
    parts = [(constant(graph, [0], np.int64), start), (start, end), (end, constant(graph, [_END], np.int64))]
    before, middle, rest = (apply(graph, "Slice", x, first, last, along) for first, last in parts)
    return apply(graph, "Concat", before, _put(graph, middle, update, starts, ends, others), rest, axis=axis)


REWRITES: dict[str, Rewrite] = {"XlaDynamicUpdateSlice": convert_slice_update}
