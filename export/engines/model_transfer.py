"""Sends a model to a process on another backend: its config and weights, and the classes and functions they need.

Classes and functions of importable modules are sent by name, and the other process imports the modules. Those of
notebooks and scripts, and those defined inside functions, are sent as code (with cloudpickle).
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ..errors import ExportError, error_line

if TYPE_CHECKING:
    import keras

MODEL = "model.keras"
# Keras's messages repeat the whole config before this text, and give the cause of the error after it.
_CAUSE = "Exception encountered: "
_LAMBDA = "<lambda>"


def pack_model(model: "keras.Model", path: Path) -> bytes:
    """Writes a model to a file.

    Args:
        model: The model.
        path: The file, which ends in .keras.

    Returns:
        The pickled classes and functions that the file needs.

    Raises:
        ExportError: If Keras cannot save the model, or its code cannot be pickled.
    """
    with _name_lambdas(model):
        _save(model, path)
        return _pickle_objects(model)


def _save(model: "keras.Model", path: Path) -> None:
    try:
        with warnings.catch_warnings():
            # Keras warns of lambdas in files from others; this file is read only by our own process.
            warnings.simplefilter("ignore")
            model.save(path)
    except Exception as error:  # The model's own code may raise anything.
        raise ExportError(
            "Expected a model that Keras can save, since a process on TensorFlow has to rebuild it. "
            f"Received: {model.name}, which raised {error_line(error)}"
        ) from error


def _pickle_objects(model: "keras.Model") -> bytes:
    import cloudpickle

    objects = dict(_find_objects(model))
    for name, thing in objects.items():
        try:
            cloudpickle.dumps(thing)
        except Exception as error:  # Whatever the code refers to may refuse to be pickled.
            raise ExportError(
                "Expected layers and functions that another process can get, such as those of importable modules. "
                f"Received: {name} ({error_line(error)})"
            ) from error
    return bytes(cloudpickle.dumps(objects))


def unpack_model(path: Path, objects: bytes) -> "keras.Model":
    """Reads a model that `pack_model` wrote, on the backend of this process.

    Raises:
        ExportError: If the model cannot be rebuilt on this backend.
    """
    import cloudpickle
    import keras

    try:
        # The file comes from this user's own process, and so does any code in it.
        return keras.saving.load_model(path, cloudpickle.loads(objects), compile=False, safe_mode=False)
    except Exception as error:  # The model's own code may raise anything.
        raise ExportError(
            f"Expected a model that can be rebuilt from its config on {keras.config.backend()}, which converts it. "
            f"Received: one that raised {error_line(error).rpartition(_CAUSE)[2]}"
        ) from error


def _find_objects(model: "keras.Model") -> Iterator[tuple[str, Any]]:
    """Yields every class and function that is not Keras's own, with the name under which Keras looks it up."""
    import keras

    yield from keras.saving.get_custom_objects().items()
    for value in _find_values(model):
        thing = value if isinstance(value, FunctionType) else type(value)
        if not _is_keras(thing) and (thing is value or hasattr(thing, "get_config")):
            yield keras.saving.get_registered_name(thing), thing


def _find_values(model: "keras.Model") -> Iterator[Any]:
    """Yields the layers and operations of a model, and what their attributes hold."""
    for part in (model, *model._flatten_layers(), *getattr(model, "operations", ())):
        yield part
        # Keras wraps methods such as build for each layer, and the wrapper holds the layer.
        held = vars(part).items()
        yield from (value for name, value in held if not isinstance(getattr(type(part), name, None), FunctionType))


@contextmanager
def _name_lambdas(model: "keras.Model") -> Iterator[None]:
    """Names each lambda in the block; Keras writes one without a name as code that lacks its globals."""
    functions = [value for value in _find_values(model) if isinstance(value, FunctionType) and not _is_keras(value)]
    found = dict.fromkeys(function for function in functions if function.__name__ == _LAMBDA)
    try:
        for number, function in enumerate(found):
            function.__name__ = f"lambda_{number}"
        yield
    finally:
        for function in found:
            function.__name__ = _LAMBDA


def _is_keras(thing: Any) -> bool:
    return (thing.__module__ or "").split(".")[0] in ("keras", "builtins")
