"""Wrong names: the error that suggests the nearest right ones."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """A ValueError for a name that is not among those known, with the nearest of them."""
    names = sorted(known)
    # Of a dotted name, its last part alone is near enough.
    ends = {known: (known, known.rpartition(".")[2]) for known in names}
    alike = {
        known: max(difflib.SequenceMatcher(None, end, str(name)).ratio() for end in ends[known]) for known in names
    }
    near = sorted((known for known in names if alike[known] >= 0.7), key=lambda known: -alike[known])[:3]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    # A long list would bury the hint.
    listed = f"{len(names)} names" if near and len(names) > 30 else ", ".join(names)
    return ValueError(f"Expected {kind} to be one of {listed}. Received: {name!r}.{hint}")
