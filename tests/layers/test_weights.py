"""Initialisers, regularisers and constraints reach every convolution; every sub-layer draws its own start."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks

pytestmark = pytest.mark.once

CONVOLVED = {
    "residual": lambda **kw: ks.ResidualBlock(6, **kw),
    "bottleneck": lambda **kw: ks.BottleneckBlock(8, **kw),
    "preactivation": lambda **kw: ks.PreActivationBlock(8, **kw),
    "highway": lambda **kw: ks.HighwayBlock(**kw),
    "dense": lambda **kw: ks.DenseBlock(2, 6, bottleneck=False, **kw),
    "transition": lambda **kw: ks.TransitionBlock(**kw),
}
every = pytest.mark.parametrize("make", CONVOLVED.values(), ids=CONVOLVED.keys())


def kernels(layer):
    return [w for w in layer.trainable_weights if w.name == "kernel"]


@every
def test_regularizer_counts_every_kernel_and_no_norm(make):
    layer = make(kernel_regularizer=keras.regularizers.L2(0.5))
    layer.build((2, 8, 8, 6))
    expected = sum(0.5 * np.sum(ops.convert_to_numpy(k) ** 2) for k in kernels(layer))
    np.testing.assert_allclose(sum(float(ops.convert_to_numpy(loss)) for loss in layer.losses), expected, rtol=1e-5)
    assert len(layer.losses) == len(kernels(layer)) > 0


@every
def test_constraint_and_bias_options_reach_every_convolution(make):
    layer = make(kernel_constraint="non_neg", use_bias=True, bias_regularizer="l1", bias_constraint="unit_norm")
    layer.build((2, 8, 8, 6))
    convolutions = [
        w
        for w in layer._flatten_layers()
        if hasattr(w, "kernel_constraint") and w is not layer and hasattr(w, "kernel")
    ]
    assert len(convolutions) == len(kernels(layer))
    for conv in convolutions:
        assert isinstance(conv.kernel_constraint, keras.constraints.NonNeg)
        assert isinstance(conv.bias_constraint, keras.constraints.UnitNorm)
        assert conv.bias is not None


@every
def test_initializer_reaches_every_kernel(make):
    layer = make(kernel_initializer=keras.initializers.Constant(0.25))
    layer.build((2, 8, 8, 6))
    for kernel in kernels(layer):
        np.testing.assert_array_equal(ops.convert_to_numpy(kernel), 0.25)


@pytest.mark.parametrize(("make", "seed"), [(CONVOLVED["residual"], None), *((make, 1) for make in CONVOLVED.values())])
def test_no_two_kernels_start_equal(make, seed):
    layer = make(kernel_initializer=keras.initializers.HeNormal(seed=seed))
    layer.build((2, 8, 8, 6))
    starts = [ops.convert_to_numpy(k) for k in kernels(layer)]
    for i, a in enumerate(starts):
        for b in starts[:i]:
            assert a.shape != b.shape or np.any(a != b)


def test_a_seeded_initializer_repeats():
    starts = []
    for _ in range(2):
        layer = ks.ResidualBlock(6, kernel_initializer=keras.initializers.HeNormal(seed=1))
        layer.build((2, 8, 8, 6))
        starts.append(ops.convert_to_numpy(layer.conv2.kernel))
    np.testing.assert_array_equal(*starts)


def test_a_copied_normalization_keeps_its_arguments():
    layer = ks.ResidualBlock(6, normalization=keras.layers.BatchNormalization(momentum=0.7, scale=False))
    layer.build((2, 8, 8, 6))
    assert layer.norm1.momentum == layer.norm2.momentum == 0.7
    assert layer.norm1 is not layer.norm2 and layer.norm1.gamma is None


def test_a_normalization_of_the_users_own_needs_no_registration():
    class Scaling(keras.layers.Layer):
        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, x):
            return x * self.factor

        def get_config(self):
            return {**super().get_config(), "factor": self.factor}

    layer = ks.ResidualBlock(6, normalization=Scaling(0.5))
    layer.build((2, 6))
    assert layer.norm1.factor == layer.norm2.factor == 0.5
    dense, transition = ks.DenseBlock(2, 3, normalization=Scaling(0.5)), ks.TransitionBlock(normalization=Scaling(0.5))
    for block in (dense, transition):
        block.build((2, 6))
    assert dense.layer1.norm1.factor == dense.layer2.norm2.factor == transition.norm1.factor == 0.5


def test_an_activity_regularizer_survives_the_config():
    layer = ks.HighwayBlock(activity_regularizer="l2")
    copy = ks.HighwayBlock.from_config(layer.get_config())
    copy(np.ones((2, 4), "float32"))
    assert isinstance(copy.activity_regularizer, keras.regularizers.L2) and len(copy.losses) == 1


def test_spatial_dropout_drops_whole_channels_and_plain_dropout_elements():
    x = np.ones((8, 6, 6, 16), "float32")
    for spatial in (True, False):
        block = ks.WideBlock(16, dropout=0.5, spatial_dropout=spatial, seed=1)
        block.build(x.shape)
        dropped = ops.convert_to_numpy(block.dropout_layer(x, training=True)) == 0
        per_channel = dropped.mean(axis=(1, 2))
        assert (set(np.unique(per_channel)) == {0.0, 1.0}) is spatial
        assert 0.3 < dropped.mean() < 0.7


def test_freezing_a_block_freezes_its_statistics():
    block = ks.ResidualBlock(4)
    x = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    block.build(x.shape)
    block.trainable = False
    before = block.get_weights()
    block(x, training=True)
    assert block.trainable_weights == []
    for old, new in zip(before, block.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
