"""Figures in a page with a light and a dark theme: their colours are variables of the page."""

import html
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ._base import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A stand-in for the colour of text and axes, which matplotlib writes into its SVG.
INK = "#010203"
NAMES = ("blue", "vermilion", "green", "purple", "orange", "sky", "ink")
VARIABLES = {INK: "var(--ink)"} | {
    colour.lower(): f"var(--{name})" for colour, name in zip(COLOURS, NAMES, strict=True)
}


@contextmanager
def use_page_theme() -> Iterator[None]:
    """Makes figures for `svg` inside the block: without a background, text and axes in the colour of the page."""
    import matplotlib

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    clear = {"figure.facecolor": "none", "axes.facecolor": "none", "grid.color": INK}
    with matplotlib.rc_context({**dict.fromkeys(inked, INK), **clear}):
        yield


def svg(figure: "Figure", description: str) -> str:
    """Renders a figure as an SVG element with a description for screen readers; equal figures give equal text."""
    import matplotlib

    text = io.StringIO()
    # Keep text as text, for search and screen readers.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    for colour, name in VARIABLES.items():
        drawing = drawing.replace(colour, name)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{html.escape(description, quote=True)}"', 1)
