"""Tables as a network takes them: columns by name in, rows of float32 out.

    number      its value                                    NaN where it is missing
    date        days since 1970-01-01, in UTC                NaN where it is missing
    category    its place in the column's values, from 0     their number where it is missing, and for all other values

This needs only NumPy, so that a predictor reads a column exactly as training did.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

KINDS = ("number", "date", "category")
# pandas's spellings of a missing value, in lower case, and UCI's.
MISSING = frozenset(
    ("", "?", "na", "n/a", "nan", "-nan", "null", "none", "<na>", "#na", "#n/a", "#n/a n/a")
    + ("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan")
)
_LONGEST = 80  # characters of a value in an error
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = re.compile(r"([+-]?\d+)\.0+")


@dataclass(frozen=True)
class Column:
    """A column that is an input of the network.

    Attributes:
        name: Its name in the table.
        kind: "number", "date" or "category".
        values: The values of a category, in the order of their indices.
    """

    name: str
    kind: str = "number"
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if self.kind not in KINDS or bool(self.values) != (self.kind == "category"):
            raise ValueError(
                f"Expected a column of the kind {', '.join(KINDS)}, with values if it is a category. "
                f"Received: {self.name!r} of the kind {self.kind!r} with {len(self.values)} values"
            )

    def encode(self, values: Sequence[Any], rows: Sequence[int] | None = None) -> np.ndarray:
        """Encodes the column's values: texts as a file has them, or numbers, dates and booleans.

        Args:
            values: One for each row.
            rows: The numbers of the rows in an error. Default: from 1.

        Returns:
            float64, (rows,).

        Raises:
            ValueError: If a value is not of the column's kind, or is beyond the range of float32.
        """
        if self.kind == "category":
            index = {value: place for place, value in enumerate(self.values)}
            # None, for a missing value, is not among them.
            return np.array([index.get(category(value), len(index)) for value in values], "float64")  # type: ignore[arg-type]
        if self.kind == "number" and (plain := plain_numbers(values)) is not None:
            return self._check_range(plain, values, rows)
        read = number if self.kind == "number" else days
        encoded = np.empty(len(values))
        for place, value in enumerate(values):
            try:
                encoded[place] = read(value)
            except (ValueError, TypeError, OverflowError):
                raise self._wrong(value, place, rows) from None
        return self._check_range(encoded, values, rows)

    def _check_range(self, encoded: np.ndarray, values: Sequence[Any], rows: Sequence[int] | None) -> np.ndarray:
        if (beyond := np.flatnonzero(np.abs(encoded) > np.finfo("float32").max)).size:
            raise self._wrong(values[beyond[0]], beyond[0], rows)
        return encoded

    def _wrong(self, value: Any, place: int, rows: Sequence[int] | None) -> ValueError:
        wanted = "a finite number" if self.kind == "number" else "a date such as 2024-01-31"
        row = place + 1 if rows is None else rows[place]
        text = repr(value)
        received = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
        return ValueError(f"Expected {wanted}, or nothing, in column {self.name!r}. Received: {received} in row {row}")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are the inputs of a network, and which its targets: plain data.

    Attributes:
        inputs: Numbers and dates first, then categories.
        targets: The names of the columns that it predicts.

    Example:
        >>> columns = Columns((Column("age"), Column("town", "category", ("Bath", "York"))), targets=("rent",))
        >>> columns.encode({"town": ["York", "Rome"], "age": ["41", ""]})
        array([[41.,  1.],
               [nan,  2.]], dtype=float32)
    """

    inputs: tuple[Column, ...]
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "targets", tuple(self.targets))
        kinds = [column.kind == "category" for column in self.inputs]
        if not kinds or kinds != sorted(kinds):
            raise ValueError(f"Expected columns, numbers before categories. Received: {self.names}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(column.name for column in self.inputs)

    @property
    def categories(self) -> tuple[int, ...]:
        """How many values each of the last columns has, as the networks for tables take it."""
        return tuple(len(column.values) for column in self.inputs if column.kind == "category")

    def encode(self, table: Mapping[str, Sequence[Any]], rows: Sequence[int] | None = None) -> np.ndarray:
        """Encodes a table, given as the values of each column by its name, for the network; other columns are ignored.

        Args:
            table: The values of each column; see `Column.encode`.
            rows: The numbers of the rows in an error. Default: those of a `Table`, or from 1.

        Returns:
            float32, (rows, inputs).

        Raises:
            ValueError: If a column is missing or a value is wrong; the message names the column and the row.
        """
        if absent := [name for name in self.names if name not in table]:
            raise ValueError(f"Expected the columns {', '.join(self.names)}. Received: none called {', '.join(absent)}")
        lengths = {name: len(table[name]) for name in self.names}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Expected columns of equal length. Received: {lengths}")
        rows = getattr(table, "rows", None) if rows is None else rows
        encoded = [column.encode(table[column.name], rows) for column in self.inputs]
        return np.stack(encoded, axis=1).astype("float32")

    def encode_rows(self, rows: Sequence[Mapping[str, Any]], missing: str = "None") -> np.ndarray:
        """Encodes rows, each the values by the name of their column.

        Args:
            rows: The rows; see `encode`.
            missing: How whoever gives them writes a missing value, in an error.

        Returns:
            float32, (rows, inputs).

        Raises:
            ValueError: If a row lacks a column, or a value is wrong.
        """
        for number, row in enumerate(rows, 1):
            if absent := [name for name in self.names if name not in row]:
                raise ValueError(
                    f"Expected the columns {', '.join(self.names)}, with {missing} for a missing value. "
                    f"Received: row {number} without {', '.join(absent)}"
                )
        return self.encode({name: [row[name] for row in rows] for name in self.names})

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, ready for JSON."""
        return {
            "inputs": [{**asdict(column), "values": list(column.values)} for column in self.inputs],
            "targets": list(self.targets),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Columns":
        """Makes columns from the result of `to_dict`.

        Raises:
            ValueError: If a name is unknown, or a value invalid.
        """
        inputs = [Column(**_known(Column, column)) for column in values.get("inputs", ())]
        return cls(**{**_known(cls, values), "inputs": tuple(inputs)})


def _known(kind: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
    known = [field.name for field in fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"Expected {kind.__name__} with the fields {known}. Received: {unknown}")
    return values


def is_missing(value: Any) -> bool:
    """Whether a value is missing: None, NaN, or one of the `MISSING` texts."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    return value is None or value != value


def number(value: Any) -> float:
    """Reads a finite number; NaN for a missing value.

    Raises:
        ValueError: If it is not one. A boolean is not a number.
    """
    if is_missing(value):
        return np.nan
    # Python reads True as 1 and 1_000 as 1000, but in a table they are not numbers.
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, str) and "_" in value):
        raise ValueError(value)
    read = float(value)
    if np.isinf(read):
        raise ValueError(value)
    return read


def plain_numbers(values: Sequence[Any]) -> np.ndarray | None:
    """Reads texts that are numbers or empty as `number` does, but fast; None if there are others."""
    if not all(type(value) is str and "_" not in value for value in values):
        return None
    try:
        read = np.array([float(value) if value else np.nan for value in values], "float64")
    except ValueError:
        return None
    return None if np.isinf(read).any() else read


def days(value: Any) -> float:
    """Reads a date, or a date with a time, in ISO 8601 as days since 1970-01-01 in UTC; NaN for a missing value.

    Raises:
        ValueError: If it is not a date.
    """
    if is_missing(value):
        return np.nan
    text = str(value).strip()
    if "-" not in text[1:]:
        raise ValueError(value)
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH).total_seconds() / 86400


def category(value: Any) -> str | None:
    """Reads the text of a category, in one spelling: "1" for 1.0, "true" for True. None for a missing value."""
    if is_missing(value):
        return None
    text = value.isoformat() if isinstance(value, date) else str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text
