"""Nothing half-written: what is published is built in a folder beside its target and renamed into place."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


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
    _check_target(target, overwrite, replaceable)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield work / target.name
        _check_target(target, overwrite, replaceable)
        _swap(work / target.name, target, aside=work / "previous")
    finally:
        shutil.rmtree(work)


def _check_target(target: Path, overwrite: bool, replaceable: Callable[[Path], bool]) -> None:
    if not target.exists():
        return
    if not overwrite:
        raise FileExistsError(f"Expected a path where nothing is, or overwrite=True. Received: {target}")
    if not replaceable(target):
        raise FileExistsError(f"Expected an earlier export to overwrite. Received: {target}, which is something else.")


def _swap(new: Path, target: Path, aside: Path) -> None:
    if not target.is_dir():
        new.replace(target)
        return
    # A folder cannot be renamed over another that holds files.
    target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        aside.rename(target)
        raise
