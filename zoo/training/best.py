"""The best epoch of a run by the first figure of its task on the validation part; the loss decides between equals.

Everything follows from the rows of the history, so a resumed run decides as an uninterrupted one does.
"""

from collections.abc import Mapping, Sequence

import keras

from ..tasks.task import Figure
from .checkpoints import Checkpoints, Progress, Row
from .recipe import Recipe

PART = "validation"


def check_validation(recipe: Recipe, part: str) -> None:
    """Raises a ValueError if a recipe needs a validation part and the epochs are measured on another part."""
    wanted = {"keep": recipe.keep if recipe.keep == "best" else None, "patience": recipe.patience or None}
    for name, value in wanted.items():
        if value is not None and part != PART:
            raise ValueError(
                f"Expected data with a validation part, or validation=0.1 to hold one out, for {name}={value!r}, since "
                "weights chosen by the test part would look better there than they are. Received: neither"
            )


def best_row(rows: Sequence[Row], figure: Figure) -> Row | None:
    """The row of the best epoch so far; of equal ones, the first. None before the first evaluation."""
    name, sign = f"{PART}_{figure.name}", 1 if figure.higher_is_better else -1
    return max(
        (row for row in rows if name in row), key=lambda row: (sign * row[name], -row[f"{PART}_loss"]), default=None
    )


def is_over(rows: Sequence[Row], patience: int, figure: Figure) -> bool:
    """Whether there has been no better epoch for longer than the patience."""
    best = best_row(rows, figure)
    if not patience or best is None or f"{PART}_{figure.name}" not in rows[-1]:  # not evaluated
        return False
    return rows[-1]["epoch"] - best["epoch"] >= patience


class KeepBest(keras.callbacks.Callback):
    """Keeps the weights of the best epoch for the next checkpoint, and ends the training when the patience has run out.

    Args:
        recipe: Says which of the two to do.
        figure: Ranks the epochs.
        progress: Already holds the row of the epoch.
        checkpoints: Keeps the weights.
    """

    def __init__(self, recipe: Recipe, figure: Figure, progress: Progress, checkpoints: Checkpoints) -> None:
        super().__init__()
        self.recipe, self.figure = recipe, figure
        self.progress, self.checkpoints = progress, checkpoints

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        rows = self.progress.rows
        if self.recipe.keep == "best" and best_row(rows, self.figure) is rows[-1]:
            self.checkpoints.keep_best()
        if is_over(rows, self.recipe.patience, self.figure):
            self.model.stop_training = True
