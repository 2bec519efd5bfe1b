"""Lists and removes the decoded images in the cache. It loads neither NumPy nor an image."""

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .._names import unknown
from .cache import cache_folder

# A folder that nobody has written to for so long was left by a killed process.
ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class Cached:
    """The decoded images of a data source, read in one way.

    Attributes:
        path: The folder; its name is that of the source and a key.
        source: The folder or archive that was read; empty if unknown.
        bytes: The size on disk.
        used: When it was last written or read, in seconds since 1970.
        complete: False while it is written, and for what a killed process left.
    """

    path: Path
    source: str
    bytes: int
    used: float
    complete: bool

    @property
    def in_use(self) -> bool:
        """Whether a process may be writing it."""
        return not self.complete and time.time() - self.used < ABANDONED_SECONDS


def list_cached() -> list[Cached]:
    """Lists the contents of the cache, the last used first."""
    return sorted(_found(cache_folder() / "sources"), key=lambda cached: -cached.used)


def find_cached(names: list[str]) -> list[Cached]:
    """What has one of these names: that of a folder, or of a source.

    Raises:
        ValueError: If nothing has a name.
    """
    found = list_cached()
    known = {cached: {cached.path.name, cached.path.name.rpartition("-")[0]} for cached in found}
    for name in names:
        if not any(name in of_it for of_it in known.values()):
            raise unknown("a name in the cache", name, [cached.path.name for cached in found])
    return [cached for cached in found if known[cached] & set(names)]


def remove_cached(cached: Cached) -> None:
    """Removes decoded images; a process that has mapped them keeps them until it ends.

    Raises:
        ValueError: If a process may be writing them.
    """
    if cached.in_use:
        raise ValueError(
            f"Expected decoded images that no process is writing. Received: {cached.path.name}, "
            f"written {time.time() - cached.used:.0f} seconds ago"
        )
    # A process that looks for the images meanwhile finds all of them, or none.
    aside = cached.path.with_name(f".{cached.path.name.lstrip('.')}-{uuid.uuid4().hex[:8]}")
    os.rename(cached.path, aside)
    shutil.rmtree(aside)


def _found(folder: Path) -> Iterator[Cached]:
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            files = [file.stat() for file in path.iterdir()]
        except OSError:
            # Another process has removed it meanwhile, or it is a file of somebody else's.
            continue
        record = path / "source.json"
        complete = not path.name.startswith(".") and record.is_file()
        used = record.stat().st_mtime if complete else max((file.st_mtime for file in files), default=0.0)
        yield Cached(path, _source(record), sum(file.st_size for file in files), used, complete)


def _source(record: Path) -> str:
    try:
        return str(json.loads(record.read_text(encoding="utf-8")).get("source", ""))
    except (OSError, ValueError, AttributeError):
        return ""
