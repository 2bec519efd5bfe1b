"""Initial weights: convolutions that pass their channels on, and a first one that whitens."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import zoo
from zoo.training.initialization import initialize
from zoo.training.learner import make_learner

DIGITS = zoo.load_source("digits")


def network(*, filters=8, side=2, input_shape=(8, 8, 1), groups=1):
    x = image = keras.Input(input_shape, name="image")
    for index, (count, kernel) in enumerate([(filters, side), (filters, 3), (4, 3), (16, 3), (16, 1)]):
        options = {"padding": "same", "name": f"conv{index}", "groups": groups if index else 1}
        x = keras.layers.Conv2D(count, kernel, **options)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10, name="head")(x), name="small")


def kernels(model):
    return {layer.name: keras.ops.convert_to_numpy(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")}


def test_dirac_convolutions_pass_their_channels_on():
    keras.utils.set_random_seed(0)
    model = network()
    old = kernels(model)
    initialize(model, ("dirac",), DIGITS)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 8)).astype("float32")
    for name, channels in (("conv0", 1), ("conv1", 8), ("conv3", 4)):
        layer = model.get_layer(name)
        out = keras.ops.convert_to_numpy(layer(x[..., :channels]))
        np.testing.assert_allclose(out[..., :channels], x[..., :channels], atol=1e-6)
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(layer.kernel)[..., channels:], old[name][..., channels:]
        )
    for name in ("conv2", "conv4", "head"):
        np.testing.assert_array_equal(kernels(model)[name], old[name])


def test_dirac_reaches_the_convolutions_inside_of_blocks():
    model = zoo.build("resnet20", (8, 8, 1), depth=8)
    initialize(model, ("dirac",), DIGITS)
    found = [v for v in model.trainable_variables if v.name == "kernel" and v.shape[:2] == (3, 3)]
    assert len(found) == 7
    for variable in found:
        kernel, channels = keras.ops.convert_to_numpy(variable), variable.shape[-2]
        np.testing.assert_array_equal(kernel[1, 1, :, :channels], np.eye(channels))
        assert np.count_nonzero(kernel[..., :channels]) == channels


def covariance_by_loops(images, side):
    total, count = 0.0, 0
    for image in images:
        for row in range(image.shape[0] - side + 1):
            for column in range(image.shape[1] - side + 1):
                patch = image[row : row + side, column : column + side].astype("float64").ravel()
                total, count = total + np.outer(patch, patch), count + 1
    return total / count


@pytest.mark.parametrize(("side", "channels"), [(2, 1), (3, 1), (2, 3)])
def test_whitened_patches_have_the_covariance_of_the_formula(side, channels, monkeypatch):
    monkeypatch.setattr("zoo.training.initialization.IMAGES", 20)
    monkeypatch.setattr("zoo.training.initialization._PIXELS", 8 * 8 * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8, channels), dtype="uint8")
    pixels = (pixels // 2 + np.roll(pixels, 1, axis=1) // 2).astype("uint8")
    preprocessing = zoo.Preprocessing.fitted(pixels, 1 / 255)
    labels = np.arange(30) % 10
    parts = {f"{part}_inputs": pixels for part in ("train", "test")} | dict.fromkeys(
        ("train_targets", "test_targets"), labels
    )
    source = replace(DIGITS, **parts, preprocessing=preprocessing)
    size = side * side * channels
    model = network(filters=2 * size, side=side, input_shape=(8, 8, channels))
    bias = model.get_layer("conv0").bias
    initialize(model, ("whitening",), source)
    kernel = kernels(model)["conv0"].reshape(size, 2 * size)
    np.testing.assert_array_equal(kernel[:, size:], -kernel[:, :size])
    covariance = covariance_by_loops(preprocessing(pixels[:20]), side)
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1]
    whitened = kernel[:, :size].T @ covariance @ kernel[:, :size]
    np.testing.assert_allclose(whitened, np.diag(eigenvalues / (eigenvalues + 5e-4)), atol=1e-5)
    assert not model.get_layer("conv0").kernel.trainable
    assert bias.trainable


@pytest.mark.parametrize("names", [("dirac", "whitening"), ("whitening", "dirac")])
def test_both_together_in_any_order(names):
    keras.utils.set_random_seed(0)
    both = network()
    initialize(both, names, DIGITS)
    for name in ("dirac", "whitening"):
        keras.utils.set_random_seed(0)
        one = network()
        initialize(one, (name,), DIGITS)
        for layer in ("conv0",) if name == "whitening" else ("conv1", "conv2", "conv3"):
            np.testing.assert_array_equal(kernels(both)[layer], kernels(one)[layer])


def test_whitening_kernel_is_not_trained():
    recipe = zoo.get_recipe("resnet20_digits").changed(
        {"optimizer.decay_norm_and_bias": True, "optimizer.rates": {"conv0/bias": 2.0}}
    )
    model = network()
    initialize(model, ("whitening",), DIGITS)
    learner, _ = make_learner(model, recipe, 10, DIGITS)
    before = kernels(model)
    images = DIGITS.preprocessing(DIGITS.train_inputs[:32])
    learner.train_on_batch(images, np.eye(10, dtype="float32")[DIGITS.train_targets[:32]])
    np.testing.assert_array_equal(kernels(model)["conv0"], before["conv0"])
    assert not np.array_equal(kernels(model)["conv1"], before["conv1"])
    assert np.abs(keras.ops.convert_to_numpy(model.get_layer("conv0").bias)).max() > 0


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"filters": 9}, r"conv0 has a kernel of shape \(2, 2, 1, 9\)"),
        ({"input_shape": (8, 8, 3), "filters": 24}, r"conv0 has a kernel of shape \(2, 2, 3, 24\)"),
    ],
)
def test_first_convolution_with_other_filters_is_refused(options, received):
    with pytest.raises(
        ValueError, match=f"2 \\* height \\* width \\* channels filters.*Received: small, whose {received}"
    ):
        initialize(network(**options), ("whitening",), DIGITS)


@pytest.mark.parametrize("name", ["dirac", "whitening"])
def test_network_without_a_convolution_is_refused(name):
    with pytest.raises(ValueError, match=f"initialization='{name}'. Received: plain_mlp"):
        initialize(zoo.build("plain_mlp", (8, 8, 1)), (name,), DIGITS)
