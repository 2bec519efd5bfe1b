"""What every reader checks. A size is refused before the memory for it is asked for."""

import zipfile
from pathlib import Path

# Neither Keras nor torch compresses weights. A file that promises far more than it holds is made to fill the memory.
MOST_EXPANSION = 100
FREE = 2**20


def refuse_bomb(what: str, promised: int, held: int) -> None:
    """A ValueError if something promises far more bytes than it holds."""
    if promised > MOST_EXPANSION * held + FREE:
        raise ValueError(f"{what} promises {promised:,} bytes and holds {held:,}")


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member of an archive, if it is there and not far larger than what is stored."""
    if name not in archive.namelist():
        raise ValueError(f"it holds no {name}")
    info = archive.getinfo(name)
    refuse_bomb(name, info.file_size, info.compress_size)
    return archive.read(name)


def broken(path: Path, error: Exception) -> ValueError:
    """One sentence for whatever a broken file makes a library raise."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(f"Expected a whole {path.suffix} file. Received: {str(path)!r}: {reason}")
