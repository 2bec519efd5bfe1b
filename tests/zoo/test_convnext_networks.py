"""The convolutional networks in the form of a transformer: equation, siblings, names in other libraries."""

import math
import re

import keras
import numpy as np
import pytest
from keras.src.applications.convnext import BASE_WEIGHTS_PATH, WEIGHTS_HASHES, ConvNeXt

import zoo
from tests.golden import golden_weight, write
from tests.zoo.test_weights_keras import randomise, relative_difference, write_published
from zoo.networks.catalogue import MODELS
from zoo.networks.counting import count
from zoo.networks.imagenet.convnext import convnext
from zoo.training.learner import precision

SMALL = {"depths": (1, 2), "widths": (8, 16)}
SHAPE = (24, 40, 3)
IMAGES = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
# The parameters of timm's networks; those of the three that have a name are torchvision's too.
TIMM = {
    "atto": ((2, 2, 6, 2), (40, 80, 160, 320), 3_695_520),
    "femto": ((2, 2, 6, 2), (48, 96, 192, 384), 5_217_784),
    "pico": ((2, 2, 6, 2), (64, 128, 256, 512), 9_045_672),
    "nano": ((2, 2, 8, 2), (80, 160, 320, 640), 15_593_560),
}
NAMED = {"convnext_tiny": 28_589_128, "convnext_small": 50_223_688, "convnext_base": 88_591_464}


@pytest.mark.parametrize("size", TIMM)
def test_siblings_have_the_parameters_of_timm(size):
    depths, widths, parameters = TIMM[size]
    model = convnext((32, 32, 3), depths=depths, widths=widths)
    assert count(model.trainable_variables) == model.count_params() == parameters
    assert model.name == "convnext"


def test_named_networks_have_the_parameters_of_torchvision():
    assert {name: entry.parameters for name, entry in MODELS.items() if name.startswith("convnext")} == NAMED


def test_the_block_is_that_of_the_paper():
    # Of an image of 4 x 4, the map has one pixel, which the middle of the depthwise kernel weights.
    model = convnext((4, 4, 3), classes=3, depths=(1,), widths=(8,))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    held = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return held[f"{name}/gamma"] * x + held[f"{name}/beta"]

    def dense(x, name):
        return x @ held[f"{name}/kernel"].reshape(-1, held[f"{name}/bias"].size) + held[f"{name}/bias"]

    image = rng.normal(size=(5, 4, 4, 3)).astype("float32")
    x, block = norm(dense(image.reshape(5, -1), "stem_conv"), "stem_norm"), "stage1_block1"
    inner = x * held[f"{block}/conv/kernel"][3, 3, :, 0] + held[f"{block}/conv/bias"]
    inner = dense(norm(inner, f"{block}/norm"), f"{block}/expand")
    inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
    x = x + held[f"{block}/layer_scale/gamma"] * dense(inner, f"{block}/reduce")
    expected = dense(norm(x, "last_norm"), "head")
    np.testing.assert_allclose(model(image), expected, rtol=1e-4, atol=1e-4)


def test_layer_scale_and_kernels_start_as_in_the_paper():
    model = convnext((32, 32, 3), classes=3, depths=(1, 1), widths=(32, 64))
    block = model.get_layer("stage2_block1")
    np.testing.assert_array_equal(block.layer_scale.gamma, np.full(64, 1e-6, "float32"))
    kernel = keras.ops.convert_to_numpy(block.layers[-1].kernel)
    assert kernel.std() == pytest.approx(0.02 * 0.88, rel=0.03)  # a normal that ends at two deviations
    assert np.abs(kernel).max() <= 0.04
    large = convnext((32, 32, 3), layer_scale=0.1, **SMALL).get_layer("stage1_block1")
    np.testing.assert_array_equal(large.layer_scale.gamma, np.full(8, 0.1, "float32"))


def torch_names(count, own):
    """The names and shapes of a state dict, by the functions of `own` for the parts of the network."""
    depths, widths = SMALL["depths"], SMALL["widths"]
    shapes = own["stem"](widths[0])
    for stage, (blocks, width) in enumerate(zip(depths, widths, strict=True)):
        if stage:
            shapes |= own["down"](stage, widths[stage - 1], width)
        for block in range(blocks):
            shapes |= own["block"](stage, block, width)
    return shapes | own["head"](widths[-1], count)


def weight_and_bias(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def torchvision_block(stage, block, width):
    name = f"features.{2 * stage + 1}.{block}"
    return {
        f"{name}.layer_scale": (width, 1, 1),
        **weight_and_bias(f"{name}.block.0", width, 1, 7, 7),
        **weight_and_bias(f"{name}.block.2", width),
        **weight_and_bias(f"{name}.block.3", 4 * width, width),
        **weight_and_bias(f"{name}.block.5", width, 4 * width),
    }


def timm_block(stage, block, width, *size):
    name = f"stages.{stage}.blocks.{block}"
    return {
        f"{name}.gamma": (width,),
        **weight_and_bias(f"{name}.conv_dw", width, 1, 7, 7),
        **weight_and_bias(f"{name}.norm", width),
        **weight_and_bias(f"{name}.mlp.fc1", 4 * width, width, *size),
        **weight_and_bias(f"{name}.mlp.fc2", width, 4 * width, *size),
    }


TORCHVISION = {
    "stem": lambda n: weight_and_bias("features.0.0", n, 3, 4, 4) | weight_and_bias("features.0.1", n),
    "down": lambda stage, m, n: (
        weight_and_bias(f"features.{2 * stage}.0", m) | weight_and_bias(f"features.{2 * stage}.1", n, m, 2, 2)
    ),
    "block": torchvision_block,
    "head": lambda n, count: weight_and_bias("classifier.0", n) | weight_and_bias("classifier.2", count, n),
}
TIMM_NAMES = {
    "stem": lambda n: weight_and_bias("stem.0", n, 3, 4, 4) | weight_and_bias("stem.1", n),
    "down": lambda stage, m, n: (
        weight_and_bias(f"stages.{stage}.downsample.0", m) | weight_and_bias(f"stages.{stage}.downsample.1", n, m, 2, 2)
    ),
    "block": timm_block,
    "head": lambda n, count: weight_and_bias("head.norm", n) | weight_and_bias("head.fc", count, n),
}
# timm's smaller networks have 1x1 convolutions in place of dense layers.
CONVOLUTIONS = TIMM_NAMES | {"block": lambda *place: timm_block(*place, 1, 1)}


@pytest.mark.parametrize("names", [TIMM_NAMES, CONVOLUTIONS], ids=["dense", "convolutions"])
def test_weights_of_timm_are_those_of_torchvision_under_other_names(names, tmp_path):
    theirs, others = torch_names(5, TORCHVISION), torch_names(5, names)
    values = {name: golden_weight(name, shape) for name, shape in theirs.items()}
    first = write(values, tmp_path / "torchvision.safetensors")
    renamed = {
        name: values[torchvision].reshape(shape)
        for (name, shape), torchvision in zip(others.items(), theirs, strict=True)
    }
    second = write(renamed, tmp_path / "timm.safetensors")
    expected, received = (
        zoo.load("convnext_tiny", weights=path, input_shape=SHAPE, **SMALL)(IMAGES) for path in (first, second)
    )
    assert relative_difference(np.asarray(expected)[0], np.asarray(expected)[1]) > 0.01
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("part", ["whole", "maps"])
def test_maps_read_the_weights_of_whole_networks_and_of_timms_maps(part, tmp_path):
    arrays = {name: golden_weight(name, shape) for name, shape in torch_names(5, TIMM_NAMES).items()}
    whole = zoo.load("convnext_tiny", weights=write(arrays, tmp_path / "a.safetensors"), input_shape=SHAPE, **SMALL)
    if part == "maps":  # timm's names with features_only=True
        arrays = {re.sub(r"^(stem|stages)\.", r"\1_", name): x for name, x in arrays.items() if "head" not in name}
    path = write(arrays, tmp_path / "b.safetensors")
    maps = zoo.load("convnext_tiny", weights=path, input_shape=SHAPE, features_only=True, **SMALL)
    expected = {variable.path: np.asarray(variable) for variable in whole.weights}
    for variable in maps.weights:
        np.testing.assert_array_equal(variable, expected[variable.path])


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
def test_weights_of_keras_applications(suffix, tmp_path):
    depths, widths = (1, 2, 1, 1), (8, 16, 24, 32)
    options = {"include_preprocessing": True, "classifier_activation": None, "classes": 7, "input_shape": (64, 64, 3)}
    source = ConvNeXt(list(depths), list(widths), name="convnext_tiny", **options)
    randomise(source)
    path = tmp_path / f"original{suffix}"
    if suffix == ".h5":
        write_published(source, path, {})
    else:
        source.save(path) if suffix == ".keras" else source.save_weights(path)
    target = zoo.load("convnext_tiny", weights=path, input_shape=(64, 64, 3), depths=depths, widths=widths)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    expected = np.asarray(source(images))
    received = np.asarray(target(keras.applications.densenet.preprocess_input(images.copy())))
    assert relative_difference(expected[0], expected[1]) > 0.01
    assert relative_difference(received, expected) <= 1e-5


@pytest.mark.parametrize("name", NAMED)
def test_published_weights_are_the_files_of_keras(name):
    (row,) = MODELS[name].weights
    assert (row.name, row.origin) == ("imagenet", f"{BASE_WEIGHTS_PATH}{name}.h5")
    assert row.file_hash == WEIGHTS_HASHES[name][0]


def test_maps_are_the_stages(tmp_path):
    whole = convnext((64, 96, 3), **SMALL)
    features = convnext((64, 96, 3), features_only=True, **SMALL)
    assert features.name == f"{whole.name}_features"
    assert {level: x.shape for level, x in features.output.items()} == {
        "C2": (None, 16, 24, 8),
        "C3": (None, 8, 12, 16),
    }
    features.set_weights(whole.get_weights()[: len(features.weights)])
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype("float32")
    inner = keras.Model(whole.input, [whole.get_layer(name).output for name in ("stage1_block1", "stage2_block2")])
    for received, expected in zip(features(images).values(), inner(images), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_channels_may_come_first():
    last = convnext(SHAPE, **SMALL)
    keras.config.set_image_data_format("channels_first")
    try:
        first = convnext((3, *SHAPE[:2]), **SMALL)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [(v.path, v.shape) for v in first.weights] == [(v.path, v.shape) for v in last.weights]
    assert first.get_layer("stage2_block2").output.shape == (None, 16, 3, 5)
    assert zoo.multiply_adds(first) == zoo.multiply_adds(last)


def test_any_size_grey_or_colour():
    model = convnext((None, None, 1), classes=7, **SMALL)
    for size in ((8, 8), (45, 70)):
        assert model(np.zeros((2, *size, 1), "float32")).shape == (2, 7)


def test_survival_falls_to_the_last_block_and_is_drawn_for_each_image():
    model = convnext(SHAPE, depths=(1, 3), widths=(8, 16), survival_prob=0.6, recompute=True)
    blocks = [layer for layer in model.layers if "_block" in layer.name]
    assert [block.survival_prob for block in blocks] == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert {(block.granularity, block.recompute) for block in blocks} == {("sample", True)}


def test_logits_are_float32_in_mixed_precision():
    with precision("mixed_bfloat16"):
        model = convnext(SHAPE, **SMALL)
    assert model.output.dtype == "float32"
    assert model.get_layer("stage1_block1").compute_dtype == "bfloat16"


def test_weight_decay_d_has_the_gradient_d_times_w():
    model = convnext(SHAPE, weight_decay=0.5, **SMALL)
    kernels = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables if v.path.endswith("kernel")]
    assert len(kernels) == 1 + 3 * 3 + 1 + 1
    assert float(sum(model.losses)) == pytest.approx(sum(0.25 * np.sum(kernel**2) for kernel in kernels), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"depths": (1, 2, 3)}, r"depths=\(1, 2, 3\), widths=\(8, 16\)"),
        ({"depths": 3}, "depths=3"),
        ({"depths": ()}, r"depths=\(\)"),
        ({"depths": (0, 1)}, "depths=0"),
        ({"widths": (8, 1.5)}, r"widths=1\.5"),
        ({"input_shape": (7, 32, 3)}, r"input_shape=\(7, 32, 3\)"),
        ({"survival_prob": 0.0}, r"survival_prob=0\.0"),
        ({"layer_scale": None}, "layer_scale=None"),
        ({"classes": 0}, "classes=0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, named):
    with pytest.raises(ValueError, match=f"Expected .* Received: {named}"):
        convnext(**({"input_shape": SHAPE} | SMALL | arguments))
