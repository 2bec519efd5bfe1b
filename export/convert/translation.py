"""Translates a traced function to an ONNX model with tf2onnx, and leads large weights past it.

tf2onnx freezes weights into TensorFlow's graph, and copies, serialises and parses the graph a dozen times on the way to
ONNX. Here large weights leave the frozen graph: TensorFlow's optimiser sees parameters instead, and the values come
back when constants become ONNX's. That saves half of the time, and avoids the limit of 2 GB for one message. The
matrices of dense layers and embeddings, which no optimisation folds, stay parameters until the end, since tf2onnx keeps
up to twenty copies of a graph.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .graph import replace_entries
from .operations import rewrite_operations
from .operations.lookup import store_tables
from .optimisation import optimise
from .versions import LAST_CONVERTED

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
    from tensorflow.types.experimental import ConcreteFunction

# In bytes. Vectors are smaller and stay, so that expressions of them can be folded.
_LARGE, _LARGE_MATRIX = 2**16, 2**20
# These inputs of operations take a matrix as it is.
_UNCHANGED = {("MatMul", 1), ("GatherV2", 0), ("ResourceGather", 0)}


def translate(concrete: "ConcreteFunction", names: dict[str, str], opset: int) -> "ModelProto":
    """Translates a concrete function; operations without a translation stay in the graph, and an error is logged.

    Args:
        concrete: The function.
        names: The new names of its inputs and outputs, by the names of the tensors.
        opset: The ONNX opset of the file; the graph has that opset, or the last one that tf2onnx knows.
    """
    import tensorflow as tf
    from tf2onnx import tf_loader

    # Captured variables and tensors of layers come last; freezing makes them constants.
    given = concrete.inputs[: len(concrete.inputs) - len(concrete.captured_inputs)]
    inputs, outputs = ([tensor.name for tensor in side] for side in (given, concrete.outputs))
    with tf.device("/CPU:0"):
        frozen = tf_loader.convert_variables_to_constants_large_model(concrete)
        frozen = tf_loader.fix_freezing_errors_part2(frozen)
        values = _extract_weights(frozen)
        # Deleted parts of a message are freed only with the message.
        frozen = type(frozen).FromString(frozen.SerializeToString())
        with tf.Graph().as_default():
            graph = tf_loader.tf_optimize(inputs, outputs, frozen)
        store_tables(graph, concrete)
        matrices = {name: values.pop(name) for name in _find_matrices(graph, values)}
        _restore_constants(graph, values)
        contents = {name: weights.content for name, weights in values.items()}
        inputs = [*inputs, *(f"{name}:0" for name in matrices)]
        try:
            model = _to_onnx(graph, inputs, outputs, names, opset, contents, careful=False)
        except Exception:
            # An optimisation of tf2onnx failed; with a copy of the graph before each, it can be left out.
            model = _to_onnx(graph, inputs, outputs, names, opset, contents, careful=True)
    _add_weights(model.graph, {f"{name}:0": weights for name, weights in matrices.items()})
    return model


@dataclass(frozen=True)
class _Weights:
    """A large constant of TensorFlow's graph."""

    dtype: int
    shape: "TensorShapeProto"
    content: bytes


def _extract_weights(graph: "GraphDef") -> dict[str, _Weights]:
    """Replaces large constants with parameters, and returns them by name."""
    values = {}
    for node in graph.node:
        if node.op == "Const" and len(content := node.attr["value"].tensor.tensor_content) > _LARGE:
            tensor = node.attr["value"].tensor
            shape = type(tensor.tensor_shape)()
            shape.CopyFrom(tensor.tensor_shape)
            values[node.name] = _Weights(tensor.dtype, shape, content)
            node.op = "Placeholder"
            del node.attr["value"]
            node.attr["shape"].shape.CopyFrom(shape)
    # These nodes only pass constants on, and tf2onnx would compute each in a session of its own.
    passed = {n.name: n.input[0] for n in graph.node if n.op == "Identity" and n.input[0] in values}
    for node in graph.node:
        node.input[:] = [passed.get(name, name) for name in node.input]
    return values


def _find_matrices(graph: "GraphDef", values: dict[str, _Weights]) -> list[str]:
    """Returns the names of the largest constants that every operation takes as they are."""
    present = values.keys() & {node.name for node in graph.node}
    large = {name for name in present if len(values[name].content) > _LARGE_MATRIX}
    for node in graph.node:
        turned = node.attr["transpose_b"].b if node.op == "MatMul" else False
        large -= {n.split(":")[0] for i, n in enumerate(node.input) if turned or (node.op, i) not in _UNCHANGED}
    return sorted(large)


def _add_weights(graph: "GraphProto", matrices: dict[str, _Weights]) -> None:
    """Turns the remaining parameters into weights, one by one so that few are in memory twice."""
    parameters = [value for value in graph.input if value.name in matrices]
    replace_entries(graph.input, [value for value in graph.input if value.name not in matrices])
    for value in parameters:
        weights = matrices.pop(value.name)
        dims = [dim.size for dim in weights.shape.dim]
        kind = value.type.tensor_type.elem_type
        graph.initializer.add(name=value.name, data_type=kind, dims=dims, raw_data=weights.content)


def _restore_constants(graph: "GraphDef", values: dict[str, _Weights]) -> None:
    """Turns the other parameters back into constants, without their contents."""
    for node in graph.node:
        if node.name in values:
            node.op = "Const"
            del node.attr["shape"]
            tensor = node.attr["value"].tensor
            tensor.dtype = values[node.name].dtype
            tensor.tensor_shape.CopyFrom(values[node.name].shape)


def _to_onnx(
    frozen: "GraphDef",
    inputs: list[str],
    outputs: list[str],
    names: dict[str, str],
    opset: int,
    contents: dict[str, bytes],
    careful: bool,
) -> "ModelProto":
    import tensorflow as tf
    from tf2onnx.tfonnx import process_tf_graph

    with tf.Graph().as_default() as imported, _fix_order():
        tf.import_graph_def(frozen, name="")
        graph = process_tf_graph(
            imported,
            continue_on_error=True,
            opset=min(opset, LAST_CONVERTED),
            input_names=inputs,
            output_names=outputs,
            const_node_values=contents,
            tensors_to_rename=names,
            custom_rewriter=[partial(rewrite_operations, opset=opset)],
        )
        return optimise(graph, careful).make_model("")


@contextmanager
def _fix_order() -> Iterator[None]:
    """Makes tf2onnx visit nodes in the same order each time: it keeps them in sets, and counts its own nodes."""
    from tf2onnx import utils
    from tf2onnx.graph import Graph

    methods = {name: getattr(Graph, name) for name in ("extract_sub_graph_nodes", "find_output_consumers")}

    def sort(method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: sorted(method(*arguments, **options), key=lambda node: str(node.name))

    utils.INTERNAL_NAME = 1
    for name, method in methods.items():
        setattr(Graph, name, sort(method))
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(Graph, name, method)
