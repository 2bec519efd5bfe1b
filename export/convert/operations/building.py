"""Builds operations of ONNX in a graph of tf2onnx."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node

# Converts a node in its graph.
Rewrite = Callable[["Graph", "Node"], None]


def float_types() -> tuple[int, ...]:
    """Returns ONNX's types of floats."""
    from onnx import TensorProto

    return TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16


def gives_floats(graph: "Graph", node: "Node") -> bool:
    """Whether the first result of a node is of floats."""
    return graph.get_dtype(node.output[0]) in float_types()


def constant(graph: "Graph", value: ArrayLike, dtype: DTypeLike) -> str:
    """Adds a constant, and returns its name."""
    from tf2onnx.utils import make_name

    return str(graph.make_const(make_name("keras_skip"), np.array(value, dtype)).output[0])


def constant_like(graph: "Graph", value: ArrayLike, like: str) -> str:
    """Adds a constant of the type of another value, and returns its name."""
    from tf2onnx.utils import map_onnx_to_numpy_type

    return constant(graph, value, map_onnx_to_numpy_type(graph.get_dtype(like)))


def apply(graph: "Graph", operation: str, *inputs: str, **attributes: Any) -> str:
    """Applies an operation of ONNX to values, and returns the name of its result."""
    return str(graph.make_node(operation, list(inputs), attributes).output[0])


def replace_node(
    graph: "Graph", node: "Node", operation: str, *inputs: str, domain: str = "", **attributes: Any
) -> None:
    """Replaces a node with an operation of ONNX."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    about = {"name": node.name, "outputs": node.output, "shapes": shapes, "dtypes": dtypes, "domain": domain}
    graph.make_node(operation, list(inputs), attributes, **about)
