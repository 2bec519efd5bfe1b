"""The residual networks for ImageNet: a stem to a quarter of the size, four stages of blocks, pooling, logits.

    stage      1    2    3    4
    size     1/4  1/8 1/16 1/32
    filters   64  128  256  512    basic blocks of two convolutions, such as 18 and 34 layers
             256  512 1024 2048    bottleneck blocks of three, such as 50, 101 and 152 layers

This is torchvision's form, which strides the 3x3 convolutions; `applications` has the forms of keras.applications. The
later networks change one part each, and may be combined:

    resnext       the 3x3 convolutions in groups
    wide_resnet   the first two convolutions of the bottlenecks widened
    seresnet      a gate on the channels at the end of each branch, squeeze and excite
    resnet*d      three 3x3 convolutions as the stem, and average pooling before the projections
    resnetrs      the last two, and a strided convolution instead of the stem's pooling

He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
Zagoruyko and Komodakis, Wide Residual Networks, 2016, https://arxiv.org/abs/1605.07146
Xie et al., Aggregated Residual Transformations for Deep Neural Networks, 2016, https://arxiv.org/abs/1611.05431
Hu et al., Squeeze-and-Excitation Networks, 2017, https://arxiv.org/abs/1709.01507
He et al., Bag of Tricks for Image Classification with Convolutional Neural Networks, 2018,
https://arxiv.org/abs/1812.01187
Bello et al., Revisiting ResNets: Improved Training and Scaling Strategies, 2021, https://arxiv.org/abs/2103.07579
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .._arguments import document, one_of, positive
from .._common import NORM, block_norm, image_input, kernels, network, norm_activation, residual_blocks
from ..family import Row
from ..small_images.resnet import RESNET
from ..small_images.wide import WIDE
from ._stem import INPUT_SHAPE, ImageNetFamily, counts_of, deep_stem, max_pool, padded_convolution, plain_stem
from ._torch_names import ANCHORS, NAMINGS, name_of

if TYPE_CHECKING:
    import keras

    from keras_skip import EfficientChannelAttention, SqueezeExcite

RESNEXT = "Xie et al. 2016, Aggregated Residual Transformations for Deep Neural Networks, arXiv 1611.05431"
SENET = "Hu et al. 2017, Squeeze-and-Excitation Networks, arXiv 1709.01507"
TRICKS = "He et al. 2018, Bag of Tricks for Image Classification with Convolutional Neural Networks, arXiv 1812.01187"
REVISITED = "Bello et al. 2021, Revisiting ResNets: Improved Training and Scaling Strategies, arXiv 2103.07579"

BASIC: dict[int, tuple[int, ...]] = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK: dict[int, tuple[int, ...]] = {
    14: (1, 1, 1, 1),
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    269: (3, 30, 48, 8),
    270: (4, 29, 53, 4),
    350: (4, 36, 72, 4),
    420: (4, 44, 87, 4),
}
WIDTH = 64  # of the first stage, where it is narrowest
# The filters of three 3x3 convolutions, instead of one of 7x7.
STEMS = {"plain": None, "deep": (32, 32, 64), "tiered": (24, 32, 64), "wide": (64, 64, 128)}
SMALLEST = 32  # a last map of one pixel

document_images = partial(
    document, input_shape="(height, width, channels), 32 x 32 or larger; height and width may be None."
)


@document_images
def imagenet_resnet(
    input_shape: Sequence[int | None] = INPUT_SHAPE,
    classes: int = 1000,
    depth: int = 50,
    widening: Literal[1, 2, 4] = 1,
    groups: int = 1,
    width_per_group: int = WIDTH,
    stem: Literal["plain", "deep", "tiered", "wide"] = "plain",
    stem_pool: Literal["max", "convolution"] = "max",
    downsample: Literal["stride", "pool"] = "stride",
    attention: Literal["se", "eca"] | None = None,
    attention_ratio: int = 16,
    zero_init_gamma: bool = False,
    survival_prob: float = 1.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Residual network in torchvision's form: bottlenecks stride their 3x3 convolution, no convolution has a bias.

    Args:
        depth: With basic blocks 10, 18 or 34; with bottlenecks 14, 26, 50, 101, 152, 200, 269, 270, 350 or 420.
        widening: Factor on the inner width of the bottlenecks, 1, 2 or 4; 2 gives the wide networks.
        groups: Of the 3x3 convolutions in the bottlenecks; 32, with `width_per_group=4`, gives ResNeXt's 32x4d.
        width_per_group: Channels of each group in the first stage; every stage doubles them.
        stem: "plain" is a 7x7 convolution to 64 channels. The others are three 3x3 convolutions: "deep" to 32, 32 and
            64 channels, "tiered" to 24, 32 and 64, "wide" to 64, 64 and 128.
        stem_pool: "max" is a max pooling, "convolution" a strided 3x3 convolution instead.
        downsample: "stride" strides the projections; "pool" puts an average pooling before them.
        attention: The gate on the channels at the end of each branch, "se" (`SqueezeExcite`) or "eca"
            (`EfficientChannelAttention`); None for none.
        attention_ratio: The factor by which "se" reduces the channels; the result is rounded to a multiple of 8.
        zero_init_gamma: Whether every block starts as its shortcut.
        survival_prob: Of the last block in training; the probabilities fall to it linearly.

    Returns:
        A model from float images to logits, with timm's name, such as "resnet50", "wide_resnet50_2" or
        "seresnext50_32x4d".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.imagenet.resnet import imagenet_resnet
    >>> imagenet_resnet((64, 64, 3), depth=18).count_params() - 9600  # without the moving statistics
    11689512
    """
    from keras_skip import BottleneckBlock, ResidualBlock

    counts = counts_of(depth, BASIC | BOTTLENECK)
    width = _inner_width(depth, widening, groups, width_per_group)
    image = image_input(input_shape, SMALLEST)
    maps = {}
    maps["C1"], x = _begin(image, stem, stem_pool, weight_decay)
    options: dict[str, Any] = {"recompute": recompute, **block_norm(), **kernels(weight_decay)}
    options |= {"padding": "symmetric", "zero_init_gamma": zero_init_gamma}
    options["downsample"] = one_of(downsample, "downsample", ("stride", "pool"))
    for stage, strides, own in residual_blocks(counts, survival_prob):
        filters = (WIDTH if depth in BASIC else 4 * WIDTH) << stage - 1
        options |= {"strides": strides, **own}
        options["attention"] = _gate(attention, filters, attention_ratio, weight_decay)
        if depth in BASIC:
            x = ResidualBlock(filters, **options)(x)
        else:
            x = BottleneckBlock(filters, width=width << stage - 1, groups=groups, **options)(x)
        maps[f"C{stage + 1}"] = x
    name = name_of(depth, widening, groups, width_per_group, stem, stem_pool, downsample, attention)
    return network(image, maps, classes, weight_decay, name, features_only)


def _inner_width(depth: int, widening: int, groups: int, width_per_group: int) -> int:
    """The channels of the first two convolutions of a bottleneck in the first stage."""
    width = positive(groups, "groups") * positive(width_per_group, "width_per_group")
    is_basic = depth in BASIC
    if widening not in ((1,) if is_basic else (1, 2, 4)):
        choices = "1" if is_basic else "1, 2, 4"
        raise ValueError(f"Expected widening to be one of {choices} at depth {depth}. Received: widening={widening!r}")
    if is_basic and (groups, width_per_group) != (1, WIDTH):
        raise ValueError(
            f"Expected groups=1 and width_per_group={WIDTH} at depth {depth}, which has basic blocks. "
            f"Received: groups={groups}, width_per_group={width_per_group}"
        )
    return widening * width


def _begin(
    image: "keras.KerasTensor", stem: str, pool: str, weight_decay: float
) -> "tuple[keras.KerasTensor, keras.KerasTensor]":
    """Applies the stem and what halves its output; returns the outputs of both."""
    one_of(pool, "stem_pool", ("max", "convolution"))
    filters = STEMS[one_of(stem, "stem", STEMS)]
    x = plain_stem(image, weight_decay, norm=NORM) if filters is None else deep_stem(image, weight_decay, filters)
    if pool == "max":
        return x, max_pool(x)
    channels = filters[-1] if filters else WIDTH
    return x, norm_activation(padded_convolution(x, channels, 3, "stem_pool", weight_decay), "stem_pool")


def _gate(
    attention: str | None, channels: int, ratio: int, weight_decay: float
) -> "SqueezeExcite | EfficientChannelAttention | None":
    from keras_skip import EfficientChannelAttention, SqueezeExcite

    one_of(attention, "attention", (None, "se", "eca"))
    positive(ratio, "attention_ratio")
    if attention == "se":
        # timm's rounding, to the nearest multiple of 8 that is not 0.
        width = max(8, (channels // ratio + 4) // 8 * 8)
        return SqueezeExcite(width=width, **kernels(weight_decay))
    return EfficientChannelAttention(**kernels(weight_decay)) if attention else None


_TorchFamily = partial(ImageNetFamily, imagenet_resnet, namings=NAMINGS, anchors=ANCHORS)

TEN_CROPS = {
    depth: f"{error} % top-1 on ImageNet, ten crops" for depth, error in ((50, 22.9), (101, 21.8), (152, 21.4))
}
_AUTHORS = " (the authors' code)"
_OTHER_STRIDES = ", other strides"  # the paper strides the first 1x1
_SE = {"attention": "se"}
_D = {"stem": "deep", "downsample": "pool"}
_RS = _D | _SE | {"stem_pool": "convolution", "attention_ratio": 4}


def _resnext(depth: int, groups: int, width: int) -> dict[str, Any]:
    return {"depth": depth, "groups": groups, "width_per_group": width}


def _row(
    name: str,
    arguments: Mapping[str, Any],
    parameters: int,
    non_trainable: int,
    multiply_adds: int,
    error: str = "",
    note: str = "",
) -> Row:
    error = f"{error} % top-1 on ImageNet, one crop{note}" if error else ""
    return Row(name, arguments, parameters, non_trainable, multiply_adds, error)


FAMILIES = (
    _TorchFamily(
        "residual network for ImageNet, in torchvision's form",
        (
            Row("resnet18", {"depth": 18}, 11_689_512, 9_600, 1_814_073_344),
            Row("resnet34", {"depth": 34}, 21_797_672, 17_024, 3_663_761_408),
            Row("resnet50", {"depth": 50}, 25_557_032, 53_120, 4_089_184_256, TEN_CROPS[50] + _OTHER_STRIDES),
            Row("resnet101", {"depth": 101}, 44_549_160, 105_344, 7_801_405_440, TEN_CROPS[101] + _OTHER_STRIDES),
            Row("resnet152", {"depth": 152}, 60_192_808, 151_424, 11_513_626_624, TEN_CROPS[152] + _OTHER_STRIDES),
        ),
        RESNET,
    ),
    _TorchFamily(
        "wide residual network for ImageNet, in torchvision's form",
        (
            _row("wide_resnet50_2", {"depth": 50, "widening": 2}, 68_883_240, 68_224, 11_398_021_120, "21.9", _AUTHORS),
            _row("wide_resnet101_2", {"depth": 101, "widening": 2}, 126_886_696, 137_856, 22_753_050_624),
        ),
        WIDE,
    ),
    _TorchFamily(
        "residual network for ImageNet with grouped convolutions (ResNeXt)",
        (
            _row("resnext50_32x4d", _resnext(50, 32, 4), 25_028_904, 68_224, 4_230_479_872, "22.2"),
            _row("resnext101_32x4d", _resnext(101, 32, 4), 44_177_704, 137_856, 7_969_996_800, "21.2"),
            _row("resnext101_32x8d", _resnext(101, 32, 8), 88_791_336, 202_880, 16_414_015_488),
            _row("resnext101_64x4d", _resnext(101, 64, 4), 83_455_272, 202_880, 15_460_270_080, "20.4"),
        ),
        RESNEXT,
    ),
    _TorchFamily(
        "residual network for ImageNet with squeeze and excite",
        (
            _row("seresnet18", {"depth": 18} | _SE, 11_779_624, 9_600, 1_814_161_408),
            _row("seresnet34", {"depth": 34} | _SE, 21_960_416, 17_024, 3_663_920_128),
            _row("seresnet50", {"depth": 50} | _SE, 28_088_024, 53_120, 4_091_699_200, "23.29", _OTHER_STRIDES),
            _row("seresnet101", {"depth": 101} | _SE, 49_326_872, 105_344, 7_806_148_608, "22.38", _OTHER_STRIDES),
            _row("seresnet152", {"depth": 152} | _SE, 66_821_848, 151_424, 11_520_204_800, "21.57", _OTHER_STRIDES),
            _row("seresnext50_32x4d", _resnext(50, 32, 4) | _SE, 27_559_896, 68_224, 4_232_994_816, "21.10"),
            _row("seresnext101_32x4d", _resnext(101, 32, 4) | _SE, 48_955_416, 137_856, 7_974_739_968, "20.70"),
            _row("seresnext101_32x8d", _resnext(101, 32, 8) | _SE, 93_569_048, 202_880, 16_418_758_656),
        ),
        SENET,
    ),
    _TorchFamily(
        "residual network for ImageNet with a deep stem and average pooling in the shortcuts",
        (
            _row("resnet18d", {"depth": 18} | _D, 11_708_744, 9_728, 2_053_713_920),
            _row("resnet26d", {"depth": 26} | _D, 16_014_408, 30_976, 2_581_897_216),
            _row("resnet34d", {"depth": 34} | _D, 21_816_904, 17_152, 3_903_401_984),
            _row("resnet50d", {"depth": 50} | _D, 25_576_264, 53_248, 4_328_824_832, "22.84"),
            _row("resnet101d", {"depth": 101} | _D, 44_568_392, 105_472, 8_041_046_016),
            _row("resnet152d", {"depth": 152} | _D, 60_212_040, 151_552, 11_753_267_200),
        ),
        TRICKS,
    ),
    _TorchFamily(
        "residual network for ImageNet, revised for training (ResNet-RS)",
        (
            _row("resnetrs50", {"depth": 50} | _RS, 35_691_912, 53_376, 4_454_490_112, "21.2", " of 160 x 160"),
            _row("resnetrs101", {"depth": 101} | _RS, 63_618_696, 105_600, 8_175_624_192, "18.8", " of 192 x 192"),
            _row("resnetrs152", {"depth": 152} | _RS, 86_621_576, 151_680, 11_895_185_408, "17.0", " of 256 x 256"),
        ),
        REVISITED,
    ),
)
