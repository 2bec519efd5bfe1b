"""The densely connected networks for volumes in MONAI's form: those for ImageNet with one more dimension.

    depth      layers of the dense blocks, each a 1x1x1 and a 3x3x3 convolution to 32 new channels
    121        6, 12, 24, 16
    169        6, 12, 32, 32
    201        6, 12, 48, 32
    264        6, 12, 64, 48

Huang et al., Densely Connected Convolutional Networks, 2017, https://arxiv.org/abs/1608.06993
Cardoso et al., MONAI: An open-source framework for deep learning in healthcare, 2022, https://arxiv.org/abs/2211.02701
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ...weights.naming import torch_naming
from .._arguments import document
from .._common import NORM, network_input
from ..family import Family, Row
from ..imagenet._stem import counts_of
from ..imagenet.densenet import LAYERS, SMALLEST, dense_network
from ..small_images.densenet import DENSENET, RECOMPUTE
from ._volume import CLASSES, INPUT_SHAPE, SIDES

if TYPE_CHECKING:
    import keras


@partial(document, recompute=RECOMPUTE)
def densenet3d(
    input_shape: Sequence[int | None] = INPUT_SHAPE,
    classes: int = CLASSES,
    depth: int = 121,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Densely connected network for volumes, with bottlenecks and a compression of 0.5.

    Args:
        input_shape: (depth, height, width, channels), each side 29 or larger or None.
        depth: 121, 169, 201 or 264.

    Returns:
        A model from float volumes to logits, named "densenet3d_" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.volumes.densenet3d import densenet3d
    >>> densenet3d((32, 32, 32, 1), depth=121).count_params() - 83648  # without the moving statistics
    11244674
    """
    counts = counts_of(depth, LAYERS | {264: (6, 12, 64, 48)})
    volume = network_input(input_shape, SIDES, "volume", SMALLEST)
    name = f"densenet3d_{depth}"
    return dense_network(volume, counts, classes, name, NORM, weight_decay, features_only, recompute)


MONAI_NAMING = torch_naming(
    "MONAI",
    (
        (r"^stem_(conv|norm)$", r"features.\g<1>0"),
        (r"^last_norm$", "features.norm5"),
        (r"^head$", "class_layers.out"),
        (r"^transition(\d)/(conv|norm)1$", r"features.transition\1.\2"),
        (r"^block(\d)/layer(\d+)/", r"features.denseblock\1.denselayer\2.layers."),
    ),
)

FAMILIES = (
    Family(
        densenet3d,
        "densely connected network for volumes, in MONAI's form",
        (
            Row("densenet3d_121", {"depth": 121}, 11_244_674, 83_648, 5_362_681_856),
            Row("densenet3d_169", {"depth": 169}, 18_546_050, 158_400, 5_551_688_960),
            Row("densenet3d_201", {"depth": 201}, 25_334_658, 229_056, 5_922_885_376),
            Row("densenet3d_264", {"depth": 264}, 40_251_266, 398_528, 6_431_708_416),
        ),
        DENSENET,
        task="volumes",
        input_shape=INPUT_SHAPE,
        classes=CLASSES,
        namings=(MONAI_NAMING,),
    ),
)
