"""Loads whole networks from `.keras` files, and only instantiates classes of Keras, of keras_skip, and those that this
process has registered itself.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checks import broken_file_error, limit_variables, read_member, refuse_bomb

if TYPE_CHECKING:
    import keras

TRUSTED = {"keras", "keras_skip"}


def load_network(path: Path) -> "keras.Model":
    """Loads the network in a `.keras` file, not compiled.

    Raises:
        ValueError: If the file is broken, or names code of other packages; such code is never run.
        OSError: If it cannot be opened.
    """
    import keras
    from keras.src.saving.serialization_lib import SafeModeScope

    import keras_skip  # noqa: F401  registers the layers that the file names

    _refuse_foreign_classes(path, read_config(path))
    try:
        # `enable_unsafe_deserialization` would override the argument `safe_mode`, but not the scope.
        with SafeModeScope(True), limit_variables(_declared_weights(path)):
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a broken file makes Keras raise
        raise broken_file_error(path, error) from error


def read_config(path: Path) -> Any:
    """Reads the architecture in a `.keras` file, as plain data."""
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                read_member(archive, "model.weights.h5")
                return json.loads(read_member(archive, "config.json"))
        except Exception as error:  # whatever a broken file makes zipfile and json raise
            raise broken_file_error(path, error) from error


def _declared_weights(path: Path) -> int:
    """Counts the bytes of the weights in a `.keras` file; raises a ValueError if it declares far more than it has."""
    import h5py

    from .hdf5 import declared_bytes

    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(read_member(archive, "model.weights.h5")), "r") as root:
        held = declared_bytes(root)
    refuse_bomb("it", held, path.stat().st_size)
    return held


def read_input_shape(path: Path) -> tuple[int | None, ...] | None:
    """Reads the shape of the images that the network in a `.keras` file takes, in Keras's current order."""
    import keras

    nodes = [node for node in _nodes(read_config(path)) if isinstance(node.get("config"), dict)]
    shapes = [node["config"].get("batch_shape") for node in nodes if node["class_name"] == "InputLayer"]
    if not shapes or not isinstance(shapes[0], list):
        return None
    shape = tuple(shapes[0][1:])
    formats = [node["config"].get("data_format") for node in nodes]
    saved = next((found for found in formats if found is not None), None)
    now = keras.config.image_data_format()
    if saved is None or saved == now or len(shape) != 3:
        return shape
    return (shape[-1], *shape[:-1]) if now == "channels_first" else (*shape[1:], shape[0])


def _refuse_foreign_classes(path: Path, held: object) -> None:
    import keras

    for node in _nodes(held):
        name, module = node.get("class_name"), node.get("module") or "builtins"
        package = str(node.get("registered_name") or "").rpartition(">")[0]
        if name in ("Lambda", "__lambda__"):
            raise ValueError(
                f"Expected a network without code in its file. Received: {str(path)!r}, which holds a Lambda"
            )
        if package and keras.saving.get_registered_object(node["registered_name"]) is not None:
            continue
        root = str(module).partition(".")[0]
        # For a class that is neither Keras's nor registered, Keras writes a name but no module.
        alone = node.get("module") is None and bool(node.get("registered_name")) and not package
        if alone or root not in TRUSTED | {"builtins"} or (package and package not in TRUSTED):
            raise ValueError(
                "Expected a network that uses only classes of keras and keras_skip; if it has classes of your own, use "
                "keras.saving.load_model. "
                f"Received: {str(path)!r}, which names {f'{module}.{name}' if node.get('module') else name}"
            )


def _nodes(held: object) -> Iterator[dict[str, Any]]:
    """Yields every serialised object in a config."""
    if isinstance(held, dict):
        if "class_name" in held:
            yield held
        held = list(held.values())
    if isinstance(held, list):
        for value in held:
            yield from _nodes(value)
