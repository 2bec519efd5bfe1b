"""What the networks for ImageNet share: the smallest input, the stem to a quarter of the size, normalisations."""

from typing import Any

import keras

from ._common import image_input, kernels

DEFAULT_SHAPE = (224, 224, 3)


def sized_input(input_shape: Any, smallest: int) -> Any:
    """`image_input`, and a ValueError if a side is known and below the smallest that every stage can take."""
    image = image_input(input_shape)
    sides = image.shape[2:] if keras.config.image_data_format() == "channels_first" else image.shape[1:3]
    if any(side is not None and side < smallest for side in sides):
        raise ValueError(
            f"Expected input_shape with sides of at least {smallest}. Received: input_shape={input_shape!r}"
        )
    return image


def stem(image: Any, weight_decay: float, use_bias: bool = False, norm: dict[str, float] | None = None) -> Any:
    """A 7x7 convolution and a 3x3 max pooling, each of stride 2.

    Zeros are added on all four sides, as torch does: "same" pads an even size at its end only.

    Args:
        image: Keras tensor.
        weight_decay: Coupled L2 on the kernel.
        use_bias: Whether the convolution has a bias.
        norm: Momentum and epsilon of the normalisation, which a ReLU follows. Default: neither of the two.

    Returns:
        A Keras tensor of 64 channels.
    """
    x = keras.layers.ZeroPadding2D(3, name="stem_pad")(image)
    x = keras.layers.Conv2D(64, 7, strides=2, use_bias=use_bias, name="stem_conv", **kernels(weight_decay))(x)
    if norm is not None:
        x = norm_relu(x, "stem", norm)
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)


def norm_relu(x: Any, name: str, norm: dict[str, float]) -> Any:
    """Batch normalisation with a momentum and an epsilon of its own, and a ReLU."""
    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    x = keras.layers.BatchNormalization(axis, name=f"{name}_norm", **norm)(x)
    return keras.layers.Activation("relu", name=f"{name}_activation")(x)


def block_norm(norm: dict[str, float]) -> dict[str, float]:
    """The same momentum and epsilon, as a block takes them."""
    return {f"norm_{name}": value for name, value in norm.items()}
