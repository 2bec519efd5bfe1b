"""The interface of a task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    import keras

    from ..data.source import Source


# In the masks of a segmentation, the class of pixels that do not count.
IGNORE = 255


@dataclass(frozen=True)
class Figure:
    """A figure that says how good predictions are.

    Attributes:
        name: In histories and results, where the part comes first: "test_accuracy".
        title: In tables and on pages.
        percent: Whether it is a fraction that is shown in %.
        higher_is_better: Its direction.
    """

    name: str
    title: str
    percent: bool = False
    higher_is_better: bool = True

    def text(self, value: float) -> str:
        """Formats a value."""
        return f"{value:.2%}" if self.percent else f"{value:.4g}"


class Task(Protocol):
    """What differs between tasks. Nothing needs Keras before `finish`.

    Attributes:
        name: As in `Source.task`.
        dtype: Of the targets, as NumPy names it.
        per_pixel: Whether targets are masks, which move with their images.
        figures: What is measured besides the loss; the first ranks runs.
        loss_name: The metric of the loss alone, without regularisation and smoothing.
        loss_title: On pages.
        activation: What is added to the outputs of an exported network.
    """

    name: str
    dtype: str
    per_pixel: bool
    figures: tuple[Figure, ...]
    loss_name: str
    loss_title: str
    activation: Literal["softmax"] | None

    def check(self, source: "Source") -> None:
        """Raises a ValueError unless names and targets of a source are those of the task."""

    def outputs(self, source: "Source") -> int:
        """The number of the network's outputs, for each pixel in segmentation."""

    def choose(self, source: "Source", fraction: float, seed: int) -> np.ndarray:
        """Chooses training examples for validation, as a boolean array."""

    def examples(self, source: "Source", count: int) -> np.ndarray:
        """Chooses test examples that differ, by their indices."""

    def encode(self, targets: np.ndarray, outputs: int) -> np.ndarray:
        """Encodes the targets of a batch as the loss takes them."""

    def finish(self, model: "keras.Model", source: "Source") -> "keras.Model":
        """Adds what a network of this many outputs lacks to predict the targets."""

    def loss(self, source: "Source", label_smoothing: float = 0.0) -> "keras.losses.Loss":
        """Makes the loss.

        Raises:
            ValueError: If the task has no labels to smooth.
        """

    def metrics(self, source: "Source") -> "list[keras.metrics.Metric]":
        """Makes metrics of the names of the figures, then that of the loss."""

    def predictor(self, model: "keras.Model") -> "keras.Model":
        """The network up to what a report needs of its predictions."""


def measured(task: Task, logs: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The loss and the figures in what Keras returns, where their names have a prefix."""
    names = {"loss": task.loss_name, **{figure.name: figure.name for figure in task.figures}}
    return {name: float(logs[f"{prefix}{given}"]) for name, given in names.items()}


def check_targets(source: "Source", part: str, kind: str, shape: tuple[int, ...], wanted: str) -> None:
    """Raises a ValueError unless targets have one of the kinds of types, as NumPy abbreviates them, and the shape."""
    targets = getattr(source, f"{part}_targets")
    if targets.dtype.kind not in kind or targets.shape != shape:
        raise ValueError(
            f"Expected {part}_targets of {source.task} as {wanted}, of shape {shape}. "
            f"Received: {targets.dtype} of shape {targets.shape}"
        )


def check_class_names(source: "Source") -> None:
    """Raises a ValueError for a source without classes, or with names of targets that it does not have."""
    if not source.class_names or source.target_names:
        raise ValueError(
            f"Expected class_names and no target_names for {source.task}. "
            f"Received: class_names={source.class_names!r}, target_names={source.target_names!r}"
        )


def refuse_smoothing(task: Task, label_smoothing: float) -> None:
    """Raises a ValueError for a recipe that smooths labels."""
    if label_smoothing:
        raise ValueError(f"Expected label_smoothing=0 for {task.name}. Received: label_smoothing={label_smoothing}")


def spread(count: int, total: int) -> np.ndarray:
    """Up to so many indices of a total, evenly apart."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
