"""Layers of one's own inside the package's: without a build, as Keras allows, they are built, saved and trained."""

import warnings

import keras
import numpy as np
import pytest

import keras_skip as ks

X = np.random.default_rng(0).normal(size=(4, 3, 8)).astype("float32")


@keras.saving.register_keras_serializable("own")
class Inner(keras.layers.Layer):
    """A layer whose weights are all in a layer that its constructor makes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(8, name="inner")

    def call(self, x):
        return self.dense(x)


@keras.saving.register_keras_serializable("own")
class InnerGate(Inner):
    def call(self, x, u):
        return x + self.dense(x) * u


PLACES = {
    "layer": lambda: ks.Residual(Inner()),
    "normalization": lambda: ks.Residual(keras.layers.Dense(8), norm="pre", normalization=Inner()),
    "gate": lambda: ks.Residual(keras.layers.Dense(8), gate=InnerGate()),
    "attention": lambda: ks.Residual(keras.layers.Dense(8), attention=Inner()),
    "branch_scale": lambda: ks.Residual(keras.layers.Dense(8), branch_scale=Inner()),
    "shortcut": lambda: ks.Residual(keras.layers.Dense(8), shortcut=Inner()),
    "activation": lambda: ks.PreActivationBlock(8, activation=Inner()),
}


@pytest.mark.once
@pytest.mark.parametrize("place", PLACES)
def test_a_layer_without_a_build_is_built_and_comes_back_from_a_file(place, tmp_path):
    x = keras.Input((3, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = keras.Model(x, PLACES[place]()(x))
    assert any("inner/kernel" in weight.path for weight in model.weights)
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns while it reads any such layer, before a call has built it
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(loaded(X)), keras.ops.convert_to_numpy(model(X)))


def test_a_layer_that_states_no_shape_can_be_dropped_in_training():
    x = keras.Input((3, 8))
    model = keras.Model(x, x + ks.StochasticDepth(Inner(), 0.5)(x))
    model.compile("sgd", "mse")
    assert np.isfinite(model.fit(X, X, epochs=2, verbose=0).history["loss"]).all()
