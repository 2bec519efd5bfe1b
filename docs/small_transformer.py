"""A transformer for handwritten digits, with any residual connections, for the guide's experiments.

An image of 8 x 8 pixels is a sequence of its 8 rows. Each layer has two connections, one around attention and one
around two dense layers. All networks have one recipe: Adam at a constant rate, without warm-up or augmentation.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from keras import layers

import zoo
from keras_skip import LaurelGate, LayerScale, Residual, linear_survival
from zoo.analysis import charts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEADS = 32, 4
RATE, BATCH, EPOCHS = 1e-3, 64, 10
DEPTHS = (4, 12)
DEPTH_OF_GRADIENTS = 24
PLACEMENTS = (None, "pre", "post", "peri", "deepnorm", "keel")
NORMALISED_AT_THE_END = ("post", "deepnorm", "keel")
SEEDS = (0, 1, 2)
PARTS_DEPTH = 4
PARTS: dict[str, dict[str, Any]] = {
    "none": {},
    'branch_scale="rezero"': {"branch_scale": "rezero"},
    'branch_scale="layerscale"': {"branch_scale": "layerscale"},
    "branch_scale=LayerScale(0.1)": {"branch_scale": LayerScale(0.1)},
    'branch_scale="1/sqrt(L)"': {"branch_scale": "1/sqrt(L)"},
    'gate="highway"': {"gate": "highway"},
    'gate="review"': {"gate": "review"},
    'gate="laurel"': {"gate": "laurel"},
    'gate=LaurelGate("lr")': {"gate": LaurelGate("lr")},
    'attention="se"': {"attention": "se"},
    'attention="eca"': {"attention": "eca"},
} | {
    f'granularity="{way}", survival to {survival}': {"granularity": way, "survival": survival}
    for survival in (0.8, 0.5)
    for way in ("batch", "sample", "rows")
}


class Trained(NamedTuple):
    """The result of a training run; accuracies are between 0 and 1."""

    network: str
    layers: int
    seed: int
    training_accuracy: float
    test_accuracy: float


class Part(NamedTuple):
    """The effect of one change to every connection; `step` is processor time, divided by the unchanged network's."""

    part: str
    parameters: int
    step: float
    test_accuracy: float
    lowest: float
    highest: float


def build(depth: int, norm: str | None = "pre", survival: float = 1.0, **options: Any) -> keras.Model:
    """An encoder of `depth` layers; `survival` is that of the last connection, to which the others fall linearly."""
    probabilities = linear_survival(survival, 2 * depth)

    def connect(layer: Any, index: int, name: str) -> Residual:
        given = {"depth": 2 * depth, "survival_prob": probabilities[index], "name": name, **options}
        return Residual(layer, norm, **given)

    inputs = keras.Input((8, 8, 1))
    x = layers.Reshape((8, 8))(inputs)
    # Each step has its own bias, which encodes its position.
    x = layers.EinsumDense("btp,pc->btc", output_shape=(8, WIDTH), bias_axes="tc", name="rows")(x)
    for index in range(depth):
        name = f"layer{index + 1}"
        attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name=f"{name}_heads")
        x = connect(attention, 2 * index, f"{name}_attention")(x)
        up = layers.Dense(4 * WIDTH, activation="relu", name=f"{name}_up")
        x = connect([up, layers.Dense(WIDTH, name=f"{name}_down")], 2 * index + 1, f"{name}_dense")(x)
    if norm not in NORMALISED_AT_THE_END:
        x = layers.LayerNormalization(name="final_norm")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(10, name="head")(x), name=f"norm_{norm}")


class Digits:
    """The images, preprocessed."""

    def __init__(self) -> None:
        source = zoo.load_source("digits")
        self.training = np.asarray(source.preprocessing(source.train_inputs)), source.train_targets
        self.test = np.asarray(source.preprocessing(source.test_inputs)), source.test_targets


def compile_model(model: keras.Model) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss, metrics=["accuracy"], jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


class Network:
    """A network that is traced once, and trained from several seeds."""

    def __init__(self, depth: int, norm: str | None = "pre", **options: Any) -> None:
        self._build = lambda: build(depth, norm, **options)
        self.depth, self.norm = depth, norm
        self.model = compile_model(self._build())
        self._optimizer = [np.asarray(variable) for variable in self.model.optimizer.variables]

    def train(self, digits: Digits, epochs: int, seed: int) -> Trained:
        keras.utils.set_random_seed(seed)
        self.model.set_weights(self._build().get_weights())
        for variable, value in zip(self.model.optimizer.variables, self._optimizer, strict=True):
            variable.assign(value)
        self.model.fit(*digits.training, BATCH, epochs, verbose=0)
        found = [self.model.evaluate(*part, 512, verbose=0)[1] for part in (digits.training, digits.test)]
        return Trained(f"norm={self.norm}", self.depth, seed, *found)

    def processor_seconds(self, digits: Digits, steps: int) -> float:
        images, labels = (values[:BATCH] for values in digits.training)
        start = time.process_time()
        for _ in range(steps):
            self.model.train_on_batch(images, labels)
        return time.process_time() - start


def train_placements(epochs: int) -> Iterator[Trained]:
    """Trains each placement of the norm at each depth."""
    digits = Digits()
    for depth in DEPTHS:
        for norm in PLACEMENTS:
            network = Network(depth, norm)
            for seed in SEEDS:
                yield network.train(digits, epochs, seed)


def train_parts(epochs: int, rounds: int = 7, steps: int = 10) -> Iterator[Part]:
    """Trains each part, and measures its step in turns with that of the network without parts."""
    digits = Digits()
    plain = Network(PARTS_DEPTH)
    for part, options in PARTS.items():
        network = Network(PARTS_DEPTH, **options) if options else plain
        found = [network.train(digits, epochs, seed).test_accuracy for seed in SEEDS]
        pairs = [[each.processor_seconds(digits, steps) for each in (network, plain)] for _ in range(rounds)]
        step = float(np.median([mine / unchanged for mine, unchanged in pairs]))
        parameters = sum(int(np.prod(weight.shape)) for weight in network.model.trainable_variables)
        yield Part(part, parameters, step, float(np.mean(found)), min(found), max(found))


def draw_placements(rows: list[Trained]) -> "Figure":
    """Draws the error against the depth: the mean of the seeds, and their range as a bar."""
    figure, target = charts.make_axes(
        "Digits, after ten epochs: mean and range of three seeds", "layers", "test error, %"
    )
    target.set_yscale("log")
    depths = sorted({row.layers for row in rows})
    networks = list(dict.fromkeys(row.network for row in rows))
    for index, (network, colour, marker) in enumerate(zip(networks, charts.COLOURS, charts.MARKERS, strict=False)):
        found = [
            [100 * (1 - row.test_accuracy) for row in rows if (row.network, row.layers) == (network, depth)]
            for depth in depths
        ]
        means = np.mean(found, axis=1)
        ranges = [means - np.min(found, axis=1), np.max(found, axis=1) - means]
        places = np.arange(len(depths)) + 0.07 * (index - len(networks) / 2)  # side by side
        target.errorbar(places, means, ranges, color=colour, marker=marker, markersize=5, capsize=2, label=network)
    target.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    ticks = (5, 10, 20, 50, 90)
    target.set_yticks(ticks, [str(tick) for tick in ticks])
    target.minorticks_off()
    target.legend(frameon=False, ncols=2)
    return figure


def draw_parts(rows: list[Part]) -> "Figure":
    """Draws the accuracy of each part with its range over the seeds, and beside it the time of a step as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.4), layout="constrained")
    places = range(len(rows))
    target = figure.add_subplot(1, 2, 1)
    target.set(title="After ten epochs", xlabel="test accuracy, %: mean and range of three seeds")
    accuracy = np.array([(row.lowest, row.test_accuracy, row.highest) for row in rows]) * 100
    errors = np.abs(accuracy[:, [0, 2]] - accuracy[:, [1]]).T
    target.errorbar(accuracy[:, 1], places, xerr=errors, fmt="o", color=charts.COLOURS[0], capsize=2)
    target.axvline(accuracy[0, 1], color="grey", linewidth=0.8)
    target.set_yticks(places, [row.part for row in rows], family="monospace", fontsize=8)
    beside = figure.add_subplot(1, 2, 2, sharey=target)
    beside.set(title="A training step", xlabel="processor time, none = 1")
    beside.barh(places, [row.step for row in rows], color=charts.COLOURS[1])
    beside.axvline(1, color="grey", linewidth=0.8)
    beside.tick_params(labelleft=False)
    target.invert_yaxis()
    for axes in (target, beside):
        axes.grid(alpha=0.25, axis="x")
    return figure
