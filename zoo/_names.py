"""Wrong names: the error that suggests the nearest right ones."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """A ValueError for a name that is not among those known, with the nearest of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.7)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return ValueError(f"Expected {kind} to be one of {', '.join(names)}. Received: {name!r}.{hint}")
