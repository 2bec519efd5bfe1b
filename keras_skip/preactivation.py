"""Pre-activation blocks: normalisation and activation stand before each convolution, and nothing after the sum.

    y = shortcut(x) + drop(conv(activation(norm(conv(activation(norm(x)))))))

Where the shape changes, the first normalisation and activation feed the shortcut too; elsewhere the shortcut carries
the raw input.
"""

from typing import Any

import keras

from ._block import Shape, apply
from ._config import PACKAGE
from ._shortcut import Bottleneck, ShortcutBlock


class PreActivation(ShortcutBlock):
    """Any plan of convolutions, each preceded by its normalisation and activation."""

    OPTIONS_DOC = (
        """
    preactivate_shortcut: Whether the first normalisation and activation feed the shortcut as well as the branch.
        "auto" (the default) does so for a projection and a padded shortcut, which is where the shape changes; the
        papers' very first unit wants True."""
        + ShortcutBlock.OPTIONS_DOC
    )

    projection_is_normalized = False

    def __init__(
        self,
        filters: int,
        kernel_size: Any = None,
        strides: Any = 1,
        shortcut: Any = "projection",
        *,
        preactivate_shortcut: bool | str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(filters, kernel_size, strides, shortcut, **options)
        if preactivate_shortcut not in ("auto", True, False):
            raise ValueError(
                "Expected preactivate_shortcut to be 'auto', True or False. "
                f"Received: preactivate_shortcut={preactivate_shortcut!r}"
            )
        self.preactivate_shortcut = preactivate_shortcut

    def _build_branch(self, shape: Shape) -> None:
        plan = self._plan()
        for place, (filters, kernel_size, strides) in enumerate(plan):
            last = place == len(plan) - 1
            self._add_norm(f"norm{place + 1}", shape, zero_gamma=last and self.zero_init_gamma)
            if last:
                self._add_dropout("dropout_layer", shape)
            shape = self._add_conv(f"conv{place + 1}", shape, filters, kernel_size, strides, place=place)
            self._branch_names += [f"norm{place + 1}", f"conv{place + 1}"]
        self._branch_names.append("dropout_layer")

    def _is_shared(self) -> bool:
        if self.preactivate_shortcut == "auto":
            return self._shortcut_kind in ("projection", "pad")
        return bool(self.preactivate_shortcut)

    def _run(self, x: Any, training: Any, mask: Any) -> Any:
        layers = self._branch_layers()
        shared = self._is_shared()
        if shared:
            # The shortcut needs the first normalisation, so it runs whether or not the branch is dropped.
            x = self._preactivate(1, x, training, mask)
            layers.remove(self.norm1)
        skip = self._shortcut(x, training, mask)
        return self._drop(
            lambda inputs: self._branch(inputs, training, mask, preactivated=shared),
            x,
            layers,
            merge=lambda update: skip + update,
            dropped=lambda: skip,
            training=training,
        )

    def _preactivate(self, place: int, x: Any, training: Any, mask: Any) -> Any:
        return self.activation(apply(getattr(self, f"norm{place}"), x, training, mask))

    def _branch(self, x: Any, training: Any, mask: Any, preactivated: bool) -> Any:
        plan = self._plan()
        for place, (_, _, strides) in enumerate(plan, 1):
            if place > 1 or not preactivated:
                x = self._preactivate(place, x, training, mask)
            if place == len(plan):
                x = apply(self.dropout_layer, x, training)
            x = self._convolve(getattr(self, f"conv{place}"), x, mask)
            mask = self._strided_mask(mask, strides)
        return x


@keras.saving.register_keras_serializable(PACKAGE)
class PreActivationBlock(PreActivation):
    """Pre-activation residual block of two convolutions.

        y = shortcut(x) + drop(branch(x))
        branch = norm - activation - conv - norm - activation - dropout - conv

    Args:
        filters: Output channels.
        kernel_size: Size of the kernels. Default 3.
        strides: Down-sampling of the block, in its first convolution. Default 1.
        shortcut: What joins input and sum where their shapes differ: "projection" (1x1 convolution), "pad", "identity"
            or a layer, as in `ResidualBlock`.
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
        kernel_size: Size of the middle kernel. Default 3.
        strides: Down-sampling of the block. Default 1.
        shortcut: As in `PreActivationBlock`.
        ratio: How many times narrower the first two convolutions are. Default 4.
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
        filters: Output channels, the widening already in them.
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
        kernel_size: Any = None,
        strides: Any = 1,
        shortcut: Any = "projection",
        *,
        dropout: float = 0.3,
        **options: Any,
    ) -> None:
        super().__init__(filters, kernel_size, strides, shortcut, dropout=dropout, **options)
