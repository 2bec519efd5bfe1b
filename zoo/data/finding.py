"""Finds the path that a name of data means, or suggests what may have been meant."""

import difflib
import os
from pathlib import Path
from typing import Any

from export.archives import ARCHIVE_SUFFIXES
from export.table_files import SUFFIXES as TABLE_SUFFIXES

from .arrays import ARRAY_FILES
from .named import SOURCES
from .streaming.patterns import find_shards, is_pattern, is_shard


def find_path(name: Any) -> Path | None:
    """Finds the path of a source; returns None for a source with a name."""
    if isinstance(name, str) and (name in SOURCES or name.startswith("tfds:")):
        return None
    if not isinstance(name, (str, os.PathLike)):
        raise ValueError(f"Expected data as a name, a path or a zoo.Source. Received: {type(name).__name__}")
    path = Path(name).expanduser().absolute()
    if is_pattern(path):
        find_shards(path)
        return path
    if not path.exists():
        raise _missing_source(str(name), path)
    suffixes = (*ARRAY_FILES, *TABLE_SUFFIXES, *ARCHIVE_SUFFIXES)
    if not path.is_dir() and not path.name.lower().endswith(suffixes) and not is_shard(path.name):
        raise ValueError(f"Expected a folder, or a file that ends in {', '.join(suffixes)}. Received: {str(path)!r}")
    return path


def _missing_source(name: str, path: Path) -> ValueError:
    names = [*SOURCES, *(os.path.join(os.path.dirname(name), item) for item in _siblings(path))]
    near = difflib.get_close_matches(name, names, cutoff=0.7)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return ValueError(
        f"Expected data source to be one of {', '.join(SOURCES)}, tfds:NAME, or the path of a folder, "
        f"{', '.join((*ARRAY_FILES, *TABLE_SUFFIXES))}, .tar or .zip. Received: {name!r}, which does not exist.{hint}"
    )


def _siblings(path: Path) -> list[str]:
    try:
        return [item.name for item in path.parent.iterdir()] if path.name else []
    except OSError:
        return []
