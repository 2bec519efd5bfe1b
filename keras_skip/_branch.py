"""The branch of a block, whose output is the update that is merged into the skip.

    y = skip(x) + gate(x) * drop(branch(x))

The public classes state their branch, their skip, and a gate if they have one.
"""

from collections.abc import Callable

from ._arguments import Argument, Size, annotate, boolean, one_of, optional_int, positive_ints
from ._block import Block, BlockOptions
from ._chain import Chain
from ._shapes import Shape, Tensor, as_tuple
from ._survival import SURVIVAL_ARGUMENTS, drop

PADDINGS = ("same", "symmetric", "causal")


class BranchOptions(BlockOptions, total=False):
    """The options of a block that has a branch."""

    padding: str
    dilation_rate: Size
    survival_prob: float
    granularity: str
    scale: str
    recompute: bool


def _optional_size(value: Size | None, argument: str) -> Size | None:
    return None if value is None else positive_ints(value, argument)


BRANCH_ARGUMENTS = annotate(
    {
        "kernel_size": Argument(None, _optional_size, Size | None),
        "padding": Argument("same", lambda value, argument: one_of(value, argument, PADDINGS)),
        "dilation_rate": Argument(1, positive_ints),
        **SURVIVAL_ARGUMENTS,
        "recompute": Argument(False, boolean),
        "seed": Argument(None, optional_int),
    },
    BranchOptions,
)

BRANCH_OPTIONS_DOC = """
    kernel_size: Size of the kernel, one integer or one for each spatial dimension. On (B, C) there is none.
    padding: "same", "symmetric" (the same amount on both sides, as PyTorch pads strided convolutions) or, for
        sequences, "causal". Default "same".
    dilation_rate: Dilation of the kernel. Default 1.
    survival_prob: Probability in (0, 1] that a training step keeps the branch. Default 1.
    granularity: "batch" (one draw a mini-batch; a dropped branch is not computed), "sample" (one draw an example), or
        "rows" (the branch is computed for k = max(1, floor(p B)) of the B examples, drawn anew in each step, so every
        step takes less time and memory; BatchNormalization in the branch sees only the k). Default "batch".
    scale: "training" (a surviving update is divided by survival_prob, in "rows" multiplied by B / k) or "inference" (at
        inference the update is multiplied by survival_prob, as in the paper). Default "training".
    recompute: Whether training computes the values between the block's input and output again for the gradients,
        instead of keeping them in memory. Results are the same. Default False."""


class Branch(Chain):
    """The sub-layers that `block._build_branch` adds, with the end that all branches have; it can be dropped."""

    def __init__(self, block: Block, shape: Shape) -> None:
        super().__init__(block, shape)
        self._check_kernel()
        block._build_branch(self)
        block._end_branch(self)

    @property
    def kernel_size(self) -> Size:
        return self._block.default_kernel_size if self._block.kernel_size is None else self._block.kernel_size

    def _check_kernel(self) -> None:
        block, shape = self._block, self.shape
        rank = len(shape) - 2
        kernel = as_tuple(self.kernel_size, rank, "kernel_size", shape)
        dilation = as_tuple(block.dilation_rate, rank, "dilation_rate", shape)
        if rank == 0 and block.kernel_size is not None and set(as_tuple(block.kernel_size, 1, "", shape)) != {1}:
            raise ValueError(f"Expected no kernel_size on an input (B, C). Received: kernel_size={block.kernel_size}")
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
        )
