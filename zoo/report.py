"""The report of a run: one HTML file that opens from disk, needs no internet, and follows the reader's light or dark.

What it shows was measured by the run: it is made from run.json, history.csv and the answers to the test images.
"""

import base64
import csv
import html
import io
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from .data import Source
from .runs import Run, replacing

# Stand-ins that matplotlib writes into its SVG, and what the style sheet calls them.
INK, FIRST, SECOND = "#010203", "#010204", "#010205"
COLOURS = {INK: "var(--ink)", FIRST: "var(--first)", SECOND: "var(--second)"}
# A matrix of more classes is not readable; its largest entries are.
MATRIX_CLASSES = 20
MISTAKES = 12


def write_report(run: Run, logits: np.ndarray, source: Source) -> Path:
    """Writes report.html into the folder of a run that was completed.

    Args:
        run: The run, with its results.
        logits: The network's answers to `source.test_images`, (examples, classes).
        source: The data on which the run was measured.

    Returns:
        The path of the file.

    Raises:
        ValueError: If there is not one row of logits for each test image.
    """
    if logits.shape != (len(source.test_images), source.classes):
        raise ValueError(
            f"Expected logits of shape {(len(source.test_images), source.classes)}. Received: {logits.shape}"
        )
    rows = _history(run.path / "history.csv")
    recipe = run.record["recipe"]
    page = Template(files(__package__).joinpath("report.html").read_text()).substitute(
        title=html.escape(f"{recipe['network']} on {source.name}"),
        summary=_tiles(run),
        curves=_curves(rows),
        confusions=_confusions(logits.argmax(axis=1), source),
        mistakes=_mistakes(logits, source),
        recipe=_table(_flat(recipe)),
        history=_grid(rows),
        origin=_table({"data": source.name} | {name: run.record[name] for name in _origin(run.record)}),
    )
    path = run.path / "report.html"
    with replacing(path) as beside:
        beside.write_text(page)
    return path


def _origin(record: Mapping[str, Any]) -> Iterable[str]:
    return (name for name in ("started", "revision", "devices", "process", "environment", "versions") if name in record)


def _history(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _tiles(run: Run) -> str:
    results, recipe = run.results, run.recipe
    figures = {
        "test accuracy": f"{results['test_accuracy']:.2%}",
        "training accuracy": f"{results['train_accuracy']:.2%}",
        "parameters": f"{results['parameters']:,}",
        "training time": f"{results['seconds'] / 60:.1f} min",
        "images per second": f"{results['images_per_second']:,.0f}",
        "the paper": getattr(recipe, "paper", ""),
    }
    tiles = (f"<div><dt>{name}</dt><dd>{html.escape(value)}</dd></div>" for name, value in figures.items() if value)
    return f"<dl class='tiles'>{''.join(tiles)}</dl>"


def _curves(rows: list[dict[str, float]]) -> str:
    epochs = [row["epoch"] for row in rows]
    part = "validation" if "validation_loss" in rows[0] else "test"
    panels = (
        ("accuracy, %", {"training": "accuracy", part: f"{part}_accuracy"}, 100),
        ("cross-entropy", {"training": "loss", part: f"{part}_loss"}, 1),
        ("learning rate", {"": "learning_rate"}, 1),
    )
    charts = []
    for title, lines, factor in panels:
        figure, axes = _axes(title)
        for colour, (label, column) in zip((FIRST, SECOND), lines.items(), strict=False):
            values = [factor * row[column] for row in rows]
            axes.plot(epochs, values, color=colour, label=label, marker="o" if len(rows) == 1 else None)
        axes.set_xlabel("epoch", color=INK)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(lines) > 1:
            axes.legend(frameon=False, labelcolor=INK)
        last = ", ".join(f"{label or title} {factor * rows[-1][column]:.4g}" for label, column in lines.items())
        charts.append(_svg(figure, f"{title} by epoch; at the end: {last}"))
    return f"<div class='charts'>{''.join(charts)}</div>"


def _axes(title: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, color=INK, fontsize=10)
    axes.patch.set_visible(False)
    axes.tick_params(colors=INK)
    axes.grid(color=INK, alpha=0.12)
    for name, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(name in ("left", "bottom"))
    return figure, axes


def _svg(figure: Any, description: str) -> str:
    import matplotlib

    text = io.StringIO()
    # Text as text, for searching and for screen readers; equal runs give equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    for stand_in, name in COLOURS.items():
        drawing = drawing.replace(stand_in, name)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{html.escape(description, quote=True)}"', 1)


def _confusions(predicted: np.ndarray, source: Source) -> str:
    counts = np.zeros((source.classes, source.classes), int)
    np.add.at(counts, (source.test_labels, predicted), 1)
    if source.classes > MATRIX_CLASSES:
        return _largest_confusions(counts, source.class_names)
    most = max(1, (counts - np.diag(np.diag(counts))).max())
    names = [html.escape(name) for name in source.class_names]
    heading = "".join(f"<th scope='col'>{name}</th>" for name in names)
    body = []
    for place, (name, row) in enumerate(zip(names, counts, strict=True)):
        cells = (
            f"<td class='right'>{count}</td>"
            if column == place
            else f"<td style='--part:{count / most:.3f}'>{count or ''}</td>"
            for column, count in enumerate(row)
        )
        body.append(f"<tr><th scope='row'>{name}</th>{''.join(cells)}</tr>")
    corner = "<td>true \\ answered</td>"
    table = f"<table class='matrix'><thead><tr>{corner}{heading}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f"<div class='scroll'>{table}</div>"


def _largest_confusions(counts: np.ndarray, names: tuple[str, ...]) -> str:
    wrong = counts - np.diag(np.diag(counts))
    places = np.argsort(wrong, axis=None)[::-1][:MATRIX_CLASSES]
    pairs = [np.unravel_index(place, wrong.shape) for place in places]
    return _grid(
        [{"true": names[t], "answered": names[a], "images": int(wrong[t, a])} for t, a in pairs if wrong[t, a]]
    )


def _mistakes(logits: np.ndarray, source: Source) -> str:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    answers, truth = logits.argmax(axis=1), source.test_labels
    # The fewer the probability of the truth, the worse.
    wrong = np.flatnonzero(answers != truth)
    worst = wrong[np.argsort(probabilities[wrong, truth[wrong]], kind="stable")[:MISTAKES]]
    if not len(worst):
        return "<p>There is none.</p>"
    brightest = 1 / source.preprocessing.scale
    figures = []
    for place in worst:
        answer, right = answers[place], truth[place]
        caption = html.escape(
            f"{source.class_names[right]}, answered {source.class_names[answer]} ({probabilities[place, answer]:.1%})"
        )
        image = _png(source.test_images[place], brightest)
        figures.append(f'<figure><img src="{image}" alt="{caption}"><figcaption>{caption}</figcaption></figure>')
    return f"<div class='mistakes'>{''.join(figures)}</div>"


def _png(pixels: np.ndarray, brightest: float) -> str:
    from matplotlib.image import imsave

    scaled = np.clip(pixels.astype("float32") * (255 / brightest), 0, 255).astype("uint8")
    colour = scaled if scaled.shape[-1] == 3 else np.repeat(scaled[..., :1], 3, axis=-1)
    buffer = io.BytesIO()
    imsave(buffer, colour, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names, as the command line takes them; empty ones are left out."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value not in ("", None):
            flat[prefix + name] = value
    return flat


def _table(values: Mapping[str, Any]) -> str:
    rows = (
        f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in _flat(values).items()
    )
    return f"<div class='scroll'><table>{''.join(rows)}</table></div>"


def _grid(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "<p>There is none.</p>"
    heading = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row.values())}</tr>" for row in rows)
    return f"<div class='scroll'><table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else html.escape(str(value))
