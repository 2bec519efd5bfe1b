"""Dense connections: every layer sees the concatenation of all that came before it.

    x_l = H_l([x_0, x_1, ..., x_(l-1)])        y = [x_0, x_1, ..., x_L]

The brackets concatenate channels. A transition compresses the channels and halves the size between two dense blocks.
"""

import functools
from typing import Any

import keras
from keras import ops

from ._block import Block, Shape, apply, masked
from ._config import PACKAGE, argument_names, number, own_initializer, positive_int
from ._recompute import recompute
from ._skip import SkipBlock


class DenseLayer(SkipBlock):
    """One H_l: the new features of a dense block, which does the concatenation."""

    def __init__(self, growth_rate: int, bottleneck_width: int | None, **options: Any) -> None:
        super().__init__(**options)
        self.growth_rate = growth_rate
        self.bottleneck_width = bottleneck_width

    def build(self, input_shape: Any) -> None:
        shape, _ = self._enter(input_shape)
        self._plan = [(self.growth_rate, self._kernel())]
        if self.bottleneck_width is not None:
            self._plan.insert(0, (self.bottleneck_width, 1))
        for place, (filters, kernel_size) in enumerate(self._plan, 1):
            self._add_norm(f"norm{place}", shape)
            shape = self._add_conv(f"conv{place}", shape, filters, kernel_size, place=place - 1)
            self._add_dropout(f"dropout{place}", shape, place)

    def _sub_layers(self) -> list[tuple]:
        names = ("norm", "conv", "dropout")
        return [tuple(getattr(self, f"{name}{place}") for name in names) for place in range(1, len(self._plan) + 1)]

    def _run(self, x: Any, training: Any, mask: Any) -> Any:
        layers = [layer for step in self._sub_layers() for layer in step]
        return self._drop(
            lambda inputs: self._branch(inputs, training, mask),
            x,
            layers,
            merge=lambda features: features,
            dropped=lambda: self._no_features(x),
            training=training,
        )

    def _branch(self, x: Any, training: Any, mask: Any) -> Any:
        for norm, conv, dropout in self._sub_layers():
            x = self._convolve(conv, self.activation(apply(norm, x, training, mask)), mask)
            x = apply(dropout, x, training)
        return x

    def _no_features(self, x: Any) -> Any:
        shape = list(ops.shape(x))
        shape[self._channel_axis(x.shape)] = self.growth_rate
        return ops.zeros(shape, dtype=x.dtype)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return self._strided(self._read(input_shape)[0], 1, self.growth_rate)


def _called(layer: keras.layers.Layer, training: Any, x: Any, mask: Any) -> Any:
    return layer(x, training=training, mask=mask)


@keras.saving.register_keras_serializable(PACKAGE)
class DenseBlock(SkipBlock):
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

    `kernel_size` is 3 by default. With `survival_prob`, every layer is dropped by itself: zeros stand in for its
    features. With `recompute`, the memory of a training step grows linearly with `num_layers`, where it would grow
    quadratically: each layer keeps its new features alone, and its concatenated input, normalised and activated, is
    made again.

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

    draws_survival = False  # each of its layers draws for itself

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
        self.bottleneck = bool(bottleneck)
        self.bottleneck_ratio = positive_int(bottleneck_ratio, "bottleneck_ratio")
        self._check_biases(2 if self.bottleneck else 1)

    def build(self, input_shape: Any) -> None:
        shape, channels = self._enter(input_shape)
        width = self.bottleneck_ratio * self.growth_rate if self.bottleneck else None
        shared = {name: getattr(self, name) for name in argument_names(SkipBlock) if name not in ("seed", "recompute")}
        if self._norm_class is not None:
            # As an object: from its configuration alone, only a registered class could be found.
            shared["normalization"] = self._copied_norm(self._norm_class, "normalization", zero_gamma=False)
        for place in range(self.num_layers):
            name = f"layer{place + 1}"
            shared |= {
                "kernel_initializer": own_initializer(self.kernel_initializer, name),
                "bias_initializer": own_initializer(self.bias_initializer, name),
                "seed": None if self.seed is None else self.seed + 1000 * (place + 1),
            }
            self._add(name, DenseLayer(self.growth_rate, width, **shared, **self._sub_layer(name)), shape)
            shape = self._strided(shape, 1, channels + (place + 1) * self.growth_rate)

    def call(self, x: Any, training: bool | None = None, mask: Any = None) -> Any:
        x, mask = self._masked_input(x, mask)
        axis = self._channel_axis(x.shape)
        features = [x]
        for place in range(self.num_layers):
            layer = getattr(self, f"layer{place + 1}")
            if self.recompute and training:
                run = functools.partial(_called, layer, training)
                features.append(recompute(self, run, x, mask, layers=[layer], parts=features, axis=axis))
            else:
                features.append(layer(x, training=training, mask=mask))
            x = ops.concatenate([x, features[-1]], axis=axis)
        return x

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape, channels = self._read(input_shape)
        return self._strided(shape, 1, channels + self.num_layers * self.growth_rate)


@keras.saving.register_keras_serializable(PACKAGE)
class TransitionBlock(Block):
    """Transition between dense blocks: compresses the channels and halves every spatial size.

        y = average_pool(dropout(conv_1x1(activation(norm(x)))))

    On (B, C) there is nothing to pool: the block only compresses.

    Args:
        compression: Fraction in (0, 1] of the channels that stay, rounded down. Default 0.5.
        {options}

    Call arguments: as in `ResidualBlock`.

    Output shape:
        (B, ..., floor(compression * channels)), every spatial size halved and rounded down.

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

    def __init__(self, compression: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        self.compression = number(compression, "compression", 0.0, 1.0, "(]")
        self._check_biases(1)

    def build(self, input_shape: Any) -> None:
        shape, channels = self._enter(input_shape)
        self.compute_output_shape(shape)
        self._add_norm("norm1", shape)
        shape = self._add_conv("conv1", shape, int(self.compression * channels))
        self._add_dropout("dropout_layer", shape)
        pool = self.POOLS[len(shape) - 2]
        self.pool = None
        if pool is not None:
            self._add("pool", pool(2, data_format=self.data_format, **self._sub_layer("pool")), shape)

    def call(self, x: Any, training: bool | None = None, mask: Any = None) -> Any:
        x, mask = self._masked_input(x, mask)
        x = self.conv1(self.activation(apply(self.norm1, x, training, mask)))
        x = apply(self.dropout_layer, x, training)
        return apply(self.pool, x if mask is None else masked(x, mask))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mask = self._sequence_mask(inputs, mask)
        # A pooled step is real if the first of its two steps is: padding comes last. The odd step that pooling leaves
        # out goes.
        return mask if mask is None else mask[:, :-1:2]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape, channels = self._read(input_shape)
        kept = int(self.compression * channels)
        out = [
            size if size is None or axis not in self._spatial_axes(shape) else size // 2
            for axis, size in enumerate(shape)
        ]
        out[self._channel_axis(shape)] = kept
        if kept < 1 or 0 in out:
            raise ValueError(
                "Expected an input with spatial sizes of at least 2 and a channel left after compression. "
                f"Received: input_shape={shape}, compression={self.compression}"
            )
        return tuple(out)
