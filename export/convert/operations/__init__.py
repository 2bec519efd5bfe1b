"""Converts operations of TensorFlow that tf2onnx does not know, or gets wrong, to operations of ONNX.

To add one, write a function that takes tf2onnx's graph and the node, builds its result with the functions of
`building.py` and replaces the node with it, and name the function in the table `REWRITES` of the file of its kind:

    arithmetic.py              on each element
    fourier.py                 Fourier transforms
    lookup.py                  tables to look integers up in
    resizing.py                resizing by methods that ONNX lacks
    selection.py               comparing and selecting
    transposed_convolution.py  transposed convolutions

A case in `tests/export/test_operations.py` compares it with TensorFlow. A function that leaves a node as it is leaves
it to tf2onnx.
"""

from typing import TYPE_CHECKING

from . import arithmetic, fourier, lookup, resizing, selection, transposed_convolution

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node

KINDS = (arithmetic, fourier, lookup, resizing, selection, transposed_convolution)
REWRITES = {name: rewrite for kind in KINDS for name, rewrite in kind.REWRITES.items()}


def rewrite_operations(graph: "Graph", nodes: "list[Node]") -> "list[Node]":
    """Converts every such operation in a graph; tf2onnx calls this as a rewriter."""
    # The list grows with every operation that is added.
    for node in list(nodes):
        if node.type in REWRITES:
            REWRITES[node.type](graph, node)
    return list(graph.get_nodes())
