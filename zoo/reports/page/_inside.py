"""The inside of a network: the norms of its gradients, and the gates of a highway network."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...analysis import charts
from ._curves import arrange_charts

if TYPE_CHECKING:
    from ...analysis.gating import Gates
    from ...analysis.gradients import Norm

# A chart with more lines is not readable.
STEPS = 5


def gradients(norms: "Sequence[Norm]") -> str:
    """Draws the norms by layer, at up to `STEPS` steps, and over the training if there are several."""
    steps = sorted({norm.step for norm in norms})
    shown = [steps[index * (len(steps) - 1) // (STEPS - 1)] for index in range(STEPS)] if len(steps) > STEPS else steps
    by_step = [norm._replace(network=f"step {norm.step:,}", step=0) for norm in norms if norm.step in shown]
    first, last = ([norm for norm in norms if norm.step == steps[-1]][index] for index in (0, -1))
    ends = f"at the end {first.norm:.2e} at the first layer and {last.norm:.2e} at the last"
    with charts.use_page_theme():
        drawn = [charts.svg(charts.gradient_flow(by_step), f"Norm of the gradient at each layer; {ends}")]
        if len(steps) > 1:
            figure = charts.gradient_history(norms)
            drawn.append(
                charts.svg(figure, "Norm of the gradient by step, at the first layer, the middle and the last")
            )
    return arrange_charts(drawn)


def gates(found: "Gates") -> str:
    """Draws the figures of `zoo.gates`."""
    transform, carry = (
        sum(float(getattr(layer, name).mean()) for layer in found.layers) / len(found.layers)
        for name in ("transform", "carry")
    )
    description = f"Gates of {len(found.layers)} layers; on average T is {transform:.2f} and C is {carry:.2f}"
    with charts.use_page_theme():
        whole = charts.svg(charts.gates(found), description)
        classes = charts.svg(charts.class_gates(found), "Mean transform gates of each class, less those of all images")
    return f"<div class='wide'>{whole}</div><div class='wide'>{classes}</div>"
