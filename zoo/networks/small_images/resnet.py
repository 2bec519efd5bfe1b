"""The residual networks for small images, and the same convolutions without skips, and with blocks that drop out.

    depth = 6n + 2        a convolution, three stages of n blocks of two convolutions, pooling, logits
                          filters 16, 32, 64; the second and the third stage halve the size

He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
Huang et al., Deep Networks with Stochastic Depth, 2016, https://arxiv.org/abs/1603.09382
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from ...data.augmentation import Augmentation
from ...training.recipe import Optimizer, Recipe, Schedule
from .._arguments import blocks_per_stage, document, falling_survival
from .._common import STEM, block_norm, convolution, kernels, norm_activation, three_stages
from ..family import Family, Row, cifar_errors

if TYPE_CHECKING:
    import keras

RESNET = "He et al. 2015, Deep Residual Learning for Image Recognition, arXiv 1512.03385"
STOCHASTIC = "Huang et al. 2016, Deep Networks with Stochastic Depth, arXiv 1603.09382"


@document
def cifar_resnet(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 20,
    shortcut: Literal["pad", "projection"] = "pad",
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Residual network of the paper's family for CIFAR-10.

    Args:
        depth: 6n + 2: 20, 32, 44, 56, 110, ...
        shortcut: "pad" (option A, the paper's choice here) or "projection" (option B).

    Returns:
        A model from float images to logits, named "resnet" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.resnet import cifar_resnet
    >>> cifar_resnet((32, 32, 3)).count_params() - 1376  # without the moving statistics
    269722
    """
    from keras_skip import ResidualBlock

    blocks = blocks_per_stage(depth, 6, 2)
    options = {"shortcut": shortcut, "recompute": recompute, **block_norm(), **kernels(weight_decay)}

    def block(x: "keras.KerasTensor", stage: int, strides: int, name: str) -> "keras.KerasTensor":
        return ResidualBlock(STEM * 2 ** (stage - 1), strides=strides, name=name, **options)(x)

    return three_stages(f"resnet{depth}", input_shape, classes, weight_decay, features_only, blocks, block)


@document
def plain(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 20,
    weight_decay: float = 0.0,
    features_only: bool = False,
) -> "keras.Model":
    """The convolutions of `cifar_resnet` without the skips: the paper's plain network.

    Args:
        depth: 6n + 2: 20, 32, 44, 56, ...

    Returns:
        A model from float images to logits, named "plain" and its depth. It has the residual network's parameters.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.resnet import plain
    >>> plain((32, 32, 3)).count_params() - 1376
    269722
    """
    blocks = blocks_per_stage(depth, 6, 2)

    def block(x: "keras.KerasTensor", stage: int, strides: int, name: str) -> "keras.KerasTensor":
        filters = STEM * 2 ** (stage - 1)
        x = norm_activation(convolution(x, filters, f"{name}_conv1", weight_decay, strides), f"{name}_1")
        return norm_activation(convolution(x, filters, f"{name}_conv2", weight_decay), f"{name}_2")

    return three_stages(f"plain{depth}", input_shape, classes, weight_decay, features_only, blocks, block)


@document
def stochastic_resnet(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 110,
    shortcut: Literal["pad", "projection"] = "pad",
    survival_prob: float = 0.5,
    granularity: Literal["batch", "sample", "rows"] = "batch",
    scale: Literal["inference", "training"] = "inference",
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Residual network whose blocks drop out in training, the later the more often, the down-sampling ones included.

    Args:
        depth: 6n + 2.
        shortcut: "pad" or "projection", as in `cifar_resnet`.
        survival_prob: Of the last block; the probabilities fall to it linearly, so even the first block can drop.
        granularity: "batch" draws once per block and mini-batch, as the paper does; "sample" for each image;
            "rows" runs a block on some images of each mini-batch.
        scale: "inference" multiplies by the probability at inference, as the paper does; "training" divides by it in
            training.

    Returns:
        A model from float images to logits, named "stochastic_resnet" and its depth.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.resnet import stochastic_resnet
    >>> model = stochastic_resnet((8, 8, 3), depth=14)
    >>> [model.get_layer(f"stage{n}_block2").survival_prob for n in (1, 2, 3)] == [1 - 1 / 6, 1 - 2 / 6, 0.5]
    True
    """
    from keras_skip import StochasticDepthBlock

    blocks = blocks_per_stage(depth, 6, 2)
    survival = falling_survival(survival_prob, 3 * blocks)
    options: dict[str, Any] = {"shortcut": shortcut, "granularity": granularity, "scale": scale}
    options |= {"recompute": recompute, **block_norm(), **kernels(weight_decay)}

    def block(x: "keras.KerasTensor", stage: int, strides: int, name: str) -> "keras.KerasTensor":
        options["survival_prob"] = next(survival)
        return StochasticDepthBlock(STEM * 2 ** (stage - 1), strides=strides, name=name, **options)(x)

    return three_stages(f"stochastic_resnet{depth}", input_shape, classes, weight_decay, features_only, blocks, block)


# He et al.: plain momentum; the decay's reach is not stated, so it is that of Caffe's usual prototxt: the kernels.
RECIPE = Recipe(
    name="",
    network="",
    source="cifar10",
    epochs=164,
    optimizer=Optimizer(lr=0.1, nesterov=False, weight_decay=1e-4),
    schedule=Schedule(kind="step", milestones=(0.5, 0.75)),
    augment=Augmentation(pad=4, flip=True),
)
WARM_UP = replace(RECIPE.schedule, warmup=400 / 64000, warmup_factor=0.1)
# The code of Huang et al. is Torch's, as is that of later authors: Nesterov's form, and a decay of every parameter.
TORCH = Optimizer(lr=0.1, weight_decay=1e-4, decay_norm_and_bias=True)

_WITH_WARM_UP = replace(RECIPE, schedule=WARM_UP)
_ERROR_110 = "6.43 % on CIFAR-10 at best, 6.61 ± 0.16 %"

FAMILIES = (
    Family(
        cifar_resnet,
        "residual network for small images, parameter-free shortcuts",
        (
            Row("resnet20", {"depth": 20}, 269_722, 1_376, 40_551_040, cifar_errors("8.75")),
            Row("resnet32", {"depth": 32}, 464_154, 2_272, 68_862_592, cifar_errors("7.51")),
            Row("resnet44", {"depth": 44}, 658_586, 3_168, 97_174_144, cifar_errors("7.17")),
            Row("resnet56", {"depth": 56}, 853_018, 4_064, 125_485_696, cifar_errors("6.97")),
            Row("resnet110", {"depth": 110}, 1_727_962, 8_096, 252_887_680, _ERROR_110, _WITH_WARM_UP),
            Row("resnet1202", {"depth": 1202}, 19_421_274, 89_632, 2_829_238_912, cifar_errors("7.93"), _WITH_WARM_UP),
        ),
        RESNET,
        recipe=RECIPE,
    ),
    Family(
        plain,
        "the residual network's convolutions without its skips",
        (
            Row("plain20", {"depth": 20}, 269_722, 1_376, 40_551_040),
            Row("plain32", {"depth": 32}, 464_154, 2_272, 68_862_592),
            Row("plain44", {"depth": 44}, 658_586, 3_168, 97_174_144),
            Row("plain56", {"depth": 56}, 853_018, 4_064, 125_485_696),
        ),
        RESNET,
        recipe=RECIPE,
    ),
    Family(
        stochastic_resnet,
        "residual network whose blocks drop out in training",
        (
            Row("stochastic_resnet32", {"depth": 32}, 464_154, 2_302, 68_862_592),
            Row("stochastic_resnet110", {"depth": 110}, 1_727_962, 8_204, 252_887_680, cifar_errors("5.23", "24.58")),
            Row("stochastic_resnet1202", {"depth": 1202}, 19_421_274, 90_832, 2_829_238_912, cifar_errors("4.91")),
        ),
        STOCHASTIC,
        recipe=replace(RECIPE, optimizer=TORCH, epochs=500),
    ),
)
