"""Converts operations of TensorFlow that tf2onnx does not know, or gets wrong, to operations of ONNX.

    erfc(x) = 1 - erf(x)
    expm1(x) = tanh(x / 2) * (exp(x) + 1), which is exact near 0
    log1p(x) = log(u) * x / (u - 1) where u = 1 + x: the error of u cancels
    x // y = trunc(x / y), less one where trunc(x / y) * y + x % y is not x
    x % y = fmod(x, y), plus y where their signs differ
    one_hot(x) = [x == class] over the classes: ONNX's own counts negative ones from the end
    bucketize(x) = sum of [not x < b] over the boundaries b: NaN is beyond all of them
    argmax(x) = argmax(x, -inf where it is NaN)
    max(x) = NaN where one of x is
    band(x) = x where band(1) is not 0: infinity times 0 is NaN
    atan2(y, x) = atan2(sign y, sign x) where both are infinite
    bitcast(x) & sign bit = sign bit where x < 0 or 1 / x < 0, of a float

GELU, CELU, Discretization, CategoryEncoding and Keras's argmax, which counts -0 as less than 0, are made of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .building import apply, constant, constant_like, float_types, replace_node
from .transposed_convolution import convert_transposed_convolution

_SIGN_BIT = -(2**31)


def rewrite_operations(graph: Any, nodes: list[Any]) -> list[Any]:
    """A rewriter, as tf2onnx takes them, of every such operation in one of its graphs."""
    # The list grows with every operation that is put there.
    for node in list(nodes):
        if node.type in _REWRITES:
            _REWRITES[node.type](graph, node)
    return list(graph.get_nodes())


def _erf(graph: Any, node: Any) -> None:
    # 1 + erf(x) is GELU's, which onnxruntime knows as one operation, and multiplies by x.
    if not any(user.type in ("Add", "AddV2") for user in graph.find_output_consumers(node.output[0])):
        (x,) = node.input
        replace_node(graph, node, "Where", apply(graph, "IsNaN", x), x, apply(graph, "Erf", x))


def _erfc(graph: Any, node: Any) -> None:
    # erfc(-y * c) = 1 + erf(y / (1 / c)): GELU comes like the one, and onnxruntime knows it by the other.
    (scaled,), (x,) = node.inputs, node.input
    factors = sorted(scaled.inputs, key=lambda factor: factor.type) if scaled.type == "Mul" else []
    one = constant_like(graph, 1, x)
    if [factor.type for factor in factors] != ["Const", "Neg"]:
        difference = apply(graph, "Sub", one, apply(graph, "Erf", x))
        replace_node(graph, node, "Where", apply(graph, "IsNaN", x), x, difference)
        return
    scale, negated = factors
    divisor = constant_like(graph, 1 / scale.get_tensor_value(as_list=False), x)
    quotient = apply(graph, "Div", negated.input[0], divisor)
    replace_node(graph, node, "Add", apply(graph, "Erf", quotient), one)


def _expm1(graph: Any, node: Any) -> None:
    (x,) = node.input
    half = apply(graph, "Tanh", apply(graph, "Mul", x, constant_like(graph, 0.5, x)))
    replace_node(graph, node, "Mul", half, apply(graph, "Add", apply(graph, "Exp", x), constant_like(graph, 1, x)))


def _log1p(graph: Any, node: Any) -> None:
    (x,) = node.input
    one = constant_like(graph, 1, x)
    more = apply(graph, "Add", x, one)
    difference = apply(graph, "Sub", more, one)
    # Infinity, too, is itself plus one.
    ratio = apply(graph, "Where", apply(graph, "Equal", more, x), one, apply(graph, "Div", x, difference))
    product = apply(graph, "Mul", apply(graph, "Log", more), ratio)
    replace_node(graph, node, "Where", apply(graph, "Equal", difference, constant_like(graph, 0, x)), x, product)


def _floor_mod(graph: Any, node: Any) -> None:
    x, y = node.input
    if not _is_float(graph, node):
        replace_node(graph, node, "Mod", x, y)
        return
    rest, zero = apply(graph, "Mod", x, y, fmod=1), constant_like(graph, 0, x)
    signs = [apply(graph, "Less", value, zero) for value in (rest, y)]
    apart = apply(graph, "And", apply(graph, "Xor", *signs), apply(graph, "Not", apply(graph, "Equal", rest, zero)))
    replace_node(graph, node, "Where", apart, apply(graph, "Add", rest, y), rest)


def _floor_div(graph: Any, node: Any) -> None:
    # That of floats is right.
    if _is_float(graph, node):
        return
    x, y = node.input
    quotient, rest = apply(graph, "Div", x, y), apply(graph, "Mod", x, y)
    whole = apply(graph, "Equal", apply(graph, "Add", apply(graph, "Mul", quotient, y), rest), x)
    less = apply(graph, "Cast", apply(graph, "Not", whole), to=graph.get_dtype(node.output[0]))
    replace_node(graph, node, "Sub", quotient, less)


def _one_hot(graph: Any, node: Any) -> None:
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


def _select(graph: Any, node: Any) -> None:
    # By default it becomes c * x + (1 - c) * y, in which infinity times 0 is NaN.
    if _is_float(graph, node) and node.type == "SelectV2":
        replace_node(graph, node, "Where", *node.input)


def _top_k(graph: Any, node: Any) -> None:
    # By default all numbers become float32, which holds no more than 24 bits.
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


def _arg_extreme(graph: Any, node: Any) -> None:
    x = node.input[0]
    if graph.get_dtype(x) in float_types():
        worst = -np.inf if node.type == "ArgMax" else np.inf
        never = apply(graph, "Where", apply(graph, "IsNaN", x), constant_like(graph, worst, x), x)
        graph.replace_input(node, x, never, 0)


def _extreme(graph: Any, node: Any) -> None:
    from onnx import TensorProto

    x, axes = node.input
    if not _is_float(graph, node):
        return
    unknown = apply(graph, "Cast", apply(graph, "IsNaN", x), to=TensorProto.FLOAT)
    about = {"skip_conversion": False, "shapes": node.output_shapes}
    keep = {"keep_dims": node.get_attr_value("keep_dims", 0)}
    found = graph.make_node(node.type, [x, axes], keep, dtypes=node.output_dtypes, **about).output[0]
    spoilt = graph.make_node("Max", [unknown, axes], keep, dtypes=[TensorProto.FLOAT], **about).output[0]
    spoilt = apply(graph, "Cast", spoilt, to=TensorProto.BOOL)
    replace_node(graph, node, "Where", spoilt, constant_like(graph, np.nan, x), found)


def _band(graph: Any, node: Any) -> None:
    from onnx import TensorProto

    x, *limits = node.input
    if not _is_float(graph, node):
        return
    about = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    ones = graph.make_node("Expand", [constant_like(graph, 1, x), apply(graph, "Shape", x)], **about).output[0]
    band = graph.make_node("MatrixBandPart", [ones, *limits], skip_conversion=False, **about).output[0]
    replace_node(graph, node, "Where", apply(graph, "Cast", band, to=TensorProto.BOOL), x, constant_like(graph, 0, x))


def _atan2(graph: Any, node: Any) -> None:
    y, x = node.input
    both = apply(graph, "And", apply(graph, "IsInf", y), apply(graph, "IsInf", x))
    for place, value in enumerate((y, x)):
        near = apply(graph, "Where", both, apply(graph, "Sign", value), value)
        graph.replace_input(node, value, near, place)


def _bucketize(graph: Any, node: Any) -> None:
    from onnx import TensorProto
    from tf2onnx.graph_builder import GraphBuilder

    builder = GraphBuilder(graph)
    wide = graph.get_dtype(node.input[0]) == TensorProto.DOUBLE
    x = apply(graph, "Cast", node.input[0], to=TensorProto.DOUBLE if wide else TensorProto.FLOAT)
    x = builder.make_unsqueeze({"data": x, "axes": [-1]})
    # They are float32 in TensorFlow, whatever x is.
    boundaries = np.array(node.get_attr_value("boundaries"), np.float32)
    below = apply(graph, "Less", x, constant(graph, boundaries, np.float64 if wide else np.float32))
    passed = apply(graph, "Cast", apply(graph, "Not", below), to=TensorProto.INT32)
    count = builder.make_reduce_sum({"data": passed, "axes": [-1], "keepdims": 0})
    replace_node(graph, node, "Identity", count)


def _bitwise_and(graph: Any, node: Any) -> None:
    from onnx import TensorProto

    bits, mask = node.inputs
    if bits.type != "Bitcast" or not mask.is_const() or np.any(mask.get_tensor_value(as_list=False) != _SIGN_BIT):
        return
    (x,) = bits.input
    if graph.get_dtype(x) != TensorProto.FLOAT:
        return
    zero, inverse = constant(graph, 0, np.float32), apply(graph, "Reciprocal", x)
    negative = apply(graph, "Or", *(apply(graph, "Less", value, zero) for value in (x, inverse)))
    replace_node(graph, node, "Where", negative, constant(graph, _SIGN_BIT, np.int32), constant(graph, 0, np.int32))


_REWRITES: dict[str, Callable[[Any, Any], None]] = {
    "ArgMax": _arg_extreme,
    "ArgMin": _arg_extreme,
    "Atan2": _atan2,
    "BitwiseAnd": _bitwise_and,
    "Bucketize": _bucketize,
    "Conv2DBackpropInput": convert_transposed_convolution,
    "Conv3DBackpropInputV2": convert_transposed_convolution,
    "Erf": _erf,
    "Erfc": _erfc,
    "Expm1": _expm1,
    "FloorDiv": _floor_div,
    "FloorMod": _floor_mod,
    "Log1p": _log1p,
    "MatrixBandPart": _band,
    "Max": _extreme,
    "Min": _extreme,
    "OneHot": _one_hot,
    "SelectV2": _select,
    "TopKV2": _top_k,
}


def _is_float(graph: Any, node: Any) -> bool:
    return graph.get_dtype(node.output[0]) in float_types()
