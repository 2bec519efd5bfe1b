"""Nothing half-written: what is published is built in a folder beside its target and moved into place in one step.

A folder takes another's place by an exchange of the two names, which Linux and macOS have as one operation. Where the
file system has none, two renames stand in for it; if the process is killed between them, the earlier export is found
again, and put back, by whoever next publishes there.
"""

import ctypes
import glob
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREVIOUS = "previous"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_RENAME_SWAP = 2


@contextmanager
def published(path: str | Path, overwrite: bool, replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Gives a path to build at; when the block ends without an exception, what is there takes the target's place.

    Args:
        path: The target, a file or a folder.
        overwrite: Whether an existing target may be replaced.
        replaceable: Says whether an existing target is of the kind about to be written; nothing else is ever deleted.

    Yields:
        A path that does not exist yet, on the target's file system and with its name.

    Raises:
        FileExistsError: If the target exists and may not be replaced. Raised before the block runs.
    """
    target = Path(path).absolute()
    _clear_up(target)
    _check_target(target, overwrite, replaceable)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_prefix(target), dir=target.parent) as folder:
        work = Path(folder)
        yield work / target.name
        _check_target(target, overwrite, replaceable)
        _to_disk(work / target.name)
        _swap(work / target.name, target, aside=work / _PREVIOUS)


def _prefix(target: Path) -> str:
    return f"{_of_this_machine(target)}{os.getpid()}-"


def _of_this_machine(target: Path) -> str:
    # Machine and process that build are named, so that what a killed one has left can be told from what is being built.
    # No machine has a plus in its name.
    return f".{target.name}-{socket.gethostname()}+"


def _clear_up(target: Path) -> None:
    """Puts back or removes what a killed process has left beside a target."""
    prefix = _of_this_machine(target)
    for left in target.parent.glob(f"{glob.escape(prefix)}*-*"):
        process = left.name.removeprefix(prefix).partition("-")[0]
        if left.is_symlink() or not process.isdigit() or _runs(int(process)):
            continue
        if (left / _PREVIOUS).exists() and not target.exists():
            (left / _PREVIOUS).rename(target)
        shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    if sys.platform == "win32":
        # There is no harmless signal to ask with.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _check_target(target: Path, overwrite: bool, replaceable: Callable[[Path], bool]) -> None:
    if not target.exists():
        return
    if not overwrite:
        raise FileExistsError(f"Expected a path where nothing is, or overwrite=True. Received: {target}")
    if not replaceable(target):
        raise FileExistsError(f"Expected an earlier export to overwrite. Received: {target}, which is something else.")


def _to_disk(new: Path) -> None:
    """What is to take the target's place is whole, even if the power fails right after."""
    for path in (new, *new.rglob("*")):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def _swap(new: Path, target: Path, aside: Path) -> None:
    # A folder cannot be renamed over another that holds files.
    if not target.is_dir():
        new.replace(target)
    elif not _exchanged(new, target):
        target.rename(aside)
        try:
            new.rename(target)
        except OSError:
            aside.rename(target)
            raise


def _exchanged(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; False, and nothing done, where that is not to be had."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(one), os.fsencode(other)
        if sys.platform == "linux":
            return library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0
        if sys.platform == "darwin":
            return library.renamex_np(*names, _RENAME_SWAP) == 0
    return False
