"""Draws how far the gradient reaches: as a product of derivatives, through a network, and over a training."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ._base import draw_lines, make_axes, mark_integers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..gradients import Norm
    from ..vanishing import Product


def gradient_flow(norms: "Iterable[Norm]") -> "Figure":
    """Draws the norms of the gradient of each network by layer, at its last step."""
    from ..gradients import by_network

    figure, target = make_axes(
        "How far the gradient reaches", "layer or block, from the image to the logits", "norm of the gradient"
    )
    target.set_yscale("log")
    series: list[tuple[str, list[float], list[float]]] = []
    for network, points in by_network(norms).items():
        last = max(point.step for point in points)
        final = [point for point in points if point.step == last]
        name = network if last == 0 else f"{network}, step {last:,}"
        series.append((name, [point.place for point in final], [point.norm for point in final]))
    draw_lines(target, series)
    mark_integers(target.xaxis)
    return figure


def gradient_history(norms: "Iterable[Norm]") -> "Figure":
    """Draws the norms of one training by step: at the first, the middle and the last layer."""
    norms = list(norms)
    last = max(norm.place for norm in norms)
    figure, target = make_axes("The gradient during training", "step", "norm of the gradient")
    target.set_yscale("log")
    series: list[tuple[str, list[float], list[float]]] = []
    for depth in dict.fromkeys((1, (1 + last) // 2, last)):
        points = [norm for norm in norms if norm.place == depth]
        series.append((points[0].layer, [point.step for point in points], [point.norm for point in points]))
    draw_lines(target, series)
    return figure


def vanishing_product(products: "Iterable[Product]") -> "Figure":
    """Draws a gradient after each layer, without a skip and with one; see `zoo.vanishing_product`."""
    products = list(products)
    names = dict.fromkeys(product.connection for product in products)
    deepest = max(product.layers for product in products)
    figure, target = make_axes(
        f"What is left of a gradient of 1 after {deepest} layers", "layers that it has come through", "gradient"
    )
    target.set_yscale("log")
    target.axhline(1.0, color="grey", linewidth=0.8)
    series: list[tuple[str, list[float], list[float]]] = []
    for name in names:
        points = [product for product in products if product.connection == name]
        series.append((name, [point.layers for point in points], [point.gradient for point in points]))
        end = points[-1]
        target.annotate(
            f"{end.gradient:.3g}",
            (end.layers, end.gradient),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    draw_lines(target, series)
    target.set_xlim(0, deepest * 1.15)
    mark_integers(target.xaxis)
    return figure
