"""The equations of the options that blocks share: groups, widths, down-sampling, activations that learn."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from keras_skip._parts.pool import AveragePool
from tests.layers.test_equations import RNG, built, check, conv, data, norm, relu


def grouped(x, layer, groups, strides=1):
    """A convolution of each group of the channels by itself."""
    kernel = ops.convert_to_numpy(layer.kernel)
    assert kernel.shape[-2] == x.shape[-1] // groups
    parts = zip(np.split(x, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True)
    return np.concatenate([conv(x, SimpleNamespace(kernel=k, bias=None), strides) for x, k in parts], axis=-1)


def average(x, strides):
    """The mean over windows of the strides; those at the far edge may be smaller."""
    for axis, step in enumerate(strides, 1):
        parts = np.split(x, range(step, x.shape[axis], step), axis=axis)
        x = np.concatenate([part.mean(axis, keepdims=True) for part in parts], axis=axis)
    return x


def blur(x, strides):
    """The binomial filter as one sum over the places of its kernel."""
    rank = x.ndim - 2
    wide = x
    for axis in range(1, rank + 1):
        pads = [(1, 1) if each == axis else (0, 0) for each in range(x.ndim)]
        wide = np.pad(wide, pads, mode="reflect" if x.shape[axis] > 1 else "edge")
    y = np.zeros_like(x)
    for place in itertools.product(range(3), repeat=rank):
        window = tuple(slice(p, p + size) for p, size in zip(place, x.shape[1:-1], strict=True))
        y += wide[(slice(None), *window)] * np.prod([(0.25, 0.5, 0.25)[p] for p in place])
    return y[(slice(None), *(slice(None, None, step) for step in strides))]


RANKS = pytest.mark.parametrize(
    "rank", [pytest.param(1, marks=pytest.mark.once), 2, pytest.param(3, marks=pytest.mark.once)]
)


@RANKS
def test_groups_divide_the_channels_of_the_convolutions_but_not_of_the_projection(rank):
    x = data(rank)
    b = built(ks.ResidualBlock(6, strides=2, groups=2), x)
    branch = norm(grouped(relu(norm(grouped(x, b.conv1, 2, 2), b.norm1)), b.conv2, 2), b.norm2)
    check(b, x, relu(norm(conv(x, b.projection, 2), b.projection_norm) + branch))


def test_groups_leave_convolutions_of_size_one_and_gates_whole():
    x = data(2)
    b = built(ks.DenseBlock(1, 2, groups=2, normalization=None), x)
    layer = b.layer1
    check(b, x, np.concatenate([x, grouped(relu(conv(relu(x), layer.conv1)), layer.conv2, 2)], axis=-1))
    b = built(ks.HighwayBlock(kernel_size=3, groups=4, use_bias=False), x)
    t, c = (ops.convert_to_numpy(gate) for gate in b.gates(x))
    check(b, x, t * relu(grouped(x, b.conv1, 4)) + c * x)
    assert b.transform_gate.kernel.shape == b.carry_gate.kernel.shape == (3, 3, 4, 4)


def test_groups_learn_the_same_in_a_branch_that_can_be_dropped_and_is_computed_again():
    x, weights = RNG.normal(size=(4, 5, 5, 4)).astype("float32"), []
    for options in ({}, {"survival_prob": 1.0 - 1e-7, "recompute": True}):
        block = ks.ResidualBlock(4, groups=2, kernel_initializer=keras.initializers.HeNormal(seed=1), **options)
        model = keras.Sequential([keras.Input(x.shape[1:]), block])
        model.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=keras.backend.backend() == "jax")
        start = ops.convert_to_numpy(block.conv1.kernel)
        model.train_on_batch(x, np.ones_like(x))
        weights.append([ops.convert_to_numpy(layer.kernel) for layer in (block.conv1, block.conv2)])
        assert np.all(weights[-1][0] != start)
    for received, expected in zip(*weights, strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


def test_a_bottleneck_is_as_wide_as_it_says_and_its_middle_is_grouped():
    x = data(2)
    b = built(ks.BottleneckBlock(10, width=6, groups=3, normalization=None), x)
    assert b.conv1.kernel.shape == (1, 1, 4, 6) and b.conv2.kernel.shape == (3, 3, 2, 6)
    u = relu(grouped(relu(conv(x, b.conv1)), b.conv2, 3))
    check(b, x, relu(conv(x, b.projection) + conv(u, b.conv3)))
    assert ks.BottleneckBlock(256).get_config()["width"] is None


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((2, 7, 4), "projection"),
        pytest.param((2, 6, 4), "pad", marks=pytest.mark.once),
        ((2, 7, 6, 4), "pad"),
        pytest.param((2, 5, 3, 4, 4), "projection", marks=pytest.mark.once),
    ],
)
def test_pool_averages_in_the_shortcut_and_strides_in_the_branch(shape, kind):
    x = RNG.normal(size=shape)
    b = built(ks.ResidualBlock(5, strides=2, downsample="pool", shortcut=kind), x)
    branch = norm(conv(relu(norm(conv(x, b.conv1, 2), b.norm1)), b.conv2), b.norm2)
    skip = average(x, (2,) * (x.ndim - 2))
    if kind == "pad":
        skip = np.concatenate([skip, np.zeros((*skip.shape[:-1], 1))], axis=-1)
    else:
        skip = norm(conv(skip, b.projection), b.projection_norm)
    check(b, x, relu(skip + branch))


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((2, 6, 4), (1,)),
        ((2, 7, 4), (2,)),
        ((2, 7, 6, 4), (3, 1)),
        ((2, 1, 2, 4), (2, 2)),
        ((2, 5, 3, 4, 4), (2, 2, 2)),
    ],
)
def test_blur_is_a_binomial_filter_with_reflected_edges(shape, strides):
    x = RNG.normal(size=shape)
    check(ks.BlurPool(strides), x, blur(x, strides))


@RANKS
def test_blur_follows_the_activation_after_the_strided_convolution(rank):
    x, strides = data(rank), (2,) * rank
    b = built(ks.ResidualBlock(5, strides=2, downsample="blur"), x)
    branch = norm(conv(blur(relu(norm(conv(x, b.conv1), b.norm1)), strides), b.conv2), b.norm2)
    check(b, x, relu(norm(conv(blur(x, strides), b.projection), b.projection_norm) + branch))
    b = built(ks.PreActivationBlock(5, strides=2, downsample="blur"), x)
    a = relu(norm(x, b.norm1))
    branch = conv(blur(relu(norm(conv(a, b.conv1), b.norm2)), strides), b.conv2)
    check(b, x, conv(blur(a, strides), b.projection) + branch)


@pytest.mark.parametrize("position", ["first", "middle"])
def test_blur_in_a_bottleneck_is_where_its_stride_would_be(position):
    x = data(2)
    b = built(ks.BottleneckBlock(8, strides=(2, 1), stride_position=position, downsample="blur", shortcut="pad"), x)
    u, strides = relu(norm(conv(x, b.conv1), b.norm1)), (2, 1)
    u = blur(u, strides) if position == "first" else u
    u = relu(norm(conv(u, b.conv2), b.norm2))
    u = u if position == "first" else blur(u, strides)
    skip = np.concatenate([blur(x, strides), np.zeros((2, 4, 6, 4))], axis=-1)
    check(b, x, relu(skip + norm(conv(u, b.conv3), b.norm3)))


@pytest.mark.once
def test_blocks_without_strides_do_not_down_sample():
    for kind in ("pool", "blur"):
        block = ks.ResidualBlock(8, downsample=kind)
        block.build((None, 7, 7, 4))
        assert not hasattr(block, "shortcut_pool") and not hasattr(block, "blur")
        ks.ResidualBlock(8, downsample=kind).build((None, 4))


@pytest.mark.parametrize(("layer", "equation"), [(ks.BlurPool(), blur), (AveragePool(), average)], ids=["blur", "pool"])
def test_masked_steps_are_like_those_beyond_the_edge_and_the_mask_is_strided(layer, equation):
    x = RNG.normal(size=(3, 7, 2))
    lengths = (7, 4, 1)
    mask = np.arange(7) < np.array(lengths)[:, None]
    y = ops.convert_to_numpy(layer(x, mask=mask))
    assert np.isfinite(y).all()
    for row, length in enumerate(lengths):
        expected = equation(x[row : row + 1, :length], (2,))
        np.testing.assert_allclose(y[row, : expected.shape[1]], expected[0], rtol=1e-5, atol=1e-6)
    passed_on = ops.convert_to_numpy(layer.compute_mask(ops.convert_to_tensor(x), ops.convert_to_tensor(mask)))
    np.testing.assert_array_equal(passed_on.sum(1), [4, 2, 1])


def prelu(x, layer):
    return np.where(x > 0, x, x * ops.convert_to_numpy(layer.alpha))


def test_every_use_of_a_learned_activation_learns_for_itself():
    x = data(2)
    activation = keras.layers.PReLU(shared_axes=[1, 2])
    b = built(ks.ResidualBlock(5, activation=activation, dropout=0.1), x)
    u = prelu(norm(conv(x, b.conv1), b.norm1), b.activation1)
    skip = norm(conv(x, b.projection), b.projection_norm)
    check(b, x, prelu(skip + norm(conv(u, b.conv2), b.norm2), b.activation_after_sum))
    alphas = [ops.convert_to_numpy(layer.alpha) for layer in (b.activation1, b.activation_after_sum)]
    assert np.any(alphas[0] != alphas[1])
    b = built(ks.PreActivationBlock(4, activation=activation), x)
    u = conv(prelu(norm(x, b.norm1), b.activation1), b.conv1)
    check(b, x, x + conv(prelu(norm(u, b.norm2), b.activation2), b.conv2))
    assert not hasattr(b, "activation_after_sum")
    b = built(ks.HighwayBlock(carry="coupled", activation=activation), x)
    t, _ = (ops.convert_to_numpy(gate) for gate in b.gates(x))
    check(b, x, t * prelu(conv(x, b.conv1), b.activation1) + (1 - t) * x)


@pytest.mark.once
def test_a_learned_activation_needs_no_registration_and_comes_back_from_the_config():
    class Slope(keras.layers.PReLU):
        pass

    dense = ks.DenseBlock(2, 3, activation=Slope(shared_axes=[1]))
    transition = ks.TransitionBlock(activation=Slope(alpha_initializer="ones"))
    for block in (dense, transition):
        block.build((None, 6, 4))
    names = [layer.name for layer in dense._flatten_layers() if type(layer) is Slope]
    assert sorted(names) == ["activation1", "activation1", "activation2", "activation2"]
    assert type(transition.activation1) is Slope
    with keras.saving.custom_object_scope({"Slope": Slope}):
        again = ks.DenseBlock.from_config(dense.get_config())
    assert again.get_config() == dense.get_config()
    again.build((None, 6, 4))
    assert [w.path for w in again.weights] == [w.path for w in dense.weights]


@pytest.mark.once
def test_activation_functions_are_not_sub_layers():
    block = ks.ResidualBlock(4, activation="silu")
    block.build((None, 4))
    assert [layer.name for layer in block._flatten_layers()][1:] == ["conv1", "norm1", "conv2", "norm2"]
    assert block.activation is keras.activations.silu and block.get_config()["activation"] == "silu"


@pytest.mark.parametrize("probability", [1.0 - 1e-6, 1e-6])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_activation_after_the_sum_learns_whether_or_not_the_branch_is_dropped(recompute, probability):
    x = RNG.normal(size=(8, 4)).astype("float32")
    block = ks.ResidualBlock(
        4, activation=keras.layers.PReLU(), survival_prob=probability, recompute=recompute, scale="inference"
    )
    model = keras.Sequential([keras.Input((4,)), block])
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=keras.backend.backend() == "jax")
    assert [layer.name for layer in block._branch.layers].count("activation1") == 1
    model.train_on_batch(x, np.ones((8, 4)))
    alphas = [ops.convert_to_numpy(layer.alpha) for layer in (block.activation_after_sum, block.activation1)]
    moved = [bool(np.any(alpha != 0)) for alpha in alphas]
    assert moved == [True, probability > 0.5]


def test_a_projection_has_a_bias_of_its_own():
    x = data(2)
    b = built(ks.ResidualBlock(5, use_bias=(False, False, True)), x)
    assert (b.conv1.use_bias, b.conv2.use_bias, b.projection.use_bias) == (False, False, True)
    branch = norm(conv(relu(norm(conv(x, b.conv1), b.norm1)), b.conv2), b.norm2)
    check(b, x, relu(norm(conv(x, b.projection), b.projection_norm) + branch))
