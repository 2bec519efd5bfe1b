"""Draws the results of analyses as figures that are readable in grey and by the colour-blind.

Each function takes the result of an analysis and returns a matplotlib figure for `save`.
"""

from ._architecture import architecture
from ._augmented import augmented
from ._base import COLOURS, FORMATS, MARKERS, check_format, draw_lines, make_axes, mark_integers, save
from ._comparison import by_depth, comparison
from ._connections import lesion, survival
from ._gates import class_gates, gates
from ._gradients import gradient_flow, gradient_history, vanishing_product
from ._skips import feature_reuse, skips
from ._theme import svg, use_page_theme

__all__ = [
    "COLOURS",
    "FORMATS",
    "MARKERS",
    "architecture",
    "augmented",
    "by_depth",
    "check_format",
    "class_gates",
    "comparison",
    "draw_lines",
    "feature_reuse",
    "gates",
    "gradient_flow",
    "gradient_history",
    "lesion",
    "make_axes",
    "mark_integers",
    "save",
    "skips",
    "survival",
    "svg",
    "use_page_theme",
    "vanishing_product",
]
