"""The residual network of nine layers that was the fastest to reach 94 % on CIFAR-10 in the DAWNBench competition.

    stage      stem      1      2      3
    size          1    1/2    1/4    1/8    each stage ends its convolution with a pooling
    filters      64    128    256    512    of `width` 64
    blocks                1             1   x + two convolutions, each with its normalisation and ReLU

Global maximum pooling follows, and a dense layer without a bias, whose logits are an eighth of its output.

Page, How to Train Your ResNet, 2018, https://myrtle.ai/learn/how-to-train-your-resnet/
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...data.augmentation import Augmentation
from ...training.recipe import Optimizer, Recipe, Schedule
from .._arguments import document, positive
from .._common import batch_norm, convolution, head, image_input, kernels, network, norm_activation
from ..family import Family, Row, cifar_errors

if TYPE_CHECKING:
    import keras

LOGIT_SCALE = 0.125
# Whether the stage has a residual block.
STAGES = (True, False, True)


@document
def resnet9(
    input_shape: Sequence[int | None],
    classes: int = 10,
    width: int = 64,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """Residual network of nine layers, made to train in little time.

    Args:
        width: Filters of the first convolution; the stages have two, four and eight times as many.

    Returns:
        A model from float images to logits, named "resnet9".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.resnet9 import resnet9
    >>> resnet9((32, 32, 3)).count_params() - 4480  # without the moving statistics
    6573120
    """
    import keras

    from keras_skip import Residual

    filters = positive(width, "width")
    image = image_input(input_shape)
    x = norm_activation(convolution(image, filters, "stem_conv", weight_decay), "stem")
    maps = {"C0": x}
    for stage, has_block in enumerate(STAGES, 1):
        filters, name = 2 * filters, f"stage{stage}"
        x = norm_activation(convolution(x, filters, f"{name}_conv", weight_decay), name)
        x = keras.layers.MaxPooling2D(padding="same", name=f"{name}_pool")(x)
        if has_block:
            layers = _layers(filters, weight_decay, 1) + _layers(filters, weight_decay, 2)
            x = Residual(layers, shortcut="identity", recompute=recompute, name=f"{name}_block1")(x)
        maps[f"C{stage}"] = x
    return network(image, maps, classes, weight_decay, "resnet9", features_only, _pool_and_head)


def _layers(filters: int, weight_decay: float, number: int) -> "list[keras.layers.Layer]":
    import keras

    return [
        keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{number}", **kernels(weight_decay)),
        batch_norm(f"norm{number}"),
        keras.layers.Activation("relu", name=f"activation{number}"),
    ]


def _pool_and_head(x: "keras.KerasTensor", classes: int, weight_decay: float) -> "keras.KerasTensor":
    import keras

    x = keras.layers.GlobalMaxPooling2D(name="pool")(x)
    # Without a bias, scaling the input scales the logits.
    x = keras.layers.Rescaling(LOGIT_SCALE, name="scale")(x)
    return head(x, classes, weight_decay, use_bias=False)


# 24 epochs, with the highest rate after five.
RECIPE = Recipe(
    name="",
    network="",
    source="cifar10",
    epochs=24,
    batch_size=512,
    optimizer=Optimizer(lr=0.4, weight_decay=5e-4, decay_norm_and_bias=True),
    schedule=Schedule(kind="one-cycle", warmup=5 / 24),
    augment=Augmentation(pad=4, pad_mode="reflect", flip=True, cutout=8),
)

FAMILIES = (
    Family(
        resnet9,
        "residual network for small images that trains in little time",
        (Row("resnet9", {"width": 64}, 6_573_120, 4_480, 379_261_952, cifar_errors("6")),),
        "Page 2018, How to Train Your ResNet, myrtle.ai",
        recipe=RECIPE,
    ),
)
