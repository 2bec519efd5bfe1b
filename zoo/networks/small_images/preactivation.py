"""The pre-activation residual networks for small images.

    depth = 6n + 2        n blocks of two convolutions in each of three stages, filters 16, 32, 64
    depth = 9n + 2        n bottleneck blocks of three convolutions, filters 64, 128, 256

Normalisation and activation stand before each convolution: none follows the stem, and one comes before the pooling.

He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from .._arguments import blocks_per_stage, document
from .._common import STEM, block_norm, kernels, three_stages
from ..family import Family, Row, cifar_errors
from . import resnet

if TYPE_CHECKING:
    import keras

PREACTIVATION = "He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv 1603.05027"


@document
def preact_resnet(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 164,
    bottleneck: bool = True,
    shortcut: Literal["pad", "projection"] = "projection",
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Pre-activation residual network of the paper's family for CIFAR-10.

    Args:
        depth: 9n + 2 with bottlenecks (164, 1001), 6n + 2 without (110).
        bottleneck: Whether the blocks have three convolutions rather than two.
        shortcut: "projection", or "pad" (option A, the paper's choice without bottlenecks).

    Returns:
        A model from float images to logits, named "preact_resnet" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.preactivation import preact_resnet
    >>> preact_resnet((8, 8, 3), depth=20).output_shape
    (None, 10)
    """
    from keras_skip import PreActivationBlock, PreActivationBottleneckBlock

    blocks = blocks_per_stage(depth, 9 if bottleneck else 6, 2)
    cls = PreActivationBottleneckBlock if bottleneck else PreActivationBlock
    options: dict[str, Any] = {"shortcut": shortcut, "recompute": recompute, **block_norm(), **kernels(weight_decay)}

    def block(x: "keras.KerasTensor", stage: int, strides: int, name: str) -> "keras.KerasTensor":
        filters = STEM * 2 ** (stage - 1) * (4 if bottleneck else 1)
        # The very first unit has no activation before it, so its shortcut shares that of the branch.
        options["preactivate_shortcut"] = True if name == "stage1_block1" else "auto"
        return cls(filters, strides=strides, name=name, **options)(x)

    name = f"preact_resnet{depth}"
    return three_stages(name, input_shape, classes, weight_decay, features_only, blocks, block, preactivated=True)


_BASIC: dict[str, Any] = {"bottleneck": False, "shortcut": "pad"}
_ERRORS_1001 = "4.92 % on CIFAR-10 (4.62 % at batch 64), 22.71 % on CIFAR-100"

FAMILIES = (
    Family(
        preact_resnet,
        "pre-activation residual network for small images",
        (
            Row("preact_resnet20", {"depth": 20, **_BASIC}, 269_722, 1_376, 40_551_040),
            Row("preact_resnet110", {"depth": 110, **_BASIC}, 1_727_962, 8_096, 252_887_680, cifar_errors("6.37")),
            Row("preact_resnet164", {"depth": 164}, 1_703_258, 24_224, 247_646_720, cifar_errors("5.46", "24.33")),
            Row("preact_resnet1001", {"depth": 1001}, 10_327_706, 149_216, 1_490_995_712, _ERRORS_1001),
        ),
        PREACTIVATION,
        # They end the warm-up when the training error falls below 80 %, "about 400 iterations".
        recipe=replace(resnet.RECIPE, optimizer=resnet.TORCH, schedule=resnet.WARM_UP),
    ),
)
