"""Batch normalisation, with TensorFlow's fused operation where Keras composes it from small ones.

y = gamma (x - mean(x)) / sqrt(var(x) + epsilon) + beta
"""

import keras
from keras import ops

from ._base.config import PACKAGE
from ._base.shapes import Tensor


@keras.saving.register_keras_serializable(PACKAGE)
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, faster in training on TensorFlow; every block normalises with it.

        y = gamma (x - mean) / sqrt(variance + epsilon) + beta

    Training uses the mean and the variance of the batch for each channel, and inference uses their moving averages:

        moving = momentum * moving + (1 - momentum) * batch

    Keras writes this as a dozen operations on TensorFlow, each of which reads the whole batch. Here it is one, and one
    for the gradient, if the input is a batch of images with the channels last. Everything else, inference, and the
    other backends are Keras's own. Values differ by rounding.

    Args:
        axis: Axis of the channels. Default -1.
        momentum: Momentum of the moving averages. Default 0.99.
        epsilon: Added to the variance. Default 0.001.
        center, scale: Whether there are beta and gamma. Default True.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint:
            As in `keras.layers.BatchNormalization`.
        moving_mean_initializer, moving_variance_initializer, synchronized, renorm, renorm_clipping, renorm_momentum: As
            in `keras.layers.BatchNormalization`.
        **kwargs: `name`, `dtype`, `trainable`, as in every Keras layer.

    Call arguments:
        x: Any shape. The fused operation takes (batch, height, width, channels), in float32, float16 or bfloat16.
        training: Whether to normalise with the batch's own statistics, and to move the averages.
        mask: Boolean; the statistics leave out the positions where it is False.

    Output shape:
        The input's.

    Raises:
        ValueError: As in `keras.layers.BatchNormalization`.

    Example:

    >>> import keras
    >>> from keras_skip import BatchNormalization
    >>> BatchNormalization(momentum=0.9)(keras.ops.ones((2, 8, 8, 3)), training=True).shape == (2, 8, 8, 3)
    True

    Reference:
        Ioffe & Szegedy, Batch Normalization, 2015, https://arxiv.org/abs/1502.03167
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        if not (training and self._is_fused(inputs, mask)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        channels = (inputs.shape[-1],)
        gamma = ops.cast(self.gamma, "float32") if self.scale else tf.ones(channels)
        beta = ops.cast(self.beta, "float32") if self.center else tf.zeros(channels)
        outputs, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=gamma, offset=beta, mean=(), variance=(), epsilon=self.epsilon, is_training=True
        )
        # The operation's variance is the unbiased estimate, n / (n - 1) of the one that Keras averages.
        n = tf.cast(tf.size(inputs), "float32") / channels[0]
        variance = unbiased * tf.maximum(n - 1, 1) / n
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            before = ops.cast(average, "float32")  # averages are half with the policies float16 and bfloat16
            average.assign(before * self.momentum + value * (1 - self.momentum))
        return ops.cast(outputs, self.compute_dtype)

    def _is_fused(self, inputs: Tensor, mask: Tensor | None) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and keras.backend.standardize_dtype(inputs.dtype) in ("float32", "float16", "bfloat16")
            and self.trainable
            and not (self.renorm or self.synchronized or mask is not None)
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
        )
