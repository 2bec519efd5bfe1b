"""The one equation.

    y = merge(x, shortcut(x), drop(branch(x)))

`SkipBlock` holds the kernel and the survival probability of the branch. The public classes state their branch, their
shortcut and their merge.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from ._block import Block, BlockOptions, Shape, as_tuple, masked
from ._config import boolean, one_of, positive_ints
from ._recompute import recompute
from ._survival import drop, init_survival

PADDINGS = ("same", "symmetric", "causal")


class SkipOptions(BlockOptions, total=False):
    """The options of a block that has a shortcut."""

    padding: str
    dilation_rate: Any
    survival_prob: float
    granularity: str
    scale: str
    recompute: bool


class SkipBlock(Block):
    """A block with a kernel, and with a branch that can be dropped."""

    OPTIONS_DOC = (
        """
    kernel_size: Size of the kernel, one integer or one for each spatial dimension. On (B, C) there is none.
    padding: "same", "symmetric" (the same amount on both sides, as PyTorch pads strided convolutions) or, for
        sequences, "causal". Default "same".
    dilation_rate: Dilation of the kernel. Default 1.
    survival_prob: Probability in (0, 1] that the branch is there in a training step. Default 1.
    granularity: "batch" (one draw a mini-batch; a dropped branch is not computed) or "sample". Default "batch".
    scale: "training" (a surviving update is divided by survival_prob) or "inference" (at inference the update is
        multiplied by it, as in the paper). Default "training".
    recompute: Whether what lies between the block's input and output is computed again for the gradients in training,
        instead of being kept in memory until then. Results are the same. Default False."""
        + Block.OPTIONS_DOC
    )

    default_kernel_size = 3
    draws_survival = True

    def __init__(
        self,
        *,
        kernel_size: Any = None,
        padding: str = "same",
        dilation_rate: Any = 1,
        survival_prob: float = 1.0,
        granularity: str = "batch",
        scale: str = "training",
        recompute: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, **options)
        self.kernel_size = None if kernel_size is None else positive_ints(kernel_size, "kernel_size")
        self.padding = one_of(padding, "padding", PADDINGS)
        self.dilation_rate = positive_ints(dilation_rate, "dilation_rate")
        init_survival(self, survival_prob, granularity, scale, seed, self.draws_survival)
        self.recompute = boolean(recompute, "recompute")

    def call(self, x: Any, training: bool | None = None, mask: Any = None) -> Any:
        x, mask = self._masked_input(x, mask)
        if self.recompute and training:
            return recompute(self, lambda x, mask: self._run(x, training, mask), x, mask, layers=[self])
        return self._run(x, training, mask)

    def _run(self, x: Any, training: Any, mask: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} states what it computes.")

    def _enter(self, input_shape: Any) -> tuple[Shape, int]:
        shape, channels = super()._enter(input_shape)
        rank = len(shape) - 2
        kernel = as_tuple(self._kernel(), rank, "kernel_size", shape)
        dilation = as_tuple(self.dilation_rate, rank, "dilation_rate", shape)
        if rank == 0 and self.kernel_size is not None and set(as_tuple(self.kernel_size, 1, "", shape)) != {1}:
            raise ValueError(f"Expected no kernel_size on an input (B, C). Received: kernel_size={self.kernel_size}")
        if self.padding == "causal" and rank > 1:
            raise ValueError(f"Expected a sequence (B, T, C) for padding='causal'. Received: input_shape={shape}")
        if self.padding == "symmetric" and any(d * (k - 1) % 2 for k, d in zip(kernel, dilation, strict=True)):
            raise ValueError(f"Expected an odd kernel_size for padding='symmetric'. Received: kernel_size={kernel}")
        return shape, channels

    def _kernel(self) -> Any:
        return self.default_kernel_size if self.kernel_size is None else self.kernel_size

    def _padding_options(self, rank: int, kernel_size: Any, strides: Any) -> dict[str, Any]:
        if as_tuple(kernel_size, rank) == (1,) * rank:
            return {"padding": "same"}
        # Without strides "same" is symmetric; with them, Keras pads an even input on the far side only.
        explicit = self.padding == "symmetric" and max(as_tuple(strides, rank)) > 1
        padding = {"same": "same", "causal": "causal", "symmetric": "valid" if explicit else "same"}[self.padding]
        return {"padding": padding, "dilation_rate": self.dilation_rate}

    def _convolve(self, layer: keras.layers.Layer, x: Any, mask: Any = None) -> Any:
        wide = max(getattr(layer, "kernel_size", (1,)))
        x = x if mask is None or wide == 1 else masked(x, mask)
        if wide > 1 and layer.padding == "valid":
            amounts = [(0, 0)] * len(x.shape)
            for axis, k, d in zip(self._spatial_axes(x.shape), layer.kernel_size, layer.dilation_rate, strict=True):
                amounts[axis] = (d * (k - 1) // 2,) * 2
            x = ops.pad(x, amounts)
        return layer(x)

    def _drop(
        self,
        branch: Callable[[Any], Any],
        x: Any,
        layers: list,
        *,
        merge: Callable[[Any], Any],
        dropped: Callable[[], Any],
        training: Any,
        unread: Sequence[Any] = (),
    ) -> Any:
        present = [layer for layer in layers if layer is not None]
        return drop(self, branch, x, layers=present, merge=merge, dropped=dropped, training=training, unread=unread)
