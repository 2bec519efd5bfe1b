"""Makes the figures of the guide, from digits and MNIST, into docs/figures: `make figures`.

    python docs/make_figures.py [NAME ...] [--mnist FILE] [--epochs N]

Beside each figure stands what it shows, as comma-separated values. The trainings are kept in runs/figures: what was
stopped goes on where it was, and what is there is not trained again.
"""

import argparse
import csv
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import zoo
from zoo import charts, comparison, gradients
from zoo.runs import Run

HERE = Path(__file__).parent / "figures"
RUNS = Path("runs") / "figures"
# Without normalisation a deep residual network's first gradients are large, and all are to have the same recipe.
CLIPPED = {"optimizer.clip_norm": 1.0}
MLPS = ("plain_mlp", "residual_mlp", "highway_mlp", "dense_mlp")


class Maker:
    """What the figures are made of, and where they go."""

    def __init__(self, out: Path, runs: Path, mnist: str = "mnist", epochs: int | None = None) -> None:
        self.out, self.runs, self.mnist = out, runs, mnist
        self.overrides = {} if epochs is None else {"epochs": epochs}

    def trained(self, name: str, networks: Sequence[str], data: str, **settings: Any) -> dict[str, list[Run]]:
        """The runs of a comparison; what is not there yet is trained."""

        def told(run: str, recipe: zoo.Recipe, source: zoo.Source) -> tuple[()]:
            print(f"    {run}", flush=True)
            return ()

        source = self.mnist if data == "mnist" else data
        return zoo.compare(networks, self.runs / name, source, callbacks=told, **{**settings, **self.overrides})

    def keep(self, name: str, figure: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        charts.save(figure, self.out / f"{name}.svg")
        with (self.out / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)


def gradients_sigmoid(maker: Maker) -> None:
    """The gradient at the start, through 30 layers of sigmoids."""
    _gradients(maker, "gradients_sigmoid", "sigmoid")


def gradients_relu(maker: Maker) -> None:
    """The same with rectifiers and He's initialisation."""
    _gradients(maker, "gradients_relu", "relu")


def _gradients(maker: Maker, name: str, activation: str) -> None:
    norms = gradients.compare(MLPS, zoo.load_source("digits"), arguments={"depth": 30, "activation": activation})
    # A norm whose square is below the least float32 comes as 0, which a logarithm does not have.
    shown = [norm for norm in norms if norm.norm > 0]
    maker.keep(name, charts.gradient_flow(shown), gradients.Norm._fields, norms)


def learning(maker: Maker) -> None:
    """How four perceptrons of 30 layers learn MNIST."""
    runs = maker.trained(
        "learning",
        [f"{mlp}:depth=30" for mlp in MLPS],
        "mnist",
        recipe="plain_mlp_mnist_fast",
        seeds=2,
        epochs=4,
    )
    _curves(maker, "learning", runs)


def degradation(maker: Maker) -> None:
    """The training error against the depth, with and without skips."""
    kinds, depths = MLPS[:3], (10, 20, 30, 40, 60)
    networks = [f"{kind}:depth={depth}" for depth in depths for kind in kinds]
    runs = maker.trained("degradation", networks, "digits", recipe="plain_mlp_digits", seeds=2, **CLIPPED)
    _errors_by_depth(maker, "degradation", runs, "Perceptrons on digits")


def degradation_convolutions(maker: Maker) -> None:
    """The same for the convolutional networks with batch normalisation."""
    networks = [f"{kind}20:depth={depth}" for depth in (20, 32, 56) for kind in ("plain", "resnet")]
    runs = maker.trained(
        "degradation_convolutions", networks, "digits", recipe="resnet20_digits", seeds=1, epochs=10
    )
    _errors_by_depth(maker, "degradation_convolutions", runs, "Convolutional networks on digits")


def survival(maker: Maker) -> None:
    """A residual network whose blocks survive with different probabilities, and its pre-activation form."""
    networks = [
        *(f"stochastic_resnet110:depth=20,survival_prob={p}" for p in (1.0, 0.8, 0.5)),
        "preact_resnet110:depth=20",
    ]
    _curves(maker, "survival", maker.trained("survival", networks, "digits", recipe="resnet20_digits", seeds=1))


def _curves(maker: Maker, name: str, runs: dict[str, list[Run]]) -> None:
    rows = comparison.rows(runs)
    maker.keep(name, charts.comparison(rows), list(rows[0]), [list(row.values()) for row in rows])


def _errors_by_depth(maker: Maker, name: str, runs: dict[str, list[Run]], title: str) -> None:
    rows = [
        (run.recipe.network, run.recipe.arguments["depth"], run.recipe.seed, _error(run, "train"), _error(run, "test"))
        for of_it in runs.values()
        for run in of_it
    ]
    figure, axes = charts.axes(title, "depth, in layers of weights", "error on the training images, %")
    series = []
    for network in dict.fromkeys(row[0] for row in rows):
        depths = sorted({row[1] for row in rows if row[0] == network})
        errors = [statistics.mean(row[3] for row in rows if row[:2] == (network, depth)) for depth in depths]
        series.append((network, depths, errors))
    charts.lines(axes, series)
    maker.keep(name, figure, ("network", "depth", "seed", "training_error", "test_error"), rows)


def _error(run: Run, part: str) -> float:
    return round(100 * (1 - run.results[f"{part}_accuracy"]), 4)


FIGURES: dict[str, Callable[[Maker], None]] = {
    make.__name__: make
    for make in (gradients_sigmoid, gradients_relu, learning, degradation, degradation_convolutions, survival)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; default: all of {', '.join(FIGURES)}")
    parser.add_argument("--mnist", default="mnist", help="MNIST as a file in Keras's layout; default: it is downloaded")
    parser.add_argument("--epochs", type=int, help="the length of each training; default: each figure's own")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--runs", type=Path, default=RUNS)
    given = parser.parse_args()
    unknown = set(given.names) - FIGURES.keys()
    if unknown:
        parser.error(f"Expected figures among {', '.join(FIGURES)}. Received: {', '.join(unknown)}")
    maker = Maker(given.out, given.runs, given.mnist, given.epochs)
    names = given.names or list(FIGURES)
    for place, name in enumerate(names, 1):
        print(f"{place} of {len(names)}: {FIGURES[name].__doc__}", flush=True)
        FIGURES[name](maker)


if __name__ == "__main__":
    main()
