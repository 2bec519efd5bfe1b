"""The pre-activation residual networks for small images.

    depth = 6n + 2        n blocks of two convolutions in each of three stages, filters 16, 32, 64
    depth = 9n + 2        n bottleneck blocks of three convolutions, filters 64, 128, 256

Normalisation and activation stand before each convolution: none follows the stem, and one comes before the pooling.

He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
"""

from typing import Any

import keras

from keras_skip import PreActivationBlock, PreActivationBottleneckBlock

from ._common import block_norm, blocks_per_stage, convolution, image_input, kernels, network, norm_activation

STEM = 16


def preact_resnet(
    input_shape: Any,
    classes: int = 10,
    depth: int = 164,
    bottleneck: bool = True,
    shortcut: str = "projection",
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Pre-activation residual network of the paper's family for CIFAR-10.

    Args:
        input_shape: (height, width, channels); height and width may be None.
        classes: Number of logits.
        depth: 9n + 2 with bottlenecks (164, 1001), 6n + 2 without (110).
        bottleneck: Whether the blocks have three convolutions rather than two.
        shortcut: "projection", or "pad" (option A, the paper's choice without bottlenecks).
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.
        recompute: Whether only the blocks' inputs are kept for the gradients; see `PreActivationBlock`.

    Returns:
        A model from float images to logits, named "preact_resnet" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.preactivation import preact_resnet
    >>> preact_resnet((8, 8, 3), depth=20).output_shape
    (None, 10)
    """
    blocks = blocks_per_stage(depth, 9 if bottleneck else 6, 2)
    cls = PreActivationBottleneckBlock if bottleneck else PreActivationBlock
    options: dict[str, Any] = {"shortcut": shortcut, "recompute": recompute, **block_norm(), **kernels(weight_decay)}
    image = image_input(input_shape)
    x = convolution(image, STEM, "stem_conv", weight_decay)
    maps = {}
    for stage in range(1, 4):
        for block in range(1, blocks + 1):
            filters = STEM * 2 ** (stage - 1) * (4 if bottleneck else 1)
            strides = 2 if stage > 1 and block == 1 else 1
            # The very first unit has no activation before it, so its shortcut shares that of the branch.
            options["preactivate_shortcut"] = True if stage == block == 1 else "auto"
            x = cls(filters, strides=strides, name=f"stage{stage}_block{block}", **options)(x)
        maps[f"C{stage - 1}"] = x
    maps["C2"] = norm_activation(x, "last")
    return network(image, maps, classes, weight_decay, f"preact_resnet{depth}", features_only)
