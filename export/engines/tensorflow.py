"""Converts a model on TensorFlow with tf2onnx, in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..convert.conversion import convert_endpoint
from ..convert.saved_model import load_saved_model, write_saved_model
from ..model.endpoint import Endpoint
from ..model.tracers import TensorFlowTracer
from ..storage.arrays import Batch
from .engine import EngineName

if TYPE_CHECKING:
    from onnx import ModelProto


class OnTensorFlow(TensorFlowTracer):
    """Converts with tf2onnx in this process."""

    name: EngineName = "tf2onnx"

    def convert(self, endpoint: Endpoint, opset: int) -> "ModelProto":
        return convert_endpoint(endpoint, opset)

    def write_saved_model(self, endpoint: Endpoint, path: Path) -> None:
        write_saved_model(endpoint, path)

    def load_saved_model(self, path: Path) -> Callable[[Batch], Batch]:
        return load_saved_model(path)

    def list_versions(self) -> dict[str, str]:
        import tensorflow as tf
        import tf2onnx

        return {"tensorflow": tf.__version__, "tf2onnx": tf2onnx.__version__}
