"""Reads the rows of arrays in .npy and .npz one by one, so that an array may be larger than memory."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

ARRAY_SUFFIXES = (".npy", ".npz")


def read_array_file(path: Path, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yields the rows of an array, each with the total number of rows.

    Args:
        path: A file in .npy or .npz.
        name: The array to read if an .npz has several.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds no such array, or ends early; the message gives only the reason.
    """
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            yield from _read_rows(file)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.removesuffix(".npy") for member in archive.namelist()]
            chosen = names[0] if len(names) == 1 else name
            if chosen not in names:
                raise ValueError(f"neither a single array nor one named {name}, but {', '.join(names) or 'none'}")
            with archive.open(f"{chosen}.npy") as member:
                yield from _read_rows(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:
        raise ValueError(f"a damaged .npz ({error})") from None


def _read_rows(file: IO[bytes]) -> Iterator[tuple[np.ndarray, int]]:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError("an array with fields")
    shape, by_columns, dtype = readers[version](file)
    if not shape or dtype.hasobject:
        raise ValueError("one number, not rows" if not shape else "Python objects, which may run code")
    if by_columns and len(shape) > 1:
        # A row is spread over the whole file.
        whole = np.frombuffer(_read(file, math.prod(shape) * dtype.itemsize), dtype).reshape(shape, order="F")
        yield from ((np.ascontiguousarray(row), shape[0]) for row in whole)
        return
    size = math.prod(shape[1:]) * dtype.itemsize
    for _ in range(shape[0]):
        yield np.frombuffer(_read(file, size), dtype).reshape(shape[1:]), shape[0]


def _read(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("the file ends early")
    return data
