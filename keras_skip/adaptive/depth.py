"""Layers that learn which earlier layers the next one reads.

    y_l = sum_j alpha_lj x_j                      DepthAverage, over the states: x_j is the output of block j
    h_l = sum_i softmax_i(w_l . RMS(v_i)) v_i     DepthAttention, over the updates: v_i is what block i adds

Both take the list of all values so far; the first is the input of the stack. They add the scaled values one by one,
since each layer would otherwise stack copies of all values, and memory would grow with the square of the depth.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import keras
from keras import ops

from .._base.arguments import one_of, positive_int
from .._base.config import PACKAGE
from .._base.shapes import Shape, Tensor, channel_axis
from .._parts.block import BLOCK_ARGUMENTS, SkipLayer
from ..gates import EPSILON
from .recording import SKIPS

REDUCTIONS = ("sum", "mean")


class DepthLayer(SkipLayer):
    """A layer that merges a list of tensors of one shape. It passes on the first of their masks."""

    def _read_list(self, shapes: Any) -> tuple[int, Shape]:
        """The number of tensors in the list, and their shape; from here on the layer expects such lists."""
        shape = _common_shape(shapes)
        self.input_spec = [keras.layers.InputSpec(ndim=len(shape)) for _ in shapes]
        return len(shapes), shape

    def compute_output_shape(self, input_shape: Sequence) -> Shape:
        return _common_shape(input_shape)

    def compute_mask(self, inputs: Sequence[Tensor], mask: Sequence[Tensor | None] | None = None) -> Tensor | None:
        return next((each for each in keras.tree.flatten(mask) if each is not None), None)


def _common_shape(shapes: Any) -> Shape:
    is_list = isinstance(shapes, (list, tuple)) and all(isinstance(shape, (list, tuple)) for shape in shapes)
    if is_list and shapes and len({len(shape) for shape in shapes}) == 1:
        sizes = [{size for size in axis if size is not None} for axis in zip(*shapes, strict=True)]
        if all(len(known) <= 1 for known in sizes):
            return tuple(next(iter(known), None) for known in sizes)
    what = f"tensors of shapes {[tuple(shape) for shape in shapes]}" if is_list else f"one of shape {shapes}"
    raise ValueError(f"Expected a list of tensors of one shape. Received: {what}")


@keras.saving.register_keras_serializable(PACKAGE)
class DepthAverage(DepthLayer):
    """A learned weighted sum of the outputs of all blocks so far, which the next block reads.

        y_l = sum_j alpha_lj x_j,   j = l, l - d, l - 2 d, ...,   alpha_ll = 1 and the others 0 at the start

    x_0 is the input of the stack, x_j the output of block j, and d the dilation. The call gets l + 1 states, so the
    layer knows l from their number. If the period does not divide l, then y_l = x_l, and the layer has no weights.

    The attribute `sources` of a built layer lists the indices j that it reads, in the order of its weights `alpha`.

    Args:
        dilation: d: the layer reads only every d-th state, counted back from the last. Default 1.
        period: Average only after every `period`-th block. Default 1.
        kept: The indices of the states in the call, if some were removed, as by `prune_skips`. The layer then reads all
            that it gets, whatever the dilation and the period. Default None: the call lists all states.
        **kwargs: `name`, `dtype`, `trainable`, as in every Keras layer.

    Call arguments:
        states: The list [x_0, ..., x_l] of tensors of one shape, the batch first. With `kept`, only those states. The
            first mask is passed on.

    Output shape:
        That of one state.

    Raises:
        ValueError: For arguments out of range; in `build`, for anything but a list of tensors of one shape, or with
            `kept` for a list of another length.

    Example:

    >>> import keras
    >>> from keras_skip import DepthAverage, Residual
    >>> x = keras.Input((16,))
    >>> states, y = [x], x
    >>> for _ in range(3):
    ...     states.append(Residual(keras.layers.Dense(16, activation="relu"), norm="pre")(y))
    ...     average = DepthAverage(dilation=2)
    ...     y = average(states)
    >>> average.sources
    (1, 3)

    Reference:
        Pagliardini et al., DenseFormer, 2024, https://arxiv.org/abs/2402.02622
    """

    def __init__(self, dilation: int = 1, period: int = 1, *, kept: Sequence[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dilation = positive_int(dilation, "dilation")
        self.period = positive_int(period, "period")
        self.kept = None if kept is None else _indices(kept, "kept")

    def build(self, input_shape: Sequence) -> None:
        count, _ = self._read_list(input_shape)
        last = count - 1
        self.sources: tuple[int, ...]
        if self.kept is not None:
            self.sources = self.kept
            if count != len(self.kept):
                raise ValueError(f"Expected as many states as are kept. Received: kept={self.kept}, and {count} states")
        elif last % self.period:
            self.sources = (last,)
        else:
            self.sources = tuple(range(last % self.dilation, count, self.dilation))
        self.alpha: Any = None
        if self.kept is not None or last % self.period == 0:
            size = len(self.sources)
            self.alpha = self.add_weight(
                shape=(size,), initializer=lambda shape, dtype: ops.one_hot(size - 1, size, dtype=dtype), name="alpha"
            )

    def call(self, states: Sequence[Tensor]) -> Tensor:
        states = keras.tree.flatten(states)
        if self.alpha is None:
            return states[-1]
        alpha = ops.convert_to_tensor(self.alpha)
        SKIPS.add((self, {"weights": alpha}), alpha)
        read = states if self.kept is not None else [states[j] for j in self.sources]
        return reduce(add, (alpha[i] * x for i, x in enumerate(read)))


def _indices(value: Any, argument: str) -> tuple[int, ...]:
    is_list = isinstance(value, (list, tuple)) and all(hasattr(j, "__index__") and j >= 0 for j in value)
    if not is_list or not value or sorted(set(value)) != list(value):
        raise ValueError(
            f"Expected {argument} to be None or a list of increasing indices. Received: {argument}={value!r}"
        )
    return tuple(int(j) for j in value)


@keras.saving.register_keras_serializable(PACKAGE)
class DepthAttention(DepthLayer):
    """Attention over the updates of all earlier layers: each position chooses those that the next layer reads.

        h = n sum_i softmax_i(w . RMS(v_i)) v_i        reduction="sum"
        h =   sum_i softmax_i(w . RMS(v_i)) v_i        reduction="mean", the paper's

    v_0 is the input of the stack, v_i the output F_i(h_i) of layer i (not its sum with the input), n the number of
    values, and w a learned vector that starts at 0. RMS(v) = v / sqrt(mean(v^2) + 1e-6) over the channels has no
    learned scale, since w would absorb it. With w = 0, "sum" gives v_0 + v_1 + ..., so a stack starts as a residual
    network. With one value the output is that value, and the layer has no weights.

    The attribute `sources` of a built layer lists the indices of the values in each block.

    Args:
        block_size: The layer adds up v_1, v_2, ... in blocks of this size and attends to the sums, so n is the number
            of blocks. The last block may be smaller, and v_0 is a block of its own. Default 1.
        reduction: "sum" or "mean". Default "sum".
        data_format: "channels_last" or "channels_first". Default: `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype`, `trainable`, as in every Keras layer.

    Call arguments:
        values: The list [v_0, v_1, ...] of tensors of one shape, (B, ..., channels), or (B, channels, ...) with
            channels_first. The first mask is passed on.

    Output shape:
        That of one value.

    Raises:
        ValueError: For arguments out of range; in `build`, for anything but a list of tensors of one shape, and for an
            unknown number of channels.

    Example:

    >>> import keras
    >>> from keras_skip import DepthAttention
    >>> values, h = [keras.ops.ones((1, 8))], None
    >>> for _ in range(2):
    ...     h = DepthAttention()(values)
    ...     values.append(keras.layers.Dense(8, kernel_initializer="ones")(h))
    >>> print(keras.ops.convert_to_numpy(DepthAttention()(values))[0, 0])  # 1 + 8 + 8 (1 + 8)
    81.0

    Reference:
        Kimi Team, Attention Residuals, 2026, https://arxiv.org/abs/2603.15031
    """

    ARGUMENTS = {"data_format": BLOCK_ARGUMENTS["data_format"]}

    def __init__(self, block_size: int = 1, reduction: str = "sum", **options: Any) -> None:
        super().__init__(**options)
        self.block_size = positive_int(block_size, "block_size")
        self.reduction = one_of(reduction, "reduction", REDUCTIONS)

    def build(self, input_shape: Sequence) -> None:
        count, shape = self._read_list(input_shape)
        _, channels = self._read(shape)
        starts = range(1, count, self.block_size)
        self.sources = ((0,), *(tuple(range(start, min(start + self.block_size, count))) for start in starts))
        self.query = None
        if count > 1:
            # In float32 under mixed precision too, like the logits.
            self.query = self.add_weight(shape=(channels,), initializer="zeros", autocast=False, name="query")

    def call(self, values: Sequence[Tensor]) -> Tensor:
        values = keras.tree.flatten(values)
        if self.query is None:
            return values[0]
        blocks = [reduce(add, (values[i] for i in block)) for block in self.sources]
        axis = channel_axis(self.data_format, len(values[0].shape))
        logits = ops.concatenate([self._logit(v, axis) for v in blocks], axis=axis)
        gain = len(blocks) if self.reduction == "sum" else 1
        weights = gain * ops.softmax(logits, axis=axis)
        SKIPS.add((self, {"weights": weights}), weights)
        each = ops.split(ops.cast(weights, self.compute_dtype), len(blocks), axis=axis)
        return reduce(add, (weight * v for weight, v in zip(each, blocks, strict=True)))

    def _logit(self, v: Tensor, axis: int) -> Tensor:
        """w . RMS(v), with one channel."""
        wide = ops.cast(v, keras.backend.result_type(v.dtype, "float32"))
        query = ops.reshape(ops.cast(self.query, wide.dtype), (-1,) + (1,) * (len(v.shape) - 1 - axis))
        square = ops.mean(ops.square(wide), axis=axis, keepdims=True)
        return ops.sum(query * wide, axis=axis, keepdims=True) * ops.rsqrt(square + EPSILON)
