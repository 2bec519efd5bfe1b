"""The base of layers around other layers. It computes their update u, and a subclass merges u with its input.

    u = drop(s N2(F(N1(x))))

F is the layer, or several that run one after the other, and s the branch scale. N1 and N2 are normalisations; `norm`
says which of them there are.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
from keras import ops

from .._base.arguments import one_of
from .._base.config import ConfiguredLayer, freeze
from .._base.shapes import Shape, Tensor, output_shape, spatial_axes
from .._base.wrapped import call_layer, check_taken, input_shapes, is_described, layer_or_layers, spread, takes
from .block import BLOCK_ARGUMENTS, SkipLayer
from .chain import Chain, stride_mask
from .placement import PLACEMENTS, Placement, scale_kernels
from .recompute import recompute
from .shortcut import probe_strides
from .survival import drop
from .update import UPDATE_ARGUMENTS, UPDATE_OPTIONS_DOC, end_branch, fixed_gain, prepare_update


class WrappingLayer(SkipLayer):
    """The base of layers around other layers. A subclass has `build`, `_merge`, and a `call` that ends in `_run`."""

    ARGUMENTS = UPDATE_ARGUMENTS | {
        name: BLOCK_ARGUMENTS[name] for name in ("normalization", "norm_momentum", "norm_epsilon", "data_format")
    }
    OPTIONS_DOC = (
        """
    norm_momentum: Momentum of the moving statistics of "batch". Default 0.99."""
        + UPDATE_OPTIONS_DOC
        + """
    data_format: "channels_last" or "channels_first". Default: `keras.config.image_data_format()`.
    seed: Integer seed of the draws in training. Default None.
    **kwargs: `name`, `dtype`, `trainable`, `activity_regularizer`, as in every Keras layer.
    """
    )
    NORMS: Sequence[str | None] = tuple(PLACEMENTS)

    def __init__(
        self,
        layer: keras.layers.Layer | Sequence[keras.layers.Layer],
        norm: str | None = None,
        *,
        normalization: str | keras.layers.Layer | None = "layer",
        norm_epsilon: float = 1e-6,
        **options: Any,
    ) -> None:
        super().__init__(normalization=normalization, norm_epsilon=norm_epsilon, **options)
        prepare_update(self)
        self.layer = layer_or_layers(layer, "layer")
        self._is_described = is_described(layer)
        self.norm = one_of(norm, "norm", list(self.NORMS))
        if norm is not None and self.normalization is None:
            raise ValueError(f"Expected a normalization for norm={norm!r}. Received: normalization=None")

    @property
    def _placement(self) -> Placement:
        return PLACEMENTS[self.norm]

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The layers that the skip goes around."""
        return list(self.layer) if isinstance(self.layer, (list, tuple)) else [self.layer]

    def _build_branch(self, shape: Shape, context_shape: Shape | None) -> Shape:
        """Builds the layers that compute the update of an input of `shape`, and returns the update's shape."""
        self._before, update_shape = Chain(self, shape), shape
        if self._placement.before:
            self._before.norm("pre_norm")
        mask_strides: list[int | None] = []
        for index, layer in enumerate(self.layers):
            is_masked = any(takes(layer, name) for name in ("mask", "query_mask", "value_mask"))
            before = self.layers[:index] if is_masked else []
            mask_strides.append(self._find_stride(shape, context_shape, update_shape, before) if before else 1)
            update_shape = self._build_layer(layer, update_shape, context_shape)
        self._mask_strides = tuple(mask_strides)  # from the input's mask to that of each layer
        self._end = Chain(self, update_shape)
        if self._placement.update:
            self._end.norm("update_norm")
        end_branch(self, self._end)
        return update_shape

    def _build_layer(self, layer: keras.layers.Layer, shape: Shape, context_shape: Shape | None) -> Shape:
        shapes = input_shapes(layer, shape, context_shape)
        is_new = self._is_described or not layer.built
        self._build_inside(layer, *shapes)
        if is_new and not layer.trainable and not isinstance(layer, (keras.Model, ConfiguredLayer)):
            freeze(layer)
        if is_new and self._placement.initial_gain is not None:
            scale_kernels(layer, self._placement.initial_gain(self.depth))
        return output_shape(layer, *shapes)

    def _update_shape(
        self, shape: Shape, context_shape: Shape | None, layers: Sequence[keras.layers.Layer] | None = None
    ) -> Shape:
        for layer in self.layers if layers is None else layers:
            shape = output_shape(layer, *input_shapes(layer, shape, context_shape))
        return shape

    def _find_stride(
        self, shape: Shape, context_shape: Shape | None, given: Shape, layers: Sequence[keras.layers.Layer]
    ) -> int | None:
        """The stride of the first layers along a sequence, for its mask; None if they change its length otherwise."""
        if len(shape) != 3:
            return 1
        axes = spatial_axes(self.data_format, 3)
        try:
            return probe_strides(shape, given, axes, lambda probe: self._update_shape(probe, context_shape, layers))[0]
        except ValueError:
            return None

    def _run(
        self,
        x: Tensor,
        context: Tensor | None,
        earlier: Sequence[Tensor],
        training: bool | None,
        masks: Sequence[Tensor | None],
        use_causal_mask: bool,
    ) -> Tensor:
        mask, context_mask, attention_mask = masks
        check_taken(self.layers, context, attention_mask, use_causal_mask)
        if attention_mask is not None and training and self.granularity == "rows":
            attention_mask = spread(attention_mask, x)
        inputs = [x, *([] if context is None else [context]), *earlier]
        first_earlier = len(inputs) - len(earlier)

        def run(*tensors: Tensor) -> Tensor:
            given, masks = tensors[: len(inputs)], tensors[len(inputs) :]
            context = None if first_earlier == 1 else given[1]
            update = partial(self._update, context, training, use_causal_mask, masks)
            return self._merge(given[0], given[first_earlier:], training, masks[0], update)

        masks = [mask, context_mask, attention_mask]
        if training and self.recompute:
            return recompute(self, run, inputs, masks, layers=[self])
        return run(*inputs, *masks)

    def _merge(
        self,
        x: Tensor,
        earlier: Sequence[Tensor],
        training: bool | None,
        mask: Tensor | None,
        update: Callable[..., Tensor],
    ) -> Tensor:
        """The output: the input, merged with its update. `update` is `_update` with the arguments of the call."""
        raise NotImplementedError

    def _update(
        self,
        context: Tensor | None,
        training: bool | None,
        use_causal_mask: bool,
        masks: Sequence[Tensor | None],
        x: Tensor,
        *,
        skip: Tensor | None = None,
        zeros: Callable[[], Tensor] | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """The update of x, added to `skip` if that is given; otherwise `zeros` makes the update that is dropped.

        If a `weight` is given, the subclass's `_write` first combines the update with it.
        """

        given = [x] if weight is None else [x, weight]

        def branch(*tensors: Tensor) -> Tensor:
            x, *weights = tensors[: len(given)]
            context, mask, context_mask, attention_mask = tensors[len(given) :]
            offered = {"training": training, "attention_mask": attention_mask, "use_causal_mask": use_causal_mask}
            u = self._before(x, training, mask)
            for layer, stride in zip(self.layers, self._mask_strides, strict=True):
                here = stride_mask(mask, stride)
                masks = {"mask": here, "query_mask": here, "value_mask": here if context is None else context_mask}
                u = call_layer(layer, u, context, offered | masks)
            u = self._end(ops.cast(u, self.compute_dtype), training, self._output_mask(mask))
            return self._write(u, *weights) if weights else u

        return drop(
            self,
            branch,
            (*given, context, *masks),
            layers=[*self._before.layers, *self.layers, *self._end.layers],
            training=training,
            skip=skip,
            zeros=zeros,
            gain=fixed_gain(self),
        )

    def _output_mask(self, mask: Tensor | None) -> Tensor | None:
        """The mask of the output, given that of the input."""
        return mask

    def _write(self, update: Tensor, weight: Tensor) -> Tensor:
        """The update, combined with its weight, as it is added to the skip."""
        raise NotImplementedError

    def compute_output_spec(self, x: Tensor, context: Tensor | None = None, *others: Any, **options: Any) -> Any:
        given = inspect.signature(self.call).bind(x, context, *others, **options).arguments
        check_taken(self.layers, context, given.get("attention_mask"), given.get("use_causal_mask", False))
        return super().compute_output_spec(x, context, *others, **options)
