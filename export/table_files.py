"""Reads table files: CSV, also with semicolons or tabs or compressed with gzip, and Parquet."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_DELIMITERS = ",;\t|"
_HEAD = 20  # the lines from which the delimiter is found
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")
_DECIMAL_POINT = re.compile(r"\s*[+-]?\d*\.\d+([eE][+-]?\d+)?\s*")


class Table(Mapping[str, Sequence[Any]]):
    """The values of each column by its name, in the order of the file; those of a CSV are texts.

    Attributes:
        where: The name of the file, for errors.
        rows: The number of each row in the file, as a spreadsheet shows it.
    """

    def __init__(self, where: str, columns: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> None:
        self.where, self.rows, self._columns = where, rows, columns

    def __getitem__(self, name: str) -> Sequence[Any]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def is_table(name: str | Path) -> bool:
    """Whether a path ends like a file that `read_table` reads."""
    return str(name).lower().endswith(SUFFIXES)


def read_table(source: str | Path | bytes, *, most: int | None = None) -> Table:
    """Reads a table from a file, or from the contents of a CSV.

    The first line names the columns. Commas, semicolons, tabs or bars separate them, whichever gives the most columns
    in the first lines. Unless commas separate the columns, numbers may have decimal commas. Text is UTF-8, or UTF-16
    with a byte order mark. A first column without a name that only counts the rows, as pandas writes it, is left out.

    Args:
        source: The path, which ends in one of `SUFFIXES`, or the bytes of a CSV.
        most: How many rows to read. Default: all.

    Returns:
        A `Table`.

    Raises:
        ValueError: If the file is damaged, empty or not a table; where there is one, the message names the row.
        OSError: If it cannot be read.
    """
    if not isinstance(source, bytes) and str(source).lower().endswith(".parquet"):
        return _read_parquet(Path(source), most)
    where = "the table" if isinstance(source, bytes) else repr(str(source))
    try:
        return _read_csv(source, where, most)
    except (csv.Error, UnicodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"Expected a CSV in UTF-8. Received: {where}: {error}") from None


def _read_csv(source: str | Path | bytes, where: str, most: int | None) -> Table:
    text = _text(source if isinstance(source, bytes) else Path(source).read_bytes())
    head = list(islice(io.StringIO(text, newline=""), _HEAD))
    delimiter = max(_DELIMITERS, key=lambda candidate: _width(head, candidate))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = _check_names([name.strip() for name in next(reader, [])], where)
    rows, values = [], []
    for fields in islice(filter(None, reader), most):
        if len(fields) != len(names):
            raise ValueError(
                f"Expected {len(names)} values in each row of {where}, like its first line. "
                f"Received: {len(fields)} in row {reader.line_num}"
            )
        rows.append(reader.line_num)
        values.append(fields)
    columns: list[Sequence[str]] = list(zip(*values, strict=True)) if values else [()] * len(names)
    if not names[0] and _counts_rows(columns[0]):
        names, columns = names[1:], columns[1:]
    if "" in names:
        raise ValueError(
            f"Expected a name for each column in the first line of {where}. "
            f"Received: none for column {names.index('') + 1}"
        )
    if delimiter != ",":
        columns = [_with_points(column) for column in columns]
    return Table(where, dict(zip(names, columns, strict=True)), rows)


def _text(data: bytes) -> str:
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def _width(head: list[str], delimiter: str) -> int:
    """The least number of fields in the first rows, of which the last may end in the middle of a text."""
    try:
        rows = [fields for fields in csv.reader(head, delimiter=delimiter) if fields]
        return min(map(len, rows[:-1] if len(rows) > 1 and len(head) == _HEAD else rows), default=1)
    except csv.Error:
        return 1


def _check_names(names: list[str], where: str) -> list[str]:
    if not any(names):
        raise ValueError(f"Expected the names of the columns in the first line of {where}. Received: nothing")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise ValueError(f"Expected a different name for each column of {where}. Received: {', '.join(twice)} twice")
    if all(re.fullmatch(r"[+-]?[\d.,]+", name) for name in names):
        raise ValueError(
            f"Expected the names of the columns in the first line of {where}. Received: only numbers, {names[:3]}"
        )
    return names


def _counts_rows(values: Sequence[str]) -> bool:
    return all(value == str(place) for place, value in enumerate(values))


def _with_points(column: Sequence[str]) -> Sequence[str]:
    """A column with decimal points in its numbers with decimal commas, unless it has numbers with points as well."""
    if any(map(_DECIMAL_POINT.fullmatch, column)):
        return column
    return [value.replace(",", ".") if _DECIMAL_COMMA.fullmatch(value) else value for value in column]


def _read_parquet(path: Path, most: int | None) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(f"{str(path)!r} needs pyarrow: pip install pyarrow ({error})") from None
    try:
        with path.open("rb") as file, pyarrow.parquet.ParquetFile(file) as opened:
            table = opened.read() if most is None else opened.read().slice(0, most)
    except pyarrow.ArrowException as error:
        raise ValueError(f"Expected a Parquet file. Received: {str(path)!r}: {error}") from None
    names = _check_names([name for name in table.column_names if name != "__index_level_0__"], repr(str(path)))
    columns = {name: table[name].to_pylist() for name in names}
    return Table(repr(str(path)), columns, range(1, table.num_rows + 1))
