"""Decodes files of images in threads, and collects images of one size, with the bad ones to report together."""

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from export.archives import Entry
from export.images import BadImage, ImageReader

from .cache import ImageStack
from .options import Options, Progress

_LISTED = 10
# Files for one thread at a time, and how many such groups may wait: enough for two cores, little enough for the memory.
_TOGETHER, _AHEAD = 32, 8
_Item = TypeVar("_Item")
# The pixels of an image or the reason why it has none, with the hash of its file.
Decoded = tuple[np.ndarray | str, str]


class SizesDifferError(ValueError):
    """Images of several sizes where one is needed."""


class DecodedImages:
    """Images of one size in a stack, with the names and hashes of their files, and the names of the bad ones.

    Args:
        path: Where they are, for errors.
        stack: Takes the pixels.
        options: How to read them.
    """

    def __init__(self, path: Path, stack: ImageStack, options: Options) -> None:
        self.path, self.stack, self.options = path, stack, options
        self.names: list[str] = []
        self.hashes: list[str] = []
        self.bad: list[str] = []

    def add(self, name: str, decoded: Decoded) -> bool:
        """Adds an image, or notes why it is bad; returns whether it is good."""
        pixels, digest = decoded
        if isinstance(pixels, str):
            self.bad.append(f"{name} ({pixels})")
            return False
        shape = self.stack.shape
        if shape is not None and pixels.shape[:2] != shape[:2]:
            first, second = (f"{height}x{width}" for height, width, _ in (shape, pixels.shape))
            raise SizesDifferError(
                f"Expected images of one size in {str(self.path)!r}, or image_size=(height, width) to resize them to. "
                f"Received: {self.names[0]!r} of {first} and {name!r} of {second} (height x width)"
            )
        self.stack.append(pixels)
        self.names.append(name)
        self.hashes.append(digest)
        return True

    def refuse_bad(self) -> None:
        """Raises an error for images that cannot be read, unless they may be skipped and others can be read."""
        if self.bad and (self.options.on_bad_image == "error" or not self.names):
            raise ValueError(
                f"Expected images that can be read in {str(self.path)!r}, or on_bad_image='skip' to skip the others. "
                f"Received: {len(self.bad)} of {len(self.bad) + len(self.names)} that cannot: "
                f"{shorten(self.bad, _LISTED)}"
            )


def hash_of(hashes: Iterable[str]) -> str:
    """A hash of hashes, in any order, in 32 hexadecimal digits."""
    text = "\n".join(sorted(hashes))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def warn_of_skipped(path: Path, skipped: list[str], stacklevel: int = 5) -> None:
    if skipped:
        warnings.warn(
            f"Images of {str(path)!r} that cannot be read are skipped, {len(skipped)} in all: {shorten(skipped, 3)}",
            stacklevel=stacklevel,
        )


def shorten(names: list[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def to_pixels(entry: Entry, reader: ImageReader | Callable[[bytes], np.ndarray]) -> Decoded:
    """Decodes the image in a file."""
    if entry.data is None:
        return f"{entry.size:,} bytes, too large for an image", ""
    try:
        data = entry.read()
    except OSError as error:
        return str(error.strerror or error), ""
    # The name and the contents, so that equal files give equal hashes in any folder.
    digest = f"{entry.name} {hashlib.sha256(data).hexdigest()}"
    try:
        return reader(data), digest
    except BadImage as error:
        return str(error), digest


def decode(
    items: Iterable[_Item],
    work: Callable[[_Item], Any],
    progress: Progress | None,
    entry_of: Callable[[_Item], Entry] = lambda item: item,  # type: ignore[assignment,return-value]
) -> Iterator[tuple[_Item, Any]]:
    """Yields the items in their order, each with what the work in a thread makes of it.

    Args:
        items: What to decode.
        work: Decodes one.
        progress: Called with how much is read and how much there is, as the entry of an item says.
        entry_of: The entry of an item. Default: the item itself.
    """

    def work_all(batch: list[_Item]) -> list[Any]:
        return [work(item) for item in batch]

    def results() -> Iterator[tuple[_Item, Any]]:
        batch, future = waiting.popleft()
        yield from zip(batch, future.result(), strict=True)
        if progress:
            last = entry_of(batch[-1])
            progress(last.done, last.total)

    stream = iter(items)
    waiting: deque[tuple[list[_Item], Future]] = deque()
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # Users cannot fix what Pillow warns of but reads; they must know what may fill the memory.
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("error", message=".*decompression bomb")
        try:
            while batch := list(islice(stream, _TOGETHER)):
                waiting.append((batch, pool.submit(work_all, batch)))
                if len(waiting) > _AHEAD:
                    yield from results()
            while waiting:
                yield from results()
        finally:
            pool.shutdown(cancel_futures=True)
