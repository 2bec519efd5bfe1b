"""Every block ends its branch in the same way, and a branch consists of the layers that were added to it."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
BLOCKS = {
    "residual": lambda **options: ks.ResidualBlock(6, strides=2, **options),
    "bottleneck": lambda **options: ks.BottleneckBlock(4, **options),
    "preactivation": lambda **options: ks.PreActivationBlock(6, **options),
    "highway": lambda **options: ks.HighwayBlock(**options),
    "dense": lambda **options: ks.DenseBlock(2, 3, **options),
}


class Nothing(keras.layers.Layer):
    def call(self, x):
        return 0.0 * x


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS.keys())
def test_a_layer_at_the_end_of_all_branches_runs_before_the_merge(make):
    block = make(survival_prob=1e-9, normalization=None, seed=1, attention=Nothing())
    y, dropped = (ops.convert_to_numpy(block(X, training=training)) for training in (False, True))
    np.testing.assert_allclose(y, dropped, rtol=1e-6)
    assert np.abs(y).max() > 0.1
    assert [layer.name for layer in block._flatten_layers()].count("channel_attention") == (
        2 if "dense" in block.name else 1
    )


FACTORS = [
    ({"branch_scale": 0.25}, 0.25),
    ({"branch_scale": "1/sqrt(L)", "depth": 4}, 0.5),
    ({"branch_scale": "1/L", "depth": 8}, 0.125),
    ({"branch_scale": ks.LayerScale(0.75)}, 0.75),
    ({"branch_scale": "layerscale"}, 1e-5),
    ({"branch_scale": "rezero"}, 0.0),
    ({"branch_scale": 0.5, "attention": ks.SqueezeExcite(kernel_initializer="zeros")}, 0.25),  # sigmoid(0) / 2
]


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS.keys())
def test_the_update_of_every_block_is_multiplied_by_its_factor(make):
    plain = {"normalization": None, "bias_initializer": "ones", "use_bias": True, "activation": "linear"}

    def output(options):
        keras.utils.set_random_seed(0)
        block = make(**plain | options)
        y = ops.convert_to_numpy(block(X))
        # The second layer of a dense block reads what the first one gives.
        return y[..., :7] if "dense" in block.name else y

    skip, whole = output({"branch_scale": 0}), output({})
    assert np.abs(whole - skip).max() > 0.1
    for options, factor in FACTORS:
        expected = skip + factor * (whole - skip)
        np.testing.assert_allclose(output(options), expected, rtol=1e-4, atol=1e-5, err_msg=str(options))


@pytest.mark.once
def test_a_branch_has_the_layers_that_were_added_in_their_order_and_not_those_of_the_skip():
    block = ks.PreActivationBlock(6, dropout=0.5)
    block.build((None, 8, 8, 3))
    assert [layer.name for layer in block._branch.layers] == ["conv1", "norm2", "dropout_layer", "conv2"]
    assert block._shared.layers == [block.norm1] and block.projection not in block._branch.layers
    gated = ks.HighwayBlock(normalization="batch")
    gated.build((None, 4))
    assert gated._branch.layers == [gated.conv1, gated.norm1]


@pytest.mark.once
def test_dropouts_of_one_block_draw_from_seeds_of_their_own():
    block = ks.DenseBlock(2, 3, dropout=0.5, seed=4)
    block.build((None, 8, 8, 4))
    layers = [layer for layer in block._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    assert len(layers) == len({4, *(layer.seed for layer in layers)}) - 1 >= 2
