"""Wrong names: the error that suggests the nearest right ones."""

import difflib
from collections.abc import Iterable
from pathlib import Path

# Shows all networks.
LIST_COMMAND = "`keras-skip list`"
# A longer list would bury the hint.
LONGEST = 30


def unknown(kind: str, name: object, known: Iterable[str], listed_by: str = "", hint: str = "") -> ValueError:
    """A ValueError for a name that is not among those known.

    Args:
        kind: What the name should be.
        name: The name.
        known: The right names.
        listed_by: The command that lists them, which the message quotes instead of a long list.
        hint: A sentence that helps more than the nearest names do. Default: these, if there are any.
    """
    names = sorted(known)
    if not hint and (near := nearest(str(name), names)):
        hint = f"Did you mean {' or '.join(near)}?"
    if not names:
        return ValueError(f"Expected {kind}, but there are none. Received: {name!r}")
    one_of = ", ".join(names)
    if len(names) > LONGEST and (hint or listed_by):
        one_of = f"{len(names)} names"
        hint = hint or f"{listed_by} shows them."
    return ValueError(f"Expected {kind} to be one of {one_of}. Received: {name!r}.{' ' if hint else ''}{hint}")


def shorten(names: Iterable[str]) -> dict[str, str]:
    """The last part of each name or path, with as many parts before it as tell it from the others."""
    parts = {name: Path(name).parts for name in names}

    found: dict[str, str] = {}
    for count in range(1, max(map(len, parts.values()), default=0) + 1):
        shown = {name: Path(*path[-count:]).as_posix() for name, path in parts.items()}
        taken = list(shown.values())
        found = {name: found.get(name, end) for name, end in shown.items() if name in found or taken.count(end) == 1}
    return {name: found.get(name, name) for name in parts}


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Up to three names that are alike, the nearest first."""

    def likeness(known: str) -> float:
        # The last part of a dotted name alone is near enough, and so is the first one of "resnext50_32x4d".
        parts = known, known.rpartition(".")[2], known.partition("_")[0]
        return max(difflib.SequenceMatcher(None, part, name).ratio() for part in parts)

    likely = {known: likeness(known) for known in names}
    return sorted((known for known in likely if likely[known] >= 0.7), key=lambda known: -likely[known])[:3]
