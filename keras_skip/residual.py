"""Residual blocks: convolution, normalisation, activation; the activation follows the sum.

y = activation(shortcut(x) + drop(norm(conv(activation(norm(conv(x)))))))
"""

import keras

from ._base.config import PACKAGE
from ._parts.residual import Bottleneck, ShortcutBlock


@keras.saving.register_keras_serializable(PACKAGE)
class ResidualBlock(ShortcutBlock):
    """Residual block of two convolutions.

        y = activation(shortcut(x) + drop(branch(x)))
        branch = conv - norm - activation - dropout - conv - norm

    Works on (B, C), with dense layers in place of convolutions, on sequences (B, T, C), images (B, H, W, C) and volumes
    (B, D, H, W, C).

    Args:
        filters: Output channels.
        kernel_size: Size of the kernels, one integer or one for each spatial dimension. On (B, C)
            there is none. Default 3.
        strides: Down-sampling of the block, in its first convolution. Default 1.
        shortcut: How the input reaches the sum where their shapes differ: "projection" (1x1 convolution and
            normalisation, option B), "pad" (subsampling and zero channels, option A), "identity" (an error where shapes
            differ), or a layer, which is always used.
        {options}

    Call arguments:
        x: Tensor (B, ..., channels), or (B, channels, ...) with channels_first.
        training: Whether to normalise by batch statistics, and to drop.
        mask: For sequences, boolean (B, T): masked steps stay zero between convolutions and do not count in the
            statistics; the mask is passed on.

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
class BottleneckBlock(Bottleneck):
    """Residual block of three convolutions, 1x1, kxk and 1x1, the first two narrower by `ratio`.

        y = activation(shortcut(x) + drop(branch(x)))
        branch = conv 1x1 - norm - activation - conv kxk - norm - activation - dropout - conv 1x1 - norm

    Args:
        filters: Output channels; the first two convolutions have `filters // ratio`.
        kernel_size: Size of the middle kernel, one integer or one for each spatial dimension. On (B, C)
            there is none. Default 3.
        strides: Down-sampling of the block. Default 1.
        shortcut: As in `ResidualBlock`.
        ratio: How many times narrower the first two convolutions are. Default 4.
        width: Channels of the first two convolutions. Default None, `filters // ratio`. ResNeXt-50 (32x4d) has
            `width=128, groups=32` at 256 filters.
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
