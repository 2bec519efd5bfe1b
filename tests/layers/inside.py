"""Layers that rows of the table put inside others; each row makes its own."""

import keras

import keras_skip as ks


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
