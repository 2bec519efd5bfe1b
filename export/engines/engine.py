"""The seam between an export and what converts the model."""

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
        """Converts an endpoint to an ONNX model, whose inputs and outputs have the names of the endpoint's.

        Raises:
            ExportError: If an operation cannot be converted.
        """

    def write_saved_model(self, endpoint: Endpoint, path: Path) -> None:
        """Writes an endpoint as a SavedModel, to a new folder."""

    def load_saved_model(self, path: Path) -> Callable[[Batch], Batch]:
        """Loads a SavedModel that was written here, as a function from batch to batch."""

    def list_versions(self) -> dict[str, str]:
        """Returns the versions of the libraries that convert."""
