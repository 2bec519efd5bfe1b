"""The networks for segmentation: any network as the backbone, the equations of their skips, arguments."""

import keras
import numpy as np
import pytest

import zoo
from tests.channels import skip_without_channels_first
from tests.export.models import randomise
from tests.sweep import sweep

# Backbones of each kind, as shallow as their forms allow, and the stride of their last map.
BACKBONES = {
    "resnet20": ({"depth": 8}, 4),
    "wrn_16_2": ({"depth": 10}, 4),
    "densenet_bc_100_12": ({"depth": 10}, 4),
    "highway11": ({}, 4),
    "stack_convnet": ({"depth": 1, "width": 4}, 4),
    "resnet18": ({}, 32),
    "resnet50_v2": ({}, 32),
    "densenet121": ({}, 32),
}
SKIPS = ("plain", "residual", "attention")


def small(**arguments):
    return zoo.build("unet", (16, 16, 3), 5, backbone="resnet20", backbone_arguments={"depth": 8}, **arguments)


def small_volume(**arguments):
    return zoo.build("unet3d", (8, 16, 16, 2), 3, **{"filters": (4, 6, 8), **arguments})


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def values(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("backbone", sweep(BACKBONES, lambda name: BACKBONES[name][1] == 4 or name == "resnet18"))
def test_any_network_with_maps_is_a_backbone(backbone):
    arguments, stride = BACKBONES[backbone]
    shape = (2 * stride, stride, 3)
    model = zoo.build("unet", shape, 5, backbone=backbone, backbone_arguments=arguments)
    assert model.output_shape == (None, *shape[:2], 5)
    features = zoo.build(backbone, shape, features_only=True, **arguments)
    assert {v.path for v in features.weights} <= {v.path for v in model.weights}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False, run_eagerly=True)
    before = [values(v) for v in model.trainable_variables]
    model.train_on_batch(noise(2, *shape), np.zeros((2, *shape[:2]), "int32"))
    same = [v.path for v, old in zip(model.trainable_variables, before, strict=True) if (values(v) == old).all()]
    # A bias before a normalisation has no gradient.
    assert [path for path in same if not path.endswith("bias")] == []


def test_weights_of_a_backbone_fit_as_the_docstring_says(tmp_path):
    zoo.build("resnet20", (16, 16, 3), depth=8).save_weights(tmp_path / "resnet20.weights.h5")
    trained = zoo.load("resnet20", weights=tmp_path / "resnet20.weights.h5", depth=8, features_only=True)
    model = small()
    for layer in trained.layers:
        model.get_layer(layer.name).set_weights(layer.get_weights())
    theirs = {v.path: values(v) for v in trained.weights}
    assert all(np.array_equal(values(v), theirs[v.path]) for v in model.weights if v.path in theirs)


@pytest.mark.usefixtures("few_blocks")
@pytest.mark.parametrize(
    ("backbone", "normalised"),
    [
        ("resnet18", []),
        ("densenet121", []),  # it normalises them itself, in its transitions
        ("wrn_16_2", ["skip1_norm", "skip0_norm"]),
        ("densenet_40_12", ["skip1_norm", "skip0_norm"]),
        ("resnet50_v2", ["skip4_norm", "skip3_norm", "skip2_norm", "skip1_norm"]),
    ],
)
def test_skips_are_normalised_where_the_maps_are_not(backbone, normalised):
    model = zoo.build("unet", (32, 32, 3), backbone=backbone)
    names = {layer.name for layer in model.layers if layer.name.startswith("skip") and layer.name.endswith("_norm")}
    assert names == set(normalised)


@pytest.mark.usefixtures("few_blocks")
def test_densenet_gives_normalised_maps_on_demand():
    raw = zoo.build("densenet121", (64, 64, 3), features_only=True)
    normalised = zoo.build("densenet121", (64, 64, 3), features_only=True, normalized_maps=True)
    normalised.set_weights([noise(*w.shape) ** 2 + 0.1 for w in raw.get_weights()])
    raw.set_weights(normalised.get_weights())
    assert [v.path for v in raw.weights] == [v.path for v in normalised.weights]
    before, after = (model(noise(1, 64, 64, 3), training=False) for model in (raw, normalised))
    for level, name in {"C2": "transition1", "C3": "transition2", "C4": "transition3"}.items():
        norm = raw.get_layer(name).norm1
        expected = np.maximum(values(norm(before[level], training=False)), 0)
        np.testing.assert_allclose(values(after[level]), expected, rtol=1e-5)
    np.testing.assert_allclose(np.maximum(values(after["C5"]), 0), values(before["C5"]), rtol=1e-5)
    np.testing.assert_array_equal(values(after["C1"]), values(before["C1"]))


def inner(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def test_a_step_of_the_decoder_is_that_of_segmentation_models_pytorch():
    model = randomise(small())
    names = ("stage2_block1", "stage3_block1", "decoder2_upsampling")
    skip, coarse, received = map(values, inner(model, *names)(noise(2, 16, 16, 3)))

    def convolve(x, name):
        return values(keras.ops.conv(x, model.get_layer(name).kernel, padding="same"))

    def normalise(x, name):
        gamma, beta, mean, variance = model.get_layer(name).get_weights()
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    x = np.concatenate([coarse.repeat(2, axis=1).repeat(2, axis=2), skip], axis=-1)
    for name in ("decoder1_conv1", "decoder1_conv2"):
        x = np.maximum(normalise(convolve(x, name), f"{name}_norm"), 0)
    np.testing.assert_allclose(received[:, ::2, ::2], x, atol=1e-5 * x.max())


def test_attention_weighs_the_positions_of_the_skip():
    model = small(skip="attention")
    outputs = inner(model, "stage2_block1", "stage3_block1", "decoder1_gate_multiply")(noise(2, 16, 16, 3))
    skip, coarse, received = map(values, outputs)
    (ours,), (theirs, bias), (psi, psi_bias) = (
        model.get_layer(f"decoder1_gate_{name}").get_weights() for name in ("skip", "coarse", "psi")
    )
    compared = (coarse @ theirs[0, 0] + bias).repeat(2, axis=1).repeat(2, axis=2)
    agreement = np.maximum(skip @ ours[0, 0] + compared, 0) @ psi[0, 0] + psi_bias
    assert agreement.shape == (2, 8, 8, 1)
    np.testing.assert_allclose(received, skip / (1 + np.exp(-agreement)), rtol=1e-4, atol=1e-6)


def test_residual_skips_are_added_and_projected_where_channels_differ():
    model = small(skip="residual", decoder_filters=(16, 8))
    names = [layer.name for layer in model.layers if "projection" in layer.name]
    assert names == ["decoder1_projection", "decoder1_projection_norm"]
    coarse, skip, received = inner(model, "decoder1_block", "stage1_block1", "decoder2_add")(noise(2, 16, 16, 3))
    np.testing.assert_array_equal(values(received), values(coarse).repeat(2, axis=1).repeat(2, axis=2) + values(skip))


def test_fc_densenet_upsamples_only_the_new_features():
    model = zoo.build("fc_densenet_56", (32, 32, 3))
    bottom, received = map(values, inner(model, "bottom", "up1_conv")(noise(1, 32, 32, 3)))
    expected = model.get_layer("up1_conv")(bottom[..., -4 * 12 :])
    np.testing.assert_allclose(received, values(expected), rtol=1e-4, atol=1e-5)
    kernels = [model.get_layer(f"up{step}_conv").kernel.shape for step in range(1, 6)]
    assert kernels == [(3, 3, 48, 48)] * 5
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.2] * 5
    assert {model.get_layer(name).dropout for name in ("down1", "bottom", "up5")} == {0.2}


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("build", [small, small_volume])
def test_channels_may_come_first(build, skip):
    skip_without_channels_first()
    last = build(skip=skip)
    x = noise(2, *last.input_shape[1:])
    keras.config.set_image_data_format("channels_first")
    try:
        if build is small:
            first = zoo.build("unet", (3, 16, 16), 5, backbone="resnet20", backbone_arguments={"depth": 8}, skip=skip)
        else:
            first = zoo.build("unet3d", (2, 8, 16, 16), 3, filters=(4, 6, 8), skip=skip)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [(v.path, v.shape) for v in first.weights] == [(v.path, v.shape) for v in last.weights]
    first.set_weights(last.get_weights())
    received, expected = first(np.moveaxis(x, -1, 1)), last(x)
    np.testing.assert_allclose(values(received), values(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("few_blocks")
def test_fc_densenet_takes_channels_first():
    skip_without_channels_first()
    last = zoo.build("fc_densenet_56", (32, 64, 3))
    keras.config.set_image_data_format("channels_first")
    try:
        first = zoo.build("fc_densenet_56", (3, 32, 64))
    finally:
        keras.config.set_image_data_format("channels_last")
    first.set_weights(last.get_weights())
    x = noise(1, 32, 64, 3)
    received, expected = values(first(np.moveaxis(x, -1, 1))), values(last(x))
    assert np.abs(received - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("build", [small, small_volume])
def test_maps_of_the_decoder(build):
    model, features = build(), build(features_only=True)
    assert list(features.output) == ["C1", "C0"]
    assert features.output["C0"].shape[1:-1] == model.output_shape[1:-1]
    assert [v.path for v in features.weights] == [v.path for v in model.weights if not v.path.startswith("head/")]


def test_recompute_and_survival_reach_the_blocks_of_encoder_and_decoder():
    model = small_volume(skip="residual", blocks=2, recompute=True, survival_prob=0.4)
    blocks = [layer for layer in model.layers if "block" in layer.name]
    assert all(layer.recompute for layer in blocks)
    assert [layer.survival_prob for layer in blocks] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.7, 0.4])
    model = small(skip="residual", recompute=True, survival_prob=0.6)
    blocks = [layer for layer in model.layers if "block" in layer.name]
    assert all(layer.recompute for layer in blocks)
    assert [layer.survival_prob for layer in blocks][-2:] == pytest.approx([0.8, 0.6])


def test_logits_are_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small(skip="attention")
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("decoder2_conv2").compute_dtype == "float16"
    assert model.output.dtype == "float32"


def test_residual_unet_takes_images_too():
    model = zoo.build("unet3d", (8, 16, 1), 2, filters=(4, 8), dimensions=2)
    assert (model.name, model.output_shape) == ("unet2d", (None, 8, 16, 2))


def test_sides_may_be_unknown():
    model = zoo.build("unet", (None, None, 3), 5, backbone="resnet20", backbone_arguments={"depth": 8})
    assert model(noise(1, 20, 12, 3)).shape == (1, 20, 12, 5)
    with pytest.raises(Exception, match="21"):
        model(noise(1, 42, 12, 3))


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("unet", {"input_shape": (100, 128, 3)}, r"multiples of 32; .* Received: input_shape=\(100, 128, 3\)"),
        ("unet", {"input_shape": (30, 32, 3), "backbone": "resnet20"}, "multiples of 4;"),
        ("fc_densenet_56", {"input_shape": (48, 64, 3)}, "multiples of 32;"),
        ("unet3d", {"input_shape": (24, 32, 32, 1)}, "multiples of 16;"),
        ("unet3d", {"input_shape": 32}, r"input_shape=\(depth, height, width, channels\)"),
        ("unet3d", {"input_shape": (32, 32, 32)}, r"input_shape=\(depth, height, width, channels\)"),
        ("unet3d", {"dimensions": 1}, "dimensions to be one of 2, 3"),
        ("unet3d", {"filters": (8,)}, r"filters of at least two sizes\. Received: filters=\(8,\)"),
        ("unet3d", {"blocks": 0}, "blocks to be a positive integer"),
        ("unet", {"backbone": "plain_mlp"}, "a network with feature maps .* 'plain_mlp'"),
        ("unet", {"backbone": "resnet35"}, "Did you mean .*resnet34"),
        ("unet", {"backbone": "highway_mnist_16", "input_shape": (28, 28, 1)}, "map C0 has 1/1 .* C0 of size 24"),
        ("unet", {"backbone_arguments": {"dept": 18}}, "an argument of resnet34"),
        ("unet", {"decoder_filters": (8, 4)}, r"decoder_filters for 5 steps\. Received: decoder_filters=\(8, 4\)"),
        ("unet", {"decoder_filters": (16, 8, 4, 2, 0)}, "decoder_filters to be a positive integer"),
        ("unet", {"skip": "sum"}, "skip to be one of 'plain', 'residual', 'attention'"),
        ("unet", {"backbone": "resnet20", "survival_prob": 0.5}, "neither resnet20 nor the decoder"),
        ("unet3d", {"survival_prob": 1.5}, r"survival_prob to be a number in \(0, 1\]"),
        ("fc_densenet_56", {"depth": 57}, "depth to be one of 56, 67, 103"),
    ],
)
def test_arguments_out_of_range_are_refused(name, arguments, said):
    with pytest.raises(ValueError, match=f"Expected .*{said}"):
        zoo.build(name, **arguments)
