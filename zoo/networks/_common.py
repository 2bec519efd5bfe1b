"""What all families share: checked arguments, the papers' initialiser and weight decay, the first and last layers."""

from collections.abc import Callable
from typing import Any

import keras

from keras_skip import BatchNormalization

# Torch's defaults, with which the papers' networks were trained; there the momentum counts the other way round.
NORM = {"momentum": 0.9, "epsilon": 1e-5}


def image_input(input_shape: Any) -> Any:
    """The symbolic input of a network of images, grey or colour.

    Args:
        input_shape: Three entries in the order of `keras.config.image_data_format()`; sizes may be None.

    Returns:
        A Keras tensor named "image".

    Raises:
        ValueError: If the shape is not that of an image.
    """
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else input_shape
    channel_axis = 0 if keras.config.image_data_format() == "channels_first" else 2
    wanted = "(channels, height, width)" if channel_axis == 0 else "(height, width, channels)"
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise ValueError(f"Expected input_shape={wanted}. Received: input_shape={input_shape!r}")
    sizes_fit = all(size is None or _is_positive(size) for size in shape)
    if not sizes_fit or shape[channel_axis] is None:
        raise ValueError(f"Expected input_shape={wanted} of positive integers. Received: input_shape={input_shape!r}")
    return keras.Input(shape, name="image")


def sides(image: Any) -> tuple[int | None, ...]:
    """Height and width of an image or a map."""
    return image.shape[2:] if keras.config.image_data_format() == "channels_first" else image.shape[1:3]


def positive(value: Any, argument: str) -> int:
    """The value, if it is a positive integer; else a ValueError that names the argument."""
    if not _is_positive(value):
        raise ValueError(f"Expected {argument} to be a positive integer. Received: {argument}={value!r}")
    return int(value)


def blocks_per_stage(depth: Any, layers: int, others: int) -> int:
    """The n of depth = layers * n + others, at least 1; else a ValueError that shows the form of the depths."""
    n, rest = divmod(depth - others, layers) if isinstance(depth, int) else (0, 0)
    if n < 1 or rest:
        raise ValueError(
            f"Expected a depth of {layers}n + {others}, such as {3 * layers + others}. Received: depth={depth!r}"
        )
    return n


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def decay(weight_decay: float) -> keras.regularizers.Regularizer | None:
    """The regulariser whose gradient is `weight_decay * w`: l2(d / 2), since l2(x) has the gradient 2xw."""
    real = isinstance(weight_decay, (int, float)) and not isinstance(weight_decay, bool)
    if not real or not 0 <= weight_decay < float("inf"):
        raise ValueError(f"Expected weight_decay of at least 0. Received: weight_decay={weight_decay!r}")
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None


def kernels(weight_decay: float) -> dict[str, Any]:
    """The initialiser and regulariser of the convolutions of a block; the block copies the initialiser for each."""
    # The papers draw from an untruncated normal with fan-out; "he_normal" is truncated, with fan-in.
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return {"kernel_initializer": initializer, "kernel_regularizer": decay(weight_decay)}


def convolution(x: Any, filters: int, name: str, weight_decay: float, strides: int = 1) -> Any:
    """A 3x3 convolution outside of a block, without normalisation and activation.

    Its initialiser is its own: one object gives the same values to every layer that has it.
    """
    return keras.layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, name=name, **kernels(weight_decay))(
        x
    )


def norm_activation(x: Any, name: str, norm: dict[str, float] = NORM) -> Any:
    """Batch normalisation and ReLU, as layers of their own."""
    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    x = BatchNormalization(axis=axis, name=f"{name}_norm", **norm)(x)
    return keras.layers.Activation("relu", name=f"{name}_activation")(x)


def block_norm(norm: dict[str, float] = NORM) -> dict[str, float]:
    """Momentum and epsilon of the normalisations, as a block takes them."""
    return {f"norm_{name}": value for name, value in norm.items()}


def pool_and_head(x: Any, classes: int, weight_decay: float) -> Any:
    """Global average pooling and the logits."""
    return head(keras.layers.GlobalAveragePooling2D(name="pool")(x), classes, weight_decay)


def head(x: Any, classes: int, weight_decay: float) -> Any:
    """The dense layer to the logits, in float32 whatever the precision of the network."""
    return keras.layers.Dense(
        positive(classes, "classes"), kernel_regularizer=decay(weight_decay), dtype="float32", name="head"
    )(x)


def network(
    image: Any,
    maps: dict[str, Any],
    classes: int,
    weight_decay: float,
    name: str,
    features_only: bool,
    top: Callable[[Any, int, float], Any] = pool_and_head,
) -> keras.Model:
    """The model from the image to the logits, or to the feature maps.

    Args:
        image: The input.
        maps: "C0", "C1", ... and the tensors of stride 2 ** 0, 2 ** 1, ..., the last of which the head sees.
        classes, weight_decay: Of the head.
        name: The model's; that of a model of maps ends in "_features".
        features_only: Whether the head is left out.
        top: What makes logits of the last map, given `classes` and `weight_decay`.

    Returns:
        A model whose output is one tensor, or the dictionary of the maps.
    """
    if features_only:
        return keras.Model(image, maps, name=f"{name}_features")
    logits = top(list(maps.values())[-1], classes, weight_decay)
    return keras.Model(image, logits, name=name)
