"""The branch of a block, whose output is the update that is merged into the skip.

    y = skip(x) + gate(x) * drop(branch(x))

The public classes state their branch, their skip, and a gate if they have one.
"""

from collections.abc import Callable
from typing import Any

import keras

from .._base.arguments import Argument, Size, annotate, one_of, positive_int, positive_ints
from .._base.shapes import Shape, Tensor, as_tuple, channel_axis
from ..blur_pool import BlurPool
from .block import Block, BlockOptions
from .chain import Chain
from .survival import drop
from .update import UPDATE_ARGUMENTS, UPDATE_OPTIONS_DOC, end_branch, fixed_gain

PADDINGS = ("same", "symmetric", "causal")


class BranchOptions(BlockOptions, total=False):
    """The options of a block that has a branch."""

    groups: int
    padding: str
    dilation_rate: Size
    survival_prob: float
    granularity: str
    scale: str
    attention: str | keras.layers.Layer | None
    branch_scale: str | float | keras.layers.Layer | None
    depth: int | None
    recompute: bool


def _optional_size(value: Size | None, argument: str) -> Size | None:
    return None if value is None else positive_ints(value, argument)


BRANCH_ARGUMENTS = annotate(
    {
        "kernel_size": Argument(None, _optional_size, Size | None),
        "groups": Argument(1, positive_int),
        "padding": Argument("same", lambda value, argument: one_of(value, argument, PADDINGS)),
        "dilation_rate": Argument(1, positive_ints),
        **UPDATE_ARGUMENTS,
    },
    BranchOptions,
)

BRANCH_OPTIONS_DOC = (
    """
    kernel_size: Size of the kernel, one integer or one for each spatial dimension. On (B, C) there is none.
    groups: Number of groups into which the branch's kxk convolutions divide the channels; a filter reads only the
        channels of its group. Convolutions of size 1, projections and gates have one group. Default 1.
    padding: "same", "symmetric" (the same amount on both sides, as PyTorch pads strided convolutions) or, for
        sequences, "causal". Default "same".
    dilation_rate: Dilation of the kernel. Default 1."""
    + UPDATE_OPTIONS_DOC
)


class Branch(Chain):
    """The sub-layers that `block._build_branch` adds, with the end that all branches have; it can be dropped."""

    def __init__(self, block: Block, shape: Shape) -> None:
        super().__init__(block, shape)
        self._strides_left: Size = 1  # of a convolution, for the blur after the next activation
        self._check_kernel()
        block._build_branch(self)
        end_branch(block, self)

    @property
    def kernel_size(self) -> Size:
        return self._block.default_kernel_size if self._block.kernel_size is None else self._block.kernel_size

    def conv(
        self, name: str, filters: int, kernel_size: Size = 1, strides: Size = 1, *, index: int = -1, **own: Any
    ) -> None:
        block, rank = self._block, len(self.shape) - 2
        if block.groups > 1 and as_tuple(kernel_size, rank) != (1,) * rank:
            channels = self.shape[channel_axis(block.data_format, rank + 2)]
            if channels % block.groups or filters % block.groups:
                raise ValueError(
                    f"Expected channels and filters of {name} divisible by groups. "
                    f"Received: groups={block.groups}, channels={channels}, filters={filters}"
                )
            own["groups"] = block.groups
        if getattr(block, "downsample", None) == "blur":
            self._strides_left, strides = strides, 1
        super().conv(name, filters, kernel_size, strides, index=index, **own)

    def activation(self, name: str) -> None:
        super().activation(name)
        strides = self._strides_left
        if strides not in (1, (1,) * (len(self.shape) - 2)):
            options = self._block._sub_layer("blur")
            self.add("blur", BlurPool(strides, data_format=self._block.data_format, **options), strides)

    def _check_kernel(self) -> None:
        block, shape = self._block, self.shape
        rank = len(shape) - 2
        kernel = as_tuple(self.kernel_size, rank, "kernel_size", shape)
        dilation = as_tuple(block.dilation_rate, rank, "dilation_rate", shape)
        if rank == 0 and block.kernel_size is not None and set(as_tuple(block.kernel_size, 1, "", shape)) != {1}:
            raise ValueError(f"Expected no kernel_size on an input (B, C). Received: kernel_size={block.kernel_size}")
        if block.groups > 1 and set(kernel) <= {1}:
            raise ValueError(
                "Expected groups=1 for an input (B, C), and for a kernel of size 1. "
                f"Received: groups={block.groups}, kernel_size={kernel}, input_shape={shape}"
            )
        if block.padding == "causal" and rank > 1:
            raise ValueError(f"Expected a sequence (B, T, C) for padding='causal'. Received: input_shape={shape}")
        if block.padding == "symmetric" and any(d * (k - 1) % 2 for k, d in zip(kernel, dilation, strict=True)):
            raise ValueError(f"Expected an odd kernel_size for padding='symmetric'. Received: kernel_size={kernel}")

    def merge(
        self,
        x: Tensor,
        training: bool | None,
        mask: Tensor | None,
        *,
        skip: Tensor | None = None,
        zeros: Callable[[], Tensor] | None = None,
        gate: Tensor | None = None,
    ) -> Tensor:
        """`skip + gate * branch(x)` where the branch can be dropped; the rest is as in `drop`."""
        return drop(
            self._block,
            lambda x, mask: self(x, training, mask),
            (x, mask),
            layers=self.layers,
            training=training,
            skip=skip,
            zeros=zeros,
            gate=gate,
            gain=fixed_gain(self._block),
        )
