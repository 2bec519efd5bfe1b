"""Makes inputs for comparisons: random ones in several batch sizes, and real ones split into such batches."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import numpy as np

from ..errors import error_line
from ..preprocessing import Preprocessing
from ..storage.arrays import Batch

Shape = tuple[int | None, ...]

# NumPy's name of the type of texts, which are of any length.
TEXT = "str"

# These sizes of dynamic dimensions are tried until the model takes one.
_FIRST_SIZES = (32, 64, 128, 256, 8)
# These bounds are tried likewise for integers of unknown range, on this many examples.
_BOUNDS, _TRIED = ((-9, 9), (0, 9), (0, 1)), 8
# The second size of a dimension depends on the first one and its index, so that sizes are odd and differ.
Growth = Callable[[int, int], int]
_ODD: Growth = lambda size, index: size + 9 + 4 * index  # noqa: E731
_MULTIPLE: Growth = lambda size, index: size * (2, 1, 3, 4)[index % 4]  # noqa: E731


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


def find_sizes(inputs: Sequence[RawInput], known: Batch | None, run: Callable[[Batch], Any]) -> tuple[RawInput, ...]:
    """Finds sizes of dynamic dimensions that a model takes: one that halves images does not take every size.

    Args:
        inputs: The inputs of the graph.
        known: Real inputs, which give the first size.
        run: Runs the model on a batch.

    Raises:
        ValueError: If the model takes none of the sizes that are tried.
    """
    inputs = tuple(inputs)
    if not any(None in raw.shape[1:] for raw in inputs):
        return inputs
    failures: list[Exception] = []
    tried = _list_first_shapes(inputs, known)
    for first in tried:
        try:
            run(make_zeros(found := _set_sizes(inputs, first)))
        except Exception as error:  # The model's own code may raise anything.
            failures.append(error)
            continue
        for second in _list_second_shapes(inputs, first):
            with suppress(Exception):
                run(make_zeros(_set_sizes(inputs, second)))
                return _set_sizes(inputs, first, second)
        return found
    shapes = "; ".join(", ".join(map(str, shape.values())) for shape in tried)
    raise ValueError(
        f"Expected samples= of a size that the model takes. Received: {shapes} ({error_line(failures[0])})"
    ) from failures[0]


def find_bounds(inputs: Sequence[RawInput], known: Batch | None, run: Callable[[Batch], Any]) -> tuple[RawInput, ...]:
    """Tries bounds for integers whose range neither real inputs nor the graph show, until the model takes one.

    If the model adds an offset to an integer before looking it up, the size of the table is too large a bound. So it
    is halved until the model runs.
    """
    inputs = tuple(inputs)
    wide = {raw.name for raw in inputs if _is_wide_integer(np.dtype(raw.dtype))}
    moved = [raw.name for raw in inputs if raw.name in wide and raw.bounds is not None and not raw.is_index]
    while moved and not _runs(inputs, known, run, moved):
        highest = {raw.name: raw.bounds[1] // 2 for raw in inputs if raw.name in moved and raw.bounds}
        bounds = {name: (0, high) if any(highest.values()) else None for name, high in highest.items()}
        inputs = tuple(replace(raw, bounds=bounds.get(raw.name, raw.bounds)) for raw in inputs)
        moved = [name for name in moved if bounds[name]]
    unknown = [raw.name for raw in inputs if raw.name in wide and known is None and raw.bounds is None]
    for tried in _BOUNDS if unknown else ():
        found = tuple(replace(raw, bounds=tried) if raw.name in unknown else raw for raw in inputs)
        if _runs(found, None, run, unknown):
            return found
    return inputs


def _runs(inputs: Sequence[RawInput], known: Batch | None, run: Callable[[Batch], Any], tried: Sequence[str]) -> bool:
    """Whether a model runs on drawn inputs, and with the integers `tried` at their lower and upper bounds."""
    known = known or {}
    edges = {
        raw.name: _integer_bounds(raw, np.dtype(raw.dtype), known.get(raw.name)) for raw in inputs if raw.name in tried
    }
    with suppress(Exception):  # The model's own code may raise anything.
        for batch in draw_inputs(inputs, (_TRIED,), 0, known).values():
            run(batch)
            for which in (0, 1):
                run(batch | {name: np.full_like(batch[name], bounds[which]) for name, bounds in edges.items()})
        return True
    return False


def _is_wide_integer(dtype: np.dtype) -> bool:
    return dtype.kind in "iu" and dtype.itemsize > 1


def set_recorded_sizes(inputs: Sequence[RawInput], batches: Iterable[Batch]) -> tuple[RawInput, ...]:
    """Gives inputs the sizes that batches of them have: the first size, and one that differs."""
    shapes = [{name: x.shape[1:] for name, x in batch.items()} for batch in batches]
    return _set_sizes(inputs, shapes[0], next((other for other in shapes if other != shapes[0]), shapes[0]))


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


def _list_first_shapes(inputs: Sequence[RawInput], known: Batch | None) -> list[dict[str, tuple[int, ...]]]:
    """Returns the shapes of an example to try, by the name of the input."""
    if known and all(known[raw.name].ndim == len(raw.shape) for raw in inputs):
        return [{raw.name: known[raw.name].shape[1:] for raw in inputs}]
    return [{raw.name: _example_shape(raw, (size,) * len(raw.shape[1:])) for raw in inputs} for size in _FIRST_SIZES]


def _list_second_shapes(
    inputs: Sequence[RawInput], first: Mapping[str, tuple[int, ...]]
) -> Iterator[dict[str, tuple[int, ...]]]:
    """Yields larger shapes: dimensions that all differ, then that differ within an input, then that are equal."""
    dynamic = [(raw.name, axis) for raw in inputs for axis, n in enumerate(raw.shape[1:]) if n is None]
    apart = {dimension: index for index, dimension in enumerate(dynamic)}
    within = {(name, axis): [d for d in dynamic if d[0] == name].index((name, axis)) for name, axis in dynamic}
    alike = dict.fromkeys(dynamic, 0)
    tried: list[dict[str, tuple[int, ...]]] = []
    for growth in (_ODD, _MULTIPLE):
        for indices in (apart, within):
            tried.append(_grow(inputs, first, growth, indices))
    for growth in (_ODD, _MULTIPLE):
        tried.append(_grow(inputs, first, growth, alike))
    yield from (shape for i, shape in enumerate(tried) if shape not in tried[:i] and shape != first)


def _grow(
    inputs: Sequence[RawInput],
    first: Mapping[str, tuple[int, ...]],
    growth: Growth,
    indices: Mapping[tuple[str, int], int],
) -> dict[str, tuple[int, ...]]:
    def size(name: str, axis: int, before: int) -> int:
        return growth(before, indices[name, axis]) if (name, axis) in indices else before

    return {raw.name: tuple(size(raw.name, axis, n) for axis, n in enumerate(first[raw.name])) for raw in inputs}


def _example_shape(raw: RawInput, sizes: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of an example whose dynamic dimensions have these sizes."""
    return tuple(size if n is None else n for n, size in zip(raw.shape[1:], sizes, strict=True))


def _set_sizes(inputs: Sequence[RawInput], *shapes: Mapping[str, tuple[int, ...]]) -> tuple[RawInput, ...]:
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
    low, high = (0, 1) if dtype.kind == "b" else _integer_bounds(raw, dtype, like)
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


def _integer_bounds(raw: RawInput, dtype: np.dtype, like: np.ndarray | None) -> tuple[int, int]:
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
