"""The command line itself, to which each module here adds its commands; and the options that several of them share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Networks with skip connections: train them, export them, prove the export.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Data = Annotated[
    str | None,
    typer.Option(help="Name of a data source, or a folder, archive or .npz of images. Default: the recipe's."),
]
Figure = Annotated[Path, typer.Option(help="The figure: .svg, .png or .pdf; a CSV comes beside it.")]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An argument of the networks, such as depth=30; repeatable."),
]


def check_new(figure: Path, *others: Path, overwrite: bool) -> None:
    """Refuses a figure of an unknown format, and files that are there."""
    from .. import charts

    charts.check_format(figure)
    for path in (figure, *others):
        if path.exists() and not overwrite:
            raise FileExistsError(f"Expected no such file yet. Received: {str(path)!r}; or ask to overwrite it")


def write_figure(path: Path, drawn: Any, rows: Iterable[Any], kind: Any) -> dict[str, Path]:
    """Writes a figure, and what it shows beside it as a table of named tuples; says where both are."""
    from .. import charts
    from ..tables import write_table

    table = path.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(table, rows, kind)
    charts.save(drawn, path)
    return {"figure": path, "table": table}
