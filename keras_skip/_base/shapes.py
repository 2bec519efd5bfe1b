"""Shapes of inputs and outputs, for any rank: an input of rank r has r - 2 spatial dimensions."""

from typing import Any, TypeAlias

import keras

from .arguments import Size

Shape = tuple[int | None, ...]
Tensor: TypeAlias = Any  # of whichever backend, or a KerasTensor


def channel_axis(data_format: str, rank: int) -> int:
    return 1 if data_format == "channels_first" else rank - 1


def spatial_axes(data_format: str, rank: int) -> range:
    first = 2 if data_format == "channels_first" else 1
    return range(first, first + rank - 2)


def stride_shape(shape: Shape, strides: Size, channels: int | None, data_format: str) -> Shape:
    """The shape after a convolution that keeps the size but for its strides."""
    rank = len(shape)
    steps = as_tuple(strides, rank - 2, "strides", shape)
    out = list(shape)
    for axis, step in zip(spatial_axes(data_format, rank), steps, strict=True):
        size = shape[axis]
        out[axis] = None if size is None else -(-size // step)
    out[channel_axis(data_format, rank)] = channels
    return tuple(out)


def as_tuple(value: Size, rank: int, argument: str = "", shape: Shape = ()) -> tuple[int, ...]:
    """One entry for each spatial dimension."""
    if isinstance(value, int):
        return (value,) * rank
    if len(value) != rank:
        raise ValueError(
            f"Expected {argument} with {rank} entries for an input of shape {shape}. Received: {argument}={value}"
        )
    return tuple(value)


def output_shape(layer: keras.layers.Layer, *shapes: Shape) -> Shape:
    """The shape of a built layer's output, also for layers that do not state it."""
    spec = layer.compute_output_spec(*(keras.KerasTensor(shape, layer.compute_dtype) for shape in shapes))
    if not hasattr(spec, "shape"):
        raise ValueError(
            f"Expected a layer with one output. Received: {layer.name}, which gives a {type(spec).__name__}"
        )
    return spec.shape
