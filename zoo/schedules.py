"""The learning rate as a function of the step; the formulas are those of the recipes' docstring."""

import math
from typing import Any

import keras
from keras import ops

from .recipes import Recipe


@keras.saving.register_keras_serializable("zoo")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A warm-up, then one-cycle, cosine or step; t is the middle of a step, so that no step has the rate 0.

    Args:
        kind: "one-cycle", "cosine" or "step".
        peak: The highest rate.
        steps: Steps of the run.
        warmup: Fraction of the run in which the rate rises from 0.
        milestones, factor: Of "step".
    """

    def __init__(
        self, kind: str, peak: float, steps: int, warmup: float, milestones: Any = (), factor: float = 0.1
    ) -> None:
        super().__init__()
        self.kind, self.peak, self.steps, self.warmup = kind, peak, steps, warmup
        self.milestones, self.factor = tuple(milestones), factor

    @classmethod
    def of(cls, recipe: Recipe, steps: int) -> "Schedule":
        return cls(recipe.schedule, recipe.learning_rate, steps, recipe.warmup, recipe.milestones, recipe.factor)

    def __call__(self, step: Any) -> Any:
        t = (ops.cast(step, "float32") + 0.5) / self.steps
        rest = ops.clip((t - self.warmup) / (1.0 - self.warmup), 0.0, 1.0)
        if self.kind == "one-cycle":
            after = 1.0 - rest
        elif self.kind == "cosine":
            after = 0.5 * (1.0 + ops.cos(math.pi * rest))
        else:
            passed = sum(ops.cast(t >= milestone, "float32") for milestone in self.milestones)
            after = ops.power(self.factor, ops.cast(passed, "float32"))
        if self.warmup == 0.0:
            return self.peak * after
        return self.peak * ops.where(t < self.warmup, t / self.warmup, after)

    def get_config(self) -> dict[str, Any]:
        names = ("kind", "peak", "steps", "warmup", "milestones", "factor")
        return {name: getattr(self, name) for name in names}
