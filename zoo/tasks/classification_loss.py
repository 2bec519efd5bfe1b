"""Binary cross-entropy for classification: each class is a yes-or-no question, and mixed images may show several.

t = 1 if y > threshold else 0                          or the label y itself, without a threshold
t = (1 - s) * t + s / k                                label smoothing s, of k classes
loss = mean over the classes of -t log p - (1 - t) log(1 - p),   p = sigmoid(logit)

Wightman et al., ResNet strikes back: An improved training procedure in timm, 2021, https://arxiv.org/abs/2110.00476
"""

from typing import Any

import keras
from keras import ops


class BinaryCrossEntropy(keras.losses.Loss):
    """The mean binary cross-entropy of all classes, from logits.

    Args:
        label_smoothing: s.
        threshold: The label above which a class counts as present. None: labels stay as they are.
    """

    def __init__(self, label_smoothing: float = 0.0, threshold: float | None = None) -> None:
        super().__init__(name="binary_cross_entropy")
        self.label_smoothing, self.threshold = label_smoothing, threshold

    def call(self, y_true: Any, y_pred: Any) -> Any:
        targets = ops.cast(y_true, y_pred.dtype)
        if self.threshold is not None:
            targets = ops.cast(targets > self.threshold, y_pred.dtype)
        targets = (1 - self.label_smoothing) * targets + self.label_smoothing / y_pred.shape[-1]
        return ops.mean(ops.binary_crossentropy(targets, y_pred, from_logits=True), axis=-1)
