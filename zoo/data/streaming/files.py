"""Where encoded images are: the file of each, and its bytes in that file.

Shards are a few files with many images each; in a folder, every image is a file. All of this is in arrays. Those on
disk are mapped into memory, and a copy for another process holds only their path.

    paths, ends         the paths of the files, joined in UTF-8, and where each ends
    file, offset, size  for each image: the number of its file, the offset of its first byte, and its size in bytes
"""

import os
from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np

ARRAYS = ("paths", "ends", "file", "offset", "size")
_BLOCK = 512


class Files:
    """Encoded images in files.

    Args:
        root: The folder to which the paths are relative.
        arrays: The arrays above, by name.
        folder: The folder that holds these arrays as .npy; None if they are only in memory.
    """

    def __init__(self, root: str, arrays: Mapping[str, np.ndarray], folder: Path | None = None) -> None:
        self.root, self.folder = root, folder
        self._paths, self._ends, self._file, self._offset, self._size = (arrays[name] for name in ARRAYS)

    def __len__(self) -> int:
        return len(self._file)

    def __reduce__(self) -> tuple:
        if self.folder is not None:
            return open_files, (self.root, self.folder, type(self))
        return type(self), (self.root, self.arrays())

    def arrays(self) -> dict[str, np.ndarray]:
        return dict(zip(ARRAYS, (self._paths, self._ends, self._file, self._offset, self._size), strict=True))

    def select(self, places: np.ndarray) -> "Files":
        """Some of the images, in memory."""
        chosen = {name: array[places] for name, array in self.arrays().items() if name in ARRAYS[2:]}
        return type(self)(self.root, {"paths": self._paths, "ends": self._ends, **chosen})

    def read(self, place: int) -> bytes:
        """Reads the bytes of an image.

        Raises:
            OSError: If the file cannot be read.
        """
        with open(self.path(place), "rb", buffering=0) as file:
            file.seek(self._offset[place])
            return file.read(self._size[place])

    def name(self, place: int) -> str:
        """The name of an image, for errors: its path, or its name in a shard and the path of the shard."""
        path = repr(self.path(place))
        return f"{self.member(place)!r} in {path}" if self._offset[place] else path

    def member(self, place: int) -> str:
        """The name of an image in its folder or shard; the header in a shard holds the first 100 bytes of a name."""
        if not self._offset[place]:
            return self._relative(place)
        with open(self.path(place), "rb") as file:
            file.seek(int(self._offset[place]) - _BLOCK)
            return file.read(100).partition(b"\0")[0].decode("utf-8", "replace")

    def path(self, place: int) -> str:
        """The path of the file with an image."""
        return os.path.join(self.root, self._relative(place))

    def _relative(self, place: int) -> str:
        number = int(self._file[place])
        start = int(self._ends[number - 1]) if number else 0
        return os.fsdecode(self._paths[start : int(self._ends[number])].tobytes())


def open_files(root: str, folder: Path, kind: type[Files] = Files) -> Files:
    """Opens the arrays in a folder, mapped into memory."""
    return kind(root, {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}, folder)


class Paths:
    """Joins the paths of files to the arrays `paths` and `ends`."""

    def __init__(self) -> None:
        self._text, self._ends = bytearray(), array("q")

    def add(self, path: str) -> None:
        self._text += os.fsencode(path)
        self._ends.append(len(self._text))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"paths": np.frombuffer(self._text, "uint8"), "ends": np.array(self._ends, "int64")}
