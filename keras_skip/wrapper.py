"""A skip around any layer.

    y = f(N3(gate(a x, s u))),   u = drop(N2(F(N1(x))))

N1, N2 and N3 are normalisations, of which `norm` chooses some. a scales the skip, and s the update. Without a gate, the
two are added. f is an activation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from ._base.arguments import layer_or_name
from ._base.config import PACKAGE
from ._base.shapes import Shape, Tensor, channel_axis, spatial_axes, stride_shape
from ._base.template import make_layer, template_or_name
from ._base.wrapped import check_earlier
from ._parts.block import BLOCK_ARGUMENTS
from ._parts.chain import Chain, stride_mask
from ._parts.shortcut import SHORTCUTS, Shortcut, ShortcutArgument, probe_strides
from ._parts.update import need_depth
from ._parts.wrapping import WrappingLayer
from .gates import GATES


@keras.saving.register_keras_serializable(PACKAGE)
class Residual(WrappingLayer):
    """A skip around any layer, or around several that run one after the other.

        norm=None        y = x + s drop(F(x))
        norm="pre"       y = x + s drop(F(N(x)))
        norm="post"      y = N(x + s drop(F(x)))
        norm="peri"      y = x + s drop(N(F(N(x))))
        norm="deepnorm"  y = N(a x + s drop(F(x))),      a = L^(1/4); the kernels of F start (4 L)^(-1/4) times as large
        norm="keel"      y = N(a x + s drop(F(N(x)))),   a = L

    F is the layer, s the `branch_scale`, and L the `depth`. With a gate, y = gate(x, s drop(F(N(x)))). An `activation`
    is applied to y.

    Args:
        layer: A layer, or a list of layers that run one after the other. A layer that needs a second input, such as
            `keras.layers.MultiHeadAttention`, gets the `context` of the call, or else its first input again.
        norm: None, "pre", "post", "peri", "deepnorm" or "keel". The last two need `depth`. "deepnorm" does not rescale
            the kernels that make queries and keys, nor those of a layer that is already built. Default None.
        gate: None for a sum, "highway" (`HighwayGate`), "review" (`ReviewGate`), "laurel" (`LaurelGate`), or a layer
            that is called as gate(x, u). Default None.
        shortcut: How the input reaches the sum where F changes the shape: "projection" (1x1 convolution), "pad",
            "identity" (an error where shapes differ), or a layer, which is always used. As in `ResidualBlock`, but the
            projection has no normalisation, and takes its strides from the sizes that F gives. Default "projection".
        activation: Name or function, or a layer that is copied, applied to the sum after its normalisation, as in
            `ResidualBlock`. Default None.
        normalization: "layer", "rms", "batch", "group", or a layer that is copied for each use. Default "layer".
        norm_epsilon: Epsilon of a normalization given by name. Default 1e-6.
        {options}

    Call arguments:
        x: Tensor (B, ..., channels), or (B, channels, ...) with channels_first.
        context: A second input for layers that need one, such as the sequence (B, S, channels) that attention reads.
        earlier: List of earlier activations, for a gate that reads them, such as `LaurelGate("pa")`.
        training: Whether the call is a training step, which drops updates.
        mask, context_mask: Boolean (B, T) and (B, S), for layers that take them. The first is passed on.
        attention_mask: Boolean (B, T, S) or (T, S), for layers that take one.
        use_causal_mask: Whether attention sees no later step, for layers that take it. Default False.

    Output shape:
        (B, ..., channels), the update's.

    Raises:
        ValueError: At construction for arguments out of range; in `build` if update and skip differ in shape; in the
            call for an argument that no layer takes.

    Example:

    >>> import keras
    >>> from keras_skip import Residual
    >>> x = keras.Input((10, 16))
    >>> y = Residual(keras.layers.MultiHeadAttention(2, 8), norm="pre")(x)
    >>> y = Residual([keras.layers.Dense(64, activation="gelu"), keras.layers.Dense(16)], norm="pre")(y)
    >>> y.shape
    (None, 10, 16)

    References:
        He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
        Xiong et al., On Layer Normalization in the Transformer Architecture, 2020, https://arxiv.org/abs/2002.04745
        Kim et al., Peri-LN, 2025, https://arxiv.org/abs/2502.02732
        Wang et al., DeepNet: Scaling Transformers to 1,000 Layers, 2022, https://arxiv.org/abs/2203.00555
        Chen & Wei, Post-LayerNorm Is Back (Keel), 2026, https://arxiv.org/abs/2601.19895
    """

    # The projection reads these from its owner; blocks take them as arguments.
    use_bias = False
    kernel_initializer, bias_initializer = "he_normal", "zeros"
    kernel_regularizer = bias_regularizer = kernel_constraint = bias_constraint = None

    def __init__(
        self,
        layer: keras.layers.Layer | Sequence[keras.layers.Layer],
        norm: str | None = None,
        *,
        gate: str | keras.layers.Layer | None = None,
        shortcut: ShortcutArgument = "projection",
        activation: str | Callable[[Tensor], Tensor] | keras.layers.Layer | None = None,
        normalization: str | keras.layers.Layer | None = "layer",
        norm_epsilon: float = 1e-6,
        **options: Any,
    ) -> None:
        super().__init__(layer, norm, normalization=normalization, norm_epsilon=norm_epsilon, **options)
        self.gate = template_or_name(gate, "gate", (None, *GATES))
        self.shortcut = layer_or_name(shortcut, "shortcut", SHORTCUTS)
        self.activation = BLOCK_ARGUMENTS["activation"].check(activation, "activation")
        self._skip_weight = 1.0
        if self._placement.skip_weight is not None:
            self._skip_weight = self._placement.skip_weight(need_depth(self, "norm"))

    def build(
        self,
        x_shape: Sequence[int | None],
        context_shape: Sequence[int | None] | None = None,
        earlier_shape: Sequence | None = None,
    ) -> None:
        shape, _ = self._enter(x_shape)
        context_shape = None if context_shape is None else tuple(context_shape)
        update_shape = self._build_branch(shape, context_shape)
        filters: Any = update_shape[channel_axis(self.data_format, len(update_shape))]
        self._shortcut = Shortcut(self, shape, filters, self._find_strides(shape, context_shape, update_shape))
        self._shortcut.build(update_shape)
        self._mask_stride = self._find_mask_stride(shape, context_shape, update_shape)
        self.gate_layer = None
        if self.gate is not None:
            gate = make_layer(self, self.gate, GATES, "gate_layer")
            self._add("gate_layer", gate, update_shape, update_shape, earlier_shape)
        self._after = Chain(self, update_shape)
        if self._placement.after:
            self._after.norm("post_norm")
        self._after.activation("activation_after_sum")

    def _find_strides(self, shape: Shape, context_shape: Shape | None, update_shape: Shape) -> tuple[int, ...]:
        """The strides of F, which the skip takes too: found from a size large enough to tell a stride from a border."""
        axes = spatial_axes(self.data_format, len(shape))
        if isinstance(self.shortcut, keras.layers.Layer):
            return (1,) * len(axes)
        return probe_strides(shape, update_shape, axes, lambda probe: self._update_shape(probe, context_shape))

    def _find_mask_stride(self, shape: Shape, context_shape: Shape | None, update_shape: Shape) -> int | None:
        """The stride of the output's mask; None if the output has none."""
        if isinstance(self.shortcut, keras.layers.Layer):
            if len(shape) != 3:
                axes = spatial_axes(self.data_format, len(shape))
                return 1 if all(update_shape[axis] == shape[axis] for axis in axes) else None
            return self._find_stride(shape, context_shape, update_shape, self.layers)
        strides: Any = self._shortcut.strides
        stride: int = max(strides, default=1)
        return stride if stride == 1 or len(shape) == 3 else None

    def call(
        self,
        x: Tensor,
        context: Tensor | None = None,
        earlier: Sequence[Tensor] | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
        x_mask: Tensor | None = None,
        context_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        use_causal_mask: bool = False,
    ) -> Tensor:
        check_earlier(self.gate_layer, earlier)
        masks = (x_mask if mask is None else mask, context_mask, attention_mask)
        return self._run(x, context, earlier or (), training, masks, use_causal_mask)

    def _merge(
        self,
        x: Tensor,
        earlier: Sequence[Tensor],
        training: bool | None,
        mask: Tensor | None,
        update: Callable[..., Tensor],
    ) -> Tensor:
        skip = self._shortcut(x, training, mask)
        skip = skip if self._skip_weight == 1.0 else skip * self._skip_weight
        if self.gate_layer is None:
            y = update(x, skip=skip)
        else:
            y = update(x, zeros=lambda: ops.zeros_like(skip))
            y = self.gate_layer(skip, y, list(earlier)) if earlier else self.gate_layer(skip, y)
        return self._after(y, training, self._output_mask(mask))

    def _output_mask(self, mask: Tensor | None) -> Tensor | None:
        return stride_mask(mask, self._mask_stride)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return self._output_mask(mask) if self.built else mask

    def compute_output_shape(
        self,
        x_shape: Sequence[int | None],
        context_shape: Sequence[int | None] | None = None,
        earlier_shape: Sequence | None = None,
    ) -> Shape:
        shape, context = tuple(x_shape), None if context_shape is None else tuple(context_shape)
        update = self._update_shape(shape, context)
        if isinstance(self.shortcut, keras.layers.Layer):
            return update
        filters: Any = update[channel_axis(self.data_format, len(update))]
        return stride_shape(shape, self._find_strides(shape, context, update), filters, self.data_format)
