"""The densely connected networks for ImageNet: a stem, four dense blocks with transitions between, pooling, logits.

    depth      layers of the dense blocks, each a 1x1 and a 3x3 convolution to 32 new channels
    121        6, 12, 24, 16
    169        6, 12, 32, 32
    201        6, 12, 48, 32

Huang et al., Densely Connected Convolutional Networks, 2017, https://arxiv.org/abs/1608.06993
"""

from typing import Any

import keras

from keras_skip import DenseBlock, TransitionBlock

from ._common import NORM, block_norm, kernels, network, norm_activation
from ._imagenet import DEFAULT_SHAPE, sized_input, stages_of, stem

LAYERS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
GROWTH_RATE = 32
SMALLEST = 29  # the third transition still has two pixels to pool


def imagenet_densenet(
    input_shape: Any = DEFAULT_SHAPE,
    classes: int = 1000,
    depth: int = 121,
    norm_epsilon: float = 1e-5,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Densely connected network with bottlenecks and a compression of 0.5.

    Args:
        input_shape: (height, width, channels), 29 x 29 or larger; height and width may be None.
        classes: Number of logits.
        depth: 121, 169 or 201.
        norm_epsilon: Epsilon of the normalisations: 1e-5 for the weights of torchvision, 1.001e-5 for those of
            keras.applications.
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.
        recompute: Whether the dense blocks are trained in memory that grows linearly with their layers; see
            `DenseBlock`.

    Returns:
        A model from float images to logits, named "densenet" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.imagenet_densenet import imagenet_densenet
    >>> imagenet_densenet((64, 64, 3), depth=121).count_params() - 83648  # without the moving statistics
    7978856
    """
    counts = stages_of(depth, LAYERS)
    image = sized_input(input_shape, SMALLEST)
    norm = NORM | {"epsilon": norm_epsilon}
    options: dict[str, Any] = {**block_norm(norm), **kernels(weight_decay)}
    maps = {}
    maps["C1"], x = stem(image, weight_decay, norm=norm)
    for block, layers in enumerate(counts, 1):
        x = DenseBlock(layers, GROWTH_RATE, recompute=recompute, name=f"block{block}", **options)(x)
        maps[f"C{block + 1}"] = x
        if block < len(counts):
            x = TransitionBlock(0.5, name=f"transition{block}", **options)(x)
    maps["C5"] = norm_activation(x, "last", norm)
    return network(image, maps, classes, weight_decay, f"densenet{depth}", features_only)
