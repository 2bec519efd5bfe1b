"""Quantises an ONNX file to int8 with onnxruntime's tools. Only the worker imports it: they log and change sys.path.

The quantisation is static: real inputs measure the ranges of all activations, and the file holds scales as pairs of
QuantizeLinear and DequantizeLinear, which onnxruntime fuses into operations on integers. A convolution has a scale for
each output channel.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..convert.graph import replace_entries
from ..model.inputs import split_batch
from ..storage.arrays import Batch

if TYPE_CHECKING:
    from onnxruntime.quantization import CalibrationDataReader

# These operations compute in integers. Preprocessing, softmax, gates and remaining normalisation stay in float32.
_INTEGER = (
    *("Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat"),
    *("Pad", "Slice", "Reshape", "Transpose", "Squeeze", "Unsqueeze"),
)
# Few examples run at once, since the tools keep most activations in memory; ranges do not depend on it.
_WORST, _AT_ONCE = 5, 4


def quantise_to_int8(
    source: Path, target: Path, batches: Iterable[Batch], activations: Literal["uint8", "int8"], reduce_range: bool
) -> list[dict[str, Any]]:
    """Writes an ONNX file that computes in int8.

    Args:
        source: The file in float32.
        target: The file to write; temporary files appear beside it.
        batches: Real inputs.
        activations: "uint8" or "int8".
        reduce_range: Whether weights use seven bits.

    Returns:
        The activations with the largest errors: tensor, operation and ratio of signal to noise in decibels.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quant_pre_process, quantize_static

    prepared = target.with_suffix(".prepared.onnx")
    calibration = [few for batch in batches for few in split_batch(batch, _AT_ONCE)]
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    graph = onnx.load(prepared).graph
    constants = {initializer.name for initializer in graph.initializer}
    # A normalisation leaves the addition of a constant, which would have the largest error in eight bits.
    kept = [node.name for node in graph.node if node.op_type == "Add" and constants & set(node.input)]
    quantize_static(
        str(prepared),
        str(target),
        _make_reader(calibration),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(_INTEGER),
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QInt8 if activations == "int8" else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=kept,
        calibrate_method=CalibrationMethod.MinMax,
    )
    restore_surroundings(source, target)
    return _find_worst(
        prepared, target, calibration[0], {name: node.op_type for node in graph.node for name in node.output}
    )


def _make_reader(batches: Iterable[Batch]) -> "CalibrationDataReader":
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> Batch | None:
            return next(self.batches, None)

    return Reader()


def restore_surroundings(source: Path, target: Path) -> None:
    """Restores the parts of a file beside its nodes that the tools have changed."""
    import onnx

    before, model = onnx.load(source, load_external_data=False), onnx.load(target)
    for field in ("producer_name", "producer_version", "ir_version", "doc_string"):
        setattr(model, field, getattr(before, field))
    model.graph.name = before.graph.name
    for field in ("metadata_props", "opset_import"):
        replace_entries(getattr(model, field), getattr(before, field))
    used = {node.domain for node in model.graph.node} - {entry.domain for entry in before.opset_import}
    model.opset_import.extend(onnx.helper.make_opsetid(domain, 1) for domain in sorted(used))
    del model.graph.value_info[:]
    onnx.save(model, target)


def _find_worst(exact: Path, quantised: Path, batch: Batch, operations: dict[str, str]) -> list[dict[str, Any]]:
    from onnxruntime.quantization import qdq_loss_debug as debug

    activations = []
    for path in (exact, quantised):
        opened = path.with_suffix(".open.onnx")
        debug.modify_model_output_intermediate_tensors(path, opened)
        activations.append(debug.collect_activations(str(opened), _make_reader([batch])))
    matched = debug.create_activation_matching(activations[1], activations[0])
    errors = debug.compute_activation_error({name: pair for name, pair in matched.items() if "float" in pair})
    worst = sorted((float(np.round(error["xmodel_err"], 2)), name) for name, error in errors.items())[:_WORST]
    return [{"tensor": name, "operation": operations.get(name), "signal_to_noise_db": db} for db, name in worst]
