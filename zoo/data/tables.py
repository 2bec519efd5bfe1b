"""Makes a data source of a table: a CSV or Parquet file, or a folder of train.csv and test.csv.

columns   zoo.data.kinds chooses them from the training file, or from all rows of the only file
targets   zoo.data.targets
parts     the files of the folder, the split column, or at random, each class alike
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.table_files import SUFFIXES, Table, is_table, read_table
from export.tables import Columns

from .kinds import infer_columns
from .layout import PARTS, choose_at_random, choose_stratified
from .options import Options
from .source import Preprocessing, Source
from .targets import Targets, find_targets, infer_targets


@dataclass(frozen=True)
class Encoding:
    """How a table was read for training, to read others alike."""

    columns: Columns
    targets: Targets


def from_tables(path: Path, options: Options, encoding: Encoding | None = None) -> Source:
    """Reads a source from the file of a table, or from a folder of them.

    Args:
        path: The file or the folder.
        options: How to read it.
        encoding: That of the training data of a network, to read other data for it. Default: the file's own.

    Raises:
        ValueError: If a file, a column or a value is wrong.
    """
    files = table_files(path)
    tables = {part: read_table(file) for part, file in files.items()}
    for table in tables.values():
        if not table.rows:
            raise ValueError(f"Expected rows below the names of the columns in {table.where}. Received: none")
    main = next(iter(tables.values()))
    targets = encoding.targets if encoding else infer_targets(find_targets(options.target, main), main, options.task)
    encoded = {part: targets.encode(table) for part, table in tables.items()}
    parts = split_rows(main, encoded["train"], targets, options) if len(tables) == 1 else {}
    train = parts.get("train", np.arange(len(main.rows)))
    others = [options.split_column] if options.split_column else []
    columns = encoding.columns if encoding else infer_columns(main, train, targets.names, options.columns or {}, others)
    inputs = {part: columns.encode(table) for part, table in tables.items()}
    if parts:
        inputs = {part: inputs["train"][rows] for part, rows in parts.items()}
        encoded = {part: encoded["train"][rows] for part, rows in parts.items()}
    return Source(
        name=str(path),
        class_names=targets.class_names,
        target_names=targets.names if targets.task == "regression" else (),
        preprocessing=Preprocessing.identity(),
        task=targets.task,
        table=columns,
        origin={"content": content(files.values())},
        **{f"{part}_inputs": rows for part, rows in inputs.items()},
        **{f"{part}_targets": rows for part, rows in encoded.items()},
    )


def table_files(path: Path) -> dict[str, Path]:
    """The files of a table by part, that for training first; an only file is "train". Empty if there are none.

    Raises:
        ValueError: If there are several of a part, or none for training.
    """
    if not path.is_dir():
        return {"train": path} if is_table(path) else {}
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
        raise ValueError(f"Expected train{SUFFIXES[0]} in {str(path)!r}. Received: only {', '.join(found)}")
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    return dict(sorted(found.items(), key=lambda item: item[0] != "train"))


def split_rows(table: Table, encoded: np.ndarray, targets: Targets, options: Options) -> dict[str, np.ndarray]:
    """Chooses the rows of each part: by a column that says train, test or validation, or else at random.

    Raises:
        ValueError: If there is no such column, it says something else, or there are no rows to train or to test with.
    """
    if options.split_column is not None:
        return _split_by_column(table, options.split_column)
    if targets.task == "classification":
        test = choose_stratified(encoded, options.test_fraction, options.split_seed, targets.class_names)
    else:
        test = choose_at_random(len(encoded), options.test_fraction, options.split_seed)
    return {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}


def _split_by_column(table: Table, name: str) -> dict[str, np.ndarray]:
    if name not in table:
        raise ValueError(f"Expected split_column to be one of {', '.join(table)}. Received: {name!r}")
    said = [str(value).strip().lower() for value in table[name]]
    for row, value, part in zip(table.rows, table[name], said, strict=True):
        if part not in PARTS:
            raise ValueError(
                f"Expected {', '.join(PARTS)} in the split column {name!r} of {table.where}. Received: {value!r} in row {row}"
            )
    part_of = np.array([PARTS[part] for part in said])
    parts = {part: np.flatnonzero(part_of == part) for part in ("train", "validation", "test") if part in part_of}
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    if not {"train", "test"} <= set(parts):
        raise ValueError(f"Expected rows for train and test in the split column {name!r}. Received: {', '.join(parts)}")
    return parts


def content(files: Iterable[Path]) -> str:
    """A hash of the contents of files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:32]
