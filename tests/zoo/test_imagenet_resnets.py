"""The residual networks of torchvision and timm: every part that they change, alone and with others."""

import keras
import numpy as np
import pytest

import zoo
from tests.golden import state, write
from tests.sweep import sweep
from tests.zoo.test_weights_torch import resnet_shapes, squeeze_excite
from zoo.networks.counting import count
from zoo.networks.imagenet.resnet import imagenet_resnet
from zoo.training.learner import precision

SHAPE = (64, 64, 3)
ONES = (1, 1, 1, 1)
D = {"stem": (32, 32, 64), "pooled": True}
RS = {"depth": 14, "stem": "deep", "stem_pool": "convolution", "downsample": "pool"}
RS |= {"attention": "se", "attention_ratio": 4}


def efficient(channels):
    """The shape of timm's gate of one convolution along the channels."""
    return {"conv.weight": (1, 1, 3 if channels < 128 else 5 if channels < 2048 else 7)}


# The first logits that timm's ResNet of these blocks gives, in evaluation mode, for the images and weights below.
LOGITS = {
    "resnet10d": (
        "resnet18d",
        {"depth": 10},
        resnet_shapes(ONES, 2, 64, **D),
        [-0.0681792, 0.663324, -0.271953, 0.0547876],
    ),
    "seresnet10": (
        "seresnet18",
        {"depth": 10},
        resnet_shapes(ONES, 2, 64, gate=squeeze_excite(16)),
        [-0.0778991, 0.304944, -0.470986, 0.0257242],
    ),
    "seresnext14d_32x4d": (
        "seresnext50_32x4d",
        {"depth": 14, "stem": "deep", "downsample": "pool"},
        resnet_shapes(ONES, 3, 128, groups=32, gate=squeeze_excite(16), **D),
        [0.167176, 0.129862, 0.0773313, -0.0664992],
    ),
    "resnetrs14": (
        "resnetrs50",
        {"depth": 14},
        resnet_shapes(ONES, 3, 64, halved=True, gate=squeeze_excite(4), **D),
        [0.17437, 0.0936996, 0.138327, -0.0645283],
    ),
    "ecaresnet14t": (
        "resnet50",
        {"depth": 14, "stem": "tiered", "downsample": "pool", "attention": "eca"},
        resnet_shapes(ONES, 3, 64, gate=efficient, stem=(24, 32, 64), pooled=True),
        [0.167449, 0.104279, 0.157556, -0.0489378],
    ),
}


@pytest.mark.parametrize("name", LOGITS)
def test_logits_are_those_of_timm(name, tmp_path):
    network, arguments, shapes, expected = LOGITS[name]
    path = write(state(shapes), tmp_path / "weights.safetensors")
    images = np.random.default_rng(0).normal(size=(1, 45, 70, 3)).astype("float32")
    model = zoo.load(network, weights=path, input_shape=images.shape[1:], **arguments)
    path.unlink()
    assert model.name == name
    logits = keras.ops.convert_to_numpy(model(images, training=False))[0]
    np.testing.assert_allclose(logits[: len(expected)], expected, atol=1e-4 * np.abs(logits).max())


# Arguments that make one network into another, and the parameters of that one in timm 1.0 and torchvision.
SIBLINGS = {
    "resnext101_64x4d": ("resnext50_32x4d", {"depth": 101, "groups": 64}, 83_455_272),
    "resnet26": ("resnet50", {"depth": 26}, 15_995_176),
    "resnet50c": ("resnet50", {"stem": "deep"}, 25_576_264),
    "resnet50s": ("resnet50", {"stem": "wide"}, 25_680_808),
    "resnet26t": ("resnet26d", {"stem": "tiered"}, 16_011_872),
    "resnet10t": ("resnet18d", {"depth": 10, "stem": "tiered"}, 5_435_488),
    "seresnext26d_32x4d": ("seresnext50_32x4d", {"depth": 26, "stem": "deep", "downsample": "pool"}, 16_809_512),
    "resnetrs200": ("resnetrs50", {"depth": 200}, 93_209_992),
    "ecaresnet50d": ("resnet50d", {"attention": "eca"}, 25_576_350),
}


@pytest.mark.parametrize("name", sweep(SIBLINGS, lambda name: name in ("resnet10t", "seresnext26d_32x4d")))
def test_siblings_have_the_names_and_the_parameters_of_timm(name):
    network, arguments, parameters = SIBLINGS[name]
    model = zoo.build(network, SHAPE, **arguments)
    assert model.name == name
    assert count(model.trainable_variables) == parameters


@pytest.mark.parametrize(("ratio", "widths"), [(16, [8, 8, 16, 32]), (5, [16, 24, 48, 104]), (512, [8] * 4)])
def test_gates_have_a_multiple_of_eight_channels(ratio, widths):
    model = imagenet_resnet(SHAPE, depth=10, attention="se", attention_ratio=ratio)
    blocks = [model.get_layer(f"stage{stage}_block1") for stage in (1, 2, 3, 4)]
    assert [block.channel_attention.reduce.units for block in blocks] == widths


def test_groups_divide_the_inner_width():
    model = imagenet_resnet(SHAPE, depth=14, groups=32, width_per_group=8, widening=2)
    blocks = [model.get_layer(f"stage{stage}_block1") for stage in (1, 2, 3, 4)]
    assert [block.conv2.kernel.shape for block in blocks] == [(3, 3, 16 << n, 512 << n) for n in range(4)]


def test_survival_falls_linearly_over_the_blocks():
    model = imagenet_resnet(SHAPE, depth=10, survival_prob=0.2)
    assert [model.get_layer(f"stage{n}_block1").survival_prob for n in (1, 2, 3, 4)] == pytest.approx(
        [0.8, 0.6, 0.4, 0.2]
    )


def test_recompute_reaches_the_blocks_and_decay_the_gates():
    model = imagenet_resnet(SHAPE, **RS, recompute=True, weight_decay=0.5)
    assert all(layer.recompute for layer in model.layers if "_block" in layer.name)
    kernels = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables if v.path.endswith("kernel")]
    expected = sum(0.25 * np.sum(kernel.astype("float64") ** 2) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)


def test_channels_may_come_first():
    last = imagenet_resnet(SHAPE, **RS)
    keras.config.set_image_data_format("channels_first")
    try:
        first = imagenet_resnet((3, 64, 64), **RS)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [(v.path, v.shape) for v in first.weights] == [(v.path, v.shape) for v in last.weights]


def test_logits_are_float32_in_mixed_precision():
    with precision("mixed_bfloat16"):
        model = imagenet_resnet(SHAPE, **RS)
    assert model.output.dtype == "float32"
    assert {layer.compute_dtype for layer in model.layers if layer.name not in ("image", "head")} == {"bfloat16"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"groups": 0}, "groups=0"),
        ({"width_per_group": 2.5}, r"width_per_group=2\.5"),
        ({"depth": 18, "groups": 32, "width_per_group": 4}, "groups=32, width_per_group=4"),
        ({"stem": "shallow"}, "stem='shallow'"),
        ({"stem_pool": "average"}, "stem_pool='average'"),
        ({"downsample": "blur"}, "downsample='blur'"),
        ({"attention": "cbam"}, "attention='cbam'"),
        ({"attention": "se", "attention_ratio": 0.25}, r"attention_ratio=0\.25"),
        ({"attention_ratio": 0}, "attention_ratio=0"),
        ({"survival_prob": 0.0}, "survival_prob=0.0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, named):
    with pytest.raises(ValueError, match=f"Expected .* Received: {named}"):
        imagenet_resnet(SHAPE, **arguments)
