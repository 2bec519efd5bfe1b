"""The weights that come with the package: `publish` and `results`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..training.runs import open_complete_run
from ..weights.cards import choose_paths
from . import console
from ._app import Overwrite, TestData, app, check_subject
from .exporting import export


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    name: Annotated[str, typer.Argument(help="What the weights are called, such as cifar10.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights and their card.")] = Path("."),
    data: TestData = None,
    limits: Annotated[str, typer.Option(help="What to know before the figures are compared with others.")] = "",
    chosen_by: Annotated[str, typer.Option(help="How this run was chosen among others.")] = "the only run",
    overwrite: Overwrite = False,
) -> None:
    """Write a run's weights, and a card with what they reach under Keras and onnxruntime.

    A run that is not exported yet is exported first.
    """
    opened = open_complete_run(run)
    choose_paths(out, opened.recipe.network, name, overwrite)
    check_subject(run, data=data)
    if not (opened.path / "export").exists():
        export(run)
    console.import_quietly("keras")
    from ..weights.publishing import publish as write

    card = write(opened, name, out, data, limits=limits, chosen_by=chosen_by, overwrite=overwrite)
    console.show_record(
        "Published",
        {
            "weights": out / card.file,
            "test accuracy": f"{card.test_accuracy:.2%}",
            "under onnxruntime": f"{card.onnx_accuracy:.2%}",
            "training accuracy": f"{card.train_accuracy:.2%}",
            "SHA-256": card.sha256,
        },
    )


class Table(StrEnum):
    """How `results` writes its table."""

    table = "table"
    markdown = "markdown"
    csv = "csv"


@app.command("results")
def results_(
    format: Annotated[Table, typer.Option(help="A table, a page, or comma-separated values.")] = Table.table,
) -> None:
    """Show what the weights of the package reach, beside what the papers report."""
    from ..reports import results

    if format is Table.table:
        console.show_table("Results", *results.short())
    else:
        print(results.page() if format is Table.markdown else results.csv_text(), end="")
