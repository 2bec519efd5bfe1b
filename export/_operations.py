"""Operations of TensorFlow that tf2onnx does not know, or gets wrong, in operations of ONNX.

    erfc(x) = 1 - erf(x)
    expm1(x) = tanh(x / 2) * (exp(x) + 1), which is exact near 0
    log1p(x) = log(u) * x / (u - 1) where u = 1 + x: the error of u cancels
    x // y = trunc(x / y), less one where trunc(x / y) * y + x % y is not x
    x % y = fmod(x, y), plus y where their signs differ
    one_hot(x) = [x == class] over the classes: ONNX's own counts negative ones from the end
    bucketize(x) = sum of [not x < b] over the boundaries b: NaN is beyond all of them
    argmax(x) = argmax(x, -inf where it is NaN)
    bitcast(x) & sign bit = sign bit where x < 0 or 1 / x < 0, of a float

GELU, CELU, Discretization, CategoryEncoding and Keras's argmax, which counts -0 as less than 0, are made of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

_SIGN_BIT = -(2**31)


def rewritten(graph: Any, nodes: list[Any]) -> list[Any]:
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
        _replace(graph, node, "Where", _made(graph, "IsNaN", x), x, _made(graph, "Erf", x))


def _erfc(graph: Any, node: Any) -> None:
    # erfc(-y * c) = 1 + erf(y / (1 / c)): GELU comes like the one, and onnxruntime knows it by the other.
    (scaled,), (x,) = node.inputs, node.input
    factors = sorted(scaled.inputs, key=lambda factor: factor.type) if scaled.type == "Mul" else []
    one = _number(graph, node, 1)
    if [factor.type for factor in factors] != ["Const", "Neg"]:
        difference = _made(graph, "Sub", one, _made(graph, "Erf", x))
        _replace(graph, node, "Where", _made(graph, "IsNaN", x), x, difference)
        return
    scale, negated = factors
    divisor = _number(graph, node, 1 / scale.get_tensor_value(as_list=False))
    quotient = _made(graph, "Div", negated.input[0], divisor)
    _replace(graph, node, "Add", _made(graph, "Erf", quotient), one)


def _expm1(graph: Any, node: Any) -> None:
    (x,) = node.input
    half = _made(graph, "Tanh", _made(graph, "Mul", x, _number(graph, node, 0.5)))
    _replace(graph, node, "Mul", half, _made(graph, "Add", _made(graph, "Exp", x), _number(graph, node, 1)))


def _log1p(graph: Any, node: Any) -> None:
    (x,), one = node.input, _number(graph, node, 1)
    more = _made(graph, "Add", x, one)
    difference = _made(graph, "Sub", more, one)
    # Infinity, too, is itself plus one.
    ratio = _made(graph, "Where", _made(graph, "Equal", more, x), one, _made(graph, "Div", x, difference))
    product = _made(graph, "Mul", _made(graph, "Log", more), ratio)
    _replace(graph, node, "Where", _made(graph, "Equal", difference, _number(graph, node, 0)), x, product)


def _floor_mod(graph: Any, node: Any) -> None:
    x, y = node.input
    if not _is_float(graph, node):
        _replace(graph, node, "Mod", x, y)
        return
    rest, zero = _made(graph, "Mod", x, y, fmod=1), _number(graph, node, 0)
    signs = [_made(graph, "Less", value, zero) for value in (rest, y)]
    apart = _made(graph, "And", _made(graph, "Xor", *signs), _made(graph, "Not", _made(graph, "Equal", rest, zero)))
    _replace(graph, node, "Where", apart, _made(graph, "Add", rest, y), rest)


def _floor_div(graph: Any, node: Any) -> None:
    # That of floats is right.
    if _is_float(graph, node):
        return
    x, y = node.input
    quotient, rest = _made(graph, "Div", x, y), _made(graph, "Mod", x, y)
    whole = _made(graph, "Equal", _made(graph, "Add", _made(graph, "Mul", quotient, y), rest), x)
    less = _made(graph, "Cast", _made(graph, "Not", whole), to=graph.get_dtype(node.output[0]))
    _replace(graph, node, "Sub", quotient, less)


def _one_hot(graph: Any, node: Any) -> None:
    from onnx import TensorProto

    indices, depth, on, off = node.input
    rank, given = graph.get_rank(indices), node.get_attr_value("axis", -1)
    if rank is None or not node.inputs[1].is_const():
        return
    axis = rank if given < 0 else given
    classes = np.arange(node.inputs[1].get_tensor_value()).reshape([-1] + [1] * (rank - axis))
    indices = _made(graph, "Cast", indices, to=TensorProto.INT64)
    indices = _made(graph, "Unsqueeze", indices, _constant(graph, [axis], np.int64))
    hit = _made(graph, "Equal", indices, _constant(graph, classes, np.int64))
    values = [value.get_tensor_value() if value.is_const() else None for value in node.inputs[2:]]
    if values == [1, 0]:
        _replace(graph, node, "Cast", hit, to=graph.get_dtype(on))
    else:
        _replace(graph, node, "Where", hit, on, off)


def _select(graph: Any, node: Any) -> None:
    # By default it becomes c * x + (1 - c) * y, in which infinity times 0 is NaN.
    if _is_float(graph, node) and node.type == "SelectV2":
        _replace(graph, node, "Where", *node.input)


def _top_k(graph: Any, node: Any) -> None:
    # By default all numbers become float32, which holds no more than 24 bits.
    from onnx import TensorProto

    if graph.get_dtype(node.input[0]) not in (TensorProto.INT32, TensorProto.INT64, TensorProto.DOUBLE):
        return
    count = _made(graph, "Cast", node.input[1], to=TensorProto.INT64)
    count = _made(graph, "Reshape", count, _constant(graph, [1], np.int64))
    found = graph.make_node("TopK", [node.input[0], count], output_count=2).output
    (values, indices), shapes, dtypes = node.output, node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    graph.make_node("Identity", [found[0]], outputs=[values], shapes=shapes[:1], dtypes=dtypes[:1])
    graph.make_node("Cast", [found[1]], {"to": dtypes[1]}, outputs=[indices], shapes=shapes[1:], dtypes=dtypes[1:])


def _arg_extreme(graph: Any, node: Any) -> None:
    x = node.input[0]
    if graph.get_dtype(x) in _floats():
        worst = -np.inf if node.type == "ArgMax" else np.inf
        never = _made(graph, "Where", _made(graph, "IsNaN", x), _number(graph, node, worst, x), x)
        graph.replace_input(node, x, never, 0)


def _bucketize(graph: Any, node: Any) -> None:
    from onnx import TensorProto
    from tf2onnx.graph_builder import GraphBuilder

    builder = GraphBuilder(graph)
    wide = graph.get_dtype(node.input[0]) == TensorProto.DOUBLE
    x = _made(graph, "Cast", node.input[0], to=TensorProto.DOUBLE if wide else TensorProto.FLOAT)
    x = builder.make_unsqueeze({"data": x, "axes": [-1]})
    # They are float32 in TensorFlow, whatever x is.
    boundaries = np.array(node.get_attr_value("boundaries"), np.float32)
    below = _made(graph, "Less", x, _constant(graph, boundaries, np.float64 if wide else np.float32))
    passed = _made(graph, "Cast", _made(graph, "Not", below), to=TensorProto.INT32)
    count = builder.make_reduce_sum({"data": passed, "axes": [-1], "keepdims": 0})
    _replace(graph, node, "Identity", count)


def _bitwise_and(graph: Any, node: Any) -> None:
    from onnx import TensorProto

    bits, mask = node.inputs
    if bits.type != "Bitcast" or not mask.is_const() or np.any(mask.get_tensor_value(as_list=False) != _SIGN_BIT):
        return
    (x,) = bits.input
    if graph.get_dtype(x) != TensorProto.FLOAT:
        return
    zero, inverse = _constant(graph, 0, np.float32), _made(graph, "Reciprocal", x)
    negative = _made(graph, "Or", *(_made(graph, "Less", value, zero) for value in (x, inverse)))
    _replace(graph, node, "Where", negative, _constant(graph, _SIGN_BIT, np.int32), _constant(graph, 0, np.int32))


_REWRITES: dict[str, Callable[[Any, Any], None]] = {
    "ArgMax": _arg_extreme,
    "ArgMin": _arg_extreme,
    "BitwiseAnd": _bitwise_and,
    "Bucketize": _bucketize,
    "Erf": _erf,
    "Erfc": _erfc,
    "Expm1": _expm1,
    "FloorDiv": _floor_div,
    "FloorMod": _floor_mod,
    "Log1p": _log1p,
    "OneHot": _one_hot,
    "SelectV2": _select,
    "TopKV2": _top_k,
}


def _floats() -> tuple[int, ...]:
    from onnx import TensorProto

    return TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16


def _is_float(graph: Any, node: Any) -> bool:
    return graph.get_dtype(node.output[0]) in _floats()


def _number(graph: Any, node: Any, value: Any, like: str | None = None) -> str:
    """A number in the type of a node's result, or of another value."""
    from tf2onnx.utils import map_onnx_to_numpy_type

    return _constant(graph, value, map_onnx_to_numpy_type(graph.get_dtype(like or node.output[0])))


def _constant(graph: Any, value: Any, dtype: Any) -> str:
    from tf2onnx.utils import make_name

    return str(graph.make_const(make_name("keras_skip"), np.array(value, dtype)).output[0])


def _made(graph: Any, operation: str, *inputs: str, **attributes: Any) -> str:
    """The result of a new operation of ONNX."""
    return str(graph.make_node(operation, list(inputs), attributes).output[0])


def _replace(graph: Any, node: Any, operation: str, *inputs: str, **attributes: Any) -> None:
    """Puts an operation of ONNX in the place of a node, under its name."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    graph.make_node(
        operation, list(inputs), attributes, name=node.name, outputs=node.output, shapes=shapes, dtypes=dtypes
    )
