"""Figures to look at, in files: readable in grey and by the colour-blind, with a name for all that is drawn.

Each function takes what an analysis has found, and gives a matplotlib figure that `save` writes.
"""

from ._architecture import architecture
from ._base import COLOURS, FORMATS, MARKERS, check_format, save
from ._comparison import by_depth, comparison
from ._connections import feature_reuse, lesion, survival
from ._gates import class_gates, gates
from ._gradients import gradient_flow, gradient_history, vanishing_product
from ._theme import svg, use_page_theme

__all__ = [
    "COLOURS",
    "FORMATS",
    "MARKERS",
    "architecture",
    "by_depth",
    "check_format",
    "class_gates",
    "comparison",
    "feature_reuse",
    "gates",
    "gradient_flow",
    "gradient_history",
    "lesion",
    "save",
    "survival",
    "svg",
    "use_page_theme",
    "vanishing_product",
]
