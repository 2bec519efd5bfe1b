"""Which columns of a table a network sees, and of which kind each is.

    number      all values are finite numbers
    date        all values are dates in ISO 8601
    category    other texts, and booleans

Columns of one value, and texts that differ in most rows, are ignored with a warning.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.table_files import Table
from export.tables import Column, Columns, category, days, is_missing, number

from .._names import unknown
from .layout import sort_classes
from .options import IGNORE

_MOST_VALUES = 20  # a category may have so many values, even if each is in one row
_ALMOST_NUMBER = re.compile(r"[+-]?\s*[€$£]?\s*\d[\d.,'/:\s]*[%€$£]?")


def infer_columns(
    table: Table, train: np.ndarray, targets: tuple[str, ...], kinds: Mapping[str, str], others: Sequence[str] = ()
) -> Columns:
    """Finds the columns that a network sees.

    Args:
        table: All rows, which decide the kinds.
        train: The places of the training rows, which decide the values of a category.
        targets: The columns to predict.
        kinds: The kinds that are known, by name; "ignore" leaves a column out.
        others: More columns to leave out.

    Raises:
        ValueError: If a value does not have the kind of its column, or no column is left.
    """
    for name in kinds:
        if name not in table:
            raise unknown("a column", name, table)
    inputs, constant, distinct, counting = [], [], [], []
    for name in table:
        if name in (*targets, *others) or kinds.get(name) == IGNORE:
            continue
        kind = kinds.get(name) or _infer_kind(name, table)
        values = [table[name][place] for place in train]
        if kind == "category":
            found = [text for value in values if (text := category(value)) is not None]
            column = Column(name, kind, sort_classes(set(found)) or ("",))
            is_constant = len(set(found)) + (len(found) < len(values)) < 2 or not found
            if name not in kinds and len(set(found)) > max(_MOST_VALUES, len(found) / 2):
                distinct.append(name)
                continue
        else:
            column = Column(name, kind)
            encoded = column.encode(values, [table.rows[place] for place in train])
            present = encoded[~np.isnan(encoded)]
            is_constant = len(np.unique(present)) < 2
            _warn_of_rounding(name, present)
            if _counts(present, len(values)):
                counting.append(name)
        (constant if is_constant else inputs).append(name if is_constant else column)
    _warn("have one value and are ignored", constant)
    _warn("are texts that differ in most rows and are ignored; NAME=category keeps one", distinct)
    _warn("only count the rows; NAME=ignore leaves one out", counting)
    if not inputs:
        raise ValueError(f"Expected columns that differ, beside {', '.join(targets)}, in {table.where}. Received: none")
    return Columns(tuple(sorted(inputs, key=lambda column: column.kind == "category")), targets)


def _infer_kind(name: str, table: Table) -> str:
    present = [(row, value) for row, value in zip(table.rows, table[name], strict=True) if not is_missing(value)]
    numbers = [_reads(number, value) for _, value in present]
    if all(numbers):
        return "number"
    if all(_reads(days, value) for _, value in present):
        return "date"
    almost = [isinstance(value, str) and _ALMOST_NUMBER.fullmatch(value.strip()) for _, value in present]
    for known in (numbers, almost):
        if sum(map(bool, known)) > len(present) / 2:
            row, value = next(pair for pair, fits in zip(present, numbers, strict=True) if not fits)
            raise ValueError(
                f"Expected numbers such as 1234.5, or dates such as 2024-01-31, in column {name!r} of {table.where}; or "
                f"{name}=category, or {name}=ignore. Received: {value!r} in row {row}, and "
                f"{len(numbers) - sum(numbers) - 1} more that are neither"
            )
    return "category"


def _reads(read: Any, value: Any) -> bool:
    try:
        read(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _counts(present: np.ndarray, rows: int) -> bool:
    """Whether the values are whole numbers without a gap, each in one row."""
    return len(present) == rows and rows > 2 and bool((np.diff(np.sort(present)) == 1).all())


def _warn_of_rounding(name: str, values: np.ndarray) -> None:
    error = np.abs(values - values.astype("float32")).max(initial=0)
    if error > 0.01 * values.std() > 0:
        warnings.warn(
            f"The column {name!r} has values up to {np.abs(values).max():.9g}, which float32 rounds by up to {error:.3g}; "
            "subtract a constant from them",
            stacklevel=5,
        )


def _warn(what: str, names: list[str]) -> None:
    if names:
        warnings.warn(f"Columns that {what}: {', '.join(names)}", stacklevel=5)
