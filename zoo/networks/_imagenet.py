"""What the networks for ImageNet share: the smallest input, the stem to a quarter of the size, the initialisation."""

from typing import Any

import keras

from ._common import decay, image_input

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


def kernel_options(weight_decay: float) -> dict[str, Any]:
    """How every convolution starts and decays; the papers draw from an untruncated normal with fan-out."""
    return {
        "kernel_initializer": keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        "kernel_regularizer": decay(weight_decay),
    }


def stem(image: Any, options: dict[str, Any], use_bias: bool = False, norm: dict[str, Any] | None = None) -> Any:
    """A 7x7 convolution and a 3x3 max pooling, each of stride 2.

    Zeros are added on all four sides, as torch does: "same" pads an even size at its end only.

    Args:
        image: Keras tensor.
        options: Of the convolution, from `kernel_options`.
        use_bias: Whether the convolution has a bias.
        norm: Momentum and epsilon of the normalisation, which a ReLU follows. Default: neither of the two.

    Returns:
        A Keras tensor of 64 channels.
    """
    x = keras.layers.ZeroPadding2D(3, name="stem_pad")(image)
    x = keras.layers.Conv2D(64, 7, strides=2, use_bias=use_bias, name="stem_conv", **options)(x)
    if norm is not None:
        x = norm_relu(x, "stem_norm", "stem_activation", norm)
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)


def norm_relu(x: Any, norm_name: str, activation_name: str, norm: dict[str, Any]) -> Any:
    """Batch normalisation over the channels, and a ReLU."""
    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    x = keras.layers.BatchNormalization(axis, name=norm_name, **norm)(x)
    return keras.layers.Activation("relu", name=activation_name)(x)
