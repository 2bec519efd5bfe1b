"""The residual networks for ImageNet in the forms of keras.applications, whose weights do not fit torchvision's form.

The first strides the first 1x1 convolution of its bottlenecks and has biases; the second version has pre-activation
blocks that halve the size at the end of a stage.

He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...weights.naming import Rules, keras_naming, plus_one
from ...weights.published import keras_weights
from .._common import block_norm, block_positions, image_input, kernels, network, norm_activation
from ..family import Row
from ..small_images.preactivation import PREACTIVATION
from ..small_images.resnet import RESNET
from ._stem import INPUT_SHAPE, ImageNetFamily, counts_of, max_pool, plain_stem
from .resnet import BOTTLENECK, SMALLEST, TEN_CROPS, document_images

if TYPE_CHECKING:
    import keras

COUNTS = {depth: BOTTLENECK[depth] for depth in (50, 101, 152)}
NORM = {"momentum": 0.99, "epsilon": 1.001e-5}


@document_images
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

    >>> from zoo.networks.imagenet.applications import applications_resnet
    >>> applications_resnet((64, 64, 3), depth=50).count_params() - 53120  # without the moving statistics
    25583592
    """
    from keras_skip import BottleneckBlock

    counts = counts_of(depth, COUNTS)
    image = image_input(input_shape, SMALLEST)
    maps = {}
    maps["C1"] = plain_stem(image, weight_decay, use_bias=True, norm=NORM)
    x = max_pool(maps["C1"])
    options: dict[str, Any] = {"recompute": recompute, **block_norm(NORM), **kernels(weight_decay)}
    options |= {"use_bias": True, "stride_position": "first"}
    for stage, block, strides in block_positions(counts):
        x = BottleneckBlock(256 << stage - 1, strides=strides, name=f"stage{stage}_block{block}", **options)(x)
        maps[f"C{stage + 1}"] = x
    return network(image, maps, classes, weight_decay, f"resnet{depth}_keras", features_only)


@document_images
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

    >>> from zoo.networks.imagenet.applications import applications_resnet_v2
    >>> applications_resnet_v2((64, 64, 3), depth=50).count_params() - 45440  # without the moving statistics
    25568360
    """
    import keras

    from keras_skip import PreActivationBottleneckBlock

    counts = counts_of(depth, COUNTS)
    image = image_input(input_shape, SMALLEST)
    maps = {}
    maps["C1"] = plain_stem(image, weight_decay, use_bias=True)
    x = max_pool(maps["C1"])
    options: dict[str, Any] = {**block_norm(NORM), **kernels(weight_decay), "recompute": recompute}
    options |= {"padding": "symmetric", "use_bias": (False, False, True)}
    for stage, block, _ in block_positions(counts):
        changes: dict[str, Any] = {}
        if block == counts[stage - 1] and stage < len(counts):
            maps[f"C{stage + 1}"] = x
            # A pooling of one pixel is a subsampling.
            changes = {"strides": 2, "shortcut": keras.layers.MaxPooling2D(1, strides=2, name="shortcut")}
        name = f"stage{stage}_block{block}"
        x = PreActivationBottleneckBlock(256 << stage - 1, name=name, **changes, **options)(x)
    maps["C5"] = norm_activation(x, "last", NORM)
    return network(image, maps, classes, weight_decay, f"resnet{depth}_v2", features_only)


_BLOCK: Rules = ((r"^stage(\d)", plus_one("conv{}")), (r"/projection$", "_0_conv"), (r"/conv(\d)$", r"_\1_conv"))
KERAS_NAMING = keras_naming((*_BLOCK, (r"/projection_norm$", "_0_bn"), (r"/norm(\d)$", r"_\1_bn")))
_BLOCK_V2: Rules = ((r"/norm1$", "_preact_bn"), (r"/norm2$", "_1_bn"), (r"/norm3$", "_2_bn"))
KERAS_NAMING_V2 = keras_naming((*_BLOCK, (r"^last_norm$", "post_bn"), *_BLOCK_V2))


def _keras(depth: int, parameters: int, non_trainable: int, multiply_adds: int, file_hash: str) -> Row:
    weights = (keras_weights("resnet", f"resnet{depth}", file_hash),)
    figures = parameters, non_trainable, multiply_adds
    return Row(f"resnet{depth}_keras", {"depth": depth}, *figures, TEN_CROPS[depth], weights=weights)


def _keras_v2(depth: int, parameters: int, non_trainable: int, multiply_adds: int, file_hash: str) -> Row:
    weights = (keras_weights("resnet", f"resnet{depth}v2", file_hash),)
    return Row(f"resnet{depth}_v2", {"depth": depth}, parameters, non_trainable, multiply_adds, weights=weights)


FAMILIES = (
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
