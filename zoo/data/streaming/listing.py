"""The images that a folder or shards contain: where each is, and the folder or label that gives its class."""

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..decoding import shorten
from ..options import Options
from .files import Files, Paths

_LISTED = 10


@dataclass
class Scan:
    """The images of one file or folder, in order; 28 bytes each.

    Attributes:
        holders: The folders or labels of the images, each as the names on the way to the class.
        holder_of: For each image, the number of its holder.
        offsets, sizes: For each image, the offset of its first byte in the file, and its size in bytes.
        keys: For each image, a hash of its name, to find names that occur twice.
        folders: All folders on disk.
        faults: Descriptions of what is wrong and left out.
        digest: A hash of names, sizes and labels.
    """

    holders: dict[tuple[str, ...], int] = field(default_factory=dict)
    holder_of: array = field(default_factory=lambda: array("i"))
    offsets: array = field(default_factory=lambda: array("q"))
    sizes: array = field(default_factory=lambda: array("i"))
    keys: array = field(default_factory=lambda: array("q"))
    folders: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, name: str, holder: tuple[str, ...], offset: int, size: int) -> None:
        self.holder_of.append(self.holders.setdefault(holder, len(self.holders)))
        self.offsets.append(offset)
        self.sizes.append(size)
        self.keys.append(hash(name))
        self.digest.update(f"{name}\0{size}\0{holder[-1] if holder else ''}\n".encode("utf-8", "surrogateescape"))

    def repeated(self) -> np.ndarray:
        """The places of images with the same name as an earlier one."""
        keys = np.frombuffer(self.keys, "int64") if self.keys else np.empty(0, "int64")
        order = np.argsort(keys, kind="stable")
        again = np.flatnonzero(np.diff(keys[order]) == 0) + 1
        return np.sort(order[again])

    def drop(self, places: np.ndarray) -> None:
        """Leaves out images."""
        if len(places):
            kept = np.delete(np.arange(len(self.sizes)), places)
            for name in ("holder_of", "offsets", "sizes", "keys"):
                values = getattr(self, name)
                setattr(self, name, array(values.typecode, np.array(values)[kept].tobytes()))


@dataclass
class Listing:
    """All images of a source.

    Attributes:
        files: Where they are.
        holders, holder_of, folders, faults: As in `Scan`.
        content: A hash of names, sizes and labels.
        labelled: Whether labels give the classes, and not folders.
        class_names: The names of numbered labels, if they are known.
    """

    files: Files
    holders: list[tuple[str, ...]]
    holder_of: np.ndarray
    folders: list[str]
    faults: list[str]
    content: str
    labelled: bool = False
    class_names: list[str] | None = None

    def __len__(self) -> int:
        return len(self.holder_of)

    def leave_out(self, damaged: Mapping[int, str]) -> None:
        """Leaves out damaged images; each has a description of its fault."""
        if damaged:
            kept = np.delete(np.arange(len(self)), list(damaged))
            self.files, self.holder_of = self.files.select(kept), self.holder_of[kept]
            self.faults += damaged.values()


def join_scans(
    root: str,
    paths: Sequence[str],
    parts: Sequence[str],
    scans: Iterable[Scan],
    labelled: bool,
    kind: type[Files] = Files,
) -> Listing:
    """Joins what was found in several shards. The part that the name of a shard says comes first in its holders."""
    holders: dict[tuple[str, ...], int] = {}
    faults, digest = list[str](), hashlib.sha256()
    file, offset, size, holder_of = array("i"), array("q"), array("i"), array("i")
    for number, (part, scan) in enumerate(zip(parts, scans, strict=True)):
        numbers = [holders.setdefault((part, *holder), len(holders)) for holder in scan.holders]
        file.extend([number] * len(scan.sizes))
        offset.extend(scan.offsets)
        size.extend(scan.sizes)
        holder_of.extend(map(numbers.__getitem__, scan.holder_of))
        faults += scan.faults
        digest.update(scan.digest.digest())
    arrays = {"file": np.array(file), "offset": np.array(offset), "size": np.array(size)}
    joined = Paths()
    for path in paths:
        joined.add(path)
    files = kind(root, joined.arrays() | arrays)
    return Listing(files, list(holders), np.array(holder_of), [], faults, digest.hexdigest()[:32], labelled)


def refuse_faults(where: str, listing: Listing, options: Options) -> None:
    """Raises a ValueError that lists what is wrong, unless it may be left out."""
    if listing.faults and options.on_bad_image == "error":
        count = f"{len(listing.faults)} fault{'s' * (len(listing.faults) > 1)}"
        raise ValueError(
            f"Expected undamaged files in {where!r}, with one label for each image, or on_bad_image='skip' to leave "
            f"out the faulty ones. Received: {count}: {shorten(listing.faults, _LISTED)}"
        )
