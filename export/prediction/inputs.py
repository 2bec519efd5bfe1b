"""Finds inputs and names them, in a fixed order: files, folders, archives, patterns, arrays and tables.

A survey looks only at the names, sizes and times of the files. It says how much there is to read, and whether the
inputs are still the same. Then the inputs come one at a time. Memory use does not grow with their number: only the
names in one folder or .zip, and the rows of one table, are in memory.
"""

import glob
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

from ..archives import ARCHIVE_SUFFIXES, LARGEST, read_entries, walk
from ..images import SUFFIXES
from ..table_files import SUFFIXES as TABLE_SUFFIXES
from ..table_files import read_table
from ..tables import Columns
from .arrays import ARRAY_SUFFIXES, read_array_file
from .network import Network

Data = Path | bytes | np.ndarray


@dataclass(frozen=True)
class Input:
    """One input of a network.

    Attributes:
        name: Its name in the output, in valid UTF-8; other bytes in the name of a file become \\xNN.
        data: A file, the contents of a file, or an array; None if there is none.
        reason: Why there is no data.
        read: How many bytes have been read since the input before.
    """

    name: str
    data: Data | None
    reason: str = ""
    read: float = 0


@dataclass(frozen=True)
class Survey:
    """What there is to read.

    Attributes:
        files: The number of files.
        size: Their size in bytes.
        fingerprint: A hash of their names, sizes and times.
    """

    files: int
    size: int
    fingerprint: str


def name_part(out: Path) -> Path:
    """Names an output while it is unfinished."""
    return out.with_name(f"{out.name}.part")


def resolve_paths(inputs: str | Path | Sequence[str | Path], out: Path) -> list[str]:
    """Lists the paths that are given or match a pattern, such as "photos/*.jpg" or "photos/**/*.jpg".

    A pattern does not match the output.

    Raises:
        ValueError: If nothing is given, the output is given, or nothing matches a pattern.
        FileNotFoundError: If a path does not exist.
    """
    found: list[str] = []
    is_output = _recognise_output(out)
    for each in [inputs] if isinstance(inputs, (str, Path)) else inputs:
        given = os.fspath(each)
        if os.path.exists(given):
            if is_output(given):
                raise ValueError(f"Expected out to be a path that is not among the inputs. Received: out={str(out)!r}")
            found.append(given)
        elif glob.has_magic(given):
            matches = sorted(path for path in glob.glob(given, recursive=True) if not is_output(path))
            if not matches:
                raise ValueError(f"Expected a pattern that files match. Received: {given!r}, which no file matches")
            found += matches
        else:
            raise FileNotFoundError(
                f"Expected a file, a folder, an archive or a pattern. Received: {given!r}, which does not exist"
            )
    if not found:
        raise ValueError("Expected at least one input. Received: none")
    return found


def _recognise_output(out: Path) -> Callable[[str | Path], bool]:
    """Returns a function that says whether a path is that of the output, finished or not, or of something inside it.

    There may be a hundred thousand paths in one folder.
    """
    outputs = _find_output(out)
    existing = {_identify(own) for own in outputs if own.exists()}

    @cache
    def is_inside(folder: str) -> bool:
        real = Path(os.path.realpath(folder))
        return any(real.is_relative_to(own) for own in outputs)

    def is_output(path: str | Path) -> bool:
        return is_inside(os.path.dirname(path)) or (bool(existing) and _identify(path) in existing)

    return is_output


def _identify(path: str | Path) -> tuple[int, int] | None:
    """What two names of one file have in common; None for a link that leads nowhere."""
    with suppress(OSError):
        state = os.stat(path)
        return state.st_dev, state.st_ino
    return None


def _find_output(out: Path) -> list[Path]:
    """The real paths of the output and the unfinished output."""
    return [Path(os.path.realpath(own)) for own in (out, name_part(out))]


def survey(paths: Sequence[str], network: Network, out: Path) -> Survey:
    """Looks at all files that will be read; the output is not among them.

    Raises:
        ValueError: If the network does not take such files, or a folder has none that it takes.
    """
    digest, files, size = hashlib.sha256(), 0, 0
    for path in paths:
        _check_kind(path, network)
        here = files
        for name, file in _list_files(path, network, out):
            bytes_, time = _look_at(file)
            digest.update(f"{name}\0{bytes_}\0{time}\0".encode())
            files, size = files + 1, size + bytes_
        if files == here:
            suffixes = ", ".join(sorted(_wanted(network)))
            raise ValueError(f"Expected files that end in one of {suffixes}. Received: {path!r}, a folder without any")
    return Survey(files, size, digest.hexdigest())


def read_inputs(paths: Sequence[str], network: Network, out: Path) -> Iterator[Input]:
    """Yields the inputs in the order of the paths; those of a folder in the order of their names, without the output.

    Raises:
        ValueError: If an archive is damaged; see `export.archives.read_entries`.
    """
    for path in paths:
        for name, file in _list_files(path, network, out):
            if _ends_in(name, ARRAY_SUFFIXES):
                yield from _read_arrays(name, file, network)
            elif network.columns and _ends_in(name, TABLE_SUFFIXES):
                yield from _read_table(name, file, network.columns)
            elif not os.path.isdir(path) and _ends_in(name, ARCHIVE_SUFFIXES):
                yield from _read_archive(name, file)
            else:
                size, _ = _look_at(file)
                too_large = f"{size:,} bytes, too large for an image" if size > LARGEST else ""
                yield Input(name, None if too_large else file, too_large, size)


def _list_files(path: str, network: Network, out: Path) -> Iterator[tuple[str, Path]]:
    """Yields a file, or the files of a folder that the network takes, each with its name in the output.

    The folder may hold the output, which is not read.
    """
    if not os.path.isdir(path):
        yield _to_utf8(path), Path(path)
        return
    wanted, is_output = _wanted(network), _recognise_output(out)
    for name, file in walk(Path(path), without=_find_output(out)):
        if _ends_in(name, wanted) and not file.is_dir() and not (file.name == out.name and is_output(file)):
            yield _to_utf8(os.path.join(path, name)), file


def _wanted(network: Network) -> frozenset[str]:
    if network.reader:
        return SUFFIXES
    return frozenset(TABLE_SUFFIXES if network.columns else ARRAY_SUFFIXES)


def _check_kind(path: str, network: Network) -> None:
    taken = _wanted(network) | frozenset(ARRAY_SUFFIXES)
    if network.reader or os.path.isdir(path) or _ends_in(path, taken):
        return
    shape = ", ".join("any" if size is None else str(size) for size in network.shape)
    raise ValueError(
        f"Expected files that end in one of {', '.join(sorted(taken))}, for a network whose input is {network.dtype} "
        f"({shape}). Received: {path!r}"
    )


def _ends_in(name: str, suffixes: Sequence[str] | frozenset[str]) -> bool:
    return name.lower().endswith(tuple(suffixes))


def _look_at(file: Path) -> tuple[int, int]:
    """The size and time of a file; zeros if that fails, which makes it a bad input."""
    try:
        about = file.stat()
    except OSError:
        return 0, 0
    return about.st_size, about.st_mtime_ns


def _read_archive(name: str, file: Path) -> Iterator[Input]:
    before = 0.0
    size = file.stat().st_size
    for entry in read_entries(file, lambda member: PurePosixPath(member).suffix.lower() in SUFFIXES):
        if entry.is_folder:
            continue
        # A tar counts bytes, and a zip members.
        done = size * entry.done / entry.total
        data = None if entry.data is None else entry.read()
        reason = f"{entry.size:,} bytes, too large for an image" if data is None else ""
        yield Input(f"{name}/{_to_utf8(entry.name)}", data, reason, done - before)
        before = done


def _read_arrays(name: str, file: Path, network: Network) -> Iterator[Input]:
    index, (size, _) = 0, _look_at(file)
    try:
        for array, count in read_array_file(file, network.input_name):
            yield Input(f"{name}[{index}]", array, read=size / count)
            index += 1
    except (OSError, ValueError) as error:
        yield Input(f"{name}[{index}]" if index else name, None, str(error))


def _read_table(name: str, file: Path, columns: Columns) -> Iterator[Input]:
    try:
        table = read_table(file)
        columns.encode({column: [] for column in table})
    except (OSError, ValueError) as error:
        yield Input(name, None, str(error))
        return
    size = _look_at(file)[0] / max(1, len(table.rows))
    for index, row in enumerate(table.rows):
        cells = {column: table[column][index : index + 1] for column in columns.names}
        try:
            yield Input(f"{name}:{row}", columns.encode(cells, [row])[0], read=size)
        except ValueError as error:
            yield Input(f"{name}:{row}", None, str(error), size)


def _to_utf8(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")
