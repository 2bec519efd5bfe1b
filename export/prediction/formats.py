"""The formats of the output: CSV, JSON lines, JSON and Parquet.

Text only grows at its end while predictions are made, so that a killed process leaves whole rows. Parquet cannot
grow like that: its rows are JSON lines first, and become Parquet when all are there.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .answers import Cell

Columns = Mapping[str, type]
Rows = Sequence[Sequence[Cell]]
# How many rows of Parquet are in memory at a time.
_GROUP = 10_000


@dataclass(frozen=True)
class Format:
    """How rows become text.

    Attributes:
        header: Writes what comes before the rows.
        rows: Writes rows; the last argument says whether they are the first.
        footer: What comes after the rows.
        convert: Writes the final file from the text, if the text is not the file itself.
    """

    header: Callable[[Columns], str]
    rows: Callable[[Columns, Rows, bool], str]
    footer: str = ""
    convert: Callable[[Path, Path, Columns], None] | None = None


def find_format(path: Path) -> Format:
    """Finds the format by the suffix of a file.

    Raises:
        ValueError: If there is no such format, or its library is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"Expected out to end in one of {', '.join(FORMATS)}. Received: out={str(path)!r}")
    if suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise ValueError(
                f"Expected pyarrow to be installed for Parquet, or another format. Received: out={str(path)!r}"
            ) from None
    return FORMATS[suffix]


def _csv(rows: Rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _json(columns: Columns, rows: Rows) -> list[str]:
    return [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]


def _json_lines(columns: Columns, rows: Rows, first: bool) -> str:
    return "".join(f"{line}\n" for line in _json(columns, rows))


def _json_list(columns: Columns, rows: Rows, first: bool) -> str:
    return ("" if first else ",\n") + ",\n".join(_json(columns, rows))


def _to_parquet(text: Path, path: Path, columns: Columns) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {str: pyarrow.string(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    with text.open(encoding="utf-8") as lines, parquet.ParquetWriter(path, schema) as writer:
        while group := [json.loads(line) for line in islice(lines, _GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


FORMATS = {
    ".csv": Format(lambda columns: _csv([list(columns)]), lambda columns, rows, first: _csv(rows)),
    ".json": Format(lambda columns: "[\n", _json_list, "\n]\n"),
    ".jsonl": Format(lambda columns: "", _json_lines),
    ".parquet": Format(lambda columns: "", _json_lines, convert=_to_parquet),
}
