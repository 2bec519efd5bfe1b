"""Residual blocks: convolution, normalisation, activation; the activation follows the sum.

y = activation(shortcut(x) + drop(norm(conv(activation(norm(conv(x)))))))
"""

from typing import Any

import keras

from ._block import Shape, apply
from ._config import PACKAGE
from ._shortcut import Bottleneck, ShortcutBlock


class PostActivation(ShortcutBlock):
    """Any plan of convolutions, each followed by its normalisation, with the last activation after the sum."""

    def _build_branch(self, shape: Shape) -> None:
        plan = self._plan()
        for place, (filters, kernel_size, strides) in enumerate(plan):
            last = place == len(plan) - 1
            if last:
                self._add_dropout("dropout_layer", shape)
            shape = self._add_conv(f"conv{place + 1}", shape, filters, kernel_size, strides, place=place)
            self._add_norm(f"norm{place + 1}", shape, zero_gamma=last and self.zero_init_gamma)
            self._branch_names += [f"conv{place + 1}", f"norm{place + 1}"]
        self._branch_names.append("dropout_layer")

    def _run(self, x: Any, training: Any, mask: Any) -> Any:
        skip = self._shortcut(x, training, mask)
        return self._drop(
            lambda inputs: self._branch(inputs, training, mask),
            x,
            self._branch_layers(),
            merge=lambda update: self.activation(skip + update),
            dropped=lambda: self.activation(skip),
            training=training,
        )

    def _branch(self, x: Any, training: Any, mask: Any) -> Any:
        plan = self._plan()
        for place, (_, _, strides) in enumerate(plan, 1):
            if place == len(plan):
                x = apply(self.dropout_layer, x, training)
            x = self._convolve(getattr(self, f"conv{place}"), x, mask)
            mask = self._strided_mask(mask, strides)
            x = apply(getattr(self, f"norm{place}"), x, training, mask)
            if place < len(plan):
                x = self.activation(x)
        return x


@keras.saving.register_keras_serializable(PACKAGE)
class ResidualBlock(PostActivation):
    """Residual block of two convolutions.

        y = activation(shortcut(x) + drop(branch(x)))
        branch = conv - norm - activation - dropout - conv - norm

    Works on (B, C), with dense layers in place of convolutions, on sequences (B, T, C), images (B, H, W, C) and volumes
    (B, D, H, W, C).

    Args:
        filters: Output channels.
        kernel_size: Size of the kernels. Default 3.
        strides: Down-sampling of the block, in its first convolution. Default 1.
        shortcut: What joins input and sum where their shapes differ: "projection" (1x1 convolution and normalisation,
            option B), "pad" (subsampling and zero channels, option A), "identity" (an error where shapes differ), or a
            layer, which is always used.
        {options}

    Call arguments:
        x: Tensor (B, ..., channels), or (B, channels, ...) with channels_first.
        training: Whether to normalise by batch statistics, and to drop.
        mask: For sequences, boolean (B, T): masked steps are kept at zero between convolutions, out of the statistics,
            and are passed on.

    Output shape:
        (B, ..., filters), every spatial size divided by its stride and rounded up.

    Raises:
        ValueError: At construction for arguments out of range, in `build` for an input that they do not fit.

    Example:

    >>> import numpy as np
    >>> from keras_skip import ResidualBlock
    >>> ResidualBlock(32, strides=2)(np.zeros((1, 8, 8, 16), "float32")).shape == (1, 4, 4, 32)
    True

    Reference:
        He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
    """


@keras.saving.register_keras_serializable(PACKAGE)
class BottleneckBlock(Bottleneck, PostActivation):
    """Residual block of three convolutions, 1x1, kxk and 1x1, the first two narrower by `ratio`.

        y = activation(shortcut(x) + drop(branch(x)))
        branch = conv 1x1 - norm - activation - conv kxk - norm - activation - dropout - conv 1x1 - norm

    Args:
        filters: Output channels; the first two convolutions have `filters // ratio`.
        kernel_size: Size of the middle kernel. Default 3.
        strides: Down-sampling of the block. Default 1.
        shortcut: As in `ResidualBlock`.
        ratio: How many times narrower the first two convolutions are. Default 4.
        stride_position: "middle" strides the kxk convolution, "first" the first 1x1, as the paper and
            keras.applications do. Default "middle".
        {options}

    Call arguments, output shape and errors: as in `ResidualBlock`.

    Example:

    >>> import numpy as np
    >>> from keras_skip import BottleneckBlock
    >>> BottleneckBlock(64, strides=2)(np.zeros((1, 8, 8, 16), "float32")).shape == (1, 4, 4, 64)
    True

    Reference:
        He et al., Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
    """
