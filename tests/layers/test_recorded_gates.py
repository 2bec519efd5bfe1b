"""The gates of all highway blocks of a model are recorded while it runs, wherever in the model the blocks are."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from keras_skip.highway import recorded_gates

X = np.random.default_rng(5).normal(size=(2, 4)).astype("float32")


def test_the_gates_of_all_blocks_of_a_model_are_recorded_in_the_order_of_their_calls_and_only_inside():
    first, second = ks.HighwayBlock(name="first"), ks.HighwayBlock(carry="coupled", name="second")
    model = keras.Sequential([first, keras.Sequential([second, first])])
    with recorded_gates() as outer, recorded_gates() as gates:
        model(X)
    model(X)
    assert [block.name for block, _, _ in gates] == ["first", "second", "first"] and outer == gates
    for given, expected in zip(gates[0][1:], first.gates(X), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(given), ops.convert_to_numpy(expected), rtol=1e-5)


def test_gates_of_compiled_code_are_refused_and_those_of_the_code_that_is_being_traced_are_not():
    model = keras.Sequential([keras.Input((4,)), ks.HighwayBlock()])
    refused = pytest.raises(ValueError, match="Expected a network with highway blocks.*as model.x.*predict")
    # By default Keras compiles nothing on torch.
    allowed = contextlib.nullcontext() if keras.backend.backend() == "torch" else refused
    for _ in range(2):  # traced now, and traced before
        with allowed, recorded_gates():
            model.predict(X, verbose=0)
    with pytest.raises(ValueError, match="Expected a network with highway blocks"), recorded_gates():
        keras.layers.Dense(2)(X)
    expected = ops.convert_to_numpy(model.layers[-1].gates(X)[1])

    def carried(x):
        with recorded_gates() as gates:
            model(x)
        return gates[0][2]

    np.testing.assert_allclose(ops.convert_to_numpy(compile_function(carried)(X)), expected, rtol=1e-5)


def compile_function(function):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def test_an_error_inside_is_not_hidden_by_the_gates_that_are_missing():
    with pytest.raises(ZeroDivisionError), recorded_gates():
        1 / 0  # noqa: B018
