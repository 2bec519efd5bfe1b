"""Loads networks by name or from a file, and weights into networks."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._names import LIST_COMMAND, unknown
from ..networks.catalogue import FAMILIES, MODELS
from ..networks.registry import backbones_of, build, entry_of, in_present_order, libraries_of
from .catalogue import available, find, holders

if TYPE_CHECKING:
    import keras
    import numpy as np

    from .naming import Naming


NAMINGS = tuple(naming for family in FAMILIES for naming in family.namings_on(FAMILIES))
# Every network of the registry has fewer features before its head.
WIDEST = 4096


def load(
    name_or_path: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None, **arguments: Any
) -> "keras.Model":
    """Loads a network by its name, or a trained one from a file or a run.

    No code in a file is run. The formats of weights are

        .keras, .weights.h5         networks of the zoo and of keras.applications
        .h5                         the older form, in which keras.applications publishes its weights
        .safetensors, .pth, .pt     networks of torchvision, timm and other libraries for torch

    where .pth and .pt need torch: `pip install ".[torch]"` in a checkout of keras-skip. `describe(name).libraries`
    lists the libraries whose files fit a network. Siblings without a name in the registry load by their arguments, as
    in `load("resnext50_32x4d", weights="resnext101_64x4d.pth", depth=101, groups=64)`.

    Weights that ship with the package are named after their data, such as "cifar10", "mnist" and "digits".
    `describe(name).weights` lists those of a network, and `card(name, weights)` describes them, with the preprocessing
    that they expect. "imagenet" names the weights that keras.applications publishes for its own forms, such as
    "resnet50_keras", "resnet50_v2" and "densenet121". `weights_info(name, weights)` says how images become the input of
    a network with these weights, or with those in a file of torchvision or timm, and what its outputs are called.

    Args:
        name_or_path: One of `list_models()`, a `.keras` file, or a run or its folder. A `Path` is never a name.
        weights: For a name: the name of weights, a file, or a run or its folder. Default: new weights.
        **arguments: For a name: as in `build`, such as `input_shape`, `classes`, `features_only` and `depth`. `classes`
            defaults to that of the weights; with another number the network has a new head above the loaded weights. A
            `.keras` file, a run and the weights of the package also set `input_shape`.

    Returns:
        A `keras.Model` that is not compiled.

    Raises:
        ValueError: If there is no such network or file, if the file is broken, or if the weights do not fit. Then the
            message lists missing and unexpected arrays, and those of another shape.
        OSError: If a file cannot be read or downloaded.

    Example:

    >>> import zoo
    >>> zoo.load("highway_mlp").name
    'highway_mlp'
    """
    if isinstance(name_or_path, str) and name_or_path in MODELS:
        name = name_or_path
        return build(name, **arguments) if weights is None else _build_with_weights(name, weights, arguments)
    if isinstance(name_or_path, os.PathLike) and (weights is not None or arguments):
        raise ValueError(
            "Expected the name of a network, as text, to go with weights or arguments. "
            f"Received: name_or_path={name_or_path!r}"
        )
    if weights is not None or arguments:
        entry_of(str(name_or_path))
    from .archive import load_network

    return load_network(_network_file(name_or_path))


def check_loadable(name_or_path: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> None:
    """Raises the errors of `load` for names, files and runs that do not exist, without reading a file."""
    if weights is not None:
        entry_of(str(name_or_path))
    if not isinstance(name_or_path, str) or name_or_path not in MODELS:
        _network_file(name_or_path)
    elif weights is not None and find(name_or_path, weights) is None:
        from .readers import check_file

        check_file(weights_file(name_or_path, weights))


def load_weights(model: "keras.Model", weights: str | os.PathLike[str], head: bool = True) -> None:
    """Loads the weights in a file into a network; if they do not fit, the network stays as it is.

    Args:
        model: A network of the zoo, or one whose layers have the same names.
        weights: A file of any format that `load` takes, or the folder of a run.
        head: Whether to load the weights of the layer "head" too.

    Raises:
        ValueError: If there is no such file, if it is broken, or if the weights do not fit. Then the message lists
            missing and unexpected arrays, and those of another shape.
        OSError: If the file cannot be read.

    Example:

    >>> import tempfile
    >>> import zoo
    >>> trained, model = zoo.build("plain_mlp"), zoo.build("plain_mlp")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trained.save_weights(f"{folder}/mlp.weights.h5")
    ...     zoo.load_weights(model, f"{folder}/mlp.weights.h5")
    >>> bool((model.get_weights()[0] == trained.get_weights()[0]).all())
    True
    """
    from .assignment import assign
    from .naming import find_naming
    from .readers import read

    arrays = read(_resolve_run(Path(weights)))
    naming = find_naming(arrays, NAMINGS, [variable.path for variable in model.weights])
    assign(model, naming, arrays, str(weights), head)


def _build_with_weights(name: str, weights: str | os.PathLike[str], arguments: dict[str, Any]) -> "keras.Model":
    from .archive import read_input_shape
    from .assignment import assign
    from .checks import Bomb, broken_file_error, limit_variables
    from .readers import read

    entry, published = entry_of(name), find(name, weights)
    path = published.file() if published else weights_file(name, weights)
    arrays = read(path)
    naming = naming_of(name, arrays, arguments)
    is_own = naming in entry.family.namings_on(backbones_of({**entry.arguments, **arguments}))
    settings: dict[str, Any] = {**naming.arguments} if is_own else {}
    settings |= published.arguments if published else {}
    if "input_shape" in settings:
        settings["input_shape"] = in_present_order(settings["input_shape"])
    if path.suffix == ".keras" and (shape := read_input_shape(path)):
        settings["input_shape"] = shape
    theirs, wanted = naming.classes(arrays, entry.family.anchors), arguments.get("classes")
    settings |= {**arguments, "classes": theirs if wanted is None else wanted}
    # The file sets the size of the images, and so the number of weights of a perceptron.
    held, others = sum(array.nbytes for array in arrays.values()), 4 * entry.parameters
    try:
        with limit_variables(held, others + 4 * WIDEST * (wanted or 0)):
            model = build(name, **settings)
    except Bomb as error:
        raise broken_file_error(path, error) from None
    # A head for other classes is a new one.
    assign(model, naming, arrays, str(weights), head=wanted in (None, theirs))
    return model


def naming_of(name: str, arrays: "Mapping[str, np.ndarray]", arguments: Mapping[str, Any] | None = None) -> "Naming":
    """Finds the library whose names the arrays in a file have, for a network that is built with these arguments."""
    from .naming import find_naming

    entry = entry_of(name)
    backbones = backbones_of({**entry.arguments, **(arguments or {})})
    anchors = (*entry.family.anchors, *(anchor for family in backbones for anchor in family.anchors))
    return find_naming(arrays, (*entry.family.namings_on(backbones), *NAMINGS), anchors)


def _network_file(name_or_path: str | os.PathLike[str]) -> Path:
    """Finds the .keras file of a trained network."""
    path = _resolve_run(Path(name_or_path))
    if path.suffix != ".keras" or not path.is_file():
        if isinstance(name_or_path, os.PathLike):
            absent = "" if path.exists() else ", which does not exist"
            raise ValueError(f"Expected a .keras file or the folder of a run. Received: {str(path)!r}{absent}")
        raise unknown(
            "a network that is neither a .keras file nor the folder of a run", name_or_path, MODELS, LIST_COMMAND
        )
    return path


def weights_file(name: str, weights: str | os.PathLike[str]) -> Path:
    """Finds the file of weights that are given by path."""
    path = _resolve_run(Path(weights))
    if not path.suffix and not path.exists():
        raise _unknown_weights(name, weights)
    return path


def _resolve_run(path: Path) -> Path:
    """Returns the file of the network if the path is the folder of a run, else the path."""
    if not (path / "run.json").is_file():
        return path
    if not (path / "model.keras").is_file():
        raise ValueError(f"Expected a complete run. Received: {str(path)!r}, which has no model.keras")
    return path / "model.keras"


def _unknown_weights(name: str, weights: object) -> ValueError:
    from .readers import SUFFIXES

    named = " or ".join(map(repr, available(name))) or "there is none"
    hints = []
    if others := holders(weights):
        hints.append(f"it exists for {', '.join(others)}")
    if libraries := libraries_of(name):
        hints.append(f"{name} takes a file of {' or '.join(libraries)}")
    hint = "".join(f"; {text}" for text in hints)
    return ValueError(
        f"Expected weights of {name} by name ({named}), in a file that ends in {SUFFIXES}, or in the folder of a run. "
        f"Received: weights={str(weights)!r}{hint}"
    )
