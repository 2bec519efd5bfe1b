"""Converts an endpoint to an ONNX model with tf2onnx, which logs errors and continues.

So every node of the result must be an operation of the opset, and nothing may be logged as an error.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import ExportError, error_line
from ..limits import enforce_limits
from ..model.endpoint import Endpoint
from ..model.tracing import ONE_AT_A_TIME, guard_tracing, inline_calls
from .dimensions import name_dimensions
from .graph import rename_values, replace_entries, walk_graph
from .naming import name_by_layers
from .simplification import simplify
from .translation import translate
from .versions import raise_opset

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from onnx import GraphProto, ModelProto
    from tensorflow.core.framework.graph_pb2 import GraphDef

_INSIDE = "keras_skip_"
# Types of TensorFlow, and why they are refused. Keras's float8 passes through bfloat16, so it comes first.
_NARROW = {
    "float8": "the converter does not know; quantise the model to int8 or int4 instead",
    "bfloat16": "the converter would turn into float16",
}


def convert_endpoint(endpoint: Endpoint, opset: int) -> "ModelProto":
    """Converts an endpoint to an ONNX model.

    Raises:
        ExportError: If an operation cannot be converted, which the message names, or if a call of the model changes a
            weight.
    """
    import keras
    import tensorflow as tf

    # The converter confuses values of similar names, so the model's names replace other ones at the end.
    inside = {f"{_INSIDE}x{i}": raw.name for i, raw in enumerate(endpoint.inputs)}
    outside = {f"{_INSIDE}y{i}": name for i, name in enumerate(endpoint.outputs)}
    specs = [
        tf.TensorSpec(raw.shape, raw.tensor_dtype, name) for name, raw in zip(inside, endpoint.inputs, strict=True)
    ]

    scope = keras.StatelessScope()

    def call(*tensors: "tf.Tensor") -> "dict[str, tf.Tensor]":
        # Some layers draw the next seed even outside of training.
        with scope:
            return dict(zip(outside, endpoint(*tensors).values(), strict=True))

    # Keras calls layers without AutoGraph, and the SavedModel is traced without it too.
    traced = tf.function(call, input_signature=specs, autograph=False)
    with ONE_AT_A_TIME, _collect_errors() as errors:
        with inline_calls(), guard_tracing(endpoint):
            concrete = traced.get_concrete_function()
        refuse_state(endpoint.model, scope)
        _refuse_types(concrete.graph.as_graph_def())
        names = {f"{name}:0": name for name in inside}
        names |= {tensor.name: name for name, tensor in concrete.structured_outputs.items()}
        try:
            with enforce_limits(f"the conversion of {endpoint.model.name}"):
                model = raise_opset(translate(concrete, names, opset), opset)
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(_refusal(opset, [*errors, error_line(error)])) from error
    unknown = sorted(set(_find_unknown(model.graph, {o.domain: o.version for o in model.opset_import})))
    if unknown or errors:
        raise ExportError(_refusal(opset, unknown or errors))
    model.graph.name = endpoint.model.name
    rename_values(model.graph, inside | outside)
    replace_entries(
        model.graph.output, sorted(model.graph.output, key=lambda value: endpoint.outputs.index(value.name))
    )
    model = simplify(model)
    name_by_layers(model, endpoint.model.name, [operation.name for operation in concrete.graph.get_operations()])
    return name_dimensions(model, endpoint)


def _refusal(opset: int, received: list[str]) -> str:
    return f"Expected operations that can be converted to ONNX opset {opset}. Received: {'; '.join(received)}"


def _find_unknown(graph: "GraphProto", versions: dict[str, int]) -> Iterator[str]:
    import onnx

    for node in walk_graph(graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if not onnx.defs.has(node.op_type, max_inclusive_version=versions.get(domain, 0), domain=domain):
            yield f"{node.op_type} ({node.name})"


def refuse_state(model: "keras.Model", scope: "keras.StatelessScope") -> None:
    """Raises an ExportError if a call within a scope has changed a weight."""
    changed = [weight.path for weight in model.weights if id(weight) in scope.state_mapping]
    if changed:
        raise ExportError(
            f"Expected a model whose calls change no weights. Received: {model.name}, "
            f"which changes {', '.join(changed)}"
        )


def _refuse_types(graph: "GraphDef") -> None:
    from tensorflow.core.framework import types_pb2

    nodes = (*graph.node, *(node for f in graph.library.function for node in f.node_def))
    for name, why in _NARROW.items():
        codes = {code for kind, code in types_pb2.DataType.items() if kind.startswith(f"DT_{name.upper()}")}
        narrow = [f"{n.op} ({n.name})" for n in nodes if any(a.type in codes for a in n.attr.values())]
        if narrow:
            raise ExportError(f"Expected a model without {name}, which {why}. Received: {'; '.join(narrow)}")


@contextmanager
def _collect_errors() -> Iterator[list[str]]:
    """Keeps tf2onnx's log off the terminal and collects what it logs as errors."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, collector = logging.getLogger("tf2onnx"), Collector(logging.ERROR)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        yield messages
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
