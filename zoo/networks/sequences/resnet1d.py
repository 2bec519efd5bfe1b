"""The residual networks for ImageNet in one dimension, for signals such as electrocardiograms, audio and vibrations.

    stage      1    2    3    4
    steps    1/4  1/8 1/16 1/32
    filters   64  128  256  512    basic blocks of two convolutions, such as 18 and 34 layers
             256  512 1024 2048    bottleneck blocks of three, such as 50, 101 and 152 layers

The networks and the names of their weights are torchvision's; kernels and poolings have one dimension instead of two.

He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from .._common import NORM, block_norm, kernels, network, network_input, residual_blocks
from ..family import Family, Row
from ..imagenet._stem import counts_of, max_pool, plain_stem
from ..imagenet._torch_names import TORCH_NAMING
from ..imagenet.resnet import BASIC, BOTTLENECK
from ..small_images.resnet import RESNET
from ._steps import document_sequences

if TYPE_CHECKING:
    import keras

SMALLEST = 32  # a last map of one step


@partial(document_sequences, input_shape="(steps, channels), of at least 32 steps; steps may be None.")
def resnet1d(
    input_shape: Sequence[int | None],
    classes: int = 5,
    depth: int = 18,
    zero_init_gamma: bool = False,
    survival_prob: float = 1.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Residual network in torchvision's form, with convolutions over the steps of a signal.

    Args:
        depth: As in `zoo.networks.imagenet.resnet`, such as 18, 34, 50, 101 or 152.
        zero_init_gamma: Whether every block starts as its shortcut.

    Returns:
        A model from float signals to logits, named "resnet1d_" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.sequences.resnet1d import resnet1d
    >>> resnet1d((1000, 12), classes=5, depth=18).output_shape
    (None, 5)
    """
    from keras_skip import BottleneckBlock, ResidualBlock

    counts = counts_of(depth, BASIC | BOTTLENECK)
    signal = network_input(input_shape, ("steps",), "signal", SMALLEST)
    maps = {}
    maps["C1"] = plain_stem(signal, weight_decay, norm=NORM)
    x = max_pool(maps["C1"])
    cls, filters = (ResidualBlock, 64) if depth in BASIC else (BottleneckBlock, 256)
    options: dict[str, Any] = {"padding": "symmetric", "zero_init_gamma": zero_init_gamma, "recompute": recompute}
    options |= {**block_norm(), **kernels(weight_decay)}
    for stage, strides, own in residual_blocks(counts, survival_prob):
        x = cls(filters << stage - 1, strides=strides, **options, **own)(x)
        maps[f"C{stage + 1}"] = x
    return network(signal, maps, classes, weight_decay, f"resnet1d_{depth}", features_only)


FAMILIES = (
    Family(
        resnet1d,
        "residual network for signals: torchvision's form in one dimension",
        (
            Row("resnet1d_18", {"depth": 18}, 3_851_397, 9_600, 175_197_696),
            Row("resnet1d_34", {"depth": 34}, 7_225_733, 17_024, 355_339_776),
        ),
        RESNET,
        task="sequences",
        input_shape=(1000, 12),
        classes=5,
        namings=(replace(TORCH_NAMING, library="torchvision, made one-dimensional"),),
    ),
)
