"""Describes the inputs of a graph, checks batches of them, draws random batches, and splits real ones."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import numpy as np

from ..preprocessing import Preprocessing
from ..storage.arrays import Batch

Shape = tuple[int | None, ...]

# NumPy's name of the type of texts, which are of any length.
TEXT = "str"


@dataclass(frozen=True)
class RawInput:
    """One input of the exported graph.

    Attributes:
        name: Its name.
        shape: Its shape; dynamic sizes are None, as that of the batch always is.
        dtype: Its type.
        preprocessing: The preprocessing of its values, if there is any.
        bounds: The smallest and the largest integer to draw, if they are known or were found by trying.
        is_index: Whether integers are looked up in a table, which gave the bounds.
        normal: The mean and standard deviation with which to draw floats, if they are known; both fit the input.
        sizes: The shapes of one or two examples that the model takes, if dimensions are dynamic.
    """

    name: str
    shape: Shape
    dtype: str
    preprocessing: Preprocessing | None = None
    bounds: tuple[int, int] | None = None
    is_index: bool = False
    normal: tuple[np.ndarray, np.ndarray] | None = field(default=None, compare=False)
    sizes: tuple[tuple[int, ...], ...] = ()

    def example(self, which: int = 0) -> tuple[int, ...]:
        """Returns the shape of an example; -1 gives a larger one."""
        return self.sizes[which] if self.sizes else tuple(size for size in self.shape[1:] if size is not None)

    @property
    def tensor_dtype(self) -> str:
        """TensorFlow's name of the type."""
        return "string" if self.dtype == TEXT else self.dtype

    @classmethod
    def from_manifest(cls, declared: Mapping[str, Any], preprocessing: Mapping[str, Any] | None) -> "RawInput":
        """Reads an input of artifact.json."""
        raw = None if preprocessing is None else Preprocessing.from_dict(preprocessing)
        return cls(declared["name"], tuple(declared["shape"]), declared["dtype"], raw)


def count_examples(batch: Batch) -> int:
    """Counts the examples of a batch."""
    return len(next(iter(batch.values())))


def split_batch(batch: Batch, size: int) -> list[Batch]:
    """Splits a batch into parts of a size; the last may be smaller."""
    return [{name: x[i : i + size] for name, x in batch.items()} for i in range(0, count_examples(batch), size)]


def draw_inputs(
    inputs: Sequence[RawInput], batch_sizes: Sequence[int], seed: int, like: Batch | None = None
) -> dict[str, Batch]:
    """Draws raw inputs: floats that are standard normal for the network, and integers within the size of its tables.

    Other integers are drawn from the range of real inputs. Without those, bytes are drawn from all 256 values.

    Args:
        inputs: The inputs of the graph.
        batch_sizes: The sizes of the batches.
        seed: The seed of the generator.
        like: Real inputs, which give integers their range.

    Returns:
        Batches by name.

    Raises:
        ValueError: If the range of integers wider than a byte is unknown.
    """
    generator = np.random.default_rng(seed)
    known = like or {}

    def draw(size: int, which: int = 0) -> Batch:
        return {raw.name: _draw(generator, (size, *raw.example(which)), raw, known.get(raw.name)) for raw in inputs}

    batches = {f"random, batch {size}": draw(size) for size in batch_sizes}
    larger = [raw.example(-1) for raw in inputs]
    if larger != [raw.example() for raw in inputs]:
        batches[f"random, batch 2, size {', '.join(map(str, larger))}"] = draw(2, -1)
    return batches


def split_samples(samples: Batch | None, batch_sizes: Sequence[int]) -> dict[str, Batch]:
    """Splits samples into consecutive batches, whose sizes take turns until no sample is left."""
    batches: dict[str, Batch] = {}
    if samples is None:
        return batches
    start, sizes = 0, cycle(batch_sizes)
    while start < count_examples(samples):
        size = next(sizes)
        batch = {name: x[start : start + size] for name, x in samples.items()}
        batches[f"real {start} to {start + count_examples(batch) - 1}, batch {count_examples(batch)}"] = batch
        start += count_examples(batch)
    return batches


def make_zeros(inputs: Sequence[RawInput]) -> Batch:
    """Makes a batch of zeros, which are valid for every kind of input."""
    return {raw.name: np.zeros((2, *raw.example()), raw.dtype) for raw in inputs}


def set_recorded_sizes(inputs: Sequence[RawInput], batches: Iterable[Batch]) -> tuple[RawInput, ...]:
    """Gives inputs the sizes that batches of them have: the first size, and one that differs."""
    shapes = [{name: x.shape[1:] for name, x in batch.items()} for batch in batches]
    return set_sizes(inputs, shapes[0], next((other for other in shapes if other != shapes[0]), shapes[0]))


def fit_types(batch: Batch, inputs: Sequence[RawInput]) -> Batch:
    """Converts integers and floats of another width, such as those of lists, unless that changes or overflows one."""
    wanted = {raw.name: np.dtype(raw.dtype) for raw in inputs}
    return {name: fit_type(x, wanted.get(name, x.dtype)) for name, x in batch.items()}


def fit_type(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Converts one array; see `fit_types`."""
    if dtype.kind == "U" and x.dtype.kind == "O" and all(isinstance(text, str) for text in x.flat):
        return x.astype(dtype)
    if x.dtype == dtype or not {x.dtype.kind, dtype.kind} <= {"i", "u"} and not x.dtype.kind == dtype.kind == "f":
        return x
    with np.errstate(over="ignore"):
        narrow = x.astype(dtype)
    kept = np.array_equal(np.isfinite(narrow), np.isfinite(x)) if dtype.kind == "f" else np.array_equal(narrow, x)
    return narrow if kept else x


def check_inputs(batch: Batch, inputs: Sequence[RawInput]) -> None:
    """Raises a ValueError unless a batch has the names, shapes and types of inputs, and at least one example."""
    names = [raw.name for raw in inputs]
    if sorted(batch) != sorted(names):
        raise ValueError(f"Expected the inputs {', '.join(names)}. Received: {', '.join(batch) or 'none'}")
    for raw in inputs:
        x = batch[raw.name]
        # A single input needs no name in the message.
        of = f" {raw.name}" if len(names) > 1 else ""
        fits = x.ndim == len(raw.shape) and all(
            n is None or n == size for n, size in zip(raw.shape, x.shape, strict=True)
        )
        if not fits or len(x) == 0:
            wanted = ", ".join("any" if n is None else str(n) for n in raw.shape)
            raise ValueError(f"Expected input{of} of shape ({wanted}), at least one example. Received: shape {x.shape}")
        if x.dtype != raw.dtype and x.dtype.kind != "U" or (x.dtype.kind == "U") != (raw.dtype == TEXT):
            raise ValueError(f"Expected input{of} of dtype {raw.dtype}. Received: dtype {x.dtype}")
    counts = {name: len(x) for name, x in batch.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"Expected the same number of examples of each input. Received: {counts}")


def set_sizes(inputs: Sequence[RawInput], *shapes: Mapping[str, tuple[int, ...]]) -> tuple[RawInput, ...]:
    """Gives inputs the sizes of these examples: shapes without the batch, by name."""
    return tuple(replace(raw, sizes=tuple(shape[raw.name] for shape in shapes)) for raw in inputs)


def _draw(generator: np.random.Generator, shape: tuple[int, ...], raw: RawInput, like: np.ndarray | None) -> np.ndarray:
    dtype = np.dtype(raw.dtype)
    if dtype.kind == "f":
        drawn = generator.standard_normal(shape)
        if raw.preprocessing is not None:
            drawn = raw.preprocessing.invert(drawn)
        elif raw.normal is not None:
            mean, std = raw.normal
            drawn = mean + std * drawn
        return drawn.astype(dtype)
    if dtype.kind == "U":
        if like is None:
            raise ValueError(f"Expected samples= for text inputs. Received: no samples, and text for {raw.name}")
        return generator.choice(np.unique(like), shape)
    low, high = (0, 1) if dtype.kind == "b" else integer_bounds(raw, dtype, like)
    if raw.is_index:
        return _draw_indices(generator, low, high, shape).astype(dtype)
    drawn = generator.integers(low, high, shape, dtype="int64" if dtype.kind == "b" else dtype, endpoint=True)
    if (low, high) == (0, 1) and not raw.is_index and shape[-1] > 1:
        # Models are not made for a mask that hides everything.
        drawn[..., 0] = 1
    return drawn.astype(dtype)


def _draw_indices(generator: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draws integers evenly between bounds, and includes both bounds if there is room."""
    count = math.prod(shape)
    edges = low + np.arange(count) * (high - low + 1) / count
    drawn = np.floor(edges + generator.random(count) * (high - low + 1) / count).astype("int64")
    drawn[:1], drawn[1:][-1:] = low, high
    return generator.permutation(np.clip(drawn, low, high)).reshape(shape)


def integer_bounds(raw: RawInput, dtype: np.dtype, like: np.ndarray | None) -> tuple[int, int]:
    """Returns the smallest and the largest integer of an input."""
    if raw.is_index and raw.bounds is not None:
        return raw.bounds
    low, high = (0, 0) if like is None else (int(like.min()), int(like.max()))
    if like is not None and (low < high or raw.bounds is None):
        # Real inputs that are all equal, such as masks of ones, do not show the other values.
        return (low, high) if low < high else (min(low, 0), max(high, 1))
    if raw.bounds is not None:
        return raw.bounds
    if dtype.itemsize == 1:
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    raise ValueError(
        f"Expected samples= that show the range of integers. Received: {raw.name} of dtype {raw.dtype}, and no samples"
    )
