"""The pictures of the results: SVG files that the pages show."""

from depth import KINDS, OURS, PLAIN, RECOMPUTE, REMAT, STOCHASTIC
from harness import RESULTS

# Okabe and Ito's colours, which can be told apart with any kind of sight; the two that coincide differ in dashes too.
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


def panels(titles, size):
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    found = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, title in zip(found, titles, strict=True):
        axes.set_title(title, fontsize=11)
        axes.grid(alpha=0.25)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, found


def plain_ticks(axis, values):
    """Numbers where the figures are, and no powers of ten."""
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def label_ends(axes, ends, least=0.065):
    """Writes each name beside the end of its line, moved apart where lines end close to each other.

    `ends` are name, place and colour; `least` is the distance of two names, as a share of the height.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = sorted(ends, key=lambda end: end[1][1])
    heights = [to_axes.transform(point)[1] for _, point, _ in ends]
    for _ in range(200):
        for place in range(1, len(heights)):
            overlap = max(0.0, least - (heights[place] - heights[place - 1]))
            heights[place - 1] -= overlap / 2
            heights[place] += overlap / 2
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


def depth_picture(figures):
    """Seconds and memory of a training step against depth: depth.svg, which the README shows."""
    batch = next(iter(figures["curves"].values()))[0]["batch"]
    figure, (time, memory) = panels(("Time of a training step", "Memory of a training step"), (11, 4.0))
    for axes, unit, value in (
        (time, "seconds", lambda row: row["seconds"]["median"]),
        (memory, "MiB beside the weights", lambda row: row["MiB"]),
    ):
        axes.set(xscale="log", yscale="log", xlabel=f"layers of the residual network, batch of {batch}", ylabel=unit)
        ends = []
        for kind in KINDS:
            points = [(row["depth"], value(row)) for row in figures["curves"].get(kind, [])]
            if points:
                colour, marker, dashes = STYLES[kind]
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, linestyle=dashes, markersize=5)
                ends.append((kind, points[-1], colour))
        plain_ticks(axes.xaxis, sorted({row["depth"] for rows in figures["curves"].values() for row in rows}))
        low, high = axes.get_ylim()
        steps = (factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 5))
        plain_ticks(axes.yaxis, [step for step in steps if low <= step <= high])
        label_ends(axes, ends)
    save(figure, "depth.svg")


def recompute_picture(figures):
    """Memory against depth, with and without recomputation: recompute.svg."""
    networks = figures["networks"]
    figure, found = panels(list(networks), (4.4 * len(networks), 3.6))
    for axes, network in zip(found, networks.values(), strict=True):
        for kind, (colour, marker, dashes) in (("plain", STYLES[OURS]), ("recomputed", STYLES[RECOMPUTE])):
            points = [(row["depth"], row[f"{kind} (MiB)"]) for row in network["memory"]]
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, linestyle=dashes, label=kind)
        axes.set(xlabel="layers", ylabel="MiB of a training step", ylim=(0, None))
    found[0].legend(frameon=False)
    save(figure, "recompute.svg")
