"""Channel attention: a gate for each channel, computed from the means of all channels.

y = s(mean(x)) x        s(z) = sigmoid(W2 relu(W1 z + b1) + b2)     squeeze and excite
                        s(z) = sigmoid(conv1d(z))                   efficient channel attention
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from ._base.arguments import Argument, boolean, positive_int
from ._base.config import PACKAGE
from ._base.shapes import Shape, Tensor, spatial_axes
from ._parts.block import BLOCK_ARGUMENTS, KERNEL_ARGUMENTS, KERNEL_OPTIONS_DOC, Block, activation_function
from ._parts.chain import Chain


class ChannelAttention(Block):
    """A gate on the channels; subclasses compute it from the means of the channels in `_gate`."""

    def call(self, x: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        gate = self._gate(self._mean(*self._mask_input(x, mask)))
        for axis in spatial_axes(self.data_format, len(x.shape)):
            gate = ops.expand_dims(gate, axis)
        return x * gate

    def _mean(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The mean over all positions; in a masked sequence, whose masked steps are zero here, over the real steps."""
        if mask is None:
            spatial = tuple(spatial_axes(self.data_format, len(x.shape)))
            return ops.mean(x, axis=spatial) if spatial else x
        # The backends take a mean in at least float32, but not a sum.
        wide = keras.backend.result_type(x.dtype, "float32")
        steps = ops.sum(ops.cast(mask, wide), axis=1, keepdims=True)
        return ops.cast(ops.sum(ops.cast(x, wide), axis=1) / ops.maximum(steps, 1), x.dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return self._read(input_shape)[0]


@keras.saving.register_keras_serializable(PACKAGE)
class SqueezeExcite(ChannelAttention):
    """Squeeze and excite: two dense layers turn the means of the channels into a gate for each.

        y = s x,   s = gate_activation(W2 activation(W1 mean(x) + b1) + b2)

    The mean is over all positions; for an input (B, C) it is x itself. In a residual network the layer ends the branch:
    `x + SqueezeExcite()(branch(x))`.

    Args:
        ratio: W1 maps C channels to max(1, C // ratio). Default 16.
        activation: Name or function, between W1 and W2. Default "relu".
        gate_activation: Name or function that makes the gate. Default "sigmoid".
        use_bias: Whether there are b1 and b2. Default True.
        width: Number of channels between W1 and W2, in place of the one that `ratio` gives. Default None.
        {options}

    Call arguments and errors: as in `ResidualBlock`. The output has the input's shape. In a masked sequence, the mean
    is over the real steps only, and the gate scales all steps.

    Example:

    >>> import keras
    >>> from keras_skip import SqueezeExcite
    >>> layer = SqueezeExcite(ratio=4, kernel_initializer="zeros")
    >>> y = layer(keras.ops.ones((2, 8, 8, 16)))
    >>> bool(keras.ops.all(y == 0.5))  # sigmoid(0)
    True
    >>> layer.reduce.units
    4

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, 2018, https://arxiv.org/abs/1709.01507
    """

    ARGUMENTS = KERNEL_ARGUMENTS | {
        "activation": Argument("relu", activation_function),
        "gate_activation": Argument("sigmoid", activation_function),
        "use_bias": BLOCK_ARGUMENTS["use_bias"]._replace(default=True, check=boolean),
    }
    OPTIONS_DOC = KERNEL_OPTIONS_DOC

    def __init__(
        self,
        ratio: int = 16,
        activation: str | Callable[[Tensor], Tensor] | None = "relu",
        gate_activation: str | Callable[[Tensor], Tensor] | None = "sigmoid",
        use_bias: bool = True,
        *,
        width: int | None = None,
        **options: Any,
    ) -> None:
        own = {"activation": activation, "gate_activation": gate_activation, "use_bias": use_bias}
        super().__init__(**own, **options)
        self.ratio = positive_int(ratio, "ratio")
        self.width = None if width is None else positive_int(width, "width")

    def build(self, input_shape: Sequence[int | None]) -> None:
        _, channels = self._enter(input_shape)
        self._gate = Chain(self, (None, channels))
        narrow = max(1, channels // self.ratio) if self.width is None else self.width
        self._gate.conv("reduce", narrow, activation=self.activation)
        self._gate.conv("expand", channels, activation=self.gate_activation)


def _odd_or_none(value: int | None, argument: str) -> int | None:
    if value is not None and positive_int(value, argument) % 2 == 0:
        raise ValueError(f"Expected {argument} to be an odd integer or None. Received: {argument}={value!r}")
    return None if value is None else int(value)


@keras.saving.register_keras_serializable(PACKAGE)
class EfficientChannelAttention(ChannelAttention):
    """Efficient channel attention: one convolution computes the gate of a channel from the means of its neighbours.

        y = s x,   s = sigmoid(conv1d(mean(x)))

    The convolution runs along the channels, with zero padding and without a bias: it has `kernel_size` weights. The
    mean is that of `SqueezeExcite`.

    Args:
        kernel_size: Odd number of channels that a gate reads. Default: (log2(C) + 1) / 2 for C channels, rounded to the
            nearest odd number, and at least 3.
        {options}

    Call arguments, output shape and errors: as in `SqueezeExcite`.

    Example:

    >>> import numpy as np
    >>> from keras_skip import EfficientChannelAttention
    >>> layer = EfficientChannelAttention()
    >>> layer(np.ones((2, 8, 8, 256), "float32")).shape == (2, 8, 8, 256)
    True
    >>> layer.count_params()
    5

    Reference:
        Wang et al., ECA-Net: Efficient Channel Attention, 2020, https://arxiv.org/abs/1910.03151
    """

    ARGUMENTS = {
        name: BLOCK_ARGUMENTS[name]
        for name in ("kernel_initializer", "kernel_regularizer", "kernel_constraint", "data_format")
    }
    OPTIONS_DOC = """
    kernel_initializer, kernel_regularizer, kernel_constraint: As in `keras.layers.Conv1D`. Defaults "he_normal", None.
    data_format: "channels_last" or "channels_first". Default: `keras.config.image_data_format()`.
    **kwargs: `name`, `dtype`, `trainable`, `activity_regularizer`, as in every Keras layer.
    """

    def __init__(self, kernel_size: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.kernel_size = _odd_or_none(kernel_size, "kernel_size")

    def build(self, input_shape: Sequence[int | None]) -> None:
        _, channels = self._enter(input_shape)
        conv = keras.layers.Conv1D(
            1,
            self.kernel_size or max(3, int((math.log2(channels) + 1) / 2) | 1),
            padding="same",
            data_format="channels_last",
            activation="sigmoid",
            use_bias=False,
            kernel_initializer=self.kernel_initializer,
            kernel_regularizer=self.kernel_regularizer,
            kernel_constraint=self.kernel_constraint,
            **self._sub_layer("conv"),
        )
        self._add("conv", conv, (None, channels, 1))

    def _gate(self, means: Tensor) -> Tensor:
        return ops.squeeze(self.conv(ops.expand_dims(means, -1)), -1)
