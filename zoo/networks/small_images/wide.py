"""The wide residual networks: fewer blocks, each k times as wide.

    depth = 6n + 4        a convolution of 16, three stages of n blocks, filters 16k, 32k, 64k, pooling, logits

The order is pre-activation: one normalisation and activation comes before the pooling. Of the depth, three are the
projections at the head of each stage.

Zagoruyko and Komodakis, Wide Residual Networks, 2016, https://arxiv.org/abs/1605.07146
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...training.recipe import Schedule
from .._arguments import blocks_per_stage, document, positive
from .._common import STEM, block_norm, kernels, three_stages
from ..family import Family, Row, cifar_errors
from . import resnet

if TYPE_CHECKING:
    import keras

WIDE = "Zagoruyko & Komodakis 2016, Wide Residual Networks, arXiv 1605.07146"


@document
def wide_resnet(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 28,
    width: int = 10,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Wide residual network of the paper's family for CIFAR-10.

    Args:
        depth: 6n + 4: 16, 28, 40, ...
        width: How many times wider than the narrow network, the paper's k.
        dropout: Rate between the two convolutions of a block; the paper's 0.3 where it uses dropout.

    Returns:
        A model from float images to logits, named "wrn_" and its depth and width.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.wide import wide_resnet
    >>> wide_resnet((8, 8, 3), depth=10, width=2).name
    'wrn_10_2'
    """
    from keras_skip import WideBlock

    blocks = blocks_per_stage(depth, 6, 4)
    positive(width, "width")
    options: dict[str, Any] = {"dropout": dropout, "recompute": recompute, **block_norm(), **kernels(weight_decay)}

    def block(x: "keras.KerasTensor", stage: int, strides: int, name: str) -> "keras.KerasTensor":
        return WideBlock(STEM * 2 ** (stage - 1) * width, strides=strides, name=name, **options)(x)

    name = f"wrn_{depth}_{width}"
    return three_stages(name, input_shape, classes, weight_decay, features_only, blocks, block, preactivated=True)


FAMILIES = (
    Family(
        wide_resnet,
        "wide residual network for small images",
        (
            Row("wrn_16_2", {"depth": 16, "width": 2}, 691_674, 1_824, 101_106_944),
            Row("wrn_16_4", {"depth": 16, "width": 4}, 2_748_890, 3_616, 392_612_352),
            Row("wrn_16_8", {"depth": 16, "width": 8}, 10_961_370, 7_200, 1_548_145_664, cifar_errors("4.27", "20.43")),
            Row("wrn_40_4", {"depth": 40, "width": 4}, 8_949_210, 10_784, 1_298_582_016, cifar_errors("4.53", "21.18")),
            Row(
                "wrn_28_10",
                {"depth": 28, "width": 10},
                36_479_194,
                17_952,
                5_243_328_768,
                f"{cifar_errors('4.00', '19.25')}; with dropout 0.3: 3.89 % and 18.85 %",
            ),
        ),
        WIDE,
        recipe=replace(
            resnet.RECIPE,
            epochs=200,
            optimizer=replace(resnet.TORCH, weight_decay=5e-4),
            schedule=Schedule(kind="step", milestones=(0.3, 0.6, 0.8), factor=0.2),
            augment=replace(resnet.RECIPE.augment, pad_mode="reflect"),
        ),
    ),
)
