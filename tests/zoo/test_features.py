"""Feature maps: what `zoo.build(name, features_only=True)` gives to a decoder."""

import keras
import numpy as np
import pytest

import zoo
from tests.sweep import sweep

CIFAR, MNIST, IMAGENET = (16, 16, 3), (28, 28, 1), (64, 64, 3)
STAGES_OF_TWO = ["stage1_block1", "stage2_block1"]
STEM = "stem_activation"
# Each builder at a small depth, or with few blocks: arguments, input, the layers whose outputs are the maps, their
# channels.
PYRAMIDS = {
    "resnet20": ({"depth": 14}, CIFAR, ["stage1_block2", "stage2_block2", "stage3_block2"], [16, 32, 64]),
    "plain20": (
        {"depth": 8},
        CIFAR,
        [f"stage{stage}_block1_2_activation" for stage in (1, 2, 3)],
        [16, 32, 64],
    ),
    "stochastic_resnet110": ({"depth": 8}, CIFAR, [*STAGES_OF_TWO, "stage3_block1"], [16, 32, 64]),
    "preact_resnet110": ({"depth": 8}, CIFAR, [*STAGES_OF_TWO, "last_activation"], [16, 32, 64]),
    "preact_resnet164": ({"depth": 11}, CIFAR, [*STAGES_OF_TWO, "last_activation"], [64, 128, 256]),
    "wrn_16_2": ({"depth": 10}, CIFAR, [*STAGES_OF_TWO, "last_activation"], [32, 64, 128]),
    "densenet_40_12": ({"depth": 7}, CIFAR, ["block1", "block2", "last_activation"], [28, 40, 52]),
    "densenet_bc_100_12": ({"depth": 10}, CIFAR, ["block1", "block2", "last_activation"], [36, 30, 27]),
    "highway11": ({"dropout": 0.2}, CIFAR, ["stage1_block2", "stage2_block2", "hidden"], [16, 32, 250]),
    "highway19_carry": ({}, CIFAR, ["stage1_block4", "stage2_block5", "hidden"], [32, 80, 100]),
    "highway_mnist_16": ({}, MNIST, ["stage1_block2", "stage2_block3", "stage3_block3"], [16, 16, 16]),
    "resnet18": ({}, IMAGENET, [STEM, *(f"stage{stage}_block2" for stage in (1, 2, 3, 4))], [64, 64, 128, 256, 512]),
    "resnet50": (
        {},
        IMAGENET,
        [STEM, *(f"stage{stage}_block2" for stage in (1, 2, 3, 4))],
        [64, 256, 512, 1024, 2048],
    ),
    # A deep stem, and a convolution that takes the place of its pooling.
    "resnetrs50": (
        {"depth": 14},
        IMAGENET,
        [STEM, *(f"stage{stage}_block1" for stage in (1, 2, 3, 4))],
        [64, 256, 512, 1024, 2048],
    ),
    "resnet50_keras": (
        {},
        IMAGENET,
        [STEM, *(f"stage{stage}_block2" for stage in (1, 2, 3, 4))],
        [64, 256, 512, 1024, 2048],
    ),
    # The last block of a stage halves the size, so a map is what that block sees.
    "resnet50_v2": (
        {},
        IMAGENET,
        ["stem_conv", *(f"stage{stage}_block1" for stage in (1, 2, 3)), "last_activation"],
        [64, 256, 512, 1024, 2048],
    ),
    "densenet121": (
        {},
        IMAGENET,
        [STEM, "block1", "block2", "block3", "last_activation"],
        [64, 96, 112, 88, 76],
    ),
}


def shapes(features):
    return {level: x.shape for level, x in features.output.items()}


def levels(shape):
    return [f"C{level}" for level in (range(1, 6) if shape == IMAGENET else range(3))]


# One of each family.
IN_SHORT = ("resnet20", "plain20", "preact_resnet110", "wrn_16_2", "densenet_bc_100_12", "highway19_carry")
IN_SHORT += ("highway_mnist_16", "resnet18", "resnetrs50", "resnet50_v2", "densenet121")


@pytest.mark.usefixtures("few_blocks")
@pytest.mark.parametrize("name", sweep(PYRAMIDS, IN_SHORT))
def test_maps_are_the_inner_tensors_of_the_whole_network(name):
    arguments, shape, layers, channels = PYRAMIDS[name]
    whole = zoo.build(name, shape, **arguments)
    features = zoo.build(name, shape, features_only=True, **arguments)
    assert features.name == f"{whole.name}_features"

    theirs = {v.path: v for v in whole.weights}
    paths = [v.path for v in features.weights]
    assert paths == [path for path in theirs if not path.startswith("head/")]
    for variable in features.weights:
        variable.assign(theirs[variable.path])

    stem = 24 if shape == MNIST else shape[0]
    sizes = [stem // 2 ** int(level[1:]) for level in levels(shape)]
    assert shapes(features) == {
        level: (None, size, size, count) for level, size, count in zip(levels(shape), sizes, channels, strict=True)
    }
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    inner = keras.Model(whole.input, [whole.get_layer(layer).output for layer in layers])
    for level, expected in zip(levels(shape), inner(images, training=False), strict=True):
        received = features(images, training=False)[level]
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (received, expected)))


@pytest.mark.usefixtures("few_blocks")
@pytest.mark.parametrize("name", ["resnet20", "densenet_40_12", "highway11", "resnet18", "resnet50_v2", "densenet121"])
def test_maps_of_any_size_grey_or_colour(name):
    features = zoo.build(name, (None, None, 1), features_only=True)
    maps = features(np.zeros((1, 64, 96, 1), "float32"))
    assert list(maps) == list(features.output)
    strides = [2 ** int(level[1:]) for level in maps]
    assert [x.shape[1:3] for x in maps.values()] == [(64 // stride, 96 // stride) for stride in strides]


@pytest.mark.usefixtures("few_blocks")
@pytest.mark.parametrize("name", ["wrn_16_2", "highway_mnist_16", "resnet18", "densenet121"])
def test_channels_may_come_first(name):
    last = zoo.build(name, features_only=True)
    keras.config.set_image_data_format("channels_first")
    try:
        first = zoo.build(name, features_only=True)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [(v.path, v.shape) for v in first.weights] == [(v.path, v.shape) for v in last.weights]
    assert shapes(first) == {level: (None, channels, *sides) for level, (_, *sides, channels) in shapes(last).items()}


def test_decoder_on_the_maps_learns_a_step():
    backbone = zoo.build("resnet18", input_shape=(None, None, 3), features_only=True)
    x = keras.layers.Conv2D(8, 1, name="top")(backbone.output["C5"])
    for level in ("C4", "C3", "C2"):
        lateral = keras.layers.Conv2D(8, 1, name=f"lateral_{level}")(backbone.output[level])
        x = keras.layers.UpSampling2D()(x) + lateral
    model = keras.Model(backbone.input, keras.layers.Conv2D(3, 1, name="classes")(x))
    before = {v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_variables}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False, run_eagerly=True)
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(2, 64, 96, 3)).astype("float32"), rng.integers(0, 3, (2, 16, 24))
    assert np.isfinite(model.train_on_batch(images, labels))
    assert all(not np.array_equal(v.numpy(), before[v.path]) for v in model.trainable_variables)
    assert model.predict_on_batch(images).shape == (2, 16, 24, 3)


def test_maps_survive_saving(tmp_path):
    features = zoo.build("wrn_16_2", (8, 8, 3), features_only=True, depth=10)
    features.save(tmp_path / "features.keras")
    images = np.ones((1, 8, 8, 3), "float32")
    loaded = keras.saving.load_model(tmp_path / "features.keras")(images)
    for level, expected in features(images).items():
        np.testing.assert_array_equal(loaded[level], expected)


@pytest.mark.parametrize("name", zoo.list_models("*_mlp"))
def test_perceptrons_have_no_maps(name):
    with pytest.raises(ValueError, match=f"Expected a network with feature maps .* Received: '{name}'"):
        zoo.build(name, features_only=True)
