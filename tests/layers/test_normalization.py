"""The fused batch normalisation against Keras's own: values, gradients, moving statistics, and where it steps aside."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from keras_skip.normalization import BatchNormalization
from tests.channels import skip_without_channels_first

RNG = np.random.default_rng(0)
IMAGES = (3.0 + 2.0 * RNG.normal(size=(4, 6, 5, 3))).astype("float32")
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


def numpy(x):
    return np.array(ops.convert_to_numpy(x))  # a copy: torch would give a view, which moves with the variable


def operations(layer, shape):
    """The operations that a training call is traced into."""
    tf = pytest.importorskip("tensorflow")
    layer.build((None, *shape[1:]))
    traced = tf.function(lambda x: layer(x, training=True)).get_concrete_function(tf.TensorSpec(shape, "float32"))
    return {operation.type for operation in traced.graph.get_operations()}


def gradients(layer, x, weights):
    """Of the weighted sum of the outputs, by the input and by what is trained."""
    if ON_TENSORFLOW:
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = ops.sum(weights * layer(x, training=True))
        return [np.asarray(g) for g in tape.gradient(total, [x, *[v.value for v in layer.trainable_variables]])]
    if keras.backend.backend() == "jax":
        import jax

        def total(x, trainable):
            outputs, _ = layer.stateless_call(
                trainable, [v.value for v in layer.non_trainable_variables], x, training=True
            )
            return ops.sum(weights * outputs)

        by_x, by_weights = jax.grad(total, (0, 1))(x, [v.value for v in layer.trainable_variables])
        return [np.asarray(g) for g in (by_x, *by_weights)]
    import torch

    x = torch.tensor(x, requires_grad=True)
    total = ops.sum(ops.convert_to_tensor(weights) * layer(x, training=True))
    return [numpy(g) for g in torch.autograd.grad(total, [x, *[v.value for v in layer.trainable_variables]])]


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "x"),
    [
        ({}, IMAGES),
        ({"epsilon": 1e-5, "momentum": 0.5}, IMAGES),
        ({"scale": False}, IMAGES),
        ({"center": False}, IMAGES),
        ({"axis": 3}, IMAGES),
        ({"axis": 1}, IMAGES),
        ({}, IMAGES[:1, :1, :1]),
        ({}, IMAGES[:, 0]),
        ({}, IMAGES[:, 0, 0]),
        ({}, IMAGES[:, :, None]),
        ({"renorm": True}, IMAGES),
        ({"trainable": False}, IMAGES),
    ],
)
def test_it_computes_what_keras_computes(options, x):
    ours, keras_own = BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    for layer in (ours, keras_own):
        layer.build(x.shape)
        for place, variable in enumerate(layer.trainable_variables):
            variable.assign(np.linspace(0.5, 1.5 + place, variable.shape[0]))
    for _ in range(2):
        outputs = [numpy(layer(x, training=True)) for layer in (ours, keras_own)]
        np.testing.assert_allclose(*outputs, rtol=1e-4, atol=2e-5)
    for mine, own in zip(ours.variables, keras_own.variables, strict=True):
        np.testing.assert_allclose(numpy(mine), numpy(own), rtol=1e-5, atol=1e-6, err_msg=mine.path)
    np.testing.assert_allclose(numpy(ours(x)), numpy(keras_own(x)), rtol=1e-5, atol=1e-6)


def test_its_gradients_are_those_of_keras():
    weights = RNG.normal(size=IMAGES.shape).astype("float32")
    found = []
    for layer in (BatchNormalization(), keras.layers.BatchNormalization()):
        layer.build(IMAGES.shape)
        layer.gamma.assign([0.5, 1.0, 2.0])
        found.append(gradients(layer, IMAGES, weights))
    for mine, own in zip(*found, strict=True):
        np.testing.assert_allclose(mine, own, rtol=1e-4, atol=1e-4)
        assert np.abs(own).max() > 0.1


def test_a_mask_is_kept_out_of_the_statistics():
    mask = np.ones((4, 6, 5), bool)
    mask[2:] = False
    ours, keras_own = BatchNormalization(momentum=0.0), keras.layers.BatchNormalization(momentum=0.0)
    for layer in (ours, keras_own):
        layer(IMAGES, training=True, mask=mask)
    np.testing.assert_allclose(numpy(ours.moving_mean), numpy(keras_own.moving_mean), rtol=1e-6)
    np.testing.assert_allclose(numpy(ours.moving_mean), IMAGES[:2].mean((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_it_keeps_statistics_in_float32_where_the_rest_is_half(dtype):
    # Values that float16 cannot square.
    x = 300.0 * IMAGES
    ours, keras_own = (cls(dtype=dtype, momentum=0.0) for cls in (BatchNormalization, keras.layers.BatchNormalization))
    outputs = [layer(x, training=True) for layer in (ours, keras_own)]
    assert keras.backend.standardize_dtype(outputs[0].dtype) == dtype.removeprefix("mixed_")
    np.testing.assert_allclose(*[numpy(ops.cast(y, "float32")) for y in outputs], atol=0.02)
    np.testing.assert_allclose(numpy(ours.moving_mean), numpy(keras_own.moving_mean), rtol=1e-2)
    if dtype == "mixed_bfloat16":
        np.testing.assert_allclose(numpy(ours.moving_variance), numpy(keras_own.moving_variance), rtol=2e-2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_it_trains_where_everything_is_half(dtype):
    ours, keras_own = (cls(dtype=dtype, momentum=0.5) for cls in (BatchNormalization, keras.layers.BatchNormalization))
    for layer in (ours, keras_own):
        layer(IMAGES, training=True)
    assert keras.backend.standardize_dtype(ours.moving_mean.dtype) == dtype
    for mine, own in zip(ours.non_trainable_variables, keras_own.non_trainable_variables, strict=True):
        np.testing.assert_allclose(*[numpy(ops.cast(v.value, "float32")) for v in (mine, own)], rtol=2e-2)
    assert keras.backend.standardize_dtype(ks.ResidualBlock(4, dtype=dtype)(IMAGES, training=True).dtype) == dtype


@pytest.mark.skipif(not ON_TENSORFLOW, reason="the fused operation is TensorFlow's")
def test_it_is_one_operation_on_tensorflow_and_keras_is_not():
    assert "FusedBatchNormV3" in operations(BatchNormalization(), (None, 6, 5, 3))
    assert "FusedBatchNormV3" not in operations(keras.layers.BatchNormalization(), (None, 6, 5, 3))
    assert "FusedBatchNormV3" in operations(ks.ResidualBlock(3), (None, 6, 5, 3))
    assert "FusedBatchNormV3" not in operations(BatchNormalization(), (None, 5, 3))


@pytest.mark.parametrize(
    "norm",
    [
        keras.layers.BatchNormalization(),
        keras.layers.LayerNormalization(),
        keras.layers.LayerNormalization(axis=[-1]),
        keras.layers.GroupNormalization(2),
        keras.layers.UnitNormalization(),
    ],
    ids=lambda norm: norm.name,
)
@pytest.mark.parametrize(
    "make", [lambda **options: ks.ResidualBlock(4, **options), lambda **options: ks.DenseBlock(2, 4, **options)]
)
def test_a_normalization_layer_finds_the_channels_where_they_are(make, norm):
    skip_without_channels_first()
    x = RNG.normal(size=(2, 5, 7, 6)).astype("float32")
    last, first = (make(normalization=norm, data_format=place) for place in ("channels_last", "channels_first"))
    last.build(x.shape)
    first.build((2, 6, 5, 7))
    first.set_weights(last.get_weights())
    for training in (False, True):
        expected = numpy(last(x, training=training))
        received = numpy(first(np.moveaxis(x, -1, 1), training=training))
        np.testing.assert_allclose(np.moveaxis(received, 1, -1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.once
def test_an_axis_that_is_given_is_kept():
    block = ks.ResidualBlock(
        8, data_format="channels_first", normalization=keras.layers.LayerNormalization(axis=[2, 3])
    )
    block.build((2, 6, 7, 5))
    assert block.norm1.gamma.shape == (7, 5)


@pytest.mark.once
def test_a_saved_model_holds_it(tmp_path):
    inputs = keras.Input((6, 5, 3))
    model = keras.Model(inputs, BatchNormalization(momentum=0.9)(inputs))
    model.layers[-1].moving_mean.assign([1.0, 2.0, 3.0])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.layers[-1]) is BatchNormalization
    np.testing.assert_array_equal(numpy(again(IMAGES)), numpy(model(IMAGES)))


def by_name(x, name, layer):
    """The normalisation `name` of x over its last axis, by its definition; it has an epsilon of 0.01."""
    groups = {"layer": 1, "group": np.gcd(32, x.shape[-1]), "rms": 1}[name]
    parts = x.reshape(*x.shape[:-1], groups, -1)
    axes = (*range(1, x.ndim - 1), -1) if name == "group" else -1
    mean = 0.0 if name == "rms" else parts.mean(axes, keepdims=True)
    y = ((parts - mean) / np.sqrt(np.square(parts - mean).mean(axes, keepdims=True) + 0.01)).reshape(x.shape)
    scale, *shift = layer.get_weights()
    return scale * y + sum(shift)


@pytest.mark.parametrize("name", ["layer", "group", "rms"])
@pytest.mark.parametrize("shape", [(3, 12), (3, 5, 12), (2, 5, 3, 12), (2, 3, 2, 4, 12)])
def test_a_name_stands_for_its_equation(name, shape):
    block = ks.PreActivationBlock(12, normalization=name, norm_epsilon=0.01, preactivate_shortcut=True)
    block.build(shape)
    for weight in block.norm1.weights:
        weight.assign(RNG.normal(size=weight.shape))
    x = RNG.normal(size=shape).astype("float32")
    expected = by_name(x.astype("float64"), name, block.norm1)
    np.testing.assert_allclose(numpy(block.norm1(x)), expected, rtol=1e-4, atol=1e-5)
    assert block.norm1.name == "norm1" and len(block.norm2.weights) == len(block.norm1.weights)


@pytest.mark.parametrize("name", ["layer", "group"])
def test_names_start_from_gamma_zero_and_find_the_channels_where_they_are(name):
    skip_without_channels_first()
    x = RNG.normal(size=(2, 5, 7, 12)).astype("float32")
    last, first = (
        ks.PreActivationBlock(12, normalization=name, zero_init_gamma=True, data_format=place)
        for place in ("channels_last", "channels_first")
    )
    np.testing.assert_array_equal(numpy(last(x)), x)
    first.build((2, 12, 5, 7))
    assert not numpy(first.norm2.gamma).any() and first.norm1.gamma.shape == (12,)
    last.norm2.gamma.assign(np.ones(12))
    first.set_weights(last.get_weights())
    received = np.moveaxis(numpy(first(np.moveaxis(x, -1, 1))), 1, -1)
    np.testing.assert_allclose(received, numpy(last(x)), rtol=1e-4, atol=1e-5)
