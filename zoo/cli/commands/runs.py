"""The commands for training runs and their results: `runs`, `report` and `evaluate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .._app import command
from .._checks import check_subject
from .._options import Run, RunOrNetwork, TestData, Tta, Views, Weights, table_format

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds the runs.")]
Format = Annotated[str, table_format("table", "csv", help="csv has more columns.")]


@command()
def runs(folder: Folder = Path("runs"), format: Format = "table") -> None:
    """List the runs in a folder: network, data, progress, accuracy."""
    import csv

    from ...training.runs import COLUMNS, list_runs, summary

    found = list_runs(folder)
    if not found:
        raise ValueError(f"Expected a folder with runs. Received: {str(folder)!r}")
    rows = [summary(run) for run in found]
    if format == "csv":
        writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    table = []
    for run, row in zip(found, rows, strict=True):
        measured = [(part, row[f"{part}_accuracy"]) for part in ("validation", "test")]
        reached = ", ".join(f"{part} {accuracy:.2%}" for part, accuracy in measured if accuracy is not None)
        what = (row[name] for name in ("run", "status", "network", "data", "epochs"))
        table.append((*what, reached or run.record.get("reason", "")))
    console.show_table("Runs", ("run", "status", "network", "data", "epochs", "accuracy"), table)


@command()
def report(run: Run) -> None:
    """Write a run's report again, as one HTML file.

    The new report includes the figures of a later export.
    """
    check_subject(run)
    console.import_quietly("keras")
    from ...reports.page import write_report

    console.show_record("Written", {"report": write_report(run)})


@command()
def evaluate(
    run_or_network: RunOrNetwork,
    weights: Weights = None,
    data: TestData = None,
    tta: Tta = False,
    views: Views = None,
) -> None:
    """Measure a run's network, or shipped weights, on test images.

    With --tta, the figures of single images are shown as well.
    """
    check_subject(run_or_network, weights, data)
    console.import_quietly("keras")
    from ...training.evaluation import evaluate as measure

    figures = measure(run_or_network, data, weights=weights, tta=views or tta)
    shown = {
        "test images": figures["examples"],
        "test accuracy": f"{figures['accuracy']:.2%}",
        "test loss": f"{figures['loss']:.4f}",
    }
    if used := figures.get("tta_views"):
        shown[f"accuracy over views ({used})"] = f"{figures['tta_accuracy']:.2%}"
        shown[f"loss over views ({used})"] = f"{figures['tta_loss']:.4f}"
    console.show_record(run_or_network if weights is None else f"{run_or_network}, {weights}", shown)
