"""From float32 to fp16 and int8 with onnxruntime's tools, which log and change sys.path: for the worker alone.

int8 is static: the ranges of all activations are measured on real inputs, and scales stand in the file as pairs of
QuantizeLinear and DequantizeLinear, which onnxruntime fuses into operations on integers. A convolution has a scale for
each output channel.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ._graph import inferred, sort_nodes, with_inner
from ._inputs import Batch
from ._saving import save

# What is computed in integers. Preprocessing, softmax, gates and normalisation that was not absorbed stay in float32.
_INTEGER = (
    *("Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat"),
    *("Pad", "Slice", "Reshape", "Transpose", "Squeeze", "Unsqueeze"),
)
# What has weights, and the share of all weights, one in so many, that a first layer may have and stay in float32.
_LAYERS, _SMALL = ("Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN"), 10
_HALF = np.finfo("float16")
_WORST, _LOOKED_AT = 5, 4


def halve(source: Path, target: Path, share: float = 0.0) -> tuple[int, int]:
    """Writes an ONNX file with weights and activations in fp16; inputs and outputs keep their types.

    What every later layer amplifies is computed exactly: preprocessing and the first layer stay in float32, where the
    layer is small, as the first convolution of an image is.

    Args:
        source: The file in float32.
        target: The file to write.
        share: Of all layers with weights, how many of the first stay in float32, whatever their size, rounded down.

    Returns:
        How many layers stayed in float32, and how many there are.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # The tool's own inference of shapes takes a copy of all weights, which may not be above 2 GB.
    narrow = partial(convert_float_to_float16, keep_io_types=True, disable_shape_infer=True)
    return _narrowed(source, target, share, narrow)


def simulate(source: Path, target: Path, share: float = 0.0) -> tuple[int, int]:
    """Writes an ONNX file that computes on any processor what `halve` makes a GPU compute.

    A GPU adds up in float32 and rounds every result to fp16. A CPU has few operations in fp16: onnxruntime runs the
    others in float32 and rounds nothing between them. Here all is in float32, and every weight and every result is
    rounded, but for those of graphs inside Loop, Scan and If.
    """
    return _narrowed(source, target, share, _rounded)


def _narrowed(source: Path, target: Path, share: float, narrow: Callable[[Any], Any]) -> tuple[int, int]:
    import onnx

    model = onnx.load(source)
    graph, shaped = model.graph, inferred(model)
    layers = [i for i, node in enumerate(shaped.node) if node.op_type in _LAYERS]
    exact = min(max(int(share * len(layers)), 1), len(layers))
    kept = _leading(shaped, layers[:exact])
    constants = [constant for constant in graph.initializer if constant.name in _inputs(kept)]
    if share * len(layers) < 1 and _bytes(constants) * _SMALL > _bytes(graph.initializer):
        kept, constants, exact = [], [], 0
    constants = [onnx.TensorProto.FromString(constant.SerializeToString()) for constant in constants]
    inputs = list(graph.input)
    _leave_out(graph, shaped, kept)
    model = narrow(model)
    _put_back(model.graph, kept, constants, inputs)
    save(model, target)
    return exact, len(layers)


def _rounded(model: Any) -> Any:
    """Rounds every constant, every input and every result in float32 to fp16."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    for constant in graph.initializer:
        if constant.data_type == TensorProto.FLOAT:
            with np.errstate(over="ignore"):
                half = np.clip(numpy_helper.to_array(constant).astype("float16"), -_HALF.max, _HALF.max)
            constant.CopyFrom(numpy_helper.from_array(half.astype("float32"), constant.name))
    values = (*graph.input, *graph.value_info, *graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    nodes: list[Any] = []

    def rounded(name: str, result: str) -> None:
        half = f"{result}__fp16"
        nodes.append(helper.make_node("Cast", [name], [half], to=TensorProto.FLOAT16))
        nodes.append(helper.make_node("Cast", [half], [result], to=TensorProto.FLOAT))

    names = {value.name: f"{value.name}__rounded" for value in graph.input if value.name in floats}
    for name, result in names.items():
        rounded(name, result)
    for node in graph.node:
        for inner in with_inner(node):
            inner.input[:] = [names.get(name, name) for name in inner.input]
        nodes.append(node)
        for i, result in enumerate(node.output):
            if result in floats:
                node.output[i] = f"{result}__exact"
                rounded(node.output[i], result)
    _fill(graph.node, nodes)
    return model


def _leave_out(graph: Any, shaped: Any, kept: list[Any]) -> None:
    """Makes a graph of its own of all other nodes, with its shapes: what they take of these are inputs of it."""
    made = {name for node in kept for name in node.output}
    rest = [node for node in shaped.node if not made.intersection(node.output)]
    used = _inputs(rest)
    _fill(graph.node, rest)
    _fill(graph.value_info, [value for value in shaped.value_info if value.name not in made])
    graph.input.extend(value for value in shaped.value_info if value.name in used & made)
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in used:
            del graph.initializer[i]


def _put_back(graph: Any, kept: list[Any], constants: list[Any], inputs: list[Any]) -> None:
    names = {constant.name: f"{constant.name}__float32" for constant in constants}
    for constant in constants:
        constant.name = names[constant.name]
    for node in kept:
        node.input[:] = [names.get(name, name) for name in node.input]
    graph.initializer.extend(constants)
    graph.node.extend(kept)
    _fill(graph.input, inputs)
    # The casts at the edge have been put last.
    sort_nodes(graph)
    _fill(graph.value_info, [])


def _leading(graph: Any, layers: list[int]) -> list[Any]:
    """The nodes that some layers need, and those that need nothing else, until the next layer or the end."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output}
    outputs = {value.name for value in graph.output}
    found: set[int] = set()
    waiting = list(layers)
    while waiting:
        i = waiting.pop()
        if i not in found:
            found.add(i)
            waiting.extend(makers[name] for name in _inputs([graph.node[i]]) if name in makers)
    for i, node in enumerate(graph.node):
        needed = {makers[name] for name in _inputs([node]) if name in makers}
        if needed and needed <= found and node.op_type not in _LAYERS and not outputs.intersection(node.output):
            found.add(i)
    return [graph.node[i] for i in sorted(found)]


def _inputs(nodes: Iterable[Any]) -> set[str]:
    return {name for node in nodes for inner in with_inner(node) for name in inner.input}


def _bytes(constants: Iterable[Any]) -> int:
    return sum(len(constant.raw_data) for constant in constants)


def _fill(field: Any, values: list[Any]) -> None:
    del field[:]
    field.extend(values)


def quantise(
    source: Path, target: Path, batches: Iterable[Batch], activations: str, reduce_range: bool
) -> list[dict[str, Any]]:
    """Writes an ONNX file that computes in int8.

    Args:
        source: The file in float32.
        target: The file to write; others appear beside it.
        batches: Real inputs.
        activations: "uint8" or "int8".
        reduce_range: Whether weights use seven bits.

    Returns:
        The activations in which most is lost: tensor, operation and ratio of signal to noise in decibels.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quant_pre_process, quantize_static

    prepared, calibration = target.with_suffix(".prepared.onnx"), list(batches)
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    graph = onnx.load(prepared).graph
    constants = {initializer.name for initializer in graph.initializer}
    # What is left of a normalisation is an addition of a constant; in eight bits it would lose most of all.
    kept = [node.name for node in graph.node if node.op_type == "Add" and constants & set(node.input)]
    quantize_static(
        str(prepared),
        str(target),
        _reader(calibration),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(_INTEGER),
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QInt8 if activations == "int8" else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=kept,
        calibrate_method=CalibrationMethod.MinMax,
    )
    _restore(source, target)
    few = {name: x[:_LOOKED_AT] for name, x in calibration[0].items()}
    return _worst(prepared, target, few, {name: node.op_type for node in graph.node for name in node.output})


def _reader(batches: Iterable[Batch]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> Batch | None:
            return next(self.batches, None)

    return Reader()


def _restore(source: Path, target: Path) -> None:
    """Gives a file what the tools have changed or added beside the graph's nodes."""
    import onnx

    before, model = onnx.load(source, load_external_data=False), onnx.load(target)
    for field in ("producer_name", "producer_version", "ir_version", "doc_string"):
        setattr(model, field, getattr(before, field))
    model.graph.name = before.graph.name
    for field in ("metadata_props", "opset_import"):
        del getattr(model, field)[:]
        getattr(model, field).extend(getattr(before, field))
    used = {node.domain for node in model.graph.node} - {entry.domain for entry in before.opset_import}
    model.opset_import.extend(onnx.helper.make_opsetid(domain, 1) for domain in sorted(used))
    del model.graph.value_info[:]
    onnx.save(model, target)


def _worst(exact: Path, quantised: Path, batch: Batch, operations: dict[str, str]) -> list[dict[str, Any]]:
    from onnxruntime.quantization import qdq_loss_debug as debug

    activations = []
    for path in (exact, quantised):
        opened = path.with_suffix(".open.onnx")
        debug.modify_model_output_intermediate_tensors(path, opened)
        activations.append(debug.collect_activations(str(opened), _reader([batch])))
    matched = debug.create_activation_matching(activations[1], activations[0])
    errors = debug.compute_activation_error({name: pair for name, pair in matched.items() if "float" in pair})
    worst = sorted((float(np.round(error["xmodel_err"], 2)), name) for name, error in errors.items())[:_WORST]
    return [{"tensor": name, "operation": operations.get(name), "signal_to_noise_db": db} for db, name in worst]
