"""Gated residual network: a gated linear unit decides how much a small network adds to its input.

y = N(skip(x) + GLU(drop(W_1 a(W_2 x + W_3 c + b_2) + b_1)))
GLU(g) = sigmoid(W_4 g + b_4) * (W_5 g + b_5)
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from ._base.arguments import Argument, positive_int
from ._base.config import PACKAGE
from ._base.shapes import Shape, Tensor, channel_axis, spatial_axes
from ._parts.block import BLOCK_ARGUMENTS, KERNEL_ARGUMENTS, KERNEL_OPTIONS_DOC, SkipLayer, activation_function
from ._parts.chain import Chain, sequence_mask


@keras.saving.register_keras_serializable(PACKAGE)
class GatedResidualNetwork(SkipLayer):
    """Gated residual network of temporal fusion transformers, with an optional context.

        y = N(skip(x) + GLU(dropout(W_1 activation(W_2 x + W_3 c + b_2) + b_1)))
        GLU(g) = sigmoid(W_4 g + b_4) * (W_5 g + b_5)

    The W are dense maps of the channels, at each position of an input of any rank. Where the gate is closed, the output
    is the normalised skip, so the layer need not be more complex than the data. skip(x) is x, or a dense map of x if
    input and output differ in channels. c is the context of the call; without one there is no W_3.

    Args:
        units: Size of the hidden layers W_1 and W_2.
        output_units: Output channels. Default: `units`.
        activation: Name or function. Default "elu".
        dropout: Drop rate in [0, 1), before the gated linear unit. Default 0.
        normalization: "layer", "rms", "batch", "group", None, or a layer that is copied. Default "layer".
        norm_momentum, norm_epsilon: Momentum of the moving statistics of "batch", and epsilon of a normalization given
            by name. Defaults 0.99 and 1e-6.
        seed: Integer seed of the dropout. Default None.
        {options}

    Call arguments:
        x: Tensor (B, ..., channels), or (B, channels, ...) with channels_first.
        context: A tensor (B, context channels) for all positions, or a tensor of the rank of x, with its sizes or 1.
            Default None.
        training: Whether to apply dropout.
        mask: For sequences, boolean (B, T). It is passed on.

    Output shape:
        (B, ..., output_units), or (B, output_units, ...) with channels_first.

    Raises:
        ValueError: For arguments out of range; in `build`, for an input of the wrong rank or with an unknown number of
            channels, and for a context that does not fit the input; in the call, unless the context has the channels,
            or is missing, as when the layer was built.

    Example:

    >>> import keras
    >>> from keras_skip import GatedResidualNetwork
    >>> x, static = keras.Input((None, 16)), keras.Input((4,))
    >>> GatedResidualNetwork(16, dropout=0.1)(x, static).shape
    (None, None, 16)
    >>> GatedResidualNetwork(32, output_units=8)(static).shape
    (None, 8)

    Reference:
        Lim et al., Temporal Fusion Transformers, 2019, https://arxiv.org/abs/1912.09363
    """

    ARGUMENTS = KERNEL_ARGUMENTS | {
        "activation": Argument("elu", activation_function),
        **{
            name: BLOCK_ARGUMENTS[name]
            for name in ("dropout", "normalization", "norm_momentum", "norm_epsilon", "seed")
        },
    }
    OPTIONS_DOC = KERNEL_OPTIONS_DOC
    use_bias, spatial_dropout = True, False

    def __init__(
        self,
        units: int,
        output_units: int | None = None,
        activation: str | Callable[[Tensor], Tensor] | None = "elu",
        *,
        normalization: str | keras.layers.Layer | None = "layer",
        norm_epsilon: float = 1e-6,
        **options: Any,
    ) -> None:
        super().__init__(activation=activation, normalization=normalization, norm_epsilon=norm_epsilon, **options)
        self.units = positive_int(units, "units")
        self.output_units = None if output_units is None else positive_int(output_units, "output_units")

    @property
    def _filters(self) -> int:
        return self.output_units or self.units

    def build(self, x_shape: Sequence[int | None], context_shape: Sequence[int | None] | None = None) -> None:
        shape, channels = self._enter(x_shape)
        self._hidden = Chain(self, shape)
        self._hidden.conv("hidden_dense", self.units)
        self.context_dense = None
        self._context_channels: int | None = None
        if context_shape is not None:
            self._context = self._build_context(shape, tuple(context_shape))
        self._update = Chain(self, self._hidden.shape)
        self._update.conv("update_dense", self.units)
        self._update.dropout("dropout_layer")
        # W_5 and W_4 side by side.
        self._update.conv("glu_dense", 2 * self._filters)
        self._skip = Chain(self, shape)
        self.projection = None
        if channels != self._filters:
            self._skip.conv("projection", self._filters)
        self._norm = Chain(self, self.compute_output_shape(shape))
        self._norm.norm("norm")

    def _build_context(self, shape: Shape, context_shape: Shape) -> Chain:
        rank = len(context_shape)
        axes = spatial_axes(self.data_format, rank)
        fits = rank == 2 or (
            rank == len(shape) and all(shape[i] is None or context_shape[i] in (None, 1, shape[i]) for i in axes)
        )
        if not fits or context_shape[channel_axis(self.data_format, rank)] is None:
            raise ValueError(
                "Expected a context of shape (B, C), or of the rank of the input and its sizes or 1, with the channels "
                f"C defined. Received: context_shape={context_shape}, input_shape={shape}"
            )
        self._context_channels = context_shape[channel_axis(self.data_format, rank)]
        context = Chain(self, context_shape)
        context.conv("context_dense", self.units, use_bias=False)
        return context

    def call(
        self,
        x: Tensor,
        context: Tensor | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
        x_mask: Tensor | None = None,
    ) -> Tensor:
        self._check_context(context)
        x, mask = self._mask_input(x, x_mask if mask is None else mask)
        hidden = self._hidden(x, mask=mask)
        if context is not None:
            hidden = hidden + self._map_context(context, x)
        update = self._update(self.activation(hidden), training, mask)
        update = ops.glu(update, axis=channel_axis(self.data_format, len(x.shape)))
        return self._norm(self._skip(x, mask=mask) + update, training, mask)

    def _check_context(self, context: Tensor | None) -> None:
        channels = None if context is None else context.shape[channel_axis(self.data_format, len(context.shape))]
        if self.built and channels != self._context_channels:
            expected, received = (
                "no context" if each is None else f"a context with {each} channels"
                for each in (self._context_channels, channels)
            )
            raise ValueError(f"Expected {expected}, as the layer was built with. Received: {received}")

    def _map_context(self, context: Tensor, x: Tensor) -> Tensor:
        context = self._context(context)
        if len(context.shape) < len(x.shape):
            context = ops.expand_dims(context, tuple(spatial_axes(self.data_format, len(x.shape))))
        return context

    def compute_output_spec(self, x: Tensor, context: Tensor | None = None, *others: Any, **options: Any) -> Any:
        self._check_context(context)  # a symbolic call runs nothing else
        return super().compute_output_spec(x, context, *others, **options)

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return sequence_mask(x, mask, self.data_format)

    def compute_output_shape(self, x_shape: Sequence[int | None], context_shape: Any = None) -> Shape:
        shape, _ = self._read(x_shape)
        axis = channel_axis(self.data_format, len(shape))
        return tuple(self._filters if i == axis else size for i, size in enumerate(shape))
