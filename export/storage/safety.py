"""Checks files before any library reads them: they may come from anyone.

A link leads out of the artifact, an ONNX file can name any file as its weights, an archive can hold more than its size
shows, and deep nesting can crash the process that reads it. Hashes do not protect against the person who wrote
them. The ONNX file is walked in its wire format: only lengths are followed, and nothing is built.
"""

import json
import math
import mmap
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import VerificationError

_JSON_BYTES = 64 * 2**20
_FOLDER_DEPTH, _MESSAGE_DEPTH = 8, 60

# The messages on the way to a tensor, by field number: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
_KEY, _VALUE, _LOCATION = 1, 2, b"location"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# The most bits of numbers in the wire format. Parsers disagree on more bits: some drop them, some refuse the number.
_TAG_BITS, _LENGTH_BITS, _VALUE_BITS = 32, 31, 70


def check_regular(path: Path) -> None:
    """Raises a VerificationError unless a path is a regular file with one name: no link and no device."""
    status = path.lstat()
    kind = {stat.S_IFLNK: "a symbolic link", stat.S_IFREG: "", stat.S_IFDIR: "a folder"}.get(
        stat.S_IFMT(status.st_mode), "neither a file nor a folder"
    )
    if not kind and status.st_nlink > 1:
        kind = "a hard link"
    if kind:
        raise VerificationError(f"Expected {path} to be a regular file. Received: {kind}")


def check_folder(folder: Path, depth: int = 0) -> None:
    """Raises a VerificationError unless a folder holds only regular files and folders, nested a few levels."""
    if depth > _FOLDER_DEPTH:
        raise VerificationError(f"Expected at most {_FOLDER_DEPTH} nested folders. Received: {folder}")
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            check_folder(path, depth + 1)
        else:
            check_regular(path)


def read_json(path: Path) -> Any:
    """Reads JSON of a sensible size and depth.

    Raises:
        VerificationError: If it is too large or too deep.
        ValueError: If it is no JSON.
    """
    check_regular(path)
    if path.stat().st_size > _JSON_BYTES:
        raise VerificationError(f"Expected {path} to have at most {_JSON_BYTES} bytes. Received: {path.stat().st_size}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise VerificationError(f"Expected {path} to be JSON. Received: lists that are nested too deeply") from error


def check_arrays(path: Path) -> None:
    """Raises a VerificationError unless an `.npz` holds plain arrays, uncompressed, each as large as its entry."""
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or size > path.stat().st_size:
                raise VerificationError(f"Expected {path} to be uncompressed. Received: {size} bytes when decompressed")
            for entry in entries:
                with archive.open(entry) as file:
                    shape, dtype = _read_header(file)
                    expected = math.prod(shape) * dtype.itemsize
                    if dtype.hasobject or expected != entry.file_size - file.tell():
                        raise VerificationError(f"Expected plain arrays in {path}. Received: {entry.filename}")
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, VerificationError):
            raise
        raise VerificationError(f"Expected {path} to hold arrays. Received: {error}") from error


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def check_onnx_file(path: Path) -> list[Path]:
    """Walks an ONNX file, and checks the files beside it that hold its weights.

    Returns:
        The files with weights.

    Raises:
        VerificationError: If it is no ONNX file, nests too deeply, or names weights that are elsewhere, a link or
            missing.
    """
    status = path.stat()
    if status.st_size == 0:
        raise VerificationError(f"Expected {path} to be an ONNX file. Received: an empty file")
    found: set[str] = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            found.update(_find_locations(data, 0, len(data), "model", 0))
        except _Malformed as error:
            raise VerificationError(f"Expected {path} to be an ONNX file. Received: {error}") from error
    return [_weights_file(path, location) for location in sorted(found)]


class _Malformed(Exception):
    pass


def _weights_file(model: Path, location: str) -> Path:
    path = model.parent / location
    if location in ("", ".", "..") or path.name != location or os.sep in location or "\\" in location:
        raise VerificationError(f"Expected {model} to keep its weights beside it. Received: {location!r}")
    if not os.path.lexists(path):
        raise VerificationError(f"The weights of {model.name} are missing: {path}")
    check_regular(path)
    return path


def _find_locations(data: mmap.mmap, start: int, end: int, kind: str, depth: int) -> Iterator[str]:
    if depth > _MESSAGE_DEPTH:
        raise _Malformed("graphs that are nested too deeply")
    entry: dict[int, bytes] = {}
    for field, first, last in _walk_fields(data, start, end):
        inner = _FIELDS[kind].get(field)
        if inner:
            yield from _find_locations(data, first, last, inner, depth + 1)
        elif kind == "entry":
            entry[field] = data[first:last]
    if entry.get(_KEY) == _LOCATION:
        try:
            yield entry.get(_VALUE, b"").decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Malformed("a file name that is no text") from error


def _walk_fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields the number, start and end of every field with a length, and skips the others."""
    while at < end:
        tag, at = _read_varint(data, at, end, _TAG_BITS)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise _Malformed("bytes that are no message")
        if kind == _VARINT:
            _, at = _read_varint(data, at, end, _VALUE_BITS)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length, at = _read_varint(data, at, end, _LENGTH_BITS)
            if at + length <= end:
                yield number, at, at + length
            at += length
        else:
            raise _Malformed("bytes that are no message")
        if at > end:
            raise _Malformed("bytes that are no message")


def _read_varint(data: mmap.mmap, at: int, end: int, bits: int) -> tuple[int, int]:
    """Reads a number of at most this many bits, and returns it with the position after it."""
    value = 0
    for shift in range(0, bits, 7):
        if at >= end:
            raise _Malformed("a message that ends too early")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> bits:
                break
            return value, at
    raise _Malformed("bytes that are no message")
