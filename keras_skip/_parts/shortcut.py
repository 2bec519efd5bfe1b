"""How the input reaches the sum.

    identity      x                                   where the shapes match
    projection    a 1x1 convolution of x              option B of the residual paper
    pad           x, subsampled, with zero channels   option A, no parameters
    a layer       layer(x)                            always used

A pool or a blur before the projection or the subsampling can take its strides.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import keras
from keras import ops

from .._base.arguments import Size
from .._base.shapes import Shape, Tensor, as_tuple, channel_axis, output_shape, spatial_axes
from ..blur_pool import BlurPool
from .chain import Chain, apply, apply_mask
from .pool import AveragePool, Pool

if TYPE_CHECKING:
    from .block import SkipLayer

SHORTCUTS = ("projection", "pad", "identity")
POOLS: dict[str, type[Pool]] = {"pool": AveragePool, "blur": BlurPool}
PROBE = 64
ShortcutArgument: TypeAlias = str | keras.layers.Layer


class Shortcut:
    """The shortcut of a layer that has the argument `shortcut`, for an update of `filters` channels.

    Its sub-layers are attributes of the owner: `projection`, `projection_norm` and `shortcut_pool`.
    """

    def __init__(self, owner: "SkipLayer", shape: Shape, filters: int, strides: Size) -> None:
        self._owner, self._shape, self._filters = owner, shape, filters
        self.strides = self._strides_left = strides
        self.kind = self._choose()

    def build(self, update_shape: Shape, *, downsample: str = "stride", is_normalized: bool = False) -> None:
        """Builds its sub-layers, and checks that its output has the shape of the update."""
        owner = self._owner
        owner.projection = owner.projection_norm = None
        self._chain = Chain(owner, self._shape)
        if self.kind in ("projection", "pad") and downsample != "stride":
            self._take_strides(downsample)
        if self.kind == "projection":
            self._chain.conv("projection", self._filters, 1, self._strides_left)
            if is_normalized:
                self._chain.norm("projection_norm")
        elif self.kind == "layer":
            self._build_layer(update_shape)

    def _choose(self) -> Literal["layer", "identity", "projection", "pad"]:
        owner, shape, filters, strides = self._owner, self._shape, self._filters, self.strides
        if isinstance(owner.shortcut, keras.layers.Layer):
            return "layer"
        channels: Any = shape[channel_axis(owner.data_format, len(shape))]
        if channels == filters and set(as_tuple(strides, len(shape) - 2)) <= {1}:
            return "identity"
        received = f"Received: filters={filters}, strides={strides}, input_shape={shape}"
        if owner.shortcut == "identity":
            raise ValueError(f"Expected filters equal to channels and strides=1 for shortcut='identity'. {received}")
        if owner.shortcut == "pad" and channels > filters:
            raise ValueError(f"Expected filters of at least the channels for shortcut='pad'. {received}")
        return owner.shortcut

    def _take_strides(self, downsample: str) -> None:
        """Adds a pool that takes the strides in place of the projection or the subsampling."""
        if max(as_tuple(self.strides, len(self._shape) - 2), default=1) > 1:
            own = self._owner._sub_layer("shortcut_pool")
            pool = POOLS[downsample](self.strides, data_format=self._owner.data_format, **own)
            self._chain.add("shortcut_pool", pool, self.strides)
            self._strides_left = 1

    def _build_layer(self, update_shape: Shape) -> None:
        layer = self._owner.shortcut
        self._owner._build_inside(layer, self._shape)
        given = output_shape(layer, self._shape)
        pairs = list(zip(given, update_shape, strict=False))
        if len(given) != len(update_shape) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(
                f"Expected a shortcut layer whose output has the branch's shape {update_shape}. "
                f"Received: {layer.name} with output shape {given}"
            )

    def __call__(self, x: Tensor, training: bool | None, mask: Tensor | None) -> Tensor:
        if self.kind == "layer":
            # Earlier layers may have shifted the zeros in the padding, and its kernel may see them.
            y = apply(self._owner.shortcut, apply_mask(x, mask), training, mask)
            return ops.cast(y, self._owner.compute_dtype)
        if self.kind == "projection":
            return self._chain(x, training, mask)
        if self.kind == "pad":
            return self._subsample_and_pad(self._chain(x, training, mask))
        return x

    def _subsample_and_pad(self, x: Tensor) -> Tensor:
        rank = len(x.shape)
        data_format = self._owner.data_format
        axis = channel_axis(data_format, rank)
        steps = [slice(None)] * rank
        strides = as_tuple(self._strides_left, rank - 2)
        for spatial_axis, step in zip(spatial_axes(data_format, rank), strides, strict=True):
            steps[spatial_axis] = slice(None, None, step)
        amounts = [(0, 0)] * rank
        amounts[axis] = (0, self._filters - x.shape[axis])
        return ops.pad(x[tuple(steps)], amounts)


def probe_strides(shape: Shape, given: Shape, axes: Sequence[int], update: Callable[[Shape], Shape]) -> tuple[int, ...]:
    """The strides by which `update`, which gives `given` for `shape`, makes the sizes along the axes smaller."""
    strides: tuple[int, ...] = ()
    if len(given) == len(shape) and all(shape[axis] is not None and given[axis] == shape[axis] for axis in axes):
        return (1,) * len(axes)
    for size in (PROBE, PROBE**2):
        probe = tuple(size if axis in axes else known for axis, known in enumerate(shape))
        try:
            probed = update(probe)
        except Exception:  # of a layer of any kind, such as a table of positions that is shorter than the probe
            if strides:
                break
            probe, probed = shape, given
        found = _find_strides(probe, probed, axes)
        if found is None:
            raise ValueError(
                "Expected a layer that keeps the input's sizes or divides them by strides, or a layer as shortcut. "
                f"Received: an update of shape {given} for an input of shape {shape}"
            )
        strides = found
        if max(strides, default=1) ** 2 < size:  # from the root on, two strides can give one size
            break
    return strides


def _find_strides(shape: Shape, update_shape: Shape, axes: Sequence[int]) -> tuple[int, ...] | None:
    """The strides by which an update is smaller than the input, or None if there are none."""
    if len(update_shape) != len(shape):
        return None
    strides = [_find_stride(shape[axis], update_shape[axis]) for axis in axes]
    known = [stride for stride in strides if stride is not None]
    return tuple(known) if len(known) == len(strides) else None


def _find_stride(size: int | None, given: int | None) -> int | None:
    """The stride that makes one size of another. A size that both leave open counts as kept."""
    if size is None or given is None:
        return 1 if size is given else None
    stride = -(-size // (given or 1))
    return stride if -(-size // stride) == given else None
