"""The decoder of the networks for segmentation: from the coarsest map of an encoder to the size of the image.

    x = merge(upsample(x), skip), then two convolutions        once for each halving of the encoder

"plain" concatenates the upsampled map and the encoder's, "residual" adds them, and "attention" multiplies each position
of the encoder's map by a weight before it concatenates:

    skip = s * sigmoid(W_psi relu(W_s s + upsample(W_x x + b)) + b_psi)

Ronneberger et al., U-Net, 2015, https://arxiv.org/abs/1505.04597
Oktay et al., Attention U-Net, 2018, https://arxiv.org/abs/1804.03999
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from .._arguments import falling_survival, one_of, positive
from .._common import (
    block_norm,
    channel_axis,
    channels_first,
    convolution,
    decay,
    kernels,
    norm_activation,
    normalize,
    of_rank,
    sides,
)

if TYPE_CHECKING:
    import keras

Skip = Literal["plain", "residual", "attention"]
FINEST = 16  # filters at the full size, as in segmentation_models_pytorch

# Descriptions of arguments, for `document`.
CLASSES = "Number of logits of each pixel."
MAPS = 'Whether the model ends in the maps of the decoder, the coarsest first and "C0" last.'
SKIP = (
    '"plain" (concatenation), "residual" (a sum, where a projection gives the skip the channels that it needs, and a\n'
    '            `keras_skip.ResidualBlock`) or "attention" (concatenation after a gate on the positions of the skip).'
)


def decode(
    maps: "Mapping[str, keras.KerasTensor]",
    filters: Sequence[int] | None,
    skip: Skip = "plain",
    weight_decay: float = 0.0,
    recompute: bool = False,
    survival_prob: float = 1.0,
) -> "dict[str, keras.KerasTensor]":
    """Applies the decoder to the maps of an encoder.

    Args:
        maps: "C0", "C1", ... of strides 2 ** 0, 2 ** 1, ...; the decoder starts from the last. A step without a map
            has no skip.
        filters: Of each step, the coarsest first. Default: 16 at the full size, and twice as many at each halving.
        skip: How a map reaches the decoder.
        weight_decay, recompute, survival_prob: As in the networks; the last two for the residual blocks.

    Returns:
        The maps of the decoder, from the coarsest to "C0".

    Raises:
        ValueError: For an argument out of range.
    """
    one_of(skip, "skip", get_args(Skip))
    x, steps = list(maps.values())[-1], max(int(name[1:]) for name in maps)
    widths = [FINEST << level for level in reversed(range(steps))] if filters is None else filters
    if not isinstance(widths, (tuple, list)) or len(widths) != steps:
        raise ValueError(f"Expected decoder_filters for {steps} steps. Received: decoder_filters={filters!r}")
    survival = falling_survival(survival_prob, steps)
    decoded = {}
    for step, width in enumerate(widths, 1):
        name, level = f"decoder{step}", f"C{steps - step}"
        x = _merge(x, maps.get(level), skip, name, weight_decay)
        positive(width, "decoder_filters")
        if skip == "residual":
            x = _residual_block(x, width, name, weight_decay, recompute, next(survival))
        else:
            for index in (1, 2):
                x = convolution(x, width, f"{name}_conv{index}", weight_decay)
                x = norm_activation(x, f"{name}_conv{index}")
        decoded[level] = x
    return decoded


def _merge(
    x: "keras.KerasTensor", skip: "keras.KerasTensor | None", kind: Skip, name: str, weight_decay: float
) -> "keras.KerasTensor":
    """Doubles the size of a map, and adds the skip to it or appends it."""
    import keras

    upsampled = of_rank(x, "UpSampling")(2, name=f"{name}_upsampling")(x)
    if skip is None:
        return upsampled
    if kind == "residual":
        channels = x.shape[channel_axis()]
        if skip.shape[channel_axis()] != channels:
            skip = normalize(
                convolution(skip, channels, f"{name}_projection", weight_decay, size=1), f"{name}_projection"
            )
        return keras.layers.Add(name=f"{name}_add")([upsampled, skip])
    if kind == "attention":
        skip = _attend(skip, x, f"{name}_gate", weight_decay)
    return keras.layers.Concatenate(channel_axis(), name=f"{name}_concatenate")([upsampled, skip])


def _residual_block(
    x: "keras.KerasTensor", filters: int, name: str, weight_decay: float, recompute: bool, survival_prob: float
) -> "keras.KerasTensor":
    from keras_skip import ResidualBlock

    options = {"recompute": recompute, "survival_prob": survival_prob, **block_norm(), **kernels(weight_decay)}
    return ResidualBlock(filters, name=f"{name}_block", **options)(x)


def _attend(
    skip: "keras.KerasTensor", coarse: "keras.KerasTensor", name: str, weight_decay: float
) -> "keras.KerasTensor":
    """Weighs the positions of a skip by how well they agree with the coarser map of the decoder.

    The paper compares the two at the size of the coarser one. Here it is the skip's, which needs no interpolation.
    """
    import keras

    inner = max(1, skip.shape[channel_axis()] // 2)
    conv = of_rank(skip, "Conv")
    theirs = conv(inner, 1, name=f"{name}_coarse", **kernels(weight_decay))(coarse)
    theirs = of_rank(skip, "UpSampling")(2, name=f"{name}_upsampling")(theirs)
    ours = convolution(skip, inner, f"{name}_skip", weight_decay, size=1)
    x = keras.layers.Activation("relu", name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([ours, theirs]))
    weights = conv(1, 1, activation="sigmoid", name=f"{name}_psi", **kernels(weight_decay))(x)
    return keras.layers.Multiply(name=f"{name}_multiply")([skip, weights])


def pixel_head(x: "keras.KerasTensor", classes: int, weight_decay: float, size: int = 1) -> "keras.KerasTensor":
    """Applies the convolution to the logits, which are float32 and the last axis, as Keras's losses need them."""
    import keras

    options = {"padding": "same", "kernel_regularizer": decay(weight_decay), "dtype": "float32"}
    logits = of_rank(x, "Conv")(positive(classes, "classes"), size, name="head", **options)(x)
    if not channels_first():
        return logits
    rank = len(sides(x))
    return keras.layers.Permute((*range(2, rank + 2), 1), dtype="float32", name="channels_last")(logits)


def check_multiples(image: "keras.KerasTensor", factor: int) -> None:
    """Raises a ValueError if a known size of the image cannot be halved as often as an encoder does."""
    if any(size is not None and size % factor for size in sides(image)):
        resize = "resize images with image_size=(height, width), or " if len(sides(image)) == 2 else ""
        raise ValueError(
            f"Expected input_shape with sides that are multiples of {factor}; {resize}pad them, and crop the logits. "
            f"Received: input_shape={tuple(image.shape[1:])}"
        )
