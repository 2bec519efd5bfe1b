"""What the networks for ImageNet share: the lookup of a depth, and the stems, which reduce an image to a quarter.

Zeros are added on all four sides of an image, as torch does: "same" pads an even size at its end only.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from .._common import convolution, kernels, norm_activation, of_rank
from ..family import Family

if TYPE_CHECKING:
    import keras

INPUT_SHAPE = (224, 224, 3)
ImageNetFamily = partial(Family, input_shape=INPUT_SHAPE, classes=1000)


def counts_of(depth: int, known: Mapping[int, tuple[int, ...]]) -> tuple[int, ...]:
    """Finds how many blocks or layers each stage has; a ValueError lists the depths that are known."""
    if not isinstance(depth, int) or depth not in known:
        raise ValueError(f"Expected depth to be one of {', '.join(map(str, known))}. Received: depth={depth!r}")
    return known[depth]


def plain_stem(
    image: "keras.KerasTensor",
    weight_decay: float,
    filters: int = 64,
    use_bias: bool = False,
    norm: dict[str, float] | None = None,
    strides: int = 2,
) -> "keras.KerasTensor":
    """Applies a 7x7 convolution, or one of the same size to a signal or a volume.

    Args:
        image: Keras tensor of a signal, an image or a volume.
        weight_decay: Coupled L2 on the kernel.
        filters: Of the convolution.
        use_bias: Whether the convolution has a bias.
        norm: Momentum and epsilon of a normalisation, followed by a ReLU. Default: neither.
        strides: Of the convolution.
    """
    x = padded_convolution(image, filters, 7, "stem", weight_decay, use_bias, strides)
    return x if norm is None else norm_activation(x, "stem", norm)


def deep_stem(image: "keras.KerasTensor", weight_decay: float, filters: Sequence[int]) -> "keras.KerasTensor":
    """Applies three 3x3 convolutions, the first of stride 2, each with a normalisation and a ReLU."""
    first, second, third = filters
    x = norm_activation(padded_convolution(image, first, 3, "stem_1", weight_decay), "stem_1")
    x = norm_activation(convolution(x, second, "stem_2_conv", weight_decay), "stem_2")
    return norm_activation(convolution(x, third, "stem_3_conv", weight_decay), "stem")


def max_pool(x: "keras.KerasTensor") -> "keras.KerasTensor":
    """Applies the 3x3 max pooling of stride 2 that follows a stem, or its like on a signal or a volume."""
    padded = of_rank(x, "ZeroPadding")(1, name="stem_pool_pad")(x)
    return of_rank(x, "MaxPooling")(3, strides=2, name="stem_pool")(padded)


def padded_convolution(
    x: "keras.KerasTensor",
    filters: int,
    size: int,
    name: str,
    weight_decay: float,
    use_bias: bool = False,
    strides: int = 2,
) -> "keras.KerasTensor":
    """Pads all sides alike, and applies a convolution without normalisation or activation."""
    x = of_rank(x, "ZeroPadding")(size // 2, name=f"{name}_pad")(x)
    options = {"use_bias": use_bias, **kernels(weight_decay)}
    return of_rank(x, "Conv")(filters, size, strides, name=f"{name}_conv", **options)(x)
