"""The residual networks for volumes in MONAI's form: those for ImageNet with one more dimension.

    stage      1    2    3    4
    size     1/2  1/4  1/8 1/16    half of that if the first convolution has stride 2
    filters   64  128  256  512    basic blocks of two convolutions: 10, 18 and 34 layers
             256  512 1024 2048    bottleneck blocks of three: 50, 101, 152 and 200 layers

MONAI's default gives the projections a bias. Its networks with the weights of MedicalNet have `stem_strides=2`, and
`projection_bias=False`, or `shortcut="pad"` at 18 and 34 layers.

Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, 2018,
https://arxiv.org/abs/1711.09577
Chen et al., Med3D: Transfer Learning for 3D Medical Image Analysis, 2019, https://arxiv.org/abs/1904.00625
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .._arguments import document, one_of
from .._common import NORM, block_norm, kernels, network, network_input, residual_blocks
from ..family import Family, Row
from ..imagenet import resnet
from ..imagenet._stem import counts_of, max_pool, plain_stem
from ..imagenet._torch_names import TORCH_NAMING
from ..imagenet.resnet import BASIC
from ._volume import CLASSES, INPUT_SHAPE, SIDES

if TYPE_CHECKING:
    import keras

PAPER = "Hara et al. 2018, Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, arXiv 1711.09577"
BOTTLENECK = {depth: resnet.BOTTLENECK[depth] for depth in (50, 101, 152, 200)}


@partial(
    document,
    input_shape="(depth, height, width, channels); all but the channels may be None.",
    features_only='Whether the model ends in its feature maps, "C0" to "C4" or, with `stem_strides=2`, "C1" to "C5"; '
    "see `zoo.build`.",
)
def resnet3d(
    input_shape: Sequence[int | None] = INPUT_SHAPE,
    classes: int = CLASSES,
    depth: int = 18,
    stem_strides: Literal[1, 2] = 1,
    shortcut: Literal["projection", "pad"] = "projection",
    projection_bias: bool = True,
    survival_prob: float = 1.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Residual network for volumes.

    Args:
        depth: 10, 18, 34, 50, 101, 152 or 200.
        stem_strides: Strides of the first convolution, MONAI's `conv1_t_stride`.
        shortcut: "projection" (option B) or "pad" (option A).
        projection_bias: Whether projections have a bias, MONAI's `bias_downsample`.
        survival_prob: Of the last block in training; the probabilities fall to it linearly.

    Returns:
        A model from float volumes to logits, named "resnet3d_" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.volumes.resnet3d import resnet3d
    >>> resnet3d((32, 32, 32, 1), depth=18).count_params() - 9600  # without the moving statistics
    33161922
    """
    from keras_skip import BottleneckBlock, ResidualBlock

    counts = counts_of(depth, BASIC | BOTTLENECK)
    one_of(stem_strides, "stem_strides", (1, 2))
    volume = network_input(input_shape, SIDES, "volume")
    cls, filters, convolutions = (ResidualBlock, 64, 2) if depth in BASIC else (BottleneckBlock, 256, 3)
    options: dict[str, Any] = {"recompute": recompute, "shortcut": shortcut, **block_norm(), **kernels(weight_decay)}
    options |= {"padding": "symmetric", "use_bias": (*[False] * convolutions, projection_bias)}
    level = stem_strides - 1
    maps = {}
    x = plain_stem(volume, weight_decay, norm=NORM, strides=stem_strides)
    maps[f"C{level}"], x = x, max_pool(x)
    for stage, strides, own in residual_blocks(counts, survival_prob):
        x = cls(filters << stage - 1, strides=strides, **options, **own)(x)
        maps[f"C{level + stage}"] = x
    return network(volume, maps, classes, weight_decay, f"resnet3d_{depth}", features_only)


FAMILIES = (
    Family(
        resnet3d,
        "residual network for volumes, in MONAI's form",
        (
            Row("resnet3d_10", {"depth": 10}, 14_357_442, 5_760, 17_817_404_416),
            Row("resnet3d_18", {"depth": 18}, 33_161_922, 9_600, 31_406_949_376),
            Row("resnet3d_34", {"depth": 34}, 63_471_554, 17_024, 54_056_190_976),
            Row("resnet3d_50", {"depth": 50}, 46_163_010, 53_120, 40_533_757_952),
            Row("resnet3d_101", {"depth": 101}, 85_209_154, 105_344, 60_498_644_992),
            Row("resnet3d_152", {"depth": 152}, 117_367_874, 151_424, 85_161_152_512),
            Row("resnet3d_200", {"depth": 200}, 126_567_490, 176_000, 122_742_116_352),
        ),
        PAPER,
        task="volumes",
        input_shape=INPUT_SHAPE,
        classes=CLASSES,
        namings=(replace(TORCH_NAMING, library="MONAI"),),
    ),
)
