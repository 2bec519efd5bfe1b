"""Draws what single connections do: closed layers and dropped blocks."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ._base import COLOURS, draw_lines, make_axes, mark_integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..lesions import Lesion
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


def _mark_stages(target: "Axes", names: list[str]) -> None:
    """Draws thin lines at the ends of stages, which names such as "stage2_block1" show."""
    stages = [name.partition("_block")[0] for name in names]
    for index in range(1, len(stages)):
        if stages[index] != stages[index - 1] and "_block" in names[index]:
            target.axvline(index + 0.5, color="grey", linewidth=0.8, linestyle=":")
