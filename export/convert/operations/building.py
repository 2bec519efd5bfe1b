"""Builds operations of ONNX in a graph of tf2onnx."""

from typing import Any

import numpy as np


def float_types() -> tuple[int, ...]:
    """ONNX's types of floats."""
    from onnx import TensorProto

    return TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16


def constant(graph: Any, value: Any, dtype: Any) -> str:
    """Makes a constant, and returns its name."""
    from tf2onnx.utils import make_name

    return str(graph.make_const(make_name("keras_skip"), np.array(value, dtype)).output[0])


def constant_like(graph: Any, value: Any, like: str) -> str:
    """Makes a constant of the type of another value, and returns its name."""
    from tf2onnx.utils import map_onnx_to_numpy_type

    return constant(graph, value, map_onnx_to_numpy_type(graph.get_dtype(like)))


def apply(graph: Any, operation: str, *inputs: str, **attributes: Any) -> str:
    """Makes an operation, and returns the name of its result."""
    return str(graph.make_node(operation, list(inputs), attributes).output[0])


def replace_node(graph: Any, node: Any, operation: str, *inputs: str, **attributes: Any) -> None:
    """Replaces a node with an operation of the same name."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    about = {"name": node.name, "outputs": node.output, "shapes": shapes, "dtypes": dtypes}
    graph.make_node(operation, list(inputs), attributes, **about)
