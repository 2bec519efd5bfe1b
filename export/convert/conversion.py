"""From a served function to an ONNX model, through tf2onnx, which is not trusted: it logs errors and goes on.

Every node of the result must be an operation of the opset, and nothing may have been logged as an error.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ExportError, in_one_line
from ..limits import within_limits
from ..model.endpoint import Served
from ..model.tracing import ONE_AT_A_TIME, inlined, tracing
from .dimensions import named
from .graph import all_nodes, fill, rename_values
from .structure import simplified
from .translation import translated

_INSIDE = "keras_skip_"


def converted(function: Served, opset: int) -> Any:
    """Converts a served function.

    Raises:
        ExportError: If an operation cannot be converted, which the message names, or if a weight changes when the model
            is called.
    """
    import keras
    import tensorflow as tf

    # Names of our own on the way, since the converter confuses what is named alike; the model's come last.
    inside = {f"{_INSIDE}x{i}": raw.name for i, raw in enumerate(function.inputs)}
    outside = {f"{_INSIDE}y{i}": name for i, name in enumerate(function.outputs)}
    specs = [tf.TensorSpec(raw.shape, raw.dtype, name) for name, raw in zip(inside, function.inputs, strict=True)]

    scope = keras.StatelessScope()

    def call(*tensors: Any) -> dict[str, Any]:
        # Some layers draw the next seed for what they do in training alone.
        with scope:
            return dict(zip(outside, function(*tensors).values(), strict=True))

    traced = tf.function(call, input_signature=specs)
    with ONE_AT_A_TIME, _logged_errors() as errors:
        with inlined(), tracing(function):
            concrete = traced.get_concrete_function()
        _refuse_state(function.model, scope)
        _refuse_bfloat16(concrete.graph.as_graph_def())
        names = {f"{name}:0": name for name in inside}
        names |= {tensor.name: name for name, tensor in concrete.structured_outputs.items()}
        try:
            with within_limits(f"the conversion of {function.model.name}"):
                model = translated(concrete, names, opset)
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(_sentence(opset, [*errors, in_one_line(error)])) from error
    unknown = sorted(set(_unknown_operations(model.graph, {o.domain: o.version for o in model.opset_import})))
    if unknown or errors:
        raise ExportError(_sentence(opset, unknown or errors))
    model.graph.name = function.model.name
    rename_values(model.graph, inside | outside)
    fill(model.graph.output, sorted(model.graph.output, key=lambda value: function.outputs.index(value.name)))
    return named(simplified(model), function)


def _sentence(opset: int, received: list[str]) -> str:
    return f"Expected operations that can be converted to ONNX opset {opset}. Received: {'; '.join(received)}"


def _unknown_operations(graph: Any, versions: dict[str, int]) -> Iterator[str]:
    import onnx

    for node in all_nodes(graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if not onnx.defs.has(node.op_type, max_inclusive_version=versions.get(domain, 0), domain=domain):
            yield f"{node.op_type} ({node.name})"


def _refuse_state(model: Any, scope: Any) -> None:
    changed = [weight.path for weight in model.weights if id(weight) in scope.state_mapping]
    if changed:
        raise ExportError(
            f"Expected a model that changes no weight of its own. Received: {model.name}, changing {', '.join(changed)}"
        )


def _refuse_bfloat16(graph: Any) -> None:
    from tensorflow.core.framework import types_pb2

    nodes: Iterable[Any] = (*graph.node, *(node for f in graph.library.function for node in f.node_def))
    narrow = [f"{n.op} ({n.name})" for n in nodes if any(a.type == types_pb2.DT_BFLOAT16 for a in n.attr.values())]
    if narrow:
        raise ExportError(f"Expected no bfloat16, which would silently become float16. Received: {'; '.join(narrow)}")


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
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
