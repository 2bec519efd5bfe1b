"""The densely connected networks for ImageNet: a stem, four dense blocks with transitions between, pooling, logits.

    depth      layers of the dense blocks, each a 1x1 and a 3x3 convolution to k new channels
    121        6, 12, 24, 16
    161        6, 12, 36, 24
    169        6, 12, 32, 32
    201        6, 12, 48, 32

k is the growth rate, 32, or 48 in the network of depth 161; the stem has 2k channels.

Huang et al., Densely Connected Convolutional Networks, 2017, https://arxiv.org/abs/1608.06993
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ...weights.naming import keras_naming, plus_one, torch_naming
from ...weights.published import keras_weights
from .._arguments import document, number, positive
from .._common import NORM, block_norm, image_input, kernels, network, norm_activation, normalize
from ..family import Row
from ..small_images.densenet import DENSENET, RECOMPUTE
from ._stem import INPUT_SHAPE, ImageNetFamily, counts_of, max_pool, plain_stem

if TYPE_CHECKING:
    import keras

LAYERS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
SMALLEST = 29  # the third transition still has two pixels to pool


@partial(document, recompute=RECOMPUTE)
def imagenet_densenet(
    input_shape: Sequence[int | None] = INPUT_SHAPE,
    classes: int = 1000,
    depth: int = 121,
    growth_rate: int = 32,
    norm_epsilon: float = 1e-5,
    weight_decay: float = 0.0,
    features_only: bool = False,
    normalized_maps: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Densely connected network with bottlenecks and a compression of 0.5.

    Args:
        input_shape: (height, width, channels), 29 x 29 or larger; height and width may be None.
        depth: 121, 161, 169 or 201.
        growth_rate: New channels of each layer, the paper's k: 32, and 48 at depth 161.
        norm_epsilon: Epsilon of the normalisations: 1e-5 for the weights of torchvision, 1.001e-5 for those of
            keras.applications.
        normalized_maps: Whether the maps of `features_only` come after a normalisation, as in
            segmentation_models_pytorch: "C2" to "C4" after the first ReLU of the transitions, "C5" before the last.

    Returns:
        A model from float images to logits, named "densenet" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.imagenet.densenet import imagenet_densenet
    >>> imagenet_densenet((64, 64, 3), depth=121).count_params() - 83648  # without the moving statistics
    7978856
    """
    counts = counts_of(depth, LAYERS | {161: (6, 12, 36, 24)})
    image = image_input(input_shape, SMALLEST)
    norm = NORM | {"epsilon": number(norm_epsilon, "norm_epsilon", 0)}
    options = (weight_decay, features_only, recompute, growth_rate, normalized_maps)
    return dense_network(image, counts, classes, f"densenet{depth}", norm, *options)


def dense_network(
    image: "keras.KerasTensor",
    counts: Sequence[int],
    classes: int,
    name: str,
    norm: dict[str, float],
    weight_decay: float,
    features_only: bool,
    recompute: bool,
    growth_rate: int = 32,
    normalized_maps: bool = False,
) -> "keras.Model":
    """Makes the model from the input, an image or a volume.

    Args:
        image: The input.
        counts: Layers of each dense block.
        name: The model's.
        norm: Momentum and epsilon of the normalisations.
        classes, weight_decay, features_only, recompute, growth_rate, normalized_maps: As in `imagenet_densenet`.
    """
    from keras_skip import DenseBlock, TransitionBlock

    options: dict[str, Any] = {**block_norm(norm), **kernels(weight_decay)}
    normalized_maps = normalized_maps and features_only
    maps = {}
    maps["C1"] = plain_stem(image, weight_decay, 2 * positive(growth_rate, "growth_rate"), norm=norm)
    x = max_pool(maps["C1"])
    for block, layers in enumerate(counts, 1):
        x = DenseBlock(layers, growth_rate, recompute=recompute, name=f"block{block}", **options)(x)
        maps[f"C{block + 1}"] = x
        if block < len(counts):
            x = TransitionBlock(0.5, return_skip=normalized_maps, name=f"transition{block}", **options)(x)
            if normalized_maps:
                x, maps[f"C{block + 1}"] = x
    maps["C5"] = (normalize if normalized_maps else norm_activation)(x, "last", norm)
    return network(image, maps, classes, weight_decay, name, features_only)


TORCH_NAMING = torch_naming(
    "torchvision or timm",
    (
        (r"^stem_(conv|norm)$", r"features.\g<1>0"),
        (r"^last_norm$", "features.norm5"),
        (r"^head$", "classifier"),
        (r"^transition(\d)/(conv|norm)1$", r"features.transition\1.\2"),
        (r"^block(\d)/layer(\d+)/", r"features.denseblock\1.denselayer\2."),
    ),
    older=((r"(\.denselayer\d+\.(?:conv|norm))\.(\d)\.", r"\1\2."),),
)
KERAS_NAMING = keras_naming(
    (
        (r"^last_norm$", "bn"),
        (r"^transition(\d)/conv1$", plus_one("pool{}_conv")),
        (r"^transition(\d)/norm1$", plus_one("pool{}_bn")),
        (r"^block(\d)/layer(\d+)/", plus_one("conv{}_block{}/")),
        (r"/norm1$", "_0_bn"),
        (r"/conv1$", "_1_conv"),
        (r"/norm2$", "_1_bn"),
        (r"/conv2$", "_2_conv"),
    ),
    arguments={"norm_epsilon": 1.001e-5},
)


def _row(
    depth: int, parameters: int, non_trainable: int, multiply_adds: int, error: str, file_hash: str = "", **others: int
) -> Row:
    name, error = f"densenet{depth}", f"{error} % top-1 on ImageNet, one crop (the authors' code)"
    weights = (keras_weights("densenet", name, file_hash),) if file_hash else ()
    return Row(name, {"depth": depth, **others}, parameters, non_trainable, multiply_adds, error, weights=weights)


FAMILIES = (
    ImageNetFamily(
        imagenet_densenet,
        "densely connected network for ImageNet",
        (
            _row(121, 7_978_856, 83_648, 2_834_161_664, "25.0", "9d60b8095a5708f2dcce2bca79d332c7"),
            _row(161, 28_681_000, 219_936, 7_727_907_072, "22.2", growth_rate=48),
            _row(169, 14_149_480, 158_400, 3_359_843_328, "23.6", "d699b8f76981ab1b30698df4c175e90b"),
            _row(201, 20_013_928, 229_056, 4_291_365_888, "22.5", "1ceb130c1ea1b78c3bf6114dbdfd8807"),
        ),
        DENSENET,
        namings=(TORCH_NAMING, KERAS_NAMING),
    ),
)
