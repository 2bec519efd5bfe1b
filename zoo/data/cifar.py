"""Reads CIFAR-10 and CIFAR-100 from the pickles of their authors, without running code in them."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .source import Preprocessing, Source

_TEN = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
_HUNDRED = ("train", "test", "meta")
PICKLES = frozenset((*_TEN, *_HUNDRED))
_DAMAGED = (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError, IndexError)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads only pickles of plain data and NumPy arrays."""

    def find_class(self, module: str, name: str) -> object:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return str.encode
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _reconstruct(kind: type, shape: tuple[int, ...], typecode: bytes) -> np.ndarray:
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"it holds a {kind!r}")
    return np.ndarray.__new__(np.ndarray, shape, typecode.decode())


def from_cifar_files(path: Path, files: Mapping[str, bytes]) -> Source | None:
    """Makes a source of these files, by name; returns None if they are not those of CIFAR.

    Raises:
        ValueError: If a file is damaged or holds something else.
    """
    for wanted, read in ((_TEN, _cifar10_arrays), (_HUNDRED, _cifar100_arrays)):
        if set(wanted) <= set(files):
            try:
                return _source(
                    path,
                    *read({name: _ArrayUnpickler(io.BytesIO(files[name]), encoding="bytes").load() for name in wanted}),
                )
            except _DAMAGED as error:
                raise ValueError(
                    f"Expected the files of CIFAR in {str(path)!r}. Received: a file that cannot be read: {error}"
                ) from None
    return None


def _cifar10_arrays(found: dict[str, Any]) -> tuple[Any, ...]:
    train = [found[name] for name in _TEN[:5]]
    images = np.concatenate([batch[b"data"] for batch in train])
    labels = np.concatenate([batch[b"labels"] for batch in train])
    test = found["test_batch"]
    return images, labels, test[b"data"], test[b"labels"], found["batches.meta"][b"label_names"]


def _cifar100_arrays(found: dict[str, Any]) -> tuple[Any, ...]:
    parts = [found[part][key] for part in ("train", "test") for key in (b"data", b"fine_labels")]
    return (*parts, found["meta"][b"fine_label_names"])


def _source(path: Path, train: Any, train_targets: Any, test: Any, test_targets: Any, names: list[bytes]) -> Source:
    train, test = (
        np.ascontiguousarray(images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)) for images in (train, test)
    )
    return Source(
        name=str(path),
        train_inputs=train,
        train_targets=np.asarray(train_targets, "int64"),
        test_inputs=test,
        test_targets=np.asarray(test_targets, "int64"),
        class_names=tuple(name.decode() for name in names),
        preprocessing=Preprocessing.fitted(train, scale=1 / 255),
    )
