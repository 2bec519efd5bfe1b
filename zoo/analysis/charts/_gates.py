"""Draws the gates of a highway network as in the papers: layers are rows, their units columns."""

from typing import TYPE_CHECKING

import numpy as np

from ._base import COLOURS, label_axes, mark_integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from ..gating import Gates

# More panels are not readable.
CLASSES = 10


def gates(found: "Gates") -> "Figure":
    """Draws the biases, the mean gates, the gates of one image, and the biases against the mean gates.

    Args:
        found: The result of `zoo.gates`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 6.6), layout="constrained")
    figure.suptitle(f"The gates of {found.network}", fontsize=11)
    panels = figure.subplots(2, 3)
    layers = found.layers
    biases = _map([layer.transform_bias for layer in layers])
    transform = _map([layer.transform for layer in layers])
    heat_maps = (
        ("transform gate biases", biases, None, "bias"),
        ("mean transform gate T(x)", transform, (0, 1), "T"),
        ("mean carry gate C(x)", _map([layer.carry for layer in layers]), (0, 1), "C"),
        (f"T(x) of one image, {found.example!r}", _map([layer.example_transform for layer in layers]), (0, 1), "T"),
        (f"output y of one image, {found.example!r}", _map([layer.example_output for layer in layers]), None, "y"),
    )
    for target, (title, values, limits, unit) in zip(panels.flat, heat_maps, strict=False):
        low, high = limits or (np.nanmin(values), np.nanmax(values))
        _heat(target, figure, title, values, low, high, "viridis", unit)
    _scatter(panels[1, 2], figure, biases, transform)
    return figure


def class_gates(found: "Gates") -> "Figure":
    """Draws how the mean transform gates of the first classes differ from those of all images."""
    from matplotlib.figure import Figure

    names = found.class_names[:CLASSES]
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.5 * columns + 0.8, 2.6 * rows + 0.3), layout="constrained")
    figure.suptitle(f"{found.network}: mean T(x) of a class, less that of all images", fontsize=11)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    differences = [
        _map([layer.class_transform[index] - layer.transform for layer in found.layers]) for index in range(len(names))
    ]
    most = max(np.nanmax(np.abs(values), initial=1e-6) for values in differences)
    for index, target in enumerate(panels.flat):
        if index >= len(names):
            target.set_visible(False)
            continue
        drawn = _image(target, differences[index], -most, most, "PuOr")
        target.set_title(names[index], fontsize=10)
    for target in panels[-1]:
        target.set_xlabel("unit")
    for target in panels[:, 0]:
        target.set_ylabel("layer")
    figure.colorbar(drawn, ax=panels, label="difference of T")
    return figure


def _map(layers: list[np.ndarray]) -> np.ndarray:
    """Stacks the layers as rows, padded with NaN to the layer with the most units."""
    values = np.full((len(layers), max(map(len, layers))), np.nan)
    for row, layer in zip(values, layers, strict=True):
        row[: len(layer)] = layer
    return values


def _image(target: "Axes", values: np.ndarray, low: float, high: float, colours: str) -> "AxesImage":
    layers, units = values.shape
    drawn = target.imshow(
        values,
        cmap=colours,
        vmin=low,
        vmax=high,
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, units + 0.5, layers + 0.5, 0.5),
    )
    mark_integers(target.xaxis, target.yaxis)
    return drawn


def _heat(
    target: "Axes", figure: "Figure", title: str, values: np.ndarray, low: float, high: float, colours: str, unit: str
) -> None:
    drawn = _image(target, values, low, high, colours)
    target.set_title(title, fontsize=10)
    target.set_xlabel("unit")
    target.set_ylabel("layer")
    figure.colorbar(drawn, ax=target, label=unit)


def _scatter(target: "Axes", figure: "Figure", biases: np.ndarray, transform: np.ndarray) -> None:
    label_axes(target, "", "transform gate bias", "mean T(x)")
    target.set_title("biases against activity", fontsize=10)
    depth = np.broadcast_to(np.arange(1, len(biases) + 1)[:, None], biases.shape)
    there = ~np.isnan(biases)
    drawn = target.scatter(biases[there], transform[there], c=depth[there], cmap="viridis", s=9)
    ends = np.linspace(biases[there].min(), biases[there].max(), 50)
    target.plot(ends, 1 / (1 + np.exp(-ends)), color=COLOURS[1], linewidth=1.2, label="sigmoid(bias)")
    target.legend(frameon=False, fontsize=8)
    bar = figure.colorbar(drawn, ax=target, label="layer")
    bar.locator.set_params(integer=True)  # type: ignore[call-arg]
