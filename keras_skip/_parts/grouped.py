"""Grouped convolutions that learn fast on a CPU.

    y = concatenate(x_1 * k_1, ..., x_g * k_g)      x_i and k_i: the channels and the filters of group i

Keras compiles with XLA, which on a CPU takes a hundred times as long for the gradients of one grouped convolution as
for those of g small ones. So training runs the small ones, or a depthwise convolution if each group has one channel.
Inference stays one convolution, which an export keeps.
"""

import functools

import keras
from keras import ops

from .._base.config import PACKAGE
from .._base.shapes import Tensor


class _Grouped(keras.layers.Layer):
    """A layer of Keras's, with its weights and configuration, which trains group by group on a CPU (channels last)."""

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        if not (training and self._is_split()):
            return super().call(inputs)
        causal = self.padding == "causal"
        x = ops.pad(inputs, self._compute_causal_padding()) if causal else inputs
        y = self._convolve(x, self.kernel, "valid" if causal else self.padding)
        y = ops.add(y, self.bias) if self.use_bias else y
        return y if self.activation is None else self.activation(y)

    def _is_split(self) -> bool:
        if self.data_format != "channels_last" or not _on_cpu():
            return False
        if self.rank < 3 or keras.backend.backend() != "tensorflow":
            return True
        import tensorflow as tf

        # With oneDNN, eager convolutions over volumes have no gradient, but for those that Keras compiles.
        return not tf.executing_eagerly()

    def _convolve(self, x: Tensor, kernel: Tensor, padding: str) -> Tensor:
        options = {"strides": self.strides, "padding": padding, "dilation_rate": self.dilation_rate}
        options["data_format"] = self.data_format
        *size, channels, filters = kernel.shape
        # TensorFlow's depthwise convolution takes the same strides along both dimensions.
        if channels == 1 and self.rank < 3 and len(set(self.strides)) == 1:
            kernel = ops.reshape(kernel, (*size, self.groups, filters // self.groups))
            return ops.depthwise_conv(x, kernel, **options)
        parts = zip(ops.split(x, self.groups, axis=-1), ops.split(kernel, self.groups, axis=-1), strict=True)
        return ops.concatenate([ops.conv(part, own, **options) for part, own in parts], axis=-1)


@functools.cache
def _on_cpu() -> bool:
    """Whether the backend compiles with XLA and has only CPUs."""
    if keras.backend.backend() not in ("tensorflow", "jax"):
        return False
    return all(device.startswith("cpu") for device in keras.distribution.list_devices())


@keras.saving.register_keras_serializable(PACKAGE)
class GroupedConv1D(_Grouped, keras.layers.Conv1D):
    pass


@keras.saving.register_keras_serializable(PACKAGE)
class GroupedConv2D(_Grouped, keras.layers.Conv2D):
    pass


@keras.saving.register_keras_serializable(PACKAGE)
class GroupedConv3D(_Grouped, keras.layers.Conv3D):
    pass
