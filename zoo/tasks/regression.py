"""Regression: each example has one number or several.

With mean m and standard deviation s of a target y over the training examples, and the output z of the last layer:

    prediction = s z + m        which a Rescaling layer computes, so that predictions have the units of the target
    loss = ((y - prediction) / s)^2
"""

from typing import TYPE_CHECKING

import numpy as np

from ..data.layout import choose_at_random
from .task import CROSS_ENTROPY, Figure, Task, check_targets, refuse_losses, spread

if TYPE_CHECKING:
    import keras

    from ..data.source import Source


# The name of the last layer, and of the output of an export.
PREDICTION = "prediction"


class Regression(Task):
    """Targets are floats, (examples, number of target names). The figures are means over the targets."""

    name = "regression"
    dtype = "float32"
    per_pixel = False
    figures = (
        Figure("r2", "R²"),
        Figure("mae", "MAE", higher_is_better=False),
        Figure("rmse", "RMSE", higher_is_better=False),
    )
    loss_name, loss_title = "squared_error", "squared error / variance"
    activation = None

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

    def examples(self, source: "Source", count: int) -> np.ndarray:
        return spread(count, len(source.test_inputs))

    def encode(self, targets: np.ndarray, outputs: int) -> np.ndarray:
        return targets.astype("float32")

    def finish(self, model: "keras.Model", source: "Source") -> "keras.Model":
        import keras

        mean, deviation = moments(source)
        single = len(mean) == 1
        if not single and keras.config.image_data_format() == "channels_first":
            raise ValueError(
                "Expected channels_last for a regression of several targets, since keras.layers.Rescaling scales "
                "another axis with channels_first. Received: channels_first"
            )
        scale = (deviation[0], mean[0]) if single else (deviation, mean)
        rescaling = keras.layers.Rescaling(*scale, dtype="float32", name=PREDICTION)
        return keras.Model(model.input, rescaling(model.output), name=model.name)

    def loss(
        self, source: "Source", label_smoothing: float = 0.0, kind: str = CROSS_ENTROPY, threshold: float | None = None
    ) -> "keras.losses.Loss":
        from .regression_metrics import ScaledSquaredError

        refuse_losses(self, label_smoothing, kind)
        return ScaledSquaredError(moments(source)[1])

    def metrics(self, source: "Source", model: "keras.Model | None" = None) -> "list[keras.metrics.Metric]":
        import keras

        from .regression_metrics import R2, RootMeanSquaredError, SquaredError

        scale = _scale_of(model, len(source.target_names)) or moments(source)
        mae = keras.metrics.MeanAbsoluteError(name="mae")
        return [R2(*scale), mae, RootMeanSquaredError(*scale), SquaredError(*scale)]

    def predictor(self, model: "keras.Model") -> "keras.Model":
        import keras

        return keras.Model(model.inputs, model.outputs)


def moments(source: "Source") -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each target over the training examples."""
    targets = np.asarray(source.train_targets, "float64")
    return targets.mean(axis=0).tolist(), targets.std(axis=0).tolist()


def _scale_of(model: "keras.Model | None", targets: int) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of each target when a network was made; None if it does not hold them."""
    import keras

    for layer in model._flatten_layers() if model is not None else ():
        if layer.name == PREDICTION and isinstance(layer, keras.layers.Rescaling):
            return tuple(np.broadcast_to(value, targets).tolist() for value in (layer.offset, layer.scale))
    return None


TASK = Regression()
