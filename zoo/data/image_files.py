"""Makes a data source of image files: threads decode them, the cache keeps them, bad ones are reported together."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from export.archives import Entry, file_state, read_entries
from export.images import SUFFIXES

from . import cache
from .cifar import PICKLES, from_cifar_files
from .decoding import DecodedImages, decode, hash_of, to_pixels, warn_of_skipped
from .layout import find_layout
from .options import Options, Progress
from .rows import select_rows
from .source import Preprocessing, Source


@dataclass
class _Contents:
    """The contents of the files, collected in one pass."""

    images: DecodedImages
    folders: set[str] = field(default_factory=set)
    pickles: dict[str, bytes] = field(default_factory=dict)


def from_files(path: Path, options: Options, cache_in: Path | None, progress: Progress | None) -> Source:
    """Makes a source of the images in a folder or an archive.

    Args:
        path: The folder or archive.
        options: How to read it.
        cache_in: The folder of the cache; None keeps the images in memory.
        progress: Called with how much is read and how much there is: files, or bytes of a tar.
    """

    def read(stacks: list[cache.ImageStack]) -> cache.Contents | Source:
        return _read(path, options, stacks[0], progress)

    state = file_state(path)
    found = cache.through(cache_in, path, {"state": state, "options": options.as_dict()}, ("images",), read)
    return found if isinstance(found, Source) else source_of(path, found)


def _read(path: Path, options: Options, stack: cache.ImageStack, progress: Progress | None) -> cache.Contents | Source:
    """Reads images, parts and facts, as the cache keeps them; or a whole source, if the files are CIFAR's."""
    found = _Contents(DecodedImages(path, stack, options))
    entries = _image_entries(path, found)
    for entry, data in decode(entries, lambda entry: to_pixels(entry, options.reader), progress):
        found.images.add(entry.name, data)
    arrays = from_cifar_files(path, found.pickles)
    if arrays is not None:
        return arrays
    found.images.refuse_bad()
    plan = find_layout(str(path), found.images.names, found.folders, options)
    if set(plan.class_names) == {"images", "masks"}:
        raise ValueError(f"Expected images and masks in a folder. Received: the archive {str(path)!r}; unpack it")
    images = stack.finish()
    about = {
        "class_names": list(plan.class_names),
        "content": hash_of(found.images.hashes),
        "preprocessing": Preprocessing.fitted(select_rows(images, plan.parts["train"][0]), scale=1 / 255).as_dict(),
        "skipped": found.images.bad,
    }
    return cache.Contents({"images": images}, plan.parts, about)


def _image_entries(path: Path, found: _Contents) -> Iterator[Entry]:
    """Yields the files of images, and collects the others that matter."""
    for entry in read_entries(path, lambda name: _is_image(name) or PurePosixPath(name).name in PICKLES):
        if entry.is_folder:
            found.folders.add(entry.name)
        elif _is_image(entry.name):
            found.folders.add(str(PurePosixPath(entry.name).parent))
            yield entry
        else:
            found.pickles[PurePosixPath(entry.name).name] = entry.read()


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def source_of(path: Path, found: cache.Contents) -> Source:
    """Makes a source of what the cache keeps."""
    about = found.about
    warn_of_skipped(path, about["skipped"], stacklevel=6)
    arrays: dict[str, Any] = {}
    for part, (indices, labels) in found.parts.items():
        arrays[f"{part}_inputs"], arrays[f"{part}_targets"] = select_rows(found.arrays["images"], indices), labels
    return Source(
        name=str(path),
        class_names=tuple(about["class_names"]),
        preprocessing=Preprocessing.from_dict(about["preprocessing"]),
        origin={"content": about["content"], "skipped": len(about["skipped"])},
        **arrays,
    )
