"""The sizes of the networks for segmentation by arithmetic, and their names in segmentation_models_pytorch."""

import pytest

import zoo
from tests.sweep import sweep
from zoo.networks.catalogue import MODELS
from zoo.networks.counting import count
from zoo.networks.imagenet import _torch_names, densenet
from zoo.networks.segmentation.unet import smp_naming

# Parameters of segmentation_models_pytorch 0.6.0's Unet(encoder, classes=3).
PARAMETERS = {
    "resnet18": 14_328_499,
    "resnet34": 24_436_659,
    "resnet50": 32_521_395,
    "resnet101": 51_513_523,
    "resnet152": 67_157_171,
    "densenet121": 13_607_923,
    "densenet169": 21_202_931,
}


@pytest.mark.parametrize("backbone", sweep(PARAMETERS, ("resnet18", "densenet121")))
def test_unet_has_the_parameters_of_segmentation_models_pytorch(backbone):
    model = zoo.build("unet", (64, 64, 3), 3, backbone=backbone)
    assert count(model.trainable_variables) == PARAMETERS[backbone]


@pytest.mark.parametrize(
    ("naming", "path", "name"),
    [
        (_torch_names.TORCH_NAMING, "stem_conv/kernel", "encoder.conv1.weight"),
        (_torch_names.TORCH_NAMING, "stage2_block1/projection_norm/gamma", "encoder.layer2.0.downsample.1.weight"),
        (
            densenet.TORCH_NAMING,
            "transition2/norm1/moving_mean",
            "encoder.features.transition2.norm.running_mean",
        ),
        (densenet.TORCH_NAMING, "last_norm/beta", "encoder.features.norm5.bias"),
        (_torch_names.TORCH_NAMING, "decoder1_conv2/kernel", "decoder.blocks.0.conv2.0.weight"),
        (densenet.TORCH_NAMING, "decoder5_conv1_norm/moving_variance", "decoder.blocks.4.conv1.1.running_var"),
        (densenet.TORCH_NAMING, "head/bias", "segmentation_head.0.bias"),
    ],
)
def test_names_of_segmentation_models_pytorch_follow_from_those_of_the_backbone(naming, path, name):
    assert smp_naming(naming).theirs(path) == name


def decoder_parameters(coarse, skips, filters):
    """Of steps of two convolutions of 27 weights for each pair of channels, and their normalisations."""
    total = 0
    for skip, width in zip(skips, filters, strict=True):
        total += 27 * (coarse + skip) * width + 27 * width * width + 4 * width
        coarse = width
    return total


def residual_encoder_parameters(channels, filters):
    """Of a convolution and one block of two for each size, with a projection where the channels grow."""
    total, before = 27 * channels * filters[0] + 2 * filters[0], filters[0]
    for width in filters:
        total += 27 * before * width + 27 * width * width + 4 * width
        total += before * width + 2 * width if width != before else 0
        before = width
    return total


def test_unet3d_has_the_parameters_that_arithmetic_gives():
    filters = (32, 64, 128, 256, 320)
    wanted = residual_encoder_parameters(4, filters)
    wanted += decoder_parameters(320, filters[-2::-1], filters[-2::-1]) + 32 * 4 + 4
    assert wanted == MODELS["unet3d"].parameters


@pytest.mark.parametrize(
    ("name", "growth", "layers", "exact", "stated"),
    [
        ("fc_densenet_56", 12, (4,) * 11, 1_375_019, None),  # the paper states 1.5M
        ("fc_densenet_67", 16, (5,) * 11, 3_460_475, "3.5M"),
        ("fc_densenet_103", 16, (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4), 9_318_075, "9.4M"),
    ],
)
def test_fc_densenets_have_the_parameters_of_the_paper(name, growth, layers, exact, stated):
    channels, total, moving, skips = 48, 9 * 3 * 48, 0, []

    def block(channels, count):
        inputs = [channels + index * growth for index in range(count)]
        return 9 * growth * sum(inputs) + 2 * sum(inputs), 2 * sum(inputs), channels + count * growth

    for step, count_ in enumerate(layers):
        if step > 5:
            new = layers[step - 1] * growth
            total += 9 * new * new
            channels = new + skips.pop()
        trained, moved, channels = block(channels, count_)
        total, moving = total + trained, moving + moved
        if step < 5:
            skips.append(channels)
            total, moving = total + channels * channels + 2 * channels, moving + 2 * channels
    total += channels * 11 + 11
    assert total == exact == MODELS[name].parameters
    # Each dropout, one for each layer and transition, has a seed of two.
    assert moving + 2 * (sum(layers) + 5) == MODELS[name].non_trainable
    # The paper's figures count the moving statistics.
    assert stated in (None, f"{(total + moving) / 1e6:.1f}M")
