"""Each block's equation, computed a second time in plain NumPy."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.layers.test_contracts import random_state

RNG = np.random.default_rng(5)


def conv(x, layer, strides=1, dilation=1, padding="same"):
    """A convolution of any rank over the last axis, by its definition: a sum over the places of the kernel."""
    kernel = ops.convert_to_numpy(layer.kernel).astype("float64")
    rank = x.ndim - 2
    kernel = kernel.reshape((1,) * (rank + 2 - kernel.ndim) + kernel.shape)
    sizes, spatial = kernel.shape[:rank], x.shape[1:-1]
    pads, outs = [], []
    for size, k in zip(spatial, sizes, strict=True):
        reach = dilation * (k - 1)
        out = -(-size // strides)
        total = max((out - 1) * strides + reach + 1 - size, 0)
        before = {"same": total // 2, "symmetric": reach // 2, "causal": reach}[padding]
        pads.append((before, max(total - before, reach - before, 0)))
        outs.append(out)
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    y = np.zeros((x.shape[0], *outs, kernel.shape[-1]))
    for place in itertools.product(*(range(k) for k in sizes)):
        window = tuple(
            slice(p * dilation, p * dilation + (out - 1) * strides + 1, strides)
            for p, out in zip(place, outs, strict=True)
        )
        y += x[(slice(None), *window)] @ kernel[place]
    return y if layer.bias is None else y + ops.convert_to_numpy(layer.bias)


def norm(x, layer, batch=False):
    if layer is None:
        return x
    mean, variance = (ops.convert_to_numpy(v) for v in (layer.moving_mean, layer.moving_variance))
    if batch:
        mean, variance = x.mean(tuple(range(x.ndim - 1))), x.var(tuple(range(x.ndim - 1)))
    gamma, beta = ops.convert_to_numpy(layer.gamma), ops.convert_to_numpy(layer.beta)
    return gamma * (x - mean) / np.sqrt(variance + layer.epsilon) + beta


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def built(layer, x):
    layer.build(x.shape)
    random_state(layer, seed=3)
    return layer


def check(layer, x, expected, **call):
    received = ops.convert_to_numpy(layer(x.astype("float32"), **call))
    assert received.shape == expected.shape
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


def data(rank, channels=4):
    return RNG.normal(size=(2, *(7, 6, 5)[:rank], channels))


@pytest.mark.parametrize(("rank", "training"), [(0, False), (1, True), (2, False), (2, True), (3, True)])
def test_residual_with_projection(rank, training):
    strides = 2 if rank else 1
    x = data(rank)
    b = built(ks.ResidualBlock(5, strides=strides), x)
    branch = norm(conv(relu(norm(conv(x, b.conv1, strides), b.norm1, training)), b.conv2), b.norm2, training)
    skip = norm(conv(x, b.projection, strides), b.projection_norm, training)
    check(b, x, relu(skip + branch), training=training)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_residual_identity(rank):
    x = data(rank)
    b = built(ks.ResidualBlock(4, shortcut="identity", activation="tanh"), x)
    branch = norm(conv(np.tanh(norm(conv(x, b.conv1), b.norm1)), b.conv2), b.norm2)
    check(b, x, np.tanh(x + branch))
    assert b.projection is None


def test_residual_pad_subsamples_and_appends_zero_channels():
    x = data(2)
    b = built(ks.ResidualBlock(7, strides=2, shortcut="pad"), x)
    skip = np.concatenate([x[:, ::2, ::2], np.zeros((2, 4, 3, 3))], axis=-1)
    branch = norm(conv(relu(norm(conv(x, b.conv1, 2), b.norm1)), b.conv2), b.norm2)
    check(b, x, relu(skip + branch))
    assert len(b.trainable_weights) == 6


def test_residual_with_a_layer_as_shortcut():
    x = data(2)
    b = built(ks.ResidualBlock(4, strides=2, shortcut=keras.layers.MaxPooling2D(1, strides=2)), x)
    branch = norm(conv(relu(norm(conv(x, b.conv1, 2), b.norm1)), b.conv2), b.norm2)
    check(b, x, relu(x[:, ::2, ::2] + branch))


def test_symmetric_padding_differs_from_same_on_even_sizes_and_is_torchs():
    x = RNG.normal(size=(2, 6, 8, 4))
    b = built(ks.ResidualBlock(5, strides=2, padding="symmetric", normalization=None), x)
    branch = conv(relu(conv(x, b.conv1, 2, padding="symmetric")), b.conv2)
    check(b, x, relu(conv(x, b.projection, 2) + branch))
    assert np.abs(conv(x, b.conv1, 2) - conv(x, b.conv1, 2, padding="symmetric")).max() > 0.1


@pytest.mark.parametrize("size", [1, 2])
def test_symmetric_padding_reaches_over_inputs_smaller_than_the_kernel(size):
    x = RNG.normal(size=(2, size, size, 4))
    b = built(ks.ResidualBlock(5, strides=2, padding="symmetric", normalization=None), x)
    branch = conv(relu(conv(x, b.conv1, 2, padding="symmetric")), b.conv2)
    check(b, x, relu(conv(x, b.projection, 2) + branch))


def test_causal_dilated_sequence_block_sees_no_later_step():
    x = data(1)
    b = built(ks.ResidualBlock(4, padding="causal", dilation_rate=2, normalization=None, use_bias=True), x)
    branch = conv(relu(conv(x, b.conv1, dilation=2, padding="causal")), b.conv2, dilation=2, padding="causal")
    check(b, x, relu(x + branch))
    later = x.copy()
    later[:, 4:] += 1.0
    y, changed = (ops.convert_to_numpy(b(a.astype("float32"))) for a in (x, later))
    np.testing.assert_allclose(y[:, :4], changed[:, :4], rtol=1e-6, atol=1e-6)
    assert np.abs(y[:, 4:] - changed[:, 4:]).max(axis=(0, 2)).min() > 0


@pytest.mark.parametrize("position", ["first", "middle"])
def test_bottleneck_puts_its_stride_where_it_says(position):
    x = data(2)
    b = built(ks.BottleneckBlock(8, strides=2, ratio=2, stride_position=position, use_bias=(True, False, True)), x)
    first, middle = (2, 1) if position == "first" else (1, 2)
    assert b.conv1.kernel.shape == (1, 1, 4, 4) and b.conv2.kernel.shape == (3, 3, 4, 4)
    assert b.conv2.bias is None and b.conv3.bias is not None and b.projection.bias is not None
    u = relu(norm(conv(x, b.conv1, first), b.norm1))
    u = relu(norm(conv(u, b.conv2, middle), b.norm2))
    branch = norm(conv(u, b.conv3), b.norm3)
    check(b, x, relu(norm(conv(x, b.projection, 2), b.projection_norm) + branch))


@pytest.mark.parametrize("cls", [ks.PreActivationBlock, ks.WideBlock])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_preactivation_shares_its_first_activation_where_the_shape_changes(cls, rank):
    strides = 2 if rank else 1
    x = data(rank)
    b = built(cls(5, strides=strides), x)
    a = relu(norm(x, b.norm1))
    branch = conv(relu(norm(conv(a, b.conv1, strides), b.norm2)), b.conv2)
    check(b, x, conv(a, b.projection, strides) + branch)
    assert b.projection_norm is None


@pytest.mark.parametrize("share", ["auto", True])
def test_preactivation_identity_carries_the_raw_input_unless_told(share):
    x = data(2)
    b = built(ks.PreActivationBlock(4, preactivate_shortcut=share), x)
    a = relu(norm(x, b.norm1))
    branch = conv(relu(norm(conv(a, b.conv1), b.norm2)), b.conv2)
    check(b, x, (a if share is True else x) + branch)


def test_preactivation_bottleneck():
    x = data(2)
    b = built(ks.PreActivationBottleneckBlock(8, strides=2, ratio=4), x)
    a = relu(norm(x, b.norm1))
    u = conv(relu(norm(conv(a, b.conv1), b.norm2)), b.conv2, 2)
    check(b, x, conv(a, b.projection, 2) + conv(relu(norm(u, b.norm3)), b.conv3))


def test_a_highway_block_of_vectors_has_no_kernel_size():
    with pytest.raises(ValueError, match="kernel_size"):
        ks.HighwayBlock(kernel_size=3).build((2, 4))


@pytest.mark.parametrize(
    ("rank", "carry", "kernel_size"),
    [
        (0, "learned", 1),
        (0, "coupled", 1),
        (1, "learned", 3),
        (1, "coupled", 1),
        (2, "learned", 3),
        (2, "coupled", 3),
        (3, "learned", 3),
        (3, "coupled", 1),
    ],
)
def test_highway(rank, carry, kernel_size):
    x = data(rank)
    b = built(ks.HighwayBlock(kernel_size=kernel_size, carry=carry, activation="tanh"), x)
    h = np.tanh(conv(x, b.conv1))
    t = sigmoid(conv(x, b.transform_gate))
    c = 1 - t if carry == "coupled" else sigmoid(conv(x, b.carry_gate))
    check(b, x, t * h + c * x)
    for gate, expected in zip(b.gates(x), (t, c), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(gate), expected, rtol=1e-4, atol=1e-5)


def test_highway_gates_start_at_the_biases_of_the_literature():
    b = ks.HighwayBlock()
    transform, carry = (ops.convert_to_numpy(gate) for gate in b.gates(np.zeros((1, 8))))
    np.testing.assert_allclose(transform, sigmoid(-2.0), rtol=1e-5)
    np.testing.assert_allclose(carry, sigmoid(2.0), rtol=1e-5)
    given = ks.HighwayBlock(transform_bias=-1, carry_bias=3)
    transform, carry = (ops.convert_to_numpy(gate) for gate in given.gates(np.zeros((1, 5, 8))))
    np.testing.assert_allclose(transform, sigmoid(-1.0), rtol=1e-5)
    np.testing.assert_allclose(carry, sigmoid(3.0), rtol=1e-5)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("bottleneck", [True, False])
def test_dense_block_concatenates_every_layer(rank, bottleneck):
    x = data(rank)
    b = built(ks.DenseBlock(3, 2, bottleneck=bottleneck), x)
    y = x
    for layer in (b.layer1, b.layer2, b.layer3):
        u = conv(relu(norm(y, layer.norm1)), layer.conv1)
        if bottleneck:
            assert u.shape[-1] == 8
            u = conv(relu(norm(u, layer.norm2)), layer.conv2)
        y = np.concatenate([y, u], axis=-1)
    check(b, x, y)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_transition_compresses_and_pools(rank):
    x = data(rank, channels=5)
    b = built(ks.TransitionBlock(0.5), x)
    y = conv(relu(norm(x, b.norm1)), b.conv1)
    assert y.shape[-1] == 2
    for axis in range(1, rank + 1):
        even = np.take(y, range(y.shape[axis] // 2 * 2), axis=axis)
        y = (
            np.take(even, range(0, even.shape[axis], 2), axis=axis)
            + np.take(even, range(1, even.shape[axis], 2), axis=axis)
        ) / 2
    check(b, x, y)


def test_transition_returns_its_normalised_input_as_a_skip():
    x = data(2, channels=5).astype("float32")
    b = built(ks.TransitionBlock(0.5, return_skip=True), x)
    alone = built(ks.TransitionBlock(0.5), x)
    alone.set_weights(b.get_weights())
    pooled, skip = map(ops.convert_to_numpy, b(x))
    np.testing.assert_array_equal(pooled, ops.convert_to_numpy(alone(x)))
    np.testing.assert_allclose(skip, relu(norm(x, b.norm1)), rtol=1e-4, atol=1e-4)
    assert b.compute_output_shape(x.shape) == (pooled.shape, skip.shape)
    assert ks.TransitionBlock.from_config(b.get_config()).return_skip


def test_zero_gamma_starts_every_block_as_its_shortcut():
    x = data(2).astype("float32")
    for cls in (ks.PreActivationBlock, ks.PreActivationBottleneckBlock):
        np.testing.assert_array_equal(ops.convert_to_numpy(cls(4, zero_init_gamma=True)(x)), x)
    for cls in (ks.ResidualBlock, ks.BottleneckBlock):
        np.testing.assert_array_equal(ops.convert_to_numpy(cls(4, zero_init_gamma=True)(x)), relu(x))
    grouped = ks.ResidualBlock(4, zero_init_gamma=True, normalization=keras.layers.GroupNormalization(2))
    np.testing.assert_array_equal(ops.convert_to_numpy(grouped(x)), relu(x))


def test_batch_statistics_move_as_the_momentum_says():
    x = data(2)
    b = ks.ResidualBlock(4, norm_momentum=0.9, norm_epsilon=1e-5)
    b.build(x.shape)
    u = conv(x, b.conv1)
    b(x.astype("float32"), training=True)
    assert b.norm1.epsilon == 1e-5
    np.testing.assert_allclose(ops.convert_to_numpy(b.norm1.moving_mean), 0.1 * u.mean((0, 1, 2)), rtol=1e-3, atol=1e-5)
