"""Trains a network for a moment, since new weights magnify rounding and answer nearly alike for every image."""

import keras
import numpy as np

from .images import resize
from .settings import BATCH_SIZE, LEARNING_RATE


def train_briefly(model, learner, images, labels, eagerly):
    """Trains a network on each image once.

    Args:
        model: The network that gets the weights.
        learner: The network that trains: the same one, or one with the same weights for smaller images.
        images: The preprocessed images.
        labels: Their classes.
        eagerly: Whether to train without a graph.
    """
    order = np.random.default_rng(0).permutation(len(images))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.Adam(LEARNING_RATE), loss, jit_compile=False, run_eagerly=eagerly)
    seen = resize(images[order], learner.input_shape[1:])
    learner.fit(seen, labels[order], batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    if learner is not model:
        model.set_weights(learner.get_weights())
    fit_normalisation(model, images[order[: 4 * BATCH_SIZE]])


def fit_normalisation(model, x):
    """Sets every normalisation to the mean and the variance of a batch; no branch drops, since it would see none."""
    settings = {"momentum": 0.0, "survival_prob": 1.0}
    layers = model._flatten_layers()
    before = [(layer, name, getattr(layer, name)) for layer in layers for name in settings if hasattr(layer, name)]
    for layer, name, _ in before:
        setattr(layer, name, settings[name])
    model(x, training=True)
    for layer, name, value in before:
        setattr(layer, name, value)
