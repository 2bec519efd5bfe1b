"""The functions that `tensorflow_process.py` calls in the other process, which keeps the last model and SavedModel."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.endpoint import Endpoint
from ..model.inputs import RawInput
from ..storage.arrays import Batch
from ..storage.onnx_files import save_model
from .model_transfer import unpack_model
from .tensorflow import OnTensorFlow

if TYPE_CHECKING:
    import keras

_ENGINE = OnTensorFlow()


def infer_dtypes(model: Path, objects: bytes, structure: Any, specs: list[tuple[tuple[int | None, ...], str]]) -> list:
    """Returns the types to which a model casts its inputs, in the order of the flattened structure."""
    import keras

    leaves = [keras.KerasTensor(shape, dtype) for shape, dtype in specs]
    typed = _ENGINE.infer_dtypes(_open_model(model, objects), keras.tree.pack_sequence_as(structure, leaves))
    return [leaf.dtype for leaf in keras.tree.flatten(typed)]


def find_ranges(model: Path, objects: bytes, endpoint: bytes) -> tuple[RawInput, ...]:
    """Returns the inputs with the ranges that the graph shows."""
    return _ENGINE.find_ranges(_attach(model, objects, endpoint))


def convert(model: Path, objects: bytes, endpoint: bytes, opset: int, path: Path) -> None:
    """Converts an endpoint and writes the ONNX model to a file."""
    save_model(_ENGINE.convert(_attach(model, objects, endpoint), opset), path)


def write_saved_model(model: Path, objects: bytes, endpoint: bytes, path: Path) -> None:
    """Writes a SavedModel."""
    _ENGINE.write_saved_model(_attach(model, objects, endpoint), path)


def run_saved_model(path: Path, batch: Batch) -> Batch:
    """Runs a SavedModel on a batch."""
    return _open_saved_model(path)(batch)


def list_versions() -> dict[str, str]:
    """Returns the versions of the libraries that convert."""
    return _ENGINE.list_versions()


def _attach(model: Path, objects: bytes, endpoint: bytes) -> Endpoint:
    return replace(pickle.loads(endpoint), model=_open_model(model, objects))


@lru_cache(maxsize=1)
def _open_model(path: Path, objects: bytes) -> "keras.Model":
    return unpack_model(path, objects)


@lru_cache(maxsize=1)
def _open_saved_model(path: Path) -> Callable[[Batch], Batch]:
    return _ENGINE.load_saved_model(path)
