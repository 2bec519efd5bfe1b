"""Sub-layers that run one after the other, for an input of any rank, and under a mask.

    branch = Chain(block, shape)
    branch.conv("conv1", 64, 3); branch.norm("norm1"); branch.activation("activation1")
    y = branch(x, training, mask)

A mask says which steps of a sequence are real. The others are zero wherever a kernel could see them.
"""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from .._base.arguments import Size, own_initializer
from .._base.shapes import Shape, Tensor, as_tuple, channel_axis, spatial_axes, stride_shape
from .._base.template import Template
from .grouped import GroupedConv1D, GroupedConv2D, GroupedConv3D
from .norms import make_norm

if TYPE_CHECKING:
    from .block import Block

CONVOLUTIONS = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
GROUPED = (keras.layers.Dense, GroupedConv1D, GroupedConv2D, GroupedConv3D)


class Chain:
    """Builds sub-layers of a block with the block's options, and runs them in the order in which they were added.

    Each is an attribute of the block, under its own name. Without spatial dimensions a convolution is a dense layer.
    """

    def __init__(self, block: "Block", shape: Shape) -> None:
        self._block = block
        self._steps: list[tuple[str, Size | None]] = []  # the name, and the strides if there are any
        self.shape = shape

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return [getattr(self._block, name) for name, _ in self._steps if name != "activation"]

    def conv(
        self, name: str, filters: int, kernel_size: Size = 1, strides: Size = 1, *, index: int = -1, **own: Any
    ) -> None:
        """Adds a convolution; `index` counts those of the branch, `own` are options unlike the block's."""
        block, rank = self._block, len(self.shape) - 2
        options: dict[str, Any] = {
            "use_bias": block.use_bias[index] if isinstance(block.use_bias, tuple) else block.use_bias,
            "kernel_initializer": own_initializer(block.kernel_initializer, name),
            "bias_initializer": own_initializer(block.bias_initializer, name + "/bias"),
            "kernel_regularizer": block.kernel_regularizer,
            "bias_regularizer": block.bias_regularizer,
            "kernel_constraint": block.kernel_constraint,
            "bias_constraint": block.bias_constraint,
        }
        if rank > 0:
            options |= {"kernel_size": kernel_size, "strides": strides, "data_format": block.data_format}
            options |= self._padding_options(rank, kernel_size, strides)
        # Explicit padding is added in the call, so an input smaller than the kernel is no error: sizes stay open here.
        spatial = spatial_axes(block.data_format, rank + 2)
        open_shape = tuple(None if axis in spatial else size for axis, size in enumerate(self.shape))
        cls = (GROUPED if own.get("groups", 1) > 1 else CONVOLUTIONS)[rank]
        block._add(name, cls(filters, **(options | own), **block._sub_layer(name)), open_shape)
        if rank == 1 and as_tuple(kernel_size, 1) == as_tuple(strides, 1) == (1,):
            # Else Keras would warn that the mask ends here, which it does not.
            getattr(block, name).supports_masking = True
        self._steps.append((name, strides))
        self.shape = stride_shape(self.shape, strides, filters, block.data_format)

    def _padding_options(self, rank: int, kernel_size: Size, strides: Size) -> dict[str, Any]:
        if as_tuple(kernel_size, rank) == (1,) * rank:
            return {"padding": "same"}
        # Without strides "same" is symmetric; with them, Keras pads an even input on the far side only.
        explicit = self._block.padding == "symmetric" and max(as_tuple(strides, rank)) > 1
        padding = {"same": "same", "causal": "causal", "symmetric": "valid" if explicit else "same"}
        return {"padding": padding[self._block.padding], "dilation_rate": self._block.dilation_rate}

    def norm(self, name: str, *, zero_gamma: bool = False) -> None:
        layer = make_norm(self._block, name, self.shape, zero_gamma=zero_gamma)
        if layer is None:
            setattr(self._block, name, None)
        else:
            self.add(name, layer)

    def dropout(self, name: str, index: int = 0) -> None:
        block = self._block
        if block.dropout == 0.0:
            setattr(block, name, None)
            return
        noise_shape = None
        if block.spatial_dropout:
            spatial = spatial_axes(block.data_format, len(self.shape))
            noise_shape = tuple(1 if axis in spatial else None for axis in range(len(self.shape)))
        seed = None if block.seed is None else block.seed + 1 + index
        self.add(name, keras.layers.Dropout(block.dropout, noise_shape, seed, **block._sub_layer(name)))

    def activation(self, name: str) -> None:
        """Adds the activation, as the sub-layer `name` if it is a layer."""
        block = self._block
        if isinstance(block.activation, Template):
            self.add(name, block.activation.copy(**block._sub_layer(name)))
        else:
            self._steps.append(("activation", None))

    def add(self, name: str, layer: keras.layers.Layer, strides: Size | None = None) -> None:
        """Adds any other layer that keeps the shape, apart from its strides."""
        self._block._add(name, layer, self.shape)
        self._steps.append((name, strides))
        if strides is not None:
            channels = self.shape[channel_axis(self._block.data_format, len(self.shape))]
            self.shape = stride_shape(self.shape, strides, channels, self._block.data_format)

    def __call__(self, x: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        for name, strides in self._steps:
            part = getattr(self._block, name)
            if name == "activation":
                x = part(x)
            elif strides is not None and isinstance(part, CONVOLUTIONS):
                x = self._convolve(part, x, training, mask)
            else:
                x = apply(part, x, training, mask)
            mask = mask if strides is None else stride_mask(mask, strides)
        return x

    def _convolve(self, layer: keras.layers.Layer, x: Tensor, training: bool | None, mask: Tensor | None) -> Tensor:
        wide = max(getattr(layer, "kernel_size", (1,)))
        if mask is not None:
            # A new tensor either way: the convolution would warn about the mask that a layer attached to the old one.
            x = ops.copy(x) if wide == 1 else apply_mask(x, mask)
        if wide > 1 and layer.padding == "valid":
            amounts = [(0, 0)] * len(x.shape)
            spatial = spatial_axes(self._block.data_format, len(x.shape))
            for axis, k, d in zip(spatial, layer.kernel_size, layer.dilation_rate, strict=True):
                amounts[axis] = (d * (k - 1) // 2,) * 2
            x = ops.pad(x, amounts)
        return apply(layer, x, training)


def apply(layer: keras.layers.Layer, x: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
    """`layer(x)` with as much of the context as the layer takes."""
    context = {"training": training, "mask": mask}
    return layer(x, **{name: context[name] for name in _context_arguments(type(layer).call)})


@functools.cache
def _context_arguments(call: Callable) -> tuple[str, ...]:
    taken = inspect.signature(call).parameters
    return tuple(name for name in ("training", "mask") if name in taken)


def apply_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """A sequence (B, T, C) with zeros where the mask (B, T) is False."""
    return x if mask is None else ops.where(ops.expand_dims(ops.cast(mask, "bool"), -1), x, ops.zeros_like(x))


def sequence_mask(x: Tensor, mask: Tensor | None, data_format: str) -> Tensor | None:
    if mask is None or len(x.shape) != 3:
        return None
    if data_format == "channels_first":
        raise ValueError(
            "Expected data_format='channels_last' for a masked sequence. Received: data_format='channels_first'"
        )
    return mask


def stride_mask(mask: Tensor | None, strides: Size | None) -> Tensor | None:
    """The mask of a sequence's steps that strides keep; none if it is not known which these are."""
    if mask is None or strides is None:
        return None
    return mask if strides == 1 else mask[:, :: as_tuple(strides, 1)[0]]
