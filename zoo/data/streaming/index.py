"""The index of a folder or of shards: where each image is, its part and its label. It is kept in the cache.

    CACHE/sources/NAME-KEY/
      paths.npy, ends.npy, file.npy, offset.npy, size.npy    as files.py says
      PART.npy                                               for each part: the places of its images, and their labels
      source.json                                            everything else

The key depends on the names, sizes and times of the files, and on the options.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from export.archives import file_state

from .. import cache
from ..layout import PARTS, Layout, common_depth, layout_of_folders
from ..options import Options, Progress
from .checking import find_damaged
from .files import ARRAYS, Files, open_files
from .folders import list_folder
from .listing import Listing, refuse_faults
from .patterns import are_records, find_shards
from .records import Records, list_records
from .shards import list_shards


class Index(NamedTuple):
    """Where the images are; for each part, the places and labels of its images; and facts about all of them."""

    files: Files
    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    about: dict[str, Any]


class Indexer:
    """Finds the images of a folder or of shards, and indexes them.

    Args:
        path: The folder, the shard, or a pattern of shards.
        options: How to read them.
        cache_in: The folder of the cache; None keeps the index in memory.
        progress: Called with how much is read and how much there is.

    Attributes:
        shards: The shards; empty for a folder of images.
        state: A value that changes whenever the files change.
    """

    def __init__(self, path: Path, options: Options, cache_in: Path | None, progress: Progress | None) -> None:
        self.path, self.options, self.progress = path, options, progress
        self.shards: Sequence[Path] = find_shards(path)
        self._listing: Listing | None = None
        if self.shards:
            self.state: Any = [[str(shard), *file_state(shard)[0][1:]] for shard in self.shards]
        else:
            self._listing, self.state = list_folder(path)
        channels = None if options.channels == 3 else options.channels  # photos are in colour anyway
        facts = {"index": self.state, "options": replace(options, stream=None, channels=channels).as_dict()}
        self._target = None if cache_in is None else cache.target_of(cache_in, path, facts)

    @property
    def listing(self) -> Listing:
        """All images, with the faults that may be left out."""
        if self._listing is None:
            listed = list_records if are_records(self.shards[0].name) else list_shards
            self._listing = listed(self.shards, self.progress)
        return self._listing

    def whole_listing(self) -> Listing:
        """All images.

        Raises:
            ValueError: If shards or labels are damaged or missing, and may not be left out.
        """
        refuse_faults(str(self.path), self.listing, self.options)
        return self.listing

    def layout(self) -> Layout:
        """The classes, parts and labels of the images."""
        listing = self.listing
        holders = _with_parts(listing) if self.shards else listing.holders
        where, name_of = str(self.path), listing.files.member
        found = layout_of_folders(where, holders, listing.holder_of, listing.folders, self.options, name_of)
        if listing.class_names is None or not all(name.isdecimal() for name in found.class_names):
            return found
        return replace(found, class_names=tuple(listing.class_names[int(name)] for name in found.class_names))

    def find(self) -> Index | None:
        """Finds the index in the cache."""
        kept = cache.read(self._target) if self._target else None
        if self._target is None or kept is None:
            return None
        kind = Records if self.shards and are_records(self.shards[0].name) else Files
        return Index(open_files(kept.about["root"], self._target, kind), kept.parts, kept.about)

    def make(self, describe: Callable[[Index], dict[str, Any]]) -> Index:
        """Makes the index and keeps it in the cache.

        Args:
            describe: Takes the index and returns more facts to keep.

        Raises:
            ValueError: If images, labels or shards are damaged or missing, and may not be left out.
        """
        listing = self.whole_listing()
        if self.options.on_bad_image == "skip":
            listing.leave_out(find_damaged(listing.files, self.progress))
        layout = self.layout()
        about = {"class_names": list(layout.class_names), "content": listing.content, "skipped": listing.faults}
        index = Index(listing.files, layout.parts, {**about, "root": listing.files.root})
        index.about.update(describe(index))
        with cache.build_folder(self._target) as beside:
            if beside is not None:
                for name, array in index.files.arrays().items():
                    np.save(beside / f"{name}.npy", array)
                cache.write(beside, index.parts, {**index.about, "source": str(self.path), "arrays": list(ARRAYS)})
        return index if beside is None else self.find() or index


def _with_parts(listing: Listing) -> list[tuple[str, ...]]:
    """Puts the part that a shard's name says around its class folders, unless these lie in parts themselves."""
    inner = [holder[1:] for holder in listing.holders]
    if not listing.labelled:
        if any(name.lower() in PARTS for holder in inner for name in holder):
            return inner
        depth = common_depth(inner)
        inner = [holder[depth:] for holder in inner]
    return [((part,) if part else ()) + rest for (part, *_), rest in zip(listing.holders, inner, strict=True)]
