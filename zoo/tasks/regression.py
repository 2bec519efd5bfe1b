"""Regression: each example has one number or several."""

from typing import TYPE_CHECKING

import numpy as np

from ..data.layout import choose_at_random
from .task import check_targets

if TYPE_CHECKING:
    from ..data.source import Source


class Regression:
    """Targets are float32, (examples, number of target names)."""

    name = "regression"
    dtype = "float32"

    def check(self, source: "Source") -> None:
        names = source.target_names
        if not names or source.class_names or len(set(names)) < len(names):
            raise ValueError(
                "Expected target_names, each once, and no class_names for regression. "
                f"Received: target_names={names!r}, class_names={source.class_names!r}"
            )
        for part in source.parts:
            targets = getattr(source, f"{part}_targets")
            check_targets(source, part, "f", (len(targets), len(names)), "floats, a column for each target name")
            if not np.isfinite(targets).all():
                raise ValueError(
                    f"Expected {part}_targets of finite numbers. "
                    f"Received: {source.name!r} with {int((~np.isfinite(targets)).sum())} that are NaN or infinite"
                )
        low, high = source.train_targets.min(axis=0), source.train_targets.max(axis=0)
        if constant := [name for name, same in zip(names, low == high, strict=True) if same]:
            raise ValueError(
                "Expected train_targets that differ from each other. "
                f"Received: {source.name!r}, in which {', '.join(constant)} is always the same"
            )

    def outputs(self, source: "Source") -> int:
        return len(source.target_names)

    def choose(self, source: "Source", fraction: float, seed: int) -> np.ndarray:
        return choose_at_random(len(source.train_targets), fraction, seed)


TASK = Regression()
