"""Networks of 10 to 320 dense layers for the guide's experiment: which gates let a network go deep?

    KERAS_BACKEND=jax python docs/deep_gates.py {gradients,accuracy} TABLE.csv [--mnist FILE] [--steps N]

A dense layer takes the image to 32 features. Each of the L layers is a `Residual` around a dense layer of that width
with a rectifier and He's initialisation. Layers differ in how the update u joins x, and in whether a normalisation N
comes before the dense layer F: u = F(N(x)) or F(x). A last normalisation (Keel has its own) and a dense layer give the
logits.

The recipe is the same for all: Adam without warm-up, decay, clipping or augmentation, 300 steps of 128 images. A tenth
of the training images is held out. Each network of each depth is trained at three constant rates from the first seed,
and at the rate with the best accuracy on the held-out images from the other seeds. The test images choose nothing. The
table has all of these runs. It is written after each, and a later command resumes it.

JAX compiles one layer of a scan, whatever the depth. TensorFlow runs the same code, many times more slowly.
"""

import argparse
import csv
import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

import zoo
from keras_skip import HighwayGate, Residual, ReviewGate
from zoo._files import write_csv

WIDTH, BATCH, STEPS = 32, 128, 300
DEPTHS = {"digits": (10, 20, 40, 80, 160, 320), "mnist": (10, 20, 40, 80, 160)}
RATES = (3e-4, 1e-3, 3e-3)
SEEDS = (0, 1, 2)
EVALUATED = 2000  # images at a time, of which MNIST's parts are multiples: another size would be compiled again
TRAINING_EVALUATED = 4000


def coupled(bias: float, norm: str | None) -> dict[str, Any]:
    return {"norm": norm, "gate": HighwayGate("coupled", transform_bias=bias)}


# The arguments of each `Residual`, by the depth of the network.
NETWORKS: dict[str, Callable[[int], dict[str, Any]]] = {
    "pre-norm, sum": lambda depth: {"norm": "pre"},
    "pre-norm, review": lambda depth: {"norm": "pre", "gate": ReviewGate()},
    "keel": lambda depth: {"norm": "keel", "depth": depth},
    "pre-norm, coupled, bias -4": lambda depth: coupled(-4.0, "pre"),
    "pre-norm, coupled, bias -2": lambda depth: coupled(-2.0, "pre"),
    "pre-norm, coupled, bias 0": lambda depth: coupled(0.0, "pre"),
    "no norm, coupled, bias -ln L": lambda depth: coupled(-math.log(depth), None),
    "no norm, coupled, bias -4": lambda depth: coupled(-4.0, None),
    "no norm, coupled, bias -2": lambda depth: coupled(-2.0, None),
    "no norm, learned, biases -2 and 2": lambda depth: {"gate": HighwayGate()},
}


class Gradient(NamedTuple):
    """The norms of the loss's gradient by the weights of the layers, before training."""

    network: str
    layers: int
    seed: int
    first: float
    last: float
    smallest: float
    largest: float


class Trained(NamedTuple):
    """The result of a training run; accuracies are between 0 and 1."""

    data: str
    network: str
    layers: int
    steps: int
    rate: float
    seed: int
    validation_accuracy: float
    training_accuracy: float
    test_accuracy: float


class Stack(layers.Layer):
    """Layers in a row, each with weights of its own, which run as a scan: compiling it takes as long as one layer."""

    def __init__(self, make: Callable[[], layers.Layer], depth: int) -> None:
        super().__init__()
        self._make, self.depth = make, depth

    def build(self, shape: Sequence[int | None]) -> None:
        made = [self._make() for _ in range(self.depth)]
        for layer in made:
            layer.build(shape)
        self._call_one = made[0].stateless_call
        self._state = [ops.convert_to_numpy(variable) for variable in made[0].non_trainable_variables]
        for variables in zip(*(layer.trainable_variables for layer in made), strict=True):
            values = np.stack([ops.convert_to_numpy(variable) for variable in variables])
            self.add_weight(shape=values.shape, initializer=lambda *_, values=values, **__: values)

    def call(self, x: Any) -> Any:
        def step(x: Any, weights: list[Any]) -> tuple[Any, Any]:
            y, _ = self._call_one(weights, self._state, x)
            return y, y  # on TensorFlow the second must have the shape of the first

        return ops.scan(step, x, [variable.value for variable in self.trainable_variables])[0]

    def compute_output_shape(self, shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(shape)


def make_layer(network: str, depth: int) -> Residual:
    dense = layers.Dense(WIDTH, activation="relu", kernel_initializer="he_normal")
    return Residual(dense, **NETWORKS[network](depth))


def build(network: str, depth: int, shape: Sequence[int]) -> keras.Model:
    image = keras.Input(shape)
    x = layers.Dense(WIDTH, name="stem")(layers.Flatten()(image))
    x = Stack(lambda: make_layer(network, depth), depth)(x)
    if network != "keel":
        x = layers.LayerNormalization(name="final_norm")(x)
    return keras.Model(image, layers.Dense(10, name="head")(x))


class Images:
    """A data set, preprocessed; of a large training set, only some images are evaluated."""

    def __init__(self, source: zoo.Source) -> None:
        source = source.with_validation(0.1)
        parts = [
            (source.preprocessing(getattr(source, f"{part}_inputs")), getattr(source, f"{part}_targets"))
            for part in ("validation", "train", "test")
        ]
        self.shape, self.training = source.input_shape, parts[1]
        seen = np.random.default_rng(0).permutation(len(parts[1][1]))[:TRAINING_EVALUATED]
        parts[1] = tuple(values[seen] for values in self.training)
        self._images, self._labels = (np.concatenate(values) for values in zip(*parts, strict=True))
        self._ends = np.cumsum([len(labels) for _, labels in parts])[:-1]

    def batches(self, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels of so many batches, epoch after epoch, each in an order of its own."""
        images, labels = self.training
        draw = np.random.default_rng(seed).permutation
        epochs = -(-steps * BATCH // len(labels))
        order = np.concatenate([draw(len(labels)) for _ in range(epochs)])[: steps * BATCH]
        return images[order], labels[order]

    def accuracies(self, model: keras.Model) -> list[float]:
        """Of the held-out images, of those that trained, and of the test images."""
        right = model.predict(self._images, EVALUATED, verbose=0).argmax(-1) == self._labels
        return [float(part.mean()) for part in np.split(right, self._ends)]


class Network:
    """A network that is compiled once, and then starts from several seeds."""

    def __init__(self, network: str, depth: int, shape: Sequence[int]) -> None:
        self._build = lambda: build(network, depth, shape)
        self._starts: dict[int, list[np.ndarray]] = {}
        self.model = self._build()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        compiled = keras.backend.backend() == "jax"  # TensorFlow's scan has no gradient under XLA
        self.model.compile(keras.optimizers.Adam(), loss, jit_compile=compiled)
        self.model.optimizer.build(self.model.trainable_variables)
        self._optimizer = [np.asarray(variable) for variable in self.model.optimizer.variables]

    def _start(self, seed: int, rate: float) -> None:
        if seed not in self._starts:
            keras.utils.set_random_seed(seed)
            self._starts[seed] = self._build().get_weights()
        self.model.set_weights(self._starts[seed])
        for variable, value in zip(self.model.optimizer.variables, self._optimizer, strict=True):
            variable.assign(value)
        self.model.optimizer.learning_rate.assign(rate)

    def train(self, images: Images, steps: int, seed: int, rate: float) -> list[float]:
        """The accuracies after training."""
        self._start(seed, rate)
        self.model.fit(*images.batches(steps, seed), BATCH, shuffle=False, verbose=0)
        return images.accuracies(self.model)

    def gradients(self, images: Images, seed: int) -> np.ndarray:
        """The norm of the gradient of each layer's weights on the first batch, at the start."""
        self._start(seed, rate=0.0)
        self.model.train_on_batch(*images.batches(1, 0))
        optimizer = self.model.optimizer
        (stack,) = (layer for layer in self.model.layers if isinstance(layer, Stack))
        squares = np.zeros(stack.depth)
        for variable in stack.trainable_variables:
            # After one step, the first moment of Adam is a share of the gradient.
            name = f"{variable.path.replace('/', '_')}_momentum"
            (moment,) = (each for each in optimizer.variables if each.name == name)
            gradient = ops.convert_to_numpy(moment).astype("float64") / (1 - optimizer.beta_1)
            squares += np.sum(gradient**2, axis=tuple(range(1, gradient.ndim)))
        return np.sqrt(squares)


def read(path: Path, kind: type[NamedTuple]) -> list[Any]:
    """Reads the rows of a table that `write_csv` wrote, if it is there."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            kind(*(convert(row[name]) for name, convert in kind.__annotations__.items()))
            for row in csv.DictReader(file)
        ]


def measure_gradients(path: Path, depths: Iterable[int] = DEPTHS["digits"]) -> None:
    """Writes a row for each network, depth and seed that the table lacks."""
    rows = read(path, Gradient)
    images = Images(zoo.load_source("digits"))
    for depth in depths:
        for name in NETWORKS:
            missing = [seed for seed in SEEDS if not any(row[:3] == (name, depth, seed) for row in rows)]
            if not missing:
                continue
            network = Network(name, depth, images.shape)
            for seed in missing:
                norms = network.gradients(images, seed)
                rows.append(Gradient(name, depth, seed, norms[0], norms[-1], norms.min(), norms.max()))
                write_csv(path, rows, Gradient)
            print(f"    {depth} layers, {name}: {norms[0]:.1e} at the first, {norms[-1]:.1e} at the last", flush=True)


class Cell:
    """The runs of one network at one depth on one data set; those that the table has are not repeated."""

    def __init__(self, data: str, name: str, depth: int, steps: int) -> None:
        self.key = (data, name, depth, steps)
        self.network: Network | None = None

    def run(self, path: Path, rows: list[Trained], images: Callable[[str], Images], rate: float, seed: int) -> Trained:
        for row in rows:
            if row[:6] == (*self.key, rate, seed):
                return row
        data, name, depth, steps = self.key
        if self.network is None:
            self.network = Network(name, depth, images(data).shape)
        rows.append(Trained(*self.key, rate, seed, *self.network.train(images(data), steps, seed, rate)))
        write_csv(path, rows, Trained)
        return rows[-1]


def train(
    path: Path, sources: Mapping[str, str], steps: int = STEPS, depths: Mapping[str, Sequence[int]] = DEPTHS
) -> None:
    """Writes a row for each run that the table lacks."""
    rows = read(path, Trained)
    cells = [Cell(data, name, depth, steps) for data in sources for depth in depths[data] for name in NETWORKS]
    images = functools.cache(lambda data: Images(zoo.load_source(sources[data])))
    start, work = time.monotonic(), 0
    for place, cell in enumerate(cells, 1):
        run = functools.partial(cell.run, path, rows, images)
        best = max((run(rate, SEEDS[0]) for rate in RATES), key=lambda row: row.validation_accuracy)
        found = [best, *(run(best.rate, seed) for seed in SEEDS[1:])]
        if cell.network is None:
            continue
        cell.network = None
        work += best.layers + 40  # compiling takes as long at any depth
        passed = (time.monotonic() - start) / 60
        left = passed / work * sum(other.key[2] + 40 for other in cells[place:])
        reached = ", ".join(f"{100 * row.test_accuracy:.1f}" for row in found)
        print(
            f"    {place} of {len(cells)}, after {passed:.1f} min, about {left:.0f} min left: {best.data}, "
            f"{best.layers} layers, {best.network}, rate {best.rate}: {reached} % of the test images",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("gradients", "accuracy"))
    parser.add_argument("table", type=Path)
    parser.add_argument("--mnist", default="mnist", help="MNIST as a file in Keras's layout; default: it is downloaded")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"the length of each training; default: {STEPS}")
    given = parser.parse_args()
    given.table.parent.mkdir(parents=True, exist_ok=True)
    if given.what == "gradients":
        measure_gradients(given.table)
    else:
        train(given.table, {"digits": "digits", "mnist": given.mnist}, given.steps)


if __name__ == "__main__":
    main()
