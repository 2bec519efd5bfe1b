"""Networks by name or from a file, and the weights they take."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._names import unknown
from .catalogue import MODELS
from .registry import build, entry_of

if TYPE_CHECKING:
    import keras


def load(name_or_path: str | Path, weights: str | Path | None = None, **arguments: Any) -> "keras.Model":
    """A network by its name, or a trained one from a file or a run.

    Args:
        name_or_path: One of `list_models()`, a `.keras` file, or the folder of a run.
        weights: For a name: the `.keras` or `.weights.h5` file, or the run, whose weights it takes. Default: new ones.
        **arguments: For a name: as in `build`. With weights from a `.keras` file or a run, `input_shape` and `classes`
            default to those of that network.

    Returns:
        A `keras.Model` that is not compiled.

    Raises:
        ValueError: If there is no such network or file, or if the weights do not fit; then the message says which.

    Example:

    >>> import zoo
    >>> zoo.load("highway_mlp").name
    'highway_mlp'
    """
    if str(name_or_path) in MODELS:
        name = str(name_or_path)
        return build(name, **arguments) if weights is None else _with_weights(name, weights, arguments)
    if weights is not None or arguments:
        entry_of(str(name_or_path))
    return _saved(name_or_path)


def _with_weights(name: str, weights: str | Path, arguments: dict[str, Any]) -> "keras.Model":
    if str(weights).endswith(".weights.h5"):
        model = build(name, **arguments)
        if not Path(weights).is_file():
            raise ValueError(f"Expected weights to be a file. Received: weights={str(weights)!r}")
        try:
            with warnings.catch_warnings():
                # Keras warns of layers that it did not find, and leaves them as they are.
                warnings.simplefilter("error", UserWarning)
                model.load_weights(weights)
        except (ValueError, UserWarning) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"Expected weights of {name}. Received: {str(weights)!r}: {reason}") from error
        return model
    saved = _saved(weights)
    model = build(name, **({"input_shape": saved.input_shape[1:], "classes": saved.output_shape[-1]} | arguments))
    ours = {variable.path: variable for variable in model.weights}
    theirs = {variable.path: variable for variable in saved.weights}
    problems = {
        "missing": [path for path in ours if path not in theirs],
        "unexpected": [path for path in theirs if path not in ours],
        "of another shape": [path for path in ours if path in theirs and ours[path].shape != theirs[path].shape],
    }
    if any(problems.values()):
        found = "; ".join(f"{kind}: {', '.join(paths)}" for kind, paths in problems.items() if paths)
        raise ValueError(f"Expected weights of {name}. Received: {str(weights)!r}, {found}")
    for path, variable in ours.items():
        variable.assign(theirs[path])
    return model


def _saved(path: str | Path) -> "keras.Model":
    file = Path(path) / "model.keras" if (Path(path) / "run.json").is_file() else Path(path)
    if file.suffix != ".keras" or not file.is_file():
        if Path(path) != file:
            raise ValueError(f"Expected a run that was completed. Received: {str(path)!r}, which has no model.keras")
        raise unknown("a network, a .keras file or the folder of a run; networks", str(path), MODELS)
    import keras

    import keras_skip  # noqa: F401  registers the layers that the file names

    return keras.saving.load_model(file, compile=False)
