"""What the record of a source says about reading its data again, or others like them."""

import os
from collections.abc import Mapping
from typing import Any

from .finding import find_path
from .options import Options


def is_other(name: Any, like: Mapping[str, Any]) -> bool:
    """Whether data have a name or a path, and are others than those of a record."""
    if not isinstance(name, (str, os.PathLike)):
        return False
    path, known = find_path(name), like["name"]
    if path is None or not os.path.isabs(known):
        return str(path or name) != known
    return os.path.realpath(path) != os.path.realpath(known)


def split_like(like: Mapping[str, Any], split: tuple[int, float]) -> tuple[int, float]:
    """The seed and the fraction that chose a record's test examples, unless a split other than the default is given."""
    known = like.get("options", {})
    default = Options.split_seed, Options.test_fraction
    if split != default:
        return split
    return known.get("split_seed", default[0]), known.get("test_fraction", default[1])


def channels_like(like: Mapping[str, Any], whole: bool, stream: bool | None) -> int | None:
    """The channels of a record's images, where files of their own would decide; None if theirs are the same.

    Args:
        like: The record.
        whole: Whether the data are others.
        stream: Whether they are streamed. Streamed photos are in colour, others only if one of them is.
    """
    known = like.get("options", {})
    if not whole and bool(stream) == bool(known.get("stream")):
        return known.get("channels")
    return (like.get("image") or {}).get("channels")


def tables_like(name: Any, given: dict[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The options for tables, with those of a record where none are given."""
    known = dict(like.get("options", {}))
    if like and is_other(name, like):
        known.pop("split_column", None)
    return {option: known.get(option) if value is None else value for option, value in given.items()}
