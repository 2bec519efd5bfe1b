"""Makes a data source of a table of image files: a column of their paths, and one or more of what to predict."""

from pathlib import Path

import numpy as np

from export.images import SUFFIXES
from export.table_files import Table
from export.tables import is_missing

from . import cache
from .archives import LARGEST, Entry
from .decoding import DecodedImages, decode, to_pixels, warn_of_skipped
from .options import Options, Progress
from .source import Preprocessing, Source, select_rows
from .splitting import Parts, split_tables
from .targets import Targets, find_targets, infer_targets


def file_column(table: Table) -> str | None:
    """The first column of which every value ends like the name of an image file."""
    for name, values in table.items():
        if all(isinstance(value, str) and value.strip().lower().endswith(tuple(SUFFIXES)) for value in values):
            return name
    return None
