"""Blocks whose skip is added: the choice of a shortcut, and the branches of two and of three convolutions.

    y = activation(shortcut(x) + drop(branch(x)))

The shortcut is the identity where the shapes already match. Elsewhere it is the projection (option B of the residual
paper), or the subsampled input with zero channels appended (option A, no parameters). A layer given as shortcut is
always used.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, TypeAlias, Unpack

import keras
from keras import ops

from ._arguments import Size, layer_or_name, one_of, positive_int, positive_ints
from ._block import BLOCK_ARGUMENTS, Block
from ._branch import BRANCH_ARGUMENTS, BRANCH_OPTIONS_DOC, Branch, BranchOptions
from ._chain import Chain, apply, apply_mask, stride_mask
from ._pool import AveragePool, Pool
from ._shapes import Shape, Tensor, as_tuple, channel_axis, output_shape, spatial_axes, stride_shape
from ._update import prepare_update
from .blur_pool import BlurPool

SHORTCUTS = ("projection", "pad", "identity")
Shortcut: TypeAlias = str | keras.layers.Layer
POOLS: dict[str, type[Pool]] = {"pool": AveragePool, "blur": BlurPool}
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
    downsample: How strides make the sizes smaller: "stride" (the convolutions leave positions out), "pool" (as
        "stride", but the shortcut averages over windows of the strides before its projection or zero channels), or
        "blur" (a `BlurPool` takes the strides, in the branch after the activation that follows the strided convolution,
        in the shortcut before its projection or zero channels). The last two do not go with padding="causal"; a layer
        given as shortcut runs as it is. Default "stride".
    zero_init_gamma: Whether the last normalisation of the branch starts with gamma 0, so that the block starts as its
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
        shortcut: Shortcut = "projection",
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
        self.zero_init_gamma = bool(zero_init_gamma)
        if self.downsample != "stride" and self.padding == "causal":
            raise ValueError(
                "Expected downsample='stride' for padding='causal', since the others see later steps. "
                f"Received: downsample={self.downsample!r}"
            )
        if self.zero_init_gamma and self.normalization is None:
            raise ValueError("Expected a normalization for zero_init_gamma=True. Received: normalization=None")
        self._check_biases(self.convolutions)

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape, channels = self._enter(input_shape)
        steps = as_tuple(self.strides, len(shape) - 2, "strides", shape)
        if len(shape) == 2 and self.strides not in (1, (1,)):
            raise ValueError(f"Expected strides=1 on an input (B, C). Received: strides={self.strides}")
        self._shortcut_kind = self._choose_shortcut(shape, channels, matching=set(steps) <= {1})
        self._branch = Branch(self, shape)
        self._build_shortcut(shape)
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

    def _choose_shortcut(
        self, shape: Shape, channels: int, matching: bool
    ) -> Literal["layer", "identity", "projection", "pad"]:
        if isinstance(self.shortcut, keras.layers.Layer):
            return "layer"
        if matching and channels == self.filters:
            return "identity"
        received = f"Received: filters={self.filters}, strides={self.strides}, input_shape={shape}"
        if self.shortcut == "identity":
            raise ValueError(f"Expected filters equal to channels and strides=1 for shortcut='identity'. {received}")
        if self.shortcut == "pad" and channels > self.filters:
            raise ValueError(f"Expected filters of at least the channels for shortcut='pad'. {received}")
        return self.shortcut

    def _build_shortcut(self, shape: Shape) -> None:
        self.projection = self.projection_norm = None
        self._projection = Chain(self, shape)
        self._strides_left: Size = self.strides
        if self._shortcut_kind in ("projection", "pad"):
            self._build_pool(shape)
        if self._shortcut_kind == "projection":
            self._projection.conv("projection", self.filters, 1, self._strides_left)
            if self.projection_is_normalized:
                self._projection.norm("projection_norm")
        elif self._shortcut_kind == "layer":
            self._build_given_shortcut(shape)

    def _build_pool(self, shape: Shape) -> None:
        """Adds to the shortcut what takes its strides from the projection, or from the subsampling."""
        if self.downsample != "stride" and max(as_tuple(self.strides, len(shape) - 2), default=1) > 1:
            pool = POOLS[self.downsample](
                self.strides, data_format=self.data_format, **self._sub_layer("shortcut_pool")
            )
            self._projection.add("shortcut_pool", pool, self.strides)
            self._strides_left = 1

    def _build_given_shortcut(self, shape: Shape) -> None:
        self._build_inside(self.shortcut, shape)
        given, expected = output_shape(self.shortcut, shape), self.compute_output_shape(shape)
        pairs = list(zip(given, expected, strict=False))
        if len(given) != len(expected) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(
                f"Expected a shortcut layer whose output has the branch's shape {expected}. "
                f"Received: {self.shortcut.name} with output shape {given}"
            )

    def _run(self, x: Tensor, training: bool | None, mask: Tensor | None) -> Tensor:
        skip = self._shortcut(x, training, mask)
        return self._after(self._branch.merge(x, training, mask, skip=skip), training)

    def _shortcut(self, x: Tensor, training: bool | None, mask: Tensor | None) -> Tensor:
        if self._shortcut_kind == "layer":
            # Earlier layers may have shifted the zeros in the padding, and its kernel may see them.
            return ops.cast(apply(self.shortcut, apply_mask(x, mask), training, mask), self.compute_dtype)
        if self._shortcut_kind == "projection":
            return self._projection(x, training, mask)
        if self._shortcut_kind == "pad":
            return self._subsample_and_pad(self._projection(x, training, mask))
        return x

    def _subsample_and_pad(self, x: Tensor) -> Tensor:
        rank = len(x.shape)
        axis = channel_axis(self.data_format, rank)
        steps = [slice(None)] * rank
        spatial = spatial_axes(self.data_format, rank)
        for spatial_axis, step in zip(spatial, as_tuple(self._strides_left, rank - 2), strict=True):
            steps[spatial_axis] = slice(None, None, step)
        amounts = [(0, 0)] * rank
        amounts[axis] = (0, self.filters - x.shape[axis])
        return ops.pad(x[tuple(steps)], amounts)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return stride_mask(super().compute_mask(inputs, mask), self.strides)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape, _ = self._read(input_shape)
        return stride_shape(shape, self.strides, self.filters, self.data_format)


class Bottleneck(ShortcutBlock):
    """A branch of three convolutions, 1 - k - 1, the first two `width` wide, or `ratio` times narrower."""

    STRIDE_POSITIONS = ("middle", "first")
    convolutions = 3

    def __init__(
        self,
        filters: int,
        kernel_size: Size | None = None,
        strides: Size = 1,
        shortcut: Shortcut = "projection",
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
