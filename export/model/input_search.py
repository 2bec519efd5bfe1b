"""Finds out what a model's inputs take by trying: sizes of dynamic dimensions, and bounds of integers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import error_line
from ..storage.arrays import Batch
from .inputs import RawInput, draw_inputs, integer_bounds, make_zeros, set_sizes

# These sizes of dynamic dimensions are tried until the model takes one.
_FIRST_SIZES = (32, 64, 128, 256, 8)
# These bounds are tried likewise for integers of unknown range, on this many examples.
_BOUNDS, _TRIED = ((-9, 9), (0, 9), (0, 1)), 8
# The second size of a dimension depends on the first one and its index, so that sizes are odd and differ.
Growth = Callable[[int, int], int]
_ODD: Growth = lambda size, index: size + 9 + 4 * index  # noqa: E731
_MULTIPLE: Growth = lambda size, index: size * (2, 1, 3, 4)[index % 4]  # noqa: E731


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
            run(make_zeros(found := set_sizes(inputs, first)))
        except Exception as error:  # The model's own code may raise anything.
            failures.append(error)
            continue
        for second in _list_second_shapes(inputs, first):
            with suppress(Exception):
                run(make_zeros(set_sizes(inputs, second)))
                return set_sizes(inputs, first, second)
        return found
    shapes = "; ".join(", ".join(map(str, shape.values())) for shape in tried)
    raise ValueError(
        f"Expected samples= of a size that the model takes. Received: {shapes} ({error_line(failures[0])})"
    ) from failures[0]


def find_bounds(inputs: Sequence[RawInput], known: Batch | None, run: Callable[[Batch], Any]) -> tuple[RawInput, ...]:
    """Tries bounds for integers whose range neither real inputs nor the graph show, until the model runs.

    If the model adds an offset to an integer before looking it up, the size of the table is too large a bound. So it
    is halved until the model runs.

    Args:
        inputs: The inputs of the graph.
        known: Real inputs, which give integers their range.
        run: Runs the model on a batch.

    Returns:
        The inputs, with the bounds that were found. Those for which none fits have no bounds.
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
        raw.name: integer_bounds(raw, np.dtype(raw.dtype), known.get(raw.name)) for raw in inputs if raw.name in tried
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
