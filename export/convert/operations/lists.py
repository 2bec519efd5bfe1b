"""Converts lists of tensors whose indices are constants, such as a tf.TensorArray in an unrolled loop.

    stack(write(write(reserve(2), 0, x), 1, y)) = [x, y]
    read(write(list, i, x), i) = x

tf2onnx itself converts the lists of loops that stay loops.
"""

from typing import TYPE_CHECKING

import numpy as np

from .building import Rewrite, apply, constant, replace_node

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node


def convert_stack(graph: "Graph", node: "Node") -> None:
    """Converts TensorListStack of a list that is written in full."""
    items, size = _find_items(node.inputs[0])
    if not items or sorted(items) != list(range(size)):
        return
    rows = [apply(graph, "Unsqueeze", items[i], constant(graph, [0], np.int64)) for i in range(size)]
    replace_node(graph, node, "Concat", *rows, axis=0)


def convert_read(graph: "Graph", node: "Node") -> None:
    """Converts TensorListGetItem of an item that is written."""
    items, _ = _find_items(node.inputs[0])
    if node.inputs[1].is_const() and (item := items.get(int(node.inputs[1].get_tensor_value()))):
        replace_node(graph, node, "Identity", item)


def _find_items(node: "Node") -> tuple[dict[int, str], int]:
    """Returns the last tensor written at each index of a list, and its size; {} and 0 if an index is no constant."""
    items: dict[int, str] = {}
    while node.type == "TensorListSetItem" and node.inputs[1].is_const():
        items.setdefault(int(node.inputs[1].get_tensor_value()), node.input[2])
        node = node.inputs[0]
    if node.type != "TensorListReserve" or not node.inputs[1].is_const():
        return {}, 0
    return items, int(node.inputs[1].get_tensor_value())


REWRITES: dict[str, Rewrite] = {"TensorListGetItem": convert_read, "TensorListStack": convert_stack}
