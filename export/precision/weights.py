"""Quantises the weights of dense layers in an ONNX file. Only the worker imports it, for onnxruntime's tools.

int8_dynamic: weights are int8, with a scale for each column. The inputs of a layer are quantised in each run, with one
scale for the whole batch, so an answer depends on the other examples in its batch.

int4: in each column, every 32 consecutive weights share a scale, which maps the one of largest magnitude to -8:

    s = w[argmax |w|] / -8,   q = clip(round(w / s), -8, 7),   w ~ s q

Layers compute in float32 with s q: the file becomes smaller, not faster.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..convert.graph import replace_entries
from ..errors import ExportError
from ..storage.onnx_files import save_model
from .int8 import restore_surroundings

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

_DENSE = ["MatMul", "Gemm"]
_BLOCK = 32


def quantise_dynamically(source: Path, target: Path, reduce_range: bool) -> None:
    """Writes an ONNX file whose dense layers compute in int8, with ranges measured in each run.

    Args:
        source: The file in fp32.
        target: The file to write.
        reduce_range: Whether weights use seven bits.

    Raises:
        ExportError: If there is no dense layer.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quant_pre_process, quantize_dynamic

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_dynamic(
        str(prepared),
        str(target),
        op_types_to_quantize=_DENSE,
        per_channel=True,
        reduce_range=reduce_range,
        weight_type=QuantType.QInt8,
    )
    if not any(node.op_type == "MatMulInteger" for node in onnx.load(target, load_external_data=False).graph.node):
        raise _no_dense_layer("int8_dynamic")
    restore_surroundings(source, target)


def _no_dense_layer(precision: str) -> ExportError:
    return ExportError(f"Expected a dense layer for precision={precision!r}. Received: a network without one")


def pack_int4(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds a matrix (inputs, outputs) to int4.

    Returns:
        Bytes of shape (outputs, blocks, 16), each with two numbers q + 8, the first in its lower half; and the scales,
        of shape (outputs, blocks).
    """
    inputs, outputs = weights.shape
    blocks = -(-inputs // _BLOCK)
    padded = np.zeros((blocks * _BLOCK, outputs), "float32")
    padded[:inputs] = weights
    parts = padded.T.reshape(outputs, blocks, _BLOCK)
    largest = np.take_along_axis(parts, np.abs(parts).argmax(axis=-1, keepdims=True), axis=-1)
    scales = np.where(largest == 0, np.float32(1), largest / np.float32(-8))
    rounded = (np.clip(np.rint(parts / scales), -8, 7) + 8).astype("uint8")
    return rounded[..., 0::2] | rounded[..., 1::2] << 4, scales[..., 0]


def quantise_to_int4(source: Path, target: Path) -> None:
    """Writes an ONNX file whose dense layers have weights in int4.

    Raises:
        ExportError: If there is no dense layer.
    """
    import onnx

    model = onnx.load(source)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes += _quantise_node(node, constants, model.graph) or [node]
    if not any(node.op_type == "MatMulNBits" for node in nodes):
        raise _no_dense_layer("int4")
    replace_entries(model.graph.node, nodes)
    used = {name for node in nodes for name in node.input}
    replace_entries(model.graph.initializer, [tensor for tensor in model.graph.initializer if tensor.name in used])
    save_model(model, target)
    restore_surroundings(source, target)


def _quantise_node(
    node: "NodeProto", constants: "dict[str, TensorProto]", graph: "GraphProto"
) -> "list[NodeProto] | None":
    """Returns the nodes that replace a dense layer, whose weights they append to the graph; None for other nodes."""
    from onnx import helper, numpy_helper

    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    plain = not options.get("transA") and options.get("alpha", 1.0) == options.get("beta", 1.0) == 1.0
    if node.op_type not in _DENSE or node.input[1] not in constants or not plain:
        return None
    weights = numpy_helper.to_array(constants[node.input[1]])
    if weights.ndim != 2 or weights.dtype != np.float32:
        return None
    weights = weights.T if options.get("transB") else weights
    result = node.output[0]
    names = [f"{result}__int4", f"{result}__scales"]
    for name, values in zip(names, pack_int4(weights), strict=True):
        graph.initializer.append(numpy_helper.from_array(values if name == names[0] else values.ravel(), name))
    has_bias = len(node.input) > 2
    product = f"{result}__product" if has_bias else result
    sizes = {"K": weights.shape[0], "N": weights.shape[1], "bits": 4, "block_size": _BLOCK}
    made = [
        helper.make_node(
            "MatMulNBits", [node.input[0], *names], [product], name=node.name, domain="com.microsoft", **sizes
        )
    ]
    return made + ([helper.make_node("Add", [product, node.input[2]], [result])] if has_bias else [])
