"""Stochastic depth by surgery: what training drops, and what happens to the drops that a model has."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_skip as ks
from tests.layers.forms import around, assert_equal, dense, identity, inputs, nested, numpy, outputs, projection


@pytest.mark.once
@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_survival_falls_linearly_over_all_skips(granularity):
    model, _ = nested()
    operated = ks.add_stochastic_depth(model, 0.5, granularity)
    inner = (
        operated.get_layer("outer_drop").layer.get_layer("inner")
        if granularity == "batch"
        else operated.get_layer("inner")
    )
    assert [inner.get_layer("sum_drop").survival_prob, operated.get_layer("outer_drop").survival_prob] == [0.75, 0.5]


def test_rows_run_the_branch_on_the_rows_that_survive():
    model, _ = identity()
    x = inputs(model, 8)
    operated = ks.add_stochastic_depth(model, 0.5, "rows")
    assert operated.get_layer("sum_drop").granularity == "rows"
    assert_equal(outputs(operated, x), outputs(model, x))
    changed = np.abs(numpy(operated(x, training=True)) - x).max(axis=1) > 0
    assert changed.sum() == 4


@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_training_drops_the_branch_for_each_sample_or_for_all(granularity):
    model, _ = identity()
    operated = ks.add_stochastic_depth(model, 0.5, granularity, seed=1)
    x = inputs(model, 32)
    kept = x + 2 * (numpy(model(x)) - x)
    seen = set()
    for _ in range(12):
        y = numpy(operated(x, training=True))
        survives = np.abs(y - x).max(axis=1) > 0
        np.testing.assert_allclose(y, np.where(survives[:, None], kept, x), atol=1e-5)
        seen.add(survives.sum())
    assert seen == {0, 32} if granularity == "batch" else len(seen) > 2 and 0 not in seen


def test_what_is_dropped_is_not_computed():
    model, _ = projection()
    operated = ks.add_stochastic_depth(model, 1e-6, "batch")
    branch = operated.get_layer("sum_drop").layer
    (norm,) = (layer for layer in branch.layers if isinstance(layer, L.BatchNormalization))
    before = numpy(norm.moving_mean)
    operated(inputs(model), training=True)
    np.testing.assert_array_equal(numpy(norm.moving_mean), before)


@pytest.mark.once
def test_draws_follow_the_seed_and_differ_between_the_skips():
    model, names = around()
    x = inputs(model, 64)
    one, other = (ks.add_stochastic_depth(model, 0.5, seed=3) for _ in range(2))
    assert_equal(outputs(one, x, training=True), outputs(other, x, training=True))
    assert len({one.get_layer(f"{name}_drop").seed for name in names}) == 3


@pytest.mark.once
@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_draws_differ_between_the_branches_of_a_sum_and_the_calls_of_its_layer(granularity):
    y = x = keras.Input((4,))
    add = L.Add(name="sum")
    for _ in range(3):
        y = add([y, dense(y), dense(y)])
    y = L.Add(name="last")([y, dense(y)])
    operated = ks.add_stochastic_depth(keras.Model(x, y), 0.5, granularity, seed=3)
    seeds = {layer.name: layer.seed for layer in operated.layers if hasattr(layer, "seed") and "drop" in layer.name}
    assert sorted(seeds.values()) == [*range(3, 10)]
    assert (seeds["sum_drop"], seeds["last_drop"]) == (3, 4)  # as if each sum had one branch


class DropPath(L.Layer):
    """As libraries have it: a class of this name."""

    def call(self, x, training=None):
        return x * 0.0 if training else x


@pytest.mark.once
@pytest.mark.parametrize("make", [lambda: L.Dropout(0.9, noise_shape=(None, 1)), lambda: ks.DropPath(0.9), DropPath])
@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_layers_that_already_drop_a_branch_are_replaced(make, granularity):
    x = keras.Input((4,))
    model = keras.Model(x, L.Add(name="sum")([x, make()(dense(x))]))
    operated = ks.add_stochastic_depth(model, 0.8, granularity)
    kinds = [type(layer) for layer in operated.layers]
    assert kinds == (
        [L.InputLayer, L.Dense, ks.DropPath, L.Add]
        if granularity == "sample"
        else [L.InputLayer, ks.StochasticDepth, L.Add]
    )
    assert operated.get_layer("sum_drop").survival_prob == pytest.approx(0.8)
    assert isinstance(ks.add_layer_scale(model).layers[3], type(model.layers[2]))


@pytest.mark.once
@pytest.mark.parametrize(("first", "second"), [("sample", "batch"), ("batch", "sample"), ("batch", "batch")])
def test_surgery_again_replaces_the_first(first, second):
    model, _ = identity()
    x = inputs(model)
    operated = ks.add_stochastic_depth(ks.add_stochastic_depth(model, 0.5, first), 0.9, second)
    assert_equal(outputs(operated, x), outputs(model, x))
    drops = [layer for layer in operated._flatten_layers() if hasattr(layer, "survival_prob")]
    assert [(drop.name, drop.survival_prob) for drop in drops] == [("sum_drop", pytest.approx(0.9))]
    assert isinstance(drops[0], ks.DropPath) == (second == "sample")


@pytest.mark.once
@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_a_layer_that_is_dropped_at_the_end_of_a_branch_stays_and_is_dropped_anew(granularity):
    x = keras.Input((4,))
    model = keras.Model(x, L.Add(name="sum")([x, ks.StochasticDepth(L.Dense(4), 0.5)(L.LayerNormalization()(x))]))
    operated = ks.add_stochastic_depth(model, 0.9, granularity)
    assert_equal(outputs(operated, inputs(model)), outputs(model, inputs(model)))
    found = [layer.survival_prob for layer in operated._flatten_layers() if hasattr(layer, "survival_prob")]
    assert found == [pytest.approx(0.9)] and len(operated.weights) == len(model.weights)


@pytest.mark.parametrize("granularity", ["sample", "batch"])
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_factor_of_inference_stays_when_its_drop_is_replaced(granularity, is_alone):
    x = keras.Input((4,))
    start = x if is_alone else dense(x)
    model = keras.Model(x, L.Add(name="sum")([x, ks.StochasticDepth(L.Dense(4), 0.6, scale="inference")(start)]))
    operated = ks.add_stochastic_depth(model, 0.5, granularity, seed=1)
    given = inputs(model, 32)
    expected = outputs(model, given)
    assert_equal(outputs(operated, given), expected)
    found = [layer.survival_prob for layer in operated._flatten_layers() if hasattr(layer, "survival_prob")]
    assert found == [0.5]
    again = ks.add_stochastic_depth(operated, 0.9, granularity)
    assert_equal(outputs(again, given), expected)
    updates = [numpy(operated(given, training=True)) - given for _ in range(8)]
    kept = 2 * (expected[0] - given)
    for update in updates:
        survives = np.abs(update).max(axis=1, keepdims=True) > 0
        np.testing.assert_allclose(update, np.where(survives, kept, 0.0), atol=1e-5)
    assert any(update.any() for update in updates)


@pytest.mark.once
@pytest.mark.parametrize("noise_shape", [None, (1, 4)])
def test_other_dropout_stays(noise_shape):
    x = keras.Input((4,))
    model = keras.Model(x, L.Add()([x, L.Dropout(0.3, noise_shape)(dense(x))]))
    assert [type(layer) for layer in ks.add_stochastic_depth(model, 0.8).layers[2:4]] == [L.Dropout, ks.DropPath]


@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_the_new_model_learns_and_the_given_one_does_not(granularity):
    model, _ = projection()
    before = [numpy(v) for v in model.variables]
    operated = ks.add_layer_scale(ks.add_squeeze_excite(ks.add_stochastic_depth(model, 0.5, granularity)))
    operated.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=keras.backend.backend() == "jax")
    started = [numpy(v) for v in operated.trainable_variables]
    operated.fit(inputs(model), np.zeros((6, 3, 3, 4), "float32"), batch_size=2, epochs=2, verbose=0)
    moved = [np.any(numpy(v) != a) for v, a in zip(operated.trainable_variables, started, strict=True)]
    # W1 has no gradient until W2 has left zero, which takes one step.
    assert all(moved)
    assert_equal([numpy(v) for v in model.variables], before)


@pytest.mark.once
def test_a_drop_can_be_all_of_a_branch():
    x = keras.Input((4,))
    model = keras.Model(x, L.Add(name="sum")([x, ks.DropPath(0.2)(x)]))
    operated = ks.add_stochastic_depth(model, 0.5, "batch")
    np.testing.assert_array_equal(numpy(operated(np.ones((2, 4)))), np.full((2, 4), 2.0))
    assert operated.get_layer("sum_drop").survival_prob == 0.5
