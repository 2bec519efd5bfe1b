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


WORDS = np.array([["a", "b", "a"], ["b", "c", "d"]])
LOOKUPS = {
    "words": (lambda: L.StringLookup(), WORDS),
    "numbers": (lambda: L.IntegerLookup(), np.array([[7, 8, 9], [7, 7, 5]])),
    "texts": (lambda: L.TextVectorization(output_sequence_length=3), np.array([["a b"], ["c a a"]])),
    "frequencies": (lambda: L.StringLookup(output_mode="tf_idf"), WORDS),
    "frequencies of texts": (lambda: L.TextVectorization(output_mode="tf_idf"), np.array(["a b", "c a a"])),
}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has tensors of words")
@pytest.mark.parametrize("kind", LOOKUPS)
@pytest.mark.parametrize("is_inside", [False, True])
def test_vocabularies_are_kept(kind, is_inside):
    make, data = LOOKUPS[kind]
    x = keras.Input(data.shape[1:], dtype="int64" if kind == "numbers" else "string")
    lookup = adapted(make(), data)
    found = (keras.Sequential([x, lookup]) if is_inside else lookup)(x)
    start = dense(found) if "frequencies" in kind else L.Embedding(9, 4)(found)
    model = keras.Model(x, L.Add()([start, dense(start)]))
    given = keras.ops.convert_to_tensor(data)
    assert_equal(outputs(ks.add_layer_scale(model), given), outputs(model, given))


@pytest.mark.once
@pytest.mark.parametrize("make", [L.StringLookup, L.TextVectorization])
def test_a_layer_that_has_no_vocabulary_yet_can_be_given_one_afterwards(make):
    x = keras.Input((1,), dtype="string")
    embedded = L.Embedding(9, 4)(make(name="lookup")(x))
    operated = ks.add_layer_scale(keras.Model(x, L.Add()([embedded, dense(embedded)])))
    operated.get_layer("lookup").adapt(["a", "b"])
    assert operated.get_layer("lookup").vocabulary_size() > 2


class Twice(L.Layer):
    def call(self, x):
        return 2 * x


def square(x):
    return x * x


class Halves(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, 0.5, dtype)


def inner(layer):
    x = keras.Input((4,))
    return keras.Model(x, layer(x))


CUSTOM = {
    "a class": lambda: keras.Sequential([Twice(), L.Dense(4)]),
    "a class in a layer": lambda: ks.Residual(Twice()),
    "a class further in": lambda: inner(keras.Sequential([ks.Residual(Twice())])),
    "a layer as activation": lambda: ks.ResidualBlock(4, activation=Twice()),
    "a lambda": lambda: inner(L.Lambda(lambda x: 2 * x)),
    "a lambda in a layer": lambda: ks.Residual(L.Lambda(lambda x: 2 * x)),
    "an activation": lambda: L.Dense(4, activation=square),
    "an initializer": lambda: inner(L.Dense(4, kernel_initializer=Halves())),
}


@pytest.mark.once
@pytest.mark.parametrize("kind", CUSTOM)
def test_what_nobody_registered_with_keras_is_copied(kind):
    x = keras.Input((4,))
    model = keras.Model(x, L.Add()([x, CUSTOM[kind]()(x)]))
    assert_equal(outputs(ks.add_layer_scale(model), inputs(model)), outputs(model, inputs(model)))


@pytest.mark.once
def test_classes_of_one_name_are_told_apart_or_refused():
    other = type("Twice", (L.Layer,), {"call": lambda self, x: 3 * x})
    x = keras.Input((4,))
    model = keras.Model(x, L.Add()([x, other()(Twice()(dense(x)))]))
    assert_equal(outputs(ks.add_layer_scale(model), inputs(model)), outputs(model, inputs(model)))
    both = keras.Sequential([Twice(), other(), L.Dense(4)], name="both")
    with pytest.raises(ValueError, match="Expected classes .*package.* Received: both, in which 2 are called Twice"):
        ks.add_layer_scale(keras.Model(x, L.Add()([x, both(x)])))
