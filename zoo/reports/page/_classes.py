"""The predictions of a classification: figures of each class, confusions and the worst mistakes."""

import html

import numpy as np

from ...data import Source
from ._images import are_images, figure, to_colours
from ._tables import NONE, grid

# A larger matrix is not readable, so only its largest entries are shown.
MATRIX_CLASSES = 20
MISTAKES = 12


def show(logits: np.ndarray, source: Source) -> str:
    """Writes all sections, of the logits for the test inputs."""
    return (
        "<h2>Classes</h2><p>Each class against the others: what part of its predictions is right (precision), what "
        "part of its examples is found (recall), their harmonic mean (F1), and the area under the ROC curve (AUC).</p>"
        f"{figures(logits, source)}"
        "<h2>Confusions</h2><p>Test examples by true class (rows) and predicted class (columns).</p>"
        f"{confusions(logits.argmax(axis=1), source)}"
        "<h2>Worst mistakes</h2><p>The test examples whose true class got the lowest probability.</p>"
        f"{mistakes(logits, source)}"
    )


def figures(logits: np.ndarray, source: Source) -> str:
    """Lists the figures of each class, or of those with the lowest F1 if there are many, after the mean of all."""
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

    truth = np.asarray(source.test_targets)
    classes = np.arange(source.classes)
    found = precision_recall_fscore_support(truth, logits.argmax(axis=1), labels=classes, zero_division=0)
    shares = _probabilities(logits)
    # A class without an example, or with all of them, has no curve.
    areas = [
        float(roc_auc_score(truth == index, shares[:, index])) if 0 < (truth == index).sum() < len(truth) else np.nan
        for index in classes
    ]
    rows = [
        {"class": name, "examples": int(count), "precision": float(p), "recall": float(r), "F1": float(f), "AUC": area}
        for name, p, r, f, count, area in zip(source.class_names, *found, areas, strict=True)
    ]
    mean = {name: float(np.mean([row[name] for row in rows])) for name in ("precision", "recall", "F1")}
    mean["AUC"] = float(np.mean(known)) if (known := [area for area in areas if not np.isnan(area)]) else np.nan
    shown = rows if len(rows) <= MATRIX_CLASSES else sorted(rows, key=lambda row: row["F1"])[:MATRIX_CLASSES]
    return grid([{"class": "mean", "examples": len(truth), **mean}, *shown])


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
        [{"true": names[t], "predicted": names[a], "examples": int(wrong[t, a])} for t, a in pairs if wrong[t, a]]
    )


def mistakes(logits: np.ndarray, source: Source) -> str:
    """Shows the images with the worst of the wrong predictions; of other inputs, their numbers."""
    probabilities = _probabilities(logits)
    answers, truth = logits.argmax(axis=1), source.test_targets
    # The lower the probability of the true class, the worse.
    wrong = np.flatnonzero(answers != truth)
    worst = wrong[np.argsort(probabilities[wrong, truth[wrong]], kind="stable")[:MISTAKES]]
    if not len(worst):
        return NONE
    names = source.class_names
    said = [
        (names[truth[index]], names[answers[index]], f"{probabilities[index, answers[index]]:.1%}") for index in worst
    ]
    if not are_images(source):
        rows = zip(worst.tolist(), said, strict=True)
        return grid([{"example": index, "true": t, "predicted": a, "probability": p} for index, (t, a, p) in rows])
    figures = [
        figure(to_colours(source.test_inputs[index], source), f"{right}, predicted {answer} ({probability})")
        for index, (right, answer, probability) in zip(worst, said, strict=True)
    ]
    return f"<div class='mistakes'>{''.join(figures)}</div>"


def _probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
