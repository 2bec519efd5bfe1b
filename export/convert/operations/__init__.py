"""Converts operations of TensorFlow that tf2onnx does not know, or gets wrong, to operations of ONNX.

To add one, write a function that takes tf2onnx's graph and the node, builds its result with the functions of
`building.py` and replaces the node with it, and name the function in the table `REWRITES` of the file of its kind:

    arithmetic.py              on each element
    einsum.py                  sums of products that are products of matrices
    fourier.py                 Fourier transforms
    lists.py                   lists of tensors, outside of loops
    lookup.py                  look-ups of integers and text in tables
    resizing.py                resizing by methods that ONNX lacks
    selection.py               comparing and selecting
    slicing.py                 updates of slices
    transposed_convolution.py  transposed convolutions

Parts that make up a whole operation of a later opset are in `whole.py`, whose table also names that opset.

A case in `tests/export/test_operations.py` compares it with TensorFlow. A function that leaves a node as it is leaves
it to tf2onnx.
"""

from typing import TYPE_CHECKING

from . import arithmetic, einsum, fourier, lists, lookup, resizing, selection, slicing, transposed_convolution
from .whole import WHOLE

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node

KINDS = (arithmetic, einsum, fourier, lists, lookup, resizing, selection, slicing, transposed_convolution)
REWRITES = {name: rewrite for kind in KINDS for name, rewrite in kind.REWRITES.items()}


def rewrite_operations(graph: "Graph", nodes: "list[Node]", opset: int) -> "list[Node]":
    """Converts every such operation in a graph; tf2onnx calls this as a rewriter.

    Args:
        graph: The graph.
        nodes: Its nodes.
        opset: The opset of the file, which may be later than that of the graph.
    """
    # The list grows with every operation that is added.
    nodes = list(nodes)
    for node in nodes:
        least, keep = WHOLE.get(node.type, (opset + 1, None))
        if keep is not None and opset >= least:
            keep(graph, node)
    # tf2onnx would look for a conversion of the parts that nothing needs any more.
    graph.delete_unused_nodes(graph.outputs)
    # In their first order, since a Fourier transform needs to know what its input has become.
    for node in nodes:
        if node.type in REWRITES and graph.get_node_by_name(node.name) is node:
            REWRITES[node.type](graph, node)
    return list(graph.get_nodes())
