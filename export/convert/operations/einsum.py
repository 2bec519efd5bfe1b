"""Converts Einsum of two values to a product of matrices, where it is one.

    sum over h of a[b, t, n, h] * c[b, s, n, h]  =  transpose(a; b, n, t, h) @ transpose(c; b, n, h, s)
    sum over c, d of a[b, t, c, d] * w[c, d, e]  =  reshape(a; b, t, c * d) @ reshape(w; c * d, e)

The first is a product for each index that both values and the result have; attention is made of such. The second is a
dense layer with a kernel of several axes, whose sizes are known. tf2onnx converts both to dozens of operations that
compute shapes.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from .building import Rewrite, apply, constant, replace_node

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node


def convert_einsum(graph: "Graph", node: "Node") -> None:
    """Converts Einsum to MatMul with values that are transposed or reshaped."""
    sides, _, result = node.get_attr_value("equation").decode().replace(" ", "").partition("->")
    left, _, right = sides.partition(",")
    if not all(term.isalpha() and len(set(term)) == len(term) for term in (left, right, result)):
        return
    if not _convert_each(graph, node, left, right, result):
        _convert_dense(graph, node, left, right, result)


def _convert_each(graph: "Graph", node: "Node", left: str, right: str, result: str) -> bool:
    """Converts a product for each index of `together`, over one index, to which each value adds one of its own."""
    together = [i for i in result if i in left and i in right]
    rows, columns = ([i for i in result if i in term and i not in together] for term in (left, right))
    summed = [i for i in left if i in right and i not in result]
    known = {*together, *rows, *columns, *summed}
    if not together or {*left, *right} != known or any(len(own) != 1 for own in (rows, columns, summed)):
        return False
    values = [
        _transpose(graph, value, term, [*together, *order])
        for value, term, order in zip(node.input, (left, right), (rows + summed, summed + columns), strict=True)
    ]
    order = [*together, *rows, *columns]
    if order == list(result):
        replace_node(graph, node, "MatMul", *values)
    else:
        perm = [order.index(i) for i in result]
        replace_node(graph, node, "Transpose", apply(graph, "MatMul", *values), perm=perm)
    return True


def _convert_dense(graph: "Graph", node: "Node", left: str, right: str, result: str) -> None:
    """Converts a product over the last axes of x and the first ones of a kernel, whose sizes are known."""
    x, kernel = node.input
    sizes = graph.get_shape(kernel)
    over = sum(i in left for i in right)
    rows, columns = left[: len(left) - over], right[over:]
    if sizes is None or min(sizes) <= 0 or not 0 < over < len(right) or not rows:
        return
    if left != rows + right[:over] or result != rows + columns:
        return
    keep, inner, outer = [0] * len(rows), math.prod(sizes[:over]), math.prod(sizes[over:])
    if over > 1:
        x = apply(graph, "Reshape", x, constant(graph, [*keep, inner], np.int64))
    if len(sizes) > 2:
        kernel = apply(graph, "Reshape", kernel, constant(graph, [inner, outer], np.int64))
    product = apply(graph, "MatMul", x, kernel)
    replace_node(graph, node, "Reshape", product, constant(graph, [*keep, *sizes[over:]], np.int64))


def _transpose(graph: "Graph", value: str, term: str, order: list[str]) -> str:
    perm = [term.index(i) for i in order]
    return value if perm == sorted(perm) else apply(graph, "Transpose", value, perm=perm)


REWRITES: dict[str, Rewrite] = {"Einsum": convert_einsum}
