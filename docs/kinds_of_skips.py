"""The same networks with each kind of skip, for the guide's experiments: what each kind gains and what it costs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

import zoo
from keras_skip import recorded_skips
from zoo.analysis import charts
from zoo.training.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NETWORKS = ("stack_encoder", "stack_convnet")
BATCH = 64
KINDS: dict[str, dict[str, Any]] = {
    "residual": {"skip": "residual"},
    "none": {"skip": None},
    "highway": {"skip": "highway"},
    "depth_average": {"skip": "depth_average"},
    "depth_attention": {"skip": "depth_attention"},
    "hyper, birkhoff": {"skip": "hyper", "constraint": "birkhoff"},
    "hyper, sinkhorn": {"skip": "hyper", "constraint": "sinkhorn"},
    "hyper, free": {"skip": "hyper", "constraint": None},
}


def candidate(network: str, kind: str) -> str:
    """A network with a kind of skip, as `zoo.compare` reads it."""
    return f"{network}:" + ",".join(f"{name}={value}" for name, value in KINDS[kind].items())


class Row(NamedTuple):
    """A kind of skip in a network; the accuracies are on test images.

    `step` is the processor time of a training step, divided by that of the residual network. `memory` is what one image
    keeps for the gradient, in KiB.
    """

    network: str
    kind: str
    parameters: int
    step: float
    memory: float
    seeds: int
    accuracy: float
    lowest: float
    highest: float


def compare(runs: Mapping[str, Mapping[str, list[Run]]], rounds: int = 7, steps: int = 5) -> Iterator[Row]:
    """Reads the accuracies of trained networks, and measures the step of each in turns with the residual one's."""
    memory = _measure_memory()
    for network, by_candidate in runs.items():
        residual = _compiled(network, "residual")
        for kind in KINDS:
            members = by_candidate[candidate(network, kind)]
            accuracies = [run.results["test_accuracy"] for run in members]
            step = 1.0
            if kind != "residual":
                model = _compiled(network, kind)
                pairs = [[_processor_seconds(each, steps) for each in (model, residual)] for _ in range(rounds)]
                step = float(np.median([mine / unchanged for mine, unchanged in pairs]))
            parameters, mean = members[0].results["parameters"], float(np.mean(accuracies))
            kept = memory[f"{network}, {kind}"]
            spread = (mean, min(accuracies), max(accuracies))
            yield Row(network, kind, parameters, step, kept, len(members), *spread)


def _compiled(network: str, kind: str) -> keras.Model:
    model = zoo.build(network, **KINDS[kind])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    _processor_seconds(model, steps=1)  # traces it
    return model


def _processor_seconds(model: keras.Model, steps: int) -> float:
    source = zoo.load_source("digits")
    images, labels = np.asarray(source.preprocessing(source.train_inputs[:BATCH])), source.train_targets[:BATCH]
    start = time.process_time()
    for _ in range(steps):
        model.train_on_batch(images, labels)
    return time.process_time() - start


def _measure_memory() -> dict[str, float]:
    """Runs this file on JAX, which tells what it keeps for the gradient without computing anything."""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, __file__]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def _kept_for_gradient(model: keras.Model) -> float:
    """KiB of one image, without the weights, since these are there anyway."""
    import jax

    weights, others = ([v.value for v in part] for part in (model.trainable_variables, model.non_trainable_variables))

    def backward(weights: Any, images: Any) -> Any:
        return jax.vjp(lambda weights: model.stateless_call(weights, others, images, training=True)[0], weights)[1]

    kept = []
    for batch in (1, 2):
        shapes = jax.eval_shape(backward, weights, jax.ShapeDtypeStruct((batch, *model.input_shape[1:]), "float32"))
        kept.append(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree_util.tree_leaves(shapes)))
    return (kept[1] - kept[0]) / 1024


def draw(rows: list[Row]) -> "Figure":
    """Draws the error of each kind with its range over the seeds, and beside it the time and memory of a step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.2), layout="constrained")
    panels = figure.subplots(len(NETWORKS), 3, sharey=True, sharex="col")
    places = range(len(KINDS))
    for (target, time_axes, memory_axes), network in zip(panels, NETWORKS, strict=True):
        members = [row for row in rows if row.network == network]
        error = 100 - 100 * np.array([(row.highest, row.accuracy, row.lowest) for row in members])
        ranges = np.abs(error[:, [0, 2]] - error[:, [1]]).T
        target.errorbar(error[:, 1], places, xerr=ranges, fmt="o", color=charts.COLOURS[0], capsize=2)
        target.axvline(error[0, 1], color="grey", linewidth=0.8)
        target.set_yticks(places, list(KINDS), fontsize=9)
        target.set_title(f"{network}, seeds: {members[0].seeds}", fontsize=11, loc="left")
        time_axes.barh(places, [row.step for row in members], color=charts.COLOURS[1])
        time_axes.axvline(1, color="grey", linewidth=0.8)
        memory_axes.barh(places, [row.memory for row in members], color=charts.COLOURS[2])
        for axes in (target, time_axes, memory_axes):
            axes.grid(alpha=0.25, axis="x")
    panels[0, 0].invert_yaxis()
    panels[0, 0].set_xscale("log")
    ticks = (1, 2, 5, 10, 20, 50, 90)
    panels[0, 0].set_xticks(ticks, [str(tick) for tick in ticks])
    panels[0, 0].minorticks_off()
    labels = (
        "test error, %: mean and range of the seeds",
        "processor time of a step, residual = 1",
        "kept for the gradient of one image, KiB",
    )
    for axes, label in zip(panels[-1], labels, strict=True):
        axes.set_xlabel(label)
    return figure


GAIN_NETWORK = "stack_mlp:depth=48,width=32,skip=hyper,constraint={}"
CONSTRAINTS = ("None", "sinkhorn", "birkhoff")
PROBED = 64


class Gain(NamedTuple):
    """How much the matrices that mix the streams amplify, as the median over images.

    With H_l the matrix of connection l of L, `signal` is the largest absolute row sum of H_l ... H_1, and `gradient` is
    the largest absolute column sum of H_L ... H_l.
    """

    constraint: str
    state: str
    connection: int
    signal: float
    gradient: float


def measure_gains(constraint: str, state: str, model: keras.Model) -> Iterator[Gain]:
    source = zoo.load_source("digits")
    with recorded_skips() as calls:
        model(np.asarray(source.preprocessing(source.test_inputs[:PROBED])))
    matrices = [keras.ops.convert_to_numpy(weights["residual"]) for _, weights in calls]
    before = after = np.broadcast_to(np.eye(matrices[0].shape[-1]), matrices[0].shape)
    signal, gradient = [], []
    for first, last in zip(matrices, reversed(matrices), strict=True):
        before, after = first @ before, after @ last
        signal.append(float(np.median(np.abs(before).sum(axis=-1).max(axis=-1))))
        gradient.append(float(np.median(np.abs(after).sum(axis=-2).max(axis=-1))))
    for place, (forward, backward) in enumerate(zip(signal, reversed(gradient), strict=True), 1):
        yield Gain(constraint, state, place, forward, backward)


def draw_gains(rows: list[Gain]) -> "Figure":
    """Draws the gain of the signal and of the gradient by connection, with a line for each constraint and state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    names = dict.fromkeys(
        (row.constraint, row.state) for row in rows if row.state == "trained" or row.constraint == "None"
    )
    for target, end, title in zip(
        panels, ("signal", "gradient"), ("signal, up to connection l", "gradient, back to connection l"), strict=True
    ):
        lines = []
        for constraint, state in names:
            members = [row for row in rows if (row.constraint, row.state) == (constraint, state)]
            name = "at the start" if state == "start" else f"constraint={constraint}, trained"
            lines.append((name, [row.connection for row in members], [getattr(row, end) for row in members]))
        target.set(title=f"Gain of the {title}", xlabel="connection l")
        target.grid(alpha=0.25)
        charts.draw_lines(target, lines)
    panels[0].set_ylim(bottom=0)
    return figure


if __name__ == "__main__":
    print(
        json.dumps(
            {
                f"{network}, {kind}": _kept_for_gradient(zoo.build(network, **arguments))
                for network in NETWORKS
                for kind, arguments in KINDS.items()
            }
        )
    )
