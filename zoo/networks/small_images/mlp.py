"""Four multilayer perceptrons of one depth and one width, which differ in their connections alone.

    plain      x <- f(W x + b)
    residual   x <- f(x + W' f(W x + b) + b')
    highway    x <- T(x) * f(W x + b) + C(x) * x
    dense      x <- [x, W f(x) + b]

`depth` counts the layers of weights from the pixels to the logits, the first and the last included; a highway layer's
gates belong to it. `width` is the number of units of each hidden layer; in the dense network all of them are kept, so
its layers see more and more of them. None of the four normalises, so that what helps is the connection.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .._arguments import document, positive
from .._common import decay, head, image_input
from ..family import Family, Row
from .densenet import DENSENET
from .highway import HIGHWAY
from .resnet import RESNET

if TYPE_CHECKING:
    import keras

_document = partial(
    document,
    input_shape="(height, width, channels).",
    depth="Layers of weights, the first and the last included.",
    width="Units of each hidden layer.",
    activation="""f, a name that `keras.activations.get` knows. Kernels begin as He et al. advise for "relu", else as
            Glorot and Bengio do.""",
)


@_document
def plain_mlp(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 12,
    width: int = 64,
    weight_decay: float = 0.0,
    activation: str = "relu",
) -> "keras.Model":
    """Perceptron without skip connections.

    Returns:
        A model from float images to logits.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.mlp import plain_mlp
    >>> plain_mlp((8, 8, 1)).output_shape
    (None, 10)
    """

    def hidden(x: "keras.KerasTensor", layers: int) -> "keras.KerasTensor":
        for layer in range(1, layers + 1):
            x = _dense(width, weight_decay, activation, f"layer{layer}")(x)
        return x

    return _network("plain_mlp", hidden, input_shape, classes, depth, width, weight_decay, activation)


@_document
def residual_mlp(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 12,
    width: int = 64,
    weight_decay: float = 0.0,
    activation: str = "relu",
) -> "keras.Model":
    """Perceptron of residual blocks, of two layers each.

    Args:
        depth: Layers of weights, the first and the last included; even, since a block has two.

    Returns:
        A model from float images to logits.

    Raises:
        ValueError: For an argument out of range.
    """
    from keras_skip import ResidualBlock

    options = {"normalization": None, "use_bias": True, "activation": activation, **_kernels(weight_decay, activation)}

    def hidden(x: "keras.KerasTensor", layers: int) -> "keras.KerasTensor":
        if layers % 2:
            raise ValueError(f"Expected an even depth, since a residual block has two layers. Received: depth={depth}")
        for block in range(1, layers // 2 + 1):
            x = ResidualBlock(width, **options, name=f"block{block}")(x)
        return x

    return _network("residual_mlp", hidden, input_shape, classes, depth, width, weight_decay, activation)


@_document
def highway_mlp(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 12,
    width: int = 64,
    weight_decay: float = 0.0,
    activation: str = "relu",
    carry: Literal["coupled", "learned"] = "learned",
    transform_bias: float = -2.0,
) -> "keras.Model":
    """Perceptron of highway layers.

    Args:
        carry: As in `keras_skip.HighwayBlock`.
        transform_bias: As in `keras_skip.HighwayBlock`.

    Returns:
        A model from float images to logits.

    Raises:
        ValueError: For an argument out of range.
    """
    from keras_skip import HighwayBlock

    options: dict[str, Any] = {"carry": carry, "transform_bias": transform_bias, "activation": activation}
    options |= _kernels(weight_decay, activation)

    def hidden(x: "keras.KerasTensor", layers: int) -> "keras.KerasTensor":
        for block in range(1, layers + 1):
            x = HighwayBlock(**options, name=f"block{block}")(x)
        return x

    return _network("highway_mlp", hidden, input_shape, classes, depth, width, weight_decay, activation)


@_document
def dense_mlp(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 12,
    width: int = 64,
    weight_decay: float = 0.0,
    activation: str = "relu",
) -> "keras.Model":
    """Perceptron whose layers see the features of all before them.

    Returns:
        A model from float images to logits.

    Raises:
        ValueError: For an argument out of range.
    """
    import keras

    from keras_skip import DenseBlock

    options = {"normalization": None, "use_bias": True, "activation": activation, **_kernels(weight_decay, activation)}

    def hidden(x: "keras.KerasTensor", layers: int) -> "keras.KerasTensor":
        x = DenseBlock(layers, growth_rate=width, bottleneck=False, **options, name="block")(x)
        return keras.layers.Activation(activation, name="head_activation")(x)

    return _network("dense_mlp", hidden, input_shape, classes, depth, width, weight_decay, activation)


def _network(
    name: str,
    hidden: "Callable[[keras.KerasTensor, int], keras.KerasTensor]",
    input_shape: Sequence[int | None],
    classes: int,
    depth: int,
    width: int,
    weight_decay: float,
    activation: str,
) -> "keras.Model":
    """Makes the model, of which `hidden` applies the layers between the first and the last, given their number."""
    import keras

    if positive(depth, "depth") < 3:
        raise ValueError(f"Expected a depth of at least 3. Received: depth={depth}")
    image = image_input(input_shape)
    if None in image.shape[1:]:
        raise ValueError(f"Expected a fixed input_shape for dense layers. Received: input_shape={input_shape}")
    x = keras.layers.Flatten(name="flatten")(image)
    x = _dense(positive(width, "width"), weight_decay, activation, "stem")(x)
    x = hidden(x, depth - 2)
    return keras.Model(image, head(x, classes, weight_decay), name=name)


def _dense(width: int, weight_decay: float, activation: str, name: str) -> "keras.layers.Layer":
    import keras

    return keras.layers.Dense(width, activation=activation, **_kernels(weight_decay, activation), name=name)


def _kernels(weight_decay: float, activation: str) -> dict[str, Any]:
    initializer = "he_normal" if activation == "relu" else "glorot_uniform"
    return {"kernel_initializer": initializer, "kernel_regularizer": decay(weight_decay)}


_DEEP = {"depth": 12}
_family = partial(Family, input_shape=(8, 8, 1))

FAMILIES = (
    _family(plain_mlp, "12 dense layers without skip connections", (Row("plain_mlp", _DEEP, 46_410, 0, 45_696),)),
    _family(
        residual_mlp,
        "the same layers in residual blocks of two",
        (Row("residual_mlp", _DEEP, 46_410, 0, 45_696),),
        RESNET,
    ),
    _family(highway_mlp, "the same layers with gates", (Row("highway_mlp", _DEEP, 129_610, 0, 127_616),), HIGHWAY),
    _family(
        dense_mlp,
        "the same layers, each seeing all before it",
        (Row("dense_mlp", _DEEP, 237_130, 0, 236_416),),
        DENSENET,
    ),
)
