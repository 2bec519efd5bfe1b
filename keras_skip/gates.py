"""Gates that replace the sum of a skip: layers that merge an input x and its update u.

    y = T(x) u + C(x) x                             HighwayGate
    y = x + sigmoid(W [RMS(x), RMS(u)] + b) u       ReviewGate
    y = a u + b (x + A B x + sum_j c_j A' B' x_j)   LaurelGate; a form has some of these terms

`Residual(layer, gate=...)` takes them by name or as layers. Any layer that is called as `gate(x, u)` is one.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from ._base.arguments import positive_int
from ._base.config import PACKAGE
from ._base.shapes import Shape, Tensor, channel_axis
from ._parts.block import KERNEL_ARGUMENTS, KERNEL_OPTIONS_DOC, SkipLayer
from ._parts.chain import Chain
from .highway import HighwayGates

EPSILON = 1e-6


class Gate(SkipLayer):
    """Merges an input and its update, which have the same shape."""

    ARGUMENTS = KERNEL_ARGUMENTS
    OPTIONS_DOC = KERNEL_OPTIONS_DOC
    use_bias = False

    def compute_output_shape(self, x_shape: Sequence[int | None], *others: Any) -> Shape:
        return tuple(x_shape)

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return mask


@keras.saving.register_keras_serializable(PACKAGE)
class HighwayGate(Gate, HighwayGates):
    """Highway gates: how much of the update comes in, and how much of the input is carried on.

        y = T(x) u + C(x) x
        T(x) = sigmoid(W_T x + b_T)
        C(x) = sigmoid(W_C x + b_C), or 1 - T(x) with carry="coupled"

    `HighwayBlock` is a convolution with this gate.

    Args:
        carry: "learned" or "coupled". Default "learned".
        transform_bias: Initial b_T. A negative value starts the layer close to the identity. Default -2.
        carry_bias: Initial b_C of the learned carry gate. Default 2.
        {options}

    Call arguments:
        x: The input, (B, ..., channels), or (B, channels, ...) with channels_first.
        update: Of the same shape.

    Output shape:
        The input's.

    Raises:
        ValueError: For arguments out of range.

    Example:

    >>> import keras
    >>> from keras_skip import HighwayGate, Residual
    >>> x = keras.ops.ones((2, 16))
    >>> layer = Residual(keras.layers.Dense(16, activation="relu"), gate=HighwayGate(carry="coupled"))
    >>> transform, carry = (layer(x), layer.gate_layer.gates(x))[1]
    >>> total = keras.ops.convert_to_numpy(transform + carry)
    >>> round(float(total[0, 0]), 4)
    1.0

    Reference:
        Srivastava et al., Training Very Deep Networks, 2015, https://arxiv.org/abs/1507.06228
    """

    def __init__(
        self, carry: str = "learned", transform_bias: float = -2.0, carry_bias: float = 2.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self._check_gates(carry, transform_bias, carry_bias)

    def build(self, x_shape: Sequence[int | None], update_shape: Sequence[int | None] | None = None) -> None:
        shape, channels = self._read(x_shape)
        self._build_gates(shape, channels, 1)

    def call(self, x: Tensor, update: Tensor) -> Tensor:
        transform, carry = self._recorded_gates(x)
        return transform * update + carry * x


@keras.saving.register_keras_serializable(PACKAGE)
class ReviewGate(Gate):
    """A gate that reads both the input and the update, and scales the update before it is added.

        y = x + r u,   r = sigmoid(W [RMS(x), RMS(u)] + b),   RMS(z) = z / sqrt(mean(z^2) + 1e-6)

    The input is carried on unchanged, so it does not shrink with depth, as it does with gates that add up to 1. The
    mean is over the channels.

    Args:
        {options}

    Call arguments, output shape and errors: as in `HighwayGate`.

    Example:

    >>> import keras
    >>> from keras_skip import ReviewGate
    >>> gate = ReviewGate(kernel_initializer="zeros")
    >>> y = keras.ops.convert_to_numpy(gate(keras.ops.ones((1, 4)), keras.ops.ones((1, 4))))
    >>> float(y[0, 0])  # 1 + sigmoid(0)
    1.5

    Reference:
        https://arxiv.org/abs/2606.31859
    """

    def build(self, x_shape: Sequence[int | None], update_shape: Sequence[int | None] | None = None) -> None:
        shape, channels = self._read(x_shape)
        axis = channel_axis(self.data_format, len(shape))
        self._review = Chain(self, tuple(2 * channels if i == axis else size for i, size in enumerate(shape)))
        self._review.conv("review_gate", channels, activation="sigmoid", use_bias=True)

    def call(self, x: Tensor, update: Tensor) -> Tensor:
        axis = channel_axis(self.data_format, len(x.shape))
        both = ops.concatenate([_divide_by_rms(x, axis), _divide_by_rms(update, axis)], axis=axis)
        return x + self._review(both) * update


def _divide_by_rms(x: Tensor, axis: int) -> Tensor:
    wide = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
    return ops.cast(wide * ops.rsqrt(ops.mean(ops.square(wide), axis=axis, keepdims=True) + EPSILON), x.dtype)


PARTS = ("rw", "lr", "pa")


def _form(value: Any, argument: str) -> str:
    parts = value.split("+") if isinstance(value, str) else [None]
    if not set(parts) <= set(PARTS) or len(set(parts)) < len(parts):
        raise ValueError(
            f"Expected {argument} to be 'rw', 'lr', 'pa' or several of them, such as 'rw+lr'. "
            f"Received: {argument}={value!r}"
        )
    return value


@keras.saving.register_keras_serializable(PACKAGE)
class LaurelGate(Gate):
    """Learned augmented residual: weights of the update and the input, and low-rank maps of this and earlier inputs.

        y = a u + b (x + A B x + sum_j c_j A' B' x_j)

        "rw"   a, b = softmax of two learned numbers, 1/2 each at the start; otherwise a = b = 1
        "lr"   A B x, of rank `rank`; A is 0 at the start
        "pa"   A' B' of the sum over earlier activations x_j, of rank `rank`; c_j = 1 and A' = 0 at the start.
               `Residual` takes the x_j as `earlier=`

    Args:
        form: "rw", "lr" or "pa", or several, such as "rw+lr". Default "rw".
        rank: Rank of each low-rank map. Default 8.
        {options}

    Call arguments:
        x: The input, (B, ..., channels), or (B, channels, ...) with channels_first.
        update: Of the same shape.
        earlier: For "pa", a list of earlier activations of the same shape.

    Output shape:
        The input's.

    Raises:
        ValueError: For arguments out of range; at the first call, if a form with "pa" gets no earlier activations, or
            another form gets some.

    Example:

    >>> import keras
    >>> from keras_skip import LaurelGate
    >>> x, u = keras.ops.ones((1, 16)), 3 * keras.ops.ones((1, 16))
    >>> for gate in (LaurelGate("rw"), LaurelGate("lr", rank=4)):
    ...     print(keras.ops.convert_to_numpy(gate(x, u))[0, 0])
    2.0
    4.0

    Reference:
        Menghani et al., LAuReL: Learned Augmented Residual Layer, 2025, https://arxiv.org/abs/2411.07501
    """

    def __init__(self, form: str = "rw", rank: int = 8, **options: Any) -> None:
        super().__init__(**options)
        self.form = _form(form, "form")
        self.rank = positive_int(rank, "rank")

    def _has(self, part: str) -> bool:
        return part in self.form.split("+")

    def build(
        self,
        x_shape: Sequence[int | None],
        update_shape: Sequence[int | None] | None = None,
        earlier_shape: Sequence | None = None,
    ) -> None:
        shape, channels = self._read(x_shape)
        if self._has("pa") != bool(earlier_shape):
            raise ValueError(
                "Expected earlier activations for a form with 'pa', and for no other. "
                f"Received: form={self.form!r}, and {len(earlier_shape or ())} earlier activations"
            )
        if self._has("rw"):
            self.weigh = self.add_weight(shape=(2,), initializer="zeros", name="weigh")
        if self._has("lr"):
            self._low_rank = self._build_low_rank(shape, channels, "low_rank")
        if earlier_shape:
            self._earlier = self._build_low_rank(shape, channels, "earlier")
            self.earlier_scale = self.add_weight(shape=(len(earlier_shape),), initializer="ones", name="earlier_scale")

    def _build_low_rank(self, shape: Shape, channels: int, name: str) -> Chain:
        chain = Chain(self, shape)
        chain.conv(f"{name}_down", self.rank)
        chain.conv(f"{name}_up", channels, kernel_initializer="zeros")
        return chain

    def call(self, x: Tensor, update: Tensor, earlier: Sequence[Tensor] | None = None) -> Tensor:
        carried = x
        if self._has("lr"):
            carried = carried + self._low_rank(x)
        if self._has("pa"):
            carried = carried + self._earlier(sum(self.earlier_scale[j] * each for j, each in enumerate(earlier or ())))
        if not self._has("rw"):
            return update + carried
        weights = ops.softmax(self.weigh)
        return weights[0] * update + weights[1] * carried


GATES = {"highway": HighwayGate, "review": ReviewGate, "laurel": LaurelGate}
