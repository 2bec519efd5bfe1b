"""The metrics of a segmentation: those of Keras, on the pixels that count.

IoU of a class = both / (true + predicted - both)        counted in pixels of all images together
mean IoU       = the mean over the classes that are true or predicted anywhere
"""

import math
from typing import Any

import keras
from keras import ops

from .task import IGNORE


def _per_pixel(weights: Any, masks: Any) -> Any:
    """The weights of examples, in a shape that fits their masks."""
    return ops.reshape(weights, (-1, *[1] * (len(masks.shape) - 1)))


class _KnownPixels:
    """Gives pixels to ignore the weight 0 in a metric of Keras."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        known = ops.not_equal(y_true, IGNORE)
        weights = ops.cast(known, "float32")
        if sample_weight is not None:
            weights *= _per_pixel(sample_weight, y_true)
        return super().update_state(ops.where(known, y_true, 0), y_pred, weights)  # type: ignore[misc]


class MeanIoU(keras.metrics.MeanIoU):
    """Keras's counts in the type of its result, and float32 counts only to 2**24. This counts each batch in int32."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes, sparse_y_pred=False, name="mean_iou", dtype="float32")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        truth = ops.cast(y_true, "int32")
        counts = ops.not_equal(truth, IGNORE)
        if sample_weight is not None:  # 0 for the examples that pad a batch
            counts = ops.logical_and(counts, ops.not_equal(_per_pixel(sample_weight, truth), 0))
        answers = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        cells = ops.where(counts, truth * self.num_classes + answers, 0)
        shape = self.total_cm.shape
        batch = ops.scatter(
            ops.reshape(cells, (-1, 1)), ops.reshape(ops.cast(counts, "int32"), -1), (math.prod(shape),)
        )
        self.total_cm.assign_add(ops.cast(ops.reshape(batch, shape), self.dtype))


class PixelAccuracy(_KnownPixels, keras.metrics.SparseCategoricalAccuracy):
    def __init__(self) -> None:
        super().__init__(name="accuracy")


class PixelCrossEntropy(_KnownPixels, keras.metrics.SparseCategoricalCrossentropy):
    def __init__(self) -> None:
        super().__init__(from_logits=True, name="cross_entropy")
