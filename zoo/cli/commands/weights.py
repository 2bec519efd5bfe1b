"""The commands for the weights that come with the package: `publish` and `results`."""

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .._app import command
from .._checks import check_subject
from .._options import Overwrite, Run, TestData, out, table_format
from .exporting import export

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name for the weights, such as cifar10.")]
Folder = Annotated[Path, out("The folder for the weights and their card.")]
Limits = Annotated[
    str, typer.Option(metavar="TEXT", help="What readers should know before they compare the figures with others.")
]
ChosenBy = Annotated[str, typer.Option(metavar="TEXT", help="How this run was chosen among others.")]
Format = Annotated[str, table_format("table", "markdown", "csv", help="markdown and csv have more columns.")]


@command()
def publish(
    run: Run,
    name: Name,
    out: Folder = Path("."),
    data: TestData = None,
    limits: Limits = "",
    chosen_by: ChosenBy = "the only run",
    overwrite: Overwrite = False,
) -> None:
    """Write a run's weights, and a card with their figures.

    The card gives their accuracy under Keras and onnxruntime. A run without an export is exported first.
    """
    from ...training.runs import open_complete_run
    from ...weights.cards import choose_paths

    opened = open_complete_run(run)
    choose_paths(out, opened.recipe.network, name, overwrite)
    check_subject(run, data=data)
    if not (opened.path / "export").exists():
        export(run)
    console.import_quietly("keras")
    from ...weights.publishing import publish as write

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


@command("results")
def results_(format: Format = "table") -> None:
    """Compare the errors of the shipped weights with the papers'."""
    from ...reports import results

    if format == "table":
        console.show_table("Results", *results.short())
    else:
        print(results.page() if format == "markdown" else results.csv_text(), end="")
