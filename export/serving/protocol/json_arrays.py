"""Reads the JSON of a request and makes arrays of its numbers, within limits on memory and time.

The parser holds the interpreter's lock from the first byte to the last, and a list or an object of two bytes takes many
times their memory. So lists, objects and strings are counted first, and JSON with more than any request needs is not
parsed. Conversions hold the lock for one part at a time.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from ..errors import RequestError
from .datatypes import DATATYPES

# A character may occur this often; 16 MiB of JSON with nested image data has far fewer.
_MOST = {b"[": ("lists", 2**21), b"{": ("objects", 2**14), b'"': ("quotes", 2**16)}
# This many numbers are converted at once.
_CHUNK = 2**15
# The Python types of the numbers that each kind of array takes.
_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}


def parse_json(text: bytes) -> Any:
    """Parses JSON, whose numbers are finite.

    Raises:
        RequestError: If it is not JSON, or has more lists, objects or strings than a request needs.
    """
    for character, (name, most) in _MOST.items():
        if (count := text.count(character)) > most:
            raise RequestError(
                f"Expected at most {most} {name} in JSON: data may be flat, or binary. Received: {count} {name}"
            )
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"Expected the body to be JSON. Received: {error}") from error


def make_array(name: str, data: list[Any], shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Makes an array of numbers that are flat or nested like its shape.

    Raises:
        RequestError: If they are neither, or a number does not fit the type.
    """
    nested = bool(data) and type(data[0]) is list
    whole = tuple(shape) if nested else (math.prod(shape),)
    if not whole or len(data) != whole[0]:
        raise RequestError(f"Expected as much data as shape {list(shape)} has. Received: {len(data)} in {name}")
    # Nothing is allocated for a shape before its numbers are there.
    arrays = [_convert(name, piece, dtype) for piece in _split_numbers(name, data, whole)]
    return (np.concatenate(arrays) if arrays else np.empty(0, dtype)).reshape(shape)


def _split_numbers(name: str, data: list[Any], shape: tuple[int, ...]) -> Iterator[list[Any]]:
    """Yields the numbers of nested lists in flat parts. The outermost list has the length of the shape."""
    row = math.prod(shape[1:])
    if row > _CHUNK:
        for part in data:
            yield from _split_numbers(name, _flatten(name, [part], shape[1:2]), shape[1:])
        return
    step = _CHUNK // max(1, row)
    for i in range(0, len(data), step):
        yield _flatten(name, data[i : i + step], shape[1:])


def _flatten(name: str, values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Flattens lists level by level, and checks the lists of a level before it opens them."""
    for size in shape:
        if set(map(type, values)) - {list} or set(map(len, values)) - {size}:
            raise RequestError(f"Expected data of {name} flat, or nested as its shape. Received: something else")
        values = list(chain.from_iterable(values))
    return values


def _convert(name: str, values: list[Any], dtype: np.dtype) -> np.ndarray:
    """Converts numbers to a type that holds every one of them."""
    types = set(map(type, values))
    if list in types:
        raise RequestError(f"Expected data of {name} flat, or nested as its shape. Received: something else")
    if types - _TYPES[dtype.kind]:
        raise RequestError(f"Expected data of {name} to be {DATATYPES[dtype.name]}. Received: something else")
    if values and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if min(values) < limits.min or max(values) > limits.max:
            raise RequestError(f"Expected data of {name} within {limits.min} to {limits.max}. Received: other numbers")
    with np.errstate(over="ignore"):
        return np.array(values, "float64" if dtype.kind == "f" else dtype).astype(dtype)
