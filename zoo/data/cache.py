"""Keeps decoded images on disk, to be mapped into memory: a folder for each data set and set of options.

The index of images that stay encoded is kept in such a folder too, with other arrays: zoo/data/streaming/index.py.

    CACHE/sources/NAME-KEY/
      images.npy      uint8, (images, height, width, channels)
      masks.npy       uint8, (images, height, width, 1), if there are masks
      PART.npy        for each part: indices into images.npy, and labels
      source.json     everything else

The folder is built under another name and renamed, so that two processes cannot disturb each other.
"""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# Part of every key. Raise it when the files, or the decoding of images, change.
FORMAT = 1
_HEADER = 128
_CHUNK = 2**24


def cache_folder() -> Path:
    """The folder in KERAS_SKIP_CACHE, or the platform's folder for caches."""
    chosen = os.environ.get("KERAS_SKIP_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "keras-skip"


def key(**facts: Any) -> str:
    """Hashes facts, which are plain data, to a name."""
    return hashlib.sha256(json.dumps({"format": FORMAT, **facts}).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Contents:
    """The arrays of decoded files; for each part the indices of its images, with a label for each; and facts."""

    arrays: dict[str, np.ndarray]
    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    about: dict[str, Any]


class ImageStack:
    """Stacks images of one size in a file in NumPy's format; they are grey until the first one in colour.

    Args:
        folder: The folder of the file; None keeps them in memory.
        name: The name of the file, without .npy.
    """

    def __init__(self, folder: Path | None, name: str = "images") -> None:
        self.folder, self.name = folder, f"{name}.npy"
        self.shape: tuple[int, ...] | None = None
        self.count = 0
        self._file = self._new(self.name)

    def append(self, image: np.ndarray) -> None:
        if self.shape is None:
            self.shape = image.shape
        if image.shape[-1] > self.shape[-1]:
            self._convert_to_rgb()
        self._file.write(np.broadcast_to(image, self.shape).tobytes())
        self.count += 1

    def finish(self) -> np.ndarray:
        """Ends the file and returns all images, in memory or mapped from it."""
        header = io.BytesIO()
        shape = (self.count, *(self.shape or ()))
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        assert len(header.getvalue()) == _HEADER
        self._file.seek(0)
        self._file.write(header.getvalue())
        if isinstance(self._file, io.BytesIO):
            return np.frombuffer(self._file.getbuffer(), "uint8", offset=_HEADER).reshape(shape)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return np.load(self.folder / self.name, mmap_mode="r")  # type: ignore[operator]

    def close(self) -> None:
        if not isinstance(self._file, io.BytesIO):
            self._file.close()

    def _new(self, name: str) -> BinaryIO:
        file: BinaryIO = io.BytesIO() if self.folder is None else (self.folder / name).open("wb+")
        file.write(bytes(_HEADER))
        return file

    def _convert_to_rgb(self) -> None:
        """Rewrites the grey images with three equal channels."""
        grey, self._file = self._file, self._new("colour.npy")
        grey.seek(_HEADER)
        while chunk := grey.read(_CHUNK):
            self._file.write(np.repeat(np.frombuffer(chunk, "uint8"), 3).tobytes())
        grey.close()
        self.shape = (*self.shape[:-1], 3)  # type: ignore[index]
        if self.folder is not None:
            os.replace(self.folder / "colour.npy", self.folder / self.name)


@contextmanager
def build_folder(target: Path | None) -> Iterator[Path | None]:
    """Gives a folder to write to, which becomes the target if the block succeeds; None if it cannot be written.

    The target is only made if `write` was called, which it is not for files without images to decode.

    Raises:
        OSError: If the disk is full.
    """
    beside = None
    if target is not None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
            beside.mkdir()
        except OSError as error:
            beside = None
            warnings.warn(
                f"The cache folder cannot be written, so what is read is kept in memory and read again next time: "
                f"{error}. Set KERAS_SKIP_CACHE to use another folder",
                stacklevel=2,
            )
    try:
        yield beside
        if beside is not None and target is not None and (beside / "source.json").is_file():
            _move(beside, target)
    except OSError as error:
        if beside is None or error.filename not in (None, str(beside)):
            raise
        raise OSError(
            error.errno,
            f"{error.strerror} in the cache folder. Set KERAS_SKIP_CACHE to use another one, "
            "or pass cache=False to use none",
            str(target),
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


def _move(beside: Path, target: Path) -> None:
    try:
        os.rename(beside, target)
    except OSError:
        if not target.is_dir():
            raise
        # Another process was faster with the same data.


def through(
    folder: Path | None,
    path: Path,
    facts: dict[str, Any],
    names: Sequence[str],
    read_files: Callable[[list[ImageStack]], "Contents | Any"],
) -> "Contents | Any":
    """Finds the decoded contents of files in the cache, or reads the files and keeps their contents.

    Args:
        folder: The folder of the cache; None keeps the images in memory.
        path: The files.
        facts: Plain data on which the contents depend.
        names: The names of the arrays.
        read_files: Reads the files with a stack for each array. Anything but `Contents` is returned and not kept.

    Raises:
        OSError: If the disk is full.
    """
    target = None
    if folder is not None:
        target = target_of(folder, path, facts)
        if (kept := read(target)) is not None:
            return kept
    with build_folder(target) as beside:
        stacks = [ImageStack(beside, name) for name in names]
        try:
            found = read_files(stacks)
        finally:
            for stack in stacks:
                stack.close()
        if not isinstance(found, Contents) or beside is None:
            return found
        write(beside, found.parts, {**found.about, "source": str(path), "arrays": list(names)})
        del found
    kept = read(target)  # type: ignore[arg-type]
    if kept is None:
        raise OSError(f"The decoded images have disappeared from the cache, {str(target)!r}. Try again")
    return kept


def target_of(folder: Path, path: Path, facts: dict[str, Any]) -> Path:
    """The folder in the cache for a path, and for the facts on which its contents depend."""
    name = re.sub(r"[*?\[\]{},]", "", path.name.partition(".")[0]) or "data"
    return folder / "sources" / f"{name}-{key(path=str(path), **facts)}"


def write(folder: Path, parts: dict[str, tuple[np.ndarray, np.ndarray]], about: dict[str, Any]) -> None:
    for part, (indices, labels) in parts.items():
        np.save(folder / f"{part}.npy", np.stack([indices, labels]).astype("int64"))
    (folder / "source.json").write_text(json.dumps({**about, "parts": list(parts)}, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> Contents | None:
    """Reads the files of `write`, and the arrays; returns None if they are missing, and removes damaged ones."""
    try:
        about = json.loads((folder / "source.json").read_text(encoding="utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in about.pop("arrays", ["images"])}
        parts = {part: tuple(np.load(folder / f"{part}.npy")) for part in about.pop("parts")}
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists():
            return None
    except (ValueError, KeyError, EOFError):
        pass
    else:
        with suppress(OSError):
            # Its time is that of the last use, which `keras-skip cache` shows.
            os.utime(folder / "source.json")
        return Contents(arrays, parts, about)
    shutil.rmtree(folder, ignore_errors=True)
    return None
