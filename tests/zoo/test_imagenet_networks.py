"""The networks for ImageNet: parameters, sizes, names, and a step of training."""

import functools

import keras
import numpy as np
import pytest

from tests.sweep import sweep
from tests.zoo.small_inputs import few_blocks
from zoo.networks.catalogue import MODELS
from zoo.networks.counting import count
from zoo.networks.imagenet.applications import applications_resnet, applications_resnet_v2
from zoo.networks.imagenet.densenet import imagenet_densenet
from zoo.networks.imagenet.resnet import imagenet_resnet
from zoo.training.learner import precision

SHAPE = (64, 64, 3)
BUILDERS = [imagenet_resnet, applications_resnet, applications_resnet_v2, imagenet_densenet]


@pytest.fixture(scope="module", autouse=True)
def _few_blocks():
    with few_blocks():
        yield


@functools.cache
def built(builder):
    """A network that several tests look at."""
    return builder(SHAPE, classes=3)


PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "resnet50_keras": 25_583_592,
    "resnet50_v2": 25_568_360,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
    "convnext_base": 88_591_464,
}
# As timm 1.0 counts them.
TIMM = {
    "resnext101_32x4d": 44_177_704,
    "seresnet18": 11_779_624,
    "seresnet34": 21_960_416,
    "seresnet50": 28_088_024,
    "seresnet101": 49_326_872,
    "seresnet152": 66_821_848,
    "seresnext50_32x4d": 27_559_896,
    "seresnext101_32x4d": 48_955_416,
    "seresnext101_32x8d": 93_569_048,
    "resnet18d": 11_708_744,
    "resnet26d": 16_014_408,
    "resnet34d": 21_816_904,
    "resnet50d": 25_576_264,
    "resnet101d": 44_568_392,
    "resnet152d": 60_212_040,
    "resnetrs50": 35_691_912,
    "resnetrs101": 63_618_696,
    "resnetrs152": 86_621_576,
}
# Those without a published figure are counted in their originals.
ORIGINALS = {
    "resnet101_keras": "ResNet101",
    "resnet152_keras": "ResNet152",
    "resnet101_v2": "ResNet101V2",
    "resnet152_v2": "ResNet152V2",
    "densenet201": "DenseNet201",
}


def test_every_network_has_a_figure_or_an_original():
    names = {name for name, entry in MODELS.items() if entry.family.classes == 1000}
    assert names == PUBLISHED.keys() | TIMM.keys() | ORIGINALS.keys()
    assert {MODELS[name].family.input_shape for name in names} == {(224, 224, 3)}


@pytest.mark.parametrize("name", PUBLISHED | TIMM)
def test_parameters_are_the_published_ones(name):
    # These are compared with the built network in test_counting.py.
    assert MODELS[name].parameters == (PUBLISHED | TIMM)[name]


@pytest.mark.parametrize("name", sweep(ORIGINALS, lambda name: "101" in name))
def test_parameters_are_those_of_keras_applications(name):
    theirs = getattr(keras.applications, ORIGINALS[name])(weights=None)
    assert MODELS[name].parameters == count(theirs.trainable_variables)
    assert MODELS[name].non_trainable == count(theirs.non_trainable_variables)


@pytest.mark.parametrize("builder", BUILDERS)
def test_any_size_grey_or_colour(builder):
    model = builder((None, None, 1), classes=7)
    for size in ((32, 32), (45, 70)):
        assert model(np.zeros((2, *size, 1), "float32")).shape == (2, 7)
    assert builder((47, 32, 3), classes=7).output_shape == (None, 7)


@pytest.mark.parametrize("builder", BUILDERS)
def test_names_and_sizes_do_not_depend_on_what_was_built_before(builder):
    first, second = built(builder), builder(SHAPE, classes=3)
    assert [v.path for v in first.variables] == [v.path for v in second.variables]
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    prefix, suffix = ("block", "") if builder is imagenet_densenet else ("stage", "_block1")
    sizes = [first.get_layer(f"{prefix}{stage}{suffix}").output.shape[1] for stage in (1, 2, 3, 4)]
    assert sizes == [16, 8, 4, 2]
    assert first.get_layer("stem_conv").output.shape == (None, 32, 32, 64)
    assert first.layers[-1].name == "head"


@pytest.mark.parametrize("builder", BUILDERS)
def test_weight_decay_d_has_the_gradient_d_times_w(builder):
    model = builder(SHAPE, classes=10, weight_decay=0.5)
    kernels = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables if v.path.endswith("kernel")]
    expected = sum(0.25 * np.sum(kernel.astype("float64") ** 2) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("builder", BUILDERS)
def test_network_learns_a_step(builder):
    model = built(builder)
    before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Eager steps are the faster ones where only one is run.
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False, run_eagerly=True)
    images = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
    assert np.isfinite(model.train_on_batch(images, np.array([0, 2])))
    after = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    moved = {
        v.path: not np.array_equal(*values) for v, *values in zip(model.trainable_variables, before, after, strict=True)
    }
    # A bias before a normalisation has no gradient but rounding.
    assert all(moved[path] for path in moved if not path.endswith("/bias") or path == "head/bias")


@pytest.mark.parametrize("depth", [18, 50])
def test_blocks_can_start_as_their_shortcut(depth):
    last = "norm2" if depth == 18 else "norm3"
    for zero in (True, False):
        model = imagenet_resnet(SHAPE, depth=depth, zero_init_gamma=zero)
        gammas = [getattr(layer, last).gamma for layer in model.layers if "_block" in layer.name]
        gammas = np.concatenate([keras.ops.convert_to_numpy(gamma) for gamma in gammas])
        assert set(gammas) == {0.0 if zero else 1.0}


@pytest.mark.parametrize("builder", BUILDERS)
def test_logits_are_float32_in_mixed_precision(builder):
    with precision("mixed_bfloat16"):
        model = builder(SHAPE, classes=3)
    assert model.output.dtype == "float32"
    inner = [layer for layer in model.layers if layer.name not in ("image", "head")]
    assert {layer.compute_dtype for layer in inner} == {"bfloat16"}


@pytest.mark.parametrize(
    ("builder", "arguments", "named"),
    [
        (imagenet_resnet, {"depth": 20}, "depth=20"),
        (imagenet_resnet, {"depth": 50, "widening": 3}, "widening=3"),
        (imagenet_resnet, {"depth": 18, "widening": 2}, "widening=2"),
        (imagenet_resnet, {"input_shape": (31, 64, 3)}, r"input_shape=\(31, 64, 3\)"),
        (applications_resnet, {"depth": 18}, "depth=18"),
        (applications_resnet, {"input_shape": (64, 31, 3)}, r"input_shape=\(64, 31, 3\)"),
        (applications_resnet_v2, {"depth": "50"}, "depth='50'"),
        (applications_resnet_v2, {"input_shape": (64, 31, 3)}, r"input_shape=\(64, 31, 3\)"),
        (imagenet_densenet, {"depth": 264}, "depth=264"),
        (imagenet_densenet, {"growth_rate": 0}, "growth_rate=0"),
        (imagenet_densenet, {"depth": [121]}, r"depth=\[121\]"),
        (imagenet_densenet, {"input_shape": (28, 28, 1)}, r"input_shape=\(28, 28, 1\)"),
        (imagenet_densenet, {"input_shape": (224, 224)}, r"input_shape=\(224, 224\)"),
        (imagenet_densenet, {"classes": 0}, "classes=0"),
    ],
)
def test_arguments_out_of_range_are_refused(builder, arguments, named):
    with pytest.raises(ValueError, match=f"Expected .* Received: {named}"):
        builder(**arguments)
