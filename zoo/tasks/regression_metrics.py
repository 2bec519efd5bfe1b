"""The loss and the metrics of a regression, in units of the standard deviation of the training targets.

With z = (y - mean) / deviation of the targets and z' of the predictions, for each target, and sums over the examples:

    squared error = sum (z - z')^2 / n          R2 = 1 - sum (z - z')^2 / (sum z^2 - (sum z)^2 / n)
    RMSE = deviation sqrt(squared error)        each then averaged over the targets

In these units the sums stay exact in float32, however far the targets are from 0.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


class ScaledSquaredError(keras.losses.Loss):
    """The squared error divided by the variance of the training targets, averaged over the targets."""

    def __init__(self, deviation: Sequence[float]) -> None:
        super().__init__(name="squared_error")
        self.deviation = np.array(deviation, "float32")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.square((y_true - y_pred) / self.deviation), axis=-1)


class _Sums(keras.metrics.Metric):
    """Sums over the examples, for each target.

    Args:
        mean, deviation: Mean and standard deviation of each target over the training examples.
        name: The name of the metric.
    """

    def __init__(self, mean: Sequence[float], deviation: Sequence[float], name: str) -> None:
        super().__init__(name=name)
        self.mean, self.deviation = np.array(mean, "float32"), np.array(deviation, "float32")
        self.examples = self.add_variable((), "zeros", name="examples")
        self.z, self.squares, self.errors = (
            self.add_variable((len(mean),), "zeros", name=kind) for kind in ("z", "squares", "errors")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        truth = (ops.cast(y_true, self.dtype) - self.mean) / self.deviation
        error = (ops.cast(y_pred, self.dtype) - ops.cast(y_true, self.dtype)) / self.deviation
        weights = ops.ones_like(truth[:, :1]) if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        weights = ops.cast(weights, self.dtype)
        self.examples.assign_add(ops.sum(weights))
        self.z.assign_add(ops.sum(weights * truth, axis=0))
        self.squares.assign_add(ops.sum(weights * ops.square(truth), axis=0))
        self.errors.assign_add(ops.sum(weights * ops.square(error), axis=0))


class SquaredError(_Sums):
    """The loss over all examples."""

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__(mean, deviation, "squared_error")

    def result(self) -> Any:
        return ops.mean(self.errors / self.examples)


class RootMeanSquaredError(_Sums):
    """The root of the mean squared error, in the units of the targets."""

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__(mean, deviation, "rmse")

    def result(self) -> Any:
        return ops.mean(self.deviation * ops.sqrt(self.errors / self.examples))


class R2(_Sums):
    """The coefficient of determination."""

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__(mean, deviation, "r2")

    def result(self) -> Any:
        spread = self.squares - ops.square(self.z) / self.examples
        # It is undefined if all targets are the same.
        return ops.mean(ops.where(spread > 0, 1.0 - self.errors / ops.where(spread > 0, spread, 1.0), 0.0))
