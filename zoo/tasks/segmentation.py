"""Segmentation: each pixel has one class, or is ignored."""

from typing import TYPE_CHECKING

import numpy as np

from ..data.layout import choose_at_random
from ..data.rows import chunks
from .task import CROSS_ENTROPY, Figure, Task, check_class_names, check_targets, refuse_losses, spread
from .task import IGNORE as IGNORE

if TYPE_CHECKING:
    import keras

    from ..data.source import Source


class Segmentation(Task):
    """Targets are masks, uint8 of the size of the images: indices into the class names, or 255."""

    name = "segmentation"
    dtype = "uint8"
    per_pixel = True
    figures = (Figure("mean_iou", "mean IoU", percent=True), Figure("accuracy", "pixel accuracy", percent=True))
    loss_name, loss_title = "cross_entropy", "cross-entropy"
    activation = "softmax"

    def check(self, source: "Source") -> None:
        check_class_names(source)
        if source.classes > IGNORE:
            raise ValueError(f"Expected at most {IGNORE} classes for segmentation. Received: {source.classes}")
        for part in source.parts:
            inputs, masks = getattr(source, f"{part}_inputs"), getattr(source, f"{part}_targets")
            if inputs.ndim < 3:
                raise ValueError(
                    f"Expected {part}_inputs of segmentation as (examples, height, width, channels). "
                    f"Received: {inputs.dtype} of shape {inputs.shape}"
                )
            check_targets(source, part, "u", inputs.shape[:-1], "masks of uint8")
            seen = np.flatnonzero(sum(np.bincount(chunk.ravel(), minlength=256) for chunk in chunks(masks)))
            known = seen[seen != IGNORE]
            if len(known) and known[-1] >= source.classes:
                raise ValueError(
                    f"Expected {part}_targets from 0 to {source.classes - 1}, one for each class name, or {IGNORE} for "
                    f"pixels to ignore. Received: {part}_targets with {known[-1]}"
                )
            # Data that are measured whole teach nothing, so a single class will do.
            if part == "train" and len(known) < 2 and not source.origin.get("whole"):
                raise ValueError(
                    f"Expected train_targets of two classes or more. Received: {source.name!r} with only "
                    f"{', '.join(source.class_names[label] for label in known) or 'pixels to ignore'}"
                )

    def outputs(self, source: "Source") -> int:
        return source.classes

    def choose(self, source: "Source", fraction: float, seed: int) -> np.ndarray:
        return choose_at_random(len(source.train_targets), fraction, seed)

    def examples(self, source: "Source", count: int) -> np.ndarray:
        return spread(count, len(source.test_inputs))

    def encode(self, targets: np.ndarray, outputs: int) -> np.ndarray:
        return targets.astype("int32")

    def finish(self, model: "keras.Model", source: "Source") -> "keras.Model":
        return model

    def loss(
        self, source: "Source", label_smoothing: float = 0.0, kind: str = CROSS_ENTROPY, threshold: float | None = None
    ) -> "keras.losses.Loss":
        import keras

        refuse_losses(self, label_smoothing, kind)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORE)

    def metrics(self, source: "Source", model: "keras.Model | None" = None) -> "list[keras.metrics.Metric]":
        from .segmentation_metrics import MeanIoU, PixelAccuracy, PixelCrossEntropy

        return [MeanIoU(source.classes), PixelAccuracy(), PixelCrossEntropy()]

    def predictor(self, model: "keras.Model") -> "keras.Model":
        import keras
        from keras import ops

        return keras.Model(model.inputs, ops.cast(ops.argmax(model.outputs[0], axis=-1), "uint8"))


TASK = Segmentation()
