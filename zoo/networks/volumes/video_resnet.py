"""The residual networks for video: a stem that halves the size, four stages of blocks, pooling, logits.

    stage         1    2    3    4
    size        1/2  1/4  1/8 1/16
    filters      64  128  256  512
    "3d"        3x3x3 convolutions; stages 2 to 4 halve the number of frames too
    "mixed"     3x3x3 convolutions in stage 1, then 1x3x3 ones, which keep all frames
    "2plus1d"   1x3x3 convolutions over space, each followed by a 3x1x1 one over time; frames as in "3d"

A normalisation and a ReLU stand between the two convolutions of a pair. The number of channels there is chosen so that
the pair has about as many parameters as one 3x3x3 convolution.

torchvision's weights expect clips of 16 frames, RGB in [0, 1] less (0.43216, 0.394666, 0.37645), divided by
(0.22803, 0.22145, 0.216989).

Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition, 2018, https://arxiv.org/abs/1711.11248
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ...weights.naming import minus_one, torch_naming
from .._arguments import document, one_of
from .._common import (
    batch_norm,
    block_norm,
    channel_axis,
    kernels,
    network,
    network_input,
    norm_activation,
    residual_blocks,
)
from ..family import Family, Row
from ..imagenet._stem import counts_of
from ..imagenet.resnet import BASIC

if TYPE_CHECKING:
    import keras

PAPER = "Tran et al. 2018, A Closer Look at Spatiotemporal Convolutions for Action Recognition, arXiv 1711.11248"
NAMES = {"3d": "r3d", "mixed": "mc3", "2plus1d": "r2plus1d"}
STEM, STEM_MIDDLE = 64, 45


@partial(
    document,
    input_shape="(frames, height, width, channels); all but the channels may be None.",
    features_only='Whether the model ends in its feature maps "C1" to "C4", of stride 2 ** l in height and width. '
    'In time their strides are 1, 2, 4 and 8, and always 1 with "mixed".',
)
def video_resnet(
    input_shape: Sequence[int | None] = (16, 112, 112, 3),
    classes: int = 400,
    convolution: Literal["3d", "mixed", "2plus1d"] = "3d",
    depth: int = 18,
    survival_prob: float = 1.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Residual network for video in torchvision's form.

    Args:
        convolution: "3d" for R3D, "mixed" for MC3 or "2plus1d" for R(2+1)D.
        depth: 10, 18 or 34.
        survival_prob: Of the last block in training; the probabilities fall to it linearly.

    Returns:
        A model from float clips to logits, named "r3d_", "mc3_" or "r2plus1d_" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.volumes.video_resnet import video_resnet
    >>> video_resnet((8, 56, 56, 3), convolution="mixed").count_params() - 9600  # without the moving statistics
    11695440
    """
    one_of(convolution, "convolution", NAMES)
    counts = counts_of(depth, BASIC)
    clip = network_input(input_shape, ("frames", "height", "width"), "clip")
    x = _stem(clip, weight_decay, convolution == "2plus1d")
    maps = {}
    for stage, strides, own in residual_blocks(counts, survival_prob):
        options = {"recompute": recompute, **own}
        filters = STEM << stage - 1
        if convolution == "2plus1d":
            x = _pairs_block(x, filters, strides, weight_decay, options)
        else:
            is_flat = convolution == "mixed" and stage > 1
            x = _block(x, filters, strides, weight_decay, is_flat, options)
        maps[f"C{stage}"] = x
    return network(clip, maps, classes, weight_decay, f"{NAMES[convolution]}_{depth}", features_only)


def _stem(clip: "keras.KerasTensor", weight_decay: float, is_pair: bool) -> "keras.KerasTensor":
    frames, filters = (1, STEM_MIDDLE) if is_pair else (3, STEM)
    x = _apply(_convolution(filters, (frames, 7, 7), (1, 2, 2), "stem_conv", weight_decay), clip)
    x = norm_activation(x, "stem")
    if is_pair:
        x = _apply(_convolution(STEM, (3, 1, 1), (1, 1, 1), "stem_time_conv", weight_decay), x)
        x = norm_activation(x, "stem_time")
    return x


def _block(
    x: "keras.KerasTensor", filters: int, strides: int, weight_decay: float, is_flat: bool, options: dict[str, Any]
) -> "keras.KerasTensor":
    """Applies a block of two convolutions, over space and time or over space alone."""
    from keras_skip import ResidualBlock

    options = {"padding": "symmetric", **block_norm(), **kernels(weight_decay), **options}
    kernel_size, strides_of = ((1, 3, 3), (1, strides, strides)) if is_flat else (3, strides)
    return ResidualBlock(filters, kernel_size, strides_of, **options)(x)


def _pairs_block(
    x: "keras.KerasTensor", filters: int, strides: int, weight_decay: float, options: dict[str, Any]
) -> "keras.KerasTensor":
    """Applies a block of two pairs of convolutions, each over space and then over time."""
    import keras

    from keras_skip import Residual

    channels = x.shape[channel_axis()]
    middle = 27 * channels * filters // (9 * channels + 3 * filters)  # of the second pair too, as torchvision has it
    layers: list[keras.layers.Layer] = []
    for number, s in ((1, strides), (2, 1)):
        if number == 2:
            layers.append(keras.layers.Activation("relu", name="activation1"))
        name = f"conv{number}"
        layers += _convolution(middle, (1, 3, 3), (1, s, s), f"{name}_space", weight_decay)
        layers += [batch_norm(f"{name}_norm"), keras.layers.Activation("relu", name=f"{name}_activation")]
        layers += _convolution(filters, (3, 1, 1), (s, 1, 1), f"{name}_time", weight_decay)
        layers.append(batch_norm(f"norm{number}"))
    if strides > 1 or channels != filters:
        projection = _convolution(filters, (1, 1, 1), (strides,) * 3, "projection", weight_decay)
        options = {
            **options,
            "shortcut": keras.Sequential([*projection, batch_norm("projection_norm")], name="shortcut"),
        }
    return Residual(layers, activation="relu", **options)(x)


def _convolution(
    filters: int, kernel_size: tuple[int, int, int], strides: tuple[int, int, int], name: str, weight_decay: float
) -> "list[keras.layers.Layer]":
    """The layers of a convolution that pads both sides alike, as torch does; with strides, "same" would not."""
    import keras

    options: dict[str, Any] = {"use_bias": False, "name": name, **kernels(weight_decay)}
    if max(strides) == 1 or max(kernel_size) == 1:
        return [keras.layers.Conv3D(filters, kernel_size, strides, padding="same", **options)]
    pad = keras.layers.ZeroPadding3D(tuple(size // 2 for size in kernel_size), name=f"{name}_pad")
    return [pad, keras.layers.Conv3D(filters, kernel_size, strides, **options)]


def _apply(layers: "list[keras.layers.Layer]", x: "keras.KerasTensor") -> "keras.KerasTensor":
    for layer in layers:
        x = layer(x)
    return x


TORCH_NAMING = torch_naming(
    "torchvision",
    (
        (r"^stem_conv$", "stem.0"),
        (r"^stem_norm$", "stem.1"),
        (r"^stem_time_conv$", "stem.3"),
        (r"^stem_time_norm$", "stem.4"),
        (r"^head$", "fc"),
        (r"(/shortcut)?/projection$", "/downsample.0"),
        (r"(/shortcut)?/projection_norm$", "/downsample.1"),
        (r"/conv(\d)_space$", r"/conv\1.0.0"),
        (r"/conv(\d)_norm$", r"/conv\1.0.1"),
        (r"/conv(\d)_time$", r"/conv\1.0.3"),
        (r"/conv(\d)$", r"/conv\1.0"),
        (r"/norm(\d)$", r"/conv\1.1"),
        (r"^stage(\d)_block(\d+)/", minus_one("layer{}.{}.")),
    ),
)


def _error(percent: float) -> str:
    return f"{percent} % top-1 on Kinetics-400, five clips (torchvision)"


FAMILIES = (
    Family(
        video_resnet,
        "residual network for video, in torchvision's form",
        (
            Row("r3d_18", {"depth": 18}, 33_371_472, 9_600, 40_696_553_472, _error(36.8)),
            Row("mc3_18", {"depth": 18, "convolution": "mixed"}, 11_695_440, 9_600, 43_342_635_008, _error(36.0)),
            Row(
                "r2plus1d_18", {"depth": 18, "convolution": "2plus1d"}, 31_505_325, 25_350, 40_519_080_960, _error(32.5)
            ),
        ),
        PAPER,
        task="volumes",
        input_shape=(16, 112, 112, 3),
        classes=400,
        namings=(TORCH_NAMING,),
    ),
)
