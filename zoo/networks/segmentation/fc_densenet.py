"""The fully convolutional densely connected networks: dense blocks on the way down and up, with a skip at each size.

    depth    layers of the blocks on the way down, at the bottom, on the way up      growth rate
    56       4, 4, 4, 4, 4        4     4, 4, 4, 4, 4                                12
    67       5, 5, 5, 5, 5        5     5, 5, 5, 5, 5                                16
    103      4, 5, 7, 10, 12      15    12, 10, 7, 5, 4                              16

On the way up, only the new features of a block are upsampled, by a transposed convolution. Each layer is normalisation,
ReLU, convolution 3x3 and dropout; a transition down has a convolution 1x1 that keeps the channels, dropout and max
pooling. No convolution but the head has a bias.

Jegou et al., The One Hundred Layers Tiramisu, 2017, https://arxiv.org/abs/1611.09326
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .._arguments import document, positive
from .._common import (
    block_norm,
    channel_axis,
    channels_first,
    convolution,
    image_input,
    kernels,
    network,
    norm_activation,
)
from ..family import Family, Row
from ..imagenet._stem import counts_of
from ..small_images.densenet import RECOMPUTE
from ._decoder import CLASSES, MAPS, check_multiples, pixel_head

if TYPE_CHECKING:
    import keras

TIRAMISU = "Jegou et al. 2017, The One Hundred Layers Tiramisu, arXiv 1611.09326"
LAYERS = {56: (4,) * 11, 67: (5,) * 11, 103: (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4)}
INPUT_SHAPE = (224, 224, 3)  # the paper's crops
STEM = 48
STEPS = 5


@partial(document, classes=CLASSES, features_only=MAPS, recompute=RECOMPUTE)
def fc_densenet(
    input_shape: Sequence[int | None] = INPUT_SHAPE,
    classes: int = 11,
    depth: int = 103,
    growth_rate: int = 16,
    dropout: float = 0.2,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Fully convolutional densely connected network.

    Args:
        input_shape: (height, width, channels), where the sides are multiples of 32. Sides may be None; then pad
            images to such sides.
        depth: 56, 67 or 103.
        growth_rate: New channels of each layer.
        dropout: Rate after each convolution but the first, the transposed ones and the head.

    Returns:
        A model from float images to logits (B, height, width, classes), named "fc_densenet_" and its depth. The logits
        are the last axis with channels_first too.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.segmentation.fc_densenet import fc_densenet
    >>> fc_densenet((32, 32, 3), depth=56, growth_rate=12).output_shape
    (None, 32, 32, 11)
    """
    import keras

    from keras_skip import DenseBlock

    counts = counts_of(depth, LAYERS)
    image = image_input(input_shape)
    check_multiples(image, 2**STEPS)
    options: dict[str, Any] = {"dropout": dropout, **block_norm(), **kernels(weight_decay)}
    options |= {"bottleneck": False, "recompute": recompute}
    growth_rate = positive(growth_rate, "growth_rate")
    x = convolution(image, STEM, "stem_conv", weight_decay)
    skips = []
    for step, layers in enumerate(counts[:STEPS], 1):
        x = DenseBlock(layers, growth_rate, name=f"down{step}", **options)(x)
        skips.append(x)
        x = _transition(x, f"transition{step}", dropout, weight_decay)
    features, maps = DenseBlock(counts[STEPS], growth_rate, name="bottom", **options)(x), {}
    for step, layers in enumerate(counts[STEPS + 1 :], 1):
        new = _last_channels(features, counts[STEPS + step - 1] * growth_rate)
        upsampled = keras.layers.Conv2DTranspose(
            new.shape[channel_axis()], 3, 2, "same", use_bias=False, name=f"up{step}_conv", **kernels(weight_decay)
        )(new)
        x = keras.layers.Concatenate(channel_axis(), name=f"up{step}_concatenate")([upsampled, skips[-step]])
        features = DenseBlock(layers, growth_rate, name=f"up{step}", **options)(x)
        maps[f"C{STEPS - step}"] = features
    return network(image, maps, classes, weight_decay, f"fc_densenet_{depth}", features_only, pixel_head)


def _transition(x: "keras.KerasTensor", name: str, dropout: float, weight_decay: float) -> "keras.KerasTensor":
    import keras

    x = norm_activation(x, name)
    x = convolution(x, x.shape[channel_axis()], f"{name}_conv", weight_decay, size=1)
    x = keras.layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return keras.layers.MaxPooling2D(2, name=f"{name}_pool")(x)


def _last_channels(x: "keras.KerasTensor", count: int) -> "keras.KerasTensor":
    return x[:, -count:] if channels_first() else x[..., -count:]


def _row(depth: int, growth_rate: int, parameters: int, non_trainable: int, multiply_adds: int, iou: str) -> Row:
    arguments = {"depth": depth, "growth_rate": growth_rate}
    figures = parameters, non_trainable, multiply_adds
    return Row(f"fc_densenet_{depth}", arguments, *figures, f"{iou} % mean IoU on CamVid")


FAMILIES = (
    Family(
        fc_densenet,
        "fully convolutional densely connected network for segmentation",
        (
            _row(56, 12, 1_375_019, 21_266, 8_916_982_368, "58.9"),
            _row(67, 16, 3_460_475, 39_800, 20_901_653_248, "65.8"),
            _row(103, 16, 9_318_075, 103_264, 20_072_570_112, "66.9"),
        ),
        TIRAMISU,
        "segmentation",
        INPUT_SHAPE,
        classes=11,  # of CamVid
    ),
)
