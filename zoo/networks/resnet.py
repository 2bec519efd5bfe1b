"""The residual networks for small images, and the same convolutions without skips, and with blocks that drop out.

    depth = 6n + 2        a convolution, three stages of n blocks of two convolutions, pooling, logits
                          filters 16, 32, 64; the second and the third stage halve the size

He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
Huang et al., Deep Networks with Stochastic Depth, 2016, https://arxiv.org/abs/1603.09382
"""

from collections.abc import Callable
from typing import Any

import keras

from keras_skip import ResidualBlock, StochasticDepthBlock, linear_survival

from ._common import block_norm, blocks_per_stage, convolution, image_input, kernels, network, norm_activation

STAGES = (16, 32, 64)


def cifar_resnet(
    input_shape: Any,
    classes: int = 10,
    depth: int = 20,
    shortcut: str = "pad",
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Residual network of the paper's family for CIFAR-10.

    Args:
        input_shape: (height, width, channels); height and width may be None.
        classes: Number of logits.
        depth: 6n + 2: 20, 32, 44, 56, 110, ...
        shortcut: "pad" (option A, the paper's choice here) or "projection" (option B).
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.
        recompute: Whether only the blocks' inputs are kept for the gradients; see `ResidualBlock`.

    Returns:
        A model from float images to logits, named "resnet" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.resnet import cifar_resnet
    >>> cifar_resnet((32, 32, 3)).count_params() - 1376  # without the moving statistics
    269722
    """
    options = {"shortcut": shortcut, "recompute": recompute, **block_norm(), **kernels(weight_decay)}

    def block(x: Any, filters: int, strides: int, name: str) -> Any:
        return ResidualBlock(filters, strides=strides, name=name, **options)(x)

    return _network(f"resnet{depth}", input_shape, classes, depth, weight_decay, features_only, block)


def plain(
    input_shape: Any, classes: int = 10, depth: int = 20, weight_decay: float = 0.0, features_only: bool = False
) -> keras.Model:
    """The convolutions of `cifar_resnet` without the skips: the paper's plain network.

    Args:
        input_shape: (height, width, channels); height and width may be None.
        classes: Number of logits.
        depth: 6n + 2: 20, 32, 44, 56, ...
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.

    Returns:
        A model from float images to logits, named "plain" and its depth. It has the residual network's parameters.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.resnet import plain
    >>> plain((32, 32, 3)).count_params() - 1376
    269722
    """

    def block(x: Any, filters: int, strides: int, name: str) -> Any:
        x = norm_activation(convolution(x, filters, f"{name}_conv1", weight_decay, strides), f"{name}_1")
        return norm_activation(convolution(x, filters, f"{name}_conv2", weight_decay), f"{name}_2")

    return _network(f"plain{depth}", input_shape, classes, depth, weight_decay, features_only, block)


def stochastic_resnet(
    input_shape: Any,
    classes: int = 10,
    depth: int = 110,
    shortcut: str = "pad",
    survival_prob: float = 0.5,
    granularity: str = "batch",
    scale: str = "inference",
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Residual network whose blocks drop out in training, the later the more often, the down-sampling ones included.

    Args:
        input_shape: (height, width, channels); height and width may be None.
        classes: Number of logits.
        depth: 6n + 2.
        shortcut: "pad" or "projection", as in `cifar_resnet`.
        survival_prob: Of the last block; the probabilities fall to it linearly, so even the first block can drop.
        granularity: "batch" draws once per block and mini-batch, as the paper does; "sample" for each image.
        scale: "inference" multiplies by the probability at inference, as the paper does; "training" divides by it in
            training.
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.
        recompute: Whether only the blocks' inputs are kept for the gradients; see `ResidualBlock`.

    Returns:
        A model from float images to logits, named "stochastic_resnet" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.resnet import stochastic_resnet
    >>> model = stochastic_resnet((8, 8, 3), depth=14)
    >>> [model.get_layer(f"stage{n}_block2").survival_prob for n in (1, 2, 3)] == [1 - 1 / 6, 1 - 2 / 6, 0.5]
    True
    """
    survival = iter(linear_survival(survival_prob, 3 * blocks_per_stage(depth, 6, 2)))
    options = {
        "shortcut": shortcut,
        "granularity": granularity,
        "scale": scale,
        "recompute": recompute,
        **block_norm(),
        **kernels(weight_decay),
    }

    def block(x: Any, filters: int, strides: int, name: str) -> Any:
        return StochasticDepthBlock(filters, strides=strides, survival_prob=next(survival), name=name, **options)(x)

    return _network(f"stochastic_resnet{depth}", input_shape, classes, depth, weight_decay, features_only, block)


def _network(
    name: str,
    input_shape: Any,
    classes: int,
    depth: int,
    weight_decay: float,
    features_only: bool,
    block: Callable[..., Any],
) -> keras.Model:
    blocks = blocks_per_stage(depth, 6, 2)
    image = image_input(input_shape)
    x = norm_activation(convolution(image, STAGES[0], "stem_conv", weight_decay), "stem")
    maps = {}
    for stage, filters in enumerate(STAGES, 1):
        for place in range(1, blocks + 1):
            strides = 2 if stage > 1 and place == 1 else 1
            x = block(x, filters, strides, f"stage{stage}_block{place}")
        maps[f"C{stage - 1}"] = x
    return network(image, maps, classes, weight_decay, name, features_only)
