"""The unfinished output: OUT.part, and beside it OUT.part.jsonl, which records what it belongs to and how far it is.

The record gets a line after each write. So whenever the process is killed, the last complete line of the record gives a
length up to which the rows of the file are complete; resuming cuts off the rest.
"""

import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..storage.publishing import SYSTEM_FILES, take_name
from .answers import FILE, MASK
from .formats import find_format
from .inputs import name_part

TABLE = "predictions.csv"
# The names of masks; `make_answer` makes them.
_MASK = re.compile(r"\d{8,}-[\w-]*\.png", re.ASCII)
# How many bad inputs are named in the end.
_NAMED = 10
# The words for what differs from the record.
_WORDS = {"network": "another network or device", "inputs": "other inputs", "settings": "other settings"}


@dataclass
class Part:
    """An unfinished output.

    Attributes:
        out: The output that it becomes.
        makes_masks: Whether that is a folder of masks with a table, and not only a table.
        identity: What it belongs to: "network", "inputs" and "settings".
        rows: How many rows are written.
        size: Their size in bytes.
        bad: How many of them are of bad inputs.
        named: The first bad inputs, with their reasons.
    """

    out: Path
    makes_masks: bool
    identity: Mapping[str, Any]
    rows: int = 0
    size: int = 0
    bad: int = 0
    named: list[str] = field(default_factory=list)
    file: BinaryIO | None = None

    @property
    def path(self) -> Path:
        return name_part(self.out)

    @property
    def table(self) -> Path:
        return self.path / TABLE if self.makes_masks else self.path

    @property
    def record(self) -> Path:
        return _name_record(self.path)

    def start(self, resume: bool) -> None:
        """Opens the file after its last complete row, or a new one.

        Raises:
            ValueError: If the existing rows belong to another network, other inputs or other settings, or if another
                process is writing.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        resume = resume and self.table.is_file() and self._is_begun()
        if self.makes_masks:
            self.path.mkdir(exist_ok=True)
        self.file = self.table.open("ab")
        try:
            _lock(self.file, self.table)
            if resume:
                self._read_record()
            else:
                self.record.write_text(f"{json.dumps(self.identity)}\n", encoding="utf-8")
                self._remove_masks()
            self.file.truncate(self.size)
        except BaseException:
            self.file.close()
            raise

    def append(self, text: str, rows: int = 0, bad: Sequence[str] = ()) -> None:
        """Writes complete rows, then records them."""
        size = self._write(text)
        named = list(bad)[: _NAMED - len(self.named)]
        self.rows, self.size, self.bad = self.rows + rows, self.size + size, self.bad + len(bad)
        self.named += named
        about = {"rows": self.rows, "size": self.size, "bad": self.bad, "named": named}
        with self.record.open("a", encoding="utf-8") as record:
            record.write(f"{json.dumps(about)}\n")

    def finish(self, footer: str, convert: Callable[[Path, Path], None] | None, overwrite: bool) -> None:
        """Ends the file, converts it if necessary, and renames the result to the output.

        Raises:
            FileExistsError: If the output has appeared or changed meanwhile and may not be replaced.
        """
        assert self.file is not None
        self._write(footer)
        os.fsync(self.file.fileno())
        self.file.close()
        new = self.path
        if convert:
            new = self.path.with_name(f"{self.path.name}.new")
            convert(self.path, new)
        if overwrite and self.out.is_dir():
            _check_masks(self.out)
            shutil.rmtree(self.out)
        if overwrite and self.out.is_file():
            os.replace(new, self.out)
        elif not take_name(new, self.out):
            raise FileExistsError(f"{self.out} exists. Choose another path, or overwrite=True.")
        if convert:
            self.path.unlink()
        self.record.unlink()

    def close(self) -> None:
        """Closes the file, and removes it if it has no rows."""
        assert self.file is not None
        self.file.close()
        if self.rows == 0:
            self._remove_masks()
            self.table.unlink(missing_ok=True)
            if self.makes_masks:
                with suppress(OSError):  # something else may be in it
                    self.path.rmdir()
            if not self.path.exists():
                self.record.unlink(missing_ok=True)

    def _write(self, text: str) -> int:
        assert self.file is not None
        size = self.file.write(text.encode())
        self.file.flush()
        return size

    def _is_begun(self) -> bool:
        """Whether the record has its first line; before that, there are no rows."""
        try:
            with self.record.open("rb") as record:
                return record.readline().endswith(b"\n")
        except FileNotFoundError:
            return False

    def _read_record(self) -> None:
        """Reads how far the file is, and cuts off an incomplete line of the record."""
        there = self.table.stat().st_size
        with self.record.open("r+b") as record:
            self._check_identity(record.readline())
            while True:
                end, line = record.tell(), record.readline()
                about = json.loads(line) if line.endswith(b"\n") else None
                # After a loss of power, less may be there than was written.
                if about is None or about["size"] > there:
                    break
                self.rows, self.size, self.bad = (about[key] for key in ("rows", "size", "bad"))
                self.named += about["named"]
            record.seek(end)
            record.truncate()

    def _check_identity(self, line: bytes) -> None:
        try:
            begun = json.loads(line)
            differs = [word for key, word in _WORDS.items() if begun[key] != self.identity[key]]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"Expected {self.record} as it was left. Received: a changed file") from None
        if differs:
            raise ValueError(
                f"Expected the network, inputs and settings with which {self.path} was begun, to resume it. "
                f"Received: {' and '.join(differs)}"
            )

    def _remove_masks(self) -> None:
        if self.makes_masks:
            for mask in self.path.glob("*.png"):
                if _MASK.fullmatch(mask.name):
                    mask.unlink()


def _name_record(part: Path) -> Path:
    return part.with_name(f"{part.name}.jsonl")


def _is_empty(part: Path) -> bool:
    """Whether an unfinished output is still empty, as it is before its record is written."""
    return not any(path.stat().st_size for path in (part.iterdir() if part.is_dir() else [part]))


def check_out(out: Path, resume: bool, overwrite: bool) -> None:
    """Raises an error unless an output may be written.

    Raises:
        ValueError: If its suffix is not that of a format; the name of a folder has none.
        FileExistsError: If it exists and may not be replaced, or is unfinished and should not be resumed, or
            if something else has the name of the unfinished output.
    """
    if out.suffix:
        find_format(out)
    if out.exists() and not overwrite:
        raise FileExistsError(f"{str(out)!r} exists. Choose another path, or overwrite=True.")
    if out.is_dir():
        _check_masks(out)
    elif out.exists() and not out.suffix:
        raise FileExistsError(f"Expected a folder of masks to overwrite. Received: {str(out)!r}, a file")
    part = name_part(out)
    if part.exists() and not (_name_record(part).exists() or _is_empty(part)):
        raise FileExistsError(
            f"{str(part)!r} is in the way: the prediction is first written there. Move it away, or choose another path."
        )
    if part.exists() and not (resume or overwrite):
        raise FileExistsError(
            f"{str(part)!r} exists, from a prediction that did not finish. Continue with resume=True, or begin "
            "again with overwrite=True."
        )


def _check_masks(out: Path) -> None:
    """Raises a FileExistsError unless a folder holds a table of masks, these masks, and nothing else."""
    masks = _read_masks(out / TABLE)
    others = {path.name for path in out.iterdir()} - {TABLE, *SYSTEM_FILES, *(masks or ())}
    if out.suffix:
        reason = "a folder"
    elif out.is_symlink():
        reason = "a link to a folder"
    elif masks is None:
        reason = f"a folder without a {TABLE} of masks"
    elif others:
        reason = f"a folder that also holds {min(others)!r}"
    else:
        return
    raise FileExistsError(f"Expected an earlier prediction to overwrite. Received: {str(out)!r}, {reason}")


def _read_masks(table: Path) -> set[str] | None:
    """The names in a table of masks; None if there is no such table."""
    try:
        with table.open(newline="", encoding="utf-8", errors="replace") as file:
            titles, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        return None
    return {name for row in rows for name in row[1:2]} if titles[:2] == [FILE, MASK] else None


def _lock(file: BinaryIO, path: Path) -> None:
    """Locks a file until it is closed, where the system can."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ValueError(f"Expected a file that no other process writes. Received: {str(path)!r}") from None
