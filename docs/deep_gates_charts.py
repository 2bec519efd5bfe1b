"""Draws what `deep_gates` has measured, against the depth: one column of panels for each half of the networks."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from deep_gates import DEPTHS, NETWORKS, SEEDS, Gradient, Trained

from zoo.analysis import charts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Measured = Mapping[tuple[str, int, int], float]  # by network, depth and seed

SUM = "pre-norm, sum"
COLUMNS = {"pre-norm, and keel": ("pre-norm", "keel"), "no norm in the layers": ("no norm", SUM)}
DATA = {"digits": "Digits", "mnist": "MNIST"}
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = charts.COLOURS
# The colour and the marker of each merge, with a norm and without.
LOOKS = {
    "sum": (BLACK, "o"),
    "review": (GREEN, "^"),
    "keel": (SKY, "P"),
    "coupled, bias -ln L": (ORANGE, "v"),
    "coupled, bias -4": (BLUE, "D"),
    "coupled, bias -2": (PURPLE, "s"),
    "coupled, bias 0": (VERMILION, "X"),
    "learned, biases -2 and 2": ("grey", "p"),
}


def chosen(rows: Sequence[Trained]) -> list[Trained]:
    """The runs at the rates that were chosen: those of the last seed, which trained at no other."""
    rates = {row[:5] for row in rows if row.seed == SEEDS[-1]}
    return [row for row in rows if row[:5] in rates]


def draw_gradients(rows: Sequence[Gradient]) -> "Figure":
    """Draws the ratio of the first layer's gradient to the last's: the geometric mean and the range of the seeds."""
    ratios = {row[:3]: row.first / row.last for row in rows}
    figure, (panels,) = _make_panels(1, "gradient of the first layer / of the last")
    for target, prefixes in zip(panels, COLUMNS.values(), strict=True):
        _draw(target, ratios, prefixes, lambda values: np.exp(np.mean(np.log(values), axis=1)))
        target.axhline(1, color="grey", linewidth=0.8, zorder=0)
        target.legend(frameon=False, fontsize=8)
    return figure


def draw_accuracy(rows: Sequence[Trained]) -> "Figure":
    """Draws the test error of each data set: the mean and the range of the seeds."""
    found = chosen(rows)
    sets = list(dict.fromkeys(row.data for row in found))
    figure, grid = _make_panels(len(sets), "test error, %")
    for data, panels in zip(sets, grid, strict=True):
        errors = {
            (row.network, row.layers, row.seed): 100 * (1 - row.test_accuracy) for row in found if row.data == data
        }
        for target, prefixes in zip(panels, COLUMNS.values(), strict=True):
            _draw(target, errors, prefixes, lambda values: np.mean(values, axis=1))
            target.set_title(f"{DATA[data]}: {target.get_title()}", fontsize=11)
            ticks = (2, 5, 10, 20, 50, 90)
            target.set_yticks(ticks, [str(tick) for tick in ticks])
            target.minorticks_off()
    for target in grid[0]:
        target.legend(frameon=False, fontsize=8)
    return figure


def _make_panels(rows: int, quantity: str) -> "tuple[Figure, np.ndarray]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.6 + 3.8 * rows), layout="constrained")
    grid = figure.subplots(rows, len(COLUMNS), sharex=True, sharey=True, squeeze=False)
    for panels in grid:
        for target, title in zip(panels, COLUMNS, strict=True):
            target.set(xscale="log", yscale="log")
            target.set_title(title, fontsize=11)
            target.set_xticks(DEPTHS["digits"], [str(depth) for depth in DEPTHS["digits"]])
            target.minorticks_off()
            target.grid(alpha=0.25)
        panels[0].set_ylabel(quantity)
    for target in grid[-1]:
        target.set_xlabel("layers L")
    return figure, grid


def _draw(
    target: "Axes", measured: Measured, prefixes: tuple[str, ...], average: Callable[[np.ndarray], np.ndarray]
) -> None:
    names = [name for name in NETWORKS if name.startswith(prefixes)]
    for index, name in enumerate(names):
        depths = sorted({depth for network, depth, _ in measured if network == name})
        values = np.array([[value for key, value in measured.items() if key[:2] == (name, depth)] for depth in depths])
        merge = name.removeprefix("pre-norm, ").removeprefix("no norm, ")
        colour, marker = LOOKS[merge]
        means = average(values)
        ranges = [means - values.min(axis=1), values.max(axis=1) - means]
        look = {"color": colour, "marker": marker, "markersize": 5, "capsize": 2, "linewidth": 1.4}
        label = name if name == SUM and SUM in prefixes else merge
        places = np.array(depths) * 1.025 ** (index - len(names) / 2)  # side by side
        target.errorbar(places, means, ranges, label=label, **look)
