"""Granularity "rows": which rows of a batch a branch runs on, and what becomes of these and of the others."""

from fractions import Fraction

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from keras_skip._parts.rows import choose_rows
from tests.layers.test_normalization import gradients

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")


ROWS = {"survival_prob": 0.5, "granularity": "rows", "seed": 1}


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def doubling(probability, **options):
    """The update is the input itself."""
    return ks.Residual(keras.layers.Identity(), survival_prob=probability, granularity="rows", seed=1, **options)


def chosen(y, x=X):
    return np.flatnonzero(np.abs(y - x).max(axis=tuple(range(1, x.ndim))) > 1e-6)


@pytest.mark.parametrize(
    ("probability", "batch", "k"),
    [(0.5, 8, 4), (0.29, 100, 29), (0.7, 10, 7), (0.1, 4, 1), (0.999, 3, 2), (1e-9, 2, 1), (0.5, 1, 1)],
)
@pytest.mark.parametrize("traced", [False, True])
def test_exactly_k_rows_get_the_update_times_batch_over_k(probability, batch, k, traced):
    x = np.random.default_rng(1).normal(size=(batch, 3)).astype("float32")
    layer = doubling(probability)
    model = keras.Sequential([keras.Input((3,)), InTraining(layer)])
    if traced:  # the second batch of a size that is not the first one's: TensorFlow then traces for any size
        model.predict_on_batch(x)
        model.predict_on_batch(np.concatenate([x, x]))
    y = numpy(model.predict_on_batch(x) if traced else model(x))
    rows = chosen(y, x)
    assert len(rows) == k
    np.testing.assert_allclose(y[rows], x[rows] * (1 + batch / k), rtol=1e-5, atol=1e-6)
    others = np.setdiff1d(np.arange(batch), rows)
    np.testing.assert_array_equal(y[others], x[others])


class InTraining(keras.layers.Layer):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def build(self, shape):
        self.layer.build(shape)

    def call(self, x):
        return self.layer(x, training=True)

    def compute_output_shape(self, shape):
        return shape


def test_k_is_exact_where_probability_times_batch_is_whole():
    generator = keras.random.SeedGenerator(0)
    for percent in (29, 57, 58):
        for batch in (100, 700):
            rows, gain = choose_rows(np.zeros((batch, 1), "float32"), percent / 100, generator)
            assert len(rows) == percent * batch // 100 and gain == batch / len(rows)
            assert np.all(np.diff(numpy(rows)) > 0)  # which `add_rows` promises JAX


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the others know the size of the batch")
def test_k_is_the_same_in_a_batch_of_unknown_size():
    import tensorflow as tf

    generator = keras.random.SeedGenerator(0)
    probabilities = [0.07, 0.29, 0.53, 0.59, 0.9, 1e-9]  # of which float32 rounds two products down

    @tf.function(input_signature=[tf.TensorSpec((None, 1))])
    def count(x):
        found = [choose_rows(x, probability, generator) for probability in probabilities]
        return [(tf.shape(rows)[0], gain) for rows, gain in found]

    for batch in (1, 7, 100, 1000):
        for (k, gain), probability in zip(count(tf.zeros((batch, 1))), probabilities, strict=True):
            assert int(k) == max(1, int(Fraction(str(probability)) * batch))
            assert float(gain) == pytest.approx(batch / int(k))


def test_rows_are_drawn_anew_evenly_and_the_mean_is_the_update():
    layer = doubling(0.25)
    steps = 150
    outputs = np.stack([numpy(layer(X, training=True)) for _ in range(steps)])
    moved = np.array([np.isin(np.arange(8), chosen(y)) for y in outputs])
    assert len({tuple(row) for row in moved}) > 20  # of the 28 pairs
    # Four standard deviations of a binomial proportion.
    assert np.abs(moved.mean(0) - 0.25).max() < 4 * (0.25 * 0.75 / steps) ** 0.5
    np.testing.assert_allclose(moved.sum(1), 2)
    expected = X * (1 + moved.mean(0)[:, None] * 4)
    np.testing.assert_allclose(outputs.mean(0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", ["training", "inference"])
def test_the_scale_says_where_the_expectation_is_kept(scale):
    layer = doubling(0.3, scale=scale)
    y = numpy(layer(X, training=True))
    rows = chosen(y)
    assert len(rows) == 2
    np.testing.assert_allclose(y[rows], X[rows] * (1 + (4.0 if scale == "training" else 1.0)), rtol=1e-5)
    np.testing.assert_allclose(numpy(layer(X)), X * (2.0 if scale == "training" else 1.3), rtol=1e-5)


@pytest.mark.parametrize("gate", [None, "review"])
@pytest.mark.parametrize("recompute", [False, True])
def test_rows_that_are_left_out_have_the_gradients_of_the_skip(gate, recompute):
    upstream = np.random.default_rng(2).normal(size=X.shape).astype("float32")
    layer, again = (
        ks.Residual(keras.layers.Dense(3, use_bias=False), gate=gate, recompute=recompute, **ROWS) for _ in range(2)
    )
    for each in (layer, again):
        each.build(X.shape)
        each.set_weights(layer.get_weights())
    rows = chosen(numpy(again(X, training=True)))
    assert len(rows) == 4
    by_x, by_kernel, *_ = gradients(layer, X, upstream)
    others = np.setdiff1d(np.arange(8), rows)
    np.testing.assert_allclose(by_x[others], upstream[others], rtol=1e-5, atol=1e-6)
    if gate is None:
        kernel = numpy(layer.layer.kernel)
        np.testing.assert_allclose(by_x[rows], upstream[rows] + 2 * upstream[rows] @ kernel.T, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(by_kernel, 2 * X[rows].T @ upstream[rows], rtol=1e-4, atol=1e-5)


def test_statistics_come_from_the_rows_that_run():
    norm = ks.BatchNormalization(momentum=0.0)
    layer = ks.Residual(norm, **ROWS)
    for _ in range(3):
        rows = chosen(numpy(layer(X, training=True)))
        np.testing.assert_allclose(numpy(norm.moving_mean), X[rows].mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(numpy(norm.moving_variance), X[rows].var(0), rtol=1e-4, atol=1e-6)


def test_a_mask_goes_with_its_row():
    class Marking(keras.layers.Layer):
        supports_masking = True

        def call(self, x, mask=None):
            return x if mask is None else ops.zeros_like(x) + ops.cast(mask, x.dtype)[..., None]

    mask = np.random.default_rng(3).random((8, 5)) < 0.5
    mask[:, 0] = True
    x = np.zeros((8, 5, 3), "float32")
    y = numpy(ks.Residual(Marking(), **ROWS)(x, mask=mask, training=True))
    rows = chosen(y, x)
    assert len(rows) == 4
    np.testing.assert_allclose(y[rows], 2.0 * np.repeat(mask[rows][..., None], 3, axis=-1))


def test_a_last_batch_may_be_smaller():
    seen = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            seen.append(x.shape[0])
            return x

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), ks.Residual(Counting(), **ROWS)])
    model.compile(
        "sgd", "mse", run_eagerly=keras.backend.backend() != "jax", jit_compile=keras.backend.backend() == "jax"
    )
    seen.clear()
    model.fit(X, X, batch_size=5, shuffle=False, verbose=0)
    assert {2, 1} <= set(seen) <= {2, 1, 5}  # Keras may build the model for a whole batch, not in training


@pytest.mark.parametrize("merge", ["highway", "dense"])
def test_blocks_with_other_merges_move_k_rows_too(merge):
    block = (
        ks.HighwayBlock(activation="tanh", **ROWS)
        if merge == "highway"
        else ks.DenseBlock(1, 3, normalization=None, activation="tanh", **ROWS)
    )
    y, full = numpy(block(X, training=True)), numpy(block(X))
    skip = numpy(block.gates(X)[1]) * X if merge == "highway" else np.concatenate([X, 0.0 * X], axis=1)
    rows = chosen(y, skip)
    assert len(rows) == 4
    np.testing.assert_allclose(y[rows], (skip + 2 * (full - skip))[rows], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.delete(y, rows, 0), np.delete(skip, rows, 0), rtol=1e-4, atol=1e-5)


def test_shapes_are_inferred_for_a_batch_of_unknown_size_inside_a_custom_layer():
    class Around(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.skip = ks.Residual(keras.layers.Dense(4), survival_prob=0.5, granularity="rows")

        def call(self, x):
            return self.skip(x, training=True)

    inputs = keras.Input((4,))
    assert Around()(inputs).shape == (None, 4)
