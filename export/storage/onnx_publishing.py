"""Publishes an ONNX file together with the file of its weights, if those are too large for it.

Two files cannot take their names in one step. So the weights come first, under a name that nothing has, and the ONNX
file that names them follows in one step: a program that opens it, at any moment, finds the weights that belong to it.
Only then are the old weights removed.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import VerificationError
from .onnx_files import DATA, data_path
from .publishing import publish
from .safety import check_onnx_file


@contextmanager
def publish_onnx(path: str | Path, overwrite: bool) -> Iterator[Path]:
    """Gives a path to build an ONNX file at; when the block ends without an exception, it and its weights are there.

    The weights are called NAME.data. Where something else has that name, they get a longer one.

    Args:
        path: The target. If it is a link, the target is what it points to.
        overwrite: Whether a file already there may be replaced, with the weights that it names.

    Yields:
        A path that does not exist yet, on the target's file system and with its name.

    Raises:
        FileExistsError: If the target exists and may not be replaced.
    """
    target = Path(os.path.realpath(path))
    weights, model, before = None, None, set()
    try:
        with publish(target, overwrite, Path.is_file) as building:
            yield building
            before = _weights_of(target)
            # Not asked by its name: if that is too long, it cannot be there.
            if data_path(building).name in os.listdir(building.parent):
                weights = _place(data_path(building), target)
                model = _with_weights(building, weights)
    except BaseException:
        if weights is not None:
            weights.unlink(missing_ok=True)
        raise
    _remove(before, target)
    if weights is not None and weights != data_path(target):
        _shorten(weights, model, target)


def _place(built: Path, target: Path) -> Path:
    """Moves weights beside the target, under the first name that is free."""
    with built.open("rb+") as file:
        os.fsync(file.fileno())
    for name in (data_path(target), target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}{DATA}")):
        with suppress(FileExistsError):
            _take_name(built, name)
            return name
    raise FileExistsError(f"Expected a free name for weights. Received: {name}")


def _take_name(file: Path, name: Path) -> None:
    """Moves a file; FileExistsError if something has the name."""
    try:
        os.link(file, name)
    except FileExistsError:
        raise
    except OSError:
        # Without hard links, no step does both.
        if os.path.lexists(name):
            raise FileExistsError(name) from None
        file.rename(name)
    else:
        file.unlink()


def _shorten(weights: Path, model: Any, target: Path) -> None:
    """Gives weights the name NAME.data if those that they replaced have left it."""
    if data_path(target).exists():
        # Something else has it.
        return
    with publish_onnx(target, overwrite=True) as building:
        # A hard link would cost nothing, but onnx reads no weights that have two names.
        shutil.copyfile(weights, data_path(building))
        _write(model, building, data_path(building))


def _weights_of(path: Path) -> set[Path]:
    """The files of weights that an ONNX file names and that are called after it; others may belong to more than it."""
    with suppress(VerificationError, OSError):
        return {file for file in check_onnx_file(path) if file.name.startswith(f"{path.name}.")}
    return set()


def _remove(weights: set[Path], target: Path) -> None:
    for file in weights - _weights_of(target):
        file.unlink(missing_ok=True)


def _with_weights(path: Path, weights: Path) -> Any:
    """The model in a file, without its weights; the file names where these are."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    if weights.name != data_path(path).name:
        _write(model, path, weights)
    return model


def _write(model: Any, path: Path, weights: Path) -> None:
    import onnx

    _name_weights(model.graph, weights.name)
    onnx.save(model, path)


def _name_weights(graph: Any, name: str) -> None:
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _name_weights(inner, name)
