"""The networks for volumes and video: parameters, maps, what they see of other frames, names, a step of training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from tests.golden import state, write
from tests.sweep import sweep
from zoo.networks.catalogue import MODELS
from zoo.networks.counting import count
from zoo.networks.volumes.densenet3d import MONAI_NAMING, densenet3d
from zoo.networks.volumes.resnet3d import resnet3d
from zoo.networks.volumes.video_resnet import TORCH_NAMING, video_resnet
from zoo.training.learner import precision

CLIP, SCAN = (8, 32, 48, 3), (32, 32, 64, 1)
# torchvision's `num_params`, and the parameters of MONAI's networks (1.6.1; spatial_dims=3, one channel, two classes).
PUBLISHED = {
    "r3d_18": 33_371_472,
    "mc3_18": 11_695_440,
    "r2plus1d_18": 31_505_325,
    "resnet3d_10": 14_357_442,
    "resnet3d_18": 33_161_922,
    "resnet3d_34": 63_471_554,
    "resnet3d_50": 46_163_010,
    "resnet3d_101": 85_209_154,
    "resnet3d_152": 117_367_874,
    "resnet3d_200": 126_567_490,
    "densenet3d_121": 11_244_674,
    "densenet3d_169": 18_546_050,
    "densenet3d_201": 25_334_658,
    "densenet3d_264": 40_251_266,
}
# torchvision's VideoResNet with the blocks of a network of 34 layers.
DEEPER = {"3d": 63_681_104, "mixed": 21_951_056, "2plus1d": 61_831_661}


def test_parameters_are_the_published_ones():
    # These are compared with the built networks in test_counting.py.
    assert {name: MODELS[name].parameters for name in zoo.list_models(task="volumes")} == PUBLISHED


@pytest.mark.parametrize("convolution", sweep(DEEPER, {"mixed"}))
def test_34_layers_have_torchvisions_parameters(convolution):
    model = video_resnet(CLIP, convolution=convolution, depth=34)
    assert count(model.trainable_variables) == DEEPER[convolution]
    assert model.name.endswith("_34")


HALVED = [(8, 16, 24, 64), (4, 8, 12, 128), (2, 4, 6, 256), (1, 2, 3, 512)]
SCANS = [(32, 32, 64, 64), (16, 16, 32, 64), (8, 8, 16, 128), (4, 4, 8, 256), (2, 2, 4, 512)]


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "first", "maps"),
    [
        ("r3d_18", CLIP, {"depth": 10}, 1, HALVED),
        ("r2plus1d_18", CLIP, {"depth": 10}, 1, HALVED),
        ("mc3_18", CLIP, {"depth": 10}, 1, [(8, *size) for _, *size in HALVED]),
        ("resnet3d_10", SCAN, {}, 0, SCANS),
        (
            "resnet3d_10",
            SCAN,
            {"stem_strides": 2},
            1,
            [(16, 16, 32, 64), (8, 8, 16, 64), (4, 4, 8, 128), (2, 2, 4, 256), (1, 1, 2, 512)],
        ),
        pytest.param(
            "densenet3d_121",
            SCAN,
            {},
            1,
            [(16, 16, 32, 64), (8, 8, 16, 256), (4, 4, 8, 512), (2, 2, 4, 1024), (1, 1, 2, 1024)],
            marks=pytest.mark.complete,
        ),
    ],
)
def test_map_l_has_the_stride_2_to_the_l_in_space(name, shape, arguments, first, maps):
    features = zoo.build(name, shape, features_only=True, **arguments)
    expected = {f"C{level}": (None, *size) for level, size in enumerate(maps, first)}
    assert {level: x.shape for level, x in features.output.items()} == expected
    open_sizes = zoo.build(name, (None, None, None, shape[-1]), features_only=True, **arguments)
    assert [v.path for v in open_sizes.weights] == [v.path for v in features.weights]


CLIP_OF_LOGITS, SCAN_OF_LOGITS = (6, 20, 18, 3), (12, 20, 18, 1)
LARGE = ("resnet3d_50", "densenet3d_121")
MEDICAL = {"stem_strides": 2, "projection_bias": False}
# What the networks of torchvision and MONAI give in evaluation mode, for the input and the weights below.
LOGITS = [
    ("r3d_18", CLIP_OF_LOGITS, {"depth": 10}, [0.031704, 0.276058, -0.242392, -0.0477503]),
    ("mc3_18", CLIP_OF_LOGITS, {"depth": 10}, [-0.0153978, 0.352916, -0.196149, -0.0279669]),
    ("r2plus1d_18", CLIP_OF_LOGITS, {"depth": 10}, [0.0952952, 0.352973, -0.253464, -0.0937654]),
    ("resnet3d_10", SCAN_OF_LOGITS, {}, [0.0157965, 0.323521, -0.519107, 0.0435827]),
    (
        "resnet3d_10",
        SCAN_OF_LOGITS,
        {"stem_strides": 2, "shortcut": "pad"},
        [-0.117653, 1.02971, -0.198777, 0.127436],
    ),
    ("resnet3d_50", SCAN_OF_LOGITS, MEDICAL, [0.037439, -0.3767, 0.192827, 0.0437348]),
    ("densenet3d_121", (30, 30, 36, 1), {}, [0.093385, 0.0429756, -0.159461, 0.00623524]),
]


@pytest.mark.parametrize("row", sweep(LOGITS, lambda row: row[0] not in LARGE))
def test_logits_are_those_of_torchvision_and_monai(row, tmp_path):
    name, shape, arguments, expected = row
    model = zoo.build(name, shape, classes=4, **arguments)
    (naming,) = MODELS[name].family.namings
    shapes = {v.path: (*v.shape[:-3:-1], *v.shape[:-2]) if len(v.shape) > 1 else v.shape for v in model.weights}
    path = write(state({naming.theirs(path): shape for path, shape in shapes.items()}), tmp_path / "a.safetensors")
    zoo.load_weights(model, path)
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype("float32")
    received = keras.ops.convert_to_numpy(model(x, training=False))[0]
    np.testing.assert_allclose(received, expected, atol=1e-5 * np.abs(expected).max())


def test_mixed_convolutions_see_other_frames_only_in_the_stem_and_in_stage_1():
    features = zoo.build("mc3_18", (9, 16, 16, 3), features_only=True)
    clip = np.random.default_rng(0).normal(size=(1, 9, 16, 16, 3)).astype("float32")
    changed = clip.copy()
    changed[:, 0] += 1
    # Five convolutions reach one frame further each.
    for level in ("C1", "C4"):
        before, after = (keras.ops.convert_to_numpy(features(x, training=False)[level]) for x in (clip, changed))
        moved = np.abs(after - before).max(axis=(0, 2, 3, 4)) > 0
        assert moved.tolist() == [True] * 6 + [False] * 3


def test_pairs_have_about_the_parameters_of_one_convolution():
    model = zoo.build("r2plus1d_18", CLIP)
    kernels = {v.path: v.shape for v in model.trainable_variables if v.path.endswith("kernel")}
    assert kernels["stem_conv/kernel"] == (1, 7, 7, 3, 45)
    assert kernels["stem_time_conv/kernel"] == (3, 1, 1, 45, 64)
    # The widths in torchvision's checkpoint, where both pairs of a block have the first one's.
    middle = {"stage1_block1": 144, "stage2_block1": 230, "stage2_block2": 288, "stage3_block1": 460}
    middle |= {"stage3_block2": 576, "stage4_block1": 921, "stage4_block2": 1152}
    for block, width in middle.items():
        for number in "12":
            assert kernels[f"{block}/conv{number}_space/kernel"][:3] == (1, 3, 3)
            assert kernels[f"{block}/conv{number}_space/kernel"][4] == width
            assert kernels[f"{block}/conv{number}_time/kernel"][:4] == (3, 1, 1, width)


@pytest.mark.parametrize(
    ("naming", "ours", "theirs"),
    [
        (TORCH_NAMING, "stem_conv/kernel", "stem.0.weight"),
        (TORCH_NAMING, "stem_norm/moving_mean", "stem.1.running_mean"),
        (TORCH_NAMING, "stem_time_conv/kernel", "stem.3.weight"),
        (TORCH_NAMING, "stem_time_norm/gamma", "stem.4.weight"),
        (TORCH_NAMING, "stage1_block1/conv1/kernel", "layer1.0.conv1.0.weight"),
        (TORCH_NAMING, "stage1_block2/norm2/beta", "layer1.1.conv2.1.bias"),
        (TORCH_NAMING, "stage2_block1/projection/kernel", "layer2.0.downsample.0.weight"),
        (TORCH_NAMING, "stage3_block1/conv1_space/kernel", "layer3.0.conv1.0.0.weight"),
        (TORCH_NAMING, "stage3_block1/conv1_norm/gamma", "layer3.0.conv1.0.1.weight"),
        (TORCH_NAMING, "stage3_block1/conv1_time/kernel", "layer3.0.conv1.0.3.weight"),
        (TORCH_NAMING, "stage3_block1/norm1/gamma", "layer3.0.conv1.1.weight"),
        (TORCH_NAMING, "stage4_block1/shortcut/projection_norm/gamma", "layer4.0.downsample.1.weight"),
        (MONAI_NAMING, "stem_norm/gamma", "features.norm0.weight"),
        (MONAI_NAMING, "block1/layer2/conv1/kernel", "features.denseblock1.denselayer2.layers.conv1.weight"),
        (MONAI_NAMING, "transition1/conv1/kernel", "features.transition1.conv.weight"),
        (MONAI_NAMING, "head/kernel", "class_layers.out.weight"),
    ],
)
def test_variables_have_the_names_of_the_library(naming, ours, theirs):
    assert naming.theirs(ours) == theirs


@pytest.mark.usefixtures("few_blocks")
@pytest.mark.parametrize("name", ["mc3_18", "r2plus1d_18", "resnet3d_10", "densenet3d_121"])
def test_channels_may_come_first(name):
    last = zoo.build(name, classes=5)
    keras.config.set_image_data_format("channels_first")
    try:
        first = zoo.build(name, classes=5)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [(v.path, v.shape) for v in first.weights] == [(v.path, v.shape) for v in last.weights]
    assert first.output_shape == (None, 5)


@pytest.mark.usefixtures("few_blocks")
@pytest.mark.parametrize("name", ["r2plus1d_18", "resnet3d_10", "densenet3d_121"])
def test_logits_are_float32_in_mixed_precision(name):
    with precision("mixed_bfloat16"):
        model = zoo.build(name)
    assert model.output.dtype == "float32"
    inner = [layer for layer in model.layers if layer.name not in ("clip", "volume", "head")]
    assert {layer.compute_dtype for layer in inner} == {"bfloat16"}


@pytest.mark.usefixtures("few_blocks")
@pytest.mark.parametrize("name", ["mc3_18", "r2plus1d_18", "resnet3d_10", "densenet3d_121"])
def test_options_reach_every_block(name):
    options = {} if "dense" in name else {"survival_prob": 0.6}
    model = zoo.build(name, recompute=True, weight_decay=0.5, **options)
    blocks = [layer for layer in model.layers if hasattr(layer, "recompute")]
    assert len(blocks) >= 4 and all(block.recompute for block in blocks)
    if options:
        expected = [1 - 0.4 * (index + 1) / len(blocks) for index in range(len(blocks))]
        assert [block.survival_prob for block in blocks] == pytest.approx(expected)
    kernels = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables if v.path.endswith("kernel")]
    squares = sum(0.25 * np.sum(kernel.astype("float64") ** 2) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(squares, rel=1e-4)


def test_gradients_are_the_same_with_recompute():
    rng = np.random.default_rng(0)
    clips, labels = rng.normal(size=(2, 4, 16, 16, 3)).astype("float32"), rng.integers(0, 3, 2)
    plain, recomputed = (zoo.build("r2plus1d_18", clips.shape[1:], 3, depth=10, recompute=on) for on in (False, True))
    recomputed.set_weights(plain.get_weights())

    def gradients(model):
        with tf.GradientTape() as tape:
            logits = model(clips, training=True)
            loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    # With oneDNN, eager convolutions of volumes have no gradient.
    pairs = zip(*(tf.function(gradients)(model) for model in (plain, recomputed)), strict=True)
    for variable, (expected, received) in zip(plain.trainable_variables, pairs, strict=True):
        scale = np.abs(expected).max()
        assert scale > 0, variable.path
        np.testing.assert_allclose(received, expected, rtol=0, atol=1e-3 * scale, err_msg=variable.path)


@pytest.mark.parametrize(
    ("builder", "arguments", "named"),
    [
        (video_resnet, {"convolution": "2d"}, "convolution='2d'"),
        (video_resnet, {"convolution": []}, r"convolution=\[\]"),
        (video_resnet, {"depth": 50}, "depth=50"),
        (video_resnet, {"input_shape": (112, 112, 3)}, r"input_shape=\(112, 112, 3\)"),
        (video_resnet, {"input_shape": (16, 112, 112, None)}, r"input_shape=\(16, 112, 112, None\)"),
        (video_resnet, {"survival_prob": 0}, "survival_prob=0"),
        (resnet3d, {"depth": 20}, "depth=20"),
        (resnet3d, {"stem_strides": 3}, "stem_strides=3"),
        (resnet3d, {"shortcut": "option A"}, "shortcut='option A'"),
        (resnet3d, {"classes": 0}, "classes=0"),
        (densenet3d, {"depth": 161}, "depth=161"),
        (densenet3d, {"input_shape": (28, 64, 64, 1)}, r"input_shape=\(28, 64, 64, 1\)"),
    ],
)
def test_arguments_out_of_range_are_refused(builder, arguments, named):
    with pytest.raises(ValueError, match=f"Expected .* Received: {named}"):
        builder(**arguments)
