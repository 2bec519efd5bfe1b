"""What the networks for ImageNet share: the depths there are, the stem to a quarter of the size."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from .._common import kernels, norm_activation, of_rank
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


def stem(
    image: "keras.KerasTensor",
    weight_decay: float,
    use_bias: bool = False,
    norm: dict[str, float] | None = None,
    strides: int = 2,
) -> "tuple[keras.KerasTensor, keras.KerasTensor]":
    """Applies a 7x7 convolution and a 3x3 max pooling, each of stride 2, or their like to a volume.

    Zeros are added on all four sides, as torch does: "same" pads an even size at its end only.

    Args:
        image: Keras tensor, of an image or a volume.
        weight_decay: Coupled L2 on the kernel.
        use_bias: Whether the convolution has a bias.
        norm: Momentum and epsilon of the normalisation, which a ReLU follows. Default: neither of the two.
        strides: Of the convolution.

    Returns:
        Two Keras tensors of 64 channels: the pooling's input and output.
    """
    x = of_rank(image, "ZeroPadding")(3, name="stem_pad")(image)
    x = of_rank(x, "Conv")(64, 7, strides, use_bias=use_bias, name="stem_conv", **kernels(weight_decay))(x)
    if norm is not None:
        x = norm_activation(x, "stem", norm)
    padded = of_rank(x, "ZeroPadding")(1, name="stem_pool_pad")(x)
    return x, of_rank(x, "MaxPooling")(3, strides=2, name="stem_pool")(padded)
