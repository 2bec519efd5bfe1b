"""Grouped convolutions against Keras's own: values, gradients, what is traced, and where they step aside."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from keras_skip._parts import grouped
from tests.layers.test_normalization import ON_TENSORFLOW, RNG, gradients

OWN = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
OURS = (grouped.GroupedConv1D, grouped.GroupedConv2D, grouped.GroupedConv3D)
SIZES = (7, 6, 5)


def pair(rank, filters, **options):
    """Our layer and Keras's, with the same weights, and an input for them of eight channels."""
    x = RNG.normal(size=(2, *SIZES[:rank], 8)).astype("float32")
    layers = [cls[rank - 1](filters, 3, **options) for cls in (OURS, OWN)]
    for layer in layers:
        layer.build(x.shape)
    layers[0].bias.assign(RNG.normal(size=filters))
    layers[1].set_weights(layers[0].get_weights())
    return *layers, x


def traced(layer, x, training=True):
    """The operations of a call on TensorFlow, and whether it leaves a function to XLA."""
    if not ON_TENSORFLOW:
        pytest.skip("a graph of TensorFlow")
    import tensorflow as tf

    call = tf.function(lambda x: layer(x, training=training))
    graph = call.get_concrete_function(tf.TensorSpec((None, *x.shape[1:]), x.dtype)).graph.as_graph_def()
    return [node.op for node in graph.node], any("_XlaMustCompile" in f.attr for f in graph.library.function)


@pytest.mark.parametrize(
    ("rank", "filters", "options"),
    [
        (1, 6, {"groups": 2, "padding": "causal", "dilation_rate": 2}),
        (1, 8, {"groups": 8, "padding": "same", "strides": 2}),
        (2, 12, {"groups": 4, "padding": "same", "strides": 2}),
        (2, 6, {"groups": 2, "padding": "valid", "dilation_rate": (1, 2), "activation": "tanh"}),
        (2, 16, {"groups": 8, "padding": "same", "dilation_rate": 2}),
        (2, 8, {"groups": 8, "strides": (2, 1)}),
        (3, 8, {"groups": 4, "padding": "same"}),
    ],
)
def test_they_compute_and_learn_what_keras_does(rank, filters, options):
    ours, own, x = pair(rank, filters, **options)
    y = ops.convert_to_numpy(own(x))
    np.testing.assert_allclose(ours(x, training=True), y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours(x), y, rtol=1e-4, atol=1e-5)
    weights = RNG.normal(size=y.shape).astype("float32")
    found = [gradients(keras.Sequential([keras.Input(x.shape[1:]), layer]), x, weights) for layer in (ours, own)]
    for mine, expected in zip(*found, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-4)
        assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize(
    ("rank", "jit", "dtype"), [(2, True, "float32"), (2, False, "mixed_float16"), (3, False, None)]
)
def test_a_compiled_step_moves_the_weights_as_keras_does(rank, jit, dtype):
    x = RNG.normal(size=(2, *SIZES[:rank], 8)).astype("float32")
    moved = []
    for cls in (OURS[rank - 1], OWN[rank - 1]):
        first = OWN[rank - 1](8, 1, kernel_initializer=keras.initializers.GlorotUniform(1), dtype=dtype)
        layer = cls(8, 3, groups=4, kernel_initializer=keras.initializers.GlorotUniform(2), dtype=dtype)
        model = keras.Sequential([keras.Input((None,) * rank + (8,)), first, layer])
        model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=jit or not ON_TENSORFLOW, auto_scale_loss=False)
        before = model.get_weights()
        model.train_on_batch(x, np.ones((2, *(size - 2 for size in SIZES[:rank]), 8), "float32"))
        moved.append([after - start for start, after in zip(before, model.get_weights(), strict=True)])
    for mine, expected in zip(*moved, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=2e-3 if dtype == "mixed_float16" else 1e-5)
        assert np.abs(expected).max() > 0.01


def test_training_needs_no_compiler_and_inference_stays_one_convolution():
    ours, own, x = pair(2, 8, groups=4)
    operations, compiled = traced(ours, x)
    assert operations.count("Conv2D") == 4
    assert not compiled
    assert traced(ours, x, training=False)[1]
    assert traced(keras.Sequential([own]), x)[1]
    operations, compiled = traced(pair(2, 16, groups=8)[0], x)
    assert (operations.count("DepthwiseConv2dNative"), operations.count("Conv2D"), compiled) == (1, 0, False)
    ours, _, x = pair(3, 8, groups=2)
    assert not traced(ours, x)[1]


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="a trace of JAX")
def test_training_on_jax_convolves_each_group_by_itself():
    import jax

    ours, _, x = pair(2, 8, groups=4)
    for training, count in ((True, 4), (False, 1)):
        traced = jax.make_jaxpr(lambda x, training=training: ours(x, training=training))(x)
        assert str(traced).count("= conv_general_dilated[") == count


@pytest.mark.parametrize("options", [{}, {"padding": "symmetric", "strides": 2}, {"survival_prob": 0.5}])
def test_blocks_train_with_them(options):
    x = RNG.normal(size=(2, 6, 6, 8)).astype("float32")
    block = ks.ResidualBlock(8, groups=2, **options)
    block.build(x.shape)
    assert not traced(block, x)[1]
    assert isinstance(block.conv1, keras.layers.Conv2D)


def test_everything_else_is_left_to_keras(monkeypatch):
    first, _, _ = pair(2, 8, groups=4)
    x = RNG.normal(size=(2, 8, 6, 5)).astype("float32")
    assert traced(OURS[1](8, 3, groups=4, data_format="channels_first"), x)[1]
    monkeypatch.setattr(grouped, "_on_cpu", lambda: False)
    assert traced(first, np.moveaxis(x, 1, -1))[1]


def test_files_and_configurations_are_those_of_keras():
    ours, own, x = pair(2, 8, groups=4)
    assert ours.get_config() | {"name": ""} == own.get_config() | {"name": ""}
    again = keras.layers.deserialize(keras.layers.serialize(ours))
    assert type(again) is OURS[1]
    assert again(x).shape == own(x).shape
    assert [v.path.split("/")[1:] for v in again.variables] == [v.path.split("/")[1:] for v in own.variables]
