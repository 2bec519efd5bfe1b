"""Sends a model to a process on another backend: config, weights, and the classes and functions that they name.

A class or function of an importable module travels by its name, and the other process imports the module. One of a
notebook, a script or a function travels as its code.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ..errors import ExportError, error_line

if TYPE_CHECKING:
    import keras

MODEL = "model.keras"
# What comes before the cause of an error in Keras's messages, which repeat the whole config.
_CAUSE = "Exception encountered: "


def pack_model(model: "keras.Model", path: Path) -> bytes:
    """Writes a model to a file.

    Returns:
        The pickled classes and functions that the file names.

    Raises:
        ExportError: If the model cannot be written, or refers to something that has to stay here.
    """
    import cloudpickle

    try:
        with warnings.catch_warnings():
            # Keras warns of lambdas, which are for the same user here.
            warnings.simplefilter("ignore")
            model.save(path)
    except Exception as error:  # The model's own code may raise anything.
        raise ExportError(
            "Expected a model with a config, which goes to a process on TensorFlow with the weights. "
            f"Received: {model.name}, which raised {error_line(error)}"
        ) from error
    objects = dict(_find_objects(model))
    for name, thing in objects.items():
        try:
            cloudpickle.dumps(thing)
        except Exception as error:  # Whatever the code refers to may refuse to be pickled.
            raise ExportError(
                "Expected layers and functions that can go to another process, as those of importable modules can. "
                f"Received: {name} ({error_line(error)})"
            ) from error
    return bytes(cloudpickle.dumps(objects))


def unpack_model(path: Path, objects: bytes) -> "keras.Model":
    """Reads a model that `pack_model` wrote, on the backend of this process.

    Raises:
        ExportError: If the model cannot be built here.
    """
    import cloudpickle
    import keras

    try:
        # The file comes from this user's own process, and so does any code in it.
        return keras.saving.load_model(path, cloudpickle.loads(objects), compile=False, safe_mode=False)
    except Exception as error:  # The model's own code may raise anything.
        raise ExportError(
            f"Expected a model that can be built again from its config on {keras.config.backend()}, where it is "
            f"converted. Received: one that raised {error_line(error).rpartition(_CAUSE)[2]}"
        ) from error


def _find_objects(model: "keras.Model") -> Iterator[tuple[str, Any]]:
    """Yields every class and function that is not Keras's own, by the name that Keras looks for."""
    import keras

    yield from keras.saving.get_custom_objects().items()
    for part in (model, *model._flatten_layers(), *getattr(model, "operations", ())):
        for value in (part, *vars(part).values()):
            thing = value if isinstance(value, FunctionType) else type(value)
            named = thing is not value or value.__name__ != "<lambda>"
            if named and not _is_keras(thing) and (thing is value or hasattr(thing, "get_config")):
                yield keras.saving.get_registered_name(thing), thing


def _is_keras(thing: Any) -> bool:
    return (thing.__module__ or "").split(".")[0] in ("keras", "builtins")
