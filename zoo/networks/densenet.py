"""The densely connected networks for small images: three dense blocks with transitions between them.

    plain    depth = 3n + 4    n layers of a 3x3 convolution in each block; a stem of 16; transitions keep the channels
    BC       depth = 6n + 4    n layers of a 1x1 and a 3x3 convolution; a stem of 2k; transitions keep half of them

k is the growth rate. Normalisation and activation stand before each convolution: none follows the stem, and one comes
before the pooling.

Huang et al., Densely Connected Convolutional Networks, 2017, https://arxiv.org/abs/1608.06993
"""

from typing import Any

import keras

from keras_skip import DenseBlock, TransitionBlock

from ._common import block_norm, blocks_per_stage, convolution, image_input, kernels, network, norm_activation, positive


def cifar_densenet(
    input_shape: Any,
    classes: int = 10,
    depth: int = 40,
    growth_rate: int = 12,
    bottleneck: bool = False,
    compression: float = 1.0,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Densely connected network of the paper's family for CIFAR-10.

    Args:
        input_shape: (height, width, channels); height and width may be None.
        classes: Number of logits.
        depth: 3n + 4 (40, 100), with bottlenecks 6n + 4 (100, 190, 250).
        growth_rate: New channels of each layer, the paper's k.
        bottleneck: Whether a 1x1 convolution to 4k channels comes first in each layer.
        compression: Fraction of the channels that a transition keeps. The paper's BC networks have bottlenecks and
            0.5; their stem has 2k channels, others have 16.
        dropout: Rate after each convolution but the first; the paper's 0.2 where images are not augmented.
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.
        recompute: Whether the dense blocks are trained in memory that grows linearly with their layers; see
            `DenseBlock`.

    Returns:
        A model from float images to logits, named "densenet_" ("densenet_bc_") and its depth and growth rate.

    Raises:
        ValueError: For an argument out of range, or images too small to be halved twice.

    Example:

    >>> from zoo.networks.densenet import cifar_densenet
    >>> cifar_densenet((8, 8, 3), depth=10, growth_rate=4).output_shape
    (None, 10)
    """
    layers = blocks_per_stage(depth, 6 if bottleneck else 3, 4)
    positive(growth_rate, "growth_rate")
    is_bc = bottleneck and compression < 1.0
    options: dict[str, Any] = {"dropout": dropout, **block_norm(), **kernels(weight_decay)}
    image = image_input(input_shape)
    x = convolution(image, 2 * growth_rate if is_bc else 16, "stem_conv", weight_decay)
    maps = {}
    for block in range(1, 4):
        x = DenseBlock(layers, growth_rate, bottleneck, recompute=recompute, name=f"block{block}", **options)(x)
        maps[f"C{block - 1}"] = x
        if block < 3:
            x = TransitionBlock(compression, name=f"transition{block}", **options)(x)
    maps["C2"] = norm_activation(x, "last")
    name = f"densenet_{'bc_' if is_bc else ''}{depth}_{growth_rate}"
    return network(image, maps, classes, weight_decay, name, features_only)
