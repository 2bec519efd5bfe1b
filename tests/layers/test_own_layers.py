"""Layers of one's own inside the package's: without a build, as Keras allows, they are built, saved and trained."""

import warnings

import keras
import numpy as np
import pytest

import keras_skip as ks
from tests.layers.test_masks import Short

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


@pytest.mark.parametrize(
    "make",
    [
        lambda: ks.Residual(Short()),
        lambda: ks.Residual([keras.layers.Conv1D(8, 3, padding="causal"), Short()], norm="pre"),
        lambda: ks.HyperConnection(Short()),
        lambda: ks.StochasticDepth(Short(), 0.5),
    ],
)
def test_a_layer_for_short_sequences_takes_sequences_of_any_length_that_it_can(make):
    layer, x = make(), X
    if isinstance(layer, ks.HyperConnection):
        x = np.repeat(X[:, :, None], 4, axis=2)
    assert layer(keras.Input((None, *x.shape[2:]))).shape == (None, None, *x.shape[2:])
    for training in (False, True, True, True):
        assert layer(x, training=training).shape == x.shape


def test_the_strides_of_a_layer_for_short_sequences_follow_from_known_lengths():
    layers = [Short(), keras.layers.Conv1D(8, 3, strides=2, padding="same")]
    assert ks.Residual(layers)(np.ones((2, 9, 8), "float32")).shape == (2, 5, 8)
