"""The residual networks for ImageNet: a stem to a quarter of the size, four stages of blocks, pooling, logits.

    stage      1    2    3    4
    size     1/4  1/8 1/16 1/32
    filters   64  128  256  512    basic blocks of two convolutions: 18 and 34 layers
             256  512 1024 2048    bottleneck blocks of three: 50, 101 and 152 layers

Three forms with the same name are in use, and their weights do not fit each other: torchvision's strides the 3x3
convolutions, keras.applications' the first 1x1 and has biases, and the second version has pre-activation blocks that
halve the size at the end of a stage.

He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ...weights.naming import Rules, keras_naming, minus_one, plus_one, torch_naming
from ...weights.published import keras_weights
from .._common import NORM, block_norm, block_positions, document, image_input, kernels, network, norm_activation
from ..family import Row
from ..small_images.preactivation import PREACTIVATION
from ..small_images.resnet import RESNET
from ..small_images.wide import WIDE
from ._stem import INPUT_SHAPE, ImageNetFamily, counts_of, stem

if TYPE_CHECKING:
    import keras

BASIC: dict[int, tuple[int, ...]] = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK: dict[int, tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
SMALLEST = 32  # a last map of one pixel
APPLICATIONS_NORM = {"momentum": 0.99, "epsilon": 1.001e-5}

_document = partial(document, input_shape="(height, width, channels), 32 x 32 or larger; height and width may be None.")


@_document
def imagenet_resnet(
    input_shape: Sequence[int | None] = INPUT_SHAPE,
    classes: int = 1000,
    depth: int = 50,
    widening: Literal[1, 2, 4] = 1,
    zero_init_gamma: bool = False,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Residual network in torchvision's form: bottlenecks stride their 3x3 convolution, no convolution has a bias.

    Args:
        depth: 18, 34, 50, 101 or 152.
        widening: Factor on the inner width of the bottlenecks, 1, 2 or 4; 2 gives the wide networks.
        zero_init_gamma: Whether every block starts as its shortcut.

    Returns:
        A model from float images to logits, named "resnet" and its depth, or such as "wide_resnet50_2".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.imagenet.resnet import imagenet_resnet
    >>> imagenet_resnet((64, 64, 3), depth=18).count_params() - 9600  # without the moving statistics
    11689512
    """
    from keras_skip import BottleneckBlock, ResidualBlock

    counts = counts_of(depth, BASIC | BOTTLENECK)
    widenings = (1,) if depth in BASIC else (1, 2, 4)
    if widening not in widenings:
        one_of = ", ".join(map(str, widenings))
        raise ValueError(f"Expected widening to be one of {one_of} at depth {depth}. Received: widening={widening!r}")
    image = image_input(input_shape, SMALLEST)
    maps = {}
    maps["C1"], x = stem(image, weight_decay, norm=NORM)
    options: dict[str, Any] = {"recompute": recompute, **block_norm(), **kernels(weight_decay)}
    options |= {"padding": "symmetric", "zero_init_gamma": zero_init_gamma}
    cls, filters = (ResidualBlock, 64) if depth in BASIC else (BottleneckBlock, 256)
    if cls is BottleneckBlock:
        options["ratio"] = 4 // widening
    for stage, block, strides in block_positions(counts):
        x = cls(filters << stage - 1, strides=strides, name=f"stage{stage}_block{block}", **options)(x)
        maps[f"C{stage + 1}"] = x
    name = f"resnet{depth}" if widening == 1 else f"wide_resnet{depth}_{widening}"
    return network(image, maps, classes, weight_decay, name, features_only)


@_document
def applications_resnet(
    input_shape: Sequence[int | None] = INPUT_SHAPE,
    classes: int = 1000,
    depth: int = 50,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Residual network in the form of keras.applications: the first 1x1 convolution strides, all have biases.

    Args:
        depth: 50, 101 or 152.

    Returns:
        A model from float images to logits, named such as "resnet50_keras".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.imagenet.resnet import applications_resnet
    >>> applications_resnet((64, 64, 3), depth=50).count_params() - 53120  # without the moving statistics
    25583592
    """
    from keras_skip import BottleneckBlock

    counts = counts_of(depth, BOTTLENECK)
    image = image_input(input_shape, SMALLEST)
    maps = {}
    maps["C1"], x = stem(image, weight_decay, use_bias=True, norm=APPLICATIONS_NORM)
    options: dict[str, Any] = {"recompute": recompute, **block_norm(APPLICATIONS_NORM), **kernels(weight_decay)}
    options |= {"use_bias": True, "stride_position": "first"}
    for stage, block, strides in block_positions(counts):
        x = BottleneckBlock(256 << stage - 1, strides=strides, name=f"stage{stage}_block{block}", **options)(x)
        maps[f"C{stage + 1}"] = x
    return network(image, maps, classes, weight_decay, f"resnet{depth}_keras", features_only)


@_document
def applications_resnet_v2(
    input_shape: Sequence[int | None] = INPUT_SHAPE,
    classes: int = 1000,
    depth: int = 50,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Pre-activation residual network in the form of keras.applications.

    The last block of the first three stages halves the size, with a subsampled shortcut. The stem has no
    normalisation; a last one comes before the pooling.

    Args:
        depth: 50, 101 or 152.

    Returns:
        A model from float images to logits, named such as "resnet50_v2".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.imagenet.resnet import applications_resnet_v2
    >>> applications_resnet_v2((64, 64, 3), depth=50).count_params() - 45440  # without the moving statistics
    25568360
    """
    import keras

    from keras_skip import PreActivationBottleneckBlock

    counts = counts_of(depth, BOTTLENECK)
    image = image_input(input_shape, SMALLEST)
    maps = {}
    maps["C1"], x = stem(image, weight_decay, use_bias=True)
    options: dict[str, Any] = {**block_norm(APPLICATIONS_NORM), **kernels(weight_decay), "recompute": recompute}
    options |= {"padding": "symmetric", "use_bias": (False, False, True)}
    for stage, block, _ in block_positions(counts):
        changes: dict[str, Any] = {}
        if block == counts[stage - 1] and stage < len(counts):
            maps[f"C{stage + 1}"] = x
            # A pooling of one pixel is a subsampling.
            changes = {"strides": 2, "shortcut": keras.layers.MaxPooling2D(1, strides=2, name="shortcut")}
        name = f"stage{stage}_block{block}"
        x = PreActivationBottleneckBlock(256 << stage - 1, name=name, **changes, **options)(x)
    maps["C5"] = norm_activation(x, "last", APPLICATIONS_NORM)
    return network(image, maps, classes, weight_decay, f"resnet{depth}_v2", features_only)


# timm uses torchvision's names for these networks.
TORCH_NAMING = torch_naming(
    (
        (r"^stem_conv$", "conv1"),
        (r"^stem_norm$", "bn1"),
        (r"^head$", "fc"),
        (r"/projection$", "/downsample.0"),
        (r"/projection_norm$", "/downsample.1"),
        (r"/norm(\d)$", r"/bn\1"),
        (r"^stage(\d)_block(\d+)/", minus_one("layer{}.{}.")),
    )
)
_BLOCK: Rules = ((r"^stage(\d)", plus_one("conv{}")), (r"/projection$", "_0_conv"), (r"/conv(\d)$", r"_\1_conv"))
KERAS_NAMING = keras_naming((*_BLOCK, (r"/projection_norm$", "_0_bn"), (r"/norm(\d)$", r"_\1_bn")))
_BLOCK_V2: Rules = ((r"/norm1$", "_preact_bn"), (r"/norm2$", "_1_bn"), (r"/norm3$", "_2_bn"))
KERAS_NAMING_V2 = keras_naming((*_BLOCK, (r"^last_norm$", "post_bn"), *_BLOCK_V2))

TEN_CROPS = {
    depth: f"{error} % top-1 on ImageNet, ten crops" for depth, error in ((50, 22.9), (101, 21.8), (152, 21.4))
}
WIDE_ERROR = "21.9 % top-1 on ImageNet, one crop (the authors' code)"


def _torch(depth: int, parameters: int, non_trainable: int, multiply_adds: int) -> Row:
    # The paper strides the first 1x1.
    error = f"{TEN_CROPS[depth]}, other strides" if depth in TEN_CROPS else ""
    return Row(f"resnet{depth}", {"depth": depth}, parameters, non_trainable, multiply_adds, error)


def _keras(depth: int, parameters: int, non_trainable: int, multiply_adds: int, file_hash: str) -> Row:
    weights = (keras_weights("resnet", f"resnet{depth}", file_hash),)
    figures = parameters, non_trainable, multiply_adds
    return Row(f"resnet{depth}_keras", {"depth": depth}, *figures, TEN_CROPS[depth], weights=weights)


def _keras_v2(depth: int, parameters: int, non_trainable: int, multiply_adds: int, file_hash: str) -> Row:
    weights = (keras_weights("resnet", f"resnet{depth}v2", file_hash),)
    return Row(f"resnet{depth}_v2", {"depth": depth}, parameters, non_trainable, multiply_adds, weights=weights)


_WIDE_ROW = Row("wide_resnet50_2", {"depth": 50, "widening": 2}, 68_883_240, 68_224, 11_398_021_120, WIDE_ERROR)

FAMILIES = (
    ImageNetFamily(
        imagenet_resnet,
        "residual network for ImageNet, in torchvision's form",
        (
            _torch(18, 11_689_512, 9_600, 1_814_073_344),
            _torch(34, 21_797_672, 17_024, 3_663_761_408),
            _torch(50, 25_557_032, 53_120, 4_089_184_256),
            _torch(101, 44_549_160, 105_344, 7_801_405_440),
            _torch(152, 60_192_808, 151_424, 11_513_626_624),
        ),
        RESNET,
        namings=(TORCH_NAMING,),
    ),
    ImageNetFamily(
        imagenet_resnet,
        "wide residual network for ImageNet, in torchvision's form",
        (_WIDE_ROW,),
        WIDE,
        namings=(TORCH_NAMING,),
    ),
    ImageNetFamily(
        applications_resnet,
        "residual network for ImageNet, in the form of keras.applications",
        (
            _keras(50, 25_583_592, 53_120, 3_857_973_248, "2cb95161c43110f7111970584f804107"),
            _keras(101, 44_601_832, 105_344, 7_570_194_432, "f1aeb4b969a6efcfb50fad2f0c20cfc5"),
            _keras(152, 60_268_520, 151_424, 11_282_415_616, "100835be76be38e30d865e96f2aaae62"),
        ),
        RESNET,
        namings=(KERAS_NAMING,),
    ),
    ImageNetFamily(
        applications_resnet_v2,
        "pre-activation residual network for ImageNet, in the form of keras.applications",
        (
            _keras_v2(50, 25_568_360, 45_440, 3_482_255_360, "3ef43a0b657b3be2300d5770ece849e0"),
            _keras_v2(101, 44_577_896, 97_664, 7_194_476_544, "6343647c601c52e1368623803854d971"),
            _keras_v2(152, 60_236_904, 143_744, 10_906_697_728, "a49b44d1979771252814e80f8ec446f9"),
        ),
        PREACTIVATION,
        namings=(KERAS_NAMING_V2,),
    ),
)
