"""Blocks whose skip is added: what the shortcut may be, and the branches of two and of three convolutions.

    y = shortcut(x) + drop(branch(x))

The shortcut is the identity where the shapes already match. Elsewhere it is the projection (option B of the residual
paper), or the subsampled input with zero channels appended (option A, no parameters). A layer given as shortcut is
always used.
"""

from typing import Any, Unpack

import keras
from keras import ops

from ._block import Shape, apply, as_tuple, masked, output_shape
from ._config import layer_or_name, one_of, positive_int, positive_ints
from ._skip import SkipBlock, SkipOptions

SHORTCUTS = ("projection", "pad", "identity")


class ShortcutBlock(SkipBlock):
    """A branch of two convolutions beside a shortcut."""

    OPTIONS_DOC = (
        """
    zero_init_gamma: Whether the last normalisation of the branch starts with gamma 0, so that the block starts as its
        shortcut. Default False."""
        + SkipBlock.OPTIONS_DOC
    )

    projection_is_normalized = True

    def __init__(
        self,
        filters: int,
        kernel_size: Any = None,
        strides: Any = 1,
        shortcut: Any = "projection",
        *,
        zero_init_gamma: bool = False,
        **options: Unpack[SkipOptions],
    ) -> None:
        super().__init__(kernel_size=kernel_size, **options)
        self.filters = positive_int(filters, "filters")
        self.strides = positive_ints(strides, "strides")
        self.shortcut = layer_or_name(shortcut, "shortcut", SHORTCUTS)
        self.zero_init_gamma = bool(zero_init_gamma)
        if self.zero_init_gamma and self.normalization is None:
            raise ValueError("Expected a normalization for zero_init_gamma=True. Received: normalization=None")
        self._check_biases(len(self._plan()))

    def _plan(self) -> list[tuple[int, Any, Any]]:
        """Filters, kernel size and strides of each convolution of the branch."""
        return [(self.filters, self._kernel(), self.strides), (self.filters, self._kernel(), 1)]

    def build(self, input_shape: Any) -> None:
        shape, channels = self._enter(input_shape)
        rank = len(shape) - 2
        steps = as_tuple(self.strides, rank, "strides", shape)
        if rank == 0 and self.strides not in (1, (1,)):
            raise ValueError(f"Expected strides=1 on an input (B, C). Received: strides={self.strides}")
        self._branch_names: list[str] = []
        self._build_branch(shape)
        self._build_shortcut(shape, matching=channels == self.filters and set(steps) <= {1})

    def _build_branch(self, shape: Shape) -> None:
        raise NotImplementedError(f"{type(self).__name__} states its branch.")

    def _build_shortcut(self, shape: Shape, matching: bool) -> None:
        out_shape = self._strided(shape, self.strides, self.filters)
        self.projection: Any = None
        self.projection_norm: Any = None
        if isinstance(self.shortcut, keras.layers.Layer):
            self._shortcut_kind = "layer"
            self._build_given_shortcut(shape, out_shape)
        elif matching:
            self._shortcut_kind = "identity"
        elif self.shortcut == "projection":
            self._shortcut_kind = "projection"
            self._add_conv("projection", shape, self.filters, 1, self.strides)
            if self.projection_is_normalized:
                self._add_norm("projection_norm", out_shape)
        else:
            _, channels = self._read(shape)
            received = f"Received: filters={self.filters}, strides={self.strides}, input_shape={shape}"
            if self.shortcut == "identity":
                raise ValueError(
                    f"Expected filters equal to channels and strides=1 for shortcut='identity'. {received}"
                )
            if channels > self.filters:
                raise ValueError(f"Expected filters of at least the channels for shortcut='pad'. {received}")
            self._shortcut_kind = "pad"

    def _build_given_shortcut(self, shape: Shape, out_shape: Shape) -> None:
        self._build_inside(self.shortcut, shape)
        given = output_shape(self.shortcut, shape)
        pairs = list(zip(given, out_shape, strict=False))
        if len(given) != len(out_shape) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(
                f"Expected a shortcut layer whose output has the branch's shape {out_shape}. "
                f"Received: {self.shortcut.name} with output shape {given}"
            )

    def _shortcut(self, x: Any, training: Any, mask: Any) -> Any:
        if self._shortcut_kind == "layer":
            # What came before it may have shifted the zeros in the padding, which its kernel may see.
            x = x if mask is None else masked(x, mask)
            return ops.cast(apply(self.shortcut, x, training, mask), self.compute_dtype)
        if self._shortcut_kind == "projection":
            return apply(self.projection_norm, self.projection(x), training, self._strided_mask(mask, self.strides))
        if self._shortcut_kind == "pad":
            return self._subsampled_and_padded(x)
        return x

    def _subsampled_and_padded(self, x: Any) -> Any:
        axis = self._channel_axis(x.shape)
        steps = [slice(None)] * len(x.shape)
        for spatial, step in zip(self._spatial_axes(x.shape), as_tuple(self.strides, len(x.shape) - 2), strict=True):
            steps[spatial] = slice(None, None, step)
        amounts = [(0, 0)] * len(x.shape)
        amounts[axis] = (0, self.filters - x.shape[axis])
        return ops.pad(x[tuple(steps)], amounts)

    def _strided_mask(self, mask: Any, strides: Any) -> Any:
        return mask if mask is None else mask[:, :: as_tuple(strides, 1)[0]]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self._strided_mask(self._sequence_mask(inputs, mask), self.strides)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape, _ = self._read(input_shape)
        return self._strided(shape, self.strides, self.filters)

    def _branch_layers(self) -> list:
        return [getattr(self, name) for name in self._branch_names]


class Bottleneck(ShortcutBlock):
    """A branch of three convolutions, 1 - k - 1, the first two `ratio` times narrower."""

    STRIDE_POSITIONS = ("middle", "first")

    def __init__(
        self,
        filters: int,
        kernel_size: Any = None,
        strides: Any = 1,
        shortcut: Any = "projection",
        *,
        ratio: int = 4,
        stride_position: str = "middle",
        zero_init_gamma: bool = False,
        **options: Unpack[SkipOptions],
    ) -> None:
        self.ratio = positive_int(ratio, "ratio")
        self.stride_position = one_of(stride_position, "stride_position", self.STRIDE_POSITIONS)
        super().__init__(filters, kernel_size, strides, shortcut, zero_init_gamma=zero_init_gamma, **options)
        if self.filters % self.ratio:
            raise ValueError(f"Expected filters divisible by ratio. Received: filters={filters}, ratio={ratio}")

    def _plan(self) -> list[tuple[int, Any, Any]]:
        narrow = self.filters // self.ratio
        first, middle = (self.strides, 1) if self.stride_position == "first" else (1, self.strides)
        return [(narrow, 1, first), (narrow, self._kernel(), middle), (self.filters, 1, 1)]
