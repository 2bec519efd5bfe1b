"""The commands for training runs and their results: `runs`, `report` and `evaluate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .._app import command
from .._checks import check_subject
from .._options import (
    OnBadImage,
    Run,
    RunOrNetwork,
    Shorter,
    SplitColumn,
    Stream,
    Target,
    Task,
    TestData,
    Tta,
    ViewsOrCrops,
    Weights,
    reading_images,
    reading_tables,
    table_format,
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds the runs.")]
Format = Annotated[str, table_format("table", "csv", help="csv has more columns.")]


@command()
def runs(folder: Folder = Path("runs"), format: Format = "table") -> None:
    """List the runs in a folder: network, data, progress, figures."""
    import csv

    from ...tasks import task_of
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
        figure = task_of(run.source).figures[0]
        measured = [(part, row[part]) for part in ("validation", "test")]
        said = ", ".join(f"{part} {figure.text(value)}" for part, value in measured if value is not None)
        reached = f"{figure.title}: {said}" if said else ""
        what = (row[name] for name in ("run", "status", "network", "data", "epochs"))
        table.append((*what, reached or run.record.get("reason", "")))
    console.show_table("Runs", ("run", "status", "network", "data", "epochs", "reached"), table)


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
    target: Target = None,
    task: Task = None,
    split_column: SplitColumn = None,
    shorter: Shorter = None,
    stream: Stream = None,
    on_bad_image: OnBadImage = None,
    tta: Tta = False,
    views: ViewsOrCrops = None,
) -> None:
    """Measure a run's network, or shipped weights, on test examples.

    With --tta, it also shows the figures of single images.
    """
    reading = reading_tables(target, task, split_column, None) | reading_images(shorter, stream, on_bad_image)
    check_subject(run_or_network, weights, data, **reading)
    console.import_quietly("keras")
    from ...data import load_source
    from ...tasks import task_of
    from ...training.evaluation import evaluate as measure
    from ...training.evaluation import like
    from ...training.runs import open_run
    from ...weights.cards import card

    as_before = like(card(run_or_network, weights)) if weights else open_run(run_or_network).source
    read = data and load_source(data, like=as_before, **reading)
    console.say_reading(read, "test")
    measured = measure(run_or_network, read, weights=weights, tta=views or tta)
    figures = task_of("classification" if weights else open_run(run_or_network).source).figures
    shown = {"test examples": measured["examples"]}
    shown |= {f"test {figure.title}": figure.text(measured[figure.name]) for figure in figures}
    shown["test loss"] = f"{measured['loss']:.4f}"
    if used := measured.get("tta_views"):
        over = f"over views ({used})"
        shown |= {f"{figure.title} {over}": figure.text(measured[f"tta_{figure.name}"]) for figure in figures}
        shown[f"loss {over}"] = f"{measured['tta_loss']:.4f}"
    console.show_record(run_or_network if weights is None else f"{run_or_network}, {weights}", shown)
