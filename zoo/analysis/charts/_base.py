"""Colours, labels, legends and files that all figures share."""

from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from ..._files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which can be told apart with any kind of sight; and markers, for print without colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FORMATS = (".svg", ".png", ".pdf")


def check_format(path: Path) -> None:
    """Checks that the suffix of a file is a format of figures."""
    if path.suffix not in FORMATS:
        raise ValueError(f"Expected a file that ends in {', '.join(FORMATS)}. Received: {str(path)!r}")


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure; equal figures give equal files."""
    import matplotlib

    check_format(path)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem}), replace_file(path) as beside:
        dated = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(beside, dpi=160, metadata=dated)


def make_axes(title: str, x: str, y: str, size: tuple[float, float] = (7.0, 4.2)) -> "tuple[Figure, Axes]":
    """Makes an empty figure and its axes, with a title and labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    found = figure.add_subplot()
    label_axes(found, title, x, y)
    for side in ("top", "right"):
        found.spines[side].set_visible(False)
    return figure, found


def label_axes(target: "Axes", title: str, x: str, y: str) -> None:
    """Adds title, labels and grid to axes."""
    target.set_title(title, fontsize=11)
    target.set_xlabel(x)
    target.set_ylabel(y)
    target.grid(alpha=0.25)


def mark_integers(*axes: "Axis") -> None:
    """Puts ticks at whole numbers only."""
    for axis in axes:
        axis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]


def draw_lines(target: "Axes", series: Iterable[tuple[str, Sequence[float], Sequence[float]]]) -> None:
    """Draws named lines and a legend."""
    for (name, x, y), colour, marker in zip(series, cycle(COLOURS), cycle(MARKERS), strict=False):
        step = max(1, len(x) // 15)
        target.plot(x, y, color=colour, marker=marker, markevery=step, markersize=4, linewidth=1.6, label=name)
    target.legend(frameon=False)
