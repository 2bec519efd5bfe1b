"""Tables that compare the results of the weights in the package with the papers' figures.

Every figure comes from the cards, so no network is built; see `weights.cards`.
"""

import csv
import io
import re

from ..networks.catalogue import MODELS
from ..training.recipes import recipes_of
from ..weights.cards import Card, cards
from .listing import in_millions

Record = dict[str, str | int | float | None]

COLUMNS = (
    "network",
    "weights",
    "parameters",
    "multiply_adds",
    "paper_error",
    "error",
    "tta_error",
    "gap",
    "train_error",
    "onnx_error",
    "onnx_max_abs_diff",
    "epochs",
    "minutes",
    "seed",
    "command",
    "limits",
)
SHORT = ("network", "weights", "parameters", "paper's error", "error", "gap", "minutes")

PAGE = """# Results

`keras-skip results --format markdown > docs/results.md` writes this page, and
`keras-skip results --format csv > docs/results.csv` the same as CSV, with every network of the papers for small images.
`keras-skip publish` measured every figure when it wrote the weights and their card;
`keras-skip evaluate NETWORK --weights NAME --data SOURCE --tta` measures the test errors again. Errors are in %, and
the gap to the paper is in points. "Views averaged" is the error with test-time augmentation: the logits are averaged
over mirrored and shifted views of each image, those that the network saw in training.

{table}

The last two columns describe the same weights under onnxruntime: their error on all test images, and the largest
difference of a probability from Keras's. Multiply-adds are missing if the images do not have the registry's size.

## CIFAR-10: accuracy against training time

![Test accuracy against minutes of training](figures/training_time.svg)

Our networks were trained on a JPEG copy of the images, on two CPU cores; [the trials](trials.md) list the runs. The
others were trained on the original images: [airbench](https://arxiv.org/abs/2404.00498) on an A100, and the networks of
the papers on GPUs. The papers give no training times, so their accuracies are drawn as lines.
`python docs/make_figures.py training_time` draws the figure.

## How each was trained

{commands}

## Before you compare

- Digits has 359 test images, so one image is 0.28 points; MNIST and CIFAR-10 have 10,000. Each row is one run.
{limits}
"""
# The papers name their data as "on CIFAR-10"; the weights are called "cifar10".
_REPORTED = re.compile(r"(\d+\.\d+) % on ([\w-]+)")


def paper_error(network: str, weights: str) -> float | None:
    """Finds the paper's error on the data that the weights are named after, in %, or None."""
    for figure, data in _REPORTED.findall(MODELS[network].paper_error):
        if data.replace("-", "").lower() == weights:
            return float(figure)
    return None


def records() -> list[Record]:
    """Lists a row of `COLUMNS` for each set of weights, then one for each network that has a recipe but no weights."""
    ours = [_record(card) for card in cards()]
    there = {record["network"] for record in ours}
    rest = [
        _figures(entry.name) | {"weights": "", "paper_error": paper_error(entry.name, "cifar10")}
        for entry in MODELS.values()
        if entry.name not in there and recipes_of(entry.name)
    ]
    return [dict.fromkeys(COLUMNS) | record for record in (*ours, *rest)]


def short() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Titles and rows for a terminal."""
    wanted = ("network", "weights", "parameters", "paper_error", "error", "gap", "minutes")
    return SHORT, [tuple(_format(name, record[name]) for name in wanted) for record in records()]


def page() -> str:
    """Writes the page of Markdown."""
    titles = {
        "network": "Network",
        "weights": "Weights",
        "parameters": "Parameters",
        "multiply_adds": "Multiply-adds",
        "paper_error": "Paper",
        "error": "Here",
        "tta_error": "Views averaged",
        "gap": "Gap",
        "train_error": "On training images",
        "minutes": "Minutes",
        "onnx_error": "onnxruntime",
        "onnx_max_abs_diff": "Largest difference",
    }
    table = [tuple(titles.values()), ("---", "---", *["---:"] * (len(titles) - 2))]
    measured = [record for record in records() if record["weights"]]
    table += [tuple(_format(name, record[name]) for name in titles) for record in measured]
    return PAGE.format(
        table="\n".join(f"| {' | '.join(row)} |" for row in table),
        commands="\n".join(_describe_training(card) for card in cards()),
        limits="\n".join(f"- {limit}" for limit in sorted({card.limits for card in cards() if card.limits})),
    )


def csv_text() -> str:
    """Writes all records as comma-separated values; fields without a figure are empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records())
    return file.getvalue()


def _figures(network: str) -> Record:
    entry = MODELS[network]
    return {"network": network, "parameters": entry.parameters, "multiply_adds": entry.multiply_adds}


def _record(card: Card) -> Record:
    error, paper = _in_percent(card.test_accuracy), paper_error(card.network, card.weights)
    return {
        "network": card.network,
        "weights": card.weights,
        "parameters": card.parameters,
        "multiply_adds": _figures(card.network)["multiply_adds"] if _has_registry_size(card) else None,
        "paper_error": paper,
        "error": error,
        "tta_error": None if card.tta_accuracy is None else _in_percent(card.tta_accuracy),
        "gap": None if paper is None else round(error - paper, 2),
        "train_error": _in_percent(card.train_accuracy),
        "onnx_error": _in_percent(card.onnx_accuracy),
        "onnx_max_abs_diff": card.onnx_max_abs_diff,
        "epochs": card.recipe["epochs"],
        "minutes": round(card.seconds / 60, 1),
        "seed": card.seed,
        "command": card.command,
        "limits": card.limits,
    }


def _has_registry_size(card: Card) -> bool:
    return card.input_shape == MODELS[card.network].family.input_shape


def _in_percent(accuracy: float) -> float:
    return round(100 * (1 - accuracy), 2)


def _format(name: str, value: float | str | None) -> str:
    if value is None:
        return ""
    if name == "multiply_adds" and isinstance(value, int):
        return in_millions(value)
    if name == "onnx_max_abs_diff":
        return f"{value:.0e}"
    if name in ("paper_error", "error", "tta_error", "train_error", "onnx_error"):
        return f"{value:.2f}"
    if name == "gap":
        return f"{value:+.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _describe_training(card: Card) -> str:
    machine = f"{card.machine['cores']} cores" if card.machine.get("kind") == "cpu" else str(card.machine.get("names"))
    return (
        f"- `{card.network}`, {card.weights}: `{card.command}`, seed {card.seed}, {card.seconds / 60:.1f} minutes "
        f"on {machine}, {card.date}; chosen: {card.chosen_by}"
    )
