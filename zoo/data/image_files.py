"""Makes a data source of image files: threads decode them, the cache keeps them, bad ones are reported together."""

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from export.images import SUFFIXES, BadImage, ImageReader

from . import cache
from .archives import Entry, file_state, read_entries
from .cifar import PICKLES, from_cifar_files
from .layout import find_layout
from .options import Options, Progress
from .rows import select_rows
from .source import Preprocessing, Source

_LISTED = 10
# Files for one thread at a time, and how many such groups may wait: enough for two cores, little enough for the memory.
_TOGETHER, _AHEAD = 32, 8


@dataclass
class _Contents:
    """The contents of the files, collected in one pass."""

    stack: cache.ImageStack
    names: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    hashes: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    pickles: dict[str, bytes] = field(default_factory=dict)


def from_files(path: Path, options: Options, cache_in: Path | None, progress: Progress | None) -> Source:
    """Makes a source of the images in a folder or an archive.

    Args:
        path: The folder or archive.
        options: How to read it.
        cache_in: The folder of the cache; None keeps the images in memory.
        progress: Called with how much is read and how much there is: files, or bytes of a tar.
    """
    target = None
    if cache_in is not None:
        name = cache.key(path=str(path), state=file_state(path), options=options.as_dict())
        target = cache_in / "sources" / f"{path.name.partition('.')[0] or 'data'}-{name}"
        if (found := cache.read(target)) is not None:
            return _source(path, *found)
    with cache.build_folder(target) as folder:
        stack = cache.ImageStack(folder)
        try:
            found = _read(path, options, stack, progress)
        finally:
            stack.close()
        if isinstance(found, Source):
            return found
        images, parts, about = found
        if folder is None:
            return _source(path, images, parts, about)
        cache.write(folder, parts, {**about, "source": str(path)})
        del images, found
    found = cache.read(target)  # type: ignore[arg-type]
    if found is None:
        raise OSError(f"The decoded images have disappeared from the cache, {str(target)!r}. Try again")
    return _source(path, *found)


def _read(path: Path, options: Options, stack: cache.ImageStack, progress: Progress | None) -> Any:
    """Reads images, parts and facts, as the cache keeps them; or a whole source, if the files are CIFAR's."""
    found = _Contents(stack)
    with warnings.catch_warnings():
        # Users cannot fix what Pillow warns of but reads; they must know what may fill the memory.
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("error", message=".*decompression bomb")
        for entry, data in _decode(path, options, progress, found):
            _add_image(path, entry.name, data, found)
    arrays = from_cifar_files(path, found.pickles)
    if arrays is not None:
        return arrays
    _refuse_bad(path, found.bad, len(found.names), options)
    plan = find_layout(
        str(path), found.names, found.folders, test_fraction=options.test_fraction, split_seed=options.split_seed
    )
    images = stack.finish()
    train = select_rows(images, plan.parts["train"][0])
    about = {
        "class_names": list(plan.class_names),
        "content": hashlib.sha256("\n".join(sorted(found.hashes)).encode()).hexdigest()[:32],
        "preprocessing": Preprocessing.fitted(train, scale=1 / 255).as_dict(),
        "skipped": found.bad,
    }
    return images, plan.parts, about


def _decode(
    path: Path, options: Options, progress: Progress | None, found: _Contents
) -> Iterator[tuple[Entry, tuple[np.ndarray | str, str]]]:
    """Decodes the image files in their order to pixels, or to the reason why it failed, each with a hash."""

    def work(batch: list[Entry]) -> list[tuple[np.ndarray | str, str]]:
        return [_to_pixels(entry, options.reader) for entry in batch]

    def files() -> Iterator[Entry]:
        for entry in read_entries(path, lambda name: _is_image(name) or PurePosixPath(name).name in PICKLES):
            if entry.is_folder:
                found.folders.add(entry.name)
            elif _is_image(entry.name):
                found.folders.add(str(PurePosixPath(entry.name).parent))
                yield entry
            else:
                found.pickles[PurePosixPath(entry.name).name] = entry.read()

    def results() -> Iterator[tuple[Entry, tuple[np.ndarray | str, str]]]:
        batch, future = waiting.popleft()
        yield from zip(batch, future.result(), strict=True)
        if progress:
            progress(batch[-1].done, batch[-1].total)

    stream = files()
    waiting: deque[tuple[list[Entry], Future]] = deque()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            while batch := list(islice(stream, _TOGETHER)):
                waiting.append((batch, pool.submit(work, batch)))
                if len(waiting) > _AHEAD:
                    yield from results()
            while waiting:
                yield from results()
        finally:
            pool.shutdown(cancel_futures=True)


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _to_pixels(entry: Entry, reader: ImageReader) -> tuple[np.ndarray | str, str]:
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


def _add_image(path: Path, name: str, data: tuple[np.ndarray | str, str], found: _Contents) -> None:
    pixels, digest = data
    if isinstance(pixels, str):
        found.bad.append(f"{name} ({pixels})")
        return
    shape = found.stack.shape
    if shape is not None and pixels.shape[:2] != shape[:2]:
        first, second = (f"{height}x{width}" for height, width, _ in (shape, pixels.shape))
        raise ValueError(
            f"Expected images of one size in {str(path)!r}, or image_size=(height, width) to resize them to. "
            f"Received: {found.names[0]!r} of {first} and {name!r} of {second} (height x width)"
        )
    found.stack.append(pixels)
    found.names.append(name)
    found.hashes.append(digest)


def _refuse_bad(path: Path, bad: list[str], good: int, options: Options) -> None:
    """Raises an error for images that cannot be read, unless they may be skipped and others can be read."""
    if bad and (options.on_bad_image == "error" or not good):
        raise ValueError(
            f"Expected images that can be read in {str(path)!r}, or on_bad_image='skip' to skip the others. "
            f"Received: {len(bad)} of {len(bad) + good} that cannot: {_shorten(bad, _LISTED)}"
        )


def _shorten(names: list[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _source(
    path: Path, images: np.ndarray, parts: dict[str, tuple[np.ndarray, np.ndarray]], about: dict[str, Any]
) -> Source:
    skipped = about["skipped"]
    if skipped:
        warnings.warn(
            f"{len(skipped)} images of {str(path)!r} cannot be read and are skipped: {_shorten(skipped, 3)}",
            stacklevel=4,
        )
    arrays: dict[str, Any] = {}
    for part, (indices, labels) in parts.items():
        arrays[f"{part}_inputs"], arrays[f"{part}_targets"] = select_rows(images, indices), labels
    return Source(
        name=str(path),
        class_names=tuple(about["class_names"]),
        preprocessing=Preprocessing.from_dict(about["preprocessing"]),
        origin={"content": about["content"], "skipped": len(skipped)},
        **arrays,
    )
