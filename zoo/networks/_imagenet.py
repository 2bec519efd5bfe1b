"""What the networks for ImageNet share: the depths there are, the smallest input, the stem to a quarter of the size."""

from collections.abc import Mapping
from typing import Any

import keras

from ._common import image_input, kernels, norm_activation, sides

DEFAULT_SHAPE = (224, 224, 3)


def stages_of(depth: Any, known: Mapping[int, tuple[int, ...]]) -> tuple[int, ...]:
    """The blocks or layers of each stage; a ValueError lists the depths that are known."""
    if not isinstance(depth, int) or depth not in known:
        raise ValueError(f"Expected depth to be one of {', '.join(map(str, known))}. Received: depth={depth!r}")
    return known[depth]


def sized_input(input_shape: Any, smallest: int) -> Any:
    """`image_input`, and a ValueError if a side is known and below the smallest that every stage can take."""
    image = image_input(input_shape)
    if any(side is not None and side < smallest for side in sides(image)):
        raise ValueError(
            f"Expected input_shape with sides of at least {smallest}. Received: input_shape={input_shape!r}"
        )
    return image


def stem(
    image: Any, weight_decay: float, use_bias: bool = False, norm: dict[str, float] | None = None
) -> tuple[Any, Any]:
    """A 7x7 convolution and a 3x3 max pooling, each of stride 2.

    Zeros are added on all four sides, as torch does: "same" pads an even size at its end only.

    Args:
        image: Keras tensor.
        weight_decay: Coupled L2 on the kernel.
        use_bias: Whether the convolution has a bias.
        norm: Momentum and epsilon of the normalisation, which a ReLU follows. Default: neither of the two.

    Returns:
        Two Keras tensors of 64 channels: what the pooling sees, and what it gives.
    """
    x = keras.layers.ZeroPadding2D(3, name="stem_pad")(image)
    x = keras.layers.Conv2D(64, 7, strides=2, use_bias=use_bias, name="stem_conv", **kernels(weight_decay))(x)
    if norm is not None:
        x = norm_activation(x, "stem", norm)
    padded = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return x, keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(padded)
