"""Finds the shards that a path means: one .tar, a folder of them, or a pattern such as train-{000..146}.tar."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from export.archives import walk
from export.images import SUFFIXES

from ..layout import PARTS

TAR = ".tar"
_MAGIC = re.compile(r"[*?\[{]")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def is_pattern(path: str | Path) -> bool:
    """Whether a path is a pattern of the paths of shards."""
    return bool(_MAGIC.search(str(path))) and not os.path.exists(path)


def find_shards(path: Path, suffix: str = TAR) -> list[Path]:
    """Finds the shards that a path means; none if it is a folder that holds images too, or something else.

    Raises:
        ValueError: If a pattern means no file, or one that does not exist or is no shard.
    """
    if is_pattern(path):
        return _match(str(path), suffix)
    if not path.is_dir():
        return [path] if suffix in path.name.lower() and path.suffix.lower() == suffix else []
    found = []
    for name, item in walk(path):
        ending = PurePosixPath(name).suffix.lower()
        if ending in SUFFIXES and item.is_file():
            return []
        if ending == suffix:
            found.append(item)
    return found


def parts_of(names: Sequence[str]) -> list[str]:
    """The part that the name of each shard says, or the nearest of its folders; "" if all say the same or none does.

    Raises:
        ValueError: If some say a part and others do not.
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


def _match(pattern: str, suffix: str) -> list[Path]:
    found = []
    for one in _expand(pattern):
        matching = sorted(glob.glob(one)) if re.search(r"[*?\[]", one) else [one]
        found += [Path(path) for path in matching]
    missing = [str(path) for path in found if not path.is_file() or path.suffix.lower() != suffix]
    if missing or not found:
        raise ValueError(
            f"Expected a pattern of the paths of {suffix} files. Received: {pattern!r}, "
            f"{f'with {missing[0]!r}, which is none' if missing else 'which matches none'}"
        )
    return found


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
