"""Models whose images or sequences may have any size, or any of some."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import export
from tests.export.models import Function, conv_net, randomise

pytestmark = pytest.mark.usefixtures("in_this_process")


def u_net() -> keras.Model:
    """Halves images twice and doubles them again: sizes have to be multiples of four."""
    inputs = keras.Input((None, None, 3))
    high = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    middle = layers.Conv2D(4, 3, padding="same", activation="gelu")(layers.MaxPooling2D()(high))
    low = layers.Conv2D(4, 3, padding="same", activation="silu")(layers.MaxPooling2D()(middle))
    x = layers.Concatenate()([middle, layers.Conv2DTranspose(4, 2, strides=2)(low)])
    x = layers.Concatenate()([high, layers.UpSampling2D()(x)])
    return randomise(keras.Model(inputs, layers.Conv2D(2, 1)(x)))


def narrowing() -> keras.Model:
    """Takes nothing below 121 pixels."""
    inputs = x = keras.Input((None, None, 3))
    for _ in range(4):
        x = layers.Conv2D(4, 9, strides=2)(x)
    return randomise(keras.Model(inputs, layers.GlobalAveragePooling2D()(x)))


class Positions(keras.Layer):
    """Adds a vector for each of the first places."""

    def __init__(self, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(self.length, shape[-1]), name="table")

    def call(self, x: Any) -> Any:
        return x + self.table[: keras.ops.shape(x)[1]]


def short_sequences() -> keras.Model:
    """Takes 20 elements at most."""
    inputs = keras.Input((None, 4))
    return randomise(keras.Model(inputs, layers.GlobalAveragePooling1D()(Positions(20)(inputs))))


class Conditional(keras.Layer):
    """Has a Python condition on a size that is not known when it is traced."""

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def call(self, x: Any) -> Any:
        return x if keras.ops.shape(x)[1] > 5 else 2 * x


def of_twenty() -> keras.Model:
    """Takes 20 elements alone, and does not say so."""
    inputs = keras.Input((None, 4))
    x = Function(lambda x: x + keras.ops.ones((20, 1)))(inputs)
    return randomise(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x))))


def sizes(folder: Path) -> list[tuple[int, ...]]:
    """Shapes of the examples that Keras was compared on."""
    with np.load(folder / "samples.npz") as stored:
        return sorted({stored[name].shape[1:] for name in stored.files if "input/" in name})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: conv_net(size=None), [(32, 32, 3), (41, 45, 3)]),
        (u_net, [(32, 32, 3), (64, 32, 3)]),
        (narrowing, [(128, 128, 3), (137, 141, 3)]),
        (short_sequences, [(8, 4), (17, 4)]),
    ],
    ids=["any", "multiples", "large", "short"],
)
def test_sizes_are_found_that_the_model_takes(make, expected, tmp_path):
    made = export.export(make(), tmp_path / "a", batch_sizes=(1, 2))
    assert sizes(made.path) == expected
    assert export.verify(made.path)["max_rel_diff"] <= 1e-4


def test_samples_say_where_to_begin(tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 20, 24, 3)).astype("float32")
    made = export.export(u_net(), tmp_path / "a", samples=x, batch_sizes=(1, 2), formats="onnx")
    assert sizes(made.path) == [(20, 24, 3), (40, 24, 3)]
    assert export.load(made.path)(np.zeros((1, 12, 16, 3), "float32")).shape == (1, 12, 16, 2)


def test_a_size_that_the_model_does_not_take_is_a_sentence_and_leaves_nothing(tmp_path):
    sentence = "Expected samples= of a size that the model takes. Received: "
    why = r"\(InvalidArgumentError: Exception encountered when calling "
    with pytest.raises(ValueError, match=rf"{sentence}\(21, 24, 3\) {why}Concatenate[^\n\x1b]*$"):
        export.export(u_net(), tmp_path / "a", samples=np.zeros((3, 21, 24, 3), "float32"))
    with pytest.raises(
        ValueError, match=rf"{sentence}\(32, 4\); \(64, 4\); \(128, 4\); \(256, 4\); \(8, 4\) {why}[^\n\x1b]*$"
    ):
        export.to_onnx(of_twenty(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_takes_one_size_alone_is_compared_on_that(tmp_path):
    samples = np.random.default_rng(0).normal(size=(3, 20, 4)).astype("float32")
    made = export.export(of_twenty(), tmp_path / "a", samples=samples, formats="onnx")
    assert sizes(made.path) == [(20, 4)]
    assert export.verify(made.path)["max_rel_diff"] <= 1e-4


@pytest.mark.parametrize("write", [export.to_onnx, export.to_saved_model])
def test_a_model_that_tensorflow_cannot_trace_is_a_sentence_and_leaves_nothing(write, tmp_path):
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, Conditional()(inputs))
    with pytest.raises(
        export.ExportError, match=r"TensorFlow can trace for input \(None, None, 4\). Received: [^\n\x1b]*$"
    ):
        write(model, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
