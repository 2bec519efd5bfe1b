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
_DATA = "Name of a data source, or a folder, archive or .npz of images. Default:"
Data = Annotated[str | None, typer.Option(help=f"{_DATA} the recipe's.")]
TestData = Annotated[str | None, typer.Option(help=f"{_DATA} those that the run or the weights were trained on.")]
Figure = Annotated[Path, typer.Option(help="The figure: .svg, .png or .pdf; a CSV comes beside it.")]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An argument of the networks, such as depth=30; repeatable."),
]


def check_subject(run_or_network: str | Path, weights: str | None = None, data: str | None = None) -> None:
    """Refuses a run, weights and data that are not there, before Keras is loaded."""
    from ..data.sources import check_source
    from ..training.runs import open_run
    from ..weights.cards import card
    from ..weights.loading import check_loadable

    if weights is None:
        source: Any = open_run(run_or_network).source
        check_loadable(Path(run_or_network))
    else:
        source = card(str(run_or_network), weights).data["name"]
    check_source(source if data is None else data)


def check_new(figure: Path, *others: Path, overwrite: bool) -> None:
    """Refuses a figure of an unknown format, and files that are there: the figure, its table, and others."""
    from ..analysis import charts

    charts.check_format(figure)
    for path in (figure, figure.with_suffix(".csv"), *others):
        if path.exists() and not overwrite:
            raise FileExistsError(f"Expected a new file. Received: {str(path)!r}, which is there; ask to overwrite it")


def write_figure(path: Path, drawn: Any, rows: Iterable[Any], kind: Any) -> dict[str, Path]:
    """Writes a figure, and what it shows beside it as a table of named tuples; says where both are."""
    from .._files import write_csv
    from ..analysis import charts

    table = path.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(table, rows, kind)
    charts.save(drawn, path)
    return {"figure": path, "table": table}
