"""Dense connections: every layer sees the concatenation of all that came before it.

    x_l = H_l([x_0, x_1, ..., x_(l-1)])        y = [x_0, x_1, ..., x_L]

The brackets concatenate channels. A transition compresses the channels and halves the size between two dense blocks.
"""

import functools
from collections.abc import Sequence
from typing import Any, Unpack

import keras
from keras import ops

from ._base.arguments import boolean, number, own_initializer, positive_int
from ._base.config import PACKAGE
from ._base.shapes import Shape, Tensor, channel_axis, spatial_axes, stride_shape
from ._parts.block import BLOCK_ARGUMENTS, Block, BlockOptions
from ._parts.branch import BRANCH_ARGUMENTS, BRANCH_OPTIONS_DOC, Branch
from ._parts.chain import Chain, apply_mask
from ._parts.recompute import recompute
from ._parts.update import fixed_gain, prepare_update


class DenseLayer(Block):
    """One H_l: the new features of a dense block, which does the concatenation."""

    ARGUMENTS = BRANCH_ARGUMENTS | BLOCK_ARGUMENTS

    default_kernel_size = 3

    def __init__(self, growth_rate: int, bottleneck_width: int | None, **options: Any) -> None:
        super().__init__(**options)
        prepare_update(self)
        self.growth_rate = growth_rate
        self.bottleneck_width = bottleneck_width

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape, _ = self._enter(input_shape)
        self._branch = Branch(self, shape)

    def _build_branch(self, branch: Branch) -> None:
        plan = [(self.growth_rate, branch.kernel_size)]
        if self.bottleneck_width is not None:
            plan.insert(0, (self.bottleneck_width, 1))
        for index, (filters, kernel_size) in enumerate(plan):
            branch.norm(f"norm{index + 1}")
            branch.activation(f"activation{index + 1}")
            branch.conv(f"conv{index + 1}", filters, kernel_size, index=index)
            branch.dropout(f"dropout{index + 1}", index + 1)

    def _run(self, x: Tensor, training: bool | None, mask: Tensor | None) -> Tensor:
        return self._branch.merge(x, training, mask, zeros=lambda: self._no_features(x))

    def _no_features(self, x: Tensor) -> Tensor:
        shape = list(ops.shape(x))
        shape[channel_axis(self.data_format, len(shape))] = self.growth_rate
        return ops.zeros(shape, dtype=x.dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return stride_shape(self._read(input_shape)[0], 1, self.growth_rate, self.data_format)


def _call_layer(layer: keras.layers.Layer, training: bool | None, x: Tensor, mask: Tensor | None) -> Tensor:
    return layer(x, training=training, mask=mask)


@keras.saving.register_keras_serializable(PACKAGE)
class DenseBlock(Block):
    """Block of densely connected layers.

        x_l = drop(H_l([x_0, ..., x_(l-1)])),   y = [x_0, ..., x_L]
        H_l = norm - activation - conv kxk, or norm - activation - conv 1x1 - norm - activation - conv kxk with a
        bottleneck; dropout follows each convolution

    Args:
        num_layers: Number of layers, L.
        growth_rate: New channels of each layer, k.
        bottleneck: Whether a 1x1 convolution to `bottleneck_ratio * growth_rate` channels comes first in each layer.
            Default True.
        bottleneck_ratio: Default 4.
        {options}

    `kernel_size` is 3 by default. With `survival_prob`, every layer is dropped by itself, and zeros replace its
    features. With `recompute`, the memory of a training step grows linearly with `num_layers` instead of
    quadratically: each layer keeps only its new features, and computes its concatenated, normalised and activated input
    again.

    Call arguments and errors: as in `ResidualBlock`.

    Output shape:
        The input's, with `num_layers * growth_rate` more channels.

    Example:

    >>> import numpy as np
    >>> from keras_skip import DenseBlock
    >>> DenseBlock(num_layers=4, growth_rate=12)(np.zeros((1, 8, 8, 24), "float32")).shape == (1, 8, 8, 72)
    True

    Reference:
        Huang et al., Densely Connected Convolutional Networks, 2017, https://arxiv.org/abs/1608.06993
    """

    ARGUMENTS = DenseLayer.ARGUMENTS
    OPTIONS_DOC = BRANCH_OPTIONS_DOC + Block.OPTIONS_DOC

    def __init__(
        self,
        num_layers: int,
        growth_rate: int,
        bottleneck: bool = True,
        *,
        bottleneck_ratio: int = 4,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.num_layers = positive_int(num_layers, "num_layers")
        self.growth_rate = positive_int(growth_rate, "growth_rate")
        self.bottleneck = boolean(bottleneck, "bottleneck")
        self.bottleneck_ratio = positive_int(bottleneck_ratio, "bottleneck_ratio")
        self._check_biases(2 if self.bottleneck else 1)
        fixed_gain(self)

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape, channels = self._enter(input_shape)
        width = self.bottleneck_ratio * self.growth_rate if self.bottleneck else None
        shared = {name: getattr(self, name) for name in DenseLayer.ARGUMENTS if name not in ("seed", "recompute")}
        for index in range(self.num_layers):
            name = f"layer{index + 1}"
            shared |= {
                "kernel_initializer": own_initializer(self.kernel_initializer, name),
                "bias_initializer": own_initializer(self.bias_initializer, name),
                "seed": None if self.seed is None else self.seed + 1000 * (index + 1),
            }
            self._add(name, DenseLayer(self.growth_rate, width, **shared, **self._sub_layer(name)), shape)
            shape = stride_shape(shape, 1, channels + (index + 1) * self.growth_rate, self.data_format)

    def call(self, x: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        x, mask = self._mask_input(x, mask)
        axis = channel_axis(self.data_format, len(x.shape))
        features = [x]
        for index in range(self.num_layers):
            layer = getattr(self, f"layer{index + 1}")
            if self.recompute and training:
                run = functools.partial(_call_layer, layer, training)
                features.append(recompute(self, run, [x], [mask], layers=[layer], parts=features, axis=axis))
            else:
                features.append(layer(x, training=training, mask=mask))
            x = ops.concatenate([x, features[-1]], axis=axis)
        return x

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape, channels = self._read(input_shape)
        return stride_shape(shape, 1, channels + self.num_layers * self.growth_rate, self.data_format)


@keras.saving.register_keras_serializable(PACKAGE)
class TransitionBlock(Block):
    """Transition between dense blocks: compresses the channels and halves every spatial size.

        y = average_pool(dropout(conv_1x1(activation(norm(x)))))

    On (B, C) there is nothing to pool: the block only compresses.

    Args:
        compression: Fraction in (0, 1] of the channels that stay, rounded down. Default 0.5.
        return_skip: Whether to return two tensors, y and activation(norm(x)), the second as the skip for a decoder.
            Default False.
        {options}

    Call arguments: as in `ResidualBlock`.

    Output shape:
        (B, ..., floor(compression * channels)), every spatial size halved and rounded down. With `return_skip`, a
        second one of the input's shape.

    Raises:
        ValueError: At construction for arguments out of range; in `build` for an input too small to be halved, or
            without a channel left.

    Example:

    >>> import numpy as np
    >>> from keras_skip import TransitionBlock
    >>> TransitionBlock(compression=0.5)(np.zeros((1, 8, 8, 72), "float32")).shape == (1, 4, 4, 36)
    True

    Reference:
        Huang et al., Densely Connected Convolutional Networks, 2017, https://arxiv.org/abs/1608.06993
    """

    POOLS = (None, keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D)

    def __init__(self, compression: float = 0.5, *, return_skip: bool = False, **options: Unpack[BlockOptions]) -> None:
        super().__init__(**options)
        self.compression = number(compression, "compression", 0.0, 1.0, "(]")
        self.return_skip = boolean(return_skip, "return_skip")
        self._check_biases(1)

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape, channels = self._enter(input_shape)
        self.compute_output_shape(shape)
        self._activate = Chain(self, shape)
        self._activate.norm("norm1")
        self._activate.activation("activation1")
        self._compress = Chain(self, shape)
        self._compress.conv("conv1", int(self.compression * channels))
        self._compress.dropout("dropout_layer")
        pool = self.POOLS[len(shape) - 2]
        self.pool = None
        if pool is not None:
            self._add("pool", pool(2, data_format=self.data_format, **self._sub_layer("pool")), self._compress.shape)

    def _run(self, x: Tensor, training: bool | None, mask: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:
        skip = self._activate(x, training, mask)
        x = apply_mask(self._compress(skip, training, mask), mask)
        x = x if self.pool is None else self.pool(x)
        return (x, apply_mask(skip, mask)) if self.return_skip else x

    def compute_mask(
        self, inputs: Tensor, mask: Tensor | None = None
    ) -> Tensor | tuple[Tensor | None, Tensor | None] | None:
        mask = super().compute_mask(inputs, mask)
        # Padding comes last, so a pooled step is real if the first of its two steps is. Pooling leaves out an odd last
        # step.
        pooled = mask if mask is None else mask[:, :-1:2]
        return (pooled, mask) if self.return_skip else pooled

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape | tuple[Shape, Shape]:
        shape, channels = self._read(input_shape)
        kept = int(self.compression * channels)
        spatial = spatial_axes(self.data_format, len(shape))
        out = [size if size is None or axis not in spatial else size // 2 for axis, size in enumerate(shape)]
        out[channel_axis(self.data_format, len(shape))] = kept
        if kept < 1 or 0 in out:
            raise ValueError(
                "Expected an input with spatial sizes of at least 2 and a channel left after compression. "
                f"Received: input_shape={shape}, compression={self.compression}"
            )
        return (tuple(out), shape) if self.return_skip else tuple(out)
