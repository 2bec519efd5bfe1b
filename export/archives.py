"""Reads the files of a folder, a tar or a zip one after the other, and unpacks nothing to disk."""

import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip")

# A larger file is no image, and reading it could fill the memory.
LARGEST = 256 * 2**20
_BLOCK = 512
_HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True)
class Entry:
    """A file, or a folder.

    Attributes:
        name: Its path inside the folder or archive, with slashes.
        data: Its bytes, or the path of the file; None for a folder, and for a file that is too large.
        size: The bytes of the file; -1 for a folder.
        done, total: How much is read: files, or bytes of a tar.
    """

    name: str
    data: bytes | Path | None
    size: int
    done: int
    total: int

    @property
    def is_folder(self) -> bool:
        return self.size < 0

    def read(self) -> bytes:
        return self.data.read_bytes() if isinstance(self.data, Path) else self.data or b""


def read_entries(path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    """Yields folders, and the files whose names are wanted; skips hidden ones.

    Raises:
        ValueError: If an archive is damaged or encrypted, or holds links, devices or paths that lead out of it.
    """
    if path.is_dir():
        yield from _read_folder(path, wanted)
        return
    try:
        yield from (_read_zip if path.name.lower().endswith(".zip") else _read_tar)(path, wanted)
    except _BROKEN as error:
        raise ValueError(
            f"Expected a whole archive. Received: {str(path)!r}: {error or type(error).__name__}"
        ) from None


def file_state(path: Path) -> list[list]:
    """Lists name, size and time of each file: files with an equal list have not changed."""
    if not path.is_dir():
        about = path.stat()
        return [[path.name, about.st_size, about.st_mtime_ns]]
    found = []
    for name, item in walk(path):
        about = item.stat()
        found.append([name, -1 if item.is_dir() else about.st_size, 0 if item.is_dir() else about.st_mtime_ns])
    return found


def walk(top: Path, without: Iterable[Path] = ()) -> Iterator[tuple[str, Path]]:
    """Yields everything below a folder in the order of its relative names; follows links.

    Args:
        top: The folder.
        without: Folders to leave out, as real paths.

    Raises:
        OSError: If a folder cannot be listed.
    """
    seen = set(map(str, without))
    for folder, folders, files in os.walk(top, onerror=_raise, followlinks=True):
        folders.sort()
        real = os.path.realpath(folder)
        if real in seen:  # left out, or a link that leads back
            folders.clear()
            continue
        seen.add(real)
        here = Path(folder)
        for name in [*([""] if here != top else []), *sorted(files)]:
            relative = (here / name).relative_to(top).as_posix()
            if not is_hidden(relative):
                yield relative, here / name


def _raise(error: OSError) -> None:
    raise error


def is_hidden(name: str) -> bool:
    """Whether a path, with slashes, is of a hidden file, or one that an operating system adds."""
    return any(part.startswith(".") or part in _HIDDEN for part in name.split("/"))


def _read_folder(path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    found = [(name, item, item.is_dir()) for name, item in walk(path)]
    chosen = [row for row in found if row[2] or wanted(row[0])]
    for index, (name, item, is_folder) in enumerate(chosen, 1):
        size = -1 if is_folder else item.stat().st_size
        yield Entry(name, None if is_folder or size > LARGEST else item, size, index, len(chosen))


def _read_zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for index, member in enumerate(members, 1):
            name = _check_member_name(path, member.filename)
            if is_hidden(name) or not (member.is_dir() or wanted(name)):
                continue
            small = not member.is_dir() and member.file_size <= LARGEST
            size = -1 if member.is_dir() else member.file_size
            yield Entry(name, archive.read(member) if small else None, size, index, len(members))


def _read_tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    total = path.stat().st_size
    # "|" only reads forwards: going back in a compressed file means reading it again.
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            name = _check_member_name(path, member.name)
            if not (member.isfile() or member.isdir()):
                raise ValueError(
                    f"Expected files and folders in {str(path)!r}. Received: {member.name!r}, a link or a device"
                )
            if is_hidden(name) or not (member.isdir() or wanted(name)):
                continue
            content = archive.extractfile(member) if member.isfile() and member.size <= LARGEST else None
            data = content.read() if content else None
            yield Entry(name, data, -1 if member.isdir() else member.size, file.tell(), total)
        # A tar ends with two blocks of zeros. tarfile also takes a damaged or truncated header for the end.
        if archive.fileobj.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError("no end marker")


def _check_member_name(path: Path, name: str) -> str:
    """Returns the name of a member; refuses one that leads out of the archive."""
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or ":" in name[1:2]:
        raise ValueError(f"Expected paths inside {str(path)!r}. Received: {name!r}, which leads out of it")
    return pure.as_posix()
