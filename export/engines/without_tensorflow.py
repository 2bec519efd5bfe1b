"""The common base of the engines without TensorFlow. They read input ranges from layers and write no SavedModel."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..convert.conversion import refuse_state
from ..convert.dimensions import name_dimensions
from ..convert.versions import ir_version
from ..errors import ExportError, error_line
from ..model.endpoint import Endpoint
from ..model.inputs import RawInput
from ..storage.arrays import Batch

if TYPE_CHECKING:
    import keras
    from onnx import ModelProto

# The attributes in which layers that look up integers keep the number of rows.
_ROWS = ("input_dim", "num_tokens")


class WithoutTensorFlow:
    """Finds integer ranges in the layers. It cannot find types, so a subclassed model of integers needs samples.

    Attributes:
        converter: The name of the converter in error messages.
    """

    converter: str

    def convert(self, endpoint: Endpoint, opset: int) -> "ModelProto":
        import keras

        scope = keras.StatelessScope()

        def call(*tensors: Any) -> tuple[Any, ...]:
            with scope:
                return tuple(endpoint(*tensors).values())

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = self._convert(call, endpoint, opset)
        except Exception as error:  # The converter and the model's own code may raise anything.
            raise ExportError(
                f"Expected a model that {self.converter} converts to ONNX opset {opset}. "
                f"Received: {endpoint.model.name}, for which it raised {error_line(error)}"
            ) from error
        refuse_state(endpoint.model, scope)
        model.graph.name, model.ir_version = endpoint.model.name, ir_version(opset)
        return name_dimensions(model, endpoint)

    def _convert(self, call: Callable[..., tuple[Any, ...]], endpoint: Endpoint, opset: int) -> "ModelProto":
        """Converts a function from the tensors of the inputs to those of the outputs."""
        raise NotImplementedError

    def infer_dtypes(self, model: "keras.Model", structure: Any) -> Any:
        return structure

    def find_ranges(self, endpoint: Endpoint) -> tuple[RawInput, ...]:
        """Returns the inputs, with integers below the size of the model's smallest table."""
        found = [getattr(layer, name, None) for layer in endpoint.model._flatten_layers() for name in _ROWS]
        rows = min((size for size in found if isinstance(size, int)), default=None)
        return tuple(
            replace(raw, bounds=(0, rows - 1), is_index=True) if rows and np.dtype(raw.dtype).kind in "iu" else raw
            for raw in endpoint.inputs
        )

    def write_saved_model(self, endpoint: Endpoint, path: Path) -> None:
        raise ExportError("Expected TensorFlow, which a SavedModel needs. Received: another engine")

    def load_saved_model(self, path: Path) -> Callable[[Batch], Batch]:
        raise ExportError("Expected TensorFlow, which a SavedModel needs. Received: another engine")
