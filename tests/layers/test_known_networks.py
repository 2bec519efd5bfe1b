"""The public blocks are enough to write the networks that others published, to the last bit of padding.

keras.applications' ResNet50 and ResNet50V2 (random weights, copied over) and the reference outputs of torchvision and
timm.
"""

import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.golden import golden_weight, read_reference

# The equations are tested on every backend.
pytestmark = pytest.mark.once


def applications_v1(inputs):
    x = keras.layers.ZeroPadding2D(3)(inputs)
    x = keras.layers.Conv2D(64, 7, strides=2, name="stem")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(epsilon=1.001e-5, name="stem_norm")(x))
    x = keras.layers.MaxPooling2D(3, strides=2)(keras.layers.ZeroPadding2D(1)(x))
    for stage, (filters, blocks) in enumerate(zip((256, 512, 1024, 2048), (3, 4, 6, 3), strict=True)):
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            x = ks.BottleneckBlock(
                filters, strides=strides, stride_position="first", use_bias=True, norm_epsilon=1.001e-5
            )(x)
    return x


def applications_v2(inputs):
    x = keras.layers.ZeroPadding2D(3)(inputs)
    x = keras.layers.Conv2D(64, 7, strides=2, name="stem")(x)
    x = keras.layers.MaxPooling2D(3, strides=2)(keras.layers.ZeroPadding2D(1)(x))
    options = {"padding": "symmetric", "use_bias": (False, False, True), "norm_epsilon": 1.001e-5}
    for stage, (filters, blocks) in enumerate(zip((256, 512, 1024, 2048), (3, 4, 6, 3), strict=True)):
        for block in range(blocks):
            strided = stage < 3 and block == blocks - 1
            shortcut = keras.layers.MaxPooling2D(1, strides=2) if strided else "projection"
            x = ks.PreActivationBottleneckBlock(filters, strides=2 if strided else 1, shortcut=shortcut, **options)(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(epsilon=1.001e-5, name="post_norm")(x))


# Name of our sub-layer in each block: suffix of the layer of keras.applications.
V1_NAMES = {"conv1": "1_conv", "norm1": "1_bn", "conv2": "2_conv", "norm2": "2_bn", "conv3": "3_conv", "norm3": "3_bn"}
V1_NAMES |= {"projection": "0_conv", "projection_norm": "0_bn"}
V2_NAMES = {
    "norm1": "preact_bn",
    "conv1": "1_conv",
    "norm2": "1_bn",
    "conv2": "2_conv",
    "norm3": "2_bn",
    "conv3": "3_conv",
}
V2_NAMES |= {"projection": "0_conv"}
OUTER = {"stem": "conv1_conv", "stem_norm": "conv1_bn", "post_norm": "post_bn"}


def randomise(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        noise = (
            rng.uniform(0.5, 1.5, weight.shape) if "variance" in weight.path else 0.1 * rng.normal(size=weight.shape)
        )
        if "kernel" not in weight.path:
            weight.assign(noise)


def copy_application(source, target, names):
    blocks = [
        layer for layer in target.layers if isinstance(layer, ks.BottleneckBlock | ks.PreActivationBottleneckBlock)
    ]
    places = [
        f"conv{stage}_block{block}"
        for stage, n in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True)
        for block in range(1, n + 1)
    ]
    copied = 0
    for block, place in zip(blocks, places, strict=True):
        for ours, theirs in names.items():
            layer = getattr(block, ours)
            if layer is not None:
                layer.set_weights(source.get_layer(f"{place}_{theirs}").get_weights())
                copied += len(layer.weights)
    for layer in target.layers:
        if layer.name in OUTER:
            layer.set_weights(source.get_layer(OUTER[layer.name]).get_weights())
            copied += len(layer.weights)
    assert copied == len(source.weights) == len(target.weights)


@pytest.mark.parametrize("version", [1, 2])
def test_keras_applications_resnet50(version):
    cls = keras.applications.ResNet50 if version == 1 else keras.applications.ResNet50V2
    source = cls(weights=None, include_top=False, input_shape=(64, 64, 3))
    randomise(source)
    inputs = keras.Input((64, 64, 3))
    target = keras.Model(inputs, (applications_v1 if version == 1 else applications_v2)(inputs))
    assert target.count_params() == source.count_params()
    copy_application(source, target, V1_NAMES if version == 1 else V2_NAMES)
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    expected, received = (ops.convert_to_numpy(model(x)) for model in (source, target))
    assert np.abs(received - expected).max() <= 1e-5 * np.abs(expected).max()


def torch_stem(inputs, deep):
    convolutions = [(64, 7, 2)] if not deep else [(32, 3, 2), (32, 3, 1), (64, 3, 1)]
    names = [("conv1", "bn1")] if not deep else [("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1")]
    x = inputs
    for (filters, kernel, strides), (conv, norm) in zip(convolutions, names, strict=True):
        x = keras.layers.ZeroPadding2D(kernel // 2)(x)
        x = keras.layers.Conv2D(filters, kernel, strides, use_bias=False, name=conv)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(epsilon=1e-5, name=norm)(x))
    return keras.layers.MaxPooling2D(3, strides=2)(keras.layers.ZeroPadding2D(1)(x))


def torch_resnet(inputs, counts, filters=256, width=None, deep_stem=False, **options):
    """The networks of torchvision and timm whose stages of blocks double their channels."""
    x = torch_stem(inputs, deep_stem)
    for stage, count in enumerate(counts):
        for block in range(count):
            if width is not None:
                options["width"] = width * 2**stage
            cls = ks.ResidualBlock if filters == 64 else ks.BottleneckBlock
            strides, name = (2 if stage and not block else 1), f"layer{stage + 1}_{block}"
            given = {"padding": "symmetric", "norm_epsilon": 1e-5, **options}
            x = cls(filters * 2**stage, strides=strides, name=name, **given)(x)
    return keras.layers.Dense(1000, name="fc")(keras.layers.GlobalAveragePooling2D()(x))


def load_golden(model, shapes):
    # With a pooling in the shortcut, its convolution is the second layer there.
    pooled = any("downsample.2" in name for name in shapes)
    shortcut = ("downsample.1", "downsample.2") if pooled else ("downsample.0", "downsample.1")
    variables = {"weight": "kernel", "running_mean": "moving_mean", "running_var": "moving_variance"}
    assigned = 0
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            continue
        owner, variable = name.rsplit(".", 1)
        for place, ours in zip(shortcut, ("projection", "projection_norm"), strict=True):
            owner = owner.replace(place, ours)
        owner = re.sub(r"layer(\d)\.(\d+)\.(bn)?", lambda m: f"layer{m[1]}_{m[2]}." + ("norm" if m[3] else ""), owner)
        first, *rest = [owner] if owner.startswith("conv1") else owner.split(".")
        layer = model.get_layer(first)
        layer = getattr(layer, rest[0]) if rest else layer
        variable = variables.get(variable, variable)
        if isinstance(layer, keras.layers.BatchNormalization):
            variable = {"kernel": "gamma", "bias": "beta"}.get(variable, variable)
        value = golden_weight(name, shape)
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T if value.ndim == 2 else value
        getattr(layer, variable).assign(value)
        assigned += 1
    assert assigned == len(model.weights)


FIFTY = (3, 4, 6, 3)
NETWORKS = {
    "torchvision_resnet18": {"filters": 64, "counts": (2, 2, 2, 2)},
    "torchvision_resnet50": {"counts": FIFTY},
    "timm_resnext50_32x4d": {"counts": FIFTY, "width": 128, "groups": 32},
    "timm_resnet50d": {"counts": FIFTY, "deep_stem": True, "downsample": "pool"},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_torchvision_and_timm(name):
    x, y, shapes = read_reference(name)
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, torch_resnet(inputs, **NETWORKS[name]))
    load_golden(model, shapes)
    received = ops.convert_to_numpy(model(x.transpose(0, 2, 3, 1)))
    assert np.abs(received - y).max() <= 1e-4 * np.abs(y).max()
