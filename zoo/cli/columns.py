"""Writes a table as lines of text, and never breaks a word or a number, however narrow the terminal is.

Cells wrap at spaces. A column whose longest word does not fit appears below its row instead.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

GAP = 2
# The first column is not wrapped if its longest cell has at most this many characters.
LONGEST_WHOLE = 32

Row = Sequence[str]


def lines(columns: Row, rows: Sequence[Row], room: int | None = None) -> Iterator[str]:
    """The lines of a table.

    Args:
        columns: The names of the columns; empty for a table without a heading.
        rows: The cells.
        room: The characters in a line; None prints each row on one line.

    Yields:
        Line after line.
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
    """The widths of the columns that fit, from the first one on."""
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
    # Columns that need little come first, and leave the rest to the others.
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
    """Yields the text if it fits, or else lines of as many words as fit; a longer word gets a line of its own."""
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
