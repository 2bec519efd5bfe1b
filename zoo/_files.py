"""Files appear whole: each is written beside its place and moved there in one step."""

import csv
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# The names of files that are still being written, or that a killed process left.
TEMPORARY = re.compile(r"\.[^.]+-[0-9a-f]{8}(\.|$)")


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A path beside the target to write to; it takes the target's place when the block ends well, and goes when not."""
    first, dot, suffixes = path.name.partition(".")
    beside = path.with_name(f".{first}-{uuid.uuid4().hex[:8]}{dot}{suffixes}")
    try:
        yield beside
        if beside.is_file():
            # What took the target's place is on the disk, even if the power fails next.
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_csv(path: Path, rows: Iterable[NamedTuple], kind: type[NamedTuple]) -> None:
    """Writes named tuples of one kind as comma-separated values, under the names of their fields."""
    with replace_file(path) as beside, beside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(kind._fields)
        writer.writerows(rows)
