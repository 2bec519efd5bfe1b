"""Highway connections: gates decide how much of the update comes in, and how much of the input is carried on.

y = T(x) * drop(H(x)) + C(x) * x        T(x) = sigmoid(W_T x + b_T)
                                        C(x) = sigmoid(W_C x + b_C)     carry="learned"
                                        C(x) = 1 - T(x)                 carry="coupled"
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras import ops

from ._base.arguments import Size, number, one_of, positive_int
from ._base.config import PACKAGE
from ._base.recording import Recorder
from ._base.shapes import Shape, Tensor
from ._parts.block import BLOCK_ARGUMENTS, Block, SkipLayer
from ._parts.branch import BRANCH_ARGUMENTS, BRANCH_OPTIONS_DOC, Branch
from ._parts.chain import Chain
from ._parts.update import prepare_update

Gates = list[tuple["HighwayGates", Tensor, Tensor]]
_GATES = Recorder(
    "gates",
    "Expected a network with highway blocks to be called inside recorded_gates, as model(x). Received: no gates; "
    "predict, evaluate, fit and compiled functions record none.",
)


def recorded_gates() -> AbstractContextManager[Gates]:
    """Collects the gates of all highway blocks that run inside, wherever in a model they are. For inference.

    Call the model itself, as `model(x)`: `predict`, `evaluate`, `fit` and compiled functions record no gates, except on
    torch, where Keras compiles only on request.

    Returns:
        A context whose value is a list, to which each call of a block adds (block, T(x), C(x)); a block that is called
        twice is in it twice.

    Raises:
        ValueError: At the end, if no gates were recorded.

    Example:

    >>> import keras
    >>> from keras_skip import HighwayBlock
    >>> from keras_skip.highway import recorded_gates
    >>> model = keras.Sequential([HighwayBlock(name="first"), HighwayBlock(name="second")])
    >>> with recorded_gates() as gates:
    ...     y = model(keras.ops.ones((2, 16)))
    >>> [block.name for block, transform, carry in gates]
    ['first', 'second']
    """
    return _GATES.open()


class HighwayGates(SkipLayer):
    """A transform gate and a carry gate: convolutions with a sigmoid, or carry = 1 - transform."""

    carry: str
    transform_bias: float
    carry_bias: float

    def _check_gates(self, carry: str, transform_bias: float, carry_bias: float) -> None:
        self.carry = one_of(carry, "carry", ("learned", "coupled"))
        self.transform_bias = number(transform_bias, "transform_bias")
        self.carry_bias = number(carry_bias, "carry_bias")

    def _build_gates(self, shape: Shape, channels: int, kernel_size: Size) -> None:
        self._transform = self._build_gate("transform_gate", shape, channels, kernel_size, self.transform_bias)
        self.carry_gate = None
        if self.carry == "learned":
            self._carry = self._build_gate("carry_gate", shape, channels, kernel_size, self.carry_bias)

    def _build_gate(self, name: str, shape: Shape, channels: int, kernel_size: Size, bias: float) -> Chain:
        gate = Chain(self, shape)
        start = keras.initializers.Constant(bias)
        gate.conv(name, channels, kernel_size, activation="sigmoid", use_bias=True, bias_initializer=start)
        return gate

    def _gates(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        transform = self._transform(x, mask=mask)
        carry = 1.0 - transform if self.carry_gate is None else self._carry(x, mask=mask)
        return transform, carry

    def _recorded_gates(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The gates, which `recorded_gates` collects."""
        transform, carry = self._gates(x, mask)
        _GATES.add((self, transform, carry), transform)
        return transform, carry

    def gates(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The transform gate T(x) and the carry gate C(x), each of the input's shape, with values in (0, 1).

        Args:
            x: An input of the layer.
            mask: For sequences, boolean (B, T).

        Returns:
            The pair (T, C).
        """
        if not keras.backend.is_keras_tensor(x):
            x = ops.convert_to_tensor(x, dtype=self.compute_dtype)
        if not self.built:
            self.build(x.shape)
        return self._gates(*self._mask_input(x, mask))


@keras.saving.register_keras_serializable(PACKAGE)
class HighwayBlock(HighwayGates, Block):
    """Highway layer with a transform gate and, by default, a carry gate of its own.

        y = T(x) * drop(H(x)) + C(x) * x
        H(x) = dropout(activation(norm(W_H x + b_H)))
        T(x) = sigmoid(W_T x + b_T)
        C(x) = sigmoid(W_C x + b_C), or 1 - T(x) with carry="coupled"

    With the default `kernel_size=1` W is a dense map on the channels, for any rank: the classic highway layer on (B,
    C). With 3 the maps are convolutions. The sums go over all channels, so input and output have the same shape.

    Args:
        filters: Output channels. Default: those of the input; any other number is an error, since the input is carried
            on as it is.
        kernel_size: Size of the kernels of H, T and C, one integer or one for each spatial dimension. On (B, C)
            there is none. Default 1.
        carry: "learned" or "coupled". Default "learned".
        transform_bias: Initial b_T. Negative values start the block close to the identity. Default -2.
        carry_bias: Initial b_C of the learned carry gate. Positive values start it open: 0 would halve the signal at
            every layer. Default 2.
        {options}

    `use_bias` is True here by default, `normalization` None and `kernel_size` 1. The gates always have a bias.

    Call arguments, output shape and errors: as in `ResidualBlock`, the output having the input's shape.

    Example:

    >>> import numpy as np
    >>> from keras_skip import HighwayBlock
    >>> block = HighwayBlock()
    >>> x = np.ones((2, 16), "float32")
    >>> block(x).shape == (2, 16)
    True
    >>> transform, carry = block.gates(x)

    References:
        Srivastava et al., Highway Networks, 2015, https://arxiv.org/abs/1505.00387
        Srivastava et al., Training Very Deep Networks, 2015, https://arxiv.org/abs/1507.06228
    """

    ARGUMENTS = BRANCH_ARGUMENTS | BLOCK_ARGUMENTS
    OPTIONS_DOC = BRANCH_OPTIONS_DOC + Block.OPTIONS_DOC

    default_kernel_size = 1

    def __init__(
        self,
        filters: int | None = None,
        kernel_size: Size | None = 1,
        carry: str = "learned",
        transform_bias: float = -2.0,
        carry_bias: float = 2.0,
        *,
        use_bias: bool | Sequence[bool] = True,
        normalization: str | keras.layers.Layer | None = None,
        **options: Any,
    ) -> None:
        super().__init__(kernel_size=kernel_size, use_bias=use_bias, normalization=normalization, **options)
        prepare_update(self)
        self.filters = None if filters is None else positive_int(filters, "filters")
        self._check_biases(1)
        self._check_gates(carry, transform_bias, carry_bias)

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape, channels = self._enter(input_shape)
        if self.filters not in (None, channels):
            raise ValueError(
                f"Expected filters to be the input's channels, {channels}, or None: the input is carried on as it is. "
                f"Received: filters={self.filters}"
            )
        self._channels = channels
        self._branch = Branch(self, shape)
        self._build_gates(shape, channels, self._branch.kernel_size)

    def _build_branch(self, branch: Branch) -> None:
        branch.conv("conv1", self._channels, branch.kernel_size)
        branch.norm("norm1")
        branch.activation("activation1")
        branch.dropout("dropout_layer")

    def _run(self, x: Tensor, training: bool | None, mask: Tensor | None) -> Tensor:
        transform, carry = self._recorded_gates(x, mask)
        return self._branch.merge(x, training, mask, skip=carry * x, gate=transform)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return self._read(input_shape)[0]
