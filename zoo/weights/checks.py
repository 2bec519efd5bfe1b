"""Checks of every reader: a file that declares too much is refused before any memory is allocated."""

import math
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

# Neither Keras nor torch compresses weights. A file that declares far more than it holds is meant to fill the memory.
MOST_EXPANSION = 20
FREE = 2**20
# An architecture needs little more than the weights in its file, which int8 stores in a quarter of float32's bytes.
MOST_MADE = 4
_ONE_AT_A_TIME = threading.Lock()


def refuse_bomb(what: str, promised: int, held: int) -> None:
    """Raises a ValueError if something declares far more bytes than it holds."""
    if promised > MOST_EXPANSION * held + FREE:
        raise ValueError(f"{what} declares {promised:,} bytes but holds {held:,}")


def refuse_zip_bomb(path: Path) -> None:
    """Raises a ValueError if a zip declares far more bytes than the file has; other files pass."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            refuse_bomb("it", sum(info.file_size for info in archive.infolist()), path.stat().st_size)


class Bomb(ValueError):
    """An architecture with far more weights than its file holds."""


@contextmanager
def limit_variables(held: int, others: int = 0) -> Iterator[None]:
    """Stops the building of a network that needs far more memory than its file holds.

    Args:
        held: The bytes of the weights in the file.
        others: The bytes of weights that need not be in the file.

    Raises:
        Bomb: If this thread creates far more variables than that, even if Keras catches the error.
    """
    import keras

    make, thread, made = keras.Variable.__init__, threading.get_ident(), 0
    most = MOST_MADE * held + others + FREE
    refused: list[Exception] = []

    def count_variable(self: Any, initializer: Any, shape: Any = None, *rest: Any, **named: Any) -> None:
        nonlocal made
        if threading.get_ident() == thread and isinstance(shape, (tuple, list)):
            made += 4 * math.prod(shape)
            if made > most:
                refused.append(
                    Bomb(f"its architecture declares {made:,} bytes of weights or more, but it holds {held:,}")
                )
                raise refused[0]
        make(self, initializer, shape, *rest, **named)

    try:
        with _ONE_AT_A_TIME, patch.object(keras.Variable, "__init__", count_variable):
            yield
    except Exception as error:
        raise (refused or [error])[0] from None


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Reads a member of an archive, if it exists and is not far larger than its stored bytes."""
    if name not in archive.namelist():
        raise ValueError(f"it holds no {name}")
    info = archive.getinfo(name)
    refuse_bomb(name, info.file_size, info.compress_size)
    return archive.read(name)


def broken_file_error(path: Path, error: Exception) -> ValueError:
    """Makes a one-line error of whatever a library raises for a broken file."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(f"Expected a whole {path.suffix} file. Received: {str(path)!r}: {reason}")
