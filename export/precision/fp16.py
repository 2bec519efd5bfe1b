"""Converts an ONNX file to fp16 with onnxruntime's tool. Only the worker imports it: it logs and changes sys.path.

The result is two files: one to publish, and one that computes the same on a CPU as a GPU does with the first. In both
the first layers, on which all others build, stay in float32, and so may the sums of skip connections: through hundreds
of blocks the rounding of each addition adds up.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..convert.graph import collect_inputs, infer_shapes, replace_entries, sort_nodes, walk_node
from ..storage.onnx_files import save_model

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

# The operations with weights, and the share, one in so many, of all weights that a first layer in float32 may have.
_LAYERS, _SMALL = ("Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN"), 10
_HALF = np.finfo("float16")


def convert_to_fp16(source: Path, target: Path, share: float = 0.0, sums: bool = False) -> tuple[int, int]:
    """Writes an ONNX file with weights and activations in fp16; inputs and outputs keep their types.

    Later layers amplify the errors of preprocessing and of the first layer, so both stay in float32 if the layer is
    small, as the first convolution of an image is.

    Args:
        source: The file in float32.
        target: The file to write.
        share: The share of all layers with weights that stays in float32, the first ones, rounded down.
        sums: Whether the sums of skip connections stay in float32.

    Returns:
        How many layers stayed in float32, and how many there are.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # The tool's own inference of shapes takes a copy of all weights, which may not be above 2 GB.
    narrow = partial(convert_float_to_float16, keep_io_types=True, disable_shape_infer=True)
    return _convert(source, target, share, sums, narrow)


def simulate_fp16(source: Path, target: Path, share: float = 0.0, sums: bool = False) -> tuple[int, int]:
    """Writes an ONNX file that computes the same on any processor as a file of `convert_to_fp16` on a GPU.

    A GPU adds up in float32 and rounds every result to fp16. A CPU has few operations in fp16, and onnxruntime runs the
    others in float32 without rounding. In this file all is in float32, and every weight and result is rounded, except
    in graphs inside Loop, Scan and If.
    """
    return _convert(source, target, share, sums, _round_values)


def _convert(
    source: Path, target: Path, share: float, sums: bool, narrow: Callable[["ModelProto"], "ModelProto"]
) -> tuple[int, int]:
    import onnx

    model = onnx.load(source)
    graph, shaped = model.graph, infer_shapes(model)
    layers = [i for i, node in enumerate(shaped.node) if node.op_type in _LAYERS]
    exact = min(max(int(share * len(layers)), 1), len(layers))
    kept = _find_first_layers(shaped, layers[:exact])
    used = collect_inputs(kept)
    constants = [constant for constant in graph.initializer if constant.name in used]
    if share * len(layers) < 1 and _count_bytes(constants) * _SMALL > _count_bytes(graph.initializer):
        kept, constants, exact = [], [], 0
    constants = [onnx.TensorProto.FromString(constant.SerializeToString()) for constant in constants]
    kept = kept + _find_sums(shaped, kept) if sums else kept
    inputs, outputs = list(graph.input), list(graph.output)
    _remove_nodes(graph, shaped, kept)
    model = narrow(model)
    _restore_nodes(model.graph, kept, constants, inputs, outputs)
    save_model(model, target)
    return exact, len(layers)


def _round_values(model: "ModelProto") -> "ModelProto":
    """Rounds every constant, input and result in float32 to fp16."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    for constant in graph.initializer:
        if constant.data_type == TensorProto.FLOAT:
            with np.errstate(over="ignore"):
                half = np.clip(numpy_helper.to_array(constant).astype("float16"), -_HALF.max, _HALF.max)
            constant.CopyFrom(numpy_helper.from_array(half.astype("float32"), constant.name))
    values = (*graph.input, *graph.value_info, *graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    nodes: list[NodeProto] = []

    def rounded(name: str, result: str) -> None:
        half = f"{result}__fp16"
        nodes.append(helper.make_node("Cast", [name], [half], to=TensorProto.FLOAT16))
        nodes.append(helper.make_node("Cast", [half], [result], to=TensorProto.FLOAT))

    names = {value.name: f"{value.name}__rounded" for value in graph.input if value.name in floats}
    for name, result in names.items():
        rounded(name, result)
    for node in graph.node:
        for inner in walk_node(node):
            inner.input[:] = [names.get(name, name) for name in inner.input]
        nodes.append(node)
        for i, result in enumerate(node.output):
            if result in floats:
                node.output[i] = f"{result}__exact"
                rounded(node.output[i], result)
    replace_entries(graph.node, nodes)
    return model


def _remove_nodes(graph: "GraphProto", shaped: "GraphProto", kept: "list[NodeProto]") -> None:
    """Removes nodes from a graph, whose shapes are known.

    Results of removed nodes become inputs of the graph, and results that removed nodes take become outputs.
    """
    made = {name for node in kept for name in node.output}
    rest = [node for node in shaped.node if not made.intersection(node.output)]
    used = collect_inputs(rest)
    given = {name for node in rest for name in node.output} & collect_inputs(kept) - {
        value.name for value in graph.output
    }
    replace_entries(graph.node, rest)
    replace_entries(graph.value_info, [value for value in shaped.value_info if value.name not in made])
    graph.input.extend(value for value in shaped.value_info if value.name in used & made)
    graph.output.extend(value for value in shaped.value_info if value.name in given)
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in used:
            del graph.initializer[i]


def _restore_nodes(
    graph: "GraphProto",
    kept: "list[NodeProto]",
    constants: "list[TensorProto]",
    inputs: "list[ValueInfoProto]",
    outputs: "list[ValueInfoProto]",
) -> None:
    names = {constant.name: f"{constant.name}__float32" for constant in constants}
    for constant in constants:
        constant.name = names[constant.name]
    for node in kept:
        node.input[:] = [names.get(name, name) for name in node.input]
    graph.initializer.extend(constants)
    graph.node.extend(kept)
    replace_entries(graph.input, inputs)
    replace_entries(graph.output, outputs)
    # The tool appends the casts at the edge.
    sort_nodes(graph)
    replace_entries(graph.value_info, [])


def _find_first_layers(graph: "GraphProto", layers: list[int]) -> "list[NodeProto]":
    """Returns the nodes that the first layers need, and those that need only them, up to the next layer or the end."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output}
    outputs = {value.name for value in graph.output}
    found: set[int] = set()
    waiting = list(layers)
    while waiting:
        i = waiting.pop()
        if i not in found:
            found.add(i)
            waiting.extend(makers[name] for name in collect_inputs([graph.node[i]]) if name in makers)
    for i, node in enumerate(graph.node):
        needed = {makers[name] for name in collect_inputs([node]) if name in makers}
        if needed and needed <= found and node.op_type not in _LAYERS and not outputs.intersection(node.output):
            found.add(i)
    return [graph.node[i] for i in sorted(found)]


def _find_sums(graph: "GraphProto", kept: "list[NodeProto]") -> "list[NodeProto]":
    """Returns the additions of two results and the activations right after them, except those that are kept already."""
    constants, outputs = ({value.name for value in values} for values in (graph.initializer, graph.output))
    typed = {value.name for value in (*graph.input, *graph.value_info)}
    already = {name for node in kept for name in node.output}
    found: list[NodeProto] = []
    made: set[str] = set()
    for node in graph.node:
        added = node.op_type == "Add" and not constants.intersection(node.input)
        activated = node.op_type == "Relu" and made.issuperset(node.input)
        if (
            (added or activated)
            and typed.issuperset([*node.input, *node.output])
            and not outputs.intersection(node.output)
        ):
            made.update(node.output)
            if not already.intersection(node.output):
                found.append(node)
    return found


def _count_bytes(constants: Iterable["TensorProto"]) -> int:
    return sum(len(constant.raw_data) for constant in constants)
