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

from typing import Any

import keras

from keras_skip import BottleneckBlock, PreActivationBottleneckBlock, ResidualBlock

from ._common import NORM, block_norm, kernels, network, norm_activation
from ._imagenet import DEFAULT_SHAPE, sized_input, stages_of, stem

BASIC: dict[int, tuple[int, ...]] = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK: dict[int, tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
SMALLEST = 32  # a last map of one pixel
APPLICATIONS_NORM = {"momentum": 0.99, "epsilon": 1.001e-5}


def imagenet_resnet(
    input_shape: Any = DEFAULT_SHAPE,
    classes: int = 1000,
    depth: int = 50,
    widening: int = 1,
    zero_init_gamma: bool = False,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Residual network in torchvision's form: bottlenecks stride their 3x3 convolution, no convolution has a bias.

    Args:
        input_shape: (height, width, channels), 32 x 32 or larger; height and width may be None.
        classes: Number of logits.
        depth: 18, 34, 50, 101 or 152.
        widening: Factor on the inner width of the bottlenecks, 1, 2 or 4; 2 gives the wide networks.
        zero_init_gamma: Whether every block starts as its shortcut.
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.
        recompute: Whether only the blocks' inputs are kept for the gradients; see `BottleneckBlock`.

    Returns:
        A model from float images to logits, named "resnet" and its depth, or such as "wide_resnet50_2".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.imagenet_resnet import imagenet_resnet
    >>> imagenet_resnet((64, 64, 3), depth=18).count_params() - 9600  # without the moving statistics
    11689512
    """
    counts = stages_of(depth, BASIC | BOTTLENECK)
    widenings = (1,) if depth in BASIC else (1, 2, 4)
    if widening not in widenings:
        one_of = ", ".join(map(str, widenings))
        raise ValueError(f"Expected widening to be one of {one_of} at depth {depth}. Received: widening={widening!r}")
    image = sized_input(input_shape, SMALLEST)
    maps = {}
    maps["C1"], x = stem(image, weight_decay, norm=NORM)
    options: dict[str, Any] = {"recompute": recompute, **block_norm(), **kernels(weight_decay)}
    options |= {"padding": "symmetric", "zero_init_gamma": zero_init_gamma}
    block, filters = (ResidualBlock, 64) if depth in BASIC else (BottleneckBlock, 256)
    if block is BottleneckBlock:
        options["ratio"] = 4 // widening
    for stage, place, _, strides in _places(counts):
        x = block(filters << stage - 1, strides=strides, name=f"stage{stage}_block{place}", **options)(x)
        maps[f"C{stage + 1}"] = x
    name = f"resnet{depth}" if widening == 1 else f"wide_resnet{depth}_{widening}"
    return network(image, maps, classes, weight_decay, name, features_only)


def applications_resnet(
    input_shape: Any = DEFAULT_SHAPE,
    classes: int = 1000,
    depth: int = 50,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Residual network in the form of keras.applications: the first 1x1 convolution strides, all have biases.

    Args:
        input_shape: (height, width, channels), 32 x 32 or larger; height and width may be None.
        classes: Number of logits.
        depth: 50, 101 or 152.
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.
        recompute: Whether only the blocks' inputs are kept for the gradients; see `BottleneckBlock`.

    Returns:
        A model from float images to logits, named such as "resnet50_keras".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.imagenet_resnet import applications_resnet
    >>> applications_resnet((64, 64, 3), depth=50).count_params() - 53120  # without the moving statistics
    25583592
    """
    counts = stages_of(depth, BOTTLENECK)
    image = sized_input(input_shape, SMALLEST)
    maps = {}
    maps["C1"], x = stem(image, weight_decay, use_bias=True, norm=APPLICATIONS_NORM)
    options: dict[str, Any] = {"recompute": recompute, **block_norm(APPLICATIONS_NORM), **kernels(weight_decay)}
    options |= {"use_bias": True, "stride_position": "first"}
    for stage, place, _, strides in _places(counts):
        x = BottleneckBlock(256 << stage - 1, strides=strides, name=f"stage{stage}_block{place}", **options)(x)
        maps[f"C{stage + 1}"] = x
    return network(image, maps, classes, weight_decay, f"resnet{depth}_keras", features_only)


def applications_resnet_v2(
    input_shape: Any = DEFAULT_SHAPE,
    classes: int = 1000,
    depth: int = 50,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Pre-activation residual network in the form of keras.applications.

    The last block of the first three stages halves the size, with a subsampled shortcut. The stem has no
    normalisation; a last one stands before the pooling.

    Args:
        input_shape: (height, width, channels), 32 x 32 or larger; height and width may be None.
        classes: Number of logits.
        depth: 50, 101 or 152.
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.
        recompute: Whether only the blocks' inputs are kept for the gradients; see `PreActivationBottleneckBlock`.

    Returns:
        A model from float images to logits, named such as "resnet50_v2".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.imagenet_resnet import applications_resnet_v2
    >>> applications_resnet_v2((64, 64, 3), depth=50).count_params() - 45440  # without the moving statistics
    25568360
    """
    counts = stages_of(depth, BOTTLENECK)
    image = sized_input(input_shape, SMALLEST)
    maps = {}
    maps["C1"], x = stem(image, weight_decay, use_bias=True)
    options: dict[str, Any] = {"recompute": recompute, **block_norm(APPLICATIONS_NORM), **kernels(weight_decay)}
    options |= {"padding": "symmetric", "use_bias": (False, False, True)}
    for stage, place, last, _ in _places(counts):
        halves = last and stage < len(counts)
        if halves:
            maps[f"C{stage + 1}"] = x
        # A pooling of one pixel is a subsampling.
        shortcut = keras.layers.MaxPooling2D(1, strides=2, name="shortcut") if halves else "projection"
        x = PreActivationBottleneckBlock(
            256 << stage - 1,
            strides=2 if halves else 1,
            shortcut=shortcut,
            name=f"stage{stage}_block{place}",
            **options,
        )(x)
    maps["C5"] = norm_activation(x, "last", APPLICATIONS_NORM)
    return network(image, maps, classes, weight_decay, f"resnet{depth}_v2", features_only)


def _places(counts: tuple[int, ...]) -> list[tuple[int, int, bool, int]]:
    """Stage, place in it, whether it is the stage's last, and the strides where a stage's first block halves."""
    return [
        (stage, place, place == count, 2 if stage > 1 and place == 1 else 1)
        for stage, count in enumerate(counts, 1)
        for place in range(1, count + 1)
    ]
