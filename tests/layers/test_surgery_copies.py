"""What the copies of layers keep: statistics, vocabularies, and classes that only this process knows."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_skip as ks
from tests.layers.forms import assert_equal, dense, inputs, outputs


def adapted(layer, data):
    layer.adapt(data)
    return layer


def statistics():
    return adapted(L.Normalization(), np.random.default_rng(0).normal(5, 3, (16, 4)).astype("float32"))


@pytest.mark.parametrize("make", [statistics, lambda: keras.Sequential([keras.Input((4,)), statistics()])])
def test_statistics_of_the_inputs_are_kept(make):
    x = keras.Input((4,))
    scaled = make()(x)
    model = keras.Model(x, L.Add()([scaled, dense(scaled)]))
    assert_equal(outputs(ks.add_layer_scale(model), inputs(model)), outputs(model, inputs(model)))


def test_a_pruned_model_keeps_the_statistics_of_its_inputs():
    x = keras.Input((4,))
    average = ks.DepthAverage()
    scaled = statistics()(x)
    model = keras.Model(x, average([scaled, dense(scaled)]))
    average.alpha.assign([0.25, 1.0])
    assert_equal(outputs(ks.prune_skips(model, 0.2), inputs(model)), outputs(model, inputs(model)))


@pytest.mark.once
def test_boundaries_of_bins_are_kept():
    x = keras.Input((4,))
    bins = adapted(L.Discretization(num_bins=3), np.random.default_rng(0).normal(size=(16, 4)).astype("float32"))
    embedded = L.Embedding(3, 4)(bins(x))
    model = keras.Model(x, L.Add()([embedded, dense(embedded)]))
    assert_equal(outputs(ks.add_layer_scale(model), inputs(model)), outputs(model, inputs(model)))
