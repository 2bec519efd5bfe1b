"""Layers that rows of the table put inside others, new for each row, and layers of lists in a form for one tensor."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

import keras_skip as ks


class OfOneTensor:
    """Calls a layer of lists with one tensor, and makes the list from it."""

    def build(self, input_shape: Sequence) -> None:
        super().build([input_shape] * 3)
        self.input_spec = None

    def call(self, x: Any) -> Any:
        return super().call([x, ops.tanh(x), ops.square(x)])

    def compute_output_shape(self, input_shape: Sequence) -> tuple:
        return super().compute_output_shape([input_shape] * 3)


@keras.saving.register_keras_serializable("tests.layers")
class AverageOfOneTensor(OfOneTensor, ks.DepthAverage):
    pass


@keras.saving.register_keras_serializable("tests.layers")
class AttentionOfOneTensor(OfOneTensor, ks.DepthAttention):
    pass


def conv_shortcut() -> keras.layers.Layer:
    return keras.layers.Conv2D(8, 1, strides=2)


def wrapped() -> keras.layers.Layer:
    return keras.Sequential(
        [keras.layers.Dense(4, use_bias=False), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
    )


def dense() -> keras.layers.Layer:
    return keras.layers.Dense(6, activation="tanh")


def dense_layers() -> list[keras.layers.Layer]:
    return [keras.layers.Dense(8, activation="gelu"), keras.layers.Dropout(0.2), keras.layers.Dense(6)]


def wrapped_residual() -> keras.layers.Layer:
    return ks.ResidualBlock(6, dropout=0.2)


def widening() -> keras.layers.Layer:
    return keras.layers.Dense(8)


def attention() -> keras.layers.Layer:
    return keras.layers.MultiHeadAttention(2, 3, use_bias=False)  # a bias of the keys has no gradient
