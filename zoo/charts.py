"""Figures to look at, in files: readable in grey and by the colour-blind, with a name for all that is drawn."""

from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from .runs import replacing

# Okabe and Ito's colours, which can be told apart with any kind of sight; and markers, for print without colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FORMATS = (".svg", ".png", ".pdf")


def check_format(path: Path) -> None:
    """Refuses a file of which the suffix names no format of figures."""
    if path.suffix not in FORMATS:
        raise ValueError(f"Expected a file that ends in {', '.join(FORMATS)}. Received: {str(path)!r}")


def save(figure: Any, path: Path) -> None:
    """Writes a figure; equal figures give equal files."""
    import matplotlib

    check_format(path)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem}), replacing(path) as beside:
        dated = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(beside, dpi=160, metadata=dated)


def axes(title: str, x: str, y: str, size: tuple[float, float] = (7.0, 4.2)) -> tuple[Any, Any]:
    """An empty figure and its axes, with a title and the names of what is drawn."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    found = figure.add_subplot()
    _labelled(found, title, x, y)
    for side in ("top", "right"):
        found.spines[side].set_visible(False)
    return figure, found


def _labelled(target: Any, title: str, x: str, y: str) -> None:
    target.set_title(title, fontsize=11)
    target.set_xlabel(x)
    target.set_ylabel(y)
    target.grid(alpha=0.25)


def lines(target: Any, series: Iterable[tuple[str, Sequence[float], Sequence[float]]]) -> None:
    """Draws named lines, and a legend."""
    for (name, x, y), colour, marker in zip(series, cycle(COLOURS), cycle(MARKERS), strict=False):
        step = max(1, len(x) // 15)
        target.plot(x, y, color=colour, marker=marker, markevery=step, markersize=4, linewidth=1.6, label=name)
    target.legend(frameon=False)


def gradient_flow(norms: Iterable[Any]) -> Any:
    """The norms of each network's gradient from its first layer to its last, at the last step of each."""
    from .gradients import by_network

    figure, target = axes(
        "How far the gradient reaches", "layer or block, from the image to the logits", "norm of the gradient"
    )
    target.set_yscale("log")
    series: list[tuple[str, list[float], list[float]]] = []
    for network, points in by_network(norms).items():
        last = max(point.step for point in points)
        final = [point for point in points if point.step == last]
        name = network if last == 0 else f"{network}, step {last:,}"
        series.append((name, [point.place for point in final], [point.norm for point in final]))
    lines(target, series)
    target.xaxis.get_major_locator().set_params(integer=True)
    return figure


def comparison(rows: Iterable[dict[str, Any]]) -> Any:
    """Accuracy and loss by epoch: the mean over the seeds as a line, from the least to the greatest as a band."""
    from matplotlib.figure import Figure

    rows = list(rows)
    part = "validation" if "validation_accuracy" in rows[0] else "test"
    panels = (
        (f"{part} accuracy", f"{part}_accuracy", 100, "%"),
        ("training loss", "loss", 1, "cross-entropy"),
    )
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for place, (title, column, factor, unit) in enumerate(panels, 1):
        target: Any = figure.add_subplot(1, len(panels), place)
        _labelled(target, title, "epoch", unit)
        series = []
        for network, colour in zip(dict.fromkeys(row["network"] for row in rows), cycle(COLOURS), strict=False):
            by_epoch: dict[int, list[float]] = {}
            for row in rows:
                if row["network"] == network:
                    by_epoch.setdefault(row["epoch"], []).append(factor * row[column])
            epochs = sorted(by_epoch)
            series.append((network, epochs, [float(np.mean(by_epoch[epoch])) for epoch in epochs]))
            if len(by_epoch[epochs[0]]) > 1:
                least, most = ([end(by_epoch[epoch]) for epoch in epochs] for end in (min, max))
                target.fill_between(epochs, least, most, color=colour, alpha=0.18, linewidth=0)
        lines(target, series)
        target.xaxis.get_major_locator().set_params(integer=True)
    return figure
