"""What a file may promise: sizes are refused before the memory for them is asked for."""

import zipfile

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
