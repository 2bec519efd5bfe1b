"""Writing ONNX models, those that are too large for one message of protobuf included."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

# A message ends at 2 GB; the graph itself takes some of that.
LARGEST, DATA = 2**31 - 2**24, ".data"


def save_model(model: "ModelProto", path: Path) -> None:
    """Writes a model; what is too large for one message keeps its weights in a file beside it, NAME.data."""
    import onnx

    weights = sum(len(initializer.raw_data) for initializer in model.graph.initializer)
    if weights <= LARGEST:
        onnx.save(model, path)
    else:
        onnx.save_model(model, path, save_as_external_data=True, location=data_path(path).name, size_threshold=1024)


def data_path(path: Path) -> Path:
    """Where the weights of a file are that are not inside it."""
    return path.with_name(f"{path.name}{DATA}")


def replace_model(path: Path, narrower: Path) -> tuple[int, int]:
    """Puts one file in the place of another, which has the same name in another folder; with their weights.

    Returns:
        The bytes of what was there, and of what is.
    """
    before, after = (sum(f.stat().st_size for f in (p, data_path(p)) if f.exists()) for p in (path, narrower))
    data_path(path).unlink(missing_ok=True)
    for file in (narrower, data_path(narrower)):
        if file.exists():
            os.replace(file, path.with_name(file.name))
    return before, after
