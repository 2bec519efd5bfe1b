"""Finds the shards that a path means: one file, a folder of them, or a pattern such as train-{000..146}.tar.

Shards are .tar files, or ArrayRecord files, which TensorFlow Datasets calls NAME-train.array_record-00000-of-00010.
"""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from export.archives import walk
from export.images import SUFFIXES

from ..layout import PARTS

TAR, RECORDS = ".tar", (".array_record", ".arrayrecord")
_MAGIC = re.compile(r"[*?\[{]")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def is_pattern(path: str | Path) -> bool:
    """Whether a path is a pattern of the paths of shards."""
    return bool(_MAGIC.search(str(path))) and not os.path.exists(path)


def is_shard(name: str) -> bool:
    """Whether the name of a file is that of a shard."""
    return name.lower().endswith(TAR) or are_records(name)


def are_records(name: str) -> bool:
    """Whether the name of a file is that of an ArrayRecord file."""
    return any(suffix in name.lower() for suffix in RECORDS)


def find_shards(path: Path) -> list[Path]:
    """Finds the shards that a path means; none if it is a folder that holds images too, or something else.

    Raises:
        ValueError: If a pattern matches nothing, or a file that does not exist or is not a shard; or if there are
            shards of both kinds.
    """
    if is_pattern(path):
        found = _match(str(path))
    elif path.is_dir():
        found = []
        for name, item in walk(path):
            if PurePosixPath(name).suffix.lower() in SUFFIXES and item.is_file():
                return []
            if is_shard(item.name):
                found.append(item)
    else:
        found = [path] if is_shard(path.name) else []
    if len({are_records(shard.name) for shard in found}) > 1:
        raise ValueError(f"Expected only .tar files or only ArrayRecord files. Received: {str(path)!r}, with both")
    return found


def root_of(shards: Sequence[Path]) -> tuple[str, list[str]]:
    """The folder that holds all shards, and their names in it."""
    root = os.path.commonpath([shard.parent for shard in shards])
    return root, [shard.relative_to(root).as_posix() for shard in shards]


def parts_of(names: Sequence[str]) -> list[str]:
    """The part that each shard belongs to by its name, or else by its nearest folder; "" if all names say the same
    part, or none does.

    Raises:
        ValueError: If some names say a part and others do not.
    """
    found = [_part_of(name) for name in names]
    if len(set(found)) == 1:
        return [""] * len(found)
    if "" in found:
        raise ValueError(
            "Expected shards whose names or folders all say train, validation or test, or none of them. "
            f"Received: {names[found.index('')]!r} beside {next(n for n, p in zip(names, found, strict=True) if p)!r}"
        )
    return found


def _part_of(name: str) -> str:
    for piece in reversed(PurePosixPath(name).parts):
        for word in re.split(r"[^a-z]+", piece.lower()):
            if word in PARTS:
                return PARTS[word]
    return ""


def _match(pattern: str) -> list[Path]:
    found = []
    for one in _expand(pattern):
        matching = sorted(glob.glob(one)) if re.search(r"[*?\[]", one) else [one]
        if not matching:
            # A misspelt part would otherwise be left out without a word.
            raise _mismatch(pattern, "which matches none" if one == pattern else f"of which {one!r} matches none")
        found += [Path(path) for path in matching]
    found = list(dict.fromkeys(found))
    for path in found:
        if not path.is_file() or not is_shard(path.name):
            raise _mismatch(pattern, f"which includes {str(path)!r}, no such file")
    return found


def _mismatch(pattern: str, received: str) -> ValueError:
    return ValueError(f"Expected a pattern that matches .tar or ArrayRecord files. Received: {pattern!r}, {received}")


def _expand(pattern: str) -> list[str]:
    """Expands the braces of a shell: {000..146} and {a,b}."""
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    numbers = _RANGE.fullmatch(braces[1])
    if numbers:
        first, last = numbers.groups()
        choices = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        choices = braces[1].split(",")
    head, tail = pattern[: braces.start()], pattern[braces.end() :]
    return [expanded for choice in choices for expanded in _expand(head + choice + tail)]
