"""Weights of torchvision and timm: every variable in its place, and files that do not fit."""

from functools import partial

import keras
import numpy as np
import pytest

import zoo
from tests.golden import read_reference, state, write
from tests.sweep import sweep
from zoo.networks.imagenet import _torch_names, densenet
from zoo.networks.volumes import densenet3d
from zoo.weights.readers import read

SHAPE = (64, 64, 3)
STAGES = {
    "densenet121": (1, 2, 1, 1),  # with `few_blocks`
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (2, 2, 2, 2),  # with `few_blocks`
    "resnet101": (3, 4, 23, 3),
    "wide_resnet50_2": (2, 2, 2, 2),  # with `few_blocks`
    "densenet169": (6, 12, 32, 32),
}


def norm(name, channels):
    return {f"{name}.{kind}": (channels,) for kind in ("weight", "bias", "running_mean", "running_var")} | {
        f"{name}.num_batches_tracked": ()
    }


def resnet_shapes(stages, convolutions, width, *, groups=1, stem=(), pooled=False, halved=False, gate=None):
    """The names and shapes of the residual networks of torchvision and timm.

    Args:
        stages: Blocks of each.
        convolutions: Of a block.
        width: Of the first two of three convolutions, in the first stage.
        groups: Of the second of three convolutions.
        stem: Filters of three convolutions instead of one.
        pooled: Whether a pooling comes before the projections.
        halved: Whether the stem ends in a strided convolution.
        gate: Gives the shapes of the gate of a block, by their names, for a number of channels.
    """
    shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    if stem:
        first, second, third = stem
        shapes = {"conv1.0.weight": (first, 3, 3, 3), **norm("conv1.1", first)}
        shapes |= {"conv1.3.weight": (second, first, 3, 3), **norm("conv1.4", second)}
        shapes |= {"conv1.6.weight": (third, second, 3, 3), **norm("bn1", third)}
    if halved:
        shapes |= {"maxpool.0.weight": (64, 64, 3, 3), **norm("maxpool.1", 64)}
    channels = 64
    for stage, blocks in enumerate(stages):
        inner, out = width << stage, (64 << stage) * (4 if convolutions == 3 else 1)
        for block in range(blocks):
            prefix = f"layer{stage + 1}.{block}"
            sizes = (channels, inner, inner, out) if convolutions == 3 else (channels, out, out)
            for place in range(convolutions):
                side = 3 if convolutions == 2 or place == 1 else 1
                read = sizes[place] // (groups if place == 1 else 1)
                shapes[f"{prefix}.conv{place + 1}.weight"] = (sizes[place + 1], read, side, side)
                shapes |= norm(f"{prefix}.bn{place + 1}", sizes[place + 1])
            shapes |= {f"{prefix}.se.{name}": shape for name, shape in (gate(out) if gate else {}).items()}
            if block == 0 and (channels != out or stage):
                shapes[f"{prefix}.downsample.{int(pooled)}.weight"] = (out, channels, 1, 1)
                shapes |= norm(f"{prefix}.downsample.{pooled + 1}", out)
            channels = out
    return shapes | {"fc.weight": (1000, channels), "fc.bias": (1000,)}


def squeeze_excite(ratio):
    """The shapes of timm's gate, which has at least 8 channels between its two convolutions."""

    def shapes(channels):
        narrow = max(8, channels // ratio)
        first = {"fc1.weight": (narrow, channels, 1, 1), "fc1.bias": (narrow,)}
        return first | {"fc2.weight": (channels, narrow, 1, 1), "fc2.bias": (channels,)}

    return shapes


def densenet_shapes(blocks):
    shapes = {"features.conv0.weight": (64, 3, 7, 7), **norm("features.norm0", 64)}
    channels = 64
    for block, layers in enumerate(blocks, 1):
        for layer in range(1, layers + 1):
            prefix = f"features.denseblock{block}.denselayer{layer}"
            shapes |= norm(f"{prefix}.norm1", channels) | {f"{prefix}.conv1.weight": (128, channels, 1, 1)}
            shapes |= norm(f"{prefix}.norm2", 128) | {f"{prefix}.conv2.weight": (32, 128, 3, 3)}
            channels += 32
        if block < len(blocks):
            prefix = f"features.transition{block}"
            shapes |= norm(f"{prefix}.norm", channels) | {f"{prefix}.conv.weight": (channels // 2, channels, 1, 1)}
            channels //= 2
    return (
        shapes | norm("features.norm5", channels) | {"classifier.weight": (1000, channels), "classifier.bias": (1000,)}
    )


def older(name):
    """The names that torchvision's densenets had at first."""
    for kind in ("norm", "conv"):
        for number in "12":
            name = name.replace(f".{kind}{number}.", f".{kind}.{number}.")
    return name


@pytest.mark.usefixtures("few_blocks")
def test_names_of_older_files_are_those_of_today(tmp_path):
    arrays = state(densenet_shapes(STAGES["densenet121"]))
    old = {older(name): array for name, array in arrays.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    paths = [write(held, tmp_path / f"{number}.safetensors") for number, held in enumerate((arrays, old))]
    models = [zoo.load("densenet121", weights=path, input_shape=SHAPE) for path in paths]
    for today, before in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_array_equal(today, before)


def test_names_and_shapes_here_are_those_of_the_reference():
    fifty = (3, 4, 6, 3)
    for name, shapes in {
        "torchvision_resnet18": resnet_shapes((2, 2, 2, 2), 2, 64),
        "torchvision_resnet50": resnet_shapes(fifty, 3, 64),
        "torchvision_densenet121": densenet_shapes((6, 12, 24, 16)),
        "timm_resnext50_32x4d": resnet_shapes(fifty, 3, 128, groups=32),
        "timm_seresnet50": resnet_shapes(fifty, 3, 64, gate=squeeze_excite(16)),
        "timm_resnet50d": resnet_shapes(fifty, 3, 64, stem=(32, 32, 64), pooled=True),
    }.items():
        assert read_reference(name).shapes == shapes


def residual_places(model, stages):
    """Each of our layers, and torchvision's name of it."""
    yield model.get_layer("stem_conv"), "conv1"
    yield model.get_layer("stem_norm"), "bn1"
    for stage, blocks in enumerate(stages, 1):
        for block in range(blocks):
            ours, theirs = model.get_layer(f"stage{stage}_block{block + 1}"), f"layer{stage}.{block}"
            places = {"projection": "downsample.0", "projection_norm": "downsample.1"}
            places |= {f"{ours}{i}": f"{torch}{i}" for i in "123" for ours, torch in (("conv", "conv"), ("norm", "bn"))}
            for attribute, name in places.items():
                if getattr(ours, attribute, None) is not None:
                    yield getattr(ours, attribute), f"{theirs}.{name}"
    yield model.get_layer("head"), "fc"


def dense_places(model, stages):
    yield model.get_layer("stem_conv"), "features.conv0"
    yield model.get_layer("stem_norm"), "features.norm0"
    for block, layers in enumerate(stages, 1):
        dense = model.get_layer(f"block{block}")
        inner = {layer.path: layer for layer in dense._flatten_layers(include_self=False)}
        for layer in range(1, layers + 1):
            for name in ("norm1", "conv1", "norm2", "conv2"):
                yield inner[f"block{block}/layer{layer}/{name}"], f"features.denseblock{block}.denselayer{layer}.{name}"
        if block < len(stages):
            transition = model.get_layer(f"transition{block}")
            yield transition.norm1, f"features.transition{block}.norm"
            yield transition.conv1, f"features.transition{block}.conv"
    yield model.get_layer("last_norm"), "features.norm5"
    yield model.get_layer("head"), "classifier"


ATTRIBUTES = {"weight": ("kernel", "gamma"), "bias": ("bias", "beta")}
ATTRIBUTES |= {"running_mean": ("moving_mean",), "running_var": ("moving_variance",)}


FORMS = {
    "resnet18": partial(resnet_shapes, convolutions=2, width=64),
    "resnet34": partial(resnet_shapes, convolutions=2, width=64),
    "resnet50": partial(resnet_shapes, convolutions=3, width=64),
    "resnet101": partial(resnet_shapes, convolutions=3, width=64),
    "wide_resnet50_2": partial(resnet_shapes, convolutions=3, width=128),
    "densenet121": densenet_shapes,
    "densenet169": densenet_shapes,
}


@pytest.mark.usefixtures("few_blocks")
@pytest.mark.parametrize("name", sweep(FORMS, ("resnet18", "resnet50", "densenet121")))
def test_every_variable_has_its_array(name, tmp_path):
    arrays = state(FORMS[name](STAGES[name]))
    path = write(arrays, tmp_path / "weights.safetensors")
    model = zoo.load(name, weights=path, input_shape=SHAPE)
    path.unlink()
    checked = 0
    for layer, owner in (dense_places if "dense" in name else residual_places)(model, STAGES[name]):
        for kind, attributes in ATTRIBUTES.items():
            variable = next((getattr(layer, a) for a in attributes if getattr(layer, a, None) is not None), None)
            if variable is not None:
                array = arrays.pop(f"{owner}.{kind}")
                expected = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
                np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), expected, err_msg=owner)
                checked += 1
    assert checked == len(model.weights)
    assert all(left.endswith("num_batches_tracked") for left in arrays)


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    """A file with torchvision's names, and its arrays."""
    arrays = state(resnet_shapes(STAGES["resnet18"], 2, 64))
    path = write(arrays, tmp_path_factory.mktemp("torch") / "resnet18.safetensors")
    yield path, arrays
    path.unlink()


def test_another_number_of_classes_gets_a_new_head(resnet18):
    path, arrays = resnet18
    model = zoo.load("resnet18", weights=path, input_shape=SHAPE, classes=5)
    assert model.output_shape == (None, 5)
    np.testing.assert_array_equal(model.get_layer("head").get_weights()[1], np.zeros(5))
    np.testing.assert_array_equal(model.get_layer("stem_norm").get_weights()[1], arrays["bn1.bias"])


def test_feature_maps_leave_the_head_of_the_file_unused(resnet18):
    path, arrays = resnet18
    model = zoo.load("resnet18", weights=path, input_shape=SHAPE, features_only=True)
    assert "head" not in [layer.name for layer in model.layers]
    np.testing.assert_array_equal(model.get_layer("stem_norm").get_weights()[1], arrays["bn1.bias"])


def test_weights_have_the_same_shapes_with_channels_first(resnet18):
    path, arrays = resnet18
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        model = zoo.load("resnet18", weights=path, input_shape=(3, 64, 64))
    finally:
        keras.config.set_image_data_format(before)
    kernel = keras.ops.convert_to_numpy(model.get_layer("stem_conv").kernel)
    np.testing.assert_array_equal(kernel, arrays["conv1.weight"].transpose(2, 3, 1, 0))


def test_a_deeper_stem_is_listed_by_the_names_in_the_file(resnet18, tmp_path):
    """As in timm's resnet18d."""
    arrays = dict(resnet18[1])
    arrays["conv1.0.weight"] = arrays.pop("conv1.weight")[:32, :, :3, :3]
    arrays["layer1.0.conv1.weight"] = np.zeros((64, 32, 3, 3), "float32")
    path = write(arrays, tmp_path / "resnet18d.safetensors")
    with pytest.raises(ValueError) as caught:
        zoo.load("resnet18", weights=path, input_shape=SHAPE)
    path.unlink()
    assert str(caught.value) == (
        f"Expected weights of resnet18. Received: {str(path)!r}, missing: conv1.weight; unexpected: conv1.0.weight; "
        "of another shape: layer1.0.conv1.weight (3, 3, 32, 64) instead of (3, 3, 64, 64)"
    )


def test_weights_of_another_depth_are_listed_and_shortened(resnet18):
    with pytest.raises(ValueError, match=r"missing: (layer[\w.]+, ){9}layer[\w.]+ and \d+ more$"):
        zoo.load("resnet34", weights=resnet18[0], input_shape=SHAPE)
    with pytest.raises(
        ValueError, match=r"of another shape: (layer[\w.]+ \(.*?\) instead of \(.*?\),? ?){10} and \d+ more$"
    ):
        zoo.load("resnet50", weights=resnet18[0], input_shape=SHAPE)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda held: held,
        lambda held: {"state_dict": held, "epoch": 3, "arch": "resnet18"},
        lambda held: {"model": held, "optimizer": {"lr": 0.1}},
        lambda held: {"net": held, "acc": 94.2},
        lambda held: {f"module.{name}": tensor for name, tensor in held.items()},
        lambda held: {"state_dict": {f"module._orig_mod.{name}": tensor for name, tensor in held.items()}},
    ],
    ids=["plain", "state_dict", "model", "net", "parallel", "compiled"],
)
def test_wrapped_state_dicts(wrap, legacy, tmp_path):
    torch = pytest.importorskip("torch", reason="torch, which writes .pth files, is not installed")
    held = {"fc.weight": torch.rand(2, 3, requires_grad=True), "fc.bias": torch.rand(2).to(torch.bfloat16)}
    held["bn.num_batches_tracked"] = torch.tensor(7)
    torch.save(wrap(held), tmp_path / "weights.pt", _use_new_zipfile_serialization=not legacy)
    arrays = read(tmp_path / "weights.pt")
    assert arrays.keys() == {"fc.weight", "fc.bias"}
    np.testing.assert_array_equal(arrays["fc.weight"], held["fc.weight"].detach().numpy())
    np.testing.assert_array_equal(arrays["fc.bias"], held["fc.bias"].float().numpy())


@pytest.mark.parametrize("prefix", ["module.", "model.", "encoder.", "backbone.", "net.", "module.model._orig_mod."])
def test_prefixes_of_wrapped_modules_are_no_part_of_the_names(prefix, tmp_path):
    held = {name: np.zeros(2, "float32") for name in ("model.weight", "fc.bias")}
    wrapped = {f"{prefix}{name}": array for name, array in held.items()}
    assert read(write(wrapped, tmp_path / "weights.safetensors")).keys() == held.keys()
    others = wrapped | {"decoder.bias": np.zeros(2, "float32")}
    assert read(write(others, tmp_path / "weights.safetensors")).keys() == others.keys()


@pytest.mark.parametrize(
    ("naming", "ours", "theirs"),
    [
        (_torch_names.TORCH_NAMING, "stage3_block12/conv2/kernel", "layer3.11.conv2.weight"),
        (densenet.TORCH_NAMING, "block3/layer24/conv1/kernel", "features.denseblock3.denselayer24.conv1.weight"),
        (densenet3d.MONAI_NAMING, "block3/layer24/norm1/beta", "features.denseblock3.denselayer24.layers.norm1.bias"),
    ],
)
def test_numbers_may_have_two_digits(naming, ours, theirs):
    assert naming.theirs(ours) == theirs
