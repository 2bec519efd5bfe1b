"""Makes a data source of a table: a CSV or Parquet file, or a folder of train.csv and test.csv.

columns   zoo.data.kinds chooses them from the training file, or from all rows if there is only one file
targets   zoo.data.targets
parts     from the files of the folder, from a column, or at random with the same share of each class
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.table_files import Table, is_table, read_table
from export.tables import Columns as Columns

from .._names import unknown
from ..tasks import task_of
from .kinds import infer_columns
from .layout import PARTS, group_parts
from .options import Options
from .source import Preprocessing, Source
from .targets import Targets, find_targets, infer_targets


def table_files(path: Path) -> dict[str, Path]:
    """The files of a table by part, that for training first; the part of a single file is "". Empty if there are none.

    Raises:
        ValueError: If there are several of a part, or none for training.
    """
    if not path.is_dir():
        return {"": path} if is_table(path) else {}
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        part = PARTS.get(file.name.partition(".")[0].lower())
        if part is None or not is_table(file):
            continue
        if part in found:
            raise ValueError(
                f"Expected one table of each part in {str(path)!r}. Received: {found[part].name}, {file.name}"
            )
        found[part] = file
    if found and "train" not in found:
        raise ValueError(f"Expected train.csv in {str(path)!r}. Received: {', '.join(map(str, found.values()))}")
    return dict(sorted(found.items(), key=lambda item: item[0] != "train"))


def read_tables(path: Path, options: Options, like: Mapping[str, Any] | None = None) -> dict[str, Table]:
    """Reads the tables of `table_files`; with a record, as it says.

    Raises:
        ValueError: If one is damaged or empty, or the split column is missing or not needed.
    """
    tables = {part: read_table(file) for part, file in table_files(path).items()}
    for table in tables.values():
        if not table.rows:
            raise ValueError(f"Expected rows below the names of the columns in {table.where}. Received: none")
        check_columns(table, options, like)
    if options.split_column is not None and len(tables) > 1:
        raise ValueError(
            "Expected split_column to be None, because the files say the parts. "
            f"Received: split_column={options.split_column!r}"
        )
    return tables


def check_columns(table: Table, options: Options, like: Mapping[str, Any] | None = None) -> None:
    """Raises a ValueError if a table does not have a column that an option names, or a kind would be ignored."""
    targets = find_targets(options, table)
    named = {
        "split_column": [options.split_column] if options.split_column else [],
        "a name in columns": options.columns,
    }
    for option, names in named.items():
        for name in names or ():
            if name not in table:
                raise unknown(option, name, table)
    kinds = {} if like else options.columns or {}  # records of earlier runs may have such kinds
    if ignored := {name: kind for name, kind in kinds.items() if name in (*targets, options.split_column)}:
        raise ValueError(
            "Expected columns to give kinds of inputs alone; task='classification' or task='regression' says how a "
            f"target is read, and the split column has no kind. Received: columns={ignored}"
        )


def from_tables(name: str, tables: dict[str, Table], options: Options, like: Mapping[str, Any] | None = None) -> Source:
    """Makes a source of tables.

    Args:
        name: Its name.
        tables: By part, that for training first.
        options: How to read them.
        like: The record of a source, whose columns and classes these tables have too; those of other tables that do
            not say their parts are all for testing. Default: they are inferred.

    Raises:
        ValueError: If a column or a value is wrong, with its name and row.
    """
    main = next(iter(tables.values()))
    targets, encoded, parts = split_tables(name, tables, options, like)
    if like and "table" in like:
        columns = Columns.from_dict(like["table"])
    else:
        others = [options.split_column] if options.split_column else []
        columns = infer_columns(main, parts["train"], targets.names, options.columns or {}, others)
    inputs = np.concatenate([columns.encode(table) for table in tables.values()])
    arrays: dict[str, Any] = {f"{part}_inputs": inputs[rows] for part, rows in parts.items()}
    return Source(
        name=name,
        class_names=targets.class_names,
        target_names=targets.target_names,
        preprocessing=Preprocessing.identity(),
        task=targets.task,
        table=columns,
        **arrays,
        **{f"{part}_targets": encoded[rows] for part, rows in parts.items()},
    )


def split_tables(
    name: str, tables: dict[str, Table], options: Options, like: Mapping[str, Any] | None = None
) -> tuple[Targets, np.ndarray, dict[str, np.ndarray]]:
    """Finds the targets of tables, those of all rows, one table after the other, and the rows of each part."""
    main = next(iter(tables.values()))
    names = tuple(like["table"]["targets"]) if like and "table" in like else find_targets(options, main)
    targets = infer_targets(names, main, task_of(like).name if like else options.task)
    if like:
        targets = replace(targets, class_names=tuple(like["class_names"]))
    encoded = np.concatenate([targets.encode(table) for table in tables.values()])
    if options.split_column is not None:
        said = _said_parts(main, options.split_column)
    else:
        said = [part for part, table in tables.items() for _ in table.rows]
    parts = group_parts(name, said)
    whole = parts["train"]
    if "test" not in parts:
        parts = options.split(whole, partial(targets.choose, encoded[whole]))
    return targets, encoded, parts


def _said_parts(table: Table, name: str) -> list[str]:
    said = [str(value).strip().lower() for value in table[name]]
    for row, value, part in zip(table.rows, table[name], said, strict=True):
        if part not in PARTS:
            raise ValueError(
                f"Expected one of {', '.join(PARTS)} in the split column {name!r} of {table.where}. "
                f"Received: {value!r} in row {row}"
            )
    return said


def content(path: Path) -> str:
    """A hash of the files of a table."""
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in table_files(path).values()]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:32]
