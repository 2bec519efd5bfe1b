"""Pre-activation blocks: normalisation and activation come before each convolution, and nothing follows the sum.

    y = shortcut(x) + drop(conv(activation(norm(conv(activation(norm(x)))))))

Where the shape changes, the first normalisation and activation feed the shortcut too; elsewhere the shortcut carries
the raw input.
"""

from typing import Any, Literal, Unpack

import keras

from ._base.arguments import Size
from ._base.config import PACKAGE
from ._base.shapes import Tensor
from ._parts.branch import Branch
from ._parts.chain import Chain
from ._parts.residual import Bottleneck, ShortcutBlock, ShortcutOptions
from ._parts.shortcut import ShortcutArgument


class PreActivation(ShortcutBlock):
    """Convolutions, each preceded by its normalisation and activation, beside a shortcut; nothing follows the sum."""

    OPTIONS_DOC = (
        """
    preactivate_shortcut: Whether the first normalisation and activation feed the shortcut as well as the branch.
        "auto" (the default) does so for a projection and a padded shortcut, which is where the shape changes; the
        papers' very first unit wants True."""
        + ShortcutBlock.OPTIONS_DOC
    )

    projection_is_normalized = False
    sum_is_activated = False

    def __init__(
        self,
        filters: int,
        kernel_size: Size | None = None,
        strides: Size = 1,
        shortcut: ShortcutArgument = "projection",
        *,
        preactivate_shortcut: bool | Literal["auto"] = "auto",
        **options: Unpack[ShortcutOptions],
    ) -> None:
        super().__init__(filters, kernel_size, strides, shortcut, **options)
        if preactivate_shortcut not in ("auto", True, False):
            raise ValueError(
                "Expected preactivate_shortcut to be 'auto', True or False. "
                f"Received: preactivate_shortcut={preactivate_shortcut!r}"
            )
        self.preactivate_shortcut = preactivate_shortcut

    def _build_branch(self, branch: Branch) -> None:
        # The parts that the shortcut needs too run whether or not the branch is dropped.
        self._shared = Chain(self, branch.shape)
        for index, (filters, kernel_size, strides) in enumerate(self._plan(branch.kernel_size)):
            last = index == self.convolutions - 1
            chain = self._shared if index == 0 and self._is_shared() else branch
            chain.norm(f"norm{index + 1}", zero_gamma=last and self.zero_init_gamma)
            chain.activation(f"activation{index + 1}")
            if last:
                branch.dropout("dropout_layer")
            branch.conv(f"conv{index + 1}", filters, kernel_size, strides, index=index)

    def _is_shared(self) -> bool:
        if self.preactivate_shortcut == "auto":
            return self._shortcut.kind in ("projection", "pad")
        return bool(self.preactivate_shortcut)

    def _run(self, x: Tensor, training: bool | None, mask: Tensor | None) -> Tensor:
        return super()._run(self._shared(x, training, mask), training, mask)


@keras.saving.register_keras_serializable(PACKAGE)
class PreActivationBlock(PreActivation):
    """Pre-activation residual block of two convolutions.

        y = shortcut(x) + drop(branch(x))
        branch = norm - activation - conv - norm - activation - dropout - conv

    Args:
        filters: Output channels.
        kernel_size: Size of the kernels, one integer or one for each spatial dimension. On (B, C)
            there is none. Default 3.
        strides: Down-sampling of the block, in its first convolution. Default 1.
        shortcut: How the input reaches the sum where their shapes differ: "projection" (1x1 convolution), "pad",
            "identity" or a layer, as in `ResidualBlock`.
        {options}

    Call arguments, output shape and errors: as in `ResidualBlock`.

    Example:

    >>> import numpy as np
    >>> from keras_skip import PreActivationBlock
    >>> PreActivationBlock(32, strides=2)(np.zeros((1, 8, 8, 16), "float32")).shape == (1, 4, 4, 32)
    True

    Reference:
        He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
    """


@keras.saving.register_keras_serializable(PACKAGE)
class PreActivationBottleneckBlock(Bottleneck, PreActivation):
    """Pre-activation residual block of three convolutions, 1x1, kxk and 1x1, the first two narrower by `ratio`.

        y = shortcut(x) + drop(branch(x))
        branch = norm - activation - conv 1x1 - norm - activation - conv kxk - norm - activation - dropout - conv 1x1

    Args:
        filters: Output channels; the first two convolutions have `filters // ratio`.
        kernel_size: Size of the middle kernel, one integer or one for each spatial dimension. On (B, C)
            there is none. Default 3.
        strides: Down-sampling of the block. Default 1.
        shortcut: As in `PreActivationBlock`.
        ratio: How many times narrower the first two convolutions are. Default 4.
        width: Channels of the first two convolutions. Default None, `filters // ratio`.
        stride_position: "middle" strides the kxk convolution, "first" the first 1x1. Default "middle".
        {options}

    Call arguments, output shape and errors: as in `ResidualBlock`.

    Example:

    >>> import numpy as np
    >>> from keras_skip import PreActivationBottleneckBlock
    >>> PreActivationBottleneckBlock(64)(np.zeros((1, 8, 8, 16), "float32")).shape == (1, 8, 8, 64)
    True

    Reference:
        He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
    """


@keras.saving.register_keras_serializable(PACKAGE)
class WideBlock(PreActivation):
    """Block of the wide residual networks: pre-activation, with dropout between its two convolutions.

        y = shortcut(x) + drop(branch(x))
        branch = norm - activation - conv - norm - activation - dropout - conv

    Args:
        filters: Output channels, after widening.
        kernel_size: Size of the kernels. Default 3.
        strides: Down-sampling of the block, in its first convolution. Default 1.
        shortcut: As in `PreActivationBlock`.
        dropout: Rate in [0, 1) of the dropout between the convolutions. Default 0.3, the paper's for CIFAR.
        {options}

    Call arguments, output shape and errors: as in `ResidualBlock`.

    Example:

    >>> import numpy as np
    >>> from keras_skip import WideBlock
    >>> WideBlock(160, strides=2)(np.zeros((1, 8, 8, 16), "float32")).shape == (1, 4, 4, 160)
    True

    Reference:
        Zagoruyko and Komodakis, Wide Residual Networks, 2016, https://arxiv.org/abs/1605.07146
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Size | None = None,
        strides: Size = 1,
        shortcut: ShortcutArgument = "projection",
        *,
        dropout: float = 0.3,
        **options: Any,
    ) -> None:
        super().__init__(filters, kernel_size, strides, shortcut, dropout=dropout, **options)
