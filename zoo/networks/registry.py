"""The networks by name: builder, paper, figures. Keras is imported when a network is built, not before."""

import fnmatch
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._names import LIST_COMMAND, nearest, unknown
from ..training.recipes import RECIPES, recipes_of
from ..weights.catalogue import available
from ._common import channels_first
from .catalogue import MODELS
from .family import TASKS, Entry, Family

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Description:
    """A network's paper, size, recipes and weights, as `describe` returns them.

    Attributes:
        name: Its name in the registry.
        summary: What it is.
        task: What it is for; see `list_models`.
        paper: Where it was published; empty for a network of our own.
        paper_error: What the paper reports.
        depth: Layers of weights from the pixels to the logits; in the networks called stacks, blocks. None where a
            network has no such argument.
        input_shape, classes: Those of the paper; the figures below are counted with them.
        parameters: Trainable parameters.
        non_trainable: The others, such as moving statistics.
        multiply_adds: Of one input, as `multiply_adds` counts them.
        recipes: The names of the recipes that train it.
        measured: The results of these recipes, by their names, where they have been measured.
        weights: The names of published weights, for `load`.
        libraries: Other libraries whose weight files `load` reads into this network.
        arguments: The arguments of `build` besides `input_shape`, `classes` and `features_only`, with their defaults.
    """

    name: str
    summary: str
    task: str
    paper: str
    paper_error: str
    depth: int | None
    input_shape: tuple[int, ...]
    classes: int
    parameters: int
    non_trainable: int
    multiply_adds: int
    recipes: tuple[str, ...] = ()
    measured: dict[str, str] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)


def list_models(pattern: str | None = None, task: str | None = None) -> list[str]:
    """Lists the names of all networks, or of those that are searched for.

    Args:
        pattern: A shell pattern such as "*mlp"; or words that a name contains, where case and punctuation do not count.
            If no name contains them, networks whose task or description does are found ("video"), or else names with a
            similar spelling. Default: all.
        task: What the networks are for: "classification" (of images), "segmentation", "volumes" (and video),
            "sequences" or "tables". Default: all.

    Returns:
        Sorted names; an empty list if none matches.

    Raises:
        ValueError: If there is no such task.

    Example:

    >>> import zoo
    >>> zoo.list_models("wrn_16_*")
    ['wrn_16_2', 'wrn_16_4', 'wrn_16_8']
    >>> zoo.list_models("Highway MNIST carry")
    ['highway_mnist_16_carry', 'highway_mnist_32_carry']
    """
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)
    families = {name: entry.family for name, entry in MODELS.items() if task in (None, entry.family.task)}
    return sorted(search({name: f"{family.task} {family.summary}" for name, family in families.items()}, pattern))


def search(described: Mapping[str, str], pattern: str | None) -> list[str]:
    """The names among those described that match a pattern, as `list_models` explains it."""
    names = list(described)
    if pattern is None:
        return names
    if any(sign in pattern for sign in "*?["):
        return fnmatch.filter(names, pattern)
    words = [_plain(word) for word in pattern.split()]
    for texts in (dict(zip(names, names, strict=True)), described):
        if found := [name for name in names if words and all(word in _plain(texts[name]) for word in words)]:
            return found
    return nearest(pattern, names)


def _plain(text: str) -> str:
    """The letters and digits of a text, in lower case."""
    return "".join(filter(str.isalnum, text.lower()))


def describe(name: str) -> Description:
    """Describes a network without building it: its paper, its size, its recipes and its weights.

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
    recipes = recipes_of(name)
    return Description(
        name=entry.name,
        summary=entry.family.summary,
        task=entry.family.task,
        paper=entry.family.paper,
        paper_error=entry.paper_error,
        depth=entry.arguments.get("depth"),
        input_shape=entry.family.input_shape,
        classes=entry.family.classes,
        parameters=entry.parameters,
        non_trainable=entry.non_trainable,
        multiply_adds=entry.multiply_adds,
        recipes=tuple(recipe.name for recipe in recipes),
        measured={recipe.name: recipe.result for recipe in recipes if recipe.result},
        weights=available(name),
        libraries=libraries_of(name),
        arguments={**_defaults(entry), **entry.arguments},
    )


def explain_arguments(name: str) -> dict[str, str]:
    """What each argument of a network's builder is, as its docstring says."""
    described = (entry_of(name).family.builder.__doc__ or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
    entries = (entry.strip().partition(":") for entry in re.split(r"\n(?= {4}\w)", described))
    return {argument: " ".join(text.split()) for argument, _, text in entries}


def libraries_of(name: str) -> tuple[str, ...]:
    """The libraries whose weight files fit a network."""
    entry = entry_of(name)
    namings = entry.family.namings_on(backbones_of(entry.arguments))
    return tuple(dict.fromkeys(naming.library for naming in namings))


def backbones_of(arguments: Mapping[str, Any]) -> tuple[Family, ...]:
    """The family of the backbone that the arguments of a network name; empty if they name none."""
    backbone = arguments.get("backbone")
    return () if backbone is None else (entry_of(backbone).family,)


def build(
    name: str,
    input_shape: Sequence[int | None] | None = None,
    classes: int | None = None,
    features_only: bool = False,
    **overrides: Any,
) -> "keras.Model":
    """Builds a new network from its preprocessed input to logits, or to the feature maps that a decoder takes.

    With `features_only` the output is a dictionary of one map for each size, from the largest to the smallest: "C1" to
    "C5" in the networks for ImageNet, "C0" to "C2" in those for small images. Cl has the stride 2 ** l and is what the
    next stage sees, so inside pre-activation and densely connected networks it is not yet normalised; the last one is
    what the head sees. The variables have the same names as in the whole network; only those of the head are missing.

    Args:
        name: One of `list_models()`.
        input_shape: Of one input: (height, width, channels) of an image, (depth, height, width, channels) of a volume,
            (frames, height, width, channels) of a video, (steps, channels) of a sequence, (steps,) of a text,
            (features,) of a row in a table. Default: the registry's.
        classes: Number of logits, for each pixel in segmentation; 1 for a regression. Default: the registry's. A
            network without a head has none.
        features_only: Whether to leave out the head. The perceptrons have no maps.
        **overrides: The network's own arguments. Most have `depth`, `weight_decay` and `recompute`.
            `describe(name).arguments` lists those of one network, with their defaults, and `keras-skip describe NAME`
            explains them.

    Returns:
        A `keras.Model` that is not compiled.

    Raises:
        ValueError: For an unknown name or argument, or one out of range.

    Example:

    >>> import zoo
    >>> zoo.build("resnet20", input_shape=(8, 8, 1)).output_shape
    (None, 10)

    A decoder on the maps, as in a feature pyramid network:

    >>> import keras
    >>> backbone = zoo.build("resnet18", input_shape=(64, 64, 3), features_only=True)
    >>> backbone.output["C2"].shape, backbone.output["C5"].shape
    ((None, 16, 16, 64), (None, 2, 2, 512))
    >>> x = keras.layers.Conv2D(32, 1)(backbone.output["C5"])
    >>> for level in ("C4", "C3", "C2"):
    ...     x = keras.layers.UpSampling2D()(x) + keras.layers.Conv2D(32, 1)(backbone.output[level])
    >>> keras.Model(backbone.input, keras.layers.Conv2D(21, 1)(x)).output_shape
    (None, 16, 16, 21)
    """
    entry = entry_of(name)
    family, builder = entry.family, entry.family.builder
    check_arguments(name, overrides)
    arguments = {**entry.arguments, **overrides}
    if features_only:
        if "features_only" not in inspect.signature(builder).parameters:
            raise ValueError(f"Expected a network with feature maps for features_only=True. Received: {name!r}")
        arguments["features_only"] = True
    if "backbone" in arguments:
        arguments["build_backbone"] = _build_backbone
    shape = in_present_order(family.input_shape) if input_shape is None else input_shape
    try:
        return builder(shape, classes=family.classes if classes is None else classes, **arguments)
    except (TypeError, ValueError) as error:
        # What remains is a value that Keras does not expect; a subclass of these is about something else.
        if type(error) not in (TypeError, ValueError) or str(error).startswith("Expected "):
            raise
        given = ", ".join(f"{argument}={value!r}" for argument, value in overrides.items())
        reason = str(error).splitlines()[0]
        raise ValueError(f"Expected arguments that {name} can be built with. Received: {given}: {reason}") from error


def _build_backbone(
    name: str, input_shape: Sequence[int | None], wanted: Mapping[str, Any], given: Mapping[str, Any]
) -> "tuple[keras.Model, set[str]]":
    """Builds the maps of a network, with those of the wanted arguments that it has; also returns which these are."""
    known = _defaults(entry_of(name))
    used = {argument: value for argument, value in wanted.items() if argument in known}
    return build(name, input_shape, features_only=True, **{**used, **given}), set(used)


def check_arguments(name: str, arguments: Iterable[str]) -> None:
    """Raises a ValueError for an argument that a network does not have, which names the nearest ones."""
    known = _defaults(entry_of(name))
    for argument in arguments:
        if argument not in known:
            raise unknown(f"an argument of {name}", argument, known)


def entry_of(name: str) -> Entry:
    """The entry of a network; a ValueError for a wrong name suggests the nearest."""
    if name not in MODELS:
        hint = f"{name} is a recipe; its network is {RECIPES[name].network}." if name in RECIPES else ""
        raise unknown("network", name, MODELS, LIST_COMMAND, hint)
    return MODELS[name]


def _defaults(entry: Entry) -> dict[str, Any]:
    """The arguments of a builder with their defaults, but for those of `build` itself."""
    parameters = inspect.signature(entry.family.builder).parameters
    common = ("input_shape", "classes", "features_only", "build_backbone")
    return {name: p.default for name, p in parameters.items() if name not in common}


def in_present_order(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape whose channels are last, in the order of `keras.config.image_data_format()`."""
    *sides, channels = shape
    return (channels, *sides) if channels_first() else (*sides, channels)
