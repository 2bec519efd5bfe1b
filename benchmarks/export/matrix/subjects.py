"""The networks and layers of the matrix, with images and the answers of Keras."""

import fnmatch
from functools import cached_property, partial

import keras
import numpy as np

import zoo
from export.model.wrapping import make_endpoint
from export.precision.tolerances import TOLERANCES
from zoo.training.learner import precision
from zoo.weights.cards import card

from .images import fill, pick, resize
from .learning import train_briefly
from .settings import BATCH_SIZE, IMAGES, MAX_DEPTH_OF_GRAPH, MAX_MULTIPLY_ADDS, MAX_PARAMETERS, ROUNDS, SIDE, STEPS


class Subject:
    """A network, or a layer in a network of its own, with images and the answers of Keras."""

    def __init__(self, name, kind, depth, parameters, weights=""):
        self.name, self.kind, self.depth, self.parameters, self.weights = name, kind, depth, parameters, weights
        self.labels = None

    def open(self, sources):
        """Builds the network, trains it if it has no trained weights, and computes the answers of Keras.

        Args:
            sources: A function that returns a data source by its name.
        """
        if self.kind == "layer":
            self._open_layer()
        elif self.weights:
            self._open_trained(sources)
        else:
            self._open_new(sources)
        self._answer()
        for _ in range(ROUNDS - 1):
            if self.kind == "layer" or self.weights or self.tells_apart(TOLERANCES["fp16"]):
                break
            self._learn()
            self._answer()

    def _answer(self):
        parts = [self.endpoint.run({self.input: self.images[i : i + 32]}) for i in range(0, IMAGES, 32)]
        self.expected = np.concatenate([next(iter(part.values())) for part in parts])
        # Images next to each other may be of one class.
        other = np.roll(self.expected, IMAGES // 2, axis=0)
        self.spread = float(np.median(np.abs(self.expected - other).max(axis=-1)))

    def tells_apart(self, tolerance):
        """Returns whether the answers differ enough from image to image for a limit to mean anything."""
        return self.spread >= 2 * tolerance.atol

    def _open_layer(self):
        from tests.export.models import randomise
        from tests.layers.table import CASES

        case = next(case for case in CASES if case.name == self.name)
        inputs = keras.Input(case.shape()[1:])
        model = randomise(keras.Model(inputs, case.make()(inputs)))
        self.images, self.calibration = case.data(IMAGES), case.data(IMAGES, seed=1)
        self.endpoint = make_endpoint(model)

    def _open_trained(self, sources):
        chosen = card(self.name, self.weights)
        source, model = sources(chosen.data["name"]), zoo.load(self.name, self.weights)
        self._open_network(model, source, chosen.preprocessing, chosen.input_shape)
        self.test, self.labels = np.asarray(source.test_inputs), np.asarray(source.test_targets)

    def _open_new(self, sources):
        described = zoo.describe(self.name)
        if described.task != "classification":
            self._open_other(sources("digits"))
            return
        source = sources("cifar10" if described.input_shape[-1] == 3 else "digits")
        shape = tuple(min(n, SIDE) for n in described.input_shape)
        model = zoo.build(self.name, input_shape=shape)
        self._open_network(model, source, source.preprocessing.as_dict(), shape)
        images = resize(pick(source.train_inputs, STEPS * BATCH_SIZE), shape)
        inputs = self.endpoint.inputs[0].preprocessing.apply(images)
        heavy = described.multiply_adds > MAX_MULTIPLY_ADDS
        learner = zoo.build(self.name, input_shape=(*(n // 2 for n in shape[:2]), shape[2])) if heavy else model
        eagerly = self.depth > MAX_DEPTH_OF_GRAPH
        self._learn = partial(train_briefly, model, learner, inputs, pick(source.train_targets, len(images)), eagerly)
        self._learn()

    def _open_other(self, source):
        """Opens a network that takes no photographs: digits fill its inputs, and are its class at each position."""
        from tests.zoo.small_inputs import small_shape

        model = self.model = zoo.build(self.name, input_shape=small_shape(self.name))
        filled = partial(fill, shape=model.input_shape[1:], dtype=model.input.dtype)
        self.images = filled(pick(source.test_inputs, IMAGES))
        self.calibration = filled(pick(source.train_inputs, IMAGES))
        *positions, classes = model.output_shape[1:]
        self.endpoint = make_endpoint(model, activation="softmax" if classes > 1 else None, samples=self.images[:2])
        digits = pick(source.train_targets, STEPS * BATCH_SIZE) % classes
        labels = np.broadcast_to(digits.reshape(-1, *(1 for _ in positions)), (len(digits), *positions))
        inputs = filled(pick(source.train_inputs, len(digits)))
        self._learn = partial(train_briefly, model, model, inputs, labels, False)
        self._learn()

    def _open_network(self, model, source, preprocessing, shape):
        self.model = model
        self.images, self.calibration = (
            resize(pick(images, IMAGES), shape) for images in (source.test_inputs, source.train_inputs)
        )
        self.endpoint = make_endpoint(model, {"dtype": "uint8", **preprocessing}, "softmax")

    @cached_property
    def own_error(self):
        """The largest difference of the probabilities of Keras in float32 from those of the network in float64."""
        with precision("float64"):
            exact = zoo.build(self.name, input_shape=self.model.input_shape[1:])
        for variable, trained in zip(exact.weights, self.model.weights, strict=True):
            variable.assign(trained.numpy().astype("float64"))
        preprocessing = self.endpoint.inputs[0].preprocessing
        images = self.images if preprocessing is None else preprocessing.apply(self.images).astype("float64")
        return float(np.max(np.abs(keras.ops.softmax(exact.predict(images, batch_size=32, verbose=0)) - self.expected)))

    @property
    def input(self):
        return self.endpoint.inputs[0].name


def list_subjects(pattern):
    """Lists the layers and networks whose names match a shell pattern, the shallowest first."""
    from tests.layers.table import CASES

    found = [Subject(case.name, "layer", 3, 0) for case in CASES]
    for name in zoo.list_models():
        described = zoo.describe(name)
        if described.parameters <= MAX_PARAMETERS:
            for weights in described.weights or ("",):
                if weights == "imagenet":
                    weights = ""
                found.append(Subject(name, "network", described.depth or 1, described.parameters, weights))
    unique = {(s.kind, s.name, s.weights): s for s in found if fnmatch.fnmatchcase(s.name, pattern)}
    return sorted(unique.values(), key=lambda s: (s.depth, s.parameters))
