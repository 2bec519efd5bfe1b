"""The wide residual networks: fewer blocks, each k times as wide.

    depth = 6n + 4        a convolution of 16, three stages of n blocks, filters 16k, 32k, 64k, pooling, logits

The order is pre-activation: one normalisation and activation comes before the pooling. Of the depth, three are the
projections at the head of each stage.

Zagoruyko and Komodakis, Wide Residual Networks, 2016, https://arxiv.org/abs/1605.07146
"""

from typing import Any

import keras

from keras_skip import WideBlock

from ._common import block_norm, blocks_per_stage, convolution, image_input, kernels, network, norm_activation, positive

STEM = 16


def wide_resnet(
    input_shape: Any,
    classes: int = 10,
    depth: int = 28,
    width: int = 10,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Wide residual network of the paper's family for CIFAR-10.

    Args:
        input_shape: (height, width, channels); height and width may be None.
        classes: Number of logits.
        depth: 6n + 4: 16, 28, 40, ...
        width: How many times wider than the narrow network, the paper's k.
        dropout: Rate between the two convolutions of a block; the paper's 0.3 where it uses dropout.
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.
        recompute: Whether only the blocks' inputs are kept for the gradients; see `WideBlock`.

    Returns:
        A model from float images to logits, named "wrn_" and its depth and width.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.wide import wide_resnet
    >>> wide_resnet((8, 8, 3), depth=10, width=2).name
    'wrn_10_2'
    """
    blocks = blocks_per_stage(depth, 6, 4)
    positive(width, "width")
    options: dict[str, Any] = {"dropout": dropout, "recompute": recompute, **block_norm(), **kernels(weight_decay)}
    image = image_input(input_shape)
    x = convolution(image, STEM, "stem_conv", weight_decay)
    maps = {}
    for stage in range(1, 4):
        for block in range(1, blocks + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            filters = STEM * 2 ** (stage - 1) * width
            x = WideBlock(filters, strides=strides, name=f"stage{stage}_block{block}", **options)(x)
        maps[f"C{stage - 1}"] = x
    maps["C2"] = norm_activation(x, "last")
    return network(image, maps, classes, weight_decay, f"wrn_{depth}_{width}", features_only)
