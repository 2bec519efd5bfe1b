"""The highway networks of convolutions: stages of highway layers of one width, with max pooling between them.

    y = T(x) * relu(conv(x)) + (1 - T(x)) * x        carry="coupled", as in the paper
    y = T(x) * relu(conv(x)) + C(x) * x              carry="learned"

A plain convolution takes the input, and another changes each width. Nothing is normalised.

Srivastava et al., Training Very Deep Networks, 2015, https://arxiv.org/abs/1507.06228
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ...data.augmentation import Augmentation
from ...training.recipe import Optimizer, Recipe, Schedule
from .._arguments import document, positive
from .._common import decay, head, image_input, network, sides
from ..family import Family, Row

if TYPE_CHECKING:
    import keras

HIGHWAY = "Srivastava et al. 2015, Highway Networks, arXiv 1505.00387"
VERY_DEEP = "Srivastava et al. 2015, Training Very Deep Networks, arXiv 1507.06228"


class Layout(NamedTuple):
    """Width and number of layers of each stage, and the width of the hidden layer before the logits."""

    stages: tuple[tuple[int, int], ...]
    hidden: int


# Highway 19 (B) is as its authors published it: FitNet 4 with one width in each stage, 2,256,838 parameters. Of A and C
# the paper gives only depth and size, so both are derived, in the form of B: a constant width in each of three stages,
# then a hidden layer and the logits.
#
# A, 11 layers, 236K: FitNet 1 has stages of 3 layers and widths 16, 32 and 48 to 64. With 16, 32, 64:
#     stage of 16     448 +  9,280        3x3 from 3 channels; 2 highway layers of 2 (9 * 16^2 + 16)
#     stage of 32   4,640 + 36,992
#     stage of 64  18,496 + 147,712       together 217,568
#     hidden h, logits 75 h + 10          h = 100 as in B gives 225,078; h = 250 gives 236,328
# C, 32 layers, 1.25M: 30 layers in three stages of 10. With 32, 48, 64 and h = 100:
#     (896 + 166,464) + (13,872 + 374,112) + (27,712 + 664,704) + 6,500 + 1,010 = 1,255,270
LAYOUTS = {
    11: Layout(((16, 3), (32, 3), (64, 3)), hidden=250),
    19: Layout(((32, 5), (80, 6), (128, 6)), hidden=100),
    32: Layout(((32, 10), (48, 10), (64, 10)), hidden=100),
}

_document = partial(
    document,
    carry='"coupled" (the paper\'s) or "learned", a carry gate of its own.',
    transform_bias="The first value of the transform gates' biases.",
    dropout="Rate on the image, before each further stage and before the logits; the authors' 0.2.",
    recompute="Whether only the blocks' inputs are kept for the gradients; see `keras_skip.HighwayBlock`.",
)


@_document
def highway_cifar(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 19,
    carry: Literal["coupled", "learned"] = "coupled",
    transform_bias: float = -2.0,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Highway network for CIFAR-10, in the form of a FitNet. Its hidden dense layer acts on each pixel of the last map.

    Args:
        depth: 11, 19 or 32, the paper's Highway A, B and C. The widths of A and C are derived, since the paper states
            only their sizes.

    Returns:
        A model from float images to logits, named "highway" and its depth, with "_carry" if that is learned.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.highway import highway_cifar
    >>> highway_cifar((32, 32, 3), depth=19).count_params()
    2256838
    """
    import keras

    if depth not in LAYOUTS:
        raise ValueError(f"Expected a depth of 11, 19 or 32. Received: depth={depth!r}")
    stages, hidden = LAYOUTS[depth]
    image = image_input(input_shape)
    x = _dropout(image, dropout, "dropout1")
    options: dict[str, Any] = {"carry": carry, "transform_bias": transform_bias, "recompute": recompute}
    options |= _kernels(weight_decay)
    maps = {}
    for stage, (width, layers) in enumerate(stages, 1):
        if stage > 1:
            x = _pool(x, dropout, stage - 1)
        x = _convolution(x, width, 3, "same", weight_decay, f"stage{stage}_conv")
        x = _highway_layers(x, layers - 1, f"stage{stage}", options)
        maps[f"C{stage - 1}"] = x
    maps["C2"] = _convolution(x, hidden, 1, "same", weight_decay, "hidden")

    def top(x: "keras.KerasTensor", classes: int, weight_decay: float) -> "keras.KerasTensor":
        x = keras.layers.GlobalAveragePooling2D(name="pool3")(x)
        return head(_dropout(x, dropout, "dropout4"), classes, weight_decay)

    return network(image, maps, classes, weight_decay, f"highway{depth}{_suffix(carry)}", features_only, top)


@_document
def highway_mnist(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 10,
    width: int = 16,
    carry: Literal["coupled", "learned"] = "coupled",
    transform_bias: float = -1.0,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Highway network for MNIST: a 5x5 convolution, highway layers of one width, the logits.

    Args:
        input_shape: (height, width, channels), of at least 5 x 5.
        depth: 3n + 1: a pooling follows each third of the convolutions. The paper's is 10.
        width: Channels of each convolution, the paper's 16 and 32.

    Returns:
        A model from float images to logits, named "highway_mnist_" and its width, with "_carry" if that is learned.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.highway import highway_mnist
    >>> highway_mnist((28, 28, 1), width=16).count_params()
    38986
    """
    import keras

    layers, rest = divmod(positive(depth, "depth") - 1, 3)
    if layers < 1 or rest:
        raise ValueError(f"Expected a depth of 3n + 1, such as 10. Received: depth={depth}")
    image = image_input(input_shape)
    if any(size is None or size < 5 for size in sides(image)):
        raise ValueError(f"Expected a fixed input_shape of at least 5 x 5. Received: input_shape={input_shape}")
    x = _dropout(image, dropout, "dropout1")
    x = _convolution(x, positive(width, "width"), 5, "valid", weight_decay, "stem")
    options: dict[str, Any] = {"carry": carry, "transform_bias": transform_bias, "recompute": recompute}
    options |= _kernels(weight_decay)
    maps = {}
    for stage in range(1, 4):
        if stage > 1:
            x = _pool(x, dropout, stage - 1)
        x = _highway_layers(x, layers - (stage == 1), f"stage{stage}", options)
        maps[f"C{stage - 1}"] = x

    def top(x: "keras.KerasTensor", classes: int, weight_decay: float) -> "keras.KerasTensor":
        return head(keras.layers.Flatten(name="flatten")(_pool(x, dropout, 3)), classes, weight_decay)

    return network(image, maps, classes, weight_decay, f"highway_mnist_{width}{_suffix(carry)}", features_only, top)


def _highway_layers(x: "keras.KerasTensor", layers: int, stage: str, options: dict[str, Any]) -> "keras.KerasTensor":
    from keras_skip import HighwayBlock

    for layer in range(1, layers + 1):
        x = HighwayBlock(kernel_size=3, name=f"{stage}_block{layer}", **options)(x)
    return x


def _convolution(
    x: "keras.KerasTensor", filters: int, size: int, padding: str, weight_decay: float, name: str
) -> "keras.KerasTensor":
    import keras

    options = {"padding": padding, "activation": "relu", **_kernels(weight_decay)}
    return keras.layers.Conv2D(filters, size, name=name, **options)(x)


def _kernels(weight_decay: float) -> dict[str, Any]:
    # The "xavier" of the authors' Caffe is uniform, with the variance 1 / fan-in.
    return {"kernel_initializer": "lecun_uniform", "kernel_regularizer": decay(weight_decay)}


def _pool(x: "keras.KerasTensor", dropout: float, stage: int) -> "keras.KerasTensor":
    import keras

    x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{stage}")(x)
    return _dropout(x, dropout, f"dropout{stage + 1}")


def _dropout(x: "keras.KerasTensor", rate: float, name: str) -> "keras.KerasTensor":
    import keras

    return keras.layers.Dropout(rate, name=name)(x) if rate else x


def _suffix(carry: str) -> str:
    return "_carry" if carry == "learned" else ""


# The authors' Caffe: 200,000 iterations of 100 images. There the images are contrast-normalised, the biases learn twice
# as fast, and the last layer decays ten times as fast.
CIFAR_RECIPE = Recipe(
    name="",
    network="",
    source="cifar10",
    arguments={"dropout": 0.2},
    epochs=400,
    batch_size=100,
    optimizer=Optimizer(lr=0.025, weight_decay=1e-3),
    schedule=Schedule(kind="step", milestones=(0.5, 0.75, 0.875)),
    augment=Augmentation(pad=8, flip=True),
)
# 180,000 iterations. Their dropout rises from 0.2 on the image to 0.5 before the logits.
MNIST_RECIPE = replace(
    CIFAR_RECIPE,
    source="mnist",
    arguments={"dropout": 0.3},
    epochs=300,
    optimizer=Optimizer(lr=0.01, weight_decay=1e-3),
    schedule=Schedule(kind="step", milestones=(1 / 3, 2 / 3)),
    augment=Augmentation(),
)

# The paper says nothing of networks with a carry gate of their own.
FAMILIES = (
    Family(
        highway_cifar,
        "highway network of convolutions for small images",
        (
            Row("highway11", {"depth": 11}, 236_328, 0, 32_139_716, "10.82 % on CIFAR-10"),
            Row("highway19", {"depth": 19}, 2_256_838, 0, 330_826_728, "7.54 % on CIFAR-10 at best, 7.72 ± 0.16 %"),
            Row("highway32", {"depth": 32}, 1_255_270, 0, 314_491_880, "8.80 % on CIFAR-10"),
            Row("highway11_carry", {"depth": 11, "carry": "learned"}, 333_320, 0, 46_295_492),
            Row("highway19_carry", {"depth": 19, "carry": "learned"}, 3_320_150, 0, 489_489_384),
            Row("highway32_carry", {"depth": 32, "carry": "learned"}, 1_857_910, 0, 468_435_944),
        ),
        VERY_DEEP,
        recipe=CIFAR_RECIPE,
    ),
    Family(
        highway_mnist,
        "highway network of convolutions for digits",
        (
            Row("highway_mnist_16", {"depth": 10, "width": 16}, 38_986, 0, 8_028_576, "0.57 % on MNIST"),
            Row("highway_mnist_32", {"depth": 10, "width": 32}, 151_690, 0, 31_650_624, "0.45 % on MNIST"),
            Row("highway_mnist_16_carry", {"depth": 10, "width": 16, "carry": "learned"}, 57_546, 0, 11_926_944),
            Row("highway_mnist_32_carry", {"depth": 10, "width": 32, "carry": "learned"}, 225_674, 0, 47_244_096),
        ),
        VERY_DEEP,
        input_shape=(28, 28, 1),
        recipe=MNIST_RECIPE,
    ),
)
