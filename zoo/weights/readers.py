"""Reads files of weights as plain arrays, {name: array}. No code in a file is run, and no class instantiated.

    .weights.h5, .h5    Keras's, also the older form that keras.applications publishes
    .keras              the weights in it; its architecture is ignored
    .safetensors        a network of torchvision or timm, or any other names
    .pth, .pt           the same as torch writes it; read by torch, tensors only

The names are those of the file; which network they belong to is not known here.
"""

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import broken_file_error, read_member, refuse_bomb, refuse_zip_bomb

if TYPE_CHECKING:
    import torch

Arrays = dict[str, np.ndarray]


def read(path: Path) -> Arrays:
    """Reads the arrays in a file, under the names of the file.

    Raises:
        ValueError: If it is not a complete file of one of the formats.
        OSError: If it cannot be opened.
    """
    reader = check_file(path)
    try:
        return reader(path)
    except MissingReader:
        raise
    except Exception as error:  # whatever a broken file makes its library raise
        raise broken_file_error(path, error) from error


def check_file(path: Path) -> Callable[[Path], Arrays]:
    """Finds the reader of a file of weights; raises a ValueError if there is no reader or no file."""
    reader = next((READERS[suffix] for suffix in READERS if path.name.endswith(suffix)), None)
    if reader is None or path.is_dir():
        raise ValueError(f"Expected weights in a file that ends in {SUFFIXES}. Received: {str(path)!r}")
    if not path.exists():
        raise ValueError(f"Expected weights to be a file. Received: weights={str(path)!r}")
    with path.open("rb") as file:
        if not file.read(1):
            raise ValueError(f"Expected a file of weights. Received: {str(path)!r}, which is empty")
    return reader


class MissingReader(ValueError):
    """Only an extra can read this file, and it is not installed."""


def _read_safetensors(path: Path) -> Arrays:
    import ml_dtypes  # noqa: F401  bfloat16 in NumPy
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return _clean_names({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def _read_torch(path: Path) -> Arrays:
    try:
        import torch
    except ImportError:
        raise MissingReader(
            f'Reading {path.suffix} files needs torch: pip install ".[torch]" in a checkout of keras-skip. '
            f"The file is {str(path)!r}"
        ) from None
    import pickle
    import warnings

    refuse_zip_bomb(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice to those who wrote the file
        try:
            held = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError("a pickle that is broken or holds more than tensors; nothing of it was run") from error
    state = _state_dict(held)
    promised = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    refuse_bomb("it", promised, path.stat().st_size)
    return _clean_names({name: _array(tensor) for name, tensor in state.items()})


def _state_dict(held: Any) -> "dict[str, torch.Tensor]":
    """Finds the tensors by name in the wrappings that training scripts use."""
    import torch

    for key in ("state_dict", "model", "model_state_dict", "net"):
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
            break
    tensors = isinstance(held, Mapping) and held and all(isinstance(value, torch.Tensor) for value in held.values())
    if not tensors:
        raise ValueError("it holds no state dict, {name: tensor}, alone or under 'state_dict' or 'model'")
    return {str(name): tensor for name, tensor in held.items()}


def _array(tensor: "torch.Tensor") -> np.ndarray:
    import torch

    # NumPy itself has no bfloat16; float32 holds each of its values.
    return (tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()).numpy()


def _clean_names(arrays: Arrays) -> Arrays:
    """Removes the prefix of a wrapped module, and torch's counters of batches; joins normalised weights."""
    while arrays and (wrapped := WRAPPED.match(min(arrays))):
        prefix = wrapped[0]
        if not all(name.startswith(prefix) for name in arrays):
            break
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    arrays = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    return _join_normalized(arrays)


# What training scripts call the network that they wrap.
WRAPPED = re.compile(r"(module|_orig_mod|model|net|backbone|encoder)\.")
# By the names of the lengths g, those of the directions v; torch's weight_norm has had two forms.
NORMALIZED = (
    (r"\bparametrizations\.(\w+)\.original0$", r"parametrizations.\1.original1"),
    (r"\b(weight\w*)_g$", r"\1_v"),
)


def _join_normalized(arrays: Arrays) -> Arrays:
    """Replaces the two arrays g and v of a weight that torch's weight_norm normalises by the weight, g v / |v|."""
    joined = {**arrays}
    for length, direction in NORMALIZED:
        for name in arrays:
            other, weight = re.sub(length, direction, name), re.sub(length, r"\1", name)
            if weight != name and other in arrays and weight not in arrays:
                joined[weight] = _normalize(joined.pop(other), joined.pop(name))
    return joined


def _normalize(v: np.ndarray, g: np.ndarray) -> np.ndarray:
    """g v / |v|, the norm over the axes along which g has one element."""
    v, g = (array.astype(np.promote_types(array.dtype, np.float32)) for array in (v, g))
    axes = tuple(axis for axis in range(v.ndim) if g.ndim == 0 or g.shape[axis] == 1)
    with np.errstate(invalid="ignore", divide="ignore"):  # what is not finite is reported when it is assigned
        return v * (g / np.sqrt(np.sum(np.square(v), axes, keepdims=True)))


def _read_keras_archive(path: Path) -> Arrays:
    with zipfile.ZipFile(path) as archive:
        return _read_layers(io.BytesIO(read_member(archive, "model.weights.h5")), path)


def _read_keras_hdf5(path: Path) -> Arrays:
    return _read_layers(path, path)


def _read_layers(file: Path | io.BytesIO, path: Path) -> Arrays:
    import h5py

    from .hdf5 import read_layers

    with h5py.File(file, "r") as root:
        return read_layers(root, path.stat().st_size)


READERS: dict[str, Callable[[Path], Arrays]] = {
    ".keras": _read_keras_archive,
    ".h5": _read_keras_hdf5,
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
}
SUFFIXES = ".keras, .weights.h5, .h5, .safetensors, .pth or .pt"
