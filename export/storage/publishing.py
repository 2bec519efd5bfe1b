"""Publishes files and folders whole: each is built beside its target and takes the target's name in one step.

That step decides, and not a check before it: a new name is taken only if it is free, and an earlier export exchanges
its name with the new one. On Linux and macOS each is one operation, so that one of several exports at the same time
is left complete, and without `overwrite` only the first succeeds. A file system without the exchange needs two renames.
If the process is killed between them, the next export to that path finds the earlier one and restores it.
"""

import ctypes
import errno
import fnmatch
import glob
import hashlib
import itertools
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

_NEW, _PREVIOUS = "new", "previous"
_AT_FDCWD, _RENAME_NOREPLACE, _RENAME_EXCHANGE = -100, 1, 2
_RENAME_SWAP, _RENAME_EXCL = 2, 4
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}
# Files that file managers add to the folders that they show.
SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")
# A longer name of a target is hashed in the name of the folder where it is built.
_LONGEST = 100


@contextmanager
def publish(path: str | Path, overwrite: bool, replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Gives a path to build at; if the block ends without an exception, the result takes the target's place.

    Args:
        path: The target, a file or a folder; the target of a link is the path that it points to.
        overwrite: Whether to replace an existing target.
        replaceable: Says whether an existing target is of the kind that is written and holds nothing else; nothing else
            is ever deleted.

    Yields:
        A path that does not exist yet, on the target's file system and with its name.

    Raises:
        FileExistsError: If the target exists and may not be replaced: before the block runs, or after it if the target
            appeared meanwhile.
    """
    target = Path(os.path.realpath(path))
    _recover(target)
    _check_target(target, overwrite, replaceable)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_process_prefix(target), dir=target.parent) as folder:
        new = Path(folder, _NEW, target.name)
        new.parent.mkdir()
        yield new
        _flush_to_disk(new)
        backups = (Path(folder, f"{_PREVIOUS}{i}") for i in itertools.count())
        while not take_name(new, target):
            _check_target(target, overwrite, replaceable)
            if _replace(new, target, next(backups)):
                break


def holds_only(folder: Path, *patterns: str) -> bool:
    """Whether every file below a folder, except those that file managers add, matches a pattern."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(folder).as_posix() for path in files)
    return all(
        PurePosixPath(name).name in SYSTEM_FILES or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        for name in names
    )


def _process_prefix(target: Path) -> str:
    return f"{_machine_prefix(target)}{os.getpid()}-"


def _machine_prefix(target: Path) -> str:
    # With the machine and the process in the name, leftovers of killed processes differ from work in progress.
    # No machine has a plus in its name.
    encoded = os.fsencode(target.name)
    name = target.name if len(encoded) <= _LONGEST else hashlib.sha256(encoded).hexdigest()
    return f".{name}-{socket.gethostname()}+"


def _recover(target: Path) -> None:
    """Restores or removes the leftovers of killed processes beside a target."""
    prefix = _machine_prefix(target)
    for left in target.parent.glob(f"{glob.escape(prefix)}*-*"):
        process = left.name.removeprefix(prefix).partition("-")[0]
        if left.is_symlink() or not process.isdigit() or _is_running(int(process)):
            continue
        for previous in left.glob(f"{_PREVIOUS}*"):
            take_name(previous, target)
        shutil.rmtree(left, ignore_errors=True)


def _is_running(process: int) -> bool:
    if sys.platform == "win32":
        # Windows has no harmless signal that shows whether a process runs.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _check_target(target: Path, overwrite: bool, replaceable: Callable[[Path], bool]) -> None:
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise FileExistsError(f"{target} exists. Choose another path, or overwrite=True.")
    if not replaceable(target) and os.path.lexists(target):
        raise FileExistsError(
            f"Expected nothing but an earlier export to overwrite. Received: {target}, which is or contains something "
            "else"
        )


def _flush_to_disk(new: Path) -> None:
    """Writes a file or folder to the disk, so that it is whole even if the power fails right after."""
    for path in (new, *new.rglob("*")):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def take_name(new: Path, target: Path) -> bool:
    """Gives the target's name to a path; returns False, and does nothing, if the name is taken."""
    if _rename(new, target, _RENAME_NOREPLACE if sys.platform == "linux" else _RENAME_EXCL):
        return True
    if os.path.lexists(target):
        return False
    try:
        if new.is_dir() or sys.platform == "win32":
            new.rename(target)
        else:
            # Other systems would replace an existing file.
            os.link(new, target)
            new.unlink()
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _replace(new: Path, target: Path, backup: Path) -> bool:
    """Replaces the target; returns False if another process has changed the target meanwhile."""
    if _exchange(new, target):
        return True
    try:
        # A folder cannot be renamed over another that holds files.
        if not (new.is_dir() or target.is_dir()):
            new.replace(target)
            return True
        target.rename(backup)
    except FileNotFoundError:
        return False
    try:
        return take_name(new, target)
    except OSError:
        take_name(backup, target)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; returns False, and does nothing, if the system cannot."""
    return _rename(one, other, _RENAME_EXCHANGE if sys.platform == "linux" else _RENAME_SWAP)


def _rename(one: Path, other: Path, how: int) -> bool:
    names = os.fsencode(one), os.fsencode(other)
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            return bool(library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], how) == 0)
        if sys.platform == "darwin":
            return bool(library.renamex_np(*names, how) == 0)
    return False
