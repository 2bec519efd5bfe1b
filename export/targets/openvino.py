"""OpenVINO's IR, for Intel's processors: model.xml and its weights beside it, made from the ONNX file.

The runtime itself reads the ONNX file: `openvino.convert_model` would send telemetry to Intel.
"""

from pathlib import Path

import numpy as np

from ..storage.arrays import Batch
from .target import Compute, Library, make_target

LIBRARY = Library("openvino", "OpenVINO", "onnx", "openvino", "openvino")
# By default OpenVINO computes in bfloat16 where the processor has it.
_EXACT = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}


def convert(source: Path, path: Path) -> None:
    """Writes the IR of an ONNX file with its weights in float32."""
    import openvino

    openvino.save_model(openvino.Core().read_model(source), path, compress_to_fp16=False)


def open_model(path: Path) -> Compute:
    """Compiles a model for the CPU, in float32."""
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", _EXACT)

    def run(batch: Batch) -> Batch:
        given = compiled(batch)
        return {y.get_any_name(): np.array(given[y]) for y in compiled.outputs}

    return run


TARGET = make_target(LIBRARY, "openvino/model.xml", convert, open_model)
