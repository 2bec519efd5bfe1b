"""Anti-aliased down-sampling: a low-pass filter before the strides.

y_t = (x_(st-1) + 2 x_st + x_(st+1)) / 4        in each spatial dimension
"""

import keras
from keras import ops

from ._base.config import PACKAGE
from ._base.shapes import Tensor, as_tuple, spatial_axes
from ._parts.chain import sequence_mask
from ._parts.pool import Pool


@keras.saving.register_keras_serializable(PACKAGE)
class BlurPool(Pool):
    """Blurs with a binomial filter, then keeps every s-th position.

        y_t = (x_(st-1) + 2 x_st + x_(st+1)) / 4        in each spatial dimension, one after the other

    Neighbours beyond the edge are reflected: x_(-1) = x_1. A dimension of size 1 stays as it is. The layer has no
    weights.

    Args:
        strides: s, one integer or one for each spatial dimension. With 1 the layer only blurs. Default 2.
        {options}

    Call arguments:
        x: Tensor (B, T, C), (B, H, W, C) or (B, D, H, W, C), or the same with the channels first.
        mask: For sequences, boolean (B, T). A masked step counts as beyond the edge, and every s-th step of the mask
            is passed on.

    Output shape:
        The input's, every spatial size divided by its stride and rounded up.

    Raises:
        ValueError: At construction for arguments out of range, in `build` for an input without spatial dimensions.

    Example:

    >>> import keras
    >>> from keras_skip import BlurPool
    >>> x = keras.ops.reshape([0.0, 0.0, 4.0, 0.0, 0.0, 8.0], (1, 6, 1))
    >>> y = BlurPool(strides=2)(x)
    >>> keras.ops.convert_to_numpy(y).ravel().tolist()
    [0.0, 2.0, 2.0]

    Reference:
        Zhang, Making Convolutional Networks Shift-Invariant Again, 2019, https://arxiv.org/abs/1904.11486
    """

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = sequence_mask(x, mask, self.data_format)
        if mask is not None:
            return self._blur_masked(x, mask)
        rank = len(x.shape)
        strides = as_tuple(self.strides, rank - 2)
        for axis, step in zip(spatial_axes(self.data_format, rank), strides, strict=True):
            # The second position and the last but one; in a dimension of size 1, each is its only position.
            second = _slice(_slice(x, axis, None, 2), axis, -1)
            last_but_one = _slice(_slice(x, axis, -2), axis, None, 1)
            x = ops.concatenate([second, x, last_but_one], axis=axis)
            x = _blur(_slice(x, axis, None, -2, step), _slice(x, axis, 1, -1, step), _slice(x, axis, 2, None, step))
        return x

    def _blur_masked(self, x: Tensor, mask: Tensor) -> Tensor:
        mask = ops.expand_dims(ops.cast(mask, "bool"), -1)
        wide, real = (ops.pad(each, [(0, 0), (1, 1), (0, 0)]) for each in (x, mask))
        before, after = wide[:, :-2], wide[:, 2:]
        has_before, has_after = real[:, :-2], real[:, 2:]
        left = ops.where(has_before, before, ops.where(has_after, after, x))
        right = ops.where(has_after, after, ops.where(has_before, before, x))
        return _blur(left, x, right)[:, :: as_tuple(self.strides, 1)[0]]


def _blur(before: Tensor, x: Tensor, after: Tensor) -> Tensor:
    return 0.25 * before + 0.5 * x + 0.25 * after


def _slice(x: Tensor, axis: int, start: int | None = None, stop: int | None = None, step: int = 1) -> Tensor:
    return x[(slice(None),) * axis + (slice(start, stop, step),)]
