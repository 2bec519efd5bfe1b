"""A transformer for handwritten digits, whose residual connections differ: what the guide's experiments train.

An image of 8 x 8 pixels is a sequence of its 8 rows. Each layer has two connections, one around attention and one around
two dense layers. All networks have one recipe: Adam at a constant rate, without warm-up and without augmentation.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

import zoo
from keras_skip import Residual, linear_survival

WIDTH, HEADS = 32, 4
RATE, BATCH, EPOCHS = 1e-3, 64, 15
PLACEMENTS = ("none", "pre", "post", "peri", "deepnorm", "keel")
NORMALISED_AT_THE_END = ("post", "deepnorm", "keel")
SEEDS = (0, 1, 2)


class Trained(NamedTuple):
    """What a training ended with; accuracies are shares."""

    network: str
    layers: int
    seed: int
    training_accuracy: float
    test_accuracy: float


class Part(NamedTuple):
    """What one change of every connection does; the step is that of a processor, divided by the unchanged network's."""

    part: str
    parameters: int
    step: float
    test_accuracy: float
    lowest: float
    highest: float


def build(depth: int, norm: str = "pre", survival: float = 1.0, **options: Any) -> keras.Model:
    """An encoder of `depth` layers; `survival` is that of the last connection, to which the others fall linearly."""
    probabilities = linear_survival(survival, 2 * depth)
    place = None if norm == "none" else norm

    def connect(layer: Any, index: int, name: str) -> Residual:
        given = {"depth": 2 * depth, "survival_prob": probabilities[index], "name": name, **options}
        return Residual(layer, place, **given)

    inputs = keras.Input((8, 8, 1))
    x = layers.Reshape((8, 8))(inputs)
    # The bias of each step says where it is.
    x = layers.EinsumDense("btp,pc->btc", output_shape=(8, WIDTH), bias_axes="tc", name="rows")(x)
    for index in range(depth):
        dense = [layers.Dense(4 * WIDTH, activation="relu"), layers.Dense(WIDTH)]
        attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name="attention")
        x = connect(attention, 2 * index, f"layer{index + 1}_attention")(x)
        x = connect(dense, 2 * index + 1, f"layer{index + 1}_dense")(x)
    if norm not in NORMALISED_AT_THE_END:
        x = layers.LayerNormalization(name="final_norm")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(10, name="head")(x), name=norm)


class Digits:
    """The images, preprocessed."""

    def __init__(self) -> None:
        source = zoo.load_source("digits")
        self.training = np.asarray(source.preprocessing(source.train_images)), source.train_labels
        self.test = np.asarray(source.preprocessing(source.test_images)), source.test_labels


def compile_model(model: keras.Model) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss, metrics=["accuracy"], jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def train(digits: Digits, epochs: int, depth: int, seeds: Sequence[int] = SEEDS, **options: Any) -> Iterator[Trained]:
    """Trains one network from several seeds; it is traced once."""
    model = compile_model(build(depth, **options))
    optimizer = [np.asarray(variable) for variable in model.optimizer.variables]
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        model.set_weights(build(depth, **options).get_weights())
        for variable, value in zip(model.optimizer.variables, optimizer, strict=True):
            variable.assign(value)
        model.fit(*digits.training, BATCH, epochs, verbose=0)
        found = [model.evaluate(*part, 512, verbose=0)[1] for part in (digits.training, digits.test)]
        yield Trained(model.name, depth, seed, *found)


def processor_seconds(model: keras.Model, images: np.ndarray, labels: np.ndarray, steps: int) -> float:
    start = time.process_time()
    for _ in range(steps):
        model.train_on_batch(images, labels)
    return time.process_time() - start
