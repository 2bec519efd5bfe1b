"""Layers without weights that down-sample inputs of any rank, masked sequences included."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from .._base.arguments import Size, positive_ints
from .._base.shapes import Shape, Tensor, as_tuple, stride_shape
from .block import BLOCK_ARGUMENTS, SkipLayer
from .chain import apply_mask, sequence_mask, stride_mask


class Pool(SkipLayer):
    """Computes one position from each window of `strides` positions and its neighbours."""

    ARGUMENTS = {"data_format": BLOCK_ARGUMENTS["data_format"]}
    OPTIONS_DOC = """
    data_format: "channels_last" or "channels_first". Default: `keras.config.image_data_format()`.
    **kwargs: `name`, `dtype`, `trainable`, as in every Keras layer.
    """

    def __init__(self, strides: Size = 2, **options: Any) -> None:
        super().__init__(**options)
        self.strides = positive_ints(strides, "strides")

    def build(self, input_shape: Sequence[int | None]) -> None:
        self._enter(input_shape)

    def _read(self, input_shape: Sequence[int | None]) -> tuple[Shape, int]:
        if len(input_shape) == 2:
            raise ValueError(f"Expected an input with spatial dimensions. Received: input_shape={tuple(input_shape)}")
        return super()._read(input_shape)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return stride_mask(sequence_mask(inputs, mask, self.data_format), self.strides)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape, channels = self._read(input_shape)
        return stride_shape(shape, self.strides, channels, self.data_format)


class AveragePool(Pool):
    """The mean over windows as large as the strides; positions beyond the edge and masked ones do not count."""

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = sequence_mask(x, mask, self.data_format)
        if mask is None:
            return self._average(x)
        real = self._average(ops.cast(ops.expand_dims(mask, -1), x.dtype))
        return self._average(apply_mask(x, mask)) / ops.where(real > 0, real, ops.ones_like(real))

    def _average(self, x: Tensor) -> Tensor:
        windows = as_tuple(self.strides, len(x.shape) - 2)
        return ops.average_pool(x, windows, windows, padding="same", data_format=self.data_format)
