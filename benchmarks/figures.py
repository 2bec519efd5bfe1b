"""Draws the results as SVG files, which the pages show."""

from .harness import RESULTS
from .layers.depth import KINDS, OURS, PLAIN, RECOMPUTE, REMAT, STOCHASTIC

# Okabe and Ito's colours, which any kind of sight can distinguish; where two curves coincide, their dashes differ too.
STYLES = {
    OURS: ("#0072B2", "o", "-"),
    RECOMPUTE: ("#D55E00", "s", "-"),
    STOCHASTIC: ("#009E73", "^", "-"),
    PLAIN: ("#000000", "x", (0, (1, 2))),
    REMAT: ("#CC79A7", "D", (0, (4, 2))),
}


def save(figure, name):
    from zoo.analysis import charts

    charts.save(figure, RESULTS / name)


def make_panels(titles, size):
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    found = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, title in zip(found, titles, strict=True):
        axes.set_title(title, fontsize=11)
        axes.grid(alpha=0.25)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, found


def set_plain_ticks(axis, values):
    """Puts plain numbers at the values, and no powers of ten."""
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def label_ends(axes, ends, least=0.065):
    """Writes each name at the end of its line; where lines end close to each other, it moves the names apart.

    Args:
        axes: The axes of the lines.
        ends: The name, the last point and the colour of each line.
        least: The distance of two names, as a share of the height.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = sorted(ends, key=lambda end: end[1][1])
    heights = [to_axes.transform(point)[1] for _, point, _ in ends]
    for _ in range(200):
        for upper in range(1, len(heights)):
            overlap = max(0.0, least - (heights[upper] - heights[upper - 1]))
            heights[upper - 1] -= overlap / 2
            heights[upper] += overlap / 2
    for (name, (x, y), colour), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.02, height),
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=9,
            annotation_clip=False,
        )


def draw_depth(figures):
    """Draws the seconds and the memory of a training step against depth: depth.svg, which the README shows."""
    batch = next(iter(figures["curves"].values()))[0]["batch"]
    figure, (time, memory) = make_panels(("Time of a training step", "Memory of a training step"), (11, 4.0))
    for axes, unit, value in (
        (time, "seconds", lambda row: row["seconds"]["median"]),
        (memory, "MiB besides the weights", lambda row: row["MiB"]),
    ):
        axes.set(xscale="log", yscale="log", xlabel=f"layers of the residual network, batch of {batch}", ylabel=unit)
        ends = []
        for kind in KINDS:
            points = [(row["depth"], value(row)) for row in figures["curves"].get(kind, [])]
            if points:
                colour, marker, dashes = STYLES[kind]
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, linestyle=dashes, markersize=5)
                ends.append((kind, points[-1], colour))
        set_plain_ticks(axes.xaxis, sorted({row["depth"] for rows in figures["curves"].values() for row in rows}))
        low, high = axes.get_ylim()
        steps = (factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 5))
        set_plain_ticks(axes.yaxis, [step for step in steps if low <= step <= high])
        label_ends(axes, ends)
    save(figure, "depth.svg")


def draw_recompute(figures):
    """Draws the memory against depth, with and without recomputation: recompute.svg."""
    networks = figures["networks"]
    figure, found = make_panels(list(networks), (4.4 * len(networks), 3.6))
    for axes, network in zip(found, networks.values(), strict=True):
        for kind, (colour, marker, dashes) in (("plain", STYLES[OURS]), ("recomputed", STYLES[RECOMPUTE])):
            points = [(row["depth"], row[f"{kind} (MiB)"]) for row in network["memory"]]
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, linestyle=dashes, label=kind)
        axes.set(xlabel="layers", ylabel="MiB of a training step", ylim=(0, None))
    found[0].legend(frameon=False)
    save(figure, "recompute.svg")
