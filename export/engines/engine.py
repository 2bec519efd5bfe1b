"""The interface of the engines that convert models."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from ..model.endpoint import Endpoint
from ..model.tracers import Tracer
from ..storage.arrays import Batch

if TYPE_CHECKING:
    from onnx import ModelProto

EngineName = Literal["tf2onnx", "jax2onnx", "torch"]


class Engine(Tracer, Protocol):
    """Converts endpoints.

    Attributes:
        name: Its name.
    """

    name: EngineName

    def convert(self, endpoint: Endpoint, opset: int) -> "ModelProto":
        """Converts an endpoint to an ONNX model with the same names of inputs and outputs.

        Raises:
            ExportError: If an operation cannot be converted.
        """

    def write_saved_model(self, endpoint: Endpoint, path: Path) -> None:
        """Writes an endpoint as a SavedModel, to a new folder."""

    def load_saved_model(self, path: Path) -> Callable[[Batch], Batch]:
        """Loads a SavedModel that this engine wrote, as a function from batch to batch."""

    def list_versions(self) -> dict[str, str]:
        """Returns the versions of the libraries that the engine uses, by name."""
