"""What all families share: checked arguments, and the regulariser that equals a paper's weight decay."""

from typing import Any

import keras


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


def positive(value: Any, argument: str) -> int:
    """The value, if it is a positive integer; else a ValueError that names the argument."""
    if not _is_positive(value):
        raise ValueError(f"Expected {argument} to be a positive integer. Received: {argument}={value!r}")
    return int(value)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def decay(weight_decay: float) -> keras.regularizers.Regularizer | None:
    """The regulariser whose gradient is `weight_decay * w`: l2(d / 2), since l2(x) has the gradient 2xw."""
    if weight_decay < 0:
        raise ValueError(f"Expected weight_decay of at least 0. Received: weight_decay={weight_decay!r}")
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None


def head(x: Any, classes: int, weight_decay: float) -> Any:
    """The dense layer to the logits, in float32 whatever the precision of the network."""
    return keras.layers.Dense(
        positive(classes, "classes"), kernel_regularizer=decay(weight_decay), dtype="float32", name="head"
    )(x)
