"""The networks by name: builder, paper, figures. Keras is imported when a network is built, not before."""

import fnmatch
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
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
    entry = entry_of(name)
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
    entry = entry_of(name)
    builder = _builder(entry)
    for argument in overrides:
        if argument not in _defaults(builder):
            raise unknown(f"an argument of {name}", argument, _defaults(builder))
    arguments = {**entry.arguments, **overrides}
    shape = entry.input_shape if input_shape is None else input_shape
    return builder(shape, classes=entry.classes if classes is None else classes, **arguments)


def entry_of(name: str) -> Entry:
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
