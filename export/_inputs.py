"""Inputs to compare on: random ones in several batch sizes, and real ones cut into such batches.

A batch is a dict from the name of an input to its array; the first axis counts examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from .preprocessing import Preprocessing

Shape = tuple[int | None, ...]
Batch = dict[str, np.ndarray]

# Where a dimension is dynamic two sizes are tried, one of them odd.
_DYNAMIC_SIZES, _STEP = 32, 9


@dataclass(frozen=True)
class Raw:
    """One input of the exported graph.

    Attributes:
        name: Its name.
        shape: None where it is dynamic; the batch always is.
        dtype: Its type.
        preprocessing: What its values mean, if the graph begins with it.
        below: What integers stay below, if that is known.
    """

    name: str
    shape: Shape
    dtype: str
    preprocessing: Preprocessing | None = None
    below: int | None = None

    @classmethod
    def from_manifest(cls, declared: Mapping[str, Any], preprocessing: Mapping[str, Any] | None) -> "Raw":
        """Reads an input of artifact.json."""
        raw = None if preprocessing is None else Preprocessing.from_dict(preprocessing)
        return cls(declared["name"], tuple(declared["shape"]), declared["dtype"], raw)


def examples(batch: Batch) -> int:
    """Counts the examples of a batch."""
    return len(next(iter(batch.values())))


def cut(batch: Batch, size: int) -> list[Batch]:
    """Cuts a batch into smaller ones; the last may be smaller still."""
    return [{name: x[i : i + size] for name, x in batch.items()} for i in range(0, examples(batch), size)]


def random_inputs(
    inputs: Sequence[Raw], batch_sizes: Sequence[int], seed: int, like: Batch | None = None
) -> dict[str, Batch]:
    """Draws raw inputs: floats so that the network sees a standard normal, integers from the range of real ones.

    Without real inputs bytes are drawn from all 256 values.

    Args:
        inputs: What the graph takes.
        batch_sizes: One batch of each.
        seed: Of the generator.
        like: Real inputs; they give the dynamic dimensions, and integers their range.

    Returns:
        Batches by name.

    Raises:
        ValueError: If the range of integers wider than a byte is not known.
    """
    generator = np.random.default_rng(seed)
    known = like or {}
    shapes = {raw.name: _example_shape(raw.shape, known.get(raw.name)) for raw in inputs}

    def draw(size: int, shapes: dict[str, tuple[int, ...]]) -> Batch:
        return {raw.name: _draw(generator, (size, *shapes[raw.name]), raw, known.get(raw.name)) for raw in inputs}

    batches = {f"random, batch {size}": draw(size, shapes) for size in batch_sizes}
    larger = {
        raw.name: tuple(e + _STEP if n is None else e for n, e in zip(raw.shape[1:], shapes[raw.name], strict=True))
        for raw in inputs
    }
    if larger != shapes:
        told = ", ".join(str(size) for size in larger.values())
        batches[f"random, batch 2, size {told}"] = draw(2, larger)
    return batches


def real_inputs(samples: Batch | None, batch_sizes: Sequence[int]) -> dict[str, Batch]:
    """Cuts samples into consecutive batches, the sizes taking turns until every sample has its place."""
    batches: dict[str, Batch] = {}
    if samples is None:
        return batches
    start, sizes = 0, cycle(batch_sizes)
    while start < examples(samples):
        size = next(sizes)
        batch = {name: x[start : start + size] for name, x in samples.items()}
        batches[f"real {start} to {start + examples(batch) - 1}, batch {examples(batch)}"] = batch
        start += examples(batch)
    return batches


def zeros(inputs: Sequence[Raw]) -> Batch:
    """Makes a batch that is valid whatever its values mean."""
    return {raw.name: np.zeros((2, *_example_shape(raw.shape, None)), raw.dtype) for raw in inputs}


def check_raw(batch: Batch, inputs: Sequence[Raw]) -> None:
    """Raises a ValueError unless a batch is raw input: names, shapes and types, at least one example, equally many."""
    names = [raw.name for raw in inputs]
    if sorted(batch) != sorted(names):
        raise ValueError(f"Expected the inputs {', '.join(names)}. Received: {', '.join(batch) or 'none'}")
    for raw in inputs:
        x = batch[raw.name]
        # With a single input there is nothing to tell apart.
        of = f" {raw.name}" if len(names) > 1 else ""
        fits = x.ndim == len(raw.shape) and all(
            n is None or n == size for n, size in zip(raw.shape, x.shape, strict=True)
        )
        if not fits or len(x) == 0:
            wanted = ", ".join("any" if n is None else str(n) for n in raw.shape)
            raise ValueError(f"Expected input{of} of shape ({wanted}), at least one example. Received: shape {x.shape}")
        if x.dtype != raw.dtype:
            raise ValueError(f"Expected input{of} of dtype {raw.dtype}. Received: dtype {x.dtype}")
    counts = {name: len(x) for name, x in batch.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"Expected as many examples of each input. Received: {counts}")


def _example_shape(shape: Shape, like: np.ndarray | None) -> tuple[int, ...]:
    known = like.shape if like is not None else (_DYNAMIC_SIZES,) * len(shape)
    return tuple(size if n is None else n for n, size in zip(shape, known, strict=True))[1:]


def _draw(generator: np.random.Generator, shape: tuple[int, ...], raw: Raw, like: np.ndarray | None) -> np.ndarray:
    dtype = np.dtype(raw.dtype)
    if dtype.kind == "f":
        drawn = generator.standard_normal(shape)
        return (drawn if raw.preprocessing is None else raw.preprocessing.invert(drawn)).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(bool)
    if like is not None:
        low, high = int(like.min()), int(like.max())
    elif raw.below is not None:
        low, high = 0, raw.below - 1
    elif dtype.itemsize == 1:
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    else:
        raise ValueError(
            f"Expected samples=, to know the range of integers. Received: {raw.name} of dtype {raw.dtype}, no samples"
        )
    return generator.integers(low, high, shape, dtype=dtype, endpoint=True)
