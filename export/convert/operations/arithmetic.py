"""Converts operations on each element.

    erfc(x) = 1 - erf(x)
    expm1(x) = tanh(x / 2) * (exp(x) + 1), which is exact near 0
    log1p(x) = log(u) * x / (u - 1) where u = 1 + x: the error of u cancels
    x // y = trunc(x / y), less one where trunc(x / y) * y + x % y is not x
    x % y = fmod(x, y), plus y where their signs differ
    atan2(y, x) = atan2(sign y, sign x) where both are infinite
    bitcast(x) & sign bit = sign bit where x < 0 or 1 / x < 0, of a float

GELU, CELU and Keras's argmax, which counts -0 as less than 0, are made of them.
"""

from typing import TYPE_CHECKING

import numpy as np

from .building import Rewrite, apply, constant, constant_like, gives_floats, replace_node

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node

_SIGN_BIT = -(2**31)


def convert_erf(graph: "Graph", node: "Node") -> None:
    """Converts Erf so that NaN stays NaN."""
    # 1 + erf(x) belongs to GELU, which onnxruntime knows as one operation and multiplies by x.
    if not any(user.type in ("Add", "AddV2") for user in graph.find_output_consumers(node.output[0])):
        (x,) = node.input
        replace_node(graph, node, "Where", apply(graph, "IsNaN", x), x, apply(graph, "Erf", x))


def convert_erfc(graph: "Graph", node: "Node") -> None:
    """Converts Erfc by `erfc(x) = 1 - erf(x)`."""
    # erfc(-y * c) = 1 + erf(y / (1 / c)): Keras writes GELU as the left side, and onnxruntime knows the right one.
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


def convert_expm1(graph: "Graph", node: "Node") -> None:
    """Converts Expm1 to an expression that is exact near 0."""
    (x,) = node.input
    half = apply(graph, "Tanh", apply(graph, "Mul", x, constant_like(graph, 0.5, x)))
    replace_node(graph, node, "Mul", half, apply(graph, "Add", apply(graph, "Exp", x), constant_like(graph, 1, x)))


def convert_log1p(graph: "Graph", node: "Node") -> None:
    """Converts Log1p to an expression whose rounding error cancels."""
    (x,) = node.input
    one = constant_like(graph, 1, x)
    more = apply(graph, "Add", x, one)
    difference = apply(graph, "Sub", more, one)
    # Infinity, too, equals itself plus one.
    ratio = apply(graph, "Where", apply(graph, "Equal", more, x), one, apply(graph, "Div", x, difference))
    product = apply(graph, "Mul", apply(graph, "Log", more), ratio)
    replace_node(graph, node, "Where", apply(graph, "Equal", difference, constant_like(graph, 0, x)), x, product)


def convert_floor_mod(graph: "Graph", node: "Node") -> None:
    """Converts FloorMod, whose result has the sign of the divisor."""
    x, y = node.input
    if not gives_floats(graph, node):
        replace_node(graph, node, "Mod", x, y)
        return
    rest, zero = apply(graph, "Mod", x, y, fmod=1), constant_like(graph, 0, x)
    signs = [apply(graph, "Less", value, zero) for value in (rest, y)]
    apart = apply(graph, "And", apply(graph, "Xor", *signs), apply(graph, "Not", apply(graph, "Equal", rest, zero)))
    replace_node(graph, node, "Where", apart, apply(graph, "Add", rest, y), rest)


def convert_floor_div(graph: "Graph", node: "Node") -> None:
    """Converts FloorDiv of integers, which rounds down and not towards 0."""
    # tf2onnx converts that of floats correctly.
    if gives_floats(graph, node):
        return
    x, y = node.input
    quotient, rest = apply(graph, "Div", x, y), apply(graph, "Mod", x, y)
    whole = apply(graph, "Equal", apply(graph, "Add", apply(graph, "Mul", quotient, y), rest), x)
    less = apply(graph, "Cast", apply(graph, "Not", whole), to=graph.get_dtype(node.output[0]))
    replace_node(graph, node, "Sub", quotient, less)


def convert_atan2(graph: "Graph", node: "Node") -> None:
    """Converts the arguments of Atan2 where both are infinite."""
    y, x = node.input
    both = apply(graph, "And", apply(graph, "IsInf", y), apply(graph, "IsInf", x))
    for index, value in enumerate((y, x)):
        near = apply(graph, "Where", both, apply(graph, "Sign", value), value)
        graph.replace_input(node, value, near, index)


def convert_bitwise_and(graph: "Graph", node: "Node") -> None:
    """Converts the sign bit of a float, which Keras's argmax takes."""
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


REWRITES: dict[str, Rewrite] = {
    "Atan2": convert_atan2,
    "BitwiseAnd": convert_bitwise_and,
    "Erf": convert_erf,
    "Erfc": convert_erfc,
    "Expm1": convert_expm1,
    "FloorDiv": convert_floor_div,
    "FloorMod": convert_floor_mod,
    "Log1p": convert_log1p,
}
