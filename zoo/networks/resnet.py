"""The residual networks for small images: a convolution, three stages of n residual blocks, pooling, logits.

    depth = 6n + 2        filters 16, 32, 64; the second and the third stage halve the size

He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
"""

from typing import Any

import keras

from keras_skip import ResidualBlock

from ._common import decay, head, image_input

STAGES = (16, 32, 64)
MOMENTUM, EPSILON = 0.9, 1e-5


def cifar_resnet(
    input_shape: Any, classes: int = 10, depth: int = 20, shortcut: str = "pad", weight_decay: float = 0.0
) -> keras.Model:
    """Residual network of the paper's family for CIFAR-10.

    Args:
        input_shape: (height, width, channels); height and width may be None.
        classes: Number of logits.
        depth: 6n + 2: 20, 32, 44, 56, 110, ...
        shortcut: "pad" (option A, the paper's choice here) or "projection" (option B).
        weight_decay: Coupled L2 on the kernels.

    Returns:
        A model from float images to logits, named "resnet" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.resnet import cifar_resnet
    >>> cifar_resnet((32, 32, 3)).count_params() - 1376  # without the moving statistics
    269722
    """
    blocks, rest = divmod(depth - 2, 6) if isinstance(depth, int) else (0, 0)
    if blocks < 1 or rest:
        raise ValueError(f"Expected a depth of 6n + 2, such as 20. Received: depth={depth!r}")
    # The papers draw from an untruncated normal with fan-out; "he_normal" is truncated, with fan-in.
    options = {
        "kernel_initializer": keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        "kernel_regularizer": decay(weight_decay),
    }
    image = image_input(input_shape)
    x = _stem(image, options)
    for stage, filters in enumerate(STAGES, 1):
        for block in range(1, blocks + 1):
            x = ResidualBlock(
                filters,
                strides=2 if stage > 1 and block == 1 else 1,
                shortcut=shortcut,
                norm_momentum=MOMENTUM,
                norm_epsilon=EPSILON,
                name=f"stage{stage}_block{block}",
                **options,
            )(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, head(x, classes, weight_decay), name=f"resnet{depth}")


def _stem(image: Any, options: dict[str, Any]) -> Any:
    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    x = keras.layers.Conv2D(STAGES[0], 3, padding="same", use_bias=False, name="stem_conv", **options)(image)
    x = keras.layers.BatchNormalization(axis, momentum=MOMENTUM, epsilon=EPSILON, name="stem_norm")(x)
    return keras.layers.Activation("relu", name="stem_activation")(x)
