"""Blocks whose skip is added, with branches of two and of three convolutions.

y = activation(shortcut(x) + drop(branch(x)))
"""

from collections.abc import Sequence
from typing import ClassVar, Unpack

from .._base.arguments import Size, boolean, layer_or_name, one_of, positive_int, positive_ints
from .._base.shapes import Shape, Tensor, as_tuple, stride_shape
from .block import BLOCK_ARGUMENTS, Block
from .branch import BRANCH_ARGUMENTS, BRANCH_OPTIONS_DOC, Branch, BranchOptions
from .chain import Chain, stride_mask
from .shortcut import POOLS, SHORTCUTS, Shortcut, ShortcutArgument
from .update import prepare_update

Plan = list[tuple[int, Size, Size]]


class ShortcutOptions(BranchOptions, total=False):
    """The options of a block that has a branch and a shortcut."""

    downsample: str
    zero_init_gamma: bool


class ShortcutBlock(Block):
    """Convolutions, each followed by its normalisation, beside a shortcut; the last activation follows the sum."""

    ARGUMENTS = BRANCH_ARGUMENTS | BLOCK_ARGUMENTS
    OPTIONS_DOC = (
        """
    downsample: How strides are applied: "stride" (the convolutions leave positions out), "pool" (as "stride", but the
        shortcut averages over windows as large as the strides before its projection or padding), or "blur" (a
        `BlurPool` takes the strides: in the branch after the activation that follows the strided convolution, in the
        shortcut before its projection or padding). The last two cannot be used with padding="causal". A layer given as
        shortcut is not changed. Default "stride".
    zero_init_gamma: Whether gamma of the branch's last normalisation starts at 0, so that the block starts as its
        shortcut. Default False."""
        + BRANCH_OPTIONS_DOC
        + Block.OPTIONS_DOC
    )

    default_kernel_size = 3
    convolutions: ClassVar[int] = 2
    projection_is_normalized = True
    sum_is_activated = True

    def __init__(
        self,
        filters: int,
        kernel_size: Size | None = None,
        strides: Size = 1,
        shortcut: ShortcutArgument = "projection",
        *,
        downsample: str = "stride",
        zero_init_gamma: bool = False,
        **options: Unpack[BranchOptions],
    ) -> None:
        super().__init__(kernel_size=kernel_size, **options)
        prepare_update(self)
        self.filters = positive_int(filters, "filters")
        self.strides = positive_ints(strides, "strides")
        self.shortcut = layer_or_name(shortcut, "shortcut", SHORTCUTS)
        self.downsample = one_of(downsample, "downsample", ("stride", *POOLS))
        self.zero_init_gamma = boolean(zero_init_gamma, "zero_init_gamma")
        if self.downsample != "stride" and self.padding == "causal":
            raise ValueError(
                "Expected downsample='stride' for padding='causal', since pool and blur read later steps. "
                f"Received: downsample={self.downsample!r}"
            )
        if self.zero_init_gamma and self.normalization is None:
            raise ValueError("Expected a normalization for zero_init_gamma=True. Received: normalization=None")
        self._check_biases(self.convolutions, projections=1)

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape, _ = self._enter(input_shape)
        as_tuple(self.strides, len(shape) - 2, "strides", shape)
        if len(shape) == 2 and self.strides not in (1, (1,)):
            raise ValueError(f"Expected strides=1 on an input (B, C). Received: strides={self.strides}")
        self._shortcut = Shortcut(self, shape, self.filters, self.strides)
        self._branch = Branch(self, shape)
        self._shortcut.build(
            self.compute_output_shape(shape),
            downsample=self.downsample,
            is_normalized=self.projection_is_normalized,
        )
        self._after = Chain(self, self._branch.shape)
        if self.sum_is_activated:
            self._after.activation("activation_after_sum")

    def _plan(self, kernel_size: Size) -> Plan:
        """Filters, kernel size and strides of each convolution of the branch."""
        return [(self.filters, kernel_size, self.strides), (self.filters, kernel_size, 1)]

    def _build_branch(self, branch: Branch) -> None:
        for index, (filters, kernel_size, strides) in enumerate(self._plan(branch.kernel_size)):
            last = index == self.convolutions - 1
            if index:
                branch.activation(f"activation{index}")
            if last:
                branch.dropout("dropout_layer")
            branch.conv(f"conv{index + 1}", filters, kernel_size, strides, index=index)
            branch.norm(f"norm{index + 1}", zero_gamma=last and self.zero_init_gamma)

    def _run(self, x: Tensor, training: bool | None, mask: Tensor | None) -> Tensor:
        total = self._branch.merge(x, training, mask, skip=self._shortcut(x, training, mask))
        return self._after(total, training)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return stride_mask(super().compute_mask(inputs, mask), self.strides)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape, _ = self._read(input_shape)
        return stride_shape(shape, self.strides, self.filters, self.data_format)


class Bottleneck(ShortcutBlock):
    """A branch of three convolutions of sizes 1, k and 1; the first two have `width` channels, or filters // ratio."""

    STRIDE_POSITIONS = ("middle", "first")
    convolutions = 3

    def __init__(
        self,
        filters: int,
        kernel_size: Size | None = None,
        strides: Size = 1,
        shortcut: ShortcutArgument = "projection",
        *,
        ratio: int = 4,
        width: int | None = None,
        stride_position: str = "middle",
        **options: Unpack[ShortcutOptions],
    ) -> None:
        super().__init__(filters, kernel_size, strides, shortcut, **options)
        self.ratio = positive_int(ratio, "ratio")
        self.width = None if width is None else positive_int(width, "width")
        self.stride_position = one_of(stride_position, "stride_position", self.STRIDE_POSITIONS)
        if self.width is None and self.filters % self.ratio:
            raise ValueError(f"Expected filters divisible by ratio. Received: filters={filters}, ratio={ratio}")

    def _plan(self, kernel_size: Size) -> Plan:
        narrow = self.filters // self.ratio if self.width is None else self.width
        first, middle = (self.strides, 1) if self.stride_position == "first" else (1, self.strides)
        return [(narrow, 1, first), (narrow, kernel_size, middle), (self.filters, 1, 1)]
