"""Which columns of a table a network sees, and of what kind each is.

    number      all values are finite numbers
    date        all values are dates in ISO 8601
    category    other texts, and booleans

Columns of one value, and texts that differ in most rows, are ignored with a warning.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from export.table_files import Table
from export.tables import Column, Columns, category, days, is_missing, number, plain_numbers

from .layout import sort_classes
from .options import IGNORE

_MOST_VALUES = 20  # a category may have so many values, even if each is in one row
# Remarks on columns; those with the first two are ignored.
_CONSTANT = "Ignored columns with only one value"
_DISTINCT = "Ignored columns of text that differs in most rows, which may be declared as categories"
_COUNTING = "Columns that only count the rows, which should be ignored if they mean nothing"
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
    inputs: list[Column] = []
    remarks: dict[str, list[str]] = {}
    for name in table:
        if name in (*targets, *others) or kinds.get(name) == IGNORE:
            continue
        kind = kinds.get(name) or _infer_kind(name, table)
        read = _category if kind == "category" else _numbers
        column, remark = read(Column(name, kind, ("",) if kind == "category" else ()), table, train)
        if remark is _DISTINCT and name in kinds:
            remark = ""
        if remark:
            remarks.setdefault(remark, []).append(name)
        if remark in ("", _COUNTING):
            inputs.append(column)
    for remark, names in remarks.items():
        warnings.warn(f"{remark}: {', '.join(names)}", stacklevel=5)
    if not inputs:
        raise ValueError(f"Expected columns that differ, beside {', '.join(targets)}, in {table.where}. Received: none")
    return Columns(tuple(sorted(inputs, key=lambda column: column.kind == "category")), targets)


def _category(column: Column, table: Table, train: np.ndarray) -> tuple[Column, str]:
    """The column with its values, and a remark on it."""
    values = [category(table[column.name][place]) for place in train]
    vocabulary = sort_classes({value for value in values if value is not None})
    present = len(values) - values.count(None)
    if not vocabulary or len(vocabulary) + (present < len(values)) < 2:
        return column, _CONSTANT
    found = replace(column, values=vocabulary)
    return found, _DISTINCT if len(vocabulary) > max(_MOST_VALUES, present / 2) else ""


def _numbers(column: Column, table: Table, train: np.ndarray) -> tuple[Column, str]:
    """The column, and a remark on it."""
    numbers = column.encode(table[column.name], table.rows)
    present = numbers[train][~np.isnan(numbers[train])]
    if len(np.unique(present)) < 2:
        return column, _CONSTANT
    _warn_of_rounding(column.name, present)
    return column, _COUNTING if _counts(numbers) else ""


def _infer_kind(name: str, table: Table) -> str:
    if plain_numbers(table[name]) is not None:
        return "number"
    present = [(row, value) for row, value in zip(table.rows, table[name], strict=True) if not is_missing(value)]
    numbers = [_reads(number, value) for _, value in present]
    if all(numbers):
        return "number"
    if all(_reads(days, value) for _, value in present):
        return "date"
    almost = [isinstance(value, str) and _ALMOST_NUMBER.fullmatch(value.strip()) for _, value in present]
    for known in (numbers, almost):
        if sum(map(bool, known)) > len(present) / 2:
            others = [pair for pair, fits in zip(present, numbers, strict=True) if not fits]
            row, value = others[0]
            more = f", and {len(others) - 1} more that are neither" if len(others) > 1 else ""
            raise ValueError(
                f"Expected numbers such as 1234.5, or dates such as 2024-01-31, in column {name!r} of {table.where}, "
                f"or one of columns={{{name!r}: 'category'}} and {{{name!r}: 'ignore'}}. "
                f"Received: {value!r} in row {row}{more}"
            )
    return "category"


def _reads(read: Any, value: Any) -> bool:
    try:
        read(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _counts(numbers: np.ndarray) -> bool:
    """Whether they are whole numbers without a gap, each in one row."""
    return len(numbers) > 2 and bool((np.diff(np.sort(numbers)) == 1).all())


def _warn_of_rounding(name: str, values: np.ndarray) -> None:
    error = np.abs(values - values.astype("float32")).max(initial=0)
    if error > 0.01 * values.std() > 0:
        warnings.warn(
            f"The column {name!r} has values up to {np.abs(values).max():.9g}, which float32 rounds by up to "
            f"{error:.3g}; subtract a constant from them",
            stacklevel=7,
        )
