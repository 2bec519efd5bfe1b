"""Writes files in one step: a reader sees the old file or the whole new one."""

import csv
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# The names of files that are being written, or that a killed process left.
TEMPORARY = re.compile(r"\.[^.]+-[0-9a-f]{8}(\.|$)")


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to, which replaces the target if the block succeeds and is removed if not."""
    first, dot, suffixes = path.name.partition(".")
    beside = path.with_name(f".{first}-{uuid.uuid4().hex[:8]}{dot}{suffixes}")
    try:
        yield beside
        if beside.is_file():
            # The data reach the disk before the name does, even if the power fails.
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_csv(path: Path, rows: Iterable[NamedTuple], kind: type[NamedTuple]) -> None:
    """Writes named tuples of one kind as comma-separated values, under the names of their fields."""
    with replace_file(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(kind._fields)
        writer.writerows(rows)
