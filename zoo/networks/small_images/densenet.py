"""The densely connected networks for small images: three dense blocks with transitions between them.

    plain    depth = 3n + 4    n layers of a 3x3 convolution in each block; a stem of 16; transitions keep the channels
    BC       depth = 6n + 4    n layers of a 1x1 and a 3x3 convolution; a stem of 2k; transitions keep half of them

k is the growth rate. Normalisation and activation stand before each convolution: none follows the stem, and one comes
before the pooling.

Huang et al., Densely Connected Convolutional Networks, 2017, https://arxiv.org/abs/1608.06993
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from .._arguments import blocks_per_stage, document, positive
from .._common import block_norm, convolution, image_input, kernels, network, norm_activation
from ..family import Family, Row, cifar_errors
from . import resnet

if TYPE_CHECKING:
    import keras

DENSENET = "Huang et al. 2017, Densely Connected Convolutional Networks, arXiv 1608.06993"
RECOMPUTE = "Whether dense blocks train in memory that grows linearly with their layers; see `keras_skip.DenseBlock`."


@partial(document, recompute=RECOMPUTE)
def cifar_densenet(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 40,
    growth_rate: int = 12,
    bottleneck: bool = False,
    compression: float = 1.0,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Densely connected network of the paper's family for CIFAR-10.

    Args:
        depth: 3n + 4 (40, 100), with bottlenecks 6n + 4 (100, 190, 250).
        growth_rate: New channels of each layer, the paper's k.
        bottleneck: Whether a 1x1 convolution to 4k channels comes first in each layer.
        compression: Fraction of the channels that a transition keeps. The paper's BC networks have bottlenecks and
            0.5; their stem has 2k channels, others have 16.
        dropout: Rate after each convolution but the first; the paper's 0.2 where images are not augmented.

    Returns:
        A model from float images to logits, named "densenet_" ("densenet_bc_") and its depth and growth rate.

    Raises:
        ValueError: For an argument out of range, or images too small to be halved twice.

    Example:

    >>> from zoo.networks.small_images.densenet import cifar_densenet
    >>> cifar_densenet((8, 8, 3), depth=10, growth_rate=4).output_shape
    (None, 10)
    """
    from keras_skip import DenseBlock, TransitionBlock

    layers = blocks_per_stage(depth, 6 if bottleneck else 3, 4)
    positive(growth_rate, "growth_rate")
    is_bc = bottleneck and compression < 1.0
    options: dict[str, Any] = {"dropout": dropout, **block_norm(), **kernels(weight_decay)}
    image = image_input(input_shape)
    x = convolution(image, 2 * growth_rate if is_bc else 16, "stem_conv", weight_decay)
    maps = {}
    for block in range(1, 4):
        x = DenseBlock(layers, growth_rate, bottleneck, recompute=recompute, name=f"block{block}", **options)(x)
        maps[f"C{block - 1}"] = x
        if block < 3:
            x = TransitionBlock(compression, name=f"transition{block}", **options)(x)
    maps["C2"] = norm_activation(x, "last")
    name = f"densenet_{'bc_' if is_bc else ''}{depth}_{growth_rate}"
    return network(image, maps, classes, weight_decay, name, features_only)


RECIPE = replace(resnet.RECIPE, optimizer=resnet.TORCH, epochs=300, batch_size=64)


def _grow(depth: int, growth_rate: int) -> dict[str, Any]:
    return {"depth": depth, "growth_rate": growth_rate}


_BC: dict[str, Any] = {"bottleneck": True, "compression": 0.5}

FAMILIES = (
    Family(
        cifar_densenet,
        "densely connected network for small images",
        (
            Row("densenet_40_12", _grow(40, 12), 1_019_722, 18_096, 264_812_928, cifar_errors("5.24", "24.42")),
            Row("densenet_100_12", _grow(100, 12), 6_979_642, 117_216, 1_769_516_448, cifar_errors("4.10", "20.20")),
        ),
        DENSENET,
        recipe=RECIPE,
    ),
    Family(
        cifar_densenet,
        "densely connected network with bottlenecks and compression",
        (
            Row(
                "densenet_bc_100_12", _grow(100, 12) | _BC, 769_162, 23_988, 287_929_692, cifar_errors("4.51", "22.27")
            ),
            Row(
                "densenet_bc_250_24",
                _grow(250, 24) | _BC,
                15_324_406,
                257_976,
                5_418_785_724,
                cifar_errors("3.62", "17.60"),
            ),
            Row(
                "densenet_bc_190_40",
                _grow(190, 40) | _BC,
                25_624_430,
                256_960,
                9_301_945_740,
                cifar_errors("3.46", "17.18"),
            ),
        ),
        DENSENET,
        recipe=RECIPE,
    ),
)
