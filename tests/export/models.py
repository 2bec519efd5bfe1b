"""Small networks to export. Their weights are random everywhere, so that nothing is right by being zero or one."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from export import Preprocessing
from keras_skip import HighwayBlock

RAW = Preprocessing("uint8", scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


class Function(layers.Layer):
    """A layer that computes any function."""

    def __init__(self, function: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


@keras.saving.register_keras_serializable("tests.export")
class Subclassed(keras.Model):
    """A network whose layers are attributes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden, self.logits = layers.Dense(5, "relu"), layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.logits(self.hidden(x))


def conv_net(size: int | None = 8, classes: int = 4, **kwargs: Any) -> keras.Model:
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return randomise(keras.Model(inputs, layers.Dense(classes)(x), **kwargs))


def highway_net(carry: str = "learned", **kwargs: Any) -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    x = HighwayBlock(kernel_size=3, carry=carry, name="early")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = HighwayBlock(carry=carry, name="late")(x)
    return randomise(keras.Model(inputs, layers.Dense(3)(x), **kwargs))


def mlp() -> keras.Model:
    return randomise(keras.Sequential([layers.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(3)]))


def subclassed() -> keras.Model:
    model = Subclassed()
    model(np.zeros((2, 6), "float32"))
    return randomise(model)


def with_function(function: Any) -> keras.Model:
    inputs = keras.Input((4, 4))
    return keras.Model(inputs, layers.Dense(2)(Function(function, name="strange")(inputs)))


def bfloat16_inside(x: Any) -> Any:
    return ops.cast(ops.cast(x, "bfloat16"), "float32")


def randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    """Draws every weight anew: the same every time, whatever was drawn before."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
        else:
            weight.assign(generator.normal("gamma" in weight.path, 0.3, weight.shape))
    for layer in model._flatten_layers():
        if isinstance(layer, layers.Normalization):
            # It computes with a copy of its weights.
            layer.finalize_state()
    return model


def images(count: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype="uint8")


def expected(x: np.ndarray) -> np.ndarray:
    """The probabilities of `conv_net` for raw images."""
    return np.asarray(ops.softmax(conv_net()(RAW.apply(x))))
