"""Sequences of different lengths in one batch: padding must not leak into what is real."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks

LENGTHS = (9, 6, 4)
RNG = np.random.default_rng(0)
BLOCKS = {
    "residual": lambda: ks.ResidualBlock(4),
    "residual strided": lambda: ks.ResidualBlock(6, strides=2),
    "residual symmetric": lambda: ks.ResidualBlock(6, strides=2, padding="symmetric"),
    "residual pad": lambda: ks.ResidualBlock(6, strides=2, shortcut="pad"),
    "residual blurred": lambda: ks.ResidualBlock(6, strides=2, padding="symmetric", downsample="blur"),
    "residual pooled": lambda: ks.ResidualBlock(6, strides=2, padding="symmetric", downsample="pool"),
    "bottleneck": lambda: ks.BottleneckBlock(8, strides=2),
    "preactivation": lambda: ks.PreActivationBlock(6, strides=2),
    "preactivation bottleneck": lambda: ks.PreActivationBottleneckBlock(8),
    "preactivation blurred": lambda: ks.PreActivationBottleneckBlock(
        8, strides=2, padding="symmetric", downsample="blur", activation=keras.layers.LeakyReLU(0.1)
    ),
    "preactivation layer": lambda: ks.PreActivationBlock(
        6, shortcut=keras.layers.Conv1D(6, 3, padding="same"), preactivate_shortcut=True
    ),
    "wide": lambda: ks.WideBlock(6, dropout=0.0),
    "highway": lambda: ks.HighwayBlock(),
    "highway convolution": lambda: ks.HighwayBlock(kernel_size=3),
    "dense": lambda: ks.DenseBlock(2, 3),
    "skip": lambda: ks.Residual(
        [keras.layers.Dense(6), ks.BatchNormalization(), keras.layers.Dense(4)], "peri", gate="review", attention="se"
    ),
    "stochastic": lambda: ks.StochasticDepthBlock(4, survival_prob=0.999999),
}
# Keras's convolutions warn that they do not pass on a mask.
UNMASKED = pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
every_block = pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS.keys())


def padded_batch(fill):
    x = np.full((len(LENGTHS), max(LENGTHS), 4), fill, "float32")
    rng = np.random.default_rng(1)
    for row, length in enumerate(LENGTHS):
        x[row, :length] = rng.normal(size=(length, 4))
    mask = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    return x, mask


@every_block
@pytest.mark.parametrize("training", [True, False])
def test_what_stands_in_the_padding_changes_nothing(make, training):
    block = make()
    (zeros, mask), (noise, _) = padded_batch(0.0), padded_batch(1e3)
    block.build(zeros.shape)
    start = block.get_weights()
    outputs = []
    for x in (zeros, noise):
        block.set_weights(start)
        y = ops.convert_to_numpy(block(x, training=training, mask=mask))
        out_mask = ops.convert_to_numpy(block.compute_mask(x, ops.convert_to_tensor(mask)))
        assert out_mask.shape == y.shape[:2]
        outputs.append((y[out_mask], block.get_weights()))
    np.testing.assert_allclose(outputs[0][0], outputs[1][0], rtol=1e-5, atol=1e-5)
    for a, b in zip(outputs[0][1], outputs[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.once
@every_block
def test_a_padded_sequence_gives_what_it_gives_alone(make):
    block = make()
    x, mask = padded_batch(0.0)
    block.build(x.shape)
    for variable in block.variables:
        if variable.path.endswith("beta"):
            variable.assign(np.ones(variable.shape))  # so that zeros do not stay zeros
    y = ops.convert_to_numpy(block(x, mask=mask))
    symmetric = getattr(block, "padding", "same") == "same" and getattr(block, "strides", 1) == 2
    for row, length in enumerate(LENGTHS):
        # "same" with strides places its windows by the length's parity: only sequences of the batch's parity compare.
        if symmetric and (length - max(LENGTHS)) % 2:
            continue
        alone = ops.convert_to_numpy(block(x[row : row + 1, :length]))
        np.testing.assert_allclose(y[row : row + 1, : alone.shape[1]], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize("name", [name for name in BLOCKS if "highway" not in name])
def test_statistics_leave_the_padding_out(name):
    block = BLOCKS[name]()
    x = RNG.normal(size=(3, 8, 4)).astype("float32")
    mask = np.arange(8) < np.full((3, 1), 4)
    block.build(x.shape)
    start = block.get_weights()
    block(x[:, :4], training=True)
    alone = block.get_weights()
    block.set_weights(start)
    block(x, training=True, mask=mask)
    assert any((a != b).any() for a, b in zip(start, alone, strict=True))
    for a, b in zip(alone, block.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_transition_pools_real_steps_and_halves_the_mask():
    block = ks.TransitionBlock(1.0)
    x, mask = padded_batch(5.0)
    y = ops.convert_to_numpy(block(x, mask=mask))
    out = ops.convert_to_numpy(block.compute_mask(x, ops.convert_to_tensor(mask)))
    np.testing.assert_array_equal(out.sum(axis=1), [4, 3, 2])
    assert out.shape == y.shape[:2]
    clean = ops.convert_to_numpy(block(padded_batch(0.0)[0], mask=mask))
    np.testing.assert_allclose(y[out], clean[out], rtol=1e-5)
    with_skip = ks.TransitionBlock(1.0, return_skip=True)
    pooled, kept = map(ops.convert_to_numpy, with_skip.compute_mask(x, ops.convert_to_tensor(mask)))
    np.testing.assert_array_equal(pooled, out)
    np.testing.assert_array_equal(kept, mask)
    assert not ops.convert_to_numpy(with_skip(x, mask=mask)[1])[~mask].any()


@pytest.mark.once
@every_block
def test_mask_reaches_the_layers_behind(make):
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    pooled = keras.layers.GlobalAveragePooling1D()(make()(x))
    model = keras.Model(tokens, pooled)
    short = np.array([[3, 5, 7, 2, 0, 0, 0, 0]])
    alone = ops.convert_to_numpy(model(short[:, :4]))
    np.testing.assert_allclose(ops.convert_to_numpy(model(short)), alone, rtol=1e-4, atol=1e-5)


def test_masked_training_through_fit():
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = ks.HighwayBlock(kernel_size=3, survival_prob=0.5)(ks.ResidualBlock(4, strides=2)(x))
    model = keras.Model(tokens, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(x)))
    model.compile(optimizer="adam", loss="mse", jit_compile=keras.backend.backend() == "jax")
    data = RNG.integers(0, 10, (16, 9))
    history = model.fit(data, RNG.normal(size=(16, 1)), epochs=2, batch_size=8, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_masks_need_channels_last():
    x, mask = padded_batch(0.0)
    with pytest.raises(
        ValueError, match="Expected data_format='channels_last'.*Received: data_format='channels_first'"
    ):
        ks.ResidualBlock(9, data_format="channels_first")(x, mask=mask)


@pytest.mark.parametrize("norm", ["pre", "peri", "post"])
def test_a_mask_that_comes_with_the_call_reaches_every_norm_around_a_layer(norm):
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    mask = np.array([[True, True, False, False], [True, True, True, False]])
    around = ks.Residual(keras.layers.Dense(3), norm=norm, normalization="batch", norm_momentum=0.5)
    around.build(x.shape)
    norms = [layer for layer in around._flatten_layers() if isinstance(layer, ks.BatchNormalization)]
    variances = []
    for padding in (0.0, 99.0):
        for layer in norms:
            layer.moving_variance.assign(np.zeros(3))
        around(np.where(mask[..., None], x, padding).astype("float32"), mask=mask, training=True)
        variances.append([np.array(ops.convert_to_numpy(layer.moving_variance)) for layer in norms])
    assert len(norms) == (2 if norm == "peri" else 1)
    for noise, zeros in zip(*variances, strict=True):
        np.testing.assert_allclose(noise, zeros, rtol=1e-5)
        assert np.abs(zeros).max() > 0.01


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "post", "normalization": "batch"},
        {"norm": "peri", "normalization": "batch"},
        {"attention": "se"},
        {"shortcut": keras.layers.Conv1D(4, 1, strides=2)},
    ],
)
@UNMASKED
def test_a_strided_layer_in_a_skip_strides_the_mask(options):
    strided = keras.layers.Conv1D(4, 1, strides=2, data_format="channels_last")
    around = ks.Residual(strided, data_format="channels_last", **options)
    outputs = []
    for fill in (0.0, 5.0):
        x, mask = padded_batch(fill)
        y = ops.convert_to_numpy(around(x, mask=mask, training=True))
        kept = ops.convert_to_numpy(around.compute_mask(x, ops.convert_to_tensor(mask)))
        np.testing.assert_array_equal(kept, mask[:, ::2])
        outputs.append(y[kept])
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)


@UNMASKED
def test_every_layer_in_a_skip_gets_the_mask_of_its_own_steps():
    class Masked(keras.layers.Layer):
        supports_masking = True

        def call(self, x, mask=None):
            masks.append(mask)
            return x

    x, mask = padded_batch(0.0)
    for padding, expected in (("same", mask[:, ::2]), ("valid", None)):
        masks = []
        shortcut = keras.layers.Conv1D(4, 3, strides=2, padding=padding)
        layers = [Masked(), keras.layers.Conv1D(4, 3, strides=2, padding=padding), Masked()]
        around = ks.Residual(layers, shortcut=shortcut)
        around.build(x.shape)
        masks.clear()
        around(x, mask=mask)
        np.testing.assert_array_equal(ops.convert_to_numpy(masks[0]), mask)
        kept = around.compute_mask(x, ops.convert_to_tensor(mask))
        for found in (masks[1], kept):
            assert (found is None) is (expected is None)
            assert expected is None or np.array_equal(ops.convert_to_numpy(found), expected)


def test_the_skip_of_a_transition_is_zero_in_masked_steps():
    block = ks.TransitionBlock(return_skip=True)
    block.build((1, 4, 6))
    block.norm1.beta.assign(np.ones(6))
    mask = np.array([[True, True, True, False]])
    _, skip = block(np.ones((1, 4, 6), "float32"), mask=mask)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(skip)[0].any(axis=-1), mask[0])


class Short(keras.layers.Layer):
    """A layer for sequences of at most 32 steps."""

    def call(self, x):
        if x.shape[1] is not None and x.shape[1] > 32:
            raise ValueError(x.shape)
        return x

    def compute_output_shape(self, shape):
        if shape[1] is not None and shape[1] > 32:
            raise ValueError(shape)
        return shape


def test_a_layer_for_short_sequences_keeps_the_mask():
    layer = ks.Residual(Short(), shortcut=keras.layers.Identity())
    layer.build((None, None, 4))
    mask = np.array([[True, True, False]])
    np.testing.assert_array_equal(layer.compute_mask(None, mask), mask)


def test_images_that_a_layer_as_shortcut_makes_smaller_have_no_mask():
    conv = {"strides": 2, "padding": "same"}
    layer = ks.Residual(keras.layers.Conv2D(4, 3, **conv), shortcut=keras.layers.Conv2D(4, 1, **conv))
    layer.build((None, 8, 8, 4))
    assert layer.compute_mask(None, np.ones((2, 8), bool)) is None
