"""Classification: each example has one class."""

from typing import TYPE_CHECKING

import numpy as np

from ..data.layout import choose_stratified
from .task import check_class_names, check_targets

if TYPE_CHECKING:
    from ..data.source import Source


class Classification:
    """Targets are indices into the class names, (examples,)."""

    name = "classification"
    dtype = "int64"

    def check(self, source: "Source") -> None:
        check_class_names(source)
        for part in source.parts:
            labels = getattr(source, f"{part}_targets")
            check_targets(source, part, "iu", (len(labels),), "integers")
            if labels.min() < 0 or labels.max() >= source.classes:
                raise ValueError(
                    f"Expected {part}_targets from 0 to {source.classes - 1}, one for each class name. "
                    f"Received: {part}_targets from {labels.min()} to {labels.max()}"
                )
            if part == "train" and labels.min() == labels.max():
                raise ValueError(
                    f"Expected train_targets of two classes or more. "
                    f"Received: {source.name!r} with only examples of {source.class_names[labels[0]]!r}"
                )

    def outputs(self, source: "Source") -> int:
        return source.classes

    def choose(self, source: "Source", fraction: float, seed: int) -> np.ndarray:
        return choose_stratified(source.train_targets, fraction, seed, source.class_names)


TASK = Classification()
