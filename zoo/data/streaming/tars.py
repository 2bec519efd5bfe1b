"""Lists the members of a tar from its headers alone, which takes a quarter of the time of `tarfile`.

A member is a header of 512 bytes and its content, padded to a multiple of 512. A name or size that does not fit is in
an extra header before it: GNU's (type L), or POSIX's with records "LENGTH path=NAME\\n" (type x).
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK = 512
_WINDOW = 4 * BLOCK  # read at once: a header, and often a label with the next header
_FILES, _FOLDER, _LONG_NAME, _RECORDS, _SHARED_RECORDS = b"0\0\x007", b"5", b"L", b"x", b"g"
_BEFORE = (_LONG_NAME, _RECORDS, _SHARED_RECORDS)
_LARGEST_NAME = 2**20
_ADLER = 65521


class BrokenTar(ValueError):
    """A tar is damaged or cut short; the message gives only the reason."""


class Member(NamedTuple):
    """A file in a tar, or a folder, whose size is -1.

    Attributes:
        name: Its path, without "./" in front.
        offset, size: The offset of its first byte in the file, and its size in bytes.
    """

    name: str
    offset: int
    size: int


class Window:
    """Reads short pieces of a file that lie close to each other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._start, self._bytes = file, 0, b""

    def read(self, offset: int, count: int) -> bytes:
        """Reads some bytes; fewer at the end of the file."""
        first = offset - self._start
        if first < 0 or first + count > len(self._bytes):
            self._file.seek(offset)
            self._start, self._bytes, first = offset, self._file.read(max(count, _WINDOW)), 0
        return self._bytes[first : first + count]


def list_members(window: Window, start: int, end: int) -> Iterator[Member]:
    """Lists the files and folders of a tar, which may lie within a file.

    Args:
        window: Reads the file.
        start, end: The bytes of the tar.

    Raises:
        BrokenTar: If it is damaged or cut short, or holds links or devices.
    """
    offset, given = start, dict[str, str]()
    while True:
        header = window.read(offset, BLOCK)
        kind, size = header[156:157], _check(header, offset, end)
        if size is None:
            return
        content = offset + BLOCK
        if kind in _BEFORE:
            given |= _read_extra(window, kind, content, size, end)
            offset = content + -(-size // BLOCK) * BLOCK
            continue
        name = _name(header)
        if given:
            name, size, given = given.get("path", name), int(given.get("size", size)), {}
        offset = content + -(-size // BLOCK) * BLOCK
        if kind == _FOLDER:
            yield Member(_clean(name), content, -1)
        elif kind in _FILES:
            if content + size > end:
                raise BrokenTar(f"cut short in {name!r}")
            yield Member(_clean(name), content, size)
        else:
            raise BrokenTar(f"{name!r} is a link or a device")


def _check(header: bytes, offset: int, end: int) -> int | None:
    """Checks a header and returns the size that it gives; None at the end of the tar."""
    if offset + BLOCK > end or len(header) < BLOCK:
        raise BrokenTar("cut short, without an end marker")
    if header[0] == 0 and not any(header):
        return None
    try:
        # The sum of all bytes, of which its own eight count as spaces. The lower half of Adler-32 is the sum of all
        # bytes, plus 1, and takes a tenth of the time of `sum`.
        checksum = int(header[148:156].strip(b" \0"), 8)
        if zlib.adler32(header) & 0xFFFF == (checksum - 8 * 32 + sum(header[148:156]) + 1) % _ADLER:
            if header[124] == 0x80:
                return int.from_bytes(header[125:136], "big")
            if (size := int(header[124:136].strip(b" \0") or b"0", 8)) >= 0:
                return size
    except ValueError:
        pass
    raise BrokenTar(f"no header of a member at byte {offset}")


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    # GNU's format has times where POSIX's has the first part of a long name.
    if header[345] and header[257:263] == b"ustar\0":
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    return name.decode("utf-8", "surrogateescape")


def _read_extra(window: Window, kind: bytes, offset: int, size: int, end: int) -> dict[str, str]:
    """Reads the name or size that an extra header gives to the next member."""
    if offset + size > end or size > _LARGEST_NAME:
        raise BrokenTar(f"cut short in the name of a member at byte {offset}")
    content = window.read(offset, size)
    if kind == _SHARED_RECORDS:
        return {}
    if kind == _LONG_NAME:
        return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    given = {}
    while content:
        length, _, rest = content.partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(content):
            raise BrokenTar(f"damaged records of a member at byte {offset}")
        name, _, value = rest[: int(length) - len(length) - 2].partition(b"=")
        if name == b"size" and not value.isdigit():
            raise BrokenTar(f"damaged records of a member at byte {offset}")
        if name in (b"path", b"size"):
            given[name.decode()] = value.decode("utf-8", "surrogateescape")
        content = content[int(length) :]
    return given


def _clean(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name.rstrip("/")
