"""The predictions of a segmentation: the figures of each class, and the worst images with their masks."""

import html

import numpy as np

from ...analysis import charts
from ...data import Source
from ...tasks.segmentation import IGNORE
from ._images import are_images, figure, to_colours
from ._tables import grid

WORST = 4
_GREY = (128, 128, 128)


def show(predictions: np.ndarray, source: Source) -> str:
    """Writes all sections, of the predicted masks for the test inputs."""
    sections = f"<h2>Classes</h2>{figures(predictions, source)}"
    if not are_images(source):
        return sections
    return (
        f"{sections}<h2>Worst images</h2><p>The test images with the lowest accuracy of their pixels: the image, the "
        f"true mask, and the predicted one. Pixels to ignore are grey.</p>{legend(source)}{worst(predictions, source)}"
    )


def confusion_matrix(predictions: np.ndarray, source: Source) -> np.ndarray:
    """Counts the pixels of each true class (rows) that got each class (columns)."""
    counts = np.zeros(source.classes**2, int)
    for predicted, truth in zip(predictions, source.test_targets, strict=True):
        known = truth != IGNORE
        pairs = truth[known].astype(int) * source.classes + predicted[known]
        counts += np.bincount(pairs, minlength=len(counts))
    return counts.reshape(source.classes, source.classes)


def figures(predictions: np.ndarray, source: Source) -> str:
    """Lists the intersection over union of each class, and how many of its pixels are found."""
    counts = confusion_matrix(predictions, source)
    both, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)

    def share(part: int, whole: int) -> str:
        return f"{part / whole:.2%}" if whole else "-"

    return grid(
        [
            {
                "class": name,
                "IoU": share(both[label], true[label] + predicted[label] - both[label]),
                "found": share(both[label], true[label]),
                "right where predicted": share(both[label], predicted[label]),
                "of all pixels": share(true[label], counts.sum()),
            }
            for label, name in enumerate(source.class_names)
        ]
    )


def worst(predictions: np.ndarray, source: Source) -> str:
    """Shows the images with the lowest accuracy."""
    truth = np.asarray(source.test_targets)
    known = truth != IGNORE
    right = ((predictions == truth) & known).sum(axis=(1, 2)) / np.maximum(known.sum(axis=(1, 2)), 1)
    places = np.argsort(np.where(known.any(axis=(1, 2)), right, 1), kind="stable")[:WORST]
    shown = []
    for place in places:
        shown += [
            figure(to_colours(source.test_inputs[place], source), f"test image {place}"),
            figure(colour(truth[place]), "true"),
            figure(colour(np.where(known[place], predictions[place], IGNORE)), f"predicted, {right[place]:.1%} right"),
        ]
    return f"<div class='mistakes'>{''.join(shown)}</div>"


def legend(source: Source) -> str:
    """Names the colours of the classes."""
    names = (
        f"<span style='border-bottom:.3rem solid rgb{tuple(colour(np.array([[label]]))[0][0].tolist())};"
        f"margin-right:1rem'>{html.escape(name)}</span>"
        for label, name in enumerate(source.class_names)
    )
    return f"<p>{''.join(names)}</p>"


def colour(mask: np.ndarray) -> np.ndarray:
    """Gives each class a colour, again from the first after the last."""
    table = [[int(code[place : place + 2], 16) for place in (1, 3, 5)] for code in charts.COLOURS]
    palette = np.resize(np.array(table, "uint8"), (IGNORE + 1, 3))
    palette[IGNORE] = _GREY
    return palette[mask]
