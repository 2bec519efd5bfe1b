"""A table as lines of text in which no word and no number is broken, however narrow the room.

Cells wrap at spaces. Columns for whose longest words there is no room beside the others come below their row instead.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

GAP = 2
# The longest name in a table's first column with which that column is not wrapped.
LONGEST_WHOLE = 32

Row = Sequence[str]


def lines(columns: Row, rows: Sequence[Row], room: int | None = None) -> Iterator[str]:
    """The lines of a table.

    Args:
        columns: Their names; none for a table without a heading.
        rows: The cells.
        room: Characters in a line. None: as many as it takes, so that each row is one line.
    """
    heading = [columns] if columns else []
    widths = _widths([*heading, *rows], room)
    if heading:
        yield from _row(columns[: len(widths)], widths)
        yield "-" * (sum(widths) + GAP * (len(widths) - 1))
    for row in rows:
        yield from _row(row[: len(widths)], widths)
        for place in range(len(widths), len(row)):
            if row[place]:
                yield from _below(f"{columns[place]}: {row[place]}" if columns else row[place], room)


def _widths(table: Sequence[Row], room: int | None) -> list[int]:
    """The widths of the first columns: of all for which there is room."""
    columns = list(zip(*table, strict=True))
    most = [max(map(_length, cells)) for cells in columns]
    if room is None:
        return most
    least = [max(_length(word) for cell in cells for word in cell.split() or [""]) for cells in columns]
    if most[0] <= LONGEST_WHOLE:
        least[0] = most[0]
    shown = len(least)
    while shown > 1 and sum(least[:shown]) + GAP * (shown - 1) > room:
        shown -= 1
    widths = least[:shown]
    spare = max(0, room - sum(widths) - GAP * (shown - 1))
    # Those that need little get it, and leave the rest to the others.
    for served, place in enumerate(sorted(range(shown), key=lambda place: most[place] - least[place])):
        more = min(most[place] - least[place], spare // (shown - served))
        widths[place], spare = widths[place] + more, spare - more
    return widths


def _row(cells: Row, widths: Sequence[int]) -> Iterator[str]:
    wrapped = [list(_wrapped(cell, width)) for cell, width in zip(cells, widths, strict=True)]
    for parts in zip_longest(*wrapped, fillvalue=""):
        padded = (part + " " * (width - _length(part)) for part, width in zip(parts, widths, strict=True))
        yield (" " * GAP).join(padded).rstrip()


def _below(text: str, room: int | None) -> Iterator[str]:
    for line in _wrapped(text, (room or _length(text)) - 2 * GAP):
        yield " " * 2 * GAP + line


def _wrapped(text: str, width: int) -> Iterator[str]:
    """The text as it is where it fits; else as many words in a line as fit, and a longer one alone."""
    if _length(text) <= width:
        yield text
        return
    line = ""
    for word in text.split():
        if line and _length(line) + 1 + _length(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def _length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
