"""Finds and moves the channels of images, in a model and at the edge of the exported graph."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..storage.schema import Layout
from .signature import Input, Shape

if TYPE_CHECKING:
    import keras
    from tensorflow import Tensor


def _find_formats(model: "keras.Model") -> set[str]:
    found = {getattr(layer, "data_format", None) for layer in model._flatten_layers()}
    return {"channels_first", "channels_last"} & found


def is_channels_first(model: "keras.Model") -> bool:
    """Whether the channels of images come first in a model."""
    import keras

    formats = _find_formats(model)
    return (formats.pop() if len(formats) == 1 else keras.config.image_data_format()) == "channels_first"


def check_layout(model: "keras.Model", inputs: Sequence[Input], layout: Layout | None) -> None:
    """Raises a ValueError if a model cannot be given a layout."""
    if layout is not None and not any(len(own.shape) > 3 for own in inputs):
        raise ValueError(f"Expected a model of images for a layout. Received: {model.name} with {inputs}")
    if layout is not None and len(_find_formats(model)) > 1:
        raise ValueError(f"Expected a model with one data format for a layout. Received: {model.name} with both")


def move_channels(x: "Tensor", last_to_first: bool) -> "Tensor":
    """Moves the channels of images and volumes to the other end; other tensors stay as they are."""
    from keras import ops

    rank = len(x.shape)
    if rank < 4:
        return x
    spatial = range(1, rank - 1) if last_to_first else range(2, rank)
    return ops.transpose(x, (0, rank - 1, *spatial) if last_to_first else (0, *spatial, 1))


def move_array_channels(x: np.ndarray, last_to_first: bool) -> np.ndarray:
    """Moves the channels of an array likewise."""
    if x.ndim < 4:
        return x
    return np.moveaxis(x, -1, 1) if last_to_first else np.moveaxis(x, 1, -1)


def move_shape_channels(shape: Shape, last_to_first: bool) -> Shape:
    """Moves the channels of a shape likewise."""
    if len(shape) < 4:
        return shape
    return (shape[0], shape[-1], *shape[1:-1]) if last_to_first else (shape[0], *shape[2:], shape[1])
