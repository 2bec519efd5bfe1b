"""Collects runs on CIFAR-10 into docs/trials.csv, and draws accuracy against training time.

`python docs/training_time.py RUN ...` adds rows to docs/trials.csv, named after the folders of the runs, and
`python docs/make_figures.py training_time` draws the figure from these and from the cards of the shipped weights.
"""

import csv
import io
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo._files import replace_file
from zoo.analysis import charts
from zoo.reports.results import paper_error
from zoo.training.command import command
from zoo.training.runs import Run, open_complete_run
from zoo.weights.cards import cards

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRIALS = Path(__file__).parent / "trials.csv"
COLUMNS = (
    "run",
    "network",
    "epochs",
    "seed",
    "validation_accuracy",
    "test_accuracy",
    "train_accuracy",
    "minutes",
    "cores",
    "command",
)


class Point(NamedTuple):
    """A training: its name, what kind of training it is, its length in minutes, and its test accuracy in %."""

    name: str
    kind: str
    minutes: float
    accuracy: float


SHIPPED = "shipped weights, two cores"
AIRBENCH = "airbench on an A100, original images, views averaged"
# Jordan 2024, arXiv 2404.00498: seconds on one A100 to a mean of 94, 95 and 96 %.
AUTHORS = tuple(
    Point(name, AIRBENCH, seconds / 60, accuracy)
    for name, seconds, accuracy in (("airbench94", 3.29, 94.0), ("airbench95", 10.4, 95.0), ("airbench96", 46.3, 96.0))
)
# Networks whose papers state an error on CIFAR-10 and no time.
PAPERS = ("resnet20", "resnet110", "stochastic_resnet110", "wrn_28_10")


def row(run: Run) -> dict[str, Any]:
    """A row of `COLUMNS` for a complete run."""
    results, environment = run.results, run.record["environment"]
    return {
        "run": run.path.name,
        "network": run.recipe.network,
        "epochs": run.recipe.epochs,
        "seed": run.recipe.seed,
        **{name: results.get(name) for name in ("validation_accuracy", "test_accuracy", "train_accuracy")},
        "minutes": round(results["seconds"] / 60, 1),
        "cores": environment["variables"].get("TF_NUM_INTRAOP_THREADS", environment["cores"]),
        "command": command(run.record, full_paths=False),
    }


def read() -> list[dict[str, str]]:
    """The rows of docs/trials.csv."""
    with TRIALS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add(runs: list[Run]) -> None:
    """Adds the rows of runs to docs/trials.csv, in place of those of the same name."""
    rows: dict[str, dict[str, Any]] = {old["run"]: dict(old) for old in read()}
    rows |= {run.path.name: row(run) for run in runs}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    with replace_file(TRIALS) as beside:
        beside.write_text(text.getvalue(), encoding="utf-8")


def points() -> list[Point]:
    """All trainings of the figure: those tried, the shipped weights, and airbench's own."""
    kinds = {"1": "tried here, one core", "2": "tried here, two cores"}
    tried = [
        Point(row["network"], kinds[row["cores"]], float(row["minutes"]), 100 * float(row["test_accuracy"]))
        for row in read()
    ]
    shipped = [card for card in cards() if card.weights == "cifar10"]
    plain = [Point(c.network, SHIPPED, c.seconds / 60, 100 * c.test_accuracy) for c in shipped]
    averaged = [
        Point(c.network, "shipped weights, two cores, views averaged", c.seconds / 60, 100 * c.tta_accuracy)
        for c in shipped
        if c.tta_accuracy is not None
    ]
    return [*tried, *plain, *averaged, *AUTHORS]


def draw(found: list[Point]) -> "Figure":
    """Draws accuracy against training time; the papers' accuracies, which come without a time, are lines."""
    figure, axes = charts.make_axes(
        "CIFAR-10: ours on the JPEG copy and a CPU, others on the original images",
        "training time in minutes",
        "test accuracy, %",
        (8.0, 5.0),
    )
    axes.set_xscale("log")
    for kind, colour, marker in zip(
        dict.fromkeys(point.kind for point in found), charts.COLOURS, charts.MARKERS, strict=False
    ):
        group = [point for point in found if point.kind == kind]
        axes.scatter([p.minutes for p in group], [p.accuracy for p in group], color=colour, marker=marker, label=kind)
    # Our points lie near the right edge and may overlap, so their labels go to the left, below and above.
    sides = {SHIPPED: ("right", -7, (-10, 3, 6)), AIRBENCH: ("left", 6, (-10,))}
    for kind, (side, x, heights) in sides.items():
        group = sorted((point for point in found if point.kind == kind), key=lambda point: point.accuracy)
        for point, y in zip(group, itertools.cycle(heights), strict=False):
            place = {"xytext": (x, y), "textcoords": "offset points", "ha": side}
            axes.annotate(point.name, (point.minutes, point.accuracy), **place, fontsize=7)
    for network in PAPERS:
        accuracy = 100 - (paper_error(network, "cifar10") or 0)
        axes.axhline(accuracy, color="grey", linewidth=0.8, linestyle="--", zorder=0)
        axes.text(
            1, accuracy, f"{network}, paper", transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=7
        )
    axes.legend(frameon=False, fontsize=8, loc="lower center")
    return figure


if __name__ == "__main__":
    add([open_complete_run(path) for path in sys.argv[1:]])
