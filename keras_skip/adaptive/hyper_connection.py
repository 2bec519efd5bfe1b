"""Hyper-connections: n residual streams, with learned weights of what a layer reads, writes and mixes.

    x' = H_res x + H_post^T F(H_pre x)

`ExpandStreams` makes n streams of the input, a `HyperConnection` wraps each layer, and `ReduceStreams` makes one tensor
of the streams.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from .._base.arguments import boolean, non_negative_int, one_of, positive_int
from .._base.config import PACKAGE
from .._base.shapes import Shape, Tensor
from .._parts.wrapping import WrappingLayer
from ._mixing import birkhoff, project_normalized, sinkhorn, start_birkhoff, start_sinkhorn
from .recording import SKIPS
from .streams import check_streams, stream_axis, without_streams

READ = 0.7  # at the start, the weight of the stream that a layer reads most; the others share the rest
MOST_PERMUTED = 5


@keras.saving.register_keras_serializable(PACKAGE)
class HyperConnection(WrappingLayer):
    """A layer, or several that run one after the other, with n residual streams around them.

        x' = H_res x + H_post^T s drop(F(N(H_pre x)))

        constraint   H_pre        H_post         H_res
        None         a            b              c
        "sinkhorn"   sigmoid(a)   2 sigmoid(b)   doubly stochastic: `iterations` of Sinkhorn-Knopp on exp(c)
        "birkhoff"   sigmoid(a)   2 sigmoid(b)   doubly stochastic: sum_k softmax(c)_k P_k over all n! permutations P_k

    x holds n streams, F is the layer, N the norm, and s the `branch_scale`. H_pre weighs the streams in the sum that
    the layer reads, H_post says how much of the update each stream gets, and H_res mixes the streams. Each position has
    weights of its own, since [a, b, c] = alpha (x / RMS(x)) W + bias, with an alpha for each of a, b and c; W starts at
    0. With `dynamic=False`, [a, b, c] = bias.

    The network starts as the residual network of the same layers, since all streams are equal, H_pre sums to 1, H_post
    is 1, and the rows of H_res sum to 1. Each layer reads one stream most. H_res starts close to the identity, but with
    a constraint not so close that its gradients vanish, so it learns once the first training step has made the streams
    differ.

    Args:
        layer: A layer, or a list of layers that run one after the other, as in `Residual`. It keeps the shape.
        streams: n, at least 2; at most 5 with "birkhoff". Default 4.
        constraint: "birkhoff" (mHC-lite), "sinkhorn" (mHC) or None (hyper-connections). With None, each stream is
            divided by its own root mean square and gives its own weights, alpha tanh((x / RMS(x)) W) + bias; in a deep
            network the streams can grow or vanish. Default "birkhoff".
        dynamic: Whether the weights depend on the input. Default True.
        iterations: Iterations of "sinkhorn". A last step corrects the remaining error, so that rows and columns always
            sum to 1. Default 20.
        index: Place of the connection in the network, counted from 0. At the start, the layer reads stream `index` mod
            n most. Default 0.
        norm: None, "pre" or "peri", as in `Residual`. Default None.
        normalization: "layer", "rms", "batch", "group", or a layer that is copied for each use. Default "layer".
        norm_epsilon: Epsilon of a normalization given by name, and of the root mean square. Default 1e-6.
        {options}

    Call arguments:
        x: Tensor (B, ..., n, channels), or (B, n, channels, ...) with channels_first.
        context, training, mask, context_mask, attention_mask, use_causal_mask: As in `Residual`.

    Output shape:
        The input's.

    Raises:
        ValueError: At construction for arguments out of range; in `build` for an input without n streams, and for a
            layer that changes the shape; in the call for an argument that no layer takes.

    Example:

    >>> import keras
    >>> from keras_skip import ExpandStreams, HyperConnection, ReduceStreams
    >>> x = keras.Input((10, 16))
    >>> y = ExpandStreams(streams=4)(x)
    >>> for index in range(3):
    ...     y = HyperConnection(keras.layers.Dense(16, activation="gelu"), norm="pre", index=index)(y)
    >>> ReduceStreams()(y).shape
    (None, 10, 16)

    References:
        Zhu et al., Hyper-Connections, 2024, https://arxiv.org/abs/2409.19606
        Xie et al., mHC: Manifold-Constrained Hyper-Connections, 2025, https://arxiv.org/abs/2512.24880
        Yang & Gao, mHC-lite: You Don't Need 20 Sinkhorn-Knopp Iterations, 2026, https://arxiv.org/abs/2601.05732
    """

    NORMS = (None, "pre", "peri")

    def __init__(
        self,
        layer: keras.layers.Layer | Sequence[keras.layers.Layer],
        streams: int = 4,
        constraint: str | None = "birkhoff",
        *,
        dynamic: bool = True,
        iterations: int = 20,
        index: int = 0,
        norm: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(layer, norm, **options)
        self.streams = check_streams(streams, "streams")
        self.constraint = one_of(constraint, "constraint", (None, "sinkhorn", "birkhoff"))
        self.dynamic = boolean(dynamic, "dynamic")
        self.iterations = positive_int(iterations, "iterations")
        self.index = non_negative_int(index, "index")
        if constraint == "birkhoff" and self.streams > MOST_PERMUTED:
            raise ValueError(
                f"Expected at most {MOST_PERMUTED} streams for constraint='birkhoff', which weighs all n! "
                f"permutations. Received: streams={streams!r}; constraint='sinkhorn' allows more."
            )

    def build(self, x_shape: Sequence[int | None], context_shape: Sequence[int | None] | None = None) -> None:
        shape = tuple(x_shape)
        axis = stream_axis(self.data_format, len(shape))
        inner, channels = self._enter(without_streams(shape, self.data_format))
        if shape[axis] != self.streams:
            raise ValueError(
                f"Expected an input with {self.streams} streams along axis {axis}, as ExpandStreams makes them. "
                f"Received: input_shape={shape}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=len(shape), axes={axis: self.streams, axis + 1: channels})
        self._build_weights(channels)
        update = self._build_branch(inner, None if context_shape is None else tuple(context_shape))
        if update != inner:
            raise ValueError(f"Expected a layer that keeps the shape {inner}. Received: an update of shape {update}")

    def _build_weights(self, channels: int) -> None:
        n = self.streams
        if self.constraint is None:
            start = np.concatenate([np.eye(n)[:, [self.index % n]], np.ones((n, 1)), np.eye(n)], axis=1)
            self._sizes, width = (1, 1, n), channels
        else:
            read = np.where(np.arange(n) == self.index % n, READ, (1 - READ) / (n - 1))
            mixed = (start_birkhoff if self.constraint == "birkhoff" else start_sinkhorn)(n)
            start = np.concatenate([np.log(read / (1 - read)), np.zeros(n), mixed])
            self._sizes, width = (n, n, len(mixed)), n * channels
        # In float32 under mixed precision too, so that products of many H_res do not drift.
        options: dict[str, Any] = {"autocast": False}
        self.bias = self.add_weight(shape=start.shape, initializer=lambda *_, **__: start, name="bias", **options)
        if self.dynamic:
            shape = (width, sum(self._sizes))
            self.kernel = self.add_weight(shape=shape, initializer="zeros", name="kernel", **options)
            small = keras.initializers.Constant(0.01)
            self.alpha = self.add_weight(shape=(3,), initializer=small, name="alpha", **options)

    def call(
        self,
        x: Tensor,
        context: Tensor | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
        x_mask: Tensor | None = None,
        context_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        use_causal_mask: bool = False,
    ) -> Tensor:
        masks = (x_mask if mask is None else mask, context_mask, attention_mask)
        return self._run(x, context, (), training, masks, use_causal_mask)

    def _merge(
        self,
        x: Tensor,
        earlier: Sequence[Tensor],
        training: bool | None,
        mask: Tensor | None,
        update: Callable[..., Tensor],
    ) -> Tensor:
        first = self.data_format == "channels_first"
        x = ops.moveaxis(x, (1, 2), (-2, -1)) if first else x
        pre, post, residual = self._weights(x)
        SKIPS.add((self, {"pre": pre, "post": post, "residual": residual}), pre)
        pre, post, residual = (ops.cast(each, self.compute_dtype) for each in (pre, post, residual))
        # One product computes both H_pre x and H_res x, and so reads the streams once.
        both = ops.matmul(ops.concatenate([ops.expand_dims(pre, -2), residual], axis=-2), x)
        read, mixed = ops.split(both, [1], axis=-2)
        read = ops.squeeze(read, -2)
        y = update(ops.moveaxis(read, -1, 1) if first else read, skip=mixed, weight=ops.expand_dims(post, -1))
        return ops.moveaxis(y, (-2, -1), (1, 2)) if first else y

    def _write(self, update: Tensor, weight: Tensor) -> Tensor:
        update = ops.moveaxis(update, 1, -1) if self.data_format == "channels_first" else update
        return ops.matmul(weight, ops.expand_dims(update, -2))

    def _weights(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """H_pre (..., n), H_post (..., n) and H_res (..., n, n), for streams (..., n, channels)."""
        n, bias = self.streams, ops.convert_to_tensor(self.bias)
        outer = ops.shape(x)[:-2]
        if self.dynamic:
            logits = ops.reshape(self._project(x), (-1, *bias.shape)) + bias
        else:
            outer = (outer[0], *(1,) * (len(outer) - 1))
            logits = ops.broadcast_to(bias, (outer[0], *bias.shape))
        pre, post, residual = ops.split(logits, np.cumsum(self._sizes[:2]).tolist(), axis=-1)
        if self.constraint is None:
            residual = ops.swapaxes(residual, -1, -2)
        else:
            pre, post = ops.sigmoid(pre), 2.0 * ops.sigmoid(post)
            residual = (
                birkhoff(residual, n) if self.constraint == "birkhoff" else sinkhorn(residual, n, self.iterations)
            )
        return ops.reshape(pre, (*outer, n)), ops.reshape(post, (*outer, n)), ops.reshape(residual, (*outer, n, n))

    def _project(self, x: Tensor) -> Tensor:
        """The dynamic part of the logits: a row for each position, or without a constraint for each of its streams."""
        kernel = ops.copy(self.kernel)  # TensorFlow refuses variables in custom_gradient
        x = ops.reshape(ops.cast(x, kernel.dtype), (-1, kernel.shape[0]))
        logits = project_normalized(x, kernel, self.norm_epsilon)
        logits = ops.tanh(logits) if self.constraint is None else logits
        return logits * ops.take(self.alpha, np.repeat(np.arange(3), self._sizes))

    def compute_output_shape(
        self, x_shape: Sequence[int | None], context_shape: Sequence[int | None] | None = None
    ) -> Shape:
        return tuple(x_shape)
