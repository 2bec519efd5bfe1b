"""Removes leftovers of the conversion from an ONNX graph.

Grouped convolutions over volumes get their groups, which the converter forgets. Before a dense layer the converter puts
the channels of a map last again, since Keras flattens in that order:

    MatMul(Reshape(Transpose(x), (batch, H * W * C)), W)  =  MatMul(Reshape(x, (batch, C * H * W)), W')

where W' has the rows of W in the order in which x has its elements.
"""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from .graph import collect_inputs, infer_shapes, replace_entries, walk_graph

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

Shape = tuple[int | None, ...]


def simplify(model: "ModelProto") -> "ModelProto":
    """Applies the two changes above to a graph, and drops the nodes that nothing needs any more."""
    import onnx

    changed = False
    shapes = _list_shapes(infer_shapes(model))
    consumers = Counter(name for node in walk_graph(model.graph) for name in node.input)
    consumers.update(value.name for value in model.graph.output)
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {initializer.name: initializer for initializer in model.graph.initializer}
    _set_groups(model.graph, shapes, constants)
    for matmul in model.graph.node:
        if matmul.op_type != "MatMul" or matmul.input[1] not in constants:
            continue
        reshape = makers.get(matmul.input[0], matmul)
        transpose = makers.get(reshape.input[0], matmul)
        if (reshape.op_type, transpose.op_type) != ("Reshape", "Transpose") or consumers[reshape.output[0]] != 1:
            continue
        weights = onnx.numpy_helper.to_array(constants[matmul.input[1]])
        rows = _row_order(shapes.get(transpose.input[0], ()), list(transpose.attribute[0].ints), len(weights))
        if rows is None or weights.ndim != 2:
            continue
        flat, kernel = f"{reshape.output[0]}__flat", f"{matmul.input[1]}__rows"
        model.graph.initializer.extend(
            [
                onnx.numpy_helper.from_array(np.array([0, -1]), f"{flat}_shape"),
                onnx.numpy_helper.from_array(np.ascontiguousarray(weights[rows]), kernel),
            ]
        )
        reshape.input[:] = [transpose.input[0], f"{flat}_shape"]
        matmul.input[1] = kernel
        changed = True
    if changed:
        _drop_unused(model.graph)
    return model


def _set_groups(graph: "GraphProto", shapes: dict[str, Shape], constants: "dict[str, TensorProto]") -> None:
    """Gives every convolution as many groups as its shapes say; the converter forgets those over volumes."""
    for node in graph.node:
        channels = shapes.get(node.input[0], ())[1:2] if node.op_type == "Conv" else ()
        if channels and channels[0] and node.input[1] in constants:
            groups = channels[0] // constants[node.input[1]].dims[1]
            for attribute in node.attribute:
                if attribute.name == "group":
                    attribute.i = groups


def _list_shapes(graph: "GraphProto") -> dict[str, Shape]:
    return {
        value.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info)
    }


def _row_order(shape: Shape, perm: list[int], count: int) -> np.ndarray | None:
    """The row of W that belongs to each element of x, if every example is flattened whole."""
    sizes = [size for size in shape[1:] if size is not None]
    if not shape or len(sizes) != len(shape) - 1 or perm[0] != 0 or int(np.prod(sizes)) != count:
        return None
    after = [axis - 1 for axis in perm[1:]]
    indices = np.arange(count).reshape([sizes[axis] for axis in after])
    return np.transpose(indices, np.argsort(after)).ravel()


def _drop_unused(graph: "GraphProto") -> None:
    """Removes nodes and constants whose results go nowhere."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed |= collect_inputs([node])
    replace_entries(graph.node, reversed(kept))
    replace_entries(graph.initializer, (initializer for initializer in graph.initializer if initializer.name in needed))
