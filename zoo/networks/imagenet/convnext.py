"""ConvNeXt, convolutional networks in the form of a transformer: a 7x7 depthwise convolution, then two dense layers.

    stage      1    2    3    4
    size     1/4  1/8 1/16 1/32
    widths    96  192  384  768    tiny (3, 3, 9, 3 blocks) and small (3, 3, 27, 3)
             128  256  512 1024    base (3, 3, 27, 3)

    y = x + gamma W' gelu(W norm(depthwise(x)))

Only the blocks have activations. A convolution of stride 4 comes first, and one of stride 2 before each later stage.

Liu et al., A ConvNet for the 2020s, 2022, https://arxiv.org/abs/2201.03545
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ...weights.imagenet import TORCH, crop_reader
from ...weights.naming import Naming, torch_naming
from ...weights.published import Published
from .._arguments import document, number, positive_integers
from .._common import channel_axis, channels_first, decay, head, image_input, network, residual_blocks
from ..family import Row
from ._stem import INPUT_SHAPE, ImageNetFamily

if TYPE_CHECKING:
    import keras

CONVNEXT = "Liu et al. 2022, A ConvNet for the 2020s, arXiv 2201.03545"
EPSILON = 1e-6
TINY, SMALL = (3, 3, 9, 3), (3, 3, 27, 3)
WIDTHS, BASE_WIDTHS = (96, 192, 384, 768), (128, 256, 512, 1024)
NAMES: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = {
    (TINY, WIDTHS): "convnext_tiny",
    (SMALL, WIDTHS): "convnext_small",
    (SMALL, BASE_WIDTHS): "convnext_base",
}


@partial(document, input_shape="(height, width, channels), 32 x 32 or larger; height and width may be None.")
def convnext(
    input_shape: Sequence[int | None] = INPUT_SHAPE,
    classes: int = 1000,
    depths: Sequence[int] = TINY,
    widths: Sequence[int] = WIDTHS,
    survival_prob: float = 1.0,
    layer_scale: float = 1e-6,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Convolutional network with the blocks of a transformer.

    Args:
        depths: Blocks of each stage.
        widths: Channels of each stage.
        survival_prob: Of the last block; the probabilities fall to it linearly, and each image is drawn separately.
        layer_scale: Initial factor of the updates.

    Returns:
        A model from float images to logits, named "convnext_tiny", "convnext_small" or "convnext_base", or "convnext"
        with other depths and widths.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.imagenet.convnext import convnext
    >>> convnext((64, 64, 3), depths=(2, 2, 6, 2), widths=(40, 80, 160, 320)).count_params()
    3695520
    """
    import keras

    from keras_skip import LayerScale, Residual

    depths, widths = positive_integers(depths, "depths"), positive_integers(widths, "widths")
    if len(depths) != len(widths):
        raise ValueError(f"Expected as many widths as depths. Received: depths={depths}, widths={widths}")
    image = image_input(input_shape, 2 ** (len(depths) + 1))
    options: dict[str, Any] = {"granularity": "sample", "recompute": recompute, "shortcut": "identity"}
    options["branch_scale"] = LayerScale(number(layer_scale, "layer_scale"), axis=channel_axis())
    maps: dict[str, keras.KerasTensor] = {}
    x = keras.layers.Conv2D(widths[0], 4, strides=4, name="stem_conv", **_kernel(weight_decay))(image)
    x = _norm(x, "stem_norm")
    for stage, strides, own in residual_blocks(depths, survival_prob):
        width = widths[stage - 1]
        if strides == 2:
            down = keras.layers.Conv2D(width, 2, strides=2, name=f"stage{stage}_conv", **_kernel(weight_decay))
            x = down(_norm(x, f"stage{stage}_norm"))
        branch = _branch(width, weight_decay)
        x = Residual(branch, **own, **options)(x)
        maps[f"C{stage + 1}"] = x
    name = NAMES.get((depths, widths), "convnext")
    return network(image, maps, classes, weight_decay, name, features_only, _pool_norm_and_head)


def _kernel(weight_decay: float, name: str = "kernel") -> dict[str, Any]:
    """The initialiser and regulariser of one layer; the paper draws all kernels from one truncated normal."""
    import keras

    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    return {f"{name}_initializer": initializer, f"{name}_regularizer": decay(weight_decay)}


def _channels_last(layers: "list[keras.layers.Layer]", name: str) -> "list[keras.layers.Layer]":
    """The layers, which act on the last axis, between transpositions where the channels come first."""
    import keras

    if not channels_first():
        return layers
    to_last = keras.layers.Permute((2, 3, 1), name=f"{name}_to_last")
    return [to_last, *layers, keras.layers.Permute((3, 1, 2), name=f"{name}_to_first")]


def _norm(x: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
    """Normalises the channels of each position."""
    import keras

    for layer in _channels_last([keras.layers.LayerNormalization(epsilon=EPSILON, name=name)], name):
        x = layer(x)
    return x


def _branch(width: int, weight_decay: float) -> "list[keras.layers.Layer]":
    import keras

    convolution = keras.layers.DepthwiseConv2D(7, padding="same", name="conv", **_kernel(weight_decay, "depthwise"))
    norm = keras.layers.LayerNormalization(epsilon=EPSILON, name="norm")
    # Keras's default "gelu" is the exact one.
    expand = keras.layers.Dense(4 * width, activation="gelu", name="expand", **_kernel(weight_decay))
    reduce = keras.layers.Dense(width, name="reduce", **_kernel(weight_decay))
    return [convolution, *_channels_last([norm, expand, reduce], "channels")]


def _pool_norm_and_head(x: "keras.KerasTensor", classes: int, weight_decay: float) -> "keras.KerasTensor":
    import keras

    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.LayerNormalization(epsilon=EPSILON, name="last_norm")(x)
    return head(x, classes, weight_decay)


def _from_zero(form: str) -> Callable[[re.Match], str]:
    """A replacement by a form of the groups, numbers that exceed theirs by one."""
    return lambda match: form.format(*(int(number) - 1 for number in match.groups()))


def _torchvision(match: re.Match) -> str:
    """The place of a stage's blocks, between those of the convolutions that halve the size."""
    return f"features.{2 * int(match[1]) - 1}.{int(match[2]) - 1}"


TORCHVISION_NAMING = torch_naming(
    "torchvision",
    (
        (r"^stem_conv$", "features.0.0"),
        (r"^stem_norm$", "features.0.1"),
        (r"^stage(\d)_(norm|conv)$", lambda match: f"features.{2 * int(match[1]) - 2}.{int(match[2] == 'conv')}"),
        (r"^stage(\d)_block(\d+)", _torchvision),
        (r"/conv$", ".block.0"),
        (r"/norm$", ".block.2"),
        (r"/expand$", ".block.3"),
        (r"/reduce$", ".block.5"),
        (r"^last_norm$", "classifier.0"),
        (r"^head$", "classifier.2"),
    ),
    whole=((r"/layer_scale\.weight$", ".layer_scale"),),
)
TIMM_NAMING = torch_naming(
    "timm",
    (
        (r"^stem_conv$", "stem.0"),
        (r"^stem_norm$", "stem.1"),
        (r"^stage(\d)_norm$", _from_zero("stages.{}.downsample.0")),
        (r"^stage(\d)_conv$", _from_zero("stages.{}.downsample.1")),
        (r"^stage(\d)_block(\d+)/", _from_zero("stages.{}.blocks.{}.")),
        (r"\.conv$", ".conv_dw"),
        (r"\.expand$", ".mlp.fc1"),
        (r"\.reduce$", ".mlp.fc2"),
        (r"^last_norm$", "head.norm"),
        (r"^head$", "head.fc"),
    ),
    whole=((r"\.layer_scale\.weight$", ".gamma"),),
    # As in timm's networks of maps, and in segmentation_models_pytorch's "tu-convnext_tiny".
    older=((r"(^|\.)(stem|stages)_(\d)\.", r"\1\2.\3."),),
)
KERAS_NAMING = Naming(
    (
        (r"^stem_norm$", "stem_layernorm"),
        (r"^stage(\d)_norm$", lambda match: f"downsampling_layernorm_{int(match[1]) - 2}"),
        (r"^stage(\d)_conv$", lambda match: f"downsampling_conv_{int(match[1]) - 2}"),
        (r"/conv$", "/depthwise_conv"),
        (r"/norm$", "/layernorm"),
        (r"/expand$", "/pointwise_conv_1"),
        (r"/reduce$", "/pointwise_conv_2"),
        (r"^stage(\d)_block(\d+)/", _from_zero("stage_{}_block_{}_")),
        (r"^last_norm$", "head_layernorm"),
        (r"^head$", "head_dense"),
    ),
    # The name of the network comes before all others. Older files name what is inside a container after the container.
    older=(
        (r"^convnext_[a-z]+_(?:stem|downsampling_block_\d)/(convnext_)", r"\1"),
        (r"^(convnext_[a-z]+_(?:stem|downsampling))(?:_block(_\d))?/(kernel|bias)$", r"\1_conv\2/\3"),
        (r"^(convnext_[a-z]+_(?:stem|downsampling))(?:_block(_\d))?/(gamma|beta)$", r"\1_layernorm\2/\3"),
        (r"^(convnext_\w+_layer_scale)/\w+$", r"\1/gamma"),
        (r"^convnext_[a-z]+_", ""),
    ),
    library="keras.applications",
)


def _row(
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    parameters: int,
    multiply_adds: int,
    error: str,
    file_hash: str,
) -> Row:
    name, arguments = NAMES[depths, widths], {"depths": depths, "widths": widths}
    origin = f"https://storage.googleapis.com/tensorflow/keras-applications/convnext/{name}.h5"
    # What the network of keras.applications does first; its own function does nothing.
    weights = (Published("imagenet", origin, file_hash, TORCH, image=crop_reader(interpolation="bicubic")),)
    return Row(name, arguments, parameters, 0, multiply_adds, f"{error} % top-1 on ImageNet, one crop", weights=weights)


FAMILIES = (
    ImageNetFamily(
        convnext,
        "convolutional network for ImageNet with the blocks of a transformer (ConvNeXt)",
        (
            _row(
                *(TINY, WIDTHS, 28_589_128, 4_455_531_264, "17.9"),
                "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
            ),
            _row(
                *(SMALL, WIDTHS, 50_223_688, 8_683_712_256, "16.9"),
                "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c",
            ),
            _row(
                *(SMALL, BASE_WIDTHS, 88_591_464, 15_354_729_472, "16.2"),
                "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
            ),
        ),
        CONVNEXT,
        namings=(TORCHVISION_NAMING, TIMM_NAMING, KERAS_NAMING),
    ),
)
