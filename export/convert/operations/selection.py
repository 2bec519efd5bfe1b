"""Converts operations that compare and select.

    one_hot(x) = [x == class] over the classes
    bucketize(x) = sum of [not x < b] over the boundaries b: NaN is beyond all of them
    argmax(x) = argmax(x, -inf where it is NaN)
    max(x) = NaN where one of x is
    band(x) = x where band(1) is not 0: infinity times 0 is NaN

Discretization and CategoryEncoding are made of them.
"""

from typing import TYPE_CHECKING

import numpy as np

from .building import Rewrite, apply, constant, constant_like, float_types, gives_floats, replace_node

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node


def convert_one_hot(graph: "Graph", node: "Node") -> None:
    """Converts OneHot to a comparison with the classes: ONNX's own counts negative ones from the end."""
    from onnx import TensorProto

    indices, depth, on, off = node.input
    rank, given = graph.get_rank(indices), node.get_attr_value("axis", -1)
    if rank is None or not node.inputs[1].is_const():
        return
    axis = rank if given < 0 else given
    classes = np.arange(node.inputs[1].get_tensor_value()).reshape([-1] + [1] * (rank - axis))
    indices = apply(graph, "Cast", indices, to=TensorProto.INT64)
    indices = apply(graph, "Unsqueeze", indices, constant(graph, [axis], np.int64))
    hit = apply(graph, "Equal", indices, constant(graph, classes, np.int64))
    values = [value.get_tensor_value() if value.is_const() else None for value in node.inputs[2:]]
    if values == [1, 0]:
        replace_node(graph, node, "Cast", hit, to=graph.get_dtype(on))
    else:
        replace_node(graph, node, "Where", hit, on, off)


def convert_select(graph: "Graph", node: "Node") -> None:
    """Converts SelectV2 of floats to Where."""
    # tf2onnx converts it to c * x + (1 - c) * y, where infinity times 0 is NaN.
    if gives_floats(graph, node) and node.type == "SelectV2":
        replace_node(graph, node, "Where", *node.input)


def convert_top_k(graph: "Graph", node: "Node") -> None:
    """Converts TopKV2 of integers and doubles without a detour through float32."""
    # tf2onnx converts all numbers to float32, which holds only 24 bits.
    from onnx import TensorProto

    if graph.get_dtype(node.input[0]) not in (TensorProto.INT32, TensorProto.INT64, TensorProto.DOUBLE):
        return
    count = apply(graph, "Cast", node.input[1], to=TensorProto.INT64)
    count = apply(graph, "Reshape", count, constant(graph, [1], np.int64))
    found = graph.make_node("TopK", [node.input[0], count], output_count=2).output
    (values, indices), shapes, dtypes = node.output, node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    graph.make_node("Identity", [found[0]], outputs=[values], shapes=shapes[:1], dtypes=dtypes[:1])
    graph.make_node("Cast", [found[1]], {"to": dtypes[1]}, outputs=[indices], shapes=shapes[1:], dtypes=dtypes[1:])


def convert_arg_extreme(graph: "Graph", node: "Node") -> None:
    """Converts the argument of ArgMax and ArgMin so that NaN is never chosen."""
    x = node.input[0]
    if graph.get_dtype(x) in float_types():
        worst = -np.inf if node.type == "ArgMax" else np.inf
        never = apply(graph, "Where", apply(graph, "IsNaN", x), constant_like(graph, worst, x), x)
        graph.replace_input(node, x, never, 0)


def convert_extreme(graph: "Graph", node: "Node") -> None:
    """Converts Max and Min so that NaN stays NaN."""
    from onnx import TensorProto

    x, axes = node.input
    if not gives_floats(graph, node):
        return
    unknown = apply(graph, "Cast", apply(graph, "IsNaN", x), to=TensorProto.FLOAT)
    about = {"skip_conversion": False, "shapes": node.output_shapes}
    keep = {"keep_dims": node.get_attr_value("keep_dims", 0)}
    found = graph.make_node(node.type, [x, axes], keep, dtypes=node.output_dtypes, **about).output[0]
    spoilt = graph.make_node("Max", [unknown, axes], keep, dtypes=[TensorProto.FLOAT], **about).output[0]
    spoilt = apply(graph, "Cast", spoilt, to=TensorProto.BOOL)
    replace_node(graph, node, "Where", spoilt, constant_like(graph, np.nan, x), found)


def convert_band(graph: "Graph", node: "Node") -> None:
    """Converts MatrixBandPart so that infinity outside of the band becomes 0."""
    from onnx import TensorProto

    x, *limits = node.input
    if not gives_floats(graph, node):
        return
    about = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    ones = graph.make_node("Expand", [constant_like(graph, 1, x), apply(graph, "Shape", x)], **about).output[0]
    band = graph.make_node("MatrixBandPart", [ones, *limits], skip_conversion=False, **about).output[0]
    replace_node(graph, node, "Where", apply(graph, "Cast", band, to=TensorProto.BOOL), x, constant_like(graph, 0, x))


def convert_bucketize(graph: "Graph", node: "Node") -> None:
    """Converts Bucketize to a sum of comparisons."""
    from onnx import TensorProto
    from tf2onnx.graph_builder import GraphBuilder

    builder = GraphBuilder(graph)
    wide = graph.get_dtype(node.input[0]) == TensorProto.DOUBLE
    x = apply(graph, "Cast", node.input[0], to=TensorProto.DOUBLE if wide else TensorProto.FLOAT)
    x = builder.make_unsqueeze({"data": x, "axes": [-1]})
    # TensorFlow holds the boundaries in float32, whatever the type of x.
    boundaries = np.array(node.get_attr_value("boundaries"), np.float32)
    below = apply(graph, "Less", x, constant(graph, boundaries, np.float64 if wide else np.float32))
    passed = apply(graph, "Cast", apply(graph, "Not", below), to=TensorProto.INT32)
    count = builder.make_reduce_sum({"data": passed, "axes": [-1], "keepdims": 0})
    replace_node(graph, node, "Identity", count)


REWRITES: dict[str, Rewrite] = {
    "ArgMax": convert_arg_extreme,
    "ArgMin": convert_arg_extreme,
    "Bucketize": convert_bucketize,
    "MatrixBandPart": convert_band,
    "Max": convert_extreme,
    "Min": convert_extreme,
    "OneHot": convert_one_hot,
    "SelectV2": convert_select,
    "TopKV2": convert_top_k,
}
