"""The interface of a task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    import keras

    from ..data.source import Source


# The losses of a classification, by the names that a recipe gives them; other tasks have only their own.
CROSS_ENTROPY, BINARY = "cross-entropy", "binary"
# In the masks of a segmentation, the class of pixels that do not count.
IGNORE = 255


@dataclass(frozen=True)
class Figure:
    """A figure that says how good predictions are.

    Attributes:
        name: The name in histories and results, after that of the part: "test_accuracy".
        title: The name in tables and on pages.
        percent: Whether it is a fraction, which is shown in %.
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
        dtype: NumPy's name for the type of the targets.
        per_pixel: Whether targets are masks, which move with their images.
        figures: What is measured in addition to the loss; the first one ranks runs.
        loss_name: The metric of the loss alone, without regularisation and smoothing.
        loss_title: The name of the loss on pages.
        activation: The activation that an export adds to the outputs.
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
        """Adds layers after the network's outputs, so that it predicts the targets."""

    def loss(
        self, source: "Source", label_smoothing: float = 0.0, kind: str = CROSS_ENTROPY, threshold: float | None = None
    ) -> "keras.losses.Loss":
        """Makes the loss; the arguments are `label_smoothing`, `loss` and `loss_threshold` of a recipe.

        Raises:
            ValueError: If the task has no labels to smooth, or only one loss.
        """

    def metrics(self, source: "Source", model: "keras.Model | None" = None) -> "list[keras.metrics.Metric]":
        """Makes the metrics, with the names of the figures, and last that of the loss.

        A trained model may have learnt from other data than the source's. Its units are those of its own data.
        """

    def predictor(self, model: "keras.Model") -> "keras.Model":
        """The network as a report needs it, such as from inputs to the class of each pixel."""


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
    """Raises a ValueError for a source without class names, or with target names."""
    if not source.class_names or source.target_names:
        raise ValueError(
            f"Expected class_names and no target_names for {source.task}. "
            f"Received: class_names={source.class_names!r}, target_names={source.target_names!r}"
        )


def refuse_losses(task: Task, label_smoothing: float, kind: str) -> None:
    """Raises a ValueError for a recipe that smooths labels or asks for a loss other than the task's own."""
    if label_smoothing:
        raise ValueError(f"Expected label_smoothing=0 for {task.name}. Received: label_smoothing={label_smoothing}")
    if kind != CROSS_ENTROPY:
        raise ValueError(f"Expected loss={CROSS_ENTROPY!r} for {task.name}. Received: loss={kind!r}")


def spread(count: int, total: int) -> np.ndarray:
    """Up to `count` evenly spaced indices below `total`."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
