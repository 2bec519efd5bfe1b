"""The networks of equal blocks with each kind of skip: sizes, starts, shapes, errors."""

import math
from itertools import product

import keras
import numpy as np
import pytest

import zoo
from tests.sweep import sweep
from zoo.networks.counting import count
from zoo.networks.small_images.stacks import stack_convnet, stack_encoder, stack_mlp

KINDS = {
    "None": {"skip": None},
    "residual": {"skip": "residual"},
    "highway": {"skip": "highway"},
    "birkhoff": {"skip": "hyper", "constraint": "birkhoff", "streams": 3},
    "sinkhorn": {"skip": "hyper", "constraint": "sinkhorn", "streams": 3},
    "free": {"skip": "hyper", "constraint": None, "streams": 3},
    "depth_average": {"skip": "depth_average"},
    "depth_attention": {"skip": "depth_attention"},
}
BUILDERS = {
    "encoder": (stack_encoder, {"depth": 2, "width": 8, "heads": 2}),
    "convnet": (stack_convnet, {"depth": 2, "width": 4}),
    "mlp": (stack_mlp, {"depth": 3, "width": 8}),
}
each_builder = pytest.mark.parametrize("network", BUILDERS)
# Every kind in the smallest network, and in the others the two that differ most.
each = pytest.mark.parametrize(
    "case",
    sweep(product(BUILDERS, KINDS), lambda pair: pair[0] == "mlp" or pair[1] in ("birkhoff", "depth_attention")),
    ids=" ".join,
)


def make(network, kind="residual", input_shape=(6, 4, 3), **arguments):
    builder, small = BUILDERS[network]
    return builder(input_shape, **{"classes": 5, **small, **KINDS[kind], **arguments})


def parameters(network):
    """Trainable ones of the residual network, layer by layer, and channels and number of the blocks of each stack."""
    if network == "encoder":
        attention, dense, norms = 4 * (8 * 8 + 8), 8 * 32 + 32 + 32 * 8 + 8, 4 * 8
        return 12 * 8 + 6 * 8 + 2 * (attention + dense + norms) + 2 * 8 + 8 * 5 + 5, [(8, 4)]
    if network == "convnet":
        stages = ((3, 4), (4, 8), (8, 16))
        blocks = sum(9 * before * width + 2 * (2 * 9 * width**2 + 4 * width) for before, width in stages)
        return blocks + 2 * 16 + 16 * 5 + 5, [(4, 2), (8, 2), (16, 2)]
    return 72 * 8 + 8 + 3 * (2 * (8 * 8 + 8) + 2 * 8) + 2 * 8 + 8 * 5 + 5, [(8, 3)]


MAPS = ("birkhoff", "sinkhorn", "free")
MORE = {
    "None": lambda channels, blocks: 0,
    "residual": lambda channels, blocks: 0,
    "highway": lambda channels, blocks: blocks * 2 * (channels**2 + channels),
    # A map of all streams to n + n + n! logits, their biases, and three scales.
    "birkhoff": lambda channels, blocks: blocks * ((3 * channels + 1) * (3 + 3 + math.factorial(3)) + 3),
    "sinkhorn": lambda channels, blocks: blocks * ((3 * channels + 1) * (3 + 3 + 9) + 3),
    # A map of each stream to 1 + 1 + n, and biases for each of them.
    "free": lambda channels, blocks: blocks * ((channels + 3) * (1 + 1 + 3) + 3),
    "depth_average": lambda channels, blocks: sum(block + 1 for block in range(1, blocks + 1)),
    "depth_attention": lambda channels, blocks: blocks * channels,
}


@each
def test_a_network_has_the_blocks_of_the_residual_one_and_the_weights_of_its_skips(case):
    network, kind = case
    residual, stacks = parameters(network)
    found = count(make(network, kind).trainable_variables)
    assert found == residual + sum(MORE[kind](channels, blocks) for channels, blocks in stacks)


@each_builder
@pytest.mark.parametrize("kind", ["birkhoff", "sinkhorn", "free", "depth_average", "depth_attention"])
def test_learned_skips_start_as_the_residual_network(network, kind):
    residual, learned = make(network), make(network, kind)
    by_path = {weight.path: weight for weight in learned.weights}
    for weight in residual.weights:
        by_path[weight.path].assign(weight)
    images = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype("float32")
    np.testing.assert_allclose(learned(images), residual(images), rtol=1e-4, atol=1e-4)


@each_builder
def test_without_skips_the_same_layers_follow_each_other(network):
    residual, plain = make(network), make(network, "None")
    plain.set_weights(residual.get_weights())
    images = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype("float32")
    assert np.abs(plain(images) - residual(images)).max() > 0.01


@each
def test_weights_are_found_by_their_names_and_channels_may_come_first(case):
    network, kind = case
    first, again = make(network, kind), make(network, kind)
    keras.config.set_image_data_format("channels_first")
    try:
        turned = make(network, kind, (3, 6, 4))
    finally:
        keras.config.set_image_data_format("channels_last")
    paths = [(weight.path, weight.shape) for weight in first.weights]
    assert len({path for path, _ in paths}) == len(paths)
    for other in (again, turned):
        assert [(weight.path, weight.shape) for weight in other.weights] == paths


@each
def test_a_step_of_training_moves_the_blocks_and_their_skips(case):
    network, kind = case
    keras.utils.set_random_seed(0)
    model = make(network, kind, weight_decay=1e-4)
    before = [weight.numpy() for weight in model.trainable_variables]
    images = np.random.default_rng(0).normal(size=(4, 6, 4, 3)).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    assert np.isfinite(model.train_on_batch(images, np.array([0, 1, 2, 0])))
    still = [
        weight.path
        for weight, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(weight.numpy(), old)
    ]
    # The bias of keys never matters, and the scale of a map that is still 0 moves later.
    assert all(path.endswith("key/bias") or (kind in MAPS and path.endswith("alpha")) for path in still), still


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("patch_size", [None, 2])
def test_the_encoder_cuts_images_into_rows_or_patches(patch_size, channels_first):
    image = np.arange(4 * 6 * 2).reshape(4, 6, 2).astype("float32")
    if patch_size is None:
        expected = image.reshape(4, 12)
    else:
        corners = [(row, column) for row in (0, 2) for column in (0, 2, 4)]
        expected = np.stack([image[row : row + 2, column : column + 2].ravel() for row, column in corners])
    if channels_first:
        image = np.moveaxis(image, -1, 0)
        keras.config.set_image_data_format("channels_first")
    try:
        model = stack_encoder(image.shape, depth=1, width=8, patch_size=patch_size)
    finally:
        keras.config.set_image_data_format("channels_last")
    steps = keras.Model(model.input, model.get_layer("patches_steps").output)
    np.testing.assert_array_equal(steps(image[None])[0], expected)


def test_steps_know_their_positions():
    model = make("encoder")
    images = np.random.default_rng(0).normal(size=(1, 6, 4, 3)).astype("float32")
    assert np.abs(model(images) - model(images[:, ::-1])).max() > 1e-5


def test_the_convolutional_network_takes_any_size_and_gives_its_maps():
    model = make("convnet", input_shape=(None, None, 3), features_only=True)
    maps = model(np.zeros((1, 9, 6, 3), "float32"))
    assert {name: value.shape for name, value in maps.items()} == {
        "C0": (1, 9, 6, 4),
        "C1": (1, 5, 3, 8),
        "C2": (1, 3, 2, 16),
    }
    with pytest.raises(ValueError, match="Expected a network with feature maps"):
        zoo.build("stack_encoder", features_only=True)


@pytest.mark.parametrize(
    ("network", "arguments", "named"),
    [
        ("encoder", {"depth": 0}, "depth=0"),
        ("encoder", {"heads": 3}, "heads=3"),
        ("encoder", {"patch_size": 4}, "patch_size=4"),
        ("encoder", {"patch_size": 0}, "patch_size=0"),
        ("encoder", {"input_shape": (None, 4, 3)}, "input_shape="),
        ("encoder", {"skip": "dense"}, "skip='dense'"),
        ("convnet", {"depth": 0}, "depth=0"),
        ("convnet", {"width": 0}, "width=0"),
        ("convnet", {"skip": "hyper", "constraint": "free"}, "constraint='free'"),
        ("mlp", {"width": 0}, "width=0"),
        ("mlp", {"depth": 0}, "depth=0"),
        ("mlp", {"input_shape": (None, 4, 3)}, "input_shape="),
        ("mlp", {"skip": "hyper", "streams": 1}, "streams=1"),
    ],
)
def test_arguments_out_of_range_are_refused(network, arguments, named):
    with pytest.raises(ValueError, match=f"Expected .* Received: .*{named}"):
        make(network, **arguments)
