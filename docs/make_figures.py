"""Makes the figures of the guide, from digits and MNIST, into docs/figures: `make figures`.

    python docs/make_figures.py [NAME ...] [--mnist FILE] [--epochs N] [--workers 2]

Each figure comes with a CSV of what it shows. The training runs are kept in runs/figures: interrupted ones are resumed,
and complete ones are not trained again. They are small, and each keeps one core busy, so several figures are made at a
time.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import deep_gates
import deep_gates_charts
import keras
import kinds_of_skips
import small_transformer
import training_time as cifar10

import zoo
from keras_skip import PreActivationBlock
from zoo._files import write_csv
from zoo.analysis import charts, gating, gradients
from zoo.analysis.lesions import Lesion
from zoo.analysis.reuse import Reuse
from zoo.analysis.skips import Skip
from zoo.analysis.survival import Survival
from zoo.analysis.vanishing import Product
from zoo.training import comparison
from zoo.training.runs import Run

HERE = Path(__file__).parent / "figures"
RUNS = Path("runs") / "figures"
# With the paper's gates, and biases low enough for 60 layers.
HIGHWAY = "highway_mlp:depth={},carry=coupled,transform_bias=-4"
# Without normalisation a deep residual network's first gradients are large, and all are to have the same recipe.
CLIPPED = {"optimizer.clip_norm": 1.0}
# Of the trainings whose errors the guide compares.
SEEDS = 5
MLPS = ("plain_mlp", "residual_mlp", "highway_mlp", "dense_mlp")


class Maker:
    """What the figures are made of, and where they go."""

    def __init__(self, out: Path, runs: Path, mnist: str = "mnist", epochs: int | None = None) -> None:
        self.out, self.runs, self.mnist = out, runs, mnist
        self.epochs = epochs
        self.overrides = {} if epochs is None else {"epochs": epochs}

    def trained(self, name: str, networks: Sequence[str], data: str, **settings: Any) -> dict[str, list[Run]]:
        """The runs of a comparison; what is not there yet is trained."""

        def announce(run: str, recipe: zoo.Recipe, source: zoo.Source) -> tuple[()]:
            if not (self.runs / name / run / "model.keras").is_file():
                print(f"    trains {run}", flush=True)
            return ()

        source = self.mnist if data == "mnist" else data
        return zoo.compare(networks, self.runs / name, source, callbacks=announce, **{**settings, **self.overrides})

    def keep(self, name: str, figure: Any, rows: Iterable[Any], kind: Any) -> None:
        """Writes a figure, and as a table the named tuples of the kind that it shows."""
        self.out.mkdir(parents=True, exist_ok=True)
        charts.save(figure, self.out / f"{name}.svg")
        write_csv(self.out / f"{name}.csv", rows, kind)


def vanishing(maker: Maker) -> None:
    """The product of 20 derivatives of 0.8, without a skip and with one."""
    products = zoo.vanishing_product(0.8, layers=20)
    maker.keep("vanishing", charts.vanishing_product(products), products, Product)


def gradients_sigmoid(maker: Maker) -> None:
    """The gradient at the start, through 30 layers of sigmoids."""
    _gradients(maker, "gradients_sigmoid", "sigmoid")


def gradients_relu(maker: Maker) -> None:
    """The same with rectifiers and He's initialisation."""
    _gradients(maker, "gradients_relu", "relu")


def _gradients(maker: Maker, name: str, activation: str) -> None:
    digits = zoo.load_source("digits")
    norms = gradients.compare(MLPS, digits, arguments={"depth": 30, "activation": activation})
    keras.utils.set_random_seed(0)
    images, labels = gradients.probe_batches(digits, digits.preprocessing, batch_size=256).batch(0, 0)
    norms += zoo.GradientProbe(_preactivation_mlp(activation)).measure(images, labels)
    maker.keep(name, charts.gradient_flow(norms), norms, gradients.Norm)


def _preactivation_mlp(activation: str) -> keras.Model:
    """The residual perceptron of 30 layers with its activations inside the branches: x + W' f(W f(x) + b) + b'."""
    options = {
        "activation": activation,
        "kernel_initializer": "he_normal" if activation == "relu" else "glorot_uniform",
    }
    image = keras.Input((8, 8, 1))
    x = keras.layers.Dense(64, kernel_initializer=options["kernel_initializer"])(keras.layers.Flatten()(image))
    for place in range(1, 15):
        x = PreActivationBlock(64, normalization=None, use_bias=True, name=f"block{place}", **options)(x)
    x = keras.layers.Activation(activation)(x)
    return keras.Model(image, keras.layers.Dense(10, name="head")(x), name="preactivation_mlp")


def degradation(maker: Maker) -> None:
    """The training error of perceptrons against their depth, with and without skips."""
    forms = ("plain_mlp:depth={}", "residual_mlp:depth={}", HIGHWAY)
    networks = [form.format(depth) for depth in (10, 20, 40, 60) for form in forms]
    runs = maker.trained("degradation", networks, "digits", recipe="plain_mlp_digits", seeds=SEEDS, **CLIPPED)
    _by_depth(maker, "degradation", runs)


def degradation_convolutions(maker: Maker) -> None:
    """The same for convolutional networks with batch normalisation."""
    networks = [f"{kind}20:depth={depth}" for depth in (20, 32, 56) for kind in ("plain", "resnet")]
    runs = maker.trained(
        "degradation_convolutions", networks, "digits", recipe="resnet20_digits", seeds=SEEDS, epochs=10
    )
    _by_depth(maker, "degradation_convolutions", runs)


def placement_gradients(maker: Maker) -> None:
    """The gradient in each layer of an untrained transformer of 24 layers, for each placement of the norm."""
    digits = zoo.load_source("digits")
    images, labels = gradients.probe_batches(digits, digits.preprocessing, batch_size=256).batch(0, 0)
    norms: list[gradients.Norm] = []
    for norm in small_transformer.PLACEMENTS:
        keras.utils.set_random_seed(0)
        model = small_transformer.build(small_transformer.DEPTH_OF_GRADIENTS, norm)
        squares: dict[str, float] = {}
        for found in zoo.GradientProbe(model, once=True).measure(images, labels):
            layer = found.layer.partition("_")[0]  # layer1_heads, layer1_up, layer1_down
            squares[layer] = squares.get(layer, 0.0) + found.norm**2
        norms += [
            gradients.Norm(f"norm={norm}", 0, place, layer, square**0.5)
            for place, (layer, square) in enumerate(squares.items())
        ]
    maker.keep("placement_gradients", charts.gradient_flow(norms), norms, gradients.Norm)


def placements(maker: Maker) -> None:
    """The test accuracy of the same transformer after ten epochs, at two depths."""
    rows = _announced("placements", small_transformer.train_placements(maker.epochs or small_transformer.EPOCHS))
    maker.keep("placements", small_transformer.draw_placements(rows), rows, small_transformer.Trained)


def parts(maker: Maker) -> None:
    """The accuracy and the cost of gates, scales, drops and channel attention, in a small transformer."""
    rows = _announced("parts", small_transformer.train_parts(maker.epochs or small_transformer.EPOCHS))
    maker.keep("parts", small_transformer.draw_parts(rows), rows, small_transformer.Part)


def gates_gradients(maker: Maker) -> None:
    """The gradient at the start in the first layer and in the last, with gates and without, of 10 to 320 layers."""
    rows = _deep_gates(maker, "gates_gradients", "gradients", deep_gates.Gradient)
    maker.keep("gates_gradients", deep_gates_charts.draw_gradients(rows), rows, deep_gates.Gradient)


def gates_accuracy(maker: Maker) -> None:
    """The test error of the same networks after training, on digits and MNIST."""
    steps = deep_gates.STEPS if maker.epochs is None else 10 * maker.epochs  # an epoch of digits has ten steps
    options = ("--mnist", maker.mnist, "--steps", str(steps))
    rows = _deep_gates(maker, "gates_accuracy", "accuracy", deep_gates.Trained, *options)
    rows = [row for row in rows if row.steps == steps]
    maker.keep("gates_accuracy", deep_gates_charts.draw_accuracy(rows), rows, deep_gates.Trained)


def _deep_gates(maker: Maker, name: str, what: str, kind: Any, *options: str) -> list[Any]:
    """Has a process that runs JAX on one core complete a table, and reads it."""
    table = maker.runs / f"{name}.csv"
    command = [sys.executable, deep_gates.__file__, what, str(table), *options]
    backend = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    subprocess.run(command, env={**os.environ, **backend}, check=True)
    return deep_gates.read(table, kind)


def _announced(name: str, rows: Iterable[Any]) -> list[Any]:
    found = []
    for row in rows:
        print(f"    {name}: {row}", flush=True)
        found.append(row)
    return found


def survival(maker: Maker) -> None:
    """A residual network whose blocks survive with three probabilities, and its pre-activation form."""
    networks = [f"stochastic_resnet32:depth=20,survival_prob={p}" for p in (1.0, 0.8, 0.5)]
    networks.append("preact_resnet20")
    runs = maker.trained("survival", networks, "digits", recipe="resnet20_digits", seeds=2)
    charts.save(charts.comparison(comparison.rows(runs)), maker.out / "survival.svg")
    comparison.write_table(maker.out / "survival.csv", runs)


def survival_profile(maker: Maker) -> None:
    """With what probability each block of the paper's network is there."""
    blocks = zoo.survival_profile(zoo.build("stochastic_resnet110", input_shape=(8, 8, 1)))
    maker.keep("survival_profile", charts.survival(blocks), blocks, Survival)


def gates(maker: Maker) -> None:
    """What the gates of a trained highway network do with MNIST."""
    found = zoo.gates("highway_mlp", maker.mnist, weights="mnist")
    shown = [row for row in gating.rows(found) if not row.what.startswith("class")]
    maker.keep("gates", charts.gates(found), shown, gating.GateRow)


def lesion(maker: Maker) -> None:
    """What the same network loses when one layer only carries."""
    lesions = zoo.lesion("highway_mlp", maker.mnist, weights="mnist")
    maker.keep("lesion", charts.lesion(lesions), lesions, Lesion)


def reuse(maker: Maker) -> None:
    """Which features the layers of a trained DenseNet use again."""
    runs = maker.trained(
        "reuse", ["densenet_40_12:depth=22"], "digits", recipe="resnet20_digits", seeds=1, **{"optimizer.lr": 0.05}
    )
    pairs = zoo.feature_reuse(zoo.load(runs["densenet_40_12:depth=22"][0].path))
    maker.keep("reuse", charts.feature_reuse(pairs), pairs, Reuse)


def stacks(maker: Maker) -> None:
    """The accuracy and the cost of each kind of skip, in an encoder and in a convolutional network."""
    runs = {}
    for network in kinds_of_skips.NETWORKS:
        names = [kinds_of_skips.candidate(network, kind) for kind in kinds_of_skips.KINDS]
        runs[network] = maker.trained(f"stacks/{network}", names, "digits", recipe=f"{network}_digits", seeds=3)
    rows = _announced("stacks", kinds_of_skips.compare(runs))
    maker.keep("stacks", kinds_of_skips.draw(rows), rows, kinds_of_skips.Row)


def stream_gain(maker: Maker) -> None:
    """How much 48 hyper-connections amplify the signal and the gradient, with and without a constraint."""
    networks = {constraint: kinds_of_skips.GAIN_NETWORK.format(constraint) for constraint in kinds_of_skips.CONSTRAINTS}
    runs = maker.trained(
        "stream_gain", list(networks.values()), "digits", recipe="stack_mlp_digits", seeds=1, epochs=10
    )
    rows: list[kinds_of_skips.Gain] = []
    for constraint, network in networks.items():
        (run,) = runs[network]
        models = {"start": zoo.build(run.recipe.network, **run.recipe.arguments), "trained": zoo.load(run.path)}
        for state, model in models.items():
            rows += kinds_of_skips.measure_gains(constraint, state, model)
    maker.keep("stream_gain", kinds_of_skips.draw_gains(rows), rows, kinds_of_skips.Gain)


def learned_skips(maker: Maker) -> None:
    """The weights that encoders with three kinds of skips have learned."""
    kinds = {"hyper": "hyper, birkhoff", "average": "depth_average", "attention": "depth_attention"}
    networks = {name: kinds_of_skips.candidate("stack_encoder", kind) for name, kind in kinds.items()}
    runs = maker.trained("learned_skips", list(networks.values()), "digits", recipe="stack_encoder_digits", seeds=1)
    for name, network in networks.items():
        found = zoo.learned_skips(runs[network][0])
        maker.keep(f"learned_skips_{name}", charts.skips(found), found, Skip)


def training_time(maker: Maker) -> None:
    """How well our trainings on CIFAR-10 do for the time that they take, beside those of others."""
    points = cifar10.points()
    maker.keep("training_time", cifar10.draw(points), points, cifar10.Point)


def _by_depth(maker: Maker, name: str, runs: dict[str, list[Run]]) -> None:
    errors = comparison.errors_by_depth(runs)
    maker.keep(name, charts.by_depth(errors), errors, comparison.Errors)


# Those that take longest come first.
FIGURES: dict[str, Callable[[Maker], None]] = {
    make.__name__: make
    for make in (
        gates_accuracy,
        placements,
        parts,
        stacks,
        stream_gain,
        learned_skips,
        degradation,
        degradation_convolutions,
        survival,
        gates_gradients,
        reuse,
        gradients_sigmoid,
        gradients_relu,
        placement_gradients,
        lesion,
        gates,
        survival_profile,
        vanishing,
        training_time,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; default: all of {', '.join(FIGURES)}")
    parser.add_argument("--mnist", default="mnist", help="MNIST as a file in Keras's layout; default: it is downloaded")
    parser.add_argument("--epochs", type=int, help="the length of each training; default: each figure's own")
    parser.add_argument("--workers", type=int, default=2, help="how many figures to make at a time; default: 2")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--runs", type=Path, default=RUNS)
    given = parser.parse_args()
    unknown = set(given.names) - FIGURES.keys()
    if given.workers < 1:
        parser.error(f"Expected at least one worker. Received: --workers {given.workers}")
    if unknown:
        parser.error(f"Expected figures among {', '.join(FIGURES)}. Received: {', '.join(unknown)}")
    maker = Maker(given.out, given.runs, given.mnist, given.epochs)
    names = given.names or list(FIGURES)
    start = time.monotonic()
    # A process that TensorFlow has threads in cannot be forked.
    with ProcessPoolExecutor(given.workers, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(FIGURES[name], maker): name for name in names}
        for place, done in enumerate(as_completed(waiting), 1):
            name = waiting[done]
            done.result()
            passed = (time.monotonic() - start) / 60
            print(f"{place} of {len(names)}, after {passed:.1f} min: {name}. {FIGURES[name].__doc__}", flush=True)


if __name__ == "__main__":
    main()
