"""The networks by name: builder, paper, figures. Keras is imported when a network is built, not before."""

import fnmatch
import inspect
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._names import unknown
from .catalogue import MODELS, Entry

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Description:
    """What `describe` says of a network.

    Attributes:
        name: Its name in the registry.
        summary: What it is.
        paper: Where it was published; empty for a network of our own.
        paper_error: What the paper reports.
        depth: Layers of weights from the pixels to the logits.
        input_shape, classes: For which the parameters were counted.
        parameters: Trainable parameters, counted in the built network.
        non_trainable: The others, such as moving statistics.
        arguments: What `build` accepts beside `input_shape` and `classes`, with the defaults.
    """

    name: str
    summary: str
    paper: str
    paper_error: str
    depth: int
    input_shape: tuple[int, ...]
    classes: int
    parameters: int
    non_trainable: int
    arguments: dict[str, Any] = field(default_factory=dict)


def list_models(pattern: str | None = None) -> list[str]:
    """The names of all networks, or of those that match a shell pattern.

    Args:
        pattern: Such as "*mlp". Default: all.

    Returns:
        Sorted names; an empty list if none matches.

    Example:

    >>> import zoo
    >>> zoo.list_models("wrn_16_*")
    ['wrn_16_2', 'wrn_16_4', 'wrn_16_8']
    """
    return sorted(name for name in MODELS if pattern is None or fnmatch.fnmatchcase(name, pattern))


def describe(name: str) -> Description:
    """What a network is, with its parameters counted in the built network.

    Args:
        name: One of `list_models()`.

    Returns:
        A `Description`.

    Raises:
        ValueError: If there is no such network.

    Example:

    >>> import zoo
    >>> zoo.describe("resnet20").parameters
    269722
    """
    entry = _entry(name)
    model = build(name)
    return Description(
        name=entry.name,
        summary=entry.summary,
        paper=entry.paper,
        paper_error=entry.paper_error,
        depth=entry.arguments["depth"],
        input_shape=entry.input_shape,
        classes=entry.classes,
        parameters=count(model.trainable_variables),
        non_trainable=count(model.non_trainable_variables),
        arguments={**_defaults(_builder(entry)), **entry.arguments},
    )


def build(name: str, input_shape: Any = None, classes: int | None = None, **overrides: Any) -> "keras.Model":
    """A new network from preprocessed float images to logits.

    Args:
        name: One of `list_models()`.
        input_shape: (height, width, channels). Default: the registry's.
        classes: Number of logits. Default: the registry's.
        **overrides: The builder's own arguments, such as `depth`; `describe(name).arguments` has them all.

    Returns:
        A `keras.Model` that is not compiled.

    Raises:
        ValueError: For an unknown name or argument, or one out of range.

    Example:

    >>> import zoo
    >>> zoo.build("resnet20", input_shape=(8, 8, 1)).output_shape
    (None, 10)
    """
    entry = _entry(name)
    builder = _builder(entry)
    for argument in overrides:
        if argument not in _defaults(builder):
            raise unknown(f"an argument of {name}", argument, _defaults(builder))
    arguments = {**entry.arguments, **overrides}
    shape = entry.input_shape if input_shape is None else input_shape
    return builder(shape, classes=entry.classes if classes is None else classes, **arguments)


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
        _entry(str(name_or_path))
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


def _entry(name: str) -> Entry:
    if name not in MODELS:
        raise unknown("network", name, MODELS)
    return MODELS[name]


def _builder(entry: Entry) -> Callable[..., "keras.Model"]:
    module, function = entry.builder.split(":")
    return getattr(import_module(f".networks.{module}", __package__), function)


def _defaults(builder: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(builder).parameters
    return {name: p.default for name, p in parameters.items() if name not in ("input_shape", "classes")}


def count(variables: Any) -> int:
    return sum(math.prod(variable.shape) for variable in variables)
