"""Makes a data source from a table of image files: a column of their paths, and one or more columns to predict.

The paths are relative to the table's file.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export.archives import LARGEST, Entry
from export.table_files import Table

from . import cache
from .decoding import DecodedImages, decode, hash_of, to_pixels, warn_of_skipped
from .options import Options, Progress
from .rows import select_rows
from .source import Preprocessing, Source
from .tables import content, split_tables, table_files
from .targets import file_column


def from_image_tables(
    path: Path,
    tables: dict[str, Table],
    options: Options,
    cache_in: Path | None,
    progress: Progress | None,
    like: Mapping[str, Any] | None = None,
) -> Source:
    """Makes a source of the images that tables list.

    Args:
        path: The file or folder of the tables.
        tables: By part, that for training first.
        options: How to read them.
        cache_in: The folder of the cache; None keeps the images in memory.
        progress: Called with how many files are read and how many there are.
        like: The record of a source, whose classes these tables have too. Default: they are inferred.

    Raises:
        ValueError: If an image, a column or a value is wrong.
    """
    if options.columns and not like:
        raise ValueError(
            f"Expected columns only for a table without image files, which are the only inputs of {str(path)!r}. "
            f"Received: columns={dict(options.columns)}"
        )
    targets, encoded, parts = split_tables(str(path), tables, options, like)
    entries = list(_entries(path, tables))

    def read(stacks: list[cache.ImageStack]) -> cache.Contents:
        images = DecodedImages(path, stacks[0], options)
        good: list[int] = []
        decoded = decode(entries, lambda entry: to_pixels(entry, options.reader), progress)
        for place, (entry, pixels) in enumerate(decoded):
            if images.add(entry.name, pixels):
                good.append(place)
        images.refuse_bad()
        pixels = stacks[0].finish()
        index = np.full(len(entries), -1)
        index[good] = np.arange(len(good))
        kept = {part: rows[index[rows] >= 0] for part, rows in parts.items()}
        train = select_rows(pixels, index[kept["train"]])
        about = {
            "content": hash_of([content(path), *images.hashes]),
            "preprocessing": Preprocessing.fitted(train, scale=1 / 255).as_dict(),
            "skipped": images.bad,
        }
        return cache.Contents({"images": pixels}, {part: (index[rows], rows) for part, rows in kept.items()}, about)

    state = [[entry.name, entry.size, _time(entry)] for entry in entries]
    facts = {"content": content(path), "state": state, "options": options.as_dict(), "like": targets.class_names}
    found = cache.through(cache_in, path, facts, ("images",), read)
    warn_of_skipped(path, found.about["skipped"])
    arrays: dict[str, Any] = {}
    for part, (indices, rows) in found.parts.items():
        arrays[f"{part}_inputs"] = select_rows(found.arrays["images"], indices)
        arrays[f"{part}_targets"] = encoded[rows]
    return Source(
        name=str(path),
        class_names=targets.class_names,
        target_names=targets.target_names,
        preprocessing=Preprocessing.from_dict(found.about["preprocessing"]),
        task=targets.task,
        origin={"content": found.about["content"], "skipped": len(found.about["skipped"])},
        **arrays,
    )


def _entries(path: Path, tables: dict[str, Table]) -> Iterator[Entry]:
    files = table_files(path)
    total, done = sum(len(table.rows) for table in tables.values()), 0
    for part, table in tables.items():
        name = file_column(table)
        if name is None:
            raise ValueError(f"Expected a column of the paths of image files in {table.where}. Received: none")
        for value in table[name]:
            done += 1
            file = files[part].parent / value.strip()
            size = file.stat().st_size if file.is_file() else 0
            yield Entry(value.strip(), file if size <= LARGEST else None, size, done, total)


def _time(entry: Entry) -> int:
    return entry.data.stat().st_mtime_ns if isinstance(entry.data, Path) and entry.data.is_file() else 0
