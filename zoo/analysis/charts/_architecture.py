"""Draws a network as a column of boxes, one for each kind of block in each stage, beside the cost of the stage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._base import COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..architecture import Stage, Unit

INK, LINE = "#1f2933", "#9aa5b1"
FILLS = {"add": "#d0ebff", "gate": "#e5dbff", "concatenate": "#ffe8cc", "": "#f1f3f5"}
SKIPS = {"add": "the skip is added", "gate": "gates mix it in", "concatenate": "it is concatenated"}
# Positions across, in inches, and the height of a row.
STAGE, BOXES, WIDTH, SKIP, COLUMNS = 1.75, 1.95, 4.4, 6.6, (7.9, 9.0, 10.2, 11.3)
ROW, GAP = 0.44, 0.16
HEADINGS = ("output", "parameters", "multiply-adds", "sees, pixels")


def architecture(name: str, input_shape: Sequence[int], stages: "Sequence[Stage]") -> "Figure":
    """Draws the stages of a network, from the image at the top to the logits.

    Args:
        name: The name of the network.
        input_shape: The shape of one image.
        stages: The result of `zoo.network_stages`.
    """
    from matplotlib.figure import Figure

    rows = sum(len(stage.units) for stage in stages)
    height = (rows + 3.4) * ROW + (rows + 1) * GAP
    width = COLUMNS[-1] + 0.7
    figure = Figure(figsize=(width, height), facecolor="white")
    target = figure.add_axes((0, 0, 1, 1))
    target.set(xlim=(0, width), ylim=(height, 0))
    target.axis("off")
    text = _make_writer(target)
    cost = sum(stage.multiply_adds for stage in stages)
    size = sum(stage.parameters for stage in stages)
    text(0.3, 0.6 * ROW, name, ha="left", fontsize=13, fontweight="bold")
    text(width - 0.3, 0.6 * ROW, f"{size:,} parameters, {cost:,} multiply-adds", ha="right", fontsize=9)
    for x, heading in zip(COLUMNS, HEADINGS, strict=True):
        text(x, 1.5 * ROW, heading, fontsize=8.5, color=LINE)
    y = 2.3 * ROW
    text(BOXES + WIDTH / 2, y - ROW / 2, f"image, {_format_shape(input_shape)}", fontsize=9)
    for stage in stages:
        top = y
        for unit in stage.units:
            _draw_unit(target, text, y + GAP, unit)
            y += ROW + GAP
        middle = (top + GAP + y) / 2
        if len(stage.units) > 1:
            target.plot([STAGE, STAGE], [top + GAP, y], color=LINE, linewidth=1.5)
        text(STAGE - 0.12, middle, stage.name, ha="right", fontsize=9)
        seen = "all" if stage.receptive_field is None else f"{stage.receptive_field:,}"
        figures = (
            _format_shape(stage.output_shape),
            _format_count(stage.parameters),
            _format_count(stage.multiply_adds),
            seen,
        )
        for x, figure_of_stage in zip(COLUMNS, figures, strict=True):
            text(x, middle, figure_of_stage, fontsize=9)
        target.plot([0.3, width - 0.3], [y + GAP / 2] * 2, color=LINE, linewidth=0.4, alpha=0.6)
    kinds = dict.fromkeys(unit.kind for stage in stages for unit in stage.units if unit.kind)
    if kinds:
        kinds_shown = "; ".join(f"{SKIPS[kind]}" for kind in kinds)
        text(
            BOXES,
            y + 0.8 * ROW,
            f"× n: equal blocks in a row. Orange: the skip around each block; {kinds_shown}.",
            ha="left",
            fontsize=8,
        )
    return figure


def _make_writer(target: "Axes") -> "Callable[..., None]":
    def text(x: float, y: float, string: str, **options: Any) -> None:
        target.text(x, y, string, **{"ha": "center", "va": "center", "color": INK, **options})

    return text


def _draw_unit(target: "Axes", text: "Callable[..., None]", top: float, unit: "Unit") -> None:
    """Draws a box, the arrow into it, its skip and its count."""
    from matplotlib.patches import FancyBboxPatch

    middle = BOXES + WIDTH / 2
    box = FancyBboxPatch(
        (BOXES, top), WIDTH, ROW, boxstyle="round,pad=0,rounding_size=0.1", fc=FILLS[unit.kind], ec=LINE, lw=0.8
    )
    target.add_patch(box)
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7}
    target.annotate("", xy=(middle, top), xytext=(middle, top - GAP), arrowprops=arrow)
    text(middle, top + ROW / 2, unit.label, fontsize=8.5 if len(unit.label) < 52 else 7)
    if unit.kind:
        edge = BOXES + WIDTH
        above, below = top - 0.03, top + ROW + 0.03
        bow = [edge - 0.35, edge + 0.18, edge + 0.18, edge - 0.2]
        target.plot(bow, [above, above, below, below], color=COLOURS[1], linewidth=1.6, solid_joinstyle="round")
        head = {"arrowstyle": "-|>", "color": COLOURS[1], "lw": 1.6, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
        target.annotate("", xy=(edge - 0.35, below), xytext=(edge, below), arrowprops=head)
    if unit.repeats > 1:
        text(SKIP + 0.1, top + ROW / 2, f"× {unit.repeats}", fontsize=11, fontweight="bold", ha="left")


def _format_shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _format_count(number: int) -> str:
    return f"{number:,}" if number else "–"
