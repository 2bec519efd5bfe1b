"""The interface of a task."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from ..data.source import Source


class Task(Protocol):
    """What differs between tasks.

    Attributes:
        name: As in `Source.task`.
        dtype: Of the targets, as NumPy names it.
    """

    name: str
    dtype: str

    def check(self, source: "Source") -> None:
        """Raises a ValueError unless names and targets of a source are those of the task."""

    def outputs(self, source: "Source") -> int:
        """The number of the network's outputs, for each pixel in segmentation."""

    def choose(self, source: "Source", fraction: float, seed: int) -> np.ndarray:
        """Chooses training examples for validation, as a boolean array."""


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
