"""Four multilayer perceptrons of one depth and one width, which differ in their connections alone.

    plain      x <- f(W x + b)
    residual   x <- f(x + W' f(W x + b) + b')
    highway    x <- T(x) * f(W x + b) + C(x) * x
    dense      x <- [x, W f(x) + b]

`depth` counts the layers of weights from the pixels to the logits, the first and the last included; a highway layer's
gates belong to it. `width` is the number of units of each hidden layer; in the dense network all of them are kept, so
its layers see more and more of them. None of the four normalises, so that what helps is the connection.
"""

from typing import Any

import keras

from keras_skip import DenseBlock, HighwayBlock, ResidualBlock

from ._common import decay, head, image_input, positive


def plain_mlp(
    input_shape: Any,
    classes: int = 10,
    depth: int = 12,
    width: int = 64,
    weight_decay: float = 0.0,
    activation: str = "relu",
) -> keras.Model:
    """Perceptron without skip connections.

    Args:
        input_shape: (height, width, channels).
        classes: Number of logits.
        depth: Layers of weights, the first and the last included.
        width: Units of each hidden layer.
        weight_decay: Coupled L2 on the kernels.
        activation: f, a name that `keras.activations.get` knows. Kernels begin as He et al. advise for "relu", else as
            Glorot and Bengio do.

    Returns:
        A model from float images to logits.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.mlp import plain_mlp
    >>> plain_mlp((8, 8, 1)).output_shape
    (None, 10)
    """
    hidden = _hidden_layers(depth)
    image, x = _stem(input_shape, positive(width, "width"), weight_decay, activation)
    for place in range(1, hidden + 1):
        x = _dense(width, weight_decay, activation, f"layer{place}")(x)
    return keras.Model(image, head(x, classes, weight_decay), name="plain_mlp")


def residual_mlp(
    input_shape: Any,
    classes: int = 10,
    depth: int = 12,
    width: int = 64,
    weight_decay: float = 0.0,
    activation: str = "relu",
) -> keras.Model:
    """Perceptron of residual blocks, of two layers each; so `depth` is even. Arguments as in `plain_mlp`."""
    hidden = _hidden_layers(depth)
    if hidden % 2:
        raise ValueError(f"Expected an even depth, since a residual block has two layers. Received: depth={depth}")
    image, x = _stem(input_shape, positive(width, "width"), weight_decay, activation)
    for place in range(1, hidden // 2 + 1):
        x = ResidualBlock(
            width,
            normalization=None,
            use_bias=True,
            activation=activation,
            **_kernels(weight_decay, activation),
            name=f"block{place}",
        )(x)
    return keras.Model(image, head(x, classes, weight_decay), name="residual_mlp")


def highway_mlp(
    input_shape: Any,
    classes: int = 10,
    depth: int = 12,
    width: int = 64,
    weight_decay: float = 0.0,
    activation: str = "relu",
    carry: str = "learned",
    transform_bias: float = -2.0,
) -> keras.Model:
    """Perceptron of highway layers. `carry` and `transform_bias` as in `HighwayBlock`, the rest as in `plain_mlp`."""
    hidden = _hidden_layers(depth)
    image, x = _stem(input_shape, positive(width, "width"), weight_decay, activation)
    for place in range(1, hidden + 1):
        x = HighwayBlock(
            carry=carry,
            transform_bias=transform_bias,
            activation=activation,
            **_kernels(weight_decay, activation),
            name=f"block{place}",
        )(x)
    return keras.Model(image, head(x, classes, weight_decay), name="highway_mlp")


def dense_mlp(
    input_shape: Any,
    classes: int = 10,
    depth: int = 12,
    width: int = 64,
    weight_decay: float = 0.0,
    activation: str = "relu",
) -> keras.Model:
    """Perceptron whose layers see the features of all before them. Arguments as in `plain_mlp`."""
    hidden = _hidden_layers(depth)
    image, x = _stem(input_shape, positive(width, "width"), weight_decay, activation)
    x = DenseBlock(
        hidden,
        growth_rate=width,
        bottleneck=False,
        normalization=None,
        use_bias=True,
        activation=activation,
        **_kernels(weight_decay, activation),
        name="block",
    )(x)
    x = keras.layers.Activation(activation, name="head_activation")(x)
    return keras.Model(image, head(x, classes, weight_decay), name="dense_mlp")


def _hidden_layers(depth: int) -> int:
    if positive(depth, "depth") < 3:
        raise ValueError(f"Expected a depth of at least 3. Received: depth={depth}")
    return depth - 2


def _stem(input_shape: Any, width: int, weight_decay: float, activation: str) -> tuple[Any, Any]:
    image = image_input(input_shape)
    if None in image.shape[1:]:
        raise ValueError(f"Expected a fixed input_shape for dense layers. Received: input_shape={input_shape}")
    x = keras.layers.Flatten(name="flatten")(image)
    return image, _dense(width, weight_decay, activation, "stem")(x)


def _dense(width: int, weight_decay: float, activation: str, name: str) -> keras.layers.Layer:
    return keras.layers.Dense(width, activation=activation, **_kernels(weight_decay, activation), name=name)


def _kernels(weight_decay: float, activation: str) -> dict[str, Any]:
    initializer = "he_normal" if activation == "relu" else "glorot_uniform"
    return {"kernel_initializer": initializer, "kernel_regularizer": decay(weight_decay)}
