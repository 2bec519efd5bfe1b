"""Keeps operations whole if newer opsets have them and onnxruntime computes them no less accurately and no slower.

    layer norm    z = x - mean(x);  LayerNormalization(z, gamma, beta)        opset 17
    gelu          x / 2 * erfc(-x / sqrt 2) = Gelu(x)                         opset 20
                  x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))       the same, with a tanh
    attention     softmax(q k^T * scale) v = Attention(q, k, v)               opset 23

onnxruntime's LayerNormalization computes a variance as mean(x^2) - mean(x)^2, which loses all digits where the mean is
large, so it gets x without its mean. Maps between convolutions stay in parts, since it would need their channels last.
RMSNormalization and GroupNormalization are slower than their parts in onnxruntime, and stay in parts
(`python -m benchmarks.export.whole_operations`). Attention with a mask stays in parts too, since Keras gives uniform
weights to a row that is masked completely.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from .building import Rewrite, apply, constant, replace_node

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node

_SUMS = ("Add", "AddV2")
# Values of more axes are maps between convolutions, whose channels come first in ONNX.
_MAPS = 3


def keep_layer_norm(graph: "Graph", node: "Node") -> None:
    """Replaces the parts around the Rsqrt of a layer normalisation over the last axes."""
    from onnx import TensorProto

    x, epsilon, axes = _match_variance(node) or (None, 0.0, [])
    shape = None if x is None else graph.get_shape(x)
    if x is None or shape is None or len(shape) > _MAPS or graph.get_dtype(x) != TensorProto.FLOAT:
        return
    axes = sorted(axis % len(shape) for axis in axes)
    size = shape[axes[0] :]
    if axes != list(range(axes[0], len(shape))) or any(n <= 0 for n in size):
        return
    found = _match_affine(graph, node, x)
    if found is None:
        return
    last, gamma, beta = found
    if any(value is not None and not _spans(graph.get_shape(value), size) for value in (gamma, beta)):
        return
    wanted = constant(graph, size, np.int64)
    scale = constant(graph, np.ones(size), np.float32) if gamma is None else apply(graph, "Reshape", gamma, wanted)
    offset = [] if beta is None else [apply(graph, "Reshape", beta, wanted)]
    (mean,) = (value for value in node.inputs[0].inputs if not value.is_const())
    (difference,) = (value for value in mean.inputs if not value.is_const())
    centre = apply(graph, "Sub", x, difference.input[1])
    axis = axes[0] - len(shape)
    replace_node(graph, last, "LayerNormalization", centre, scale, *offset, axis=axis, epsilon=epsilon)


def _match_variance(rsqrt: "Node") -> tuple[str, float, list[int]] | None:
    """Returns x, epsilon and the axes of 1 / sqrt(mean((x - mean(x))^2) + epsilon)."""
    (total,) = rsqrt.inputs
    constants = [value for value in total.inputs if value.is_const()]
    means = [value for value in total.inputs if value.type == "Mean"]
    if total.type not in _SUMS or not constants or len(means) != 1 or not means[0].get_attr_value("keep_dims"):
        return None
    squares = means[0].inputs[0]
    if squares.type != "SquaredDifference" or not means[0].inputs[1].is_const():
        return None
    x, centre = squares.input[0], squares.inputs[1]
    centre = centre.inputs[0] if centre.type in ("StopGradient", "Identity") else centre
    axes = np.ravel(means[0].inputs[1].get_tensor_value()).tolist()
    epsilon = np.ravel(constants[0].get_tensor_value())
    if centre.type != "Mean" or centre.input[0] != x or len(epsilon) != 1 or not centre.inputs[1].is_const():
        return None
    same = np.ravel(centre.inputs[1].get_tensor_value()).tolist() == axes and centre.get_attr_value("keep_dims")
    return (x, float(epsilon[0]), axes) if same else None


def _match_affine(graph: "Graph", rsqrt: "Node", x: str) -> "tuple[Node, str | None, str | None] | None":
    """Returns the last node of x * (rsqrt * gamma) + (beta - mean * (rsqrt * gamma)), and gamma and beta."""
    factor, gamma = rsqrt, None
    products = graph.find_output_consumers(rsqrt.output[0])
    if len(products) == 1 and products[0].type == "Mul" and x not in products[0].input:
        (factor,) = products
        (gamma,) = (value for value in factor.input if value != rsqrt.output[0])
    scaled = [node for node in graph.find_output_consumers(factor.output[0]) if node.type == "Mul"]
    own = [node for node in scaled if x in node.input]
    others = [node for node in scaled if x not in node.input]
    if len(own) != 1 or len(others) != 1:
        return None
    ends = graph.find_output_consumers(own[0].output[0])
    if len(ends) != 1 or ends[0].type not in (*_SUMS, "Sub"):
        return None
    (last,) = ends
    (rest,) = (value for value in last.input if value != own[0].output[0])
    return None if (beta := _match_offset(graph, rest, others[0], last)) is None else (last, gamma, *beta)


def _match_offset(graph: "Graph", rest: str, product: "Node", last: "Node") -> tuple[str | None] | None:
    """Returns the beta of beta - mean * factor, or None in a tuple; `product` is mean * factor, or its negative."""
    negated = any(value.type == "Neg" for value in product.inputs)
    end = graph.get_node_by_output(rest)
    if end is product:
        return (None,) if negated == (last.type in _SUMS) else None
    if last.type not in _SUMS or product.output[0] not in end.input:
        return None
    (beta,) = (value for value in end.input if value != product.output[0])
    plus = end.type in _SUMS and negated
    minus = end.type == "Sub" and not negated and end.input[1] == product.output[0]
    return (beta,) if plus or minus else None


def _spans(shape: list[int] | None, size: list[int]) -> bool:
    """Whether a shape is a size with ones before it."""
    return shape is not None and shape[-len(size) :] == size and all(n == 1 for n in shape[: -len(size)])


def keep_gelu(graph: "Graph", node: "Node") -> None:
    """Replaces the parts around the Erfc of a GELU."""
    (scaled,) = node.inputs
    factor, negated = _split_product(scaled)
    if negated is None or factor is None or not math.isclose(factor, math.sqrt(0.5), rel_tol=1e-6):
        return
    inner = graph.get_node_by_output(negated)
    if inner.type == "Neg":
        _replace_product(graph, node, inner.input[0], "none")


def keep_gelu_tanh(graph: "Graph", node: "Node") -> None:
    """Replaces the parts around the Tanh of an approximate GELU."""
    factor, total = _split_product(node.inputs[0])
    if total is None or factor is None or not math.isclose(factor, math.sqrt(2 / math.pi), rel_tol=1e-6):
        return
    inner = graph.get_node_by_output(total)
    cubes = [value for value in inner.inputs if value.type == "Mul" and _split_product(value)[0] is not None]
    if inner.type not in _SUMS or len(cubes) != 1:
        return
    (x,) = (value for value in inner.input if value != cubes[0].output[0])
    weight, power = _split_product(cubes[0])
    cube = graph.get_node_by_output(power)
    is_cube = cube.type == "Pow" and cube.input[0] == x and cube.inputs[1].is_const()
    if is_cube and cube.inputs[1].get_tensor_value() == 3 and math.isclose(weight or 0, 0.044715, rel_tol=1e-6):
        ends = graph.find_output_consumers(node.output[0])
        ones = [value.get_tensor_value() for end in ends for value in end.inputs if value.is_const()]
        if len(ends) == 1 and ends[0].type in _SUMS and ones == [1]:
            _replace_product(graph, ends[0], x, "tanh")


def _split_product(node: "Node") -> tuple[float | None, str | None]:
    """Returns the constant and the other factor of a product with a number."""
    constants = [value for value in node.inputs if value.is_const()]
    if (
        node.type != "Mul"
        or len(constants) != 1
        or np.size(number := constants[0].get_tensor_value(as_list=False)) != 1
    ):
        return None, None
    return float(np.ravel(number)[0]), next(name for name in node.input if name != constants[0].output[0])


def _replace_product(graph: "Graph", node: "Node", x: str, approximate: str) -> None:
    """Replaces x / 2 * node with Gelu."""
    for end in graph.find_output_consumers(node.output[0]):
        others = [graph.get_node_by_output(value) for value in end.input if value != node.output[0]]
        if end.type == "Mul" and len(others) == 1 and _split_product(others[0]) == (0.5, x):
            replace_node(graph, end, "Gelu", x, approximate=approximate)


def keep_attention(graph: "Graph", node: "Node") -> None:
    """Replaces the parts around the Softmax of an attention without a mask."""
    (product,) = node.inputs
    scores = next((value for value in product.inputs if value.type == "Einsum"), None)
    ends = graph.find_output_consumers(node.output[0])
    if product.type != "Mul" or scores is None or len(ends) != 1 or ends[0].type != "Einsum":
        return
    (last,) = ends
    equations = [each.get_attr_value("equation").decode().replace(" ", "") for each in (scores, last)]
    if equations != ["BTNH,BSNH->BNTS", "BNTS,BSNH->BTNH"] or last.input[0] != node.output[0]:
        return
    (query, key), value = scores.input, last.input[1]
    shapes = [graph.get_shape(each) for each in (query, key, value)]
    if any(shape is None or len(shape) != 4 or min(shape[2:]) <= 0 or shape[2] != shapes[0][2] for shape in shapes):
        return
    heads = shapes[0][2]
    scale = _split_product(product)[0] or _match_root(graph, product, query)
    if scale is None:
        return
    flat = [
        apply(graph, "Reshape", each, constant(graph, [0, 0, heads * shape[3]], np.int64))
        for each, shape in zip((query, key, value), shapes, strict=True)
    ]
    attributes = {"q_num_heads": heads, "kv_num_heads": heads, "scale": scale}
    together = apply(graph, "Attention", *flat, **attributes)
    replace_node(graph, last, "Reshape", together, constant(graph, [0, 0, heads, shapes[2][3]], np.int64))


def _match_root(graph: "Graph", product: "Node", query: str) -> float | None:
    """Returns 1 / sqrt(h) if a product is one with that, where h is the size of the last axis of the query."""
    node = next((value for value in product.inputs if value.type == "Reciprocal"), None)
    passed = []
    for kind in ("Sqrt", "Cast", "StridedSlice", "Shape"):
        node = node.inputs[0] if node is not None and node.inputs[0].type == kind else None
        passed.append(node)
    *_, part, shape = passed
    if part is None or shape is None or shape.input[0] != query or graph.get_shape(part.output[0]) != []:
        return None
    first = part.inputs[1].get_tensor_value() if part.inputs[1].is_const() else None
    return 1 / math.sqrt(graph.get_shape(query)[-1]) if first in ([-1], [len(graph.get_shape(query)) - 1]) else None


# The opset from which on there is an operation for the parts around a node of a type.
WHOLE: dict[str, tuple[int, Rewrite]] = {
    "Erfc": (20, keep_gelu),
    "Rsqrt": (17, keep_layer_norm),
    "Softmax": (23, keep_attention),
    "Tanh": (20, keep_gelu_tanh),
}
