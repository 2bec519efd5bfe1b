"""Finds the ranges of a model's inputs in its traced graph.

Integers that pick rows of tables, or become one-hot, stay below the size of the smallest table. Integers that are
looked up in a vocabulary stay between its smallest and its largest entry. If constants first scale and shift floats, as
in Rescaling and Normalization, the floats are drawn so that the result is standard normal. Ranges that the graph does
not show stay unknown.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .inputs import RawInput
from .vocabulary import read_tables

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from tensorflow.python.eager.wrap_function import WrappedFunction
    from tensorflow.python.framework.func_graph import FuncGraph

    from .endpoint import Endpoint

# Operations that pass values on unchanged.
_SAME = {"Identity", "Cast", "StopGradient", "EnsureShape"}
# Operations whose results do not show the range of their inputs, and operations that shift or scale a range.
_OTHERS = frozenset({"Shape", "GatherV2", "LookupTableFindV2", "Size"})
_MOVES = frozenset({"AddV2", "Cumsum", "Mul", "Neg", "Range", "Sub", "Sum"})
# A factor and an addend.
Affine = tuple[np.ndarray | float, np.ndarray | float]
Step = tuple["tf.Tensor", Affine]
_AFFINE: dict[str, Callable[[np.ndarray, bool], Affine]] = {
    "Mul": lambda constant, first: (constant, 0.0),
    "RealDiv": lambda constant, first: (1 / constant, 0.0) if first else (np.nan, np.nan),
    "AddV2": lambda constant, first: (1.0, constant),
    "Sub": lambda constant, first: (1.0, -constant) if first else (-1.0, constant),
}
_STEPS = 6


def find_ranges(endpoint: "Endpoint") -> tuple[RawInput, ...]:
    """Returns the inputs of an endpoint with the ranges that its graph shows."""
    import tensorflow as tf

    inputs = endpoint.inputs
    with tf.device("/CPU:0"):
        wrapped = tf.compat.v1.wrap_function(endpoint.__call__, endpoint.tensor_specs())
    graph = wrapped.graph
    tensors = {raw.name: graph.get_tensor_by_name(f"{raw.name}:0") for raw in inputs}
    found = []
    for raw in inputs:
        if not is_open(raw, endpoint.model):
            found.append(raw)
        elif np.dtype(raw.dtype).kind in "iu":
            found.append(_bound(raw, graph, tensors[raw.name]))
        else:
            found.append(replace(raw, normal=_find_normal(wrapped, tensors[raw.name], set(map(id, tensors.values())))))
    return tuple(found)


def is_open(raw: RawInput, model: "keras.Model") -> bool:
    """Whether the graph may show more about an input; otherwise it is not traced, which takes seconds."""
    import keras

    dtype = np.dtype(raw.dtype)
    if raw.preprocessing is not None or dtype.kind in "bU":
        return False
    scales = (keras.layers.Rescaling, keras.layers.Normalization)
    return dtype.kind in "iu" or any(isinstance(layer, scales) for layer in model._flatten_layers())


def _bound(raw: RawInput, graph: "FuncGraph", tensor: "tf.Tensor") -> RawInput:
    """Returns an input with the range of integers that every table covers in which it is looked up."""
    keys = [
        keys
        for operation, keys, _ in read_tables(graph)
        if any(found is tensor for found in _integer_sources(operation.inputs[1], _OTHERS))
    ]
    if keys:
        bounds = max(int(k.min()) for k in keys), min(int(k.max()) for k in keys)
        return replace(raw, bounds=bounds, is_index=True)
    size = _table_size(graph, tensor, _OTHERS)
    if size is None:
        return raw
    # If the model adds an offset first, the table bounds the sum, so real inputs show the range better.
    return replace(raw, bounds=(0, size - 1), is_index=_table_size(graph, tensor, _OTHERS | _MOVES) is not None)


def _table_size(graph: "tf.Graph", tensor: "tf.Tensor", end: frozenset[str]) -> int | None:
    """Returns the rows of the smallest table in which an input is looked up; paths end at the operations in `end`."""
    import tensorflow as tf

    sizes = []
    for operation in graph.get_operations():
        if operation.type == "GatherV2":
            axis = tf.get_static_value(operation.inputs[2])
            shape = operation.inputs[0].shape
            size = None if shape.rank is None or axis is None else shape[int(axis)]
            wanted = operation.inputs[1]
        elif operation.type == "ResourceGather":
            size, wanted = _count_rows(operation), operation.inputs[1]
        elif operation.type == "OneHot":
            size, wanted = tf.get_static_value(operation.inputs[1]), operation.inputs[0]
        else:
            continue
        if size is not None and any(found is tensor for found in _integer_sources(wanted, end)):
            sizes.append(int(size))
    return min(sizes, default=None)


def _count_rows(operation: "tf.Operation") -> int | None:
    """Returns the number of rows of a variable that ResourceGather reads."""
    shapes = getattr(operation.inputs[0], "_handle_data", None)
    dims = shapes.shape_and_type[0].shape.dim if shapes is not None and shapes.shape_and_type else ()
    return dims[0].size if dims else None


def _integer_sources(tensor: "tf.Tensor", end: frozenset[str]) -> Iterator["tf.Tensor"]:
    """Yields a tensor and the integers that it is computed from, up to the operations in `end`."""
    waiting, seen = [tensor], set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen or not tensor.dtype.is_integer:
            continue
        seen.add(id(tensor))
        yield tensor
        if tensor.op.type not in end:
            waiting += list(tensor.op.inputs)


def _find_normal(
    wrapped: "WrappedFunction", tensor: "tf.Tensor", given: set[int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the mean and standard deviation with which to draw a float input."""
    slope: np.ndarray | float = 1.0
    shift: np.ndarray | float = 0.0
    for _ in range(_STEPS):
        step = next(
            (found for found in map(_affine_step(wrapped, tensor, given), _value_consumers(tensor)) if found), None
        )
        if step is None:
            break
        tensor, (by, plus) = step
        slope, shift = slope * by, shift * by + plus
    mean, std = -np.asarray(shift) / np.asarray(slope), 1 / np.abs(slope)
    known = np.all(np.isfinite(mean)) and np.all(np.isfinite(std))
    return (np.asarray(mean, "float32"), np.asarray(std, "float32")) if known else None


def _value_consumers(tensor: "tf.Tensor") -> Sequence["tf.Operation"]:
    return [operation for operation in tensor.consumers() if operation.type != "Shape"]


def _affine_step(
    wrapped: "WrappedFunction", tensor: "tf.Tensor", given: set[int]
) -> Callable[["tf.Operation"], Step | None]:
    """Returns a function that gives the result of an operation and the constants that scale and shift it, or None."""

    def step(operation: "tf.Operation") -> Step | None:
        if operation.type in _SAME:
            return operation.outputs[0], (1.0, 0.0)
        if operation.type not in _AFFINE:
            return None
        first = operation.inputs[0] is tensor
        other = operation.inputs[1 if first else 0]
        if other is tensor or not _is_constant(other, given):
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            constant = wrapped.prune([], other)().numpy().astype("float64")
            return operation.outputs[0], _AFFINE[operation.type](constant, first)

    return step


def _is_constant(tensor: "tf.Tensor", given: set[int]) -> bool:
    """Whether a tensor depends neither on an input nor on a weight."""
    waiting = [tensor]
    for _ in range(50):
        if not waiting:
            return True
        tensor = waiting.pop()
        if id(tensor) in given or tensor.dtype.name == "resource":
            return False
        waiting += list(tensor.op.inputs)
    return False
