"""Class weights: rare classes count more in the loss.

w_c = n / (k n_c)          for n examples of k classes, n_c of them of class c
loss = w . y  times  the loss of an example with the one-hot label y, or a mixed one
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from ..data import Source


def balanced(source: Source) -> np.ndarray:
    """The weights of the classes, which give each the same share in the loss; 0 for a class without examples.

    Raises:
        ValueError: If the task is not a classification.
    """
    if source.task != "classification":
        raise ValueError(f"Expected a classification for class_weight='balanced'. Received: a {source.task}")
    targets = np.asarray(source.train_targets)
    counts = np.bincount(targets, minlength=source.classes)
    present = counts > 0
    weights = np.zeros(source.classes, "float32")
    weights[present] = len(targets) / (present.sum() * counts[present])
    return weights


class Weighted(keras.losses.Loss):
    """A loss whose examples count as much as their classes.

    Args:
        loss: The loss of one-hot labels.
        weights: A weight for each class.
    """

    def __init__(self, loss: keras.losses.Loss, weights: np.ndarray) -> None:
        super().__init__(name=loss.name, dtype=loss.dtype)
        self.loss, self.weights = loss, weights

    def call(self, y_true: Any, y_pred: Any) -> Any:
        weights = ops.sum(ops.cast(y_true, "float32") * self.weights, axis=-1)
        values = self.loss.call(y_true, y_pred)
        return values * ops.cast(weights, values.dtype)
