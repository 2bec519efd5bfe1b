"""Draws how several networks learn."""

from collections.abc import Iterable
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from ...tasks.classification import TASK as CLASSIFICATION
from ...tasks.task import Figure as Ranking
from ._base import COLOURS, draw_lines, label_axes, make_axes, mark_integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...training.comparison import Errors

ACCURACY = CLASSIFICATION.figures[0]


def comparison(rows: Iterable[dict[str, Any]], ranking: Ranking = ACCURACY) -> "Figure":
    """Draws a figure of the task and the loss by epoch: the mean over the seeds as a line, their range as a band."""
    from matplotlib.figure import Figure

    rows = list(rows)
    part = "validation" if any("validation_loss" in row for row in rows) else "test"
    factor, unit = (100, "%") if ranking.percent else (1, "")
    panels = (
        (f"{part} {ranking.title}", f"{part}_{ranking.name}", factor, unit),
        ("training loss", "loss", 1, "cross-entropy" if ranking.percent else ""),
    )
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for index, (title, column, factor, unit) in enumerate(panels, 1):
        target: Axes = figure.add_subplot(1, len(panels), index)
        label_axes(target, title, "epoch", unit)
        series = []
        for network, colour in zip(dict.fromkeys(row["network"] for row in rows), cycle(COLOURS), strict=False):
            by_epoch: dict[int, list[float]] = {}
            for row in rows:
                if row["network"] == network and column in row:
                    by_epoch.setdefault(row["epoch"], []).append(factor * row[column])
            epochs = sorted(by_epoch)
            series.append((network, epochs, [float(np.mean(by_epoch[epoch])) for epoch in epochs]))
            if len(by_epoch[epochs[0]]) > 1:
                least, most = ([end(by_epoch[epoch]) for epoch in epochs] for end in (min, max))
                target.fill_between(epochs, least, most, color=colour, alpha=0.18, linewidth=0)
        draw_lines(target, series)
        mark_integers(target.xaxis)
    return figure


def by_depth(errors: "Iterable[Errors]") -> "Figure":
    """Draws the training error against the depth: the mean over the seeds as a line, their range as a band.

    Args:
        errors: The result of `comparison.errors_by_depth`.
    """
    errors = list(errors)
    figure, target = make_axes("Error on the training images", "depth, in layers of weights", "error, %")
    series = []
    for network, colour in zip(dict.fromkeys(one.network for one in errors), cycle(COLOURS), strict=False):
        found: dict[int, list[float]] = {}
        for one in errors:
            if one.network == network:
                found.setdefault(one.depth, []).append(one.training)
        depths = sorted(found)
        series.append((network, depths, [float(np.mean(found[depth])) for depth in depths]))
        least, most = ([end(found[depth]) for depth in depths] for end in (min, max))
        target.fill_between(depths, least, most, color=colour, alpha=0.18, linewidth=0)
    draw_lines(target, series)
    target.set_ylim(bottom=0)
    mark_integers(target.xaxis)
    return figure
