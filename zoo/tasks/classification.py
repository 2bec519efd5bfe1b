"""Classification: each example has one class."""

from typing import TYPE_CHECKING

import numpy as np

from ..data.layout import choose_stratified, interleave_classes
from .task import BINARY, CROSS_ENTROPY, Figure, Task, check_class_names, check_targets

if TYPE_CHECKING:
    import keras

    from ..data.source import Source


class Classification(Task):
    """Targets are indices into the class names, (examples,)."""

    name = "classification"
    dtype = "int64"
    per_pixel = False
    figures = (Figure("accuracy", "accuracy", percent=True),)
    loss_name, loss_title = "cross_entropy", "cross-entropy"
    activation = "softmax"

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

    def examples(self, source: "Source", count: int) -> np.ndarray:
        return interleave_classes(np.asarray(source.test_targets), count)

    def encode(self, targets: np.ndarray, outputs: int) -> np.ndarray:
        one_hot = np.zeros((len(targets), outputs), "float32")
        one_hot[np.arange(len(targets)), targets] = 1
        return one_hot

    def finish(self, model: "keras.Model", source: "Source") -> "keras.Model":
        return model

    def loss(
        self, source: "Source", label_smoothing: float = 0.0, kind: str = CROSS_ENTROPY, threshold: float | None = None
    ) -> "keras.losses.Loss":
        import keras

        if kind == BINARY:
            from .classification_loss import BinaryCrossEntropy

            return BinaryCrossEntropy(label_smoothing, threshold)
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)

    def metrics(self, source: "Source", model: "keras.Model | None" = None) -> "list[keras.metrics.Metric]":
        import keras

        return [
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.CategoricalCrossentropy(from_logits=True, name="cross_entropy"),
        ]

    def predictor(self, model: "keras.Model") -> "keras.Model":
        import keras

        return keras.Model(model.inputs, model.outputs)


TASK = Classification()
