"""Draws what single connections do: closed layers, dropped blocks, reused features."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ._base import COLOURS, draw_lines, make_axes, mark_integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..lesions import Lesion
    from ..reuse import Reuse
    from ..survival import Survival


def lesion(lesions: "Iterable[Lesion]") -> "Figure":
    """Draws the test accuracy of a network without one layer, by layer, and that of the whole network as a line."""
    whole, *without = lesions
    figure, target = make_axes(
        f"{whole.network} when one layer only carries", "layer or block, from the image to the logits", "accuracy, %"
    )
    places = [one.place for one in without]
    target.plot(
        places,
        [100 * one.accuracy for one in without],
        "o-",
        color=COLOURS[1],
        markersize=4,
        label="without this layer",
    )
    target.axhline(100 * whole.accuracy, color=COLOURS[0], linestyle="--", label=f"whole: {whole.accuracy:.2%}")
    _mark_stages(target, [one.layer for one in without])
    target.legend(frameon=False, loc="lower right")
    mark_integers(target.xaxis)
    return figure


def survival(blocks: "Iterable[Survival]") -> "Figure":
    """Draws the survival probability of each block, of one network or several."""
    figure, target = make_axes(
        "Survival of the blocks in training", "block, from the image to the logits", "probability"
    )
    by_network: dict[str, list[Survival]] = {}
    for block in blocks:
        by_network.setdefault(block.network, []).append(block)
    series = []
    for network, members in by_network.items():
        running = sum(block.probability for block in members)
        name = f"{network}: {running:.3g} of {len(members)} blocks run on average"
        series.append((name, [block.place for block in members], [block.probability for block in members]))
    draw_lines(target, series)
    target.legend(frameon=False, loc="lower left")
    target.set_ylim(0, 1.05)
    mark_integers(target.xaxis)
    return figure


def feature_reuse(pairs: "Iterable[Reuse]") -> "Figure":
    """Draws a heat map for each dense block: the mean absolute weight from each source (row) to each target (column).

    Colours are relative to the largest weight of a column, because layers have weights of different size. The last
    column is what follows the block.
    """
    from matplotlib.figure import Figure

    by_block: dict[str, list[Reuse]] = {}
    for pair in pairs:
        by_block.setdefault(pair.block, []).append(pair)
    figure = Figure(figsize=(4.1 * len(by_block) + 0.8, 4.4), layout="constrained")
    network = next(iter(by_block.values()))[0].network
    shares = {block: _shares(members) for block, members in by_block.items()}
    least = min(float(np.nanmin(values)) for values in shares.values())
    figure.suptitle(f"Feature reuse in {network}", fontsize=11)
    panels = figure.subplots(1, len(by_block), squeeze=False)[0]
    for target, (block, members) in zip(panels, by_block.items(), strict=True):
        last, values = members[-1].target, shares[block]
        extent = (0.5, last + 0.5, len(values) - 0.5, -0.5)
        drawn = target.imshow(values, cmap="viridis", vmin=least, vmax=1, extent=extent, aspect="auto")
        follows = "" if members[-1].layer.startswith("layer") else f"; last: {members[-1].layer}"
        target.set_title(block, fontsize=10)
        target.set_xlabel(f"to layer{follows}")
        mark_integers(target.xaxis, target.yaxis)
    panels[0].set_ylabel("from layer, 0 is the block's input")
    figure.colorbar(drawn, ax=panels, label="mean absolute weight, share of the column's largest")
    return figure


def _shares(pairs: "list[Reuse]") -> np.ndarray:
    """Arranges a row for each source and a column for each target, scaled so that its largest entry is 1."""
    values = np.full((max(pair.source for pair in pairs) + 1, pairs[-1].target), np.nan)
    for pair in pairs:
        values[pair.source, pair.target - 1] = pair.norm
    return values / np.nanmax(values, axis=0)


def _mark_stages(target: "Axes", names: list[str]) -> None:
    """Draws thin lines at the ends of stages, which names such as "stage2_block1" show."""
    stages = [name.partition("_block")[0] for name in names]
    for index in range(1, len(stages)):
        if stages[index] != stages[index - 1] and "_block" in names[index]:
            target.axvline(index + 0.5, color="grey", linewidth=0.8, linestyle=":")
