"""The learning rate as a function of the step; the formulas are those of `zoo.training.recipe.Schedule`."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from .recipe import Recipe


@keras.saving.register_keras_serializable("zoo")
class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """A warm-up, then one-cycle, cosine, step or constant. t is the middle of a step, so that no rate is 0.

    Args:
        peak: The highest rate.
        steps: Steps of the run.
        kind, warmup, warmup_factor, milestones, factor: As in `zoo.training.recipe.Schedule`.
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        kind: str,
        warmup: float = 0.0,
        warmup_factor: float | None = None,
        milestones: Sequence[float] = (),
        factor: float = 0.1,
    ) -> None:
        super().__init__()
        self.peak, self.steps, self.kind = peak, steps, kind
        self.warmup, self.warmup_factor = warmup, warmup_factor
        self.milestones, self.factor = tuple(milestones), factor

    @classmethod
    def from_recipe(cls, recipe: Recipe, steps: int) -> "Rate":
        s = recipe.schedule
        return cls(recipe.optimizer.lr, steps, s.kind, s.warmup, s.warmup_factor, s.milestones, s.factor)

    def __call__(self, step: Any) -> Any:
        t = (ops.cast(step, "float32") + 0.5) / self.steps
        rest = ops.clip((t - self.warmup) / (1.0 - self.warmup), 0.0, 1.0)
        if self.kind == "one-cycle":
            after = 1.0 - rest
        elif self.kind == "cosine":
            after = 0.5 * (1.0 + ops.cos(math.pi * rest))
        elif self.kind == "step":
            passed = sum(ops.cast(t >= milestone, "float32") for milestone in self.milestones)
            after = ops.power(self.factor, ops.cast(passed, "float32"))
        else:
            after = ops.ones_like(t)
        if self.warmup == 0.0:
            return self.peak * after
        before = t / self.warmup if self.warmup_factor is None else self.warmup_factor
        return self.peak * ops.where(t < self.warmup, before, after)

    def get_config(self) -> dict[str, Any]:
        names = ("peak", "steps", "kind", "warmup", "warmup_factor", "milestones", "factor")
        return {name: getattr(self, name) for name in names}
