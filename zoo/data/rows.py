"""Arrays of examples that may be on disk: some rows of them, and a few at a time."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .streaming.photos import Photos

_CHUNK = 2**24  # numbers that are processed at once


class ReadWhenIndexed(ABC):
    """What is like an array, but is only read when it is indexed.

    Indexing the first axis gives an array in memory, and so does `numpy.asarray`.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]: ...

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, index: Any) -> np.ndarray: ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def split_index(index: Any) -> tuple[Any, list[Any]]:
    """Splits an index into that of the first axis and those of the others."""
    first, *rest = index if isinstance(index, tuple) else (index,)
    return (slice(None), [..., *rest]) if first is ... else (first, rest)


class Rows(ReadWhenIndexed):
    """Some rows of an array on disk."""

    def __init__(self, whole: np.ndarray, indices: np.ndarray) -> None:
        self.whole, self.indices = whole, indices
        self.dtype, self.ndim = whole.dtype, whole.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.indices), *self.whole.shape[1:])

    def __getitem__(self, index: Any) -> np.ndarray:
        first, rest = split_index(index)
        return self.whole[(self.indices[first], *rest)]

    def select(self, indices: np.ndarray) -> np.ndarray:
        """Selects some of these rows, which stay on disk."""
        return select_rows(self.whole, self.indices[indices])


def select_rows(examples: "np.ndarray | Rows | Photos", indices: np.ndarray) -> np.ndarray:
    """Selects examples: as a view if they are adjacent, as `Rows` or `Photos` if they are on disk, else as a copy."""
    if hasattr(examples, "select"):
        return examples.select(indices)  # type: ignore[return-value]
    # Rows is an array in all that a data set needs.
    if not isinstance(examples, np.ndarray):
        return Rows(examples, indices)
    if len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        return examples[indices[0] : indices[0] + len(indices)]
    return Rows(examples, indices) if isinstance(examples, np.memmap) else examples[indices]  # type: ignore[return-value]


def first_rows(examples: "np.ndarray | Rows | Photos", count: int | None) -> np.ndarray:
    """Selects the first examples, or all of them, as `select_rows` does."""
    if count is None:
        return examples  # type: ignore[return-value]
    return select_rows(examples, np.arange(min(count, len(examples))))


def chunks(examples: "np.ndarray | Rows | Photos") -> Iterator[np.ndarray]:
    """Yields the examples a few at a time."""
    step = max(1, _CHUNK // math.prod(examples.shape[1:]))
    return (examples[start : start + step] for start in range(0, len(examples), step))
