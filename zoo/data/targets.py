"""The target of a table: the task that follows from its column, and its values as a network's targets."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.images import SUFFIXES
from export.table_files import Table
from export.tables import Column, category, is_missing, number

from .._names import unknown
from .layout import choose_at_random, choose_stratified, sort_classes
from .options import Options

# Whole numbers with so few values, each of them so often, are classes.
_MOST_CLASSES, _LEAST_ROWS = 20, 5
_IMAGES = tuple(SUFFIXES)
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")


@dataclass(frozen=True)
class Targets:
    """How columns of a table become targets.

    Attributes:
        names: The columns.
        task: "classification" or "regression".
        class_names: Of a classification.
    """

    names: tuple[str, ...]
    task: str
    class_names: tuple[str, ...] = ()

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names that a source has for its targets."""
        return self.names if self.task == "regression" else ()

    def choose(self, encoded: np.ndarray, fraction: float, seed: int) -> np.ndarray:
        """Chooses test rows, the same part of each class, as a boolean array."""
        if self.task == "classification":
            return choose_stratified(encoded, fraction, seed, self.class_names)
        return choose_at_random(len(encoded), fraction, seed)

    def encode(self, table: Table) -> np.ndarray:
        """Encodes the targets: int64 (rows,) for classes, float32 (rows, names) for numbers.

        Raises:
            ValueError: If a column or a value is missing, or a value is wrong, with the name of the column and the row.
        """
        check_targets(self.names, table)
        if self.task == "classification":
            return self._classes(table)
        columns = [Column(name).encode(table[name], table.rows) for name in self.names]
        for name, column in zip(self.names, columns, strict=True):
            _refuse_missing(name, np.isnan(column), table)
        return np.stack(columns, axis=1).astype("float32")

    def _classes(self, table: Table) -> np.ndarray:
        (name,) = self.names
        values = [_class_name(value) for value in table[name]]
        _refuse_missing(name, np.array([value is None for value in values]), table)
        index = {value: place for place, value in enumerate(self.class_names)}
        for row, value in zip(table.rows, values, strict=True):
            if value not in index:
                raise ValueError(
                    f"Expected one of the classes {', '.join(self.class_names[:10])} in column {name!r} "
                    f"of {table.where}. Received: {value!r} in row {row}"
                )
        return np.array([index[value] for value in values], "int64")  # type: ignore[index]


def find_targets(options: Options, table: Table) -> tuple[str, ...]:
    """The columns to predict: one, several, or several separated by commas; by default the only one beside image files.

    Raises:
        ValueError: If there is no such column, or none is given.
    """
    target = options.target
    if not target and (files := file_column(table)) is not None:
        others = [name for name in table if name not in (files, options.split_column)]
        target = others if len(others) == 1 else None
    if not target:
        raise ValueError(f"Expected target, the column to predict: one of {', '.join(table)}. Received: none")
    if not isinstance(target, str):
        names = tuple(target)
    else:
        names = (target,) if target in table else tuple(name.strip() for name in target.split(","))
    check_targets(names, table)
    if len(set(names)) < len(names):
        raise ValueError(f"Expected each target once. Received: target={target!r}")
    return names


def file_column(table: Table) -> str | None:
    """The first column of which every value ends like the name of an image file."""
    for name, values in table.items():
        if values and all(isinstance(value, str) and value.strip().lower().endswith(_IMAGES) for value in values):
            return name
    return None


def check_targets(names: Sequence[str], table: Mapping[str, Any]) -> None:
    for name in names:
        if name not in table:
            raise unknown("target", name, table)


def infer_targets(names: tuple[str, ...], table: Table, task: str | None) -> Targets:
    """Finds the task, unless it is given, and the classes.

    Several columns, and numbers, are a regression. Text and few whole numbers are a classification.
    """
    check_targets(names, table)
    if task is None:
        several = len(names) > 1
        task = "regression" if several or not _are_classes(table[names[0]]) else "classification"
    if task == "regression":
        return Targets(names, task)
    if task != "classification" or len(names) > 1:
        raise ValueError(
            "Expected the task of a table to be classification, of one column, or regression. "
            f"Received: task={task!r} with the columns {', '.join(names)}"
        )
    found = {name for value in table[names[0]] if (name := _class_name(value)) is not None}
    return Targets(names, task, sort_classes(found))


def _are_classes(values: Sequence[Any]) -> bool:
    present = [value for value in values if not is_missing(value)]
    try:
        numbers = {number(value) for value in present}
    except (ValueError, TypeError):
        return True
    whole = all(_WHOLE.fullmatch(value) if isinstance(value, str) else isinstance(value, int) for value in present)
    return whole and len(numbers) <= min(_MOST_CLASSES, len(present) / _LEAST_ROWS)


def _class_name(value: Any) -> str | None:
    """The name of a class, which may be "none"."""
    if isinstance(value, str) and value.strip().lower() == "none":
        return value.strip()
    return category(value)


def _refuse_missing(name: str, missing: np.ndarray, table: Table) -> None:
    if missing.any():
        more = f" and {missing.sum() - 1} more" if missing.sum() > 1 else ""
        raise ValueError(
            f"Expected a value of the target {name!r} in every row of {table.where}. "
            f"Received: none in row {table.rows[int(missing.argmax())]}{more}"
        )
