"""Reads data in memory: arrays, and data sets of Keras, TensorFlow and torch, as Keras fits on them.

    {"x_train": ..., "y_train": ..., ...}     as in an .npz
    (x, y)
    keras.utils.PyDataset                     each batch once, in order
    tf.data.Dataset                           batched; once through
    torch.utils.data.DataLoader               once through; images (channels, height, width) get their channels last

Rows of zeros with a single 1 are the classes that they encode. Data sets are read into memory, and may
fill half of it.
"""

import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .arrays import from_arrays
from .options import Options
from .source import Source

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    import torch

Data: TypeAlias = (
    "Mapping[str, Any] | tuple[Any, Any] | keras.utils.PyDataset | tf.data.Dataset | torch.utils.data.DataLoader[Any]"
)
# The name of such a source, which cannot be loaded by it.
NAME = "arrays"
_KINDS = "a dictionary with x_train and y_train, a pair (x, y), a PyDataset, a tf.data.Dataset or a DataLoader"


def from_memory(data: Data, options: Options) -> Source:
    """Makes a source of data in memory.

    Raises:
        ValueError: If the data are of another kind, do not end, need too much memory, or are not pairs of arrays.
    """
    if isinstance(data, Mapping):
        arrays = {name: np.asarray(array) for name, array in data.items()}
    elif isinstance(data, (tuple, list)):
        if len(data) != 2:
            raise ValueError(f"Expected inputs and targets, (x, y). Received: {len(data)} of them")
        arrays = dict(zip(("x_train", "y_train"), map(np.asarray, data), strict=True))
    else:
        arrays = _join(_batches(data))
    return from_arrays(NAME, {name: _as_classes(name, array) for name, array in arrays.items()}, options)


def name_of(data: Any) -> str:
    """What a recipe calls data: their name or path; `NAME` for data in memory."""
    return str(data) if isinstance(data, (str, os.PathLike)) else NAME


def is_unnamed(name: str) -> bool:
    """Whether the name in a record is that of data in memory, which nothing can load again."""
    return name == NAME


def _batches(data: Any) -> Iterator[Any]:
    """The batches of a data set, as long as it says that it ends."""
    keras, tf, torch = (sys.modules.get(name) for name in ("keras", "tensorflow", "torch.utils.data"))
    if keras and isinstance(data, keras.utils.PyDataset):
        count = data.num_batches
        if count is None or not math.isfinite(count):
            raise _endless(data)
        return (data[index] for index in range(count))
    if tf and isinstance(data, tf.data.Dataset):
        if data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise _endless(data)
        return data.as_numpy_iterator()
    if torch and isinstance(data, torch.DataLoader):
        return (_from_torch(batch) for batch in data)
    raise ValueError(
        f"Expected data as a name, a path, a zoo.Source, {_KINDS}. Received: {type(data).__module__}."
        f"{type(data).__qualname__}"
    )


def _endless(data: Any) -> ValueError:
    return ValueError(f"Expected a data set that ends. Received: a {type(data).__name__} without an end")


def _from_torch(batch: Any) -> Any:
    """A batch of tensors as arrays, with the channels of images last."""
    if not isinstance(batch, (tuple, list)) or not all(hasattr(part, "detach") for part in batch):
        return batch
    inputs, *others = (part.detach().cpu().numpy() for part in batch)
    if inputs.ndim == 4 and inputs.shape[1] in (1, 3) and inputs.shape[-1] not in (1, 3):
        inputs = np.moveaxis(inputs, 1, -1)
    return inputs, *others


def _join(batches: Iterable[Any]) -> dict[str, np.ndarray]:
    """Puts the batches together."""
    found: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    read, most = 0, _memory() // 2
    for batch in batches:
        parts = batch if isinstance(batch, (tuple, list)) else (batch,)
        if len(parts) != 2 or not all(hasattr(part, "__array__") and np.ndim(part) for part in parts):
            shown = ", ".join(str(getattr(part, "shape", type(part).__name__)) for part in parts)
            raise ValueError(f"Expected batches of inputs and targets, two arrays. Received: {len(parts)}: {shown}")
        for part, kept in zip(parts, found, strict=True):
            kept.append(np.asarray(part))
        read += sum(kept[-1].nbytes for kept in found)
        if read > most:
            raise ValueError(
                f"Expected data that fit into half of the memory, {most / 1e9:.1f} GB. Received: a data set that does "
                "not, or does not end; give the path of its files"
            )
    if not read:
        raise ValueError("Expected a data set with batches. Received: none")
    return {name: np.concatenate(kept) for name, kept in zip(("x_train", "y_train"), found, strict=True)}


def _memory() -> int:
    """The bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return 2**34


def _as_classes(name: str, array: np.ndarray) -> np.ndarray:
    """Classes of one-hot targets; other arrays as they are."""
    if not name.startswith("y_") or array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "fiu":
        return array
    one_hot = np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all()
    return array.argmax(axis=1) if one_hot else array
