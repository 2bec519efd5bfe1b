"""Draws the weights of learned skips as heat maps: streams side by side, and triangles of sources and targets."""

from collections.abc import Iterable, Sequence
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._base import mark_integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

    from ..reuse import Reuse
    from ..skips import Skip

# More connections side by side, and more triangles, are not readable.
IN_A_ROW, TRIANGLES_IN_A_ROW = 24, 3
STREAMS = {
    "pre": ("H_pre: how much a layer reads of each stream", "from stream"),
    "post": ("H_post: how much of a layer's update each stream gets", "to stream"),
    "residual": ("H_res: how the streams mix. Each square is a matrix: columns are sources", "to stream"),
}


class Triangle(NamedTuple):
    """The words around the triangles of a kind."""

    title: str
    unit: str
    target: str
    source: str


OF_BLOCKS = ("read by block; last: what follows", "output of block; 0: the input")
TRIANGLES = {
    "average": Triangle("Depth averages", "weight", *OF_BLOCKS),
    "attention": Triangle("Depth attention", "mean weight", *OF_BLOCKS),
    "reuse": Triangle(
        "Feature reuse",
        "mean absolute weight, share of the column's largest",
        "to layer",
        "from layer, 0 is the block's input",
    ),
}


def skips(found: "Iterable[Skip]") -> "Figure":
    """Draws heat maps of each kind of learned skip in a network.

    Streams have a column for each connection: how much it reads from each stream, how much it writes to each, and the
    matrix that mixes them. The other kinds have a triangle for each dense block or stack, with a row for each source
    and a column for each target. Colours of feature reuse are relative to the largest weight of a column, because
    layers have weights of different size. Those of depth averages end at the largest weight that is not the newest
    output's, because that one is near 1.

    Args:
        found: The result of `zoo.learned_skips`.
    """
    from matplotlib.figure import Figure

    by_kind: dict[str, list[Skip]] = {}
    for skip in found:
        by_kind.setdefault(skip.kind, []).append(skip)
    connections = {kind: _split(by_kind[kind], anew=False) for kind in STREAMS if kind in by_kind}
    chains = {kind: _split(by_kind[kind], anew=True) for kind in TRIANGLES if kind in by_kind}
    bands = -(-max(map(len, connections.values()), default=0) // IN_A_ROW)
    heights = [0.4 + 4.2 * bands] if bands else []
    heights += [4.4 * -(-len(members) // TRIANGLES_IN_A_ROW) for members in chains.values()]
    widths = [1.5 + 0.45 * max(12, min(IN_A_ROW, max(map(len, connections.values()))))] if bands else []
    widths += [4.1 * min(TRIANGLES_IN_A_ROW, len(members)) + 0.8 for members in chains.values()]
    figure = Figure(figsize=(max(widths), sum(heights)), layout="constrained")
    parts = list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    if bands:
        _draw_streams(parts.pop(0), connections, bands)
    for part, (kind, members) in zip(parts, chains.items(), strict=True):
        _draw_triangles(part, kind, members)
    return figure


def feature_reuse(pairs: "Iterable[Reuse]") -> "Figure":
    """Draws the result of `zoo.feature_reuse` as `skips` does."""
    from ..skips import as_skips

    return skips(as_skips(pairs))


def _split(members: "Sequence[Skip]", anew: bool) -> "list[list[Skip]]":
    """Splits weights by layer, or into the chains of layers in which the targets begin anew."""
    parts: list[list[Skip]] = []
    for skip in members:
        before = parts[-1][-1] if parts else None
        if before is None or (skip.target < before.target if anew else skip.layer != before.layer):
            parts.append([])
        parts[-1].append(skip)
    return parts


def _draw_streams(part: "SubFigure", connections: "dict[str, list[list[Skip]]]", bands: int) -> None:
    part.suptitle(f"Streams in {connections['pre'][0][0].network}", fontsize=11)
    panels = part.subplots(bands * len(STREAMS), 1, squeeze=False)[:, 0]
    for row, (kind, (title, label)) in enumerate(STREAMS.items()):
        # A column for each source; what a layer reads is a column too, above its number.
        matrices = [_matrix(members, kind == "pre") for members in connections[kind]]
        options = _colours(np.concatenate([matrix.ravel() for matrix in matrices]))
        for band in range(bands):
            target = panels[len(STREAMS) * band + row]
            first = IN_A_ROW * band
            drawn = _draw_strip(target, matrices[first : first + IN_A_ROW], first + 1, options)
            target.set_title(title, fontsize=9, loc="left")
            target.set_ylabel(label)
            part.colorbar(drawn, ax=target, aspect=8, pad=0.01)
    for target in panels[len(STREAMS) - 1 :: len(STREAMS)]:
        target.set_xlabel("connection, from the image to the logits")


def _matrix(members: "Sequence[Skip]", transpose: bool) -> np.ndarray:
    targets, sources = (sorted({getattr(skip, end) for skip in members}) for end in ("target", "source"))
    values = np.full((len(targets), len(sources)), np.nan)
    for skip in members:
        values[targets.index(skip.target), sources.index(skip.source)] = skip.weight
    return values.T if transpose else values


def _draw_strip(target: "Axes", matrices: Sequence[np.ndarray], first: int, options: dict[str, Any]) -> "AxesImage":
    """Draws matrices side by side with gaps between them, each above its number."""
    rows, columns = (max(matrix.shape[axis] for matrix in matrices) for axis in (0, 1))
    # A cell is at least as wide as a gap.
    wide = max(4, columns)
    values = np.full((rows, IN_A_ROW if first > 1 else len(matrices), wide + 1), np.nan)
    for place, matrix in enumerate(matrices):
        filled = np.repeat(matrix, wide // columns, axis=1)
        values[: len(filled), place, : filled.shape[1]] = filled
    shift = 0.5 / (wide + 1)
    left, right = first - 0.5, first - 0.5 + values.shape[1]
    drawn = target.imshow(
        values.reshape(rows, -1),
        aspect="auto",
        interpolation="nearest",
        extent=(left + shift, right + shift, rows + 0.5, 0.5),
        **options,
    )
    target.set_xlim(left, right)
    target.set_yticks(range(1, rows + 1))
    mark_integers(target.xaxis)
    target.spines[:].set_visible(False)
    return drawn


def _colours(values: np.ndarray) -> dict[str, Any]:
    """A scale that begins at 0, or one around 0 if there are negative weights."""
    most = float(np.nanmax(np.abs(values))) or 1.0
    if np.nanmin(values) < 0:
        return {"cmap": "PuOr", "vmin": -most, "vmax": most}
    return {"cmap": "viridis", "vmin": 0.0, "vmax": most}


def _draw_triangles(part: "SubFigure", kind: str, chains: "list[list[Skip]]") -> None:
    words = TRIANGLES[kind]
    part.suptitle(f"{words.title} in {chains[0][0].network}", fontsize=11)
    maps = [_triangle(members) for members in chains]
    options, extend = _colours(np.concatenate([values.ravel() for values in maps])), "neither"
    if kind == "reuse":
        maps = [values / np.nanmax(values, axis=0) for values in maps]
        options = {"cmap": "viridis", "vmin": min(float(np.nanmin(values)) for values in maps), "vmax": 1.0}
    if kind == "average":
        # A network without older outputs has the scale of all.
        older = [skip.weight for members in chains for skip in members if skip.source < skip.target - 1]
        options, extend = _colours(np.array(older or [1.0])), "both"
    rows, columns = -(-len(maps) // TRIANGLES_IN_A_ROW), min(TRIANGLES_IN_A_ROW, len(maps))
    panels = part.subplots(rows, columns, squeeze=False)
    for target, values, members in zip(panels.flat, maps, chains, strict=False):
        first, last = members[0].target, members[-1].target
        extent = (first - 0.5, last + 0.5, len(values) - 0.5, -0.5)
        drawn = target.imshow(values, extent=extent, aspect="auto", interpolation="nearest", **options)
        target.set_facecolor("0.85")  # so that what is not there differs from a weight of 0
        target.set_title(commonprefix([skip.layer.partition("/")[0] for skip in members]).rstrip("_"), fontsize=10)
        follows = members[-1].layer.partition("/")[2]
        target.set_xlabel(words.target + (f"; last: {follows}" if follows and follows != f"layer{last}" else ""))
        mark_integers(target.xaxis, target.yaxis)
    for target in panels.flat[len(maps) :]:
        target.set_visible(False)
    for target in panels[:, 0]:
        target.set_ylabel(words.source)
    part.colorbar(drawn, ax=panels, label=words.unit, extend=extend)


def _triangle(members: "Sequence[Skip]") -> np.ndarray:
    """Arranges a row for each source from 0, and a column for each target from the first."""
    first = members[0].target
    values = np.full((max(skip.source for skip in members) + 1, members[-1].target - first + 1), np.nan)
    for skip in members:
        values[skip.source, skip.target - first] = skip.weight
    return values
