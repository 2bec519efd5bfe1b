"""Runs tf2onnx's optimisations of an ONNX graph, except those that would find nothing, and corrects one.

Two reshapes in a row become one. A size of 0 copies the size of the input, so a 0 in the second shape means the size in
the first shape, and not the size before both:

    reshape(reshape(x, (6, 4)), (0, 2, 2)) = reshape(x, (6, 2, 2))
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node

# Some optimisations find nothing without these operations.
_ONLY_FOR = {
    "remove_redundant_upsample": ("Upsample", "Resize"),
    "const_dequantize_optimizer": ("DequantizeLinear",),
    "loop_optimizer": ("Loop",),
    "q_dq_optimizer": ("QuantizeLinear", "DequantizeLinear"),
    "einsum_optimizer": ("Einsum",),
}


def optimise(graph: "Graph", careful: bool) -> "Graph":
    """Optimises a graph of tf2onnx.

    Args:
        graph: The graph.
        careful: Whether to leave an optimisation out if it fails, for which the graph is copied before each.
    """
    from tf2onnx import optimizer

    # Each optimisation copies all weights, even if it finds nothing.
    present = graph.dump_node_statistics()
    needed = {
        name: made
        for name, made in optimizer._get_optimizers().items()
        if name not in _ONLY_FOR or any(present[operation] for operation in _ONLY_FOR[name])
    }
    with _correct_reshapes():
        return optimizer.optimize_graph(graph, catch_errors=careful, optimizers=needed)


@contextmanager
def _correct_reshapes() -> Iterator[None]:
    from tf2onnx.optimizer.back_to_back_optimizer import _func_map

    original = _func_map["Reshape",]
    _func_map["Reshape",] = merge_reshapes
    try:
        yield
    finally:
        _func_map["Reshape",] = original


def merge_reshapes(graph: "Graph", first: "Node", consumers: "list[Node]") -> "list[Node]":
    """Merges a reshape with the next one if that alone takes its result; tf2onnx calls this for reshapes in a row."""
    from tf2onnx.utils import make_name

    second, *others = consumers
    before, after = (_read_sizes(node) for node in (first, second))
    if others or (0 in after and not before):
        return []
    sizes = [before[axis] if size == 0 else size for axis, size in enumerate(after)]
    if sizes.count(-1) < 2:
        merged = graph.make_const(make_name("keras_skip"), np.array(sizes, np.int64)).output[0] if sizes else ""
        graph.replace_inputs(second, [first.input[0], merged or second.input[1]])
        graph.remove_node(first.name)
    return []


def _read_sizes(reshape: "Node") -> list[int]:
    """Returns the sizes of a reshape if they are constant; none that is computed is 0."""
    sizes = reshape.inputs[1]
    return list(sizes.get_tensor_value()) if sizes.is_const() else []
