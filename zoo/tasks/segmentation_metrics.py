"""The metrics of a segmentation: those of Keras, on the pixels that count.

IoU of a class = both / (true + predicted - both)        counted in pixels of all images together
mean IoU       = the mean over the classes that are true or predicted anywhere
"""

from typing import Any

import keras
from keras import ops

from .task import IGNORE


class _KnownPixels:
    """Gives pixels to ignore the weight 0 in a metric of Keras."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        known = ops.not_equal(y_true, IGNORE)
        weights = ops.cast(known, "float32")
        if sample_weight is not None:
            weights *= ops.reshape(sample_weight, (-1, *[1] * (len(y_true.shape) - 1)))
        return super().update_state(ops.where(known, y_true, 0), y_pred, weights)  # type: ignore[misc]


class MeanIoU(_KnownPixels, keras.metrics.MeanIoU):
    pass


class PixelAccuracy(_KnownPixels, keras.metrics.SparseCategoricalAccuracy):
    def __init__(self) -> None:
        super().__init__(name="accuracy")


class PixelCrossEntropy(_KnownPixels, keras.metrics.SparseCategoricalCrossentropy):
    def __init__(self) -> None:
        super().__init__(from_logits=True, name="cross_entropy")
