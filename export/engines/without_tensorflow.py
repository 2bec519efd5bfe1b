"""The common base of the engines without TensorFlow. They read input ranges from layers and write no SavedModel."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ExportError
from ..model.endpoint import Endpoint
from ..model.inputs import RawInput
from ..storage.arrays import Batch

if TYPE_CHECKING:
    import keras

# The attributes in which layers that look up integers keep the number of rows.
_ROWS = ("input_dim", "num_tokens")


class WithoutTensorFlow:
    """Finds integer ranges in the layers. It cannot find types, so a subclassed model of integers needs samples."""

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
