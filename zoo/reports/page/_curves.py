"""The curves of a run: the figures of its task, loss and learning rate by epoch."""

from ...analysis import charts
from ...analysis.charts._base import make_axes, mark_integers
from ...tasks import Task


def curves(rows: list[dict[str, float]], task: Task) -> str:
    """Draws a small chart of each, side by side."""
    part = "validation" if any("validation_loss" in row for row in rows) else "test"
    panels = [
        (
            f"{figure.title}, %" if figure.percent else figure.title,
            {"training": figure.name, part: f"{part}_{figure.name}"},
            100 if figure.percent else 1,
        )
        for figure in task.figures
    ]
    panels.append((task.loss_title, {"training": "loss", part: f"{part}_loss"}, 1))
    panels.append(("learning rate", {"": "learning_rate"}, 1))
    drawn = []
    with charts.use_page_theme():
        for title, lines, factor in panels:
            figure, target = make_axes(title, "epoch", "", size=(4.2, 2.8))
            last = []
            for colour, (label, column) in zip(charts.COLOURS, lines.items(), strict=False):
                points = [(row["epoch"], factor * row[column]) for row in rows if column in row]
                if not points:  # a run may end before its first evaluation
                    continue
                epochs, values = zip(*points, strict=True)
                target.plot(epochs, values, color=colour, label=label, marker="o" if len(epochs) == 1 else None)
                last.append(f"{label or title} {values[-1]:.4g}")
            mark_integers(target.xaxis)
            if len(lines) > 1:
                target.legend(frameon=False)
            drawn.append(charts.svg(figure, f"{title} by epoch; at the end: {', '.join(last)}"))
    return arrange_charts(drawn)


def arrange_charts(drawings: list[str]) -> str:
    """Arranges small charts in as many columns as fit."""
    return f"<div class='charts'>{''.join(drawings)}</div>"
