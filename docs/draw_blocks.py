"""Draws the picture of the block kinds: python docs/draw_blocks.py writes docs/blocks.svg."""

import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

INK, LINE, SKIP, GATE = "#1f2933", "#9aa5b1", "#d9480f", "#5f3dc4"
FILLS = {
    "conv": "#d0ebff",
    "norm": "#e9ecef",
    "act": "#d3f9d8",
    "dropout": "#fff3bf",
    "gate": "#e5dbff",
    "concat": "#ffe8cc",
    "any": "#ffdeeb",
    "norm?": "white",
}
PANELS = [
    ("Residual", ["norm?", "any layer", "norm?"], "add", "norm?"),
    ("ResidualBlock", ["conv", "norm", "act", "conv", "norm"], "add", "act"),
    ("BottleneckBlock", ["conv 1x1", "norm · act", "conv 3x3", "norm · act", "conv 1x1", "norm"], "add", "act"),
    ("PreActivationBlock", ["norm", "act", "conv", "norm", "act", "conv"], "add", None),
    ("WideBlock", ["norm · act", "conv", "norm · act", "dropout", "conv"], "add", None),
    ("HighwayBlock", ["conv", "act"], "gates", None),
    ("DenseBlock", ["norm · act", "conv 1x1", "norm · act", "conv 3x3"], "concat", None),
    ("StochasticDepthBlock", ["conv", "norm", "act", "conv", "norm"], "drop", "act"),
]
TOP = 8.2


def box(axes, x, y, text, kind, width=1.5):
    patch = FancyBboxPatch(
        (x - width / 2, y - 0.3),
        width,
        0.6,
        boxstyle="round,pad=0.02,rounding_size=0.12",
        fc=FILLS[kind],
        ec=LINE,
        lw=0.8,
    )
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=INK)


def arrow(axes, start, end, color=INK, style="-|>", dashed=False):
    properties = {
        "arrowstyle": style,
        "color": color,
        "lw": 1.2,
        "shrinkA": 0,
        "shrinkB": 0,
        "ls": "--" if dashed else "-",
    }
    axes.annotate("", xy=end, xytext=start, arrowprops=properties)


def node(axes, x, y, text, color=SKIP):
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=10,
        color=color,
        bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": color},
    )


def skip_line(axes, x, end, color=SKIP):
    axes.plot([0, x, x], [TOP - 0.5, TOP - 0.5, end], color=color, lw=2)
    arrow(axes, (x, end), (0.25, end), color=color)


def panel(axes, title, branch, merge, after):
    axes.set_title(title, fontsize=10, color=INK, fontfamily="monospace", fontweight="bold")
    axes.text(0, TOP + 0.15, "x", ha="center", fontsize=10, color=INK)
    step = min(0.92, 4.3 / (len(branch) - 1))
    ys = [TOP - 1.3 - step * place for place in range(len(branch))]
    merged = 1.8
    arrow(axes, (0, TOP), (0, ys[0] + 0.32))
    for upper, lower in zip(ys, ys[1:], strict=False):
        arrow(axes, (0, upper - 0.32), (0, lower + 0.32))
    for y, text in zip(ys, branch, strict=True):
        box(axes, 0, y, text, text.split()[0])
    arrow(axes, (0, ys[-1] - 0.32), (0, merged + 0.25), dashed=merge == "drop")
    if merge == "gates":
        for x, name in ((-1.5, "T(x)"), (1.75, "C(x)")):
            box(axes, x, 4.2, name, "gate", width=0.9)
        axes.plot([0, -1.5, -1.5], [TOP - 0.5, TOP - 0.5, 4.52], color=GATE, lw=1.2)
        axes.plot([-1.5, -1.5], [3.88, 2.9], color=GATE, lw=1.2)
        arrow(axes, (-1.5, 2.9), (-0.25, 2.9), color=GATE)
        node(axes, 0, 2.9, "×", GATE)
        axes.plot([0, 1.75, 1.75], [TOP - 0.5, TOP - 0.5, 4.52], color=SKIP, lw=2)
        axes.plot([1.75, 1.75], [3.88, merged], color=SKIP, lw=2)
        arrow(axes, (1.75, merged), (0.25, merged), color=SKIP)
        axes.text(1.0, merged + 0.15, "C(x) · x", fontsize=8, color=SKIP, ha="center")
    else:
        skip_line(axes, 1.35, merged)
    if merge == "drop":
        axes.text(-0.2, 2.6, "kept with\nprobability p", fontsize=7.5, color=GATE, ha="right", va="center")
    if merge == "concat":
        axes.text(-0.25, 2.75, "k new\nchannels", fontsize=7.5, color=GATE, ha="right", va="center")
        axes.text(1.5, 5.2, "all that\ncame\nbefore", fontsize=7.5, color=SKIP, ha="left", va="center")
    node(axes, 0, merged, "∥" if merge == "concat" else "+")
    last = merged - 0.25
    if after:
        arrow(axes, (0, last), (0, 1.22))
        box(axes, 0, 0.92, after, after)
        last = 0.6
    arrow(axes, (0, last), (0, 0.1))
    axes.text(0, -0.35, "y", ha="center", fontsize=10, color=INK)
    axes.set(xlim=(-2.2, 2.4), ylim=(-0.6, TOP + 0.5))
    axes.axis("off")


def draw() -> plt.Figure:
    figure, all_axes = plt.subplots(1, len(PANELS), figsize=(2.35 * len(PANELS), 4.3), facecolor="white")
    for axes, arguments in zip(all_axes, PANELS, strict=True):
        panel(axes, *arguments)
    figure.tight_layout(w_pad=0.2)
    return figure


if __name__ == "__main__":
    matplotlib.rcParams.update({"svg.hashsalt": "keras-skip", "svg.fonttype": "path"})
    target = pathlib.Path(__file__).with_name("blocks.svg")
    draw().savefig(target, metadata={"Date": None})
    print(f"Wrote {target}")
