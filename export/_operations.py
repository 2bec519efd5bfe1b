"""Operations of TensorFlow that Keras uses and tf2onnx does not know, in operations of ONNX.

    erfc(x) = 1 - erf(x)
    expm1(x) = exp(x) - 1
    log1p(x) = log(1 + x)
    bucketize(x) = sum of [b <= x] over the boundaries b
    bitcast(x) & sign bit = sign bit where x < 0 or 1 / x < 0, of a float

GELU, CELU, Discretization and argmax, which counts -0 as less than 0, are made of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

_SIGN_BIT = -(2**31)


def rewritten(graph: Any, nodes: list[Any]) -> list[Any]:
    """A rewriter, as tf2onnx takes them, of every such operation in one of its graphs."""
    for node in nodes:
        if node.type in _REWRITES:
            _REWRITES[node.type](graph, node)
    return list(graph.get_nodes())


def _erfc(graph: Any, node: Any) -> None:
    # erfc(-y * c) = 1 + erf(y / (1 / c)): GELU comes like the one, and onnxruntime knows it by the other.
    (scaled,) = node.inputs
    factors = sorted(scaled.inputs, key=lambda factor: factor.type) if scaled.type == "Mul" else []
    if [factor.type for factor in factors] != ["Const", "Neg"]:
        erf = graph.make_node("Erf", [node.input[0]])
        _replace(graph, node, "Sub", [_number(graph, node, 1), erf.output[0]])
        return
    scale, negated = factors
    divisor = _number(graph, node, 1 / scale.get_tensor_value(as_list=False))
    quotient = graph.make_node("Div", [negated.input[0], divisor])
    erf = graph.make_node("Erf", quotient.output)
    _replace(graph, node, "Add", [erf.output[0], _number(graph, node, 1)])


def _expm1(graph: Any, node: Any) -> None:
    exp = graph.make_node("Exp", [node.input[0]])
    _replace(graph, node, "Sub", [exp.output[0], _number(graph, node, 1)])


def _log1p(graph: Any, node: Any) -> None:
    more = graph.make_node("Add", [node.input[0], _number(graph, node, 1)])
    _replace(graph, node, "Log", [more.output[0]])


def _bucketize(graph: Any, node: Any) -> None:
    from onnx import TensorProto
    from tf2onnx.graph_builder import GraphBuilder

    builder = GraphBuilder(graph)
    x = graph.make_node("Cast", [node.input[0]], attr={"to": TensorProto.FLOAT})
    x = builder.make_unsqueeze({"data": x.output[0], "axes": [-1]})
    boundaries = _constant(graph, node.get_attr_value("boundaries"), np.float32)
    passed = graph.make_node("GreaterOrEqual", [x, boundaries])
    passed = graph.make_node("Cast", passed.output, attr={"to": TensorProto.INT32})
    count = builder.make_reduce_sum({"data": passed.output[0], "axes": [-1], "keepdims": 0})
    _replace(graph, node, "Identity", [count])


def _bitwise_and(graph: Any, node: Any) -> None:
    from onnx import TensorProto

    bits, mask = node.inputs
    if bits.type != "Bitcast" or not mask.is_const() or np.any(mask.get_tensor_value(as_list=False) != _SIGN_BIT):
        return
    (x,) = bits.input
    if graph.get_dtype(x) != TensorProto.FLOAT:
        return
    zero, inverse = _constant(graph, 0, np.float32), graph.make_node("Reciprocal", [x])
    signs = [graph.make_node("Less", [value, zero]).output[0] for value in (x, inverse.output[0])]
    negative = graph.make_node("Or", signs)
    bit = _constant(graph, _SIGN_BIT, np.int32)
    _replace(graph, node, "Where", [negative.output[0], bit, _constant(graph, 0, np.int32)])


_REWRITES: dict[str, Callable[[Any, Any], None]] = {
    "Erfc": _erfc,
    "Expm1": _expm1,
    "Log1p": _log1p,
    "Bucketize": _bucketize,
    "BitwiseAnd": _bitwise_and,
}


def _number(graph: Any, node: Any, value: Any) -> str:
    """A number in the type of a node's result."""
    from tf2onnx.utils import map_onnx_to_numpy_type

    return _constant(graph, value, map_onnx_to_numpy_type(graph.get_dtype(node.output[0])))


def _constant(graph: Any, value: Any, dtype: Any) -> str:
    from tf2onnx.utils import make_name

    return str(graph.make_const(make_name("keras_skip"), np.array(value, dtype)).output[0])


def _replace(graph: Any, node: Any, operation: str, inputs: list[str]) -> None:
    """Puts an operation of ONNX in the place of a node, under its name."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    graph.make_node(operation, inputs, name=node.name, outputs=node.output, shapes=shapes, dtypes=dtypes)
