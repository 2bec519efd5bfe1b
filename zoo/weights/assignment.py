"""Assigns arrays to all variables of a network, or to none with an error that lists the differences."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .hdf5 import likely_names
from .naming import Naming

if TYPE_CHECKING:
    import keras

LISTED = 10
HEAD = ("head/kernel", "head/bias", "head/embeddings")
# Layers that may lie between the last map of a network and its head.
TOPS = ("last_norm", "hidden_conv")


def assign(
    model: "keras.Model", naming: Naming, arrays: Mapping[str, np.ndarray], source: str, head: bool = True
) -> None:
    """Assigns every variable of a network its array.

    Args:
        model: The network.
        naming: Maps its variables to the names of the arrays.
        arrays: The arrays of the file.
        source: Names the file in errors.
        head: Whether to assign the layer "head" too. A network of maps leaves its arrays unused, and those of `TOPS`.

    Raises:
        ValueError: If an array is missing, unexpected, of another shape or not of finite floats. Then no variable
            has changed.
    """
    theirs = _with_right_names(naming.read(arrays), naming, model)
    ours = {naming.theirs(variable.path): variable for variable in model.weights if head or variable.path not in HEAD}
    unused = {naming.theirs(path) for path in _without(model)} - ours.keys()
    common = [name for name in ours if name in theirs]
    theirs |= {name: naming.ours(theirs[name], tuple(ours[name].shape)) for name in common}
    _refuse(
        model,
        source,
        {
            "missing": [name for name in ours if name not in theirs],
            "unexpected": [name for name in theirs if name not in ours and name not in unused],
            "of another shape": [
                f"{name} {theirs[name].shape} instead of {tuple(ours[name].shape)}"
                for name in common
                if theirs[name].shape != tuple(ours[name].shape)
            ],
            "not of floats": [
                f"{name} ({theirs[name].dtype})"
                for name in common
                if not (_is_float(theirs[name]) or _are_integers(theirs[name], ours[name]))
            ],
        },
    )
    values = {name: _cast(theirs[name], variable) for name, variable in ours.items()}
    _refuse(model, source, {"with NaN or infinity": [name for name in values if not np.isfinite(values[name]).all()]})
    for name, variable in ours.items():
        variable.assign(values[name])
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):  # as Keras calls the update of what a layer derives from its variables
            layer.finalize_state()


def _without(model: "keras.Model") -> tuple[str, ...]:
    """What a network may have that this one has not: its head, and without a head what comes before it."""
    if any(variable.path in HEAD for variable in model.weights):
        return HEAD
    return (*HEAD, *(f"{layer}/{name}" for layer in TOPS for name in ("kernel", "bias", "gamma", "beta")))


def _with_right_names(arrays: dict[str, np.ndarray], naming: Naming, model: "keras.Model") -> dict[str, np.ndarray]:
    """The arrays of Keras's files, which number a layer's variables, under the names that the model's layers have."""
    if naming.transposed:  # torch's files number nothing: there "weight" and "bias" mean what they say
        return arrays
    owners: dict[str, list[str]] = {}
    for variable in model.weights:
        owner, _, name = variable.path.rpartition("/")
        owners.setdefault(owner, []).append(name)
    right = {}
    for owner, names in owners.items():
        for likely, name in zip(likely_names(len(names)), names, strict=True):
            right[naming.theirs(f"{owner}/{likely}")] = naming.theirs(f"{owner}/{name}")
    held = {right[name] for name in arrays if right.get(name) == name}
    return {name if right.get(name, name) in held else right.get(name, name): array for name, array in arrays.items()}


def _refuse(model: "keras.Model", source: str, problems: Mapping[str, list[str]]) -> None:
    found = "; ".join(f"{kind}: {_shorten(names)}" for kind, names in problems.items() if names)
    if found:
        raise ValueError(f"Expected weights of {model.name}. Received: {source!r}, {found}")


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _is_float(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"


def _are_integers(array: np.ndarray, variable: "keras.Variable") -> bool:
    return np.issubdtype(array.dtype, np.integer) and np.issubdtype(np.dtype(variable.dtype), np.integer)


def _cast(array: np.ndarray, variable: "keras.Variable") -> np.ndarray:
    with np.errstate(over="ignore"):  # an overflow is infinite, and is reported as infinite
        return array.astype(np.dtype(variable.dtype))
