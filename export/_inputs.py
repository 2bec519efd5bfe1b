"""Inputs to compare on: random ones in several batch sizes, and real ones cut into such batches."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np

from .preprocessing import Preprocessing

Shape = tuple[int | None, ...]

# Where a dimension is dynamic two sizes are tried, one of them odd.
_DYNAMIC_SIZES, _STEP = 32, 9


def random_inputs(
    shape: Shape, raw: Preprocessing, batch_sizes: Sequence[int], seed: int, like: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Draws raw inputs: floats so that the network sees a standard normal, integers from the range of real ones.

    Without real inputs bytes are drawn from all 256 values.

    Args:
        shape: Shape of the raw input, None where it is dynamic.
        raw: Says the type, and what values mean.
        batch_sizes: One input of each.
        seed: Of the generator.
        like: Real inputs; they give the dynamic dimensions, and integers their range.

    Returns:
        Batches by name.

    Raises:
        ValueError: If the range of integers wider than a byte is not known.
    """
    generator = np.random.default_rng(seed)
    example = _example_shape(shape, like)
    inputs = {}
    for size in batch_sizes:
        inputs[f"random, batch {size}"] = _draw(generator, (size, *example), raw, like)
    if None in shape[1:]:
        larger = tuple(e + _STEP if n is None else e for n, e in zip(shape[1:], example, strict=True))
        inputs[f"random, batch 2, size {larger}"] = _draw(generator, (2, *larger), raw, like)
    return inputs


def real_inputs(samples: np.ndarray | None, batch_sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """Cuts samples into consecutive batches, the sizes taking turns until every sample has its place."""
    inputs: dict[str, np.ndarray] = {}
    if samples is None:
        return inputs
    start, sizes = 0, cycle(batch_sizes)
    while start < len(samples):
        batch = samples[start : start + next(sizes)]
        inputs[f"real {start} to {start + len(batch) - 1}, batch {len(batch)}"] = batch
        start += len(batch)
    return inputs


def zeros(shape: Shape, dtype: str) -> np.ndarray:
    """Makes an input that is valid whatever its values mean."""
    return np.zeros((2, *_example_shape(shape, None)), dtype)


def check_raw(x: np.ndarray, shape: Shape, dtype: str) -> None:
    """Raises a ValueError unless an array is raw input of a shape and type, with at least one example."""
    fits = x.ndim == len(shape) and all(n is None or n == size for n, size in zip(shape, x.shape, strict=True))
    if not fits or len(x) == 0:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"Expected input of shape ({wanted}), at least one example. Received: shape {x.shape}")
    if x.dtype != dtype:
        raise ValueError(f"Expected input of dtype {dtype}. Received: dtype {x.dtype}")


def _example_shape(shape: Shape, like: np.ndarray | None) -> tuple[int, ...]:
    known = like.shape if like is not None else (_DYNAMIC_SIZES,) * len(shape)
    return tuple(size if n is None else n for n, size in zip(shape, known, strict=True))[1:]


def _draw(
    generator: np.random.Generator, shape: tuple[int, ...], raw: Preprocessing, like: np.ndarray | None
) -> np.ndarray:
    dtype = np.dtype(raw.dtype)
    if dtype.kind == "f":
        return raw.invert(generator.standard_normal(shape)).astype(dtype)
    if like is not None:
        low, high = int(like.min()), int(like.max())
    elif dtype.itemsize == 1:
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    else:
        raise ValueError(
            f"Expected samples=, to know the range of integers. Received: dtype {raw.dtype} and no samples"
        )
    return generator.integers(low, high, shape, dtype=dtype, endpoint=True)
