"""Draws training images next to their augmented versions."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..augmented import Augmented


def augmented(found: "Augmented") -> "Figure":
    """Draws a row for each image: as it is evaluated, and as it is in some epochs.

    Args:
        found: The result of `zoo.analysis.augmented.augmented`.
    """
    from matplotlib.figure import Figure

    height, width, _ = found.images[0][0].shape
    columns, rows = 1 + len(found.epochs), len(found.images)
    figure = Figure(figsize=(1.4 * columns, (1.4 * height / width + 0.1) * rows + 0.6), layout="constrained")
    figure.suptitle(f"Training images of {found.recipe}", fontsize=11)
    panels = figure.subplots(rows, columns, squeeze=False)
    titles = ("evaluation", *(f"epoch {epoch}" for epoch in found.epochs))
    for row, images, label in zip(panels, found.images, found.labels, strict=True):
        row[0].set_ylabel(label, fontsize=9)
        for target, image in zip(row, images, strict=True):
            target.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            target.set_xticks([])
            target.set_yticks([])
    for target, title in zip(panels[0], titles, strict=True):
        target.set_title(title, fontsize=9)
    return figure
