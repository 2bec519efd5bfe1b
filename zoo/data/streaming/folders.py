"""Lists the images of a folder, with one system call for each."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from export.archives import LARGEST, is_hidden
from export.images import SUFFIXES

from .files import Files, Paths
from .listing import Listing, Scan


def list_folder(path: Path) -> tuple[Listing, str]:
    """Lists the images of a folder in the order of their names.

    Returns:
        The images, and a hash that changes with their names, sizes and times.
    """
    scan, state, names = Scan(), hashlib.sha256(), Paths()
    for folder, entry in _walk(str(path), "", set()):
        if entry is None:
            scan.folders.append(folder)
            continue
        about, name = entry.stat(), folder + entry.name
        if about.st_size > LARGEST:
            scan.faults.append(f"{name!r} ({about.st_size:,} bytes, too large for an image)")
            continue
        scan.add(name, tuple(folder.split("/")[:-1]), 0, about.st_size)
        state.update(os.fsencode(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\n"))
        names.add(name)
    places = {"file": np.arange(len(scan.sizes), dtype="int32"), "offset": np.array(scan.offsets)}
    files = Files(str(path), {**names.arrays(), **places, "size": np.array(scan.sizes)})
    holder_of = np.array(scan.holder_of)
    listing = Listing(files, list(scan.holders), holder_of, scan.folders, scan.faults, scan.digest.hexdigest()[:32])
    return listing, state.hexdigest()


def _walk(top: str, folder: str, seen: set[str]) -> Iterator[tuple[str, "os.DirEntry[str] | None"]]:
    """Yields the images below a folder in the order of their names, each with its folder; and, without an image, the
    path of each folder.
    """
    real = os.path.realpath(os.path.join(top, folder))
    if real in seen:  # a link leads to a folder that was listed already
        return
    seen.add(real)
    with os.scandir(os.path.join(top, folder)) as entries:
        # With a slash, since "a/b" comes after "a-b", and "a" before it.
        found = sorted((entry.name + "/" * entry.is_dir(), entry) for entry in entries if not is_hidden(entry.name))
    if folder:
        yield folder[:-1], None
    for name, entry in found:
        if name.endswith("/"):
            yield from _walk(top, folder + name, seen)
        elif PurePosixPath(name).suffix.lower() in SUFFIXES:
            yield folder, entry
