"""OpenVINO's IR, for Intel's processors: model.xml and its weights beside it, made from the ONNX file.

The runtime itself reads the ONNX file, since `openvino.convert_model` sends telemetry to Intel. So does
`import openvino`, which therefore has to do without the package that sends it.
"""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from ..storage.arrays import Batch
from .target import Compute, Library, make_target

LIBRARY = Library("openvino", "OpenVINO", "onnx", "openvino", "openvino")
# By default OpenVINO computes in bfloat16 where the processor has it.
_EXACT = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}


def import_without_telemetry() -> ModuleType:
    """Imports OpenVINO as if openvino_telemetry were not installed, which forks this process to send its report."""
    reporter = "openvino_telemetry"
    before = {reporter: sys.modules[reporter]} if reporter in sys.modules else {}
    sys.modules[reporter] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        del sys.modules[reporter]
        sys.modules.update(before)
    return openvino


def convert(source: Path, path: Path) -> None:
    """Writes the IR of an ONNX file with its weights in float32."""
    openvino = import_without_telemetry()
    openvino.save_model(openvino.Core().read_model(source), path, compress_to_fp16=False)


def open_model(path: Path) -> Compute:
    """Compiles a model for the CPU, in float32."""
    core = import_without_telemetry().Core()
    compiled = core.compile_model(core.read_model(path), "CPU", _EXACT)

    def run(batch: Batch) -> Batch:
        given = compiled(batch)
        return {y.get_any_name(): np.array(given[y]) for y in compiled.outputs}

    return run


TARGET = make_target(LIBRARY, "openvino/model.xml", convert, open_model)
