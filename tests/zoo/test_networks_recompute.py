"""The argument `recompute` of the networks: it reaches every block, and training computes the same."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.networks.imagenet.applications import applications_resnet, applications_resnet_v2
from zoo.networks.imagenet.convnext import convnext
from zoo.networks.imagenet.densenet import imagenet_densenet
from zoo.networks.imagenet.resnet import imagenet_resnet
from zoo.networks.small_images.airbench import airbench_residual
from zoo.networks.small_images.densenet import cifar_densenet
from zoo.networks.small_images.highway import highway_cifar, highway_mnist
from zoo.networks.small_images.preactivation import preact_resnet
from zoo.networks.small_images.resnet import cifar_resnet, stochastic_resnet
from zoo.networks.small_images.resnet9 import resnet9
from zoo.networks.small_images.wide import wide_resnet

RECOMPUTING = {
    airbench_residual: {"widths": (4, 5, 6)},
    cifar_densenet: {"depth": 10},
    cifar_resnet: {"depth": 8},
    stochastic_resnet: {"depth": 8},
    preact_resnet: {"depth": 11},
    wide_resnet: {"depth": 10, "width": 1},
    highway_cifar: {"depth": 11},
    highway_mnist: {"depth": 7, "width": 4},
    imagenet_densenet: {"depth": 121},
    imagenet_resnet: {"depth": 18},
    applications_resnet: {"depth": 50},
    applications_resnet_v2: {"depth": 50},
    convnext: {"depths": (1, 1, 1), "widths": (4, 8, 8)},
    resnet9: {"width": 4},
}


@pytest.mark.usefixtures("few_blocks")
@pytest.mark.parametrize("build", RECOMPUTING)
def test_recompute_reaches_every_block_with_a_skip(build):
    model = build((32, 32, 3), recompute=True, **RECOMPUTING[build])
    asked = [layer.recompute for layer in model.layers if hasattr(layer, "recompute")]
    assert len(asked) >= 2 and all(asked)
    assert inspect.signature(build).parameters["recompute"].default is False


@pytest.mark.parametrize("build", [wide_resnet, highway_cifar, highway_mnist, imagenet_resnet, convnext, resnet9])
def test_gradients_and_moving_statistics_are_the_same_with_recompute(build):
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(8, 32, 32, 3)).astype("float32"), rng.integers(0, 10, 8)
    plain, recomputed = (build((32, 32, 3), 10, recompute=on, **RECOMPUTING[build]) for on in (False, True))
    recomputed.set_weights(plain.get_weights())
    gradients = []
    for model in (plain, recomputed):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
        gradients.append(tape.gradient(loss, [v.value for v in model.trainable_variables]))
    for variable, expected, gradient in zip(plain.trainable_variables, *gradients, strict=True):
        scale = np.abs(expected).max()
        assert scale > 0, variable.path
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-3 * scale, err_msg=variable.path)
    moved = 0
    for expected, value in zip(plain.non_trainable_variables, recomputed.non_trainable_variables, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5, err_msg=expected.path)
        moved += not np.array_equal(expected, keras.ops.full_like(expected, expected.path.endswith("variance")))
    assert moved == len(plain.non_trainable_variables)
