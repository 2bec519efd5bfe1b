"""What an analysis has found, as comma-separated values: a row for each tuple, under the names of its fields."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._files import replacing


def write_table(path: Path, rows: Iterable[Any], kind: Any) -> None:
    """Writes named tuples of one kind."""
    with replacing(path) as beside, beside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(kind._fields)
        writer.writerows(rows)
