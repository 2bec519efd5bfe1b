"""Writes ONNX models, including those that are too large for one message of protobuf."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

# A message has at most 2 GB, and the graph itself takes some of that.
LARGEST, DATA = 2**31 - 2**24, ".data"


def save_model(model: "ModelProto", path: Path) -> None:
    """Writes a model; one that is too large for a message has its weights in a file beside it, NAME.data."""
    import onnx

    weights = sum(len(initializer.raw_data) for initializer in model.graph.initializer)
    if weights <= LARGEST:
        onnx.save(model, path)
    else:
        onnx.save_model(model, path, save_as_external_data=True, location=data_path(path).name, size_threshold=1024)


def data_path(path: Path) -> Path:
    """Returns the path of the weights that are not inside of an ONNX file."""
    return path.with_name(f"{path.name}{DATA}")


def replace_model(path: Path, narrower: Path) -> tuple[int, int]:
    """Replaces an ONNX file and its weights with one of the same name from another folder.

    Returns:
        The bytes before and after.
    """
    before, after = (sum(f.stat().st_size for f in (p, data_path(p)) if f.exists()) for p in (path, narrower))
    data_path(path).unlink(missing_ok=True)
    for file in (narrower, data_path(narrower)):
        if file.exists():
            os.replace(file, path.with_name(file.name))
    return before, after
