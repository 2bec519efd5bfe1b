"""The predictions for the test images: confusions and the worst mistakes."""

import base64
import html
import io

import numpy as np

from ...data import Source
from ._tables import NONE, grid

# A larger matrix is not readable, so only its largest entries are shown.
MATRIX_CLASSES = 20
MISTAKES = 12


def confusions(predicted: np.ndarray, source: Source) -> str:
    """Counts which class was predicted for which: as a matrix, or for many classes its largest entries."""
    counts = np.zeros((source.classes, source.classes), int)
    np.add.at(counts, (source.test_targets, predicted), 1)
    if source.classes > MATRIX_CLASSES:
        return _largest_confusions(counts, source.class_names)
    most = max(1, (counts - np.diag(np.diag(counts))).max())
    names = [html.escape(name) for name in source.class_names]
    heading = "".join(f"<th scope='col'>{name}</th>" for name in names)
    body = []
    for index, (name, row) in enumerate(zip(names, counts, strict=True)):
        cells = (
            f"<td class='right'>{count}</td>"
            if column == index
            else f"<td style='--part:{count / most:.3f}'>{count or ''}</td>"
            for column, count in enumerate(row)
        )
        body.append(f"<tr><th scope='row'>{name}</th>{''.join(cells)}</tr>")
    corner = "<td>true \\ predicted</td>"
    table = f"<table class='matrix'><thead><tr>{corner}{heading}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f"<div class='scroll'>{table}</div>"


def _largest_confusions(counts: np.ndarray, names: tuple[str, ...]) -> str:
    wrong = counts - np.diag(np.diag(counts))
    indices = np.argsort(wrong, axis=None)[::-1][:MATRIX_CLASSES]
    pairs = [np.unravel_index(index, wrong.shape) for index in indices]
    return grid(
        [{"true": names[t], "predicted": names[a], "images": int(wrong[t, a])} for t, a in pairs if wrong[t, a]]
    )


def mistakes(logits: np.ndarray, source: Source) -> str:
    """Shows the images with the worst of the wrong predictions."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    answers, truth = logits.argmax(axis=1), source.test_targets
    # The lower the probability of the true class, the worse.
    wrong = np.flatnonzero(answers != truth)
    worst = wrong[np.argsort(probabilities[wrong, truth[wrong]], kind="stable")[:MISTAKES]]
    if not len(worst):
        return NONE
    brightest = 1 / source.preprocessing.scale
    figures = []
    for index in worst:
        answer, right = answers[index], truth[index]
        caption = html.escape(
            f"{source.class_names[right]}, predicted {source.class_names[answer]} ({probabilities[index, answer]:.1%})"
        )
        image = _png(source.test_inputs[index], brightest)
        figures.append(f'<figure><img src="{image}" alt="{caption}"><figcaption>{caption}</figcaption></figure>')
    return f"<div class='mistakes'>{''.join(figures)}</div>"


def _png(pixels: np.ndarray, brightest: float) -> str:
    from matplotlib.image import imsave

    scaled = np.clip(pixels.astype("float32") * (255 / brightest), 0, 255).astype("uint8")
    colour = scaled if scaled.shape[-1] == 3 else np.repeat(scaled[..., :1], 3, axis=-1)
    buffer = io.BytesIO()
    imsave(buffer, colour, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
