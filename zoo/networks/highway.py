"""The highway networks of convolutions: stages of highway layers of one width, with max pooling between them.

    y = T(x) * relu(conv(x)) + (1 - T(x)) * x        carry="coupled", as in the paper
    y = T(x) * relu(conv(x)) + C(x) * x              carry="learned"

Where the width changes, and at the input, stands a plain convolution. Nothing is normalised.

Srivastava et al., Training Very Deep Networks, 2015, https://arxiv.org/abs/1507.06228
"""

from typing import Any, NamedTuple

import keras

from keras_skip import HighwayBlock

from ._common import decay, head, image_input, network, positive, sides


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


def highway_cifar(
    input_shape: Any,
    classes: int = 10,
    depth: int = 19,
    carry: str = "coupled",
    transform_bias: float = -2.0,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Highway network for CIFAR-10, in the form of a FitNet. Its hidden dense layer acts on each place of the last map.

    Args:
        input_shape: (height, width, channels); height and width may be None.
        classes: Number of logits.
        depth: 11, 19 or 32, the paper's Highway A, B and C. The widths of A and C are derived, since the paper states
            only their sizes.
        carry: "coupled" (the paper's) or "learned", a carry gate of its own.
        transform_bias: With which the bias of the transform gates starts.
        dropout: Rate on the image, before each further stage and before the logits; the authors' 0.2.
        weight_decay: Coupled L2 on the kernels.
        features_only: Whether the model ends in its feature maps; see `zoo.build`.
        recompute: Whether only the blocks' inputs are kept for the gradients; see `HighwayBlock`.

    Returns:
        A model from float images to logits, named "highway" and its depth, with "_carry" if that is learned.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.highway import highway_cifar
    >>> highway_cifar((32, 32, 3), depth=19).count_params()
    2256838
    """
    if depth not in LAYOUTS:
        raise ValueError(f"Expected a depth of 11, 19 or 32. Received: depth={depth!r}")
    stages, hidden = LAYOUTS[depth]
    image = image_input(input_shape)
    x = _dropout(image, dropout, "dropout1")
    options: dict[str, Any] = {"carry": carry, "transform_bias": transform_bias, "recompute": recompute}
    options |= _kernels(weight_decay)
    maps = {}
    for place, (width, layers) in enumerate(stages, 1):
        if place > 1:
            x = _pool(x, dropout, place - 1)
        x = _convolution(x, width, 3, "same", weight_decay, f"stage{place}_conv")
        x = _highway_layers(x, layers - 1, f"stage{place}", options)
        maps[f"C{place - 1}"] = x
    maps["C2"] = _convolution(x, hidden, 1, "same", weight_decay, "hidden")

    def top(x: Any, classes: int, weight_decay: float) -> Any:
        x = keras.layers.GlobalAveragePooling2D(name="pool3")(x)
        return head(_dropout(x, dropout, "dropout4"), classes, weight_decay)

    return network(image, maps, classes, weight_decay, f"highway{depth}{_suffix(carry)}", features_only, top)


def highway_mnist(
    input_shape: Any,
    classes: int = 10,
    depth: int = 10,
    width: int = 16,
    carry: str = "coupled",
    transform_bias: float = -1.0,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> keras.Model:
    """Highway network for MNIST: a 5x5 convolution, highway layers of one width, the logits.

    Args:
        input_shape: (height, width, channels), of at least 5 x 5.
        classes: Number of logits.
        depth: 3n + 1: a pooling follows each third of the convolutions. The paper's is 10.
        width: Channels of each convolution, the paper's 16 and 32.
        carry, transform_bias, dropout, weight_decay, features_only, recompute: As in `highway_cifar`.

    Returns:
        A model from float images to logits, named "highway_mnist_" and its width, with "_carry" if that is learned.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.highway import highway_mnist
    >>> highway_mnist((28, 28, 1), width=16).count_params()
    38986
    """
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

    def top(x: Any, classes: int, weight_decay: float) -> Any:
        return head(keras.layers.Flatten(name="flatten")(_pool(x, dropout, 3)), classes, weight_decay)

    return network(image, maps, classes, weight_decay, f"highway_mnist_{width}{_suffix(carry)}", features_only, top)


def _highway_layers(x: Any, layers: int, stage: str, options: dict[str, Any]) -> Any:
    for place in range(1, layers + 1):
        x = HighwayBlock(kernel_size=3, name=f"{stage}_block{place}", **options)(x)
    return x


def _convolution(x: Any, filters: int, size: int, padding: str, weight_decay: float, name: str) -> Any:
    return keras.layers.Conv2D(filters, size, padding=padding, activation="relu", name=name, **_kernels(weight_decay))(
        x
    )


def _kernels(weight_decay: float) -> dict[str, Any]:
    # The "xavier" of the authors' Caffe is uniform, with the variance 1 / fan-in.
    return {"kernel_initializer": "lecun_uniform", "kernel_regularizer": decay(weight_decay)}


def _pool(x: Any, dropout: float, stage: int) -> Any:
    x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{stage}")(x)
    return _dropout(x, dropout, f"dropout{stage + 1}")


def _dropout(x: Any, rate: float, name: str) -> Any:
    return keras.layers.Dropout(rate, name=name)(x) if rate else x


def _suffix(carry: str) -> str:
    return "_carry" if carry == "learned" else ""
