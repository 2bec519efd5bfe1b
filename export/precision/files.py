"""Replaces an ONNX file with one of another precision."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..storage.onnx_files import replace_model


@contextmanager
def open_beside(model: Path) -> Iterator[Path]:
    """Gives a path of the same name on the same disk, whose file is deleted unless it is moved."""
    with tempfile.TemporaryDirectory(prefix=".keras-skip-", dir=model.parent) as folder:
        yield Path(folder) / model.name


def replace_file(model: Path, target: Path, precision: str) -> dict[str, int]:
    """Replaces a file in fp32 with one of another precision, and returns the bytes of both by precision."""
    before, after = replace_model(model, target)
    return {"fp32": before, precision: after}
