"""n residual streams instead of one: made of an input, and made into one tensor again.

The axis of the streams stands just before that of the channels.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from .._base.arguments import one_of, positive_int
from .._base.config import PACKAGE
from .._base.shapes import Shape, Tensor
from .._parts.block import BLOCK_ARGUMENTS, SkipLayer


def check_streams(value: Any, argument: str) -> int:
    if positive_int(value, argument) == 1:
        raise ValueError(f"Expected {argument} to be at least 2. Received: {argument}={value!r}")
    return int(value)


def stream_axis(data_format: str, rank: int) -> int:
    """The axis of the streams, just before the channels, in a tensor of this rank with streams."""
    return 1 if data_format == "channels_first" else rank - 2


class _StreamLayer(SkipLayer):
    """A layer that adds the axis of the streams, or removes it."""

    ARGUMENTS = {"data_format": BLOCK_ARGUMENTS["data_format"]}
    OPTIONS_DOC = """
    data_format: "channels_last" or "channels_first". Default: `keras.config.image_data_format()`.
    **kwargs: `name`, `dtype`, `trainable`, as in every Keras layer.
    """


@keras.saving.register_keras_serializable(PACKAGE)
class ExpandStreams(_StreamLayer):
    """Copies an input into n streams, for layers with a `HyperConnection`.

    Expand once, before the first hyper-connection, and reduce after the last one. If each block expanded its own input,
    the streams in it would all be equal, and there would be nothing to mix. Where the shape changes, reduce the
    streams, apply the strided layer, and expand again. Other layers take the axis of the streams for a spatial one.

    Args:
        streams: n, at least 2. Default 4.
        {options}

    Call arguments:
        x: Tensor (B, ..., channels), or (B, channels, ...) with channels_first. Its mask is passed on.

    Output shape:
        (B, ..., n, channels), or (B, n, channels, ...) with channels_first.

    Raises:
        ValueError: For arguments out of range.

    Example:

    >>> import keras
    >>> from keras_skip import ExpandStreams
    >>> ExpandStreams(streams=4)(keras.ops.ones((2, 10, 16))).shape == (2, 10, 4, 16)
    True

    Reference:
        Zhu et al., Hyper-Connections, 2024, https://arxiv.org/abs/2409.19606
    """

    def __init__(self, streams: int = 4, **options: Any) -> None:
        super().__init__(**options)
        self.streams = check_streams(streams, "streams")

    def build(self, x_shape: Sequence[int | None]) -> None:
        self._enter(x_shape)

    def call(self, x: Tensor) -> Tensor:
        return ops.stack([x] * self.streams, axis=stream_axis(self.data_format, len(x.shape) + 1))

    def compute_output_shape(self, x_shape: Sequence[int | None]) -> Shape:
        axis = stream_axis(self.data_format, len(x_shape) + 1)
        return (*x_shape[:axis], self.streams, *x_shape[axis:])


@keras.saving.register_keras_serializable(PACKAGE)
class ReduceStreams(_StreamLayer):
    """Reduces n streams to one tensor: their mean, or their sum as in the paper.

    Args:
        reduction: "mean" or "sum". With "mean", a network with hyper-connections starts as the plain residual network.
            Default "mean".
        {options}

    Call arguments:
        x: Tensor (B, ..., n, channels), or (B, n, channels, ...) with channels_first. Its mask is passed on.

    Output shape:
        (B, ..., channels), or (B, channels, ...) with channels_first.

    Raises:
        ValueError: For arguments out of range; in `build` for an input without an axis of streams.

    Example:

    >>> import keras
    >>> from keras_skip import ReduceStreams
    >>> y = ReduceStreams("sum")(keras.ops.ones((2, 10, 4, 16)))
    >>> y.shape == (2, 10, 16), float(y[0, 0, 0])
    (True, 4.0)

    Reference:
        Zhu et al., Hyper-Connections, 2024, https://arxiv.org/abs/2409.19606
    """

    def __init__(self, reduction: str = "mean", **options: Any) -> None:
        super().__init__(**options)
        self.reduction = one_of(reduction, "reduction", ("mean", "sum"))

    def build(self, x_shape: Sequence[int | None]) -> None:
        self._read(self.compute_output_shape(x_shape))
        self.input_spec = keras.layers.InputSpec(ndim=len(x_shape))

    def call(self, x: Tensor) -> Tensor:
        reduce = ops.mean if self.reduction == "mean" else ops.sum
        return reduce(x, axis=stream_axis(self.data_format, len(x.shape)))

    def compute_output_shape(self, x_shape: Sequence[int | None]) -> Shape:
        return without_streams(tuple(x_shape), self.data_format)


def without_streams(shape: Shape, data_format: str) -> Shape:
    if len(shape) < 3:
        raise ValueError(f"Expected an input with streams, as ExpandStreams makes them. Received: input_shape={shape}")
    axis = stream_axis(data_format, len(shape))
    return (*shape[:axis], *shape[axis + 1 :])
